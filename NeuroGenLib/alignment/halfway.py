"""Symmetric affine initialisation: both images meet halfway, swapped images swap the result exactly.

The transform between the images is estimated in both directions by mutual information and the two are averaged. Its
square root leads from a halfway space to either image: the network sees both on one grid there, neither of them as it
was stored.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from NeuroGenLib.alignment.mutual_information import ScanLevel, information_alignment, similarity, transform_points
from NeuroGenLib.alignment.rotation_search import overlap, rigid_alignment, rough_start, scan_levels
from NeuroGenLib.alignment.scan_similarity import less_similar, scan_similarity
from NeuroGenLib.core.errors import InputError, NeuroGenError, nearest
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.spatial.transforms.affine import Affine
from NeuroGenLib.spatial.volume import Grid, Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from NeuroGenLib.alignment.prepared_image import PreparedImage

StartKind: TypeAlias = Literal["affine", "rigid", "none"]
START_KINDS: tuple[StartKind, ...] = get_args(StartKind)


_LEAST_OVERLAP = 0.25
"""Part of the smaller foreground that must lie in the other one after the start."""
_MOST_SCALING = 3.0
"""An affine start that scales by more than this, or less than its reciprocal, along an axis is implausible."""
_WORSE = 0.95
"""Part of the similarity of a rigid start that an affine one may lose: fields of view that cut the head cost some."""
_DISAGREEMENT = 0.1
"""Distance between the two directions, as a part of the head's size, from which on they are not averaged."""
_NEAR_180_DEGREES = 0.05
"""Radians around a rotation by 180 degrees within which the square root is taken of rotation and scaling apart."""


@dataclass(frozen=True, eq=False)
class HalfwayStart:
    """Affine initialisation: maps from a halfway space to either image, RAS mm.

    Parameters
    ----------
    halfway_to_fixed, halfway_to_moving:
        (4, 4); points of the halfway space to points of the image.
    similarity_before, similarity_after:
        Normalised mutual information (0 to 1, both directions averaged, over the foregrounds) as the headers place
        the images, and after the start.
    disagreement_mm:
        Mean error of inverse consistency, over the foreground, of the two directions that were averaged.
    notes:
        Warnings.

    Examples
    --------
    >>> to_fixed, to_moving = np.eye(4), np.eye(4)
    >>> to_fixed[0, 3], to_moving[0, 3] = -2, 2
    >>> start = HalfwayStart(to_fixed, to_moving, 0.1, 0.3, 0.0)
    >>> float(start.fixed_to_moving[0, 3])
    4.0
    """

    halfway_to_fixed: np.ndarray
    halfway_to_moving: np.ndarray
    similarity_before: float
    similarity_after: float
    disagreement_mm: float
    notes: tuple[str, ...] = ()

    @property
    def to_fixed(self) -> Affine:
        """Points of the halfway space to points of the fixed image."""
        return Affine(self.halfway_to_fixed, "halfway", "fixed")

    @property
    def to_moving(self) -> Affine:
        """Points of the halfway space to points of the moving image."""
        return Affine(self.halfway_to_moving, "halfway", "moving")

    @property
    def fixed_to_moving(self) -> np.ndarray:
        """The whole start, (4, 4): points of the fixed image to points of the moving one."""
        return self.halfway_to_moving @ np.linalg.inv(self.halfway_to_fixed)

    def swapped(self) -> HalfwayStart:
        """Return the start of the same images with fixed and moving exchanged."""
        return HalfwayStart(
            self.halfway_to_moving,
            self.halfway_to_fixed,
            self.similarity_before,
            self.similarity_after,
            self.disagreement_mm,
            self.notes,
        )


class HalfwayGrid(NamedTuple):
    """An isotropic grid in halfway space: voxels along i, j, k; (4, 4) to RAS mm; a sentence where it was limited."""

    shape: tuple[int, int, int]
    affine: np.ndarray
    note: str = ""


def halfway_start(
    fixed: PreparedImage, moving: PreparedImage, kind: StartKind = "affine", progress: Progress = SILENT
) -> HalfwayStart:
    """Find the start: rigid, then affine, in both directions, averaged; however far apart the headers are.

    Where it makes the images less similar than their headers do, the headers are kept, and a note says so.

    Rotations all over the sphere are tried on coarse copies, the headers' own placement among them. One thread and
    no random numbers: the same images give the same bits, and exchanged images give exactly the exchanged start.

    Parameters
    ----------
    fixed, moving:
        Of any contrast, orientation and voxel size; what lies outside their masks is not used.
    kind:
        ``affine``, ``rigid``, or ``none`` where the headers are to be trusted.
    progress:
        Progress callback.

    Raises
    ------
    InputError
        When an image is constant or has values that are not finite, a mask is empty or in another space,
        the kind is unknown, or the images cannot be brought to overlap.
    """
    if kind not in START_KINDS:
        raise InputError(f"'{kind}' is not a kind of start.", nearest(str(kind), START_KINDS), code="name-unknown")
    progress.update(0, 10, "Preparing the images")
    scans = scan_levels(fixed, moving)
    if kind == "none":
        return _none(*scans)
    # One canonical order of the two images: exchanged inputs then take the very same steps.
    first, second = sorted(scans, key=_digest)
    start = _ordered_start(first, second, kind, progress)
    return _no_worse_than_headers(start if first is scans[0] else start.swapped(), fixed, moving)


def resample_to(volume: Volume, to_volume: Affine, grid: Grid | HalfwayGrid, order: int = 1) -> Volume:
    """Return ``volume`` on a grid of the halfway space.

    Parameters
    ----------
    volume, to_volume:
        An image, mask or label map, and the map from the halfway space to it (:class:`HalfwayStart`).
    grid, order:
        Where it goes; as for :meth:`NeuroGenLib.spatial.volume.Volume.resample`, which smooths where the grid is
        coarser. Outside the image the value is that of its darkest voxel; 0 for order 0.
    """
    like = grid if isinstance(grid, Volume) else (grid[0], grid[1])
    fill = 0.0 if order == 0 else float(volume.array.min())
    return aligned(volume, to_volume.matrix, like, order, fill)


def aligned(moving: Volume, transform: np.ndarray, like: Grid, order: int = 1, fill: float = 0) -> Volume:
    """Return ``moving`` on the grid of ``like``, pulled through a transform from ``like`` to ``moving``.

    Parameters
    ----------
    moving, transform, like:
        What is pulled; (4, 4) RAS mm to RAS mm; a volume, or (shape, affine).
    order, fill:
        As for :meth:`NeuroGenLib.spatial.volume.Volume.resample`.
    """
    placed = type(moving)(moving.array, np.linalg.inv(transform) @ moving.affine)
    return placed.resample(like=like, order=order, fill=fill)


def geometric_mean(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Return the affine halfway between ``forward`` and the inverse of ``backward``, (4, 4).

    ``forward (backward forward)^-1/2``: the mean of the two logarithms where they commute, and defined as long as the
    two agree roughly, also near a rotation by 180 degrees, where logarithms jump. Exchanging the arguments gives the
    inverse.

    Examples
    --------
    >>> forward, backward = np.eye(4), np.eye(4)
    >>> forward[0, 3], backward[0, 3] = 4, -2
    >>> float(geometric_mean(forward, backward)[0, 3])
    3.0
    """
    return forward @ np.linalg.inv(square_root(backward @ forward))


def square_root(matrix: np.ndarray) -> np.ndarray:
    """Return the principal square root of an affine matrix, (4, 4), real.

    Near a rotation by 180 degrees there is none that is real or small: of such a matrix, half the rotation and the
    root of the scaling are returned, which is a root up to the scaling.

    Raises
    ------
    NeuroGenError
        When the matrix mirrors.

    Examples
    --------
    >>> np.diag(square_root(np.diag([4.0, 1.0, 1.0, 1.0]))).tolist()
    [2.0, 1.0, 1.0, 1.0]
    """
    from scipy.linalg import sqrtm
    from scipy.spatial.transform import Rotation

    linear = matrix[:3, :3]
    if np.linalg.det(linear) <= 0:
        raise NeuroGenError(
            "The start of the registration mirrors the image.",
            "Check the headers of both images.",
            code="geometry-invalid",
        )
    if np.abs(np.angle(np.linalg.eigvals(linear))).max() < np.pi - _NEAR_180_DEGREES:
        root = np.real(sqrtm(linear))
    else:
        left, scaling, right = np.linalg.svd(linear)
        rotation = Rotation.from_rotvec(Rotation.from_matrix(left @ right).as_rotvec() / 2).as_matrix()
        root = rotation @ right.T @ np.diag(np.sqrt(scaling)) @ right
    result = np.eye(4)
    result[:3, :3] = root
    result[:3, 3] = np.linalg.solve(root + np.eye(3), matrix[:3, 3])
    return result


def _none(fixed: Sequence[ScanLevel], moving: Sequence[ScanLevel]) -> HalfwayStart:
    same = np.eye(4)
    if overlap(fixed[0], moving[0], same) == 0:
        raise InputError(
            "The two images do not overlap where their headers place them.",
            "Start with 'rigid' or 'affine' instead of 'none', or repair the headers.",
            code="geometry-mismatch",
        )
    value = similarity(fixed[1], moving[1], same)
    return HalfwayStart(same, same, value, value, 0.0)


def _no_worse_than_headers(start: HalfwayStart, fixed: PreparedImage, moving: PreparedImage) -> HalfwayStart:
    """Return the start, or the headers' placement and a note where the scans are more similar there."""
    headers = np.eye(4)
    before, after = (
        scan_similarity(
            fixed, moving, partial(transform_points, matrix), partial(transform_points, np.linalg.inv(matrix))
        )
        for matrix in (headers, start.fixed_to_moving)
    )
    # Outlines count in the one measure, what is inside them in the other.
    outlines = start.similarity_before, start.similarity_after
    worse = next((pair for pair in ((before, after), outlines) if less_similar(pair[1], pair[0])), None)
    if worse is None:
        return start
    note = (
        "The start made the images less similar than their headers do (normalised mutual information"
        f" {worse[0]:.3f}, then {worse[1]:.3f}): the headers were kept."
    )
    similar = start.similarity_before
    return HalfwayStart(headers, headers, similar, similar, 0.0, (*start.notes, note))


def _ordered_start(
    first: Sequence[ScanLevel], second: Sequence[ScanLevel], kind: StartKind, progress: Progress
) -> HalfwayStart:
    notes: list[str] = []
    rough = rough_start(first, second, progress.part(0.05, 0.5))
    progress.update(5, 10, "Aligning one way")
    forward = _refined(first, second, rough, kind, notes)
    progress.update(7, 10, "Aligning the other way")
    backward = _refined(second, first, np.linalg.inv(rough), kind, notes)
    points = first[0].points
    disagreement = float(np.linalg.norm(transform_points(backward @ forward, points) - points, axis=1).mean())
    if disagreement <= _DISAGREEMENT * first[0].size_mm:
        middle = geometric_mean(forward, backward)
    else:
        middle = max((forward, np.linalg.inv(backward)), key=lambda matrix: similarity(first[1], second[1], matrix))
        notes.append(
            f"The two directions of the start differ by {disagreement:.0f} mm; the more similar one was taken."
        )
    if overlap(first[0], second[0], middle) < _LEAST_OVERLAP:
        raise InputError(
            "The two images could not be brought to overlap.",
            "Check that both show the same part of the body, give brain masks, or align them roughly by hand.",
            code="geometry-mismatch",
        )
    half = square_root(middle)
    progress.update(10, 10, "Aligned")
    return HalfwayStart(
        np.linalg.inv(middle) @ half,
        half,
        similarity(first[1], second[1], np.eye(4)),
        similarity(first[1], second[1], middle),
        disagreement,
        tuple(dict.fromkeys(notes)),
    )


def _refined(
    fixed: Sequence[ScanLevel], moving: Sequence[ScanLevel], rough: np.ndarray, kind: StartKind, notes: list[str]
) -> np.ndarray:
    """Return ``rough`` improved over the finer levels: rigid, then affine."""
    rigid = rigid_alignment(fixed, moving, rough)
    if kind == "rigid":
        return rigid
    affine = information_alignment(fixed[1], moving[1], rigid, affine=True)
    affine = information_alignment(fixed[2], moving[2], affine, affine=True)
    scaling = np.linalg.svd(affine[:3, :3], compute_uv=False)
    if np.linalg.det(affine[:3, :3]) <= 0 or scaling[0] > _MOST_SCALING or scaling[-1] < 1 / _MOST_SCALING:
        notes.append("The affine start would scale the head implausibly; a rigid one was taken.")
        return rigid
    worse = similarity(fixed[2], moving[2], affine) < _WORSE * similarity(fixed[2], moving[2], rigid)
    return rigid if worse else affine


def _digest(levels: Sequence[ScanLevel]) -> bytes:
    scan = levels[0]
    return hashlib.sha256(scan.image.array.tobytes() + scan.image.affine.tobytes()).digest()
