"""A registration, as a Slicer scene: transforms, the moving image under one of them, what was resampled, quality.

Of one pair of images a scene holds one registration: another one goes into the same nodes. They find each other by
node references of the forward transform, which stay in a saved scene.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from NeuroGenLib.alignment.prepared_image import first_channel
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.mrml.arrays import node_name
from NeuroGenLib.mrml.folders import folder_named, put_into_folder
from NeuroGenLib.mrml.labelled import table_of_values
from NeuroGenLib.mrml.provenance import provenance_of, set_provenance
from NeuroGenLib.mrml.scene import HeadlessScene, save_scene
from NeuroGenLib.mrml.segmentations import add_segmentation, update_segmentation
from NeuroGenLib.mrml.spatial_maps import add_spatial_map, update_spatial_map
from NeuroGenLib.mrml.tables import add_table, rows_of
from NeuroGenLib.mrml.transforms import parent_matrix
from NeuroGenLib.mrml.views import overlay_in_slices, show_in_slices
from NeuroGenLib.mrml.volumes import add_volume, update_volume, volume_of, window_of
from NeuroGenLib.scenes.comparison import CHANGE_WINDOW, change_colours, checkerboard
from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from NeuroGenLib.mrml.core import Node, Scene
    from NeuroGenLib.spatial.labels import LabelTable
    from NeuroGenLib.spatial.result import Result
    from NeuroGenLib.spatial.volume import Volume

PREFIX: Final = "NeuroGenRegistration."
"""Of node references (roles of the results; ``fixed``, ``moving``; ``placed``) and of the attribute ``transform``."""

VIEWS: Final = ("fade", "checkerboard", "change")
"""Views of a registration."""

LEAST_CHANGE: Final = 0.1
"""Changes of volume below this are see-through at first."""

_TRANSFORM = f"{PREFIX}transform"
_PLACED = f"{PREFIX}placed"


@dataclass(frozen=True, eq=False)
class NodePair:
    """Two volume nodes, and their placement when they were registered.

    Attributes
    ----------
    fixed, moving:
        ``vtkMRMLScalarVolumeNode``.
    fixed_placement, moving_placement:
        (4, 4) own coordinates of the node to the world, RAS mm, without earlier registrations of it.
    """

    fixed: Node
    moving: Node
    fixed_placement: np.ndarray
    moving_placement: np.ndarray

    @classmethod
    def of(cls, fixed: Node, moving: Node) -> NodePair:
        """Return a pair as it lies in the scene now.

        Raises
        ------
        InputError
            When they are one node, or one lies under a warp that is not a registration of NeuroGen.
        """
        if fixed is moving:
            raise InputError(
                f"'{node_name(fixed)}' is chosen as fixed and as moving image.",
                "Choose two different volumes.",
                code="value-conflict",
            )
        with unregistered(fixed, moving):
            return cls(fixed, moving, parent_matrix(fixed), parent_matrix(moving))


@dataclass(frozen=True)
class RegistrationNodes:
    """Nodes of :func:`add_registration`; ``forward`` holds the moving image, ``inverse`` is for the fixed one."""

    forward: Node
    inverse: Node
    warped: Node
    labels: Node | None
    jacobian: Node
    quality: Node


@contextmanager
def unregistered(*nodes: Node | None) -> Iterator[None]:
    """Let nodes lie where they lay before NeuroGen registered them, inside the block."""
    lifted = []
    try:
        for node in nodes:
            above = None if node is None else node.GetParentTransformNode()
            if node is not None and above is not None and above.GetAttribute(_TRANSFORM):
                lifted.append((node, above))
                node.SetAndObserveTransformNodeID(above.GetNodeReferenceID(_PLACED))
        yield
    finally:
        for node, above in lifted:
            node.SetAndObserveTransformNodeID(above.GetID())


def add_registration(
    scene: Scene, result: Result, pair: NodePair, table: LabelTable | None = None
) -> RegistrationNodes:
    """Put a registration into a scene and the moving image under its forward transform.

    Nodes of an earlier registration of the same pair are filled again, so that whatever is placed under them follows;
    its labels go where this one has none. Results lie in the world, on the fixed image; the transforms act on the
    coordinates of the volumes' own files, also where a linear transform lies above a volume. A volume that has left the
    scene is passed over.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    result:
        Of :func:`NeuroGenLib.registration.output.registration_result`; its record is written to every node, and of
        several channels the first is shown.
    pair:
        What was registered.
    table:
        Names of the moving labels; numbers when not given.

    Raises
    ------
    InputError
        When the grid of the transform is sheared.
    """
    moving, fixed = node_name(pair.moving), node_name(pair.fixed)
    forward_map = _placed(result.maps["forward"], pair.moving_placement)
    inverse_map = _placed(result.maps["inverse"], pair.fixed_placement)
    image = first_channel(result.volumes["warped"])
    label_map = result.labels.get("warped_labels")
    if label_map is not None and table is None:
        table = table_of_values(label_map) if label_map.array.any() else None
    forward = _transform(scene, forward_of(scene, pair.fixed, pair.moving), forward_map, f"{moving} to {fixed}")
    inverse = _transform(scene, _result(forward, "inverse"), inverse_map, f"{fixed} to {moving}")
    window = window_of([image])
    warped = _volume(scene, _result(forward, "warped"), image, f"{moving} registered", window)
    colours = change_colours(scene, LEAST_CHANGE).GetID()
    jacobian = _volume(
        scene,
        _result(forward, "jacobian"),
        result.volumes["jacobian"],
        f"{moving} volume change",
        CHANGE_WINDOW,
        colours,
    )
    labels = _labels(scene, _result(forward, "labels"), label_map, table, f"{moving} labels registered")
    for stale in ("quality", "checkerboard"):
        _remove(scene, _result(forward, stale))
    quality = add_table(scene, _named_rows(result.tables["quality"], table), f"{moving} registration quality")
    nodes = RegistrationNodes(forward, inverse, warped, labels, jacobian, quality)
    results = {"inverse": inverse, "warped": warped, "labels": labels, "jacobian": jacobian, "quality": quality}
    for role, node in results.items():
        forward.SetNodeReferenceID(PREFIX + role, None if node is None else node.GetID())
    made = [forward, *(node for node in results.values() if node is not None)]
    for node in made:
        set_provenance(node, result.record)
    put_into_folder(scene, folder_named(scene, f"{moving} to {fixed}"), made)
    _place(scene, nodes, pair)
    return nodes


def forward_of(scene: Scene, fixed: Node, moving: Node) -> Node | None:
    """Return the forward transform of a pair's registration, None where there is none."""
    ids = fixed.GetID(), moving.GetID()
    count = scene.GetNumberOfNodesByClass("vtkMRMLTransformNode") if None not in ids else 0
    for index in range(count):
        node = scene.GetNthNodeByClass(index, "vtkMRMLTransformNode")
        if (node.GetNodeReferenceID(f"{PREFIX}fixed"), node.GetNodeReferenceID(f"{PREFIX}moving")) == ids:
            return node
    return None


def quality_of(forward: Node) -> list[dict[str, float | int | str]]:
    """Return the rows of the quality table of a registration; none where the table is gone."""
    table = _result(forward, "quality")
    return [] if table is None else rows_of(table)


def show_registration(
    scene: Scene,
    forward: Node,
    view: str,
    *,
    opacity: float = 0.5,
    tile_mm: float = 20.0,
    least_change: float = LEAST_CHANGE,
) -> None:
    """Show a registration in the slice views; where the fixed image is gone, the warped one alone.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    forward:
        Its forward transform.
    view:
        ``fade``: the warped image over the fixed one; ``checkerboard``: cubes of both alternately; ``change``: the
        change of volume, over the fixed image.
    opacity:
        Of what lies above, 0 to 1.
    tile_mm:
        Side of the cubes.
    least_change:
        Changes of volume below this, 0.1 for 10 %, are see-through.

    Raises
    ------
    InputError
        When a volume was changed so that it cannot be shown.
    """
    fixed, warped, jacobian = _result(forward, "fixed"), _result(forward, "warped"), _result(forward, "jacobian")
    below = fixed or warped
    if below is None:
        return
    over = {"fade": warped, "change": jacobian}.get(view)
    if view == "checkerboard" and fixed is not None and warped is not None:
        below = _checkerboard(scene, forward, fixed, warped, tile_mm)
    change_colours(scene, least_change)
    show_in_slices(scene, below)
    ours = [node for node in (warped, jacobian) if node is not None]
    overlay_in_slices(scene, over if over is not below else None, opacity, ours)


def write_registration_scene(
    result: Result, fixed: Volume, moving: Volume, path: str | os.PathLike[str], table: LabelTable | None = None
) -> None:
    """Write a registration as a scene file, with both images; see :func:`add_registration`.

    Parameters
    ----------
    result, fixed, moving:
        Of :func:`NeuroGenLib.registration.output.registration_result`, and its images; of several channels the first
        is shown.
    path:
        As for :func:`NeuroGenLib.mrml.scene.save_scene`.
    table:
        Of the moving labels; numbers where none is given.

    Raises
    ------
    InputError
        As :func:`add_registration` and :func:`NeuroGenLib.mrml.scene.save_scene`.
    """
    with HeadlessScene() as headless:
        scene = headless.scene
        images = [first_channel(volume) for volume in (fixed, moving)]
        below, above = (
            add_volume(scene, image, name, window=window_of([image]))
            for image, name in zip(images, ("fixed", "moving"), strict=True)
        )
        nodes = add_registration(scene, result, NodePair.of(below, above), table)
        show_registration(scene, nodes.forward, "fade")
        save_scene(scene, path)


def _placed(spatial_map: SpatialMap, placement: np.ndarray) -> SpatialMap:
    """Return a map into the own coordinates of a node that a linear transform places in the world."""
    return SpatialMap(spatial_map.before, spatial_map.field, np.linalg.inv(placement) @ spatial_map.after)


def _place(scene: Scene, nodes: RegistrationNodes, pair: NodePair) -> None:
    """Put the moving image under the forward transform, and remember what lay above either image."""
    for role, node, transform in (("moving", pair.moving, nodes.forward), ("fixed", pair.fixed, nodes.inverse)):
        if not scene.IsNodePresent(node):
            continue
        nodes.forward.SetNodeReferenceID(PREFIX + role, node.GetID())
        with unregistered(node):
            transform.SetNodeReferenceID(_PLACED, node.GetTransformNodeID())
    if scene.IsNodePresent(pair.moving):
        pair.moving.SetAndObserveTransformNodeID(nodes.forward.GetID())


def _result(forward: Node, role: str) -> Node | None:
    return forward.GetNodeReference(PREFIX + role)


def _remove(scene: Scene, node: Node | None) -> None:
    if node is not None:
        scene.RemoveNode(node)


def _transform(scene: Scene, node: Node | None, spatial_map: SpatialMap, name: str) -> Node:
    if node is None:
        node = add_spatial_map(scene, spatial_map, name)
        node.SetAttribute(_TRANSFORM, "1")
    else:
        update_spatial_map(node, spatial_map)
    return node


def _volume(
    scene: Scene,
    node: Node | None,
    volume: Volume,
    name: str,
    window: tuple[float, float],
    colours: str | None = None,
) -> Node:
    if node is None:
        return add_volume(scene, volume, name, window=window, **({} if colours is None else {"colours": colours}))
    update_volume(node, volume)
    return node


def _labels(
    scene: Scene, node: Node | None, label_map: Volume | None, table: LabelTable | None, name: str
) -> Node | None:
    if label_map is None or table is None:
        _remove(scene, node)
        return None
    if node is None:
        return add_segmentation(scene, label_map, table, name)
    node.GetSegmentation().RemoveAllSegments()  # they may be others now
    update_segmentation(node, label_map, table)
    return node


def _named_rows(rows: Sequence[Mapping[str, object]], table: LabelTable | None) -> list[dict[str, object]]:
    """Return rows of the quality with labels by their names."""
    names = {} if table is None else {str(label.value): label.name for label in table}
    return [{**row, "label": names.get(str(row["label"]), row["label"])} for row in rows]


def _checkerboard(scene: Scene, forward: Node, fixed: Node, warped: Node, tile_mm: float) -> Node:
    """Return the checkerboard of the fixed and the warped image, as they lie in the scene now."""
    first, second = volume_of(fixed), volume_of(warped)
    if not (first.shape == second.shape and first.same_space(second)):
        first = first.resample(like=second)
    board = checkerboard(first, second, tile_mm)
    node = _result(forward, "checkerboard")
    if node is not None:
        update_volume(node, board)
        return node
    node = add_volume(scene, board, f"{node_name(warped)} checkerboard", window=(0, 1))
    forward.SetNodeReferenceID(f"{PREFIX}checkerboard", node.GetID())
    set_provenance(node, provenance_of(forward))
    put_into_folder(scene, folder_named(scene, node_name(forward)), [node])
    return node
