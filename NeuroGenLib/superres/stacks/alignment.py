"""Rigid alignment of the stacks of one head, and the motion left between their slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.alignment.halfway import halfway_start
from NeuroGenLib.alignment.prepared_image import PreparedImage
from NeuroGenLib.alignment.rotation_search import rigid_alignment, scan_levels
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.superres.stacks.acquisition_model import AcquisitionModel
from NeuroGenLib.superres.stacks.fusion import fuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from NeuroGenLib.spatial.volume import Volume
    from NeuroGenLib.superres.stacks.stack import Stack

_FUSION_MM = 2.0
"""Voxel size of the fusion that stacks are placed on."""
_HEAD = 0.1
"""Part of the brightest (99th percentile) from which on a value belongs to the head."""
_SHOWN = 0.1
"""Part of the largest slice of the head that a slice must show for its motion to be measured."""
_MOVED_MM = 1.5
"""Motion from which on a slice counts as moved, mm; half of its thickness where that is less."""
_MANY = 0.2
"""Share of moved slices from which on there is a warning."""
_SMOOTHING = 1.0
"""Standard deviation of the smoothing of both slices before they are compared, pixels."""
_STEPS = 8
"""Gauss-Newton steps of the motion of a slice."""
_LONGEST_MM = 4.0
"""A step moves a slice at most this far."""


@dataclass(frozen=True, eq=False)
class SliceMotion:
    """What motion is left between the slices of a stack.

    Attributes
    ----------
    millimetres:
        (slices,) mean distance over the head of each slice from where it should lie; NaN where little head is seen.
    limit:
        Distance in mm from which on a slice counts as moved.
    moved:
        Part (0 to 1) of the slices with a head that moved.
    warning:
        A sentence where they are too many, else empty.
    """

    millimetres: np.ndarray
    limit: float
    moved: float
    warning: str


def align_stacks(
    stacks: Sequence[Stack],
    masks: Sequence[Volume | None] | None = None,
    rounds: int = 0,
    progress: Progress = SILENT,
) -> list[Stack]:
    """Return the stacks at rigid poses that bring them onto the first one, however far apart their headers are.

    Normalised mutual information places every stack on the first. With ``rounds``, every stack, the first as well, is
    then placed on the fusion of all, which has no thick slices in any direction.

    Parameters
    ----------
    stacks:
        The world of the first one is that of the result. Poses that they have are not looked at.
    masks:
        For each stack, nonzero where the brain is, in the space of the stack, or None.
    rounds:
        How often the stacks are fused and placed on the fusion: where they share little, it helps.
    progress:
        Progress callback.

    Raises
    ------
    InputError
        When a stack is constant, has channels or values that are not finite, or cannot be brought to overlap with the
        first one.
    """
    heads = [None] * len(stacks) if masks is None else list(masks)
    first = PreparedImage.of(stacks[0].volume, heads[0], "The fixed")
    placed = [stacks[0].posed(np.eye(4))]
    parts = len(stacks) - 1 + rounds
    for index, stack in enumerate(stacks[1:]):
        part = progress.part(index / parts, (index + 1) / parts, f"Placing stack {index + 2}")
        start = halfway_start(first, PreparedImage.of(stack.volume, heads[index + 1], "The moving"), "rigid", part)
        placed.append(stack.posed(np.linalg.inv(start.fixed_to_moving)))
    for index in range(rounds if len(stacks) > 1 else 0):
        begin = len(stacks) - 1 + index
        placed = _placed_on_fusion(placed, heads, progress.part(begin / parts, (begin + 1) / parts))
    progress.update(1, 1, "Placed")
    return placed


def motion_between_slices(stack: Stack, fused: Volume) -> SliceMotion:
    """Measure how far each slice lies from where a rigid head would put it.

    The fused image is seen through the stack's slices; each measured slice is rotated and shifted in its plane until it
    fits (motion across slices does not show). A slice counts as moved beyond half a thickness, or 1.5 mm, half of
    what cortex is thick, whichever is less; a fifth of such slices is too many for a rigid stack.

    Parameters
    ----------
    stack:
        At its pose.
    fused:
        The image of all stacks, isotropic, in the world of the first.
    """
    import torch

    expected = AcquisitionModel(stack, fused)(torch.from_numpy(fused.array.astype(np.float32))).numpy()
    spacing = [mm for axis, mm in enumerate(stack.volume.spacing) if axis != stack.axis]
    top = float(np.percentile(expected, 99))
    pairs = zip(np.moveaxis(expected, stack.axis, 0), np.moveaxis(stack.volume.array, stack.axis, 0), strict=True)
    counts = (np.moveaxis(expected, stack.axis, 0) > _HEAD * top).sum(axis=(1, 2))
    millimetres = np.array(
        [
            _in_plane_motion(synthetic, measured.astype(np.float64), spacing, _HEAD * top)
            if count > _SHOWN * counts.max()
            else np.nan
            for (synthetic, measured), count in zip(pairs, counts, strict=True)
        ]
    )
    limit = min(_MOVED_MM, stack.thickness / 2)
    shown = millimetres[np.isfinite(millimetres)]
    share = float((shown > limit).mean()) if len(shown) else 0.0
    warning = ""
    if share > _MANY:
        warning = (
            f"{share:.0%} of the {stack.direction} slices lie more than {limit:g} mm from where a head at rest would"
            " put them: it moved during the scan. NeSVoR and SVRTK are made for that: they place every slice by itself."
        )
    return SliceMotion(millimetres, limit, share, warning)


def _placed_on_fusion(stacks: list[Stack], masks: Sequence[Volume | None], progress: Progress) -> list[Stack]:
    """Return the stacks placed on their fusion; the first keeps its pose, the rest move with it."""
    finest = max(_FUSION_MM, min(stacks[0].volume.spacing))
    fused = fuse(stacks, finest, progress=progress.part(0, 0.6)).image
    whole = PreparedImage.of(fused, name="The moving")
    poses = []
    for index, (stack, mask) in enumerate(zip(stacks, masks, strict=True)):
        progress.update(6 + 4 * index / len(stacks), 10, f"Placing stack {index + 1} on the fusion")
        levels = scan_levels(PreparedImage.of(stack.volume, mask, "The fixed"), whole)
        poses.append(rigid_alignment(*levels, stack.pose))
    back = stacks[0].pose @ np.linalg.inv(poses[0])
    return [stack.posed(back @ pose) for stack, pose in zip(stacks, poses, strict=True)]


def _in_plane_motion(expected: np.ndarray, measured: np.ndarray, spacing: Sequence[float], dark: float) -> float:
    """Return the mean distance in mm, over the head, that a slice (m, n) must be moved to fit the expected one."""
    from scipy import ndimage

    expected = ndimage.gaussian_filter(expected.astype(np.float64), _SMOOTHING)
    measured = ndimage.gaussian_filter(measured, _SMOOTHING)
    head = ndimage.binary_dilation(expected > dark, iterations=2)
    places = np.argwhere(head) * np.asarray(spacing)
    middle = places.mean(axis=0)
    arms = places - middle
    angle, shift = 0.0, np.zeros(2)
    for _ in range(_STEPS):
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        index = ((arms @ rotation.T + middle + shift) / spacing).T
        values = ndimage.map_coordinates(measured, index, order=1, mode="nearest")
        slopes = [
            ndimage.map_coordinates(np.gradient(measured, mm, axis=axis), index, order=1, mode="nearest")
            for axis, mm in enumerate(spacing)
        ]
        rotated = arms @ rotation.T
        columns = np.stack([*slopes, slopes[1] * rotated[:, 0] - slopes[0] * rotated[:, 1], -expected[head]], axis=1)
        # The intensity scale of the slice is free.
        step = np.linalg.lstsq(columns, -values, rcond=1e-6)[0]
        step[:3] *= min(1.0, _LONGEST_MM / max(float(np.abs(step[:2]).max()), 1e-9))
        shift, angle = shift + step[:2], angle + step[2]
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return float(np.linalg.norm(arms @ rotation.T + shift - arms, axis=1).mean())
