"""Commands of registration, one file each."""
