"""The brain that follows a slider: one image, one segmentation and two overlays, updated in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from NeuroGenLib.mrml.colours import diverging_colours
from NeuroGenLib.mrml.core import slicer
from NeuroGenLib.mrml.folders import folder_named, put_into_folder
from NeuroGenLib.mrml.provenance import set_provenance
from NeuroGenLib.mrml.segmentations import add_segmentation, update_segmentation
from NeuroGenLib.mrml.views import overlay_in_slices, overlays_in_slices, show_in_slices
from NeuroGenLib.mrml.volumes import FAINTEST, GREY, add_volume, update_volume, window_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from NeuroGenLib.mrml.core import Node, Scene
    from NeuroGenLib.spatial.labels import LabelTable
    from NeuroGenLib.spatial.volume import Volume

ROLE: Final = "NeuroGenLive.role"
"""Attribute of a node: what it is for; so that a saved scene goes on with the nodes that it has."""

TABLE: Final = "NeuroGenLive.labels"
"""Attribute of the segmentation: the names of its labels, which differ between models."""

FOLDER: Final = "NeuroGen atlas"

HEAT: Final = "vtkMRMLColorTableNodeIron"


class LiveBrain:
    """Nodes of one scene that show one brain at a time.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def node(self, role: str) -> Node | None:
        """Return the node with a role (``image``, ``labels``, ``certainty``, ``growth``), None when there is none."""
        for index in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(index)
            if node.GetAttribute(ROLE) == role:
                return node
        return None

    def show(
        self,
        image: Volume,
        labels: Volume,
        table: LabelTable,
        *,
        certainty: Volume | None = None,
        growth: Volume | None = None,
        opacity: float = 0.5,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        """Put a brain into the nodes, which are made at the first; all of them change before the views are rendered.

        Parameters
        ----------
        image, labels:
            The brain, on one grid.
        table:
            The label table.
        certainty, growth:
            What lies over the image; one at a time is shown, certainty before growth. An overlay that is not given is
            hidden, so that none of another brain is shown.
        opacity:
            Of the overlay.
        record:
            Provenance; left as it is when not given.
        """
        new: list[Node] = []
        with_image = self.node("image")
        if with_image is None:
            added = add_volume(self._scene, image, "Atlas", window=window_of([image]), colours=GREY)
            with_image = self._named("image", added, new)
            show_in_slices(self._scene, with_image)
        else:
            update_volume(with_image, image)
        nodes = [with_image, self._segmentation(labels, table, new)]
        overlays = ("certainty", certainty), ("growth", growth)
        nodes += [self._overlay(role, volume, new) for role, volume in overlays if volume is not None]
        over = nodes[2] if len(nodes) > 2 else None
        ours = [node for node in (self.node("certainty"), self.node("growth")) if node is not None]
        overlay_in_slices(self._scene, over, opacity, ours)
        if record is not None:
            for node in nodes:
                set_provenance(node, record)
        if new:
            put_into_folder(self._scene, folder_named(self._scene, FOLDER), new)

    def bring_to_front(self) -> None:
        """Make the image the background of the slice views, with its labels, where something else took its place."""
        image, labels = self.node("image"), self.node("labels")
        if image is not None and labels is not None:
            show_in_slices(self._scene, image)
            labels.GetDisplayNode().SetVisibility(True)

    def put_aside(self) -> None:
        """Hide labels and overlays while the views show something outside the atlas space."""
        labels = self.node("labels")
        if labels is not None:
            labels.GetDisplayNode().SetVisibility(False)
        overlays = [node for node in (self.node("certainty"), self.node("growth")) if node is not None]
        overlay_in_slices(self._scene, None, 0.0, overlays)

    def set_label_opacity(self, opacity: float) -> None:
        """Show the segmentation's areas this opaque in slices, 0 to 1; outlines stay as they are."""
        node = self.node("labels")
        if node is not None:
            node.GetDisplayNode().SetOpacity2DFill(opacity)

    def set_overlay_opacity(self, opacity: float) -> None:
        """Show certainty or growth this opaque over the image, 0 to 1."""
        nodes = [node for node in (self.node("certainty"), self.node("growth")) if node is not None]
        for node in nodes:
            if node.GetID() in overlays_in_slices(self._scene):
                overlay_in_slices(self._scene, node, opacity, nodes)

    def set_surfaces(self, *, shown: bool) -> None:
        """Show the segmentation in 3D views, or not."""
        node = self.node("labels")
        if node is None:
            return
        has = node.GetSegmentation().ContainsRepresentation(
            slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
        )
        if shown and not has:
            node.CreateClosedSurfaceRepresentation()
        elif has and not shown:
            node.RemoveClosedSurfaceRepresentation()

    def _named(self, role: str, node: Node, new: list[Node]) -> Node:
        node.SetAttribute(ROLE, role)
        new.append(node)
        return node

    def _segmentation(self, labels: Volume, table: LabelTable, new: list[Node]) -> Node:
        names = "\n".join(table.names)
        node = self.node("labels")
        if node is None:
            node = self._named("labels", add_segmentation(self._scene, labels, table, "Atlas labels"), new)
        else:
            if node.GetAttribute(TABLE) != names:  # of another model
                node.GetSegmentation().RemoveAllSegments()
            update_segmentation(node, labels, table)
        node.SetAttribute(TABLE, names)
        return node

    def _overlay(self, role: str, volume: Volume, new: list[Node]) -> Node:
        most = max(abs(bound) for bound in window_of([volume])) or 1.0
        window = (0.0, 1.0) if role == "certainty" else (-most, most)
        node = self.node(role)
        if node is not None:
            update_volume(node, volume)
            node.GetDisplayNode().SetWindowLevelMinMax(*window)
            return node
        colours = HEAT if role == "certainty" else diverging_colours(self._scene).GetID()
        added = add_volume(self._scene, volume, f"Atlas {role}", window=window, colours=colours)
        if role == "certainty":
            display = added.GetDisplayNode()
            display.SetAutoThreshold(False)
            display.SetThreshold(FAINTEST, 1)
            display.SetApplyThreshold(True)
        return self._named(role, added, new)
