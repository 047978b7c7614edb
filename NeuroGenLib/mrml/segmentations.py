"""Conversion between label maps and segmentation nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError, NeuroGenError, nearest
from NeuroGenLib.mrml.arrays import (
    fill_image,
    image_array,
    node_name,
    right_handed,
    storable,
    to_vtk_matrix,
)
from NeuroGenLib.mrml.core import Node, Scene, slicer, vtk
from NeuroGenLib.mrml.transforms import parent_matrix
from NeuroGenLib.spatial.labels import as_label_map

if TYPE_CHECKING:
    from NeuroGenLib.spatial.labels import Label, LabelTable
    from NeuroGenLib.spatial.volume import Volume

_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
_CATEGORY = "SCT^123037004^Anatomical Structure"
_REGIONS = "Anatomic codes - DICOM master list"


def segment_id(label: Label) -> str:
    """Return the id of a label's segment, which contains its value.

    Examples
    --------
    >>> from NeuroGenLib.spatial.labels import Label
    >>> segment_id(Label(17, "hippocampus", (220, 216, 20)))
    'label_17'
    """
    return f"label_{label.value}"


def add_segmentation(scene: Scene, labels: Volume, table: LabelTable, name: str) -> Node:
    """Add a label map as ``vtkMRMLSegmentationNode``, with a segment for every label but 0, including absent ones.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    labels:
        (i, j, k) label map.
    table:
        Names, colours and terms; the segments have its order and values.
    name:
        The node's name.

    Raises
    ------
    InputError
        When the volume is not a label map, or has values that the table lacks.

    Examples
    --------
    >>> from NeuroGenLib.mrml.scene import HeadlessScene
    >>> from NeuroGenLib.spatial.labels import LabelTable
    >>> from NeuroGenLib.spatial.volume import Volume
    >>> labels = Volume(np.ones((4, 4, 4), np.uint8), np.eye(4))
    >>> with HeadlessScene() as headless:
    ...     node = add_segmentation(headless.scene, labels, LabelTable.from_names(["background", "brain"]), "dseg")
    ...     node.GetSegmentation().GetSegmentIDs()
    ('label_1',)
    """
    labels = as_label_map(labels, f"The label map of '{name}'")
    _require_known(labels, table, name)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.GetSegmentation().SetSourceRepresentationName(_binary())
    update_segmentation(node, labels, table)
    return node


def update_segmentation(node: Node, labels: Volume, table: LabelTable) -> None:
    """Replace the label map of a segmentation made by :func:`add_segmentation`.

    Names, colours and visibility of its segments are kept; a surface that is shown in 3D is computed again.

    Raises
    ------
    InputError
        When the volume is not a label map, or has values that the table lacks.
    """
    labels = right_handed(as_label_map(labels, f"The label map of '{node_name(node)}'"))
    _require_known(labels, table, node_name(node))
    image = slicer.vtkOrientedImageData()
    fill_image(image, storable(labels.array))
    image.SetGeometryFromImageToWorldMatrix(to_vtk_matrix(labels.affine))
    converter = slicer.vtkSegmentationConverter
    segmentation = node.GetSegmentation()
    has_surface = segmentation.ContainsRepresentation(converter.GetClosedSurfaceRepresentationName())
    unfinished = node.StartModify()
    # All segments share one image; each consists of the voxels with its value.
    for label in _foreground(table):
        segment = segmentation.GetSegment(segment_id(label))
        if segment is None:
            segment = _new_segment(label)
            segment.AddRepresentation(_binary(), image)
            segmentation.AddSegment(segment, segment_id(label))
        else:
            segment.SetLabelValue(label.value)
            segment.AddRepresentation(_binary(), image)
    segmentation.SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(),
        converter.SerializeImageGeometry(to_vtk_matrix(labels.affine), image),
    )
    if has_surface:
        segmentation.InvalidateNonSourceRepresentations()
        node.CreateClosedSurfaceRepresentation()
    node.EndModify(unfinished)


def label_map_of(node: Node, table: LabelTable, like: Volume) -> Volume:
    """Return a segmentation as a label map on the grid of a volume; the values are those of the table.

    Parameters
    ----------
    node:
        ``vtkMRMLSegmentationNode``. Where segments overlap, the later one in the table counts. Resampled by the nearest
        voxel.
    table:
        Its labels; a segment belongs to the label with its id (:func:`segment_id`), else with its name.
    like:
        The grid, in world space.

    Raises
    ------
    InputError
        When a segment is not in the table, or the segmentation is under a warp.
    """
    segments = _segments_by_label(node.GetSegmentation(), table)
    values = np.array([0, *(label.value for label, _ in segments)])
    positions = _merged(node, [identifier for _, identifier in segments], like)
    return like.with_array(values.astype(np.min_scalar_type(int(values.max())))[positions])


def mask_of(node: Node, like: Volume) -> Volume:
    """Return the mask of all segments, as 0 and 1 on the grid of a volume.

    Parameters
    ----------
    node:
        ``vtkMRMLSegmentationNode``; its segments may have any name.
    like:
        The grid, in world space.

    Raises
    ------
    InputError
        When the segmentation is under a warp.
    """
    return like.with_array((_merged(node, list(node.GetSegmentation().GetSegmentIDs()), like) > 0).astype(np.uint8))


def _merged(node: Node, identifiers: list[str], like: Volume) -> np.ndarray:
    """Return (i, j, k) on the grid of a volume: 0 outside, n in the n-th of the segments; the later one counts."""
    if not identifiers:
        return np.zeros(like.shape, np.uint8)
    if not node.GetSegmentation().ContainsRepresentation(_binary()) and not node.CreateBinaryLabelmapRepresentation():
        raise NeuroGenError(
            f"Slicer could not make voxels of the segmentation '{node_name(node)}'.",
            "Check its surfaces.",
            code="labels-invalid",
        )
    # Slicer's merging has 16 bits: it gets the positions, 1 and on, instead of values.
    ids, positions = vtk.vtkStringArray(), vtk.vtkIntArray()
    for position, identifier in enumerate(identifiers, start=1):
        ids.InsertNextValue(identifier)
        positions.InsertNextValue(position)
    grid, merged = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    grid.SetDimensions(*like.shape)
    grid.SetGeometryFromImageToWorldMatrix(to_vtk_matrix(np.linalg.inv(parent_matrix(node)) @ like.affine))
    whole = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    if not node.GenerateMergedLabelmapForAllSegments(merged, whole, grid, ids, positions):
        raise NeuroGenError(
            f"Slicer could not merge the segments of '{node_name(node)}'.",
            "Check its segments.",
            code="labels-invalid",
        )
    return image_array(merged)


def _binary() -> str:
    return str(slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName())


def _foreground(table: LabelTable) -> list[Label]:
    return [label for label in table if label.value != 0]


def _new_segment(label: Label) -> Any:
    segment = slicer.vtkSegment()
    segment.SetName(label.name)
    segment.SetColor(*(part / 255 for part in label.colour))
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    segment.SetLabelValue(label.value)
    if label.terminology:
        # Scheme^code^meaning of category and type, then the (empty) modifier, region and region's modifier.
        entry = "~".join((_CONTEXT, _CATEGORY, label.terminology, "^^", _REGIONS, "^^", "^^"))
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), entry)
    return segment


def _require_known(labels: Volume, table: LabelTable, name: str) -> None:
    unknown = sorted({int(value) for value in np.unique(labels.array)} - {0, *table.values})
    if unknown:
        shown = ", ".join(str(value) for value in unknown[:8]) + (", ..." if len(unknown) > 8 else "")
        raise InputError(
            f"The label map of '{name}' has {len(unknown)} value(s) that the label table lacks: {shown}.",
            "Give the table that belongs to this label map.",
            code="labels-invalid",
        )


def _segments_by_label(segmentation: Any, table: LabelTable) -> list[tuple[Label, str]]:
    """Return the labels that have a segment, in the table's order, with its id."""
    labels = _foreground(table)
    by_key = {label.name: label for label in labels} | {segment_id(label): label for label in labels}
    segments: dict[int, str] = {}
    for identifier in segmentation.GetSegmentIDs():
        name = segmentation.GetSegment(identifier).GetName()
        label = by_key.get(identifier) or by_key.get(name)
        if label is None:
            raise InputError(
                f"The segment '{name}' is not in the label table.", nearest(name, table.names), code="name-unknown"
            )
        if label.value in segments:
            raise InputError(
                f"Two segments are the label '{label.name}'.", "Merge them, or remove one.", code="value-duplicate"
            )
        segments[label.value] = identifier
    return [(label, segments[label.value]) for label in labels if label.value in segments]
