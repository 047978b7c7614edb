"""Affine matrices, displacement fields, B-splines and the maps between spaces made of them."""
