"""Volumes, label maps, displacement fields, spatial maps and their files: everything that lies in space."""
