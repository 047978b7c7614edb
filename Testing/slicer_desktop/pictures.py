"""Pictures without a display: of widgets, and of slices as a slice view shows them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtGui import QFontDatabase

if TYPE_CHECKING:
    from pathlib import Path

PANEL_WIDTH = 500
"""Pixels; about what Slicer's module panel has on a desktop."""


def photograph(widget: Any, path: Path) -> Path:
    """Save a widget as PNG; a panel gets a desktop's width and the height it asks for."""
    if not QFontDatabase.families():
        warnings.warn("No font is installed, so that letters are boxes: install fonts-dejavu.", stacklevel=3)
    if widget.isWindow():
        widget.show()
        width, height = max(PANEL_WIDTH, widget.minimumSizeHint().width()), widget.sizeHint().height()
        layout = widget.layout()
        if layout is not None and layout.hasHeightForWidth():  # texts over several lines
            height = max(height, layout.totalHeightForWidth(width))
        widget.resize(width, height)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not widget.grab().save(str(path), "PNG"):
        raise OSError(f"The picture cannot be written to {path}.")
    return path


class SlicePictures:
    """Slice logics of one scene, kept between pictures, so that one takes milliseconds."""

    def __init__(self, scene: Any, application_logic: Any) -> None:
        self._scene = scene
        self._application_logic = application_logic
        self._logics: dict[str, Any] = {}
        self._label_maps: dict[str, Any] = {}

    def draw(self, volume_node: Any, orientation: str, segmentation: Any, size: tuple[int, int]) -> np.ndarray:
        """Return the picture; see :meth:`Desktop.slice_picture`."""
        logic = self._logic(orientation)
        logic.GetSliceNode().SetDimensions(*size, 1)
        layers = logic.GetSliceCompositeNode()
        layers.SetBackgroundVolumeID(volume_node.GetID())
        layers.SetLabelVolumeID(self._label_map(segmentation, volume_node) if segmentation is not None else None)
        logic.FitSliceToBackground()
        logic.UpdatePipeline()
        return _pixels(logic)

    def close(self) -> None:
        """Let go of the scene."""
        for logic in self._logics.values():
            logic.SetMRMLApplicationLogic(None)
            logic.SetMRMLScene(None)
        self._logics.clear()

    def _logic(self, orientation: str) -> Any:
        import slicer

        logic = self._logics.get(orientation)
        if logic is not None and logic.GetSliceNode() is not None and logic.GetSliceNode().GetScene() is not None:
            return logic
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self._application_logic)
        logic.SetMRMLScene(self._scene)
        node = logic.AddSliceNode(f"Picture{orientation}")
        if not node.SetOrientation(orientation):
            raise ValueError(f"There is no orientation {orientation}; there are Axial, Sagittal and Coronal.")
        self._logics[orientation] = logic
        return logic

    def _label_map(self, segmentation: Any, volume_node: Any) -> str:
        """Return the ID of a label map with the segments' values and colours, on the volume's grid."""
        import slicer

        key = segmentation.GetID()
        node = self._label_maps.get(key)
        if node is None or node.GetScene() is None:
            node = self._scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", f"{segmentation.GetName()} picture")
            node.SetHideFromEditors(True)
            self._label_maps[key] = node
        slicer.modules.segmentations.logic().ExportVisibleSegmentsToLabelmapNode(segmentation, node, volume_node)
        return node.GetID()


def _pixels(logic: Any) -> np.ndarray:
    from vtk.util.numpy_support import vtk_to_numpy

    logic.GetBlend().Update()
    image = logic.GetBlend().GetOutput()
    width, height, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
    return np.ascontiguousarray(pixels[::-1, :, :3])  # VTK's first row is the lowest
