"""Image pairs for registration training."""
