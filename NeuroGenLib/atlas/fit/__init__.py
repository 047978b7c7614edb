"""Fits an atlas to a scan: age, pose, latent code, deviation."""
