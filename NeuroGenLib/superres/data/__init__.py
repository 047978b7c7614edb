"""What super-resolution training reads."""
