"""Bad inputs of `neurogen samples`: names that do not exist, licences that are not the sample's."""

from __future__ import annotations

from Testing.hostile.inputs import values

values("sample", ("fetal-brain-30", "fetal-brain-30w"), ("", "''"), ("../models", "../models"))
values("sample", ("Fetal-Brain-30w", "fetal-brain-30w"))
values("drawn_licence", ("MIT", "CC0-1.0"), ("yes", "'yes'"))
