"""Colour tables for maps of differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from NeuroGenLib.mrml.core import Node, Scene

DIVERGING = "NeuroGen blue-black-red"
_STEPS = 255
_THRESHOLDED_STEPS = 256
ENDS = ((90, 180, 255), (255, 110, 80))


def diverging_colours(scene: Scene) -> Node:
    """Return the ``vtkMRMLColorTableNode`` for differences: blue below zero, red above, black (transparent) at zero.

    It is added when the scene does not have it. The window of the volume should be symmetric about zero.
    """
    present = scene.GetFirstNodeByName(DIVERGING)
    if present is not None:
        return present
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


def thresholded_colours(scene: Scene, name: str, window: tuple[float, float], least: float) -> Node:
    """Return the ``vtkMRMLColorTableNode`` of a name for differences from the middle of a window, added when missing.

    Blue below the middle, red above, darker towards it.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    name:
        Name of the node; a node with this name takes the new threshold.
    window:
        Values at the ends of the colours.
    least:
        Differences from the middle smaller than this, in the unit of the window, are transparent.
    """
    node = scene.GetFirstNodeByName(name)
    is_new = node is None
    if is_new:
        node = scene.CreateNodeByClass("vtkMRMLColorTableNode")
        node.UnRegister(None)
        node.SetName(name)
        node.SetTypeToUser()
        node.SetNumberOfColors(_THRESHOLDED_STEPS)
    middle, half = (window[0] + window[1]) / 2, (window[1] - window[0]) / 2
    unfinished = node.StartModify()
    for step, value in enumerate(np.linspace(*window, _THRESHOLDED_STEPS)):
        difference = float(value) - middle
        red, green, blue = (abs(difference) / half * part / 255 for part in ENDS[int(difference > 0)])
        node.SetColor(step, f"{value:.2f}", red, green, blue, float(abs(difference) >= least))
    node.GetLookupTable().SetTableRange(0, _THRESHOLDED_STEPS - 1)
    node.EndModify(unfinished)
    return scene.AddNode(node) if is_new else node
