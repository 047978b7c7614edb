"""A tiny run of the published registration program: its settings and checkpoint, as it names and lays them out."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

_SOLVER = {
    "stop_criterion": {
        "type": "deformation_inversion_layer.fixed_point_iteration.MaxElementWiseAbsStopCriterion",
        "args": {"min_iterations": 2, "max_iterations": 40, "threshold": 0.02},
    },
    "arguments": {"memory_length": 3},
}
_SETTINGS: dict[str, Any] = {
    "data": {
        "module": "oasis",
        "config": {
            "included_segmentation_class_indices": [0, 1, 2],
            "batch_size": 2,
            "iterate_inference_pairs_in_both_directions": False,
            "downsampling_factor": [1, 1, 1],
            "crop": [[0, 0], [24, 24], [16, 16]],
            "normalize": False,
            "seed": 7,
            "file_type": "aligned_norm",
            "segmentation_file_type": "aligned_seg35",
            "training_pairs_per_epoch": 5,
            "n_training_cases": None,
            "metrics": {"validate": ["dice"], "test": ["dice", "hd95"]},
            "n_jacobian_samples_in_evaluation": 1000,
            "jacobian_sampling_base_seed": 3,
        },
    },
    "application": {
        "training_factory": "application.sitreg.interface.create_training_definition",
        "inference_factory": "application.sitreg.interface.create_inference_definition",
        "config": {
            "inference": {"do_reverse_inference": True, "resample_when_composing": True},
            "model": {
                "n_input_channels": 1,
                "input_shape": [16, 12, 10],
                "voxel_size": [1.0, 1.0, 2.0],
                "n_features_per_resolution": [2, 4, 4],
                "n_feature_convolutions_per_resolution": [1, 2, 1],
                "n_transformation_features_per_resolution": [None, 6, 6],
                "n_transformation_convolutions_per_resolution": [None, 2, 1],
                "max_control_point_multiplier": 0.9,
                "use_normalization_in_deformation_extraction": True,
                "transformation_downsampling_factor": [2.0, 2.0, 1.0],
                "predict_affine": True,
                "normalizer": {"type": "GroupNormalizerFactory", "args": {"n_groups": 2}},
                "activation": {"type": "LeakyReLUFactory", "args": {"negative_slope": 0.1}},
                "displacement_field_inversion": {
                    "forward_fixed_point_solver": _SOLVER,
                    "backward_fixed_point_solver": _SOLVER,
                },
            },
            "training": {
                "n_epochs": 6,
                "optimizer": {"learning_rate": 0.0003, "betas": [0.8, 0.99]},
                "loss": {
                    "similarity": [
                        [{"name": "ncc", "type": "LocalNormalizedCrossCorrelationLoss", "args": {"window_size": 5}}]
                    ],
                    "regularity": [[{"name": "gradient", "type": "GradientDeformationLoss", "weight": 1.5}]],
                },
            },
        },
    },
    "commit": "0" * 40,
}


def sitreg_settings() -> dict[str, Any]:
    """Return settings that may be changed."""
    return copy.deepcopy(_SETTINGS)


def sitreg_state() -> dict[str, torch.Tensor]:
    """Return random weights of that network by hand, under the published names and in the published sizes."""
    generator = torch.Generator().manual_seed(5)
    sizes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *size: int) -> None:
        sizes[f"{name}.weight"] = size
        sizes[f"{name}.bias"] = size[:1]

    extractor = "_feature_extractor"
    layer(f"{extractor}.initial_projection", 2, 1, 1, 1, 1)
    layer(f"{extractor}.initial_convs.convolutions.0.conv", 2, 2, 3, 3, 3)
    layer(f"{extractor}.initial_convs.normalizers.0", 2)
    for block, (fine, coarse, count) in enumerate([(2, 4, 2), (4, 4, 1)]):
        place = f"{extractor}.downsampling_blocks.{block}"
        layer(f"{place}.downsampling.conv", coarse, fine, 2, 2, 2)
        layer(f"{place}.projection.conv", coarse, fine, 1, 1, 1)
        for number in range(count):
            layer(f"{place}.conv.convolutions.{number}.conv", coarse, coarse, 3, 3, 3)
            layer(f"{place}.conv.normalizers.{number}", coarse)
    for stage, count in enumerate([2, 1]):
        place = f"_not_none_dense_extration_networks.{stage}"
        for number in range(count):
            layer(f"{place}.convolutions.convolutions.{number}.conv", 6, 8 if number == 0 else 6, 3, 3, 3)
            layer(f"{place}.convolutions.normalizers.{number}", 6)
        layer(f"{place}.final_convolution.conv", 3, 6, 1, 1, 1)
    inputs = 2 * 4 * (4 * 3 * 3)  # both images, four features, ceil of 16x12x10 / 4
    for number in range(2):
        layer(f"_affine_extraction_network.linears.{number}", inputs, inputs)
    layer("_affine_extraction_network.final_linear", 12, inputs)
    state = {name: 0.1 * torch.randn(size, generator=generator) for name, size in sizes.items()}
    return state | {"_image_coordinate_system._indicator": torch.zeros(0)}


def write_sitreg_run(folder: Path, epoch: int = 4) -> Path:
    """Write settings, checkpoint and state of the optimiser; return the checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "training_config.json").write_text(json.dumps(_SETTINGS), encoding="utf-8")
    torch.save({"optimizer": {"state": {}, "param_groups": []}}, folder / f"optimizer_epoch_{epoch:03d}.pt")
    path = folder / f"model_epoch_{epoch:03d}.pt"
    torch.save({"registration_network": sitreg_state()}, path)
    return path
