"""BABY-AI's network, checkpoints and preparation."""
