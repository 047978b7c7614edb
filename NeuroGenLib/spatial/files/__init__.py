"""File formats: volumes, landmarks and transforms."""
