"""Similarity of two volumes on one grid: overlap of labels, agreement of intensities.

All functions take plain arrays of one shape; check first that the volumes share a space
(:func:`NeuroGenLib.spatial.volume.require_same_space`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

_SSIM_WINDOW = 7


def dice_by_label(prediction: ArrayLike, reference: ArrayLike, background: Sequence[int] = (0,)) -> dict[int, float]:
    """Dice overlap of every label in either of two label maps.

    Parameters
    ----------
    prediction, reference:
        Label maps of the same shape.
    background:
        Labels that do not count.

    Returns
    -------
    dict
        Label to ``2 |A and B| / (|A| + |B|)``, between 0 (also where one map lacks the label) and 1, by rising label.

    Raises
    ------
    InputError
        When the shapes differ, a value is not a whole number, or neither map has a label besides the background.

    Examples
    --------
    >>> dice_by_label([0, 1, 1, 2], [0, 1, 2, 2])
    {1: 0.6666666666666666, 2: 0.6666666666666666}
    """
    first, second = _pair(prediction, reference)
    values = np.union1d(first, second)
    if not np.array_equal(values, np.trunc(values)):
        raise InputError(
            "A label map has values that are not whole numbers.",
            "Give segmentations, not images.",
            code="labels-invalid",
        )
    labels = [int(value) for value in values if int(value) not in background]
    if not labels:
        raise InputError(
            "Neither label map has a label besides the background.",
            "Check that they are segmentations.",
            code="image-empty",
        )
    overlaps = {}
    for label in labels:
        inside_first, inside_second = first == label, second == label
        both = np.count_nonzero(inside_first & inside_second)
        overlaps[label] = float(2 * both / (np.count_nonzero(inside_first) + np.count_nonzero(inside_second)))
    return overlaps


def mean_dice(prediction: ArrayLike, reference: ArrayLike, background: Sequence[int] = (0,)) -> float:
    """Unweighted mean of :func:`dice_by_label`.

    Examples
    --------
    >>> mean_dice([0, 1, 1, 2], [0, 1, 1, 0])
    0.5
    """
    return float(np.mean(list(dice_by_label(prediction, reference, background).values())))


def psnr(image: ArrayLike, reference: ArrayLike, data_range: float = 1.0, *, mask: ArrayLike | None = None) -> float:
    """Peak signal-to-noise ratio in dB, ``10 log10(data_range^2 / mean squared difference)``.

    Parameters
    ----------
    image, reference:
        Intensities of the same shape.
    data_range:
        Largest possible difference: 1 for intensities in [0, 1].
    mask:
        Of the same shape: only nonzero voxels count.

    Returns
    -------
    float
        Infinite where the two are equal.

    Raises
    ------
    InputError
        When the shapes differ, a value is not finite, the range is not above zero, or the mask is empty.

    Examples
    --------
    >>> round(psnr([0.1, 0.5], [0.0, 0.6]), 3)
    20.0
    """
    first, second = _masked(*_images(image, reference), mask)
    _require_range(data_range)
    error = float(np.mean(np.square(first - second)))
    return float("inf") if error == 0 else float(10 * np.log10(data_range**2 / error))


def nrmse(image: ArrayLike, reference: ArrayLike, *, mask: ArrayLike | None = None) -> float:
    """Root mean squared difference, relative to the root mean square of the reference.

    Parameters
    ----------
    image, reference:
        Intensities of the same shape; they are not interchangeable.
    mask:
        Of the same shape: only nonzero voxels count.

    Raises
    ------
    InputError
        When the shapes differ, a value is not finite, the mask is empty, or the reference is zero everywhere.

    Examples
    --------
    >>> nrmse([3.0, 3.0], [4.0, 4.0])
    0.25
    """
    first, second = _masked(*_images(image, reference), mask)
    size = float(np.linalg.norm(second))
    if size == 0:
        raise InputError(
            "An error relative to a reference of zeros is not defined.",
            "Check that the reference is not empty.",
            code="image-empty",
        )
    return float(np.linalg.norm(first - second)) / size


def ssim(image: ArrayLike, reference: ArrayLike, data_range: float = 1.0, *, mask: ArrayLike | None = None) -> float:
    """Mean structural similarity, over windows of 7 voxels a side with equal weights (scikit-image's).

    Parameters
    ----------
    image, reference:
        Intensities of the same shape.
    data_range:
        Largest possible difference: 1 for intensities in [0, 1].
    mask:
        Of the same shape: only windows centred on a nonzero voxel count; they reach beyond the mask.

    Raises
    ------
    InputError
        When the shapes differ, a value is not finite, the range is not above zero, an axis has fewer than 7 voxels, or
        no window is centred in the mask.

    Examples
    --------
    >>> image = np.random.default_rng(0).random((8, 8, 8))
    >>> ssim(image, image)
    1.0
    """
    first, second = _images(image, reference)
    _require_range(data_range)
    if min(first.shape, default=0) < _SSIM_WINDOW:
        raise InputError(
            f"Structural similarity needs {_SSIM_WINDOW} voxels along every axis, these images have {first.shape}.",
            "Compare larger images.",
            code="image-dimensions",
        )
    from skimage.metrics import structural_similarity

    settings = {"win_size": _SSIM_WINDOW, "data_range": data_range}
    if mask is None:
        return float(structural_similarity(first, second, **settings))
    _, similarity = structural_similarity(first, second, full=True, **settings)
    # Windows that would reach beyond the image do not count, as without a mask.
    whole = (slice(_SSIM_WINDOW // 2, -(_SSIM_WINDOW // 2)),) * first.ndim
    _pair(first, mask)
    return float(np.mean(_masked(similarity[whole], similarity[whole], np.asarray(mask)[whole])[0]))


def entropies(first: NDArray[Any], second: NDArray[Any], bins: int) -> tuple[float, float, float]:
    """Marginal and joint entropies in nats of paired values, (N,): of the first, of the second, of both.

    Their mutual information is the sum of the first two minus the third. The joint histogram has ``bins`` x ``bins``
    cells.

    Examples
    --------
    >>> values = np.array([0.0, 0.0, 1.0, 1.0])
    >>> first, second, joint = entropies(values, values, bins=2)
    >>> round(first + second - joint, 4)  # ln 2
    0.6931
    """
    joint = np.histogram2d(first, second, bins=bins)[0]
    joint /= joint.sum()

    def entropy(shares: NDArray[Any]) -> float:
        counted = shares[shares > 0]
        return -float((counted * np.log(counted)).sum())

    return entropy(joint.sum(axis=1)), entropy(joint.sum(axis=0)), entropy(joint.ravel())


def normalised_information(first: NDArray[Any], second: NDArray[Any], bins: int) -> float:
    """Return (H(a) + H(b)) / H(a, b) - 1 of paired values, (N,): from 0 (nothing shared) to 1; see :func:`entropies`.

    Examples
    --------
    >>> values = np.array([0.0, 0.0, 1.0, 1.0])
    >>> round(normalised_information(values, 1 - values, bins=2), 4)
    1.0
    """
    alone, other, together = entropies(first, second, bins)
    return (alone + other) / together - 1 if together > 0 else 0.0


def bounding_box(image: ArrayLike) -> NDArray[np.int64]:
    """Bounding box of the nonzero voxels: first and last index along each axis, inclusive, (2, axes).

    Raises
    ------
    InputError
        When it is zero everywhere.

    Examples
    --------
    >>> bounding_box([[0, 0, 0], [0, 1, 2]]).tolist()
    [[1, 1], [1, 2]]
    """
    where = np.argwhere(np.asarray(image))
    if len(where) == 0:
        raise InputError(
            "The image is zero everywhere and has no bounding box.",
            "Check that it is the right file.",
            code="image-empty",
        )
    return np.stack([where.min(axis=0), where.max(axis=0)])


def _pair(image: ArrayLike, reference: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(image), np.asarray(reference)
    if first.shape != second.shape:
        raise InputError(
            f"The two arrays have the shapes {first.shape} and {second.shape}.",
            "Resample one like the other.",
            code="geometry-mismatch",
        )
    if first.size == 0:
        raise InputError("The two arrays hold no voxels.", "Check the crop that made them.", code="image-empty")
    return first, second


def _images(image: ArrayLike, reference: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return both in double precision, which sums over millions of voxels need."""
    first, second = (array.astype(np.float64) for array in _pair(image, reference))
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise InputError(
            "An image holds NaN or infinite values.", "Replace them, for instance by 0.", code="image-not-finite"
        )
    return first, second


def _masked(first: np.ndarray, second: np.ndarray, mask: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels that count."""
    if mask is None:
        return first, second
    _, inside = _pair(first, mask)
    inside = inside != 0
    if not inside.any():
        raise InputError("The mask holds no voxel to compare.", "Check that it is the right mask.", code="image-empty")
    return first[inside], second[inside]


def _require_range(data_range: float) -> None:
    if not (np.isfinite(data_range) and data_range > 0):
        raise InputError(
            f"A data range of {data_range} is invalid.",
            "Give the largest possible difference.",
            code="value-invalid",
        )
