"""Stacks of thick slices of one head: how thick, across which axis, and where they lie to each other."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.simulate.thick_slices import ProfileKind, SliceProfile, slice_direction, thickest_axis
from NeuroGenLib.spatial.volume import Volume, require_3d, require_finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from NeuroGenLib.simulate.thick_slices import Direction

_log = logging.getLogger(__name__)

_SAME_DISTANCE = 0.01
"""Part of the distance of slices by which thickness and gap may miss it."""
_FUSION_MM = 2.0
"""Voxel size of the fusion that stacks are placed on."""
_HEAD = 0.1
"""Part of the brightest (99th percentile) from which on a value belongs to the head."""
_SHOWN = 0.1
"""Part of the largest slice of the head that a slice must show for its motion to be measured."""
_MOVED_MM = 1.5
_MANY = 0.2
_SMOOTHING = 1.0
_STEPS = 8
_LONGEST_MM = 4.0


@dataclass(frozen=True, eq=False)
class Stack:
    """A scan in parallel slices.

    Attributes
    ----------
    volume:
        (i, j, k) intensities; the spacing along ``axis`` is the distance from slice to slice.
    axis:
        0, 1 or 2: the array axis across the slices.
    thickness:
        Full width at half maximum of the slice profile in mm.
    profile:
        ``gaussian`` or ``box``.
    pose:
        (4, 4) rigid: RAS mm of this stack to RAS mm of the first stack.
    """

    volume: Volume
    axis: int
    thickness: float
    profile: ProfileKind = "gaussian"
    pose: np.ndarray = field(default_factory=lambda: np.eye(4))

    @property
    def distance(self) -> float:
        """Distance from slice to slice in mm."""
        return self.volume.spacing[self.axis]

    @property
    def gap(self) -> float:
        """What lies between two slices in mm; below zero where they overlap."""
        return self.distance - self.thickness

    @property
    def direction(self) -> Direction:
        """Axial, coronal or sagittal, the nearest when oblique."""
        return slice_direction(self.volume, self.axis)

    @property
    def placed(self) -> Volume:
        """The stack in the world of the first one."""
        return Volume(self.volume.array, self.pose @ self.volume.affine)

    def posed(self, pose: np.ndarray) -> Stack:
        """Return this stack at another pose, (4, 4)."""
        return replace(self, pose=np.asarray(pose, dtype=np.float64))


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


def as_stack(
    volume: Volume,
    thickness: float | None = None,
    gap: float | None = None,
    axis: int | None = None,
    profile: ProfileKind = "gaussian",
    name: str = "The scan",
) -> Stack:
    """Return a scan as a stack; what is not given comes from its header.

    A header knows the distance of slices alone: they are taken to touch each other unless a thickness or a gap is
    given. Where both are given and do not add up to that distance, they are believed and the slices are set that far
    apart, about the middle of the scan.

    Parameters
    ----------
    volume:
        (i, j, k) intensities.
    thickness, gap:
        Of slices, in mm; a gap below zero means that they overlap.
    axis:
        Array axis across the slices; when not given, that of the largest spacing.
    profile, name:
        Of a slice; how messages call the scan.

    Raises
    ------
    InputError
        When the scan has channels, values that are not finite or no contrast, or the thickness or gap makes no sense.
    """
    require_3d(volume, name)
    require_finite(volume, name)
    if volume.array.min() == volume.array.max():
        raise InputError(f"{name} has the same value everywhere.", "Check that it is the right file.")
    across = thickest_axis(volume) if axis is None else axis
    distance = volume.spacing[across]
    if gap is not None and not np.isfinite(gap):
        raise InputError(f"A gap of {gap} mm makes no sense.", "Give a number of mm.")
    if thickness is None:
        thickness = distance - (gap or 0.0)
        if thickness <= 0:
            raise InputError(
                f"A gap of {gap:g} mm leaves nothing of slices that are {distance:.3g} mm apart in {name}.",
                "Give the thickness as well, or a smaller gap.",
            )
    SliceProfile(profile, thickness)  # says what is wrong with them
    if gap is not None:
        given = thickness + gap
        if given <= 0:
            raise InputError(
                f"Slices of {thickness:g} mm cannot overlap by {-gap:g} mm.", "Give a gap above minus the thickness."
            )
        if abs(given - distance) > _SAME_DISTANCE * distance:
            _log.warning(
                "%s has slices %.3g mm apart by its header; %.3g mm are used (thickness and gap).",
                name,
                distance,
                given,
            )
            volume = _respaced(volume, across, given)
    return Stack(volume, across, float(thickness), profile)


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
        Told of every stage.

    Raises
    ------
    InputError
        When a stack is constant, has channels or values that are not finite, or cannot be brought to overlap with the
        first one.
    """
    from NeuroGenLib.alignment.halfway import halfway_start
    from NeuroGenLib.alignment.prepared_image import PreparedImage

    seen = [None] * len(stacks) if masks is None else list(masks)
    first = PreparedImage.of(stacks[0].volume, seen[0], "The fixed")
    placed = [stacks[0].posed(np.eye(4))]
    parts = len(stacks) - 1 + rounds
    for index, stack in enumerate(stacks[1:]):
        part = progress.part(index / parts, (index + 1) / parts, f"Placing stack {index + 2}")
        start = halfway_start(first, PreparedImage.of(stack.volume, seen[index + 1], "The moving"), "rigid", part)
        placed.append(stack.posed(np.linalg.inv(start.fixed_to_moving)))
    for index in range(rounds if len(stacks) > 1 else 0):
        begin = len(stacks) - 1 + index
        placed = _placed_on_fusion(placed, seen, progress.part(begin / parts, (begin + 1) / parts))
    progress.update(1, 1, "Placed")
    return placed


def motion_between_slices(stack: Stack, fused: Volume) -> SliceMotion:
    """Measure how far each slice lies from where a rigid head would put it.

    The fused image is seen through the stack's slices; each measured slice is turned and shifted in its plane until it
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

    from NeuroGenLib.superres.stacks.fusion import StackModel

    expected = StackModel(stack, fused)(torch.from_numpy(fused.array.astype(np.float32))).numpy()
    spacing = [mm for axis, mm in enumerate(stack.volume.spacing) if axis != stack.axis]
    top = float(np.percentile(expected, 99))
    pairs = zip(np.moveaxis(expected, stack.axis, 0), np.moveaxis(stack.volume.array, stack.axis, 0), strict=True)
    counts = (np.moveaxis(expected, stack.axis, 0) > _HEAD * top).sum(axis=(1, 2))
    millimetres = np.array(
        [
            _in_plane_motion(one, other.astype(np.float64), spacing, _HEAD * top)
            if count > _SHOWN * counts.max()
            else np.nan
            for (one, other), count in zip(pairs, counts, strict=True)
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
    from NeuroGenLib.alignment.prepared_image import PreparedImage
    from NeuroGenLib.alignment.rotation_search import rigid_alignment, scan_levels
    from NeuroGenLib.superres.stacks.fusion import fuse

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


def _respaced(volume: Volume, axis: int, distance: float) -> Volume:
    affine = volume.affine.copy()
    affine[:3, axis] *= distance / volume.spacing[axis]
    affine[:3, 3] += volume.centre - Volume(volume.array, affine).centre
    return Volume(volume.array, affine)


def _in_plane_motion(expected: np.ndarray, seen: np.ndarray, spacing: Sequence[float], dark: float) -> float:
    """Return the mean distance in mm, over the head, that a slice (m, n) must be moved to fit the expected one."""
    from scipy import ndimage

    expected = ndimage.gaussian_filter(expected.astype(np.float64), _SMOOTHING)
    seen = ndimage.gaussian_filter(seen, _SMOOTHING)
    head = ndimage.binary_dilation(expected > dark, iterations=2)
    places = np.argwhere(head) * np.asarray(spacing)
    middle = places.mean(axis=0)
    arms = places - middle
    turn, shift = 0.0, np.zeros(2)
    for _ in range(_STEPS):
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        index = ((arms @ rotation.T + middle + shift) / spacing).T
        values = ndimage.map_coordinates(seen, index, order=1, mode="nearest")
        slopes = [
            ndimage.map_coordinates(np.gradient(seen, mm, axis=axis), index, order=1, mode="nearest")
            for axis, mm in enumerate(spacing)
        ]
        turned = arms @ rotation.T
        columns = np.stack([*slopes, slopes[1] * turned[:, 0] - slopes[0] * turned[:, 1], -expected[head]], axis=1)
        # The brightness of the slice is free.
        step = np.linalg.lstsq(columns, -values, rcond=1e-6)[0]
        step[:3] *= min(1.0, _LONGEST_MM / max(float(np.abs(step[:2]).max()), 1e-9))
        shift, turn = shift + step[:2], turn + step[2]
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return float(np.linalg.norm(arms @ rotation.T + shift - arms, axis=1).mean())
