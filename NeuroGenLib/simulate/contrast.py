"""Images of random contrast from label maps, for training networks that are independent of the contrast."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from NeuroGenLib.core.config import Config, Help, Range, Unit
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.simulate.random_numbers import chance, uniform
from NeuroGenLib.simulate.resolution import apply_along_axes, blur_matrix, slices_matrix
from NeuroGenLib.simulate.smooth_noise import smooth_noise
from NeuroGenLib.simulate.tissues import BACKGROUND, CSF, LESION, WHITE_MATTER, TissueTable, unknown_tissues

if TYPE_CHECKING:
    import torch

Interval = tuple[float, float]
Contrast = Literal["random", "t1w", "t2w"]

_QUANTILE = 0.995
"""Quantile of the foreground that becomes 1: below 1, so that a few bright voxels do not darken the rest."""
_QUANTILE_VOXELS = 100_000
"""Voxels from which the quantile is estimated: 500 of them lie above it."""


@dataclass(frozen=True)
class ContrastConfig(Config):
    """Contrast, resolution and artefacts of generated images.

    From an interval, a number is sampled uniformly for each image or label.

    Examples
    --------
    >>> ContrastConfig(kind="t2w", noise=(0.0, 0.02)).noise
    (0.0, 0.02)
    """

    kind: Annotated[
        Literal["random", "t1w", "t2w", "mixed"],
        Help("Intensity of tissues: any, as on T1w or T2w, or mixed (half of the images any, a quarter each)"),
    ] = "random"
    mean: Annotated[Interval, Range(0, 1), Help("Mean intensity of a label, of the kind random")] = (0.05, 1.0)
    jitter: Annotated[float, Range(0, 0.2), Help("Largest change of a tissue's intensity, of T1w and T2w")] = 0.05
    deviation: Annotated[Interval, Range(0, 1), Help("Standard deviation from voxel to voxel inside a label")] = (
        0.0,
        0.04,
    )
    texture: Annotated[Interval, Range(0, 1), Help("Standard deviation of the smooth variation inside a label")] = (
        0.0,
        0.04,
    )
    texture_scale: Annotated[Interval, Range(1), Unit("voxels"), Help("Distance over which the texture varies")] = (
        3.0,
        12.0,
    )
    same_tissue: Annotated[float, Range(0, 1), Help("Probability that all labels of a tissue share an intensity")] = 0.5
    same_sides: Annotated[
        float, Range(0, 1), Help("Probability, of the other images, that left and right share an intensity")
    ] = 0.9
    background: Annotated[float, Range(0, 1), Help("Probability that the background is not dark")] = 0.1
    lesions: Annotated[float, Range(0, 1), Help("Probability of lesions in the white matter")] = 0.15
    stripped: Annotated[float, Range(0, 1), Help("Probability of skull stripping")] = 0.6
    stripped_csf: Annotated[
        float, Range(0, 1), Help("Probability, of these images, that the fluid around the brain is removed too")
    ] = 0.4
    blur: Annotated[Interval, Range(0, 10), Unit("voxels"), Help("Standard deviation of the blur")] = (0.4, 1.0)
    thick: Annotated[float, Range(0, 1), Help("Probability that one axis is scanned in thick slices")] = 0.2
    thickness: Annotated[Interval, Range(1, 20), Unit("voxels"), Help("Thickness of these slices")] = (1.5, 3.5)
    bias: Annotated[Interval, Range(0, 2), Help("Standard deviation of the bias field's natural logarithm")] = (
        0.0,
        0.35,
    )
    bias_scale: Annotated[
        Interval, Range(0.1, 10), Help("Distance over which the bias field varies, as a share of the longest side")
    ] = (0.3, 0.9)
    noise: Annotated[
        Interval, Range(0, 1), Help("Standard deviation of the noise, as a share of the largest intensity")
    ] = (
        0.0,
        0.06,
    )
    log_gamma: Annotated[float, Range(0, 3), Help("Largest natural logarithm of gamma, to either side of 0")] = 0.3

    def check(self) -> None:
        """Check that the limits of intervals ascend."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and value[0] > value[1]:
                raise InputError(
                    f"{field.name} goes from {value[0]:g} down to {value[1]:g}.",
                    "Give the smaller number first.",
                    code="value-invalid",
                )


@dataclass(frozen=True)
class _Appearance:
    """Intensities of the labels of one image: (labels,) mean, deviation from voxel to voxel, size of the texture."""

    mean: torch.Tensor
    deviation: torch.Tensor
    texture: torch.Tensor
    lesion: float


def random_image(
    labels: torch.Tensor,
    generator: torch.Generator,
    config: ContrastConfig | None = None,
    tissues: TissueTable | None = None,
) -> torch.Tensor:
    """Sample an image of random contrast from a label map.

    In the order of a scan: tissues with texture and lesions, blur and thick slices, bias field, scaling to 0..1, Rician
    noise, then skull stripping and gamma.

    Parameters
    ----------
    labels:
        (I, J, K) integers of any values; 0 is the background.
    generator:
        Source of randomness, on the device of ``labels``.
    config:
        Contrast, resolution and artefacts; the defaults when not given.
    tissues:
        Tissues of the values; required for the kinds t1w, t2w and mixed. Without them every value is its own tissue,
        and only the background is outside the brain.

    Returns
    -------
    Tensor
        (1, I, J, K) float32, 0 to 1.

    Raises
    ------
    InputError
        When ``labels`` are not three-dimensional integers on the generator's device, or tissues are required.

    Examples
    --------
    >>> import torch
    >>> labels = torch.zeros((16, 16, 16), dtype=torch.int32)
    >>> labels[4:12, 4:12, 4:12] = 3
    >>> image = random_image(labels, torch.Generator().manual_seed(0))
    >>> tuple(image.shape), bool(image.min() >= 0), bool(image.max() <= 1)
    ((1, 16, 16, 16), True, True)
    """
    import torch

    config = config or ContrastConfig()
    _check(labels, generator, config, tissues)
    table = tissues or unknown_tissues()
    present, index = torch.unique(labels.long(), return_inverse=True)
    values = [int(value) for value in present]
    appearance = _sample_appearance(values, generator, config, table)
    image = _textured(index, appearance, generator, config)
    if chance(generator, config.lesions):
        image = _with_lesions(image, _among(index, values, table, {WHITE_MATTER}), appearance, generator)
    image = _at_resolution(image, generator, config)
    image = _shaded(image, generator, config)
    image = _with_noise(image / _white(image, labels), generator, config)
    if chance(generator, config.stripped):
        image = image * _brain_mask(index, values, generator, config, table)
    gamma = math.exp(uniform(generator, -config.log_gamma, config.log_gamma))
    return image[0].clamp(0, 1) ** gamma


def _check(
    labels: torch.Tensor, generator: torch.Generator, config: ContrastConfig, tissues: TissueTable | None
) -> None:
    if labels.ndim != 3 or labels.is_floating_point() or labels.is_complex() or 0 in labels.shape:
        raise InputError(
            f"Labels of shape {tuple(labels.shape)} and type {labels.dtype} are not a label map.",
            "Give a volume of whole numbers with three axes.",
            code="labels-invalid",
        )
    if labels.device.type != generator.device.type:
        raise InputError(
            f"The labels are on {labels.device} and the random generator on {generator.device}.",
            "Put both on the same device.",
            code="value-conflict",
        )
    if tissues is None and config.kind != "random":
        raise InputError(
            f"The contrast '{config.kind}' requires the tissues of the labels.",
            "Give the tissues, such as freesurfer_tissues() or fetal_tissues(), or choose the contrast 'random'.",
            code="value-missing",
        )


def _sample_kind(generator: torch.Generator, config: ContrastConfig) -> Contrast:
    if config.kind != "mixed":
        return config.kind
    quarter = uniform(generator, 0, 4)
    return "random" if quarter < 2 else "t1w" if quarter < 3 else "t2w"


def _sample_appearance(
    values: list[int], generator: torch.Generator, config: ContrastConfig, table: TissueTable
) -> _Appearance:
    import torch

    kind = _sample_kind(generator, config)
    groups = _groups(values, generator, config, table)
    realistic = {"t1w": table.t1w, "t2w": table.t2w}.get(kind, {})
    dark = not chance(generator, config.background)
    means: dict[object, float] = {}
    for value, group in zip(values, groups, strict=True):
        tissue = BACKGROUND if value == 0 else table.tissue(value)
        mean_of_label = uniform(generator, *config.mean)
        jitter = uniform(generator, -config.jitter, config.jitter)
        if tissue == BACKGROUND and dark:
            mean_of_label = 0.0
        elif tissue is not None and tissue != BACKGROUND and tissue in realistic:
            mean_of_label = min(max(realistic[tissue] + jitter, 0.02), 1.0)
        means.setdefault(group, mean_of_label)
    lesion = uniform(generator, *config.mean)
    mean = torch.tensor([means[group] for group in groups], device=generator.device)
    spread = torch.rand((2, len(values)), generator=generator, device=generator.device)
    low, high = torch.tensor([config.deviation, config.texture], device=generator.device).T[:, :, None]
    # Tissue without signal has no texture either.
    deviation, texture = (low + (high - low) * spread) * (mean > 0)
    return _Appearance(mean, deviation, texture, realistic.get(LESION, lesion))


def _groups(
    values: list[int], generator: torch.Generator, config: ContrastConfig, table: TissueTable
) -> list[int | str]:
    """Return for each value the group that shares its intensity: its tissue, its left partner, or itself."""
    by_tissue, by_sides = chance(generator, config.same_tissue), chance(generator, config.same_sides)
    if by_tissue:
        return [table.tissue(value) or value for value in values]
    return [table.partners.get(value, value) if by_sides else value for value in values]


def _textured(
    index: torch.Tensor, appearance: _Appearance, generator: torch.Generator, config: ContrastConfig
) -> torch.Tensor:
    """Return (1, 1, I, J, K) intensities, not below 0."""
    import torch

    shape = index.shape
    grain = torch.randn((1, 1, *shape), generator=generator, device=generator.device)
    scale = uniform(generator, *config.texture_scale)
    image = smooth_noise(shape, scale, generator).mul_(appearance.texture[index])
    image += grain.mul_(appearance.deviation[index])
    image += appearance.mean[index]
    return image.clamp_(min=0)


def _among(index: torch.Tensor, values: list[int], table: TissueTable, tissues: set[str]) -> torch.Tensor:
    """Return (I, J, K) bool, where the label is one of these tissues."""
    import torch

    return torch.tensor([table.tissue(value) in tissues for value in values], device=index.device)[index]


def _with_lesions(
    image: torch.Tensor, where: torch.Tensor, appearance: _Appearance, generator: torch.Generator
) -> torch.Tensor:
    """Return the image with blobs of another intensity inside the mask ``where``."""
    import torch

    field = smooth_noise(where.shape, uniform(generator, 2, 6), generator)
    blobs = (field > uniform(generator, 1.2, 2.2)) & where
    # A fifth of the tissue shows through, as in a partial volume.
    return torch.where(blobs, 0.8 * appearance.lesion + 0.2 * image, image)


def _at_resolution(image: torch.Tensor, generator: torch.Generator, config: ContrastConfig) -> torch.Tensor:
    """Return the image blurred, or scanned in thick slices along one axis."""
    shape = image.shape[2:]
    sigma = uniform(generator, *config.blur)
    matrices = [blur_matrix(size, sigma) for size in shape]
    if chance(generator, config.thick):
        axis = min(int(uniform(generator, 0, 3)), 2)
        thickness = uniform(generator, *config.thickness)
        matrices[axis] = slices_matrix(shape[axis], thickness, uniform(generator, 0, 1))
    return apply_along_axes(image, matrices)


def _shaded(image: torch.Tensor, generator: torch.Generator, config: ContrastConfig) -> torch.Tensor:
    """Return the image times a bias field."""
    shape = image.shape[2:]
    scale = max(1.0, uniform(generator, *config.bias_scale) * max(shape))
    return image * (uniform(generator, *config.bias) * smooth_noise(shape, scale, generator)).exp()


def _with_noise(image: torch.Tensor, generator: torch.Generator, config: ContrastConfig) -> torch.Tensor:
    """Return the magnitude of the image with complex noise (Rician)."""
    import torch

    size = uniform(generator, *config.noise)
    real, imaginary = size * torch.randn((2, *image.shape), generator=generator, device=generator.device)
    return torch.hypot(image + real, imaginary)


def _white(image: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the intensity that becomes 1, a quantile of the foreground."""
    import torch

    inside = image[0, 0][labels != 0]
    inside = inside if inside.numel() else image.flatten()
    inside = inside[:: max(1, inside.numel() // _QUANTILE_VOXELS)]
    return torch.quantile(inside, _QUANTILE).clamp(min=1e-3)


def _brain_mask(
    index: torch.Tensor, values: list[int], generator: torch.Generator, config: ContrastConfig, table: TissueTable
) -> torch.Tensor:
    """Return a brain mask (1, 1, I, J, K) of 0 and 1, slightly too large or too small as automatic ones are."""
    import torch

    removed = {CSF} if chance(generator, config.stripped_csf) else set()
    keep = [table.is_brain(value) and table.tissue(value) not in removed for value in values]
    mask = torch.tensor(keep, device=index.device)[index][None, None].float()
    soft = apply_along_axes(mask, [blur_matrix(size, 1.0) for size in index.shape])
    return (soft > uniform(generator, 0.3, 0.7)).float()
