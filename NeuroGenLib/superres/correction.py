"""Corrections that the networks add to an interpolated scan, in its own units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.device import with_memory_fallback
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.spatial.sliding_window import sliding_window_inference
from NeuroGenLib.superres.intensity import head_range

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from NeuroGenLib.spatial.volume import Volume
    from NeuroGenLib.superres.network import SuperresNetwork
    from NeuroGenLib.superres.published.unet import FoldedUNet
    from NeuroGenLib.superres.stacks.stack import Stack

    Warn = Callable[[str], None]

_SIDE, _LEAST_SIDE = 96, 32
"""Sides of a window of the residual network: usual, and where memory is short."""
_OVERLAP = 0.25
"""Of windows of the residual network, as a part of their side."""
PUBLISHED_OVERLAP = 3 / 8
"""Of windows of the published network: its own pipeline takes a half without weights, 1.8 times as many windows."""
_BATCH = 16
"""Windows of the published network at a time."""
_MESSAGE = "super-resolution"


def residual_correction(
    network: SuperresNetwork,
    image: Volume,
    guide: Volume | None,
    head: Volume,
    region: Volume,
    slices: Sequence[Sequence[float]],
    device: torch.device,
    warn: Warn,
    progress: Progress = SILENT,
) -> Volume:
    """Return what the residual network adds, float32 in the units of ``image`` and on its grid.

    Parameters
    ----------
    network:
        In eval mode.
    image, guide:
        The interpolated scan; another contrast on the same grid.
    head, region:
        Boolean: where intensities are measured, and where the correction is needed.
    slices:
        (2, 3), see :func:`slices_along`.
    device, warn, progress:
        Where it computes; callback for a warning when memory runs out; progress callback.

    Raises
    ------
    InputError
        When the head has no contrast.
    """
    import torch

    low, high = head_range(image.array, head.array, "The scan")
    channels = [_scaled(image, low, high)]
    if guide is not None:
        channels.append(_scaled(guide, *head_range(guide.array, head.array, "The guide")))
    record = torch.tensor([list(map(list, slices))], dtype=torch.float32)

    def work(place: torch.device, side: int) -> torch.Tensor:
        here, condition = network.to(place), record.to(place)

        def correction(windows: torch.Tensor) -> torch.Tensor:
            scan, guides = windows[:, :1], windows[:, 1:] if guide is not None else None
            corrected: torch.Tensor = here(scan, guides, condition.expand(len(windows), 2, 3))
            return corrected - scan

        multiple = network.config.multiple
        length = max(1, side // multiple) * multiple
        return sliding_window_inference(
            correction,
            channels,
            length,
            _OVERLAP,
            inside=torch.from_numpy(region.array),
            multiple=multiple,
            device=place,
            message=_MESSAGE,
            progress=progress,
        )

    corrected = with_memory_fallback(work, device, _SIDE, smallest=_LEAST_SIDE, warn=warn)
    return image.with_array((high - low) * corrected.numpy())


def published_correction(
    network: FoldedUNet,
    image: Volume,
    guide: Volume,
    head: Volume,
    device: torch.device,
    warn: Warn,
    progress: Progress = SILENT,
) -> Volume:
    """Return what the published network makes of a scan, less the scan; float32 in its units and on its grid.

    Intensities beyond the percentiles, which that network never saw, bypass it.

    Parameters
    ----------
    network:
        In eval mode.
    image, guide:
        The interpolated T2w and the T1w, at the voxel size, orientation and pose that the network knows.
    head:
        Boolean; windows without any are skipped.
    device, warn, progress:
        As for :func:`residual_correction`.

    Raises
    ------
    InputError
        When the head has no contrast.
    """
    import torch

    low, high = head_range(image.array, head.array, "The scan")
    t1w = _scaled(guide, *head_range(guide.array, head.array, "The guide")).clamp(0, 1)
    t2w = _scaled(image, low, high).clamp(0, 1)

    def work(place: torch.device, batch: int) -> torch.Tensor:
        here = network.to(place)

        def correction(windows: torch.Tensor) -> torch.Tensor:
            corrected: torch.Tensor = here(windows)
            return corrected - windows[:, 1:]

        return sliding_window_inference(
            correction,
            [t1w, t2w],
            network.window,
            PUBLISHED_OVERLAP,
            inside=torch.from_numpy(head.array),
            multiple=network.window,
            batch=batch,
            device=place,
            message=_MESSAGE,
            progress=progress,
        )

    corrected = with_memory_fallback(work, device, _BATCH, warn=warn)
    return image.with_array((high - low) * corrected.numpy())


def slices_along(stacks: Sequence[Stack], grid: Volume) -> list[list[float]]:
    """Return thickness and distance of slices along each axis of an isotropic grid, (2, 3), in its voxels.

    0 on axes across which no stack was scanned; of several stacks across an axis, the thinnest counts.
    """
    directions, width = grid.affine[:3, :3] / grid.spacing, grid.spacing[0]
    record = [[0.0] * 3, [0.0] * 3]
    for stack in sorted(stacks, key=lambda stack: -stack.thickness):
        across = stack.placed.affine[:3, stack.axis] / stack.distance
        axis = int(np.argmax(np.abs(directions.T @ across)))
        record[0][axis], record[1][axis] = stack.thickness / width, stack.distance / width
    return record


def _scaled(image: Volume, low: float, high: float) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray((image.array - np.float32(low)) / np.float32(high - low), np.float32))
