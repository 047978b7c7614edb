"""Errors, files, device, progress, provenance, resources and configuration: knows nothing of images."""
