"""The parts of the panel NeuroGen Super-Resolution."""
