"""Super-resolution: thick slices in, isotropic volumes out, in the space of the scan."""
