"""The network that the published registration program's settings describe, each size checked by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.registration.published.checkpoint import published_shape
from NeuroGenLib.registration.published.settings_file import FILE, MODEL, Settings

if TYPE_CHECKING:
    from NeuroGenLib.registration.network.sizes import SITRegConfig

NORMALISERS = ("GroupNormalizerFactory", "InstanceNormalizerFactory", "EmptyNormalizerFactory")
ACTIVATIONS = ("ReLUFactory", "LeakyReLUFactory")
_MOST_LEVELS = 24
"""Settings that claim more levels are refused before a network is built."""


def shape_of(settings: Settings, *, legacy_levels: bool = True) -> SITRegConfig:
    """Return the sizes of the network that a ``training_config.json`` describes.

    Raises
    ------
    InputError
        When a size is missing, no size, or contradicts another.
    """
    _check_levels(settings)
    _check_rest(settings)
    try:
        return published_shape(settings.peek(MODEL), legacy_levels=legacy_levels)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError) as error:
        raise InputError(
            f"'{MODEL}' of {settings.file} describes no network ({type(error).__name__}: {error}).",
            f"Give the {FILE} of the run that wrote the checkpoint.",
            code="value-invalid",
        ) from error


def _check_levels(settings: Settings) -> None:
    """Refuse levels that no network has."""
    features = settings.wholes(f"{MODEL}.n_features_per_resolution", least=1)
    if len(features) > _MOST_LEVELS:
        raise settings.wrong(f"{MODEL}.n_features_per_resolution", f"a list of at most {_MOST_LEVELS} levels")
    settings.wholes(f"{MODEL}.n_feature_convolutions_per_resolution", len(features))
    stages = settings.optional_wholes(f"{MODEL}.n_transformation_features_per_resolution")
    convolutions = settings.optional_wholes(f"{MODEL}.n_transformation_convolutions_per_resolution")
    if len(stages) != len(features) or all(width is None for width in stages):
        raise settings.wrong(
            f"{MODEL}.n_transformation_features_per_resolution",
            f"a list of {len(features)} values, one a level, not all null",
        )
    if [width is None for width in stages] != [count is None for count in convolutions]:
        raise settings.wrong(
            f"{MODEL}.n_transformation_convolutions_per_resolution",
            "null where n_transformation_features_per_resolution is, and nowhere else",
        )
    inside = settings.flag(f"{MODEL}.use_normalization_in_deformation_extraction", default=True)
    _check_normaliser(settings, [width for width in [*features, *(stages if inside else [])] if width is not None])


def _check_normaliser(settings: Settings, widths: list[int]) -> None:
    kind = settings.text(f"{MODEL}.normalizer.type")
    if kind not in NORMALISERS:
        raise settings.wrong(f"{MODEL}.normalizer.type", f"one of {', '.join(NORMALISERS)}")
    if kind == "GroupNormalizerFactory":
        groups = settings.whole(f"{MODEL}.normalizer.args.n_groups")
        if any(width % groups for width in widths):
            raise settings.wrong(f"{MODEL}.normalizer.args.n_groups", "a divisor of every number of features")


def _check_rest(settings: Settings) -> None:
    settings.whole(f"{MODEL}.n_input_channels")
    settings.wholes(f"{MODEL}.input_shape", 3, least=1)
    for name in ("voxel_size", "transformation_downsampling_factor"):
        if min(settings.numbers(f"{MODEL}.{name}", 3)) <= 0:
            raise settings.wrong(f"{MODEL}.{name}", "three numbers above 0")
    settings.flag(f"{MODEL}.predict_affine")
    settings.number(f"{MODEL}.max_control_point_multiplier", 0.99)
    if settings.text(f"{MODEL}.activation.type") not in ACTIVATIONS:
        raise settings.wrong(f"{MODEL}.activation.type", " or ".join(ACTIVATIONS))
    settings.number(f"{MODEL}.activation.args.negative_slope", 0.0)
