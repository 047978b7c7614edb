"""What a recorded CINeMA run says of itself: its settings, its arrays, its network."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from NeuroGenLib.atlas import transform
from NeuroGenLib.atlas.config import AtlasTrainConfig
from NeuroGenLib.atlas.data.dataset import condition_of
from NeuroGenLib.atlas.network import AtlasDecoder, DecoderConfig
from NeuroGenLib.atlas.published.checkpoint import data_section, decoder_tensors, read_published, shape_from_config
from NeuroGenLib.atlas.published.generation import PublishedAtlases, published_atlases
from NeuroGenLib.atlas.published.training_config import AtlasTranslation, import_config
from NeuroGenLib.core.config import from_mapping

if TYPE_CHECKING:
    from NeuroGenLib.atlas.conditions import Condition
    from NeuroGenLib.cohort.subjects import Cohort

_SETTINGS = tempfile.TemporaryDirectory()
"""Where the importer writes the settings files that it translates."""

FLOAT32 = 5e-5


@functools.cache
def translation_of(case: Path) -> AtlasTranslation:
    """Return the settings of a case as the importer translates them."""
    out = Path(_SETTINGS.name) / f"{len(list(Path(_SETTINGS.name).glob('*.yaml')))}_{case.name}.yaml"
    configs = case / "configs"
    translation, _ = import_config(
        configs / "config_data.yaml", configs / "config_atlas.yaml", out, root=case, points_per_subject=1
    )
    return translation


@functools.cache
def config_of(case: Path) -> AtlasTrainConfig:
    return from_mapping(AtlasTrainConfig, translation_of(case).settings)


@functools.cache
def atlases_of(case: Path) -> PublishedAtlases:
    return published_atlases(*configs_of(case))


def configs_of(case: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the contents of the two published configs: of the atlas, and of its data set."""
    atlas = read_published(case / "configs" / "config_atlas.yaml")
    return atlas, data_section(read_published(case / "configs" / "config_data.yaml"), atlas)[1]


def background_of(case: Path) -> int:
    """Return the position of the background among the labels."""
    return translation_of(case).labels.names.index(config_of(case).data.background)


def arrays(case: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(case / f"{name}.npz") as content:
        return {key: content[key] for key in content.files}


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def shape_of(case: Path) -> DecoderConfig:
    return shape_from_config(*configs_of(case))


def decoder_of(case: Path) -> AtlasDecoder:
    state = {
        key.removeprefix("inr_decoder/"): tensor(value)
        for key, value in arrays(case, "checkpoint_arrays").items()
        if key.startswith("inr_decoder/")
    }
    decoder = AtlasDecoder(shape_of(case))
    decoder.load_state_dict(decoder_tensors(state))
    return decoder


def half_box(case: Path) -> np.ndarray:
    return np.array(config_of(case).data.box, float) / 2


def conditions_of(case: Path, cohort: Cohort) -> list[Condition]:
    return [condition_of(name, config, cohort) for name, config in config_of(case).data.conditions.items()]


def moves(case: Path, transforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return transform.matrices(transforms, tensor(half_box(case)), "euler-zxz")


def assert_close(actual: Any, expected: Any, tolerance: float = FLOAT32) -> None:
    actual = actual.detach().numpy() if isinstance(actual, torch.Tensor) else np.asarray(actual)
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
