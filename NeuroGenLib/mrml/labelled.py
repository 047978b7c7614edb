"""Labels and masks that a person chose, be it a segmentation or a label map volume."""

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
"""Ids of segments that :func:`NeuroGenLib.mrml.segmentations.add_segmentation` made hold their value."""


def mask_on(node: Node, like: Volume) -> Volume:
    """Return where anything is labelled, as 0 and 1 on the grid of a volume.

    Parameters
    ----------
    node:
        ``vtkMRMLSegmentationNode`` or ``vtkMRMLLabelMapVolumeNode``.
    like:
        The grid, where it lies in the world.

    Raises
    ------
    InputError
        When a warp lies above the node, or it holds no voxels.
    """
    if node.IsA("vtkMRMLSegmentationNode"):
        return mask_of(node, like)
    on_grid = _on_grid(node, like)
    return on_grid.with_array((on_grid.array > 0).astype(np.uint8))


def labels_on(node: Node, table: LabelTable, like: Volume) -> Volume:
    """Return labels as label map on the grid of a volume; of another grid the nearest voxel.

    Parameters
    ----------
    node:
        ``vtkMRMLSegmentationNode``, whose segments become the values of the table, or ``vtkMRMLLabelMapVolumeNode``,
        whose values stay.
    table:
        The labels, such as :func:`table_of` finds them.
    like:
        The grid, where it lies in the world.

    Raises
    ------
    InputError
        When a segment is not in the table, a warp lies above the node, or it holds no voxels.
    """
    return label_map_of(node, table, like) if node.IsA("vtkMRMLSegmentationNode") else _on_grid(node, like)


def table_of(node: Node) -> LabelTable:
    """Return the names and colours of a node's labels.

    Parameters
    ----------
    node:
        ``vtkMRMLSegmentationNode``: every segment, with the value in its id (``label_7``), else Slicer's, else the next
        free one. ``vtkMRMLLabelMapVolumeNode``: every value but 0 that occurs, as the node's colours call it.

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
    """Give the labels of a fixed image the values that the moving image's labels of the same name have.

    Parameters
    ----------
    fixed:
        (i, j, k) label map.
    fixed_table, moving_table:
        The labels of either image. Names are compared without regard to upper and lower case.

    Returns
    -------
    tuple
        The fixed label map with its new values; the table of all labels, the moving image's first; the names that both
        images have.
    """
    known = {label.name.casefold(): label for label in moving_table}
    free = max(moving_table.values) + 1
    both: set[str] = set()
    added: list[Label] = []
    new = {0: 0}
    for label in fixed_table:
        same = known.get(label.name.casefold())
        if same is None:
            same = Label(free + len(added), label.name, label.colour)
            added.append(same)
        else:
            both.add(same.name)
        new[label.value] = same.value
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
    """Return a table of the values but 0 in a label map, called ``label 7`` unless they have a name.

    Parameters
    ----------
    labels:
        (i, j, k).
    names:
        ``name`` and ``color`` (``#rrggbb``) by value, where they are known.

    Raises
    ------
    InputError
        When the volume is no label map, or holds 0 alone.
    """
    values = np.unique(as_label_map(labels, "The label map").array).tolist()
    entries: dict[int, dict[str, str]] = {}
    for value in (value for value in values if value):
        entry = dict((names or {}).get(value, {"name": f"label {value}"}))
        if any(entry["name"] == other["name"] for other in entries.values()):
            entry["name"] += f" {value}"
        entries[value] = entry
    return LabelTable.from_mapping(entries)


def _names_of(node: Node) -> dict[int, dict[str, str]]:
    """Return what Slicer's colours of a label map call its values."""
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
