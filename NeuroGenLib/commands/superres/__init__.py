"""Commands of super-resolution, one file each."""
