"""Search of the brain on a coarse grid, so that a fine one is evaluated only where the brain is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.atlas.rendering.brain import MARGIN_MM, brain_mask, within
from NeuroGenLib.core.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from NeuroGenLib.atlas.rendering.render import Grid, Renderer


@dataclass(frozen=True)
class BrainOutputs:
    """Raw outputs of the voxels (flat indices) that were evaluated.

    ``core`` (i, j, k) is the brain of the coarse search; None when the grid holds the whole brain.
    """

    voxels: np.ndarray
    outputs: np.ndarray
    core: np.ndarray | None


class BrainSearch:
    """Finds the brain once on a coarse grid, so that fine grids are evaluated only there."""

    coarse_mm = 6.0

    def __init__(self, renderer: Renderer, half_box: np.ndarray, intensities: int, background: Sequence[int]) -> None:
        from scipy.ndimage import binary_dilation, generate_binary_structure

        from NeuroGenLib.atlas.rendering.render import grid_in_box

        self._renderer, self._half_box = renderer, half_box
        self._coarse = grid_in_box(-half_box, half_box, (self.coarse_mm,) * 3)
        outputs = renderer(self._coarse.points(half_box)).cpu().numpy()
        classes = outputs[:, intensities:].argmax(1).reshape(self._coarse.shape)
        self._core = brain_mask(classes, self._coarse.spacing, background, margin_mm=0)
        # One voxel more on every side: what lies between two coarse voxels is sampled by neither.
        margin = within(self._core, self._coarse.spacing, MARGIN_MM)
        self._search_region = binary_dilation(margin, generate_binary_structure(3, 3))

    def evaluate(self, grid: Grid, *, masked: bool = True, progress: Progress = SILENT) -> BrainOutputs:
        """Evaluate the voxels of a grid that may be brain, or all that lie in the box when not masked."""
        nearest, inside = [], []
        for axis, start, step, count, half in zip(
            grid.axes(), self._coarse.origin, self._coarse.spacing, self._coarse.shape, self._half_box, strict=True
        ):
            nearest.append(np.clip(np.rint((axis - start) / step).astype(int), 0, count - 1))
            inside.append(np.abs(axis) <= half + 1e-6)
        chosen = inside[0][:, None, None] & inside[1][:, None] & inside[2]
        if masked:
            chosen = chosen & self._search_region[np.ix_(*nearest)]
        voxels = np.flatnonzero(chosen)
        outputs = self._renderer(grid.points(self._half_box, voxels), progress).cpu().numpy()
        return BrainOutputs(voxels, outputs, None if self._holds_brain(grid) else self._core[np.ix_(*nearest)])

    def _holds_brain(self, grid: Grid) -> bool:
        """Whether the grid covers every coarse voxel of the search region."""
        region = np.argwhere(self._search_region)
        if len(region) == 0:
            return True
        low = np.asarray(self._coarse.origin) + region.min(0) * self._coarse.spacing
        high = np.asarray(self._coarse.origin) + region.max(0) * self._coarse.spacing
        faces = [
            (axis[0] - step / 2, axis[-1] + step / 2) for axis, step in zip(grid.axes(), grid.spacing, strict=True)
        ]
        slack = self.coarse_mm
        return all(a - slack <= lo and hi <= b + slack for (a, b), lo, hi in zip(faces, low, high, strict=True))
