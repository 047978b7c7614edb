"""What a registration network minimises: unlike images, rough or folded maps, maps that contradict each other.

Images are (B, C, I, J, K), displacements (B, 3, I, J, K) in voxels and pull-back (see
:mod:`~NeuroGenLib.spatial.transforms.displacement`). Everything is computed in float32 or better, also under autocast:
sums over
windows and tiny differences of large numbers do not survive half precision. Each loss is one number, with gradient.

The loss of a pair is the mean of both directions: warped moving against fixed, warped fixed against moving.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

import torch
from torch.nn import functional

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.transforms.displacement import sample, voxel_grid
from NeuroGenLib.spatial.transforms.jacobian import displacement_at, ndv_map, sample_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

P = ParamSpec("P")

Normalise = Literal["all", "valid"]
"""``all``: the published mean over all voxels, masked ones included; ``valid``: the mean over the mask, so that its
size does not weaken the loss, and without the negative variances that rounding gives in constant regions."""


def _in_full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Compute outside autocast, from tensors of at least float32 (masks and label maps become floating)."""

    @functools.wraps(loss)
    def computed(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        device = next(_tensors([*args, *kwargs.values()])).device
        with torch.autocast(device.type, enabled=False):
            wide: dict[str, Any] = {name: _widened(value) for name, value in kwargs.items()}
            return loss(*[_widened(value) for value in args], **wide)

    return computed


@_in_full_precision
def ncc_loss(
    first: Tensor,
    second: Tensor,
    mask: Tensor | None = None,
    *,
    window: int = 7,
    epsilon: float = 1e-5,
    normalise: Normalise = "all",
) -> Tensor:
    """Return minus the mean squared local correlation, between 0 (nothing in common) and about -1.

    Each voxel's correlation is that of a cube around it; beyond the border are zeros, and masked voxels are zeros too.

    Parameters
    ----------
    first, second:
        (B, C, I, J, K) intensities, scaled to about 0..1 (``epsilon`` means something only on a scale).
    mask:
        (B or 1, 1, I, J, K) where both images count
        (:func:`~NeuroGenLib.spatial.transforms.jacobian.overlap_mask`).
    window:
        Side of the cube, an odd number of voxels.
    epsilon:
        Added to the product of the two windows' sums of squared deviations.
    normalise:
        See :data:`Normalise`.

    Raises
    ------
    InputError
        When the shapes differ, or the window is not odd.
    """
    _require_same_grid(first, second)
    correlation = _squared_correlation(_masked(first, mask), _masked(second, mask), window, epsilon, normalise)
    return -_mean(correlation, mask, normalise)


@_in_full_precision
def multi_resolution_ncc_loss(
    first: Tensor,
    second: Tensor,
    mask: Tensor | None = None,
    *,
    windows: Sequence[int] = (3, 5),
    pools: Sequence[int] = (1, 2),
    weights: Sequence[float] = (0.5, 0.5),
    epsilon: float = 1e-5,
    normalise: Normalise = "all",
) -> Tensor:
    """Return the weighted sum of :func:`ncc_loss` over ever coarser images.

    Parameters
    ----------
    first, second, mask, epsilon, normalise:
        See :func:`ncc_loss`; the images are masked at full resolution.
    windows, pools, weights:
        One of each for every resolution, finest first: side of the window, by how much the images of the resolution
        before are averaged and thinned, and weight.

    Raises
    ------
    InputError
        When the shapes differ, a window is not odd, or the three lists are not of one length.
    """
    _require_same_grid(first, second)
    if not len(windows) == len(pools) == len(weights):
        raise InputError(
            f"There are {len(windows)} windows, {len(pools)} pools and {len(weights)} weights.",
            "Give one of each for every resolution.",
            code="value-invalid",
        )
    first, second = _masked(first, mask), _masked(second, mask)
    total = first.new_zeros(())
    for window, pool, weight in zip(windows, pools, weights, strict=True):
        first, second = functional.avg_pool3d(first, pool), functional.avg_pool3d(second, pool)
        mask = None if mask is None else functional.avg_pool3d(mask, pool)
        correlation = _squared_correlation(first, second, window, epsilon, normalise)
        total = total - weight * _mean(correlation, mask, normalise)
    return total


@_in_full_precision
def mse_loss(first: Tensor, second: Tensor, mask: Tensor | None = None, *, normalise: Normalise = "all") -> Tensor:
    """Return the mean squared difference; parameters as in :func:`ncc_loss`."""
    _require_same_grid(first, second)
    squares = (first - second).square()
    return _mean(_masked(squares, mask) if normalise == "all" else squares, mask, normalise)


@_in_full_precision
def mutual_information_loss(
    first: Tensor,
    second: Tensor,
    mask: Tensor | None = None,
    *,
    bins: int = 23,
    sigma_ratio: float = 0.5,
    epsilon: float = 1e-5,
) -> Tensor:
    """Return minus the mutual information of the intensities in nats, from a soft joint histogram (Parzen windows).

    Parameters
    ----------
    first, second:
        (B, C, I, J, K) intensities; what is not in 0..1 is clipped.
    mask:
        (B or 1, 1, I, J, K) where both images count; masked voxels are zero in both.
    bins:
        Number of bins, whose centres run from 0 to 1.
    sigma_ratio:
        Width of a voxel's Gaussian, in distances of two bins.
    epsilon:
        Added to the densities, and again to their ratio.

    Raises
    ------
    InputError
        When the shapes differ, or there are fewer than two bins.
    """
    _require_same_grid(first, second)
    if bins < 2:
        raise InputError(f"A histogram of {bins} bins says nothing.", "Give two bins or more.", code="value-invalid")
    first_bins, second_bins = (_memberships(_masked(image, mask), bins, sigma_ratio) for image in (first, second))
    joint = first_bins.transpose(1, 2) @ second_bins / first_bins.shape[1]
    independent = first_bins.mean(dim=1)[:, :, None] * second_bins.mean(dim=1)[:, None, :]
    ratio = (joint + epsilon) / (independent + epsilon)
    return -(joint * (ratio + epsilon).log()).sum(dim=(1, 2)).mean()


@_in_full_precision
def dice_loss(first: Tensor, second: Tensor, *, smooth: float = 1e-5) -> Tensor:
    """Return minus the mean soft Dice overlap of all classes, between 0 and -1.

    Parameters
    ----------
    first, second:
        (B, classes, I, J, K) one-hot labels or probabilities; multiply a warped one by its field of view.
    smooth:
        Added to both parts of the fraction, so that a class neither has counts as a full overlap.

    Raises
    ------
    InputError
        When the shapes differ.
    """
    _require_same_grid(first, second)
    from monai.losses.dice import DiceLoss

    loss: Tensor = DiceLoss(smooth_nr=smooth, smooth_dr=smooth)(first, second)
    return loss - 1


@_in_full_precision
def gradient_loss(displacement: Tensor, spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> Tensor:
    """Return the mean squared slope of a displacement, 0 for a translation (and for nothing else).

    It is ``1/3 sum_j mean (d u_i / d x_j)^2`` over forward differences, in physical proportions: mm per mm. The linear
    part of an affine map counts; give the dense part alone where it should not.

    Parameters
    ----------
    displacement:
        (B, 3, I, J, K) voxels.
    spacing:
        Distance of voxels along each axis; only the proportions matter.

    Raises
    ------
    InputError
        When an axis has a single voxel, or a distance is not above zero.
    """
    _require_spacing(spacing)
    if displacement.ndim != 5 or min(displacement.shape[2:]) < 2:
        raise InputError(
            f"A displacement field of shape {tuple(displacement.shape)} has no slope.",
            "Give (batch, 3, I, J, K) with two voxels or more along every axis.",
            code="image-dimensions",
        )
    scale = torch.tensor(spacing, device=displacement.device, dtype=displacement.dtype).view(3, 1, 1, 1)
    total = displacement.new_zeros(())
    for axis in range(3):
        total = total + (displacement.diff(dim=2 + axis) * scale / scale[axis]).square().mean()
    return total / 3


@_in_full_precision
def ndv_loss(displacement: Tensor, threshold: float = 0.0) -> Tensor:
    """Return the folded volume in voxels, summed over the batch (see ``jacobian.ndv_map``).

    It grows with the image, so its weight is small (1e-5 was published). With a threshold above zero, places that
    are only about to fold count as well, and the value is negative where nothing folds.

    Raises
    ------
    InputError
        When an axis has fewer than three voxels.
    """
    return ndv_map(displacement, threshold).sum()


@_in_full_precision
def group_consistency_loss(
    forwards: Sequence[Tensor],
    inverses: Sequence[Tensor],
    masks: Sequence[Tensor] | None = None,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
) -> Tensor:
    """Return how far points end from where they started after a round through three images.

    Parameters
    ----------
    forwards, inverses:
        Each (B, 3, I, J, K) voxels, of the pairs (1, 2), (2, 3), (3, 1), the first of a pair being the moving image:
        ``forwards[0]`` takes points of image 2 to image 1.
    masks:
        (B or 1, 1, I, J, K) of the images 1, 2, 3; points that leave a mask or the grid on their way do not
        count.
    spacing:
        Distance of voxels along each axis; only the proportions matter.

    Returns
    -------
    Tensor
        Squared distance in units of half the longest side of the grid, mean over all voxels and both directions. Where
        three processes hold a pair each and average their gradients, multiply it by 3.

    Raises
    ------
    InputError
        When there are not three of each.
    """
    if not len(forwards) == len(inverses) == 3 or (masks is not None and len(masks) != 3):
        raise InputError(
            f"A round needs three pairs, there are {len(forwards)} and {len(inverses)} displacements.",
            "Give those of the pairs (1, 2), (2, 3) and (3, 1), and no masks or three.",
            code="value-invalid",
        )
    first, second, third = masks or (None, None, None)
    back = _round([forwards[2], forwards[1], forwards[0]], [first, third, second], spacing)
    onward = _round(inverses, [first, second, third], spacing)
    return (back + onward) / 2


@_in_full_precision
def landmark_loss(forward: Tensor, inverse: Tensor, moving_points: Tensor, fixed_points: Tensor) -> Tensor:
    """Return the mean squared error of landmarks, per coordinate in voxels, mean of both directions.

    Parameters
    ----------
    forward, inverse:
        (B, 3, I, J, K) voxels: fixed to moving points, and back.
    moving_points, fixed_points:
        (B, N, 3) voxel coordinates of the same landmarks in both images.

    Raises
    ------
    InputError
        When the two sets of landmarks do not correspond.
    """
    if moving_points.shape != fixed_points.shape or moving_points.ndim != 3 or moving_points.shape[2] != 3:
        raise InputError(
            f"Landmarks of shape {tuple(moving_points.shape)} and {tuple(fixed_points.shape)} do not correspond.",
            "Give (B, N, 3) voxel coordinates of the same landmarks for both images.",
            code="geometry-mismatch",
        )
    to_moving = fixed_points + displacement_at(forward, fixed_points) - moving_points
    to_fixed = moving_points + displacement_at(inverse, moving_points) - fixed_points
    return (to_moving.square().mean() + to_fixed.square().mean()) / 2


def _tensors(values: Sequence[object]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _widened(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_widened(member) for member in value]
    if isinstance(value, torch.Tensor) and value.dtype != torch.float64:
        return value.float()
    return value


def _masked(image: Tensor, mask: Tensor | None) -> Tensor:
    return image if mask is None else image * mask


def _mean(values: Tensor, mask: Tensor | None, normalise: Normalise) -> Tensor:
    """Return the mean over everything, or of each sample over its mask; a sample with an empty mask counts as 0."""
    if normalise == "all" or mask is None:
        return values.mean()
    weights = mask.expand(values.shape[0], *values.shape[1:])
    sums = (values * weights).sum(dim=(1, 2, 3, 4))
    sizes = weights.sum(dim=(1, 2, 3, 4))
    return (sums / torch.where(sizes > 0, sizes, torch.ones_like(sizes))).mean()


def _squared_correlation(first: Tensor, second: Tensor, window: int, epsilon: float, normalise: Normalise) -> Tensor:
    """Return the squared correlation of the cubes around each voxel, of the images' shape."""
    if window < 1 or window % 2 == 0:
        raise InputError(
            f"A window of {window} voxels has no middle.", "Give an odd number, 7 for instance.", code="value-invalid"
        )
    sum_1, sum_2, square_1, square_2, product = _BoxSums.apply(  # type: ignore[no-untyped-call]  # torch
        torch.stack([first, second, first.square(), second.square(), first * second]), window
    )
    count = window**3
    covariance = product - sum_1 * sum_2 / count
    variance_1, variance_2 = square_1 - sum_1.square() / count, square_2 - sum_2.square() / count
    if normalise == "valid":
        variance_1, variance_2 = variance_1.clamp(min=0), variance_2.clamp(min=0)
    squared: Tensor = covariance.square() / (variance_1 * variance_2 + epsilon)
    return squared


class _BoxSums(torch.autograd.Function):
    """Sums over cubes of the last three axes, zeros beyond the border; one axis after the other.

    A voxel counts for another one as much as that one for it, so the gradient is the same sum. Shifted sums are five
    times as quick as pooling on a CPU, and more exact than differences of cumulative sums.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, window: int) -> Tensor:
        ctx.window = window
        for axis in (-3, -2, -1):
            size, sums = values.shape[axis], values.clone()
            for away in range(1, min(window // 2, size - 1) + 1):
                sums.narrow(axis, away, size - away).add_(values.narrow(axis, 0, size - away))
                sums.narrow(axis, 0, size - away).add_(values.narrow(axis, away, size - away))
            values = sums
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _BoxSums.forward(ctx, gradient, ctx.window), None


def _memberships(image: Tensor, bins: int, sigma_ratio: float) -> Tensor:
    """Return how much each voxel belongs to each bin, (B, voxels, bins), each voxel's sum being 1."""
    centres = torch.linspace(0, 1, bins, device=image.device, dtype=image.dtype)
    sigma = sigma_ratio / (bins - 1)
    distances = image.clamp(0, 1).flatten(1)[:, :, None] - centres
    return functional.softmax(-distances.square() / (2 * sigma**2), dim=2)


def _round(steps: Sequence[Tensor], masks: Sequence[Tensor | None], spacing: Sequence[float]) -> Tensor:
    """Return the mean squared distance after some steps; each mask belongs to the image that a step starts in."""
    _require_spacing(spacing)
    start = voxel_grid(steps[0].shape[2:], steps[0])
    end, inside = start, torch.ones_like(steps[0][:, :1])
    for displacement, mask in zip(steps, masks, strict=True):
        inside = inside * sample_mask(mask, end, displacement)
        end = end + sample(displacement, end)
    half_side = max(size * distance for size, distance in zip(start.shape[2:], spacing, strict=True)) / 2
    scale = torch.tensor(spacing, device=start.device, dtype=start.dtype).view(1, 3, 1, 1, 1) / half_side
    return (((end - start) * scale).square().sum(dim=1, keepdim=True) * inside).mean()


def _require_same_grid(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape or first.ndim != 5:
        raise InputError(
            f"Images of shape {tuple(first.shape)} and {tuple(second.shape)} cannot be compared.",
            "Give both as (batch, channels, I, J, K) on one grid.",
            code="geometry-mismatch",
        )


def _require_spacing(spacing: Sequence[float]) -> None:
    if len(spacing) != 3 or not all(math.isfinite(distance) and distance > 0 for distance in spacing):
        raise InputError(
            f"The spacing {tuple(spacing)} is invalid.", "Give three distances above zero.", code="value-invalid"
        )
