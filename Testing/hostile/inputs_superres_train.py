"""Bad inputs of `neurogen superres train`: how scans are dealt out, and the size of windows."""

from __future__ import annotations

from Testing.hostile.inputs import values

values(
    "superres_fractions",
    ("[0.5,0.1,0.1]", "are not a split"),
    ("[1,0,0]", "are not a split"),
    ("[0.5,0.5]", "split.fractions"),
    ("half", "split.fractions"),
)
values("superres_window", ("4", "'window' is 4"), ("20", "20 voxels cannot be halved 3 times"), ("wide", "'window'"))
