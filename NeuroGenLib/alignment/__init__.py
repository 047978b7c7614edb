"""Rigid and affine initialisation of a pair of images, without a network."""
