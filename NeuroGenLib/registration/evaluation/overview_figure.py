"""Overview figure of a registration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from NeuroGenLib.registration.evaluation.quality import RegistrationMaps
from NeuroGenLib.spatial.intensity import intensity_range, rescale
from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from NeuroGenLib.registration.infer import Registration
    from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap
    from NeuroGenLib.spatial.volume import Volume

PLANES = ("axial", "coronal", "sagittal")
_AXES = (2, 1, 0)
"""The axis of a RAS grid that each plane cuts."""
_TILES = 8
"""Squares of the checkerboard along the longer side of a section."""
_TITLES = ("moving, by its header", "moving, after the start", "registered")
"""Of the sections of the moving image, by stage."""
_MARGIN_MM = 6.0
_MOST_PIXELS = 400
"""Pixels along a side; sections of finer scans are thinned."""
_WIDEST_CHANGE = 1.25
"""Largest change of volume that has a colour of its own, as a power of two."""


@dataclass(frozen=True)
class Window:
    """The shown part of the fixed image: affine of its RAS grid, the voxel it is cut at, the box around the head."""

    affine: np.ndarray
    centre: tuple[int, int, int]
    low: tuple[int, int, int]
    high: tuple[int, int, int]

    def plane(self, axis: int) -> Plane:
        """Return the grid of the section across an axis."""
        steps = [max(1, -(-(high - low) // _MOST_PIXELS)) for low, high in zip(self.low, self.high, strict=True)]
        start = np.array([self.centre[axis] if other_axis == axis else self.low[other_axis] for other_axis in range(3)])
        counts = [
            1 if other_axis == axis else -(-(self.high[other_axis] - self.low[other_axis]) // steps[other_axis])
            for other_axis in range(3)
        ]
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ start
        affine[:3, :3] = affine[:3, :3] * steps
        return Plane((counts[0], counts[1], counts[2]), affine)


class Plane(NamedTuple):
    """A grid of one voxel along one axis: (i, j, k) and (4, 4) to RAS mm."""

    shape: tuple[int, int, int]
    affine: np.ndarray


def registration_figure(registration: Registration, fixed: Volume, moving: Volume, notice: str = "") -> Figure:
    """Plot three planes of the fixed image, of the moving one before, after the start and registered, and of both.

    Parameters
    ----------
    registration, fixed, moving:
        The result and its images, 3-D.
    notice:
        Of the model.
    """
    import matplotlib.pyplot as plt
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    maps = RegistrationMaps(registration.forward, registration.inverse, registration.start).by_stage()
    stages = dict(zip(_TITLES, maps.values(), strict=True))
    whole = abs(float(np.linalg.det(registration.start.fixed_to_moving[:3, :3])))
    window = head_window(fixed, registration.foreground)
    bright = {"fixed": _range(fixed), "moving": _range(moving)}
    titles = ("fixed", *stages, "fixed and registered", "local change of volume")
    figure, axes = plt.subplots(3, len(titles), figsize=(2.2 * len(titles), 6.9), layout="constrained", squeeze=False)
    colours = plt.get_cmap("RdBu").with_extremes(bad="#ff00ff")
    change = Normalize(-_WIDEST_CHANGE, _WIDEST_CHANGE)
    for row, (name, axis) in enumerate(zip(PLANES, _AXES, strict=True)):
        plane = window.plane(axis)
        sections = {"fixed": _scaled(_cut(stages["moving, by its header"], fixed, plane, axis), bright["fixed"])}
        for stage, stage_map in stages.items():
            sections[stage] = _scaled(_cut(stage_map, moving, plane, axis), bright["moving"])
        sections["fixed and registered"] = checkerboard(sections["fixed"], sections["registered"])
        spacing = np.delete(np.linalg.norm(plane.affine[:3, :3], axis=0), axis)
        for column, section in enumerate(sections.values()):
            _show(axes[row, column], section, spacing[1] / spacing[0], cmap="gray", vmin=0, vmax=1)
        factor = _cut(stages["moving, by its header"], registration.jacobian, plane, axis)
        _show(axes[row, -1], log_change(factor / whole), spacing[1] / spacing[0], cmap=colours, norm=change)
        axes[row, 0].set_ylabel(name, fontsize=9)
    for axis_above, title in zip(axes[0], titles, strict=True):
        axis_above.set_title(title, fontsize=10)
    bar = figure.colorbar(ScalarMappable(change, colours), ax=axes[:, -1], shrink=0.6, ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["half", "1", "double"], fontsize=8)
    bar.set_label(
        "volume in the moving image / in the fixed one,\nwithout the affine start; magenta: folded", fontsize=8
    )
    figure.suptitle(" ".join(filter(None, [_sentence(registration), notice])), fontsize=8, color="0.4", wrap=True)
    return figure


def head_window(fixed: Volume, inside: Volume) -> Window:
    """Return the middle of the foreground ``inside`` of the fixed image, and the box around it, on its RAS grid."""
    image = fixed.reorient("RAS")
    index = image.world_to_voxel(inside.voxel_to_world(np.argwhere(inside.array)))
    last = np.array(image.shape) - 1
    margin = _MARGIN_MM / np.array(image.spacing)
    low = np.clip(np.floor(index.min(axis=0) - margin), 0, last).astype(int)
    high = np.clip(np.ceil(index.max(axis=0) + margin), 0, last).astype(int) + 1
    centre = np.clip(np.round(index.mean(axis=0)), 0, last).astype(int)
    return Window(image.affine, *(_triple(corner) for corner in (centre, low, high)))


def checkerboard(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return squares of two sections in turn, :data:`_TILES` along the longer side; ``first`` begins."""
    side = max(1, max(first.shape) // _TILES)
    rows, columns = (np.arange(size) // side for size in first.shape)
    return np.where((rows[:, None] + columns) % 2 == 0, first, second)


def log_change(determinant: np.ndarray) -> np.ndarray:
    """Return the logarithm to base 2 of a volume's change; NaN where it is folded."""
    factor = np.asarray(determinant, dtype=np.float64)
    return np.log2(factor, out=np.full(factor.shape, np.nan), where=factor > 0)


def _cut(stage_map: SpatialMap, volume: Volume, plane: Plane, axis: int) -> np.ndarray:
    image: np.ndarray = stage_map.pull(volume, plane).array.take(0, axis=axis)
    return image


def _range(image: Volume) -> tuple[float, float]:
    low, high = intensity_range(image.array, (1, 99.5), mask=image.array > image.array.min())
    return min(low, 0.0) if image.array.min() >= 0 else low, high


def _scaled(section: np.ndarray, bright: tuple[float, float]) -> np.ndarray:
    return rescale(section, *bright)


def _show(axis: Axes, section: np.ndarray, aspect: float, **how: Any) -> None:
    """Show one section, patient's right on the left, superior or anterior up."""
    axis.imshow(section[::-1].T, origin="lower", aspect=aspect, interpolation="nearest", **how)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _sentence(registration: Registration) -> str:
    quality = registration.quality
    dice = quality.mean_dice()
    overlap = "" if dice is None else f"Mean Dice {quality.mean_dice('headers'):.3f} by the headers, {dice:.3f} now. "
    return f"{overlap}{quality.folded_voxels} folded voxels."


def _triple(values: np.ndarray) -> tuple[int, int, int]:
    i, j, k = (int(value) for value in values)
    return i, j, k
