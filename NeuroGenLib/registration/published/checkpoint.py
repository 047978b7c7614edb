"""Reads the published program's checkpoints: ``model_epoch_NNN.pt`` with its ``training_config.json``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.registration.network.sizes import SITRegConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


_NAMES = (
    (r"_feature_extractor\.initial_projection\.", "pyramid.projection."),
    (r"_feature_extractor\.initial_convs\.convolutions\.(\d+)\.conv\.", r"pyramid.blocks.0.convolutions.\1."),
    (r"_feature_extractor\.initial_convs\.normalizers\.(\d+)\.", r"pyramid.blocks.0.norms.\1."),
    (r"_feature_extractor\.downsampling_blocks\.(\d+)\.downsampling\.conv\.", r"pyramid.reductions.\1."),
    (r"_feature_extractor\.downsampling_blocks\.(\d+)\.projection\.conv\.", r"pyramid.shortcuts.\1."),
    (
        r"_feature_extractor\.downsampling_blocks\.(\d+)\.conv\.convolutions\.(\d+)\.conv\.",
        r"pyramid.blocks.<\1+1>.convolutions.\2.",
    ),
    (r"_feature_extractor\.downsampling_blocks\.(\d+)\.conv\.normalizers\.(\d+)\.", r"pyramid.blocks.<\1+1>.norms.\2."),
    (
        r"_not_none_dense_extration_networks\.(\d+)\.convolutions\.convolutions\.(\d+)\.conv\.",
        r"stages.[\1].block.convolutions.\2.",
    ),
    (
        r"_not_none_dense_extration_networks\.(\d+)\.convolutions\.normalizers\.(\d+)\.",
        r"stages.[\1].block.norms.\2.",
    ),
    (r"_not_none_dense_extration_networks\.(\d+)\.final_convolution\.conv\.", r"stages.[\1].final."),
    (r"_affine_extraction_network\.linears\.(\d+)\.", r"affine.hidden.\1."),
    (r"_affine_extraction_network\.final_linear\.", "affine.final."),
)
"""The published program's names and ours; ``<n+1>`` is a sum, ``[n]`` the n-th level with a stage, from the finest."""


def own_name(name: str, shape: SITRegConfig) -> str | None:
    """Return our name of a published parameter, or None for the markers that hold no numbers.

    Raises
    ------
    InputError
        When the published network has no such parameter.
    """
    if name.endswith("_indicator"):
        return None
    for pattern, replacement in _NAMES:
        if re.match(pattern, name):
            new = re.sub(pattern, replacement, name)
            new = re.sub(r"<(\d+)\+1>", lambda match: str(int(match[1]) + 1), new)
            return re.sub(r"\[(\d+)\]", lambda match: str(shape.stages[int(match[1])]), new)
    raise InputError(
        f"The checkpoint has a parameter '{name}' that SITReg has not.",
        "Check that it is one of SITReg.",
        code="weights-mismatch",
    )


def own_state(state: Mapping[str, Tensor], shape: SITRegConfig) -> dict[str, Tensor]:
    """Return a published state dictionary under our names."""
    renamed = {own_name(name, shape): value for name, value in state.items()}
    return {name: value for name, value in renamed.items() if name is not None}


def published_shape(model: Mapping[str, Any], *, legacy_levels: bool = True) -> SITRegConfig:
    """Return the sizes of the network that a ``training_config.json`` describes.

    Parameters
    ----------
    model:
        Its section application.config.model.
    legacy_levels:
        Stop where the published program stops: it leaves out as many of the finest stages as there are coarse levels
        without a stage, in training too.
    """
    from NeuroGenLib.registration.network.grids import Grids

    stages = tuple(model["n_transformation_features_per_resolution"])
    normaliser, activation = model["normalizer"], model["activation"]
    groups = {
        "GroupNormalizerFactory": normaliser.get("args", {}).get("n_groups"),
        "InstanceNormalizerFactory": 0,
        "EmptyNormalizerFactory": None,
    }[normaliser["type"]]
    solver = model.get("displacement_field_inversion", {}).get("forward_fixed_point_solver", {})
    stop = solver.get("stop_criterion", {}).get("args", {})
    i, j, k = (float(value) for value in model["transformation_downsampling_factor"])
    coarsest = Grids(tuple(model["input_shape"]), tuple(model["voxel_size"]), (i, j, k)).level_shape(len(stages) - 1)
    without = len(stages) - 1 - max(level for level, width in enumerate(stages) if width is not None)
    return SITRegConfig(
        channels=model["n_input_channels"],
        features=tuple(model["n_features_per_resolution"]),
        feature_convolutions=tuple(model["n_feature_convolutions_per_resolution"]),
        stage_features=stages,
        stage_convolutions=tuple(model["n_transformation_convolutions_per_resolution"]),
        factor=(i, j, k),
        groups=groups,
        normalise_stages=model.get("use_normalization_in_deformation_extraction", True),
        negative_slope=activation.get("args", {}).get("negative_slope", 0.01) if "Leaky" in activation["type"] else 0.0,
        bound=model.get("max_control_point_multiplier", 0.99),
        affine_inputs=coarsest[0] * coarsest[1] * coarsest[2] if model["predict_affine"] else None,
        chained_affine=False,
        skipped_stages=without if legacy_levels else 0,
        threshold=stop.get("threshold", 1e-2),
        most_iterations=stop.get("max_iterations", 50),
        memory=solver.get("arguments", {}).get("memory_length", 4),
    )
