"""What a recorded CINeMA run says of itself: its settings, its arrays, its network."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml

from NeuroGenLib.atlas import transform
from NeuroGenLib.atlas.conditions import Condition
from NeuroGenLib.atlas.network import AtlasDecoder, Shape
from NeuroGenLib.atlas.published.checkpoint import decoder_tensors, shape_from_config

if TYPE_CHECKING:
    from pathlib import Path

FLOAT32 = 5e-5


def atlas_config(case: Path) -> dict[str, Any]:
    return yaml.safe_load((case / "configs" / "config_atlas.yaml").read_text())


def data_config(case: Path) -> dict[str, Any]:
    content = yaml.safe_load((case / "configs" / "config_data.yaml").read_text())
    return content.get(atlas_config(case)["config_data"]) or next(iter(content.values()))


def arrays(case: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(case / f"{name}.npz") as content:
        return {key: content[key] for key in content.files}


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def shape_of(case: Path) -> Shape:
    return shape_from_config(atlas_config(case), data_config(case))


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
    return np.array(data_config(case)["world_bbox"], float) / 2


def used_conditions(case: Path) -> list[str]:
    return [name for name, used in data_config(case)["conditions"].items() if used]


def condition_of(case: Path, name: str, bounds: np.ndarray, scale: float) -> Condition:
    return Condition(name, "numeric", float(bounds[0]), float(bounds[1]), scale=float(scale))


def raw_combinations(case: Path) -> list[dict[str, float]]:
    """Return the table values of every combination of conditions of the atlas, the first condition slowest."""
    asked = atlas_config(case)["atlas_gen"]["conditions"] or {}
    choices = []
    for name in used_conditions(case):
        low, high = (float(data_config(case)["constraints"][name][end]) for end in ("min", "max"))
        values = [float(value) for value in asked[name]["values"]]
        if asked[name].get("normed_values"):
            values = [low + (value + 1) / 2 * (high - low) for value in values]
        choices.append(values)
    return [dict(zip(used_conditions(case), values, strict=True)) for values in itertools.product(*choices)]


def moves(case: Path, transforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return transform.matrices(transforms, tensor(half_box(case)), "euler-zxz")


def assert_close(actual: Any, expected: Any, tolerance: float = FLOAT32) -> None:
    actual = actual.detach().numpy() if isinstance(actual, torch.Tensor) else np.asarray(actual)
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
