"""Brain masks of whole-head scans, so that tools for brains can use them."""
