"""Metadata of NeuroGen's modules for Slicer's module list."""

from __future__ import annotations

from typing import Any

CATEGORY = "NeuroGen"
CONTRIBUTORS = ["NeuroGen contributors"]
ACKNOWLEDGEMENT = (
    "NeuroGen is for research use only; not for diagnosis or treatment. The papers behind a result are listed by"
    " 'neurogen cite' and in the model's card."
)


def describe(parent: Any, *, title: str, help_text: str) -> None:
    """Fill in title, category, contributors and texts of a module."""
    parent.title = title
    parent.categories = [CATEGORY]
    parent.dependencies = []
    parent.contributors = CONTRIBUTORS
    parent.helpText = help_text
    parent.acknowledgementText = ACKNOWLEDGEMENT
