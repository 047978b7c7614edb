"""Preparation of a scan for the network and for the optimisation: intensities, masks, grids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.alignment.halfway import HalfwayGrid, HalfwayStart, resample_to
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.intensity import rescale
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    import torch

    from NeuroGenLib.alignment.prepared_image import PreparedImage
    from NeuroGenLib.registration.manifest import PreparationEntry
    from NeuroGenLib.spatial.transforms.affine import Affine

_BRIGHTEST = 99.5
"""Percentile of the foreground that becomes 1, as in the generated images of the training."""
_DARKEST = 0.1
"""Percentile of the whole image that becomes 0."""
_IN_COMMON = 0.5
"""Shrinking, in the mean of both images' axes, from which on the mean is meaningless: some 60 degrees apart."""


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two images, ready.

    Parameters
    ----------
    image:
        (I, J, K) or (C, I, J, K) float32, about 0 to 1, and 0 outside the mask where there is one.
    inside:
        Its foreground or mask, in its own space, coarser than the image where no mask was given.
    to_image:
        Points of the halfway space to points of the image.
    """

    image: Volume
    inside: Volume
    to_image: Affine

    def on(self, grid: HalfwayGrid) -> torch.Tensor:
        """Return the image on a grid of the halfway space, (1, C, i, j, k)."""
        import torch

        channels = self.image.array if self.image.channels is not None else self.image.array[None]
        layers = [
            resample_to(Volume(layer, self.image.affine), self.to_image, (grid.shape, grid.affine)).array
            for layer in channels
        ]
        return torch.from_numpy(np.stack(layers).astype(np.float32))[None]

    def corners(self) -> np.ndarray:
        """Return the foreground's voxel centres in halfway space, (N, 3) RAS mm."""
        return self.to_image.inverse().points(self.inside.voxel_to_world(np.argwhere(self.inside.array)))


def prepared_side(image: PreparedImage, to_image: Affine, preparation: PreparationEntry) -> Side:
    """Return a scan ready for the network.

    Parameters
    ----------
    image:
        The scan, and where it counts.
    to_image:
        Of :class:`~NeuroGenLib.alignment.halfway.HalfwayStart`.
    preparation:
        Section of the model's manifest.

    Raises
    ------
    InputError
        When the model wants a mask and none is given.
    """
    if preparation.masked and image.mask is None:
        raise InputError(
            f"The model was trained on masked images, and {image.name.lower()} image has no mask.",
            "Give a mask for each.",
            code="value-missing",
        )
    inside = image.foreground
    within = None if image.mask is None else image.mask.array != 0
    layers = np.stack([_scaled(layer, within, preparation) for layer in image.channels])
    if within is not None:
        layers *= within
    ready = image.volume.with_array(layers if image.volume.channels is not None else layers[0])
    return Side(ready, inside, to_image)


def _scaled(values: np.ndarray, within: np.ndarray | None, preparation: PreparationEntry) -> np.ndarray:
    """Return intensities from about 0 to 1, by the rule of the model."""
    if preparation.normalisation == "fixed":
        low, high = preparation.clip or (None, None)
        limited = values.astype(np.float32)
        if low is not None or high is not None:
            np.clip(limited, low, high, out=limited)
        return (limited - np.float32(preparation.shift)) / np.float32(preparation.scale)
    if preparation.normalisation == "minmax":
        low, high = float(values.min()), float(values.max())
    else:
        low = float(np.percentile(values, _DARKEST))
        counted = values[within] if within is not None else values[values > low]
        high = float(np.percentile(counted, _BRIGHTEST)) if counted.size else low
    if high <= low:
        raise InputError(
            "An image has the same value everywhere.", "Check that it is the right file.", code="image-empty"
        )
    return rescale(values.astype(np.float32), low, high)


def network_grid(fixed: Side, moving: Side, preparation: PreparationEntry, *, exact: bool) -> HalfwayGrid:
    """Return the grid of the halfway space on which the network sees both images.

    Parameters
    ----------
    fixed, moving:
        The images.
    preparation:
        ``grid``, the voxels in training, and ``fill``, the share of the tightest axis that the brain took there: the
        voxel size follows, and the axes lie between those of both images, so that the same scans under rotated headers
        look the same. With ``fill`` None the voxel size is ``spacing``, along the axes ``orientation``.
    exact:
        Whether the network takes images of that shape alone.
    """
    shape = np.array(preparation.grid)
    if preparation.fill is not None:
        directions = _mean_axes(fixed, moving)
        low, high = _box(fixed, moving, directions)
        width = float(((high - low) / (preparation.fill * shape)).max())
        return _grid(directions @ ((low + high) / 2), shape, width * directions)
    low, high = _box(fixed, moving, np.eye(3))
    spacing = np.array(preparation.spacing, dtype=float)
    axes = preparation.orientation
    if not exact:
        order = [_axis(letter) for letter in axes]
        shape = np.ceil((high - low)[order] / spacing).astype(int) + 16
    return _grid((low + high) / 2, shape, _directions(axes) * spacing)


def fine_grids(fixed: Side, moving: Side, most_voxels: int, margin_mm: float) -> tuple[HalfwayGrid, HalfwayGrid]:
    """Return the coarse and the fine grid of the optimisation: voxels of four and of two image voxels.

    A voxel of an image is the geometric mean of all six sides; the fine grid has at most ``most_voxels``, with a note
    where that made it coarser. Their axes are those of :func:`network_grid`.
    """
    axes = _mean_axes(fixed, moving)
    low, high = _box(fixed, moving, axes)
    extent = high - low + 2 * margin_mm
    own = float(np.prod([*fixed.image.spacing, *moving.image.spacing]) ** (1 / 6))
    least = float((np.prod(extent) / most_voxels) ** (1 / 3))
    fine, note = 2 * own, ""
    if least > fine:
        note = f"The optimisation works at {least:.2f} mm instead of {fine:.2f} mm, to save memory and time."
        fine = least
    centre = axes @ ((low + high) / 2)
    coarse, finer = (_grid(centre, np.ceil(extent / width).astype(int) + 1, width * axes) for width in (2 * fine, fine))
    return coarse, HalfwayGrid(finer.shape, finer.affine, note)


def transform_affine(grid: HalfwayGrid, factor: tuple[float, float, float], shape: tuple[int, int, int]) -> np.ndarray:
    """Return the (4, 4) affine of the transform's grid, which has ``shape`` voxels and the centre of ``grid``."""
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, :3] * np.array(factor)
    centre = (np.array(grid.shape) - 1) / 2
    affine[:3, 3] += grid.affine[:3, :3] @ centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def prepared_sides(
    fixed: PreparedImage, moving: PreparedImage, start: HalfwayStart, preparation: PreparationEntry
) -> tuple[Side, Side]:
    """Return the fixed and the moving image, ready."""
    return (
        prepared_side(fixed, start.to_fixed, preparation),
        prepared_side(moving, start.to_moving, preparation),
    )


def _box(fixed: Side, moving: Side, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of the box around both foregrounds, (3,) each, mm along ``axes``: (3, 3), unit columns."""
    points = [side.corners() @ axes for side in (fixed, moving)]
    low = np.minimum(points[0].min(axis=0), points[1].min(axis=0))
    high = np.maximum(points[0].max(axis=0), points[1].max(axis=0))
    if np.array_equal(low, high):
        raise InputError(
            "What counts in both images is a single voxel, at one place.",
            "Check the masks, or leave them out.",
            code="image-empty",
        )
    return low, high


def _mean_axes(fixed: Side, moving: Side) -> np.ndarray:
    """Return the directions halfway between the voxel axes of both images, (3, 3) orthonormal columns, near R, A, S.

    R, A, S themselves where the two have little in common.
    """
    total = np.zeros((3, 3))
    for side in (fixed, moving):
        upright = side.image.reorient("RAS")
        directions = np.linalg.solve(side.to_image.matrix[:3, :3], upright.affine[:3, :3])
        total += directions / np.linalg.norm(directions, axis=0)
    left, scaling, right = np.linalg.svd(total)
    return left @ right if scaling[-1] > 2 * _IN_COMMON and np.linalg.det(left @ right) > 0 else np.eye(3)


def _directions(axes: str) -> np.ndarray:
    """Return the unit vectors of three letters as columns, (3, 3)."""
    columns = [np.eye(3)[_axis(letter)] * (1 if letter in "RAS" else -1) for letter in axes]
    return np.stack(columns, axis=1)


def _axis(letter: str) -> int:
    return {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}[letter]


def _grid(centre: np.ndarray, shape: np.ndarray, steps: np.ndarray) -> HalfwayGrid:
    """Return the grid about ``centre`` whose voxels are ``steps`` apart, (3, 3) columns in mm."""
    affine = np.eye(4)
    affine[:3, :3] = steps
    affine[:3, 3] = centre - steps @ ((shape - 1) / 2)
    i, j, k = (int(size) for size in shape)
    return HalfwayGrid((i, j, k), affine)
