"""Colours for maps of differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from NeuroGenLib.mrml.core import Node, Scene

DIVERGING = "NeuroGen blue-black-red"
_STEPS = 255
ENDS = ((90, 180, 255), (255, 110, 80))


def diverging_colours(scene: Scene) -> Node:
    """Return the ``vtkMRMLColorTableNode`` for differences: blue below zero, red above, black (see-through) at zero.

    It is made when the scene has none yet. The window of the volume should be symmetric about zero.
    """
    found = scene.GetFirstNodeByName(DIVERGING)
    if found is not None:
        return found
    node = scene.CreateNodeByClass("vtkMRMLColorTableNode")
    node.UnRegister(None)
    node.SetName(DIVERGING)
    node.SetTypeToUser()
    node.SetNumberOfColors(_STEPS)
    for step, share in enumerate(np.linspace(-1, 1, _STEPS)):
        red, green, blue = (abs(share) * part / 255 for part in ENDS[int(share > 0)])
        node.SetColor(step, f"{share:+.2f}", red, green, blue, float(abs(share)))
    node.GetLookupTable().SetTableRange(0, _STEPS - 1)
    return scene.AddNode(node)
