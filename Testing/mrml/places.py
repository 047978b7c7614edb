"""Volumes as scanners store them, and files by Slicer's own storage nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK

from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import oblique, reoriented

if TYPE_CHECKING:
    from pathlib import Path

STORED = ("RAS", "LPS", "LAS", "PIR", "RAS turned", "LAS turned")
"""Ways to store a volume; half of them left-handed."""

WITHOUT_SLICER = "slicer-core is not installed: pip install 'neurogen[slicer]'"


def stored(volume: Volume, how: str) -> Volume:
    """Return the volume as one of :data:`STORED`: its voxels in that order, the head itself turned for ``turned``."""
    codes, _, turned = how.partition(" ")
    volume = reoriented(volume, codes)
    return oblique(volume) if turned else volume


def sheared(volume: Volume) -> Volume:
    """Return the same array under an affine whose axes are not at right angles."""
    shear = np.eye(4)
    shear[0, 1] = 0.2
    return Volume(volume.array, shear @ volume.affine)


def write_node(scene: Any, node: Any, path: Path) -> None:
    """Write a node by Slicer's storage node for it."""
    node.AddDefaultStorageNode()
    storage = node.GetStorageNode()
    storage.SetFileName(str(path))
    assert storage.WriteData(node) == 1


def read_node(scene: Any, kind: str, storage_kind: str, path: Path) -> Any:
    """Read a file into a new node by Slicer's storage node."""
    node = scene.AddNewNodeByClass(kind)
    storage = scene.AddNewNodeByClass(storage_kind)
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    return node


def by_simpleitk(path: Path) -> Volume:
    """Read a file by SimpleITK, and its place in RAS from LPS as ITK documents it."""
    image = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    array = SimpleITK.GetArrayFromImage(image)
    return Volume(array.transpose(range(array.ndim)[::-1]), np.diag([-1, -1, 1, 1]) @ affine)


def to_lps(points: np.ndarray) -> np.ndarray:
    """Turn RAS points (..., 3) into LPS, or back."""
    return points * (-1, -1, 1)


def moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Move points (n, 3) by a 4x4 matrix."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]
