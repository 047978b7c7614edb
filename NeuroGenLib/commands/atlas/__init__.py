"""The commands of the atlas: one file for each `neurogen atlas ...`, and `demo`."""
