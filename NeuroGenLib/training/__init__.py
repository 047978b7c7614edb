"""Resumable training on Lightning, the same for every capability."""
