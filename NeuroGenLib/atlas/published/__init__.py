"""CINeMA's checkpoints and training settings."""
