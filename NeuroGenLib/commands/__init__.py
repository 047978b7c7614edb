"""The `neurogen` commands: options in, files out."""
