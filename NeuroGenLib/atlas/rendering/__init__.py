"""Renders brains from the atlas network: mask, voxels, labels."""
