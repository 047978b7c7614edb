"""Labels and masks from segmentation nodes and label map nodes alike."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.mrml.arrays import node_name
from NeuroGenLib.mrml.segmentations import label_map_of, mask_of
from NeuroGenLib.mrml.volumes import volume_of
from NeuroGenLib.spatial.labels import Label, LabelTable, as_label_map

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from NeuroGenLib.mrml.core import Node
    from NeuroGenLib.spatial.labels import Colour
    from NeuroGenLib.spatial.volume import Volume

_NUMBERED = re.compile(r"label_(\d+)")
"""Segment ids of :func:`NeuroGenLib.mrml.segmentations.add_segmentation`, which contain the label value."""


def mask_on(node: Node, like: Volume) -> Volume:
    """Return the mask of all labels, as 0 and 1 on the grid of a volume.

    Parameters
    ----------
    node:
        ``vtkMRMLSegmentationNode`` or ``vtkMRMLLabelMapVolumeNode``.
    like:
        The grid, in world space.

    Raises
    ------
    InputError
        When the node is under a warp, or has no voxels.
    """
    if node.IsA("vtkMRMLSegmentationNode"):
        return mask_of(node, like)
    on_grid = _on_grid(node, like)
    return on_grid.with_array((on_grid.array > 0).astype(np.uint8))


def labels_on(node: Node, table: LabelTable, like: Volume) -> Volume:
    """Return labels as a label map on the grid of a volume, by the nearest voxel.

    Parameters
    ----------
    node:
        ``vtkMRMLSegmentationNode``, whose segments become the values of the table, or ``vtkMRMLLabelMapVolumeNode``,
        whose values stay.
    table:
        The labels, such as those of :func:`table_of`.
    like:
        The grid, in world space.

    Raises
    ------
    InputError
        When a segment is not in the table, or the node is under a warp or has no voxels.
    """
    return label_map_of(node, table, like) if node.IsA("vtkMRMLSegmentationNode") else _on_grid(node, like)


def table_of(node: Node) -> LabelTable:
    """Return the names and colours of a node's labels.

    Parameters
    ----------
    node:
        ``vtkMRMLSegmentationNode``: every segment, with the value in its id (``label_7``), else Slicer's, else the next
        free one. ``vtkMRMLLabelMapVolumeNode``: every value but 0 that occurs, with the name in
        the node's colour table.

    Raises
    ------
    InputError
        When there are no labels, or two segments have one name.
    """
    if node.IsA("vtkMRMLSegmentationNode"):
        entries = _segments(node)
        if not entries:
            raise InputError(
                f"The segmentation '{node_name(node)}' has no segments.", "Choose another, or none.", code="image-empty"
            )
        return LabelTable(tuple(entries))
    labels = volume_of(node)
    if not labels.array.any():
        raise InputError(f"The label map '{node_name(node)}' is empty.", "Choose another, or none.", code="image-empty")
    return table_of_values(labels, _names_of(node))


def match_labels(
    fixed: Volume, fixed_table: LabelTable, moving_table: LabelTable
) -> tuple[Volume, LabelTable, set[str]]:
    """Give the labels of a fixed image the values of the moving image's labels of the same name.

    Parameters
    ----------
    fixed:
        (i, j, k) label map.
    fixed_table, moving_table:
        The labels of each image. Names are compared regardless of case.

    Returns
    -------
    tuple
        The fixed label map with its new values; the table of all labels, those of the moving image first; the names
        that both images have.

    Examples
    --------
    >>> from NeuroGenLib.spatial.volume import Volume
    >>> labels = Volume(np.full((2, 2, 2), 1), np.eye(4))
    >>> fixed, moving = (LabelTable((Label(value, "cortex", (255, 0, 0)),)) for value in (1, 42))
    >>> mapped, table, common = match_labels(labels, fixed, moving)
    >>> int(mapped.array[0, 0, 0]), common
    (42, {'cortex'})
    """
    known = {label.name.casefold(): label for label in moving_table}
    free = max(moving_table.values) + 1
    both: set[str] = set()
    added: list[Label] = []
    new = {0: 0}
    for label in fixed_table:
        counterpart = known.get(label.name.casefold())
        if counterpart is None:
            counterpart = Label(free + len(added), label.name, label.colour)
            added.append(counterpart)
        else:
            both.add(counterpart.name)
        new[label.value] = counterpart.value
    old = np.array(sorted(new))
    values = np.array([new[value] for value in old.tolist()])
    positions = np.searchsorted(old, fixed.array.astype(np.int64))
    mapped = values[positions].astype(np.min_scalar_type(int(values.max())))
    return fixed.with_array(mapped), LabelTable((*moving_table, *added)), both


def _on_grid(node: Node, like: Volume) -> Volume:
    return as_label_map(volume_of(node), f"'{node_name(node)}'").resample(like=like, order=0)


def _segments(node: Node) -> list[Label]:
    segmentation = node.GetSegmentation()
    identifiers = list(segmentation.GetSegmentIDs())
    numbers = [_NUMBERED.fullmatch(identifier) for identifier in identifiers]
    taken = {int(number[1]) for number in numbers if number}
    entries: list[Label] = []
    for identifier, number in zip(identifiers, numbers, strict=True):
        segment = segmentation.GetSegment(identifier)
        name = str(segment.GetName() or identifier).strip()
        if any(name == entry.name for entry in entries):
            raise InputError(
                f"Two segments of '{node_name(node)}' are called '{name}'.",
                "Merge or rename them.",
                code="value-duplicate",
            )
        value = int(number[1]) if number else int(segment.GetLabelValue())
        if number is None and (value in taken or value < 1):
            value = max(taken, default=0) + 1
        taken.add(value)
        entries.append(Label(value, name, _colour(segment.GetColor())))
    return entries


def table_of_values(labels: Volume, names: Mapping[int, dict[str, str]] | None = None) -> LabelTable:
    """Return a table of the values of a label map but 0; values without a name are called ``label 7``.

    Parameters
    ----------
    labels:
        (i, j, k).
    names:
        ``name`` and ``color`` (``#rrggbb``) by value, where known.

    Raises
    ------
    InputError
        When the volume is not a label map, or 0 everywhere.

    Examples
    --------
    >>> from NeuroGenLib.spatial.volume import Volume
    >>> table_of_values(Volume(np.array([0, 17]).reshape(2, 1, 1), np.eye(4))).names
    ('label 17',)
    """
    values = np.unique(as_label_map(labels, "The label map").array).tolist()
    entries: dict[int, dict[str, str]] = {}
    for value in (value for value in values if value):
        entry = dict((names or {}).get(value, {"name": f"label {value}"}))
        if any(entry["name"] == earlier["name"] for earlier in entries.values()):
            entry["name"] += f" {value}"
        entries[value] = entry
    return LabelTable.from_mapping(entries)


def _names_of(node: Node) -> dict[int, dict[str, str]]:
    """Return names and colours of a label map's values in Slicer's colour table."""
    display = node.GetDisplayNode()
    colours = None if display is None else display.GetColorNode()
    names: dict[int, dict[str, str]] = {}
    if colours is None:
        return names
    rgba = [0.0] * 4
    for value in range(colours.GetNumberOfColors()):
        name = " ".join(str(colours.GetColorName(value) or "").split())
        if name not in ("", "n/a", "(none)"):
            colours.GetColor(value, rgba)
            names[value] = {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*_colour(rgba))}
    return names


def _colour(parts: Sequence[float]) -> Colour:
    red, green, blue = (min(max(round(255 * part), 0), 255) for part in parts[:3])
    return red, green, blue
