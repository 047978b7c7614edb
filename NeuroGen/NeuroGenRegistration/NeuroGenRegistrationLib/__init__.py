"""The parts of the panel NeuroGen Registration."""
