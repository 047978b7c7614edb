"""Background and foreground volumes of Slicer's slice views."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from NeuroGenLib.mrml.core import Node, Scene

VIEWS = ("Red", "Green", "Yellow")
"""The axial, coronal and sagittal view of Slicer's usual layouts."""


def show_in_slices(scene: Scene, volume: Node) -> None:
    """Make a volume the background of the slice views, in a scene file too."""
    for node in _composites(scene):
        node.SetBackgroundVolumeID(volume.GetID())


def overlay_in_slices(scene: Scene, overlay: Node | None, opacity: float, giving_way: Iterable[Node]) -> None:
    """Make a volume the foreground of the slice views, or with None remove the present one.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    overlay:
        Volume node, or None.
    opacity:
        Opacity of the foreground, 0 to 1.
    giving_way:
        With None only these nodes are removed; a foreground that a person chose is kept.
    """
    ids = {node.GetID() for node in giving_way}
    for node in _composites(scene):
        if overlay is not None:
            node.SetForegroundVolumeID(overlay.GetID())
            node.SetForegroundOpacity(opacity)
        elif node.GetForegroundVolumeID() in ids:
            node.SetForegroundVolumeID(None)


def overlays_in_slices(scene: Scene) -> set[str]:
    """Return the ids of the foreground volumes of the slice views."""
    return {node.GetForegroundVolumeID() for node in _composites(scene)} - {None}


def _composites(scene: Scene) -> Iterator[Node]:
    """Yield the composite node of each slice view, added when missing."""
    for view in VIEWS:
        yield composite_of(scene, view)


def composite_of(scene: Scene, view: str) -> Node:
    """Return the ``vtkMRMLSliceCompositeNode`` of a slice view, added when missing.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    view:
        Name of the view, such as one of :data:`VIEWS`.
    """
    node = scene.GetSingletonNode(view, "vtkMRMLSliceCompositeNode")
    if node is None:
        node = scene.CreateNodeByClass("vtkMRMLSliceCompositeNode")
        node.UnRegister(None)
        node.SetName(view)
        node.SetLayoutName(view)
        node.SetSingletonTag(view)
        node = scene.AddNode(node)
    return node
