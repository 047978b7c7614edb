"""Parts that the panels of NeuroGen share: only widgets and wiring; what they show comes from NeuroGenLib."""
