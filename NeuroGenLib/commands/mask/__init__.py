"""Commands of the brain mask, one file each."""
