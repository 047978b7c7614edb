"""Published super-resolution against recorded runs of the published program.

The recordings lie in one folder, each with its own name; all sizes are read from them.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from babyai_case import RECORDED, arrays, named, seeded_weights

from NeuroGenLib.models.folder import ModelFolder, load_tensors
from NeuroGenLib.simulate.decimation import decimate
from NeuroGenLib.spatial.metrics import nrmse, psnr, ssim
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.published.checkpoint import config_of_state, import_checkpoint
from NeuroGenLib.superres.published.reference import (
    STRIDE,
    WINDOW,
    aggregated,
    corners,
    normalised,
    padded,
    patches,
    published_split,
    reference_super_resolve,
)
from NeuroGenLib.superres.published.unet import (
    FoldedUNet,
    PublishedUNet,
    fold,
    network_from_tensors,
    sizes_of,
)
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")

DOUBLE = 1e-12
NETWORK = 2e-5


def recorded(pattern: str) -> Any:
    """Run a test on every recording whose name fits; without any, there is no such test."""
    files = [path for path in RECORDED if path.match(pattern)]
    if not files:
        return lambda test: None  # noqa: ARG005 (pytest does not collect None)
    return pytest.mark.parametrize("file", files, ids=named)


def near(actual: Any, expected: Any, tolerance: float) -> None:
    assert np.shape(actual) == np.shape(expected)
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=0, atol=tolerance)


def triple(value: np.ndarray) -> tuple[int, int, int]:
    i, j, k = (int(number) for number in value)
    return i, j, k


def imported(weights: Path, folder: Path) -> FoldedUNet:
    import_checkpoint(weights, folder)
    model = ModelFolder.read(folder)
    network = network_from_tensors(model.manifest["network"], load_tensors(model))
    assert isinstance(network, FoldedUNet)
    return network


def output(network: PublishedUNet, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy(images)).numpy()


# --- the network ----------------------------------------------------------------------------------------------------


@recorded("mini_forward.npz")
def test_a_checkpoint_has_every_weight_of_the_whole_network(file: Path, tmp_path: Path) -> None:
    weights = seeded_weights(file.parent, tmp_path)
    state = torch.load(weights, weights_only=True)
    network = PublishedUNet(config_of_state(state, weights))
    network.load_state_dict(state, strict=True)
    given = arrays(file)
    near(output(network, given["input"]), given["output"], NETWORK)


@recorded("mini_forward.npz")
def test_an_imported_checkpoint_gives_the_recorded_windows(file: Path, tmp_path: Path) -> None:
    network = imported(seeded_weights(file.parent, tmp_path), tmp_path / "model")
    given = arrays(file)
    near(output(network, given["input"]), given["output"], NETWORK)


@recorded("mini_forward.npz")
def test_the_order_of_the_channels_matters(file: Path, tmp_path: Path) -> None:
    network, given = imported(seeded_weights(file.parent, tmp_path), tmp_path / "model"), arrays(file)
    swapped = given["output_channels_swapped"]
    assert np.abs(output(network, given["input"][: len(swapped)]) - swapped).max() > 10 * NETWORK, "the order matters"
    near(output(network, given["input"][: len(swapped), ::-1].copy()), swapped, NETWORK)


@pytest.mark.slow
@recorded("*_checksums.json")
def test_the_recorded_seed_gives_the_recorded_network_and_folding_keeps_it(file: Path) -> None:
    facts = json.loads(file.read_text())
    record = json.loads(file.with_name("meta.json").read_text())
    sizes = {name: tuple(value["shape"]) for name, value in facts.items()}
    shape = config_of_state({name: torch.empty(size, device="meta") for name, size in sizes.items()}, file)
    assert sizes_of(shape) == sizes

    torch.manual_seed(record["seed"])
    network = PublishedUNet(shape).eval()
    digest, count = hashlib.sha256(), 0
    for name, value in network.state_dict().items():
        flat = value.flatten()
        digest.update(name.encode())
        digest.update(memoryview(flat.numpy()).cast("B"))
        count += flat.numel()
        expected = facts[name]
        assert float(flat.sum(dtype=torch.float64)) == pytest.approx(expected["sum"], rel=1e-9, abs=1e-7), name
        assert flat[: len(expected["first"])].tolist() == expected["first"], name
        assert flat[-1].item() == expected["last"], name
    assert count == record["full_params"]
    assert digest.hexdigest() == record["full_state_sha256"]

    given = arrays(file.with_name(file.name.replace("_checksums.json", "_forward.npz")))
    for image, expected in zip(given["input"], given["output"], strict=True):
        near(output(network, image[None])[0], expected, NETWORK)
    tensors = fold(network.state_dict().items(), shape, WINDOW)
    del network  # both at once need more memory than many computers have
    folded = FoldedUNet(shape, WINDOW).eval()
    folded.load_state_dict(tensors)
    near(output(folded, given["input"]), given["output"], NETWORK)


# --- the pipeline ---------------------------------------------------------------------------------------------------


@recorded("normalize*.npz")
def test_normalisation(file: Path) -> None:
    given = arrays(file)
    cases = [name.removesuffix("_in") for name in given if name.endswith("_in")]
    assert cases
    for case in cases:
        near(normalised(given[f"{case}_in"]), given[f"{case}_out"], DOUBLE)


@recorded("meta.json")
def test_what_the_program_fails_on_is_refused(file: Path) -> None:
    record = json.loads(file.read_text())
    assert record["normalize_all_zero"] == "IndexError"
    assert record["pad_larger_than_target"] == "ValueError"
    with raises("image-empty"):
        normalised(np.zeros((4, 4, 4)))
    with raises("geometry-mismatch", "(5, 4, 4)", "(4, 4, 4)"):
        padded(Volume(np.ones((5, 4, 4)), np.eye(4)), (4, 4, 4))


@recorded("patches*.npz")
def test_patches(file: Path) -> None:
    given = arrays(file)
    size, stride = triple(given["patch_size"]), triple(given["stride"])
    box = padded(Volume(given["volume"], given["affine"]), triple(given["target_shape"]))
    near(box.array, given["padded"], DOUBLE)
    near(box.affine, given["padded_affine"], DOUBLE)
    cut = patches(box.array, size, stride)
    assert len(cut) == given["n_patches"]
    for found, name in ((cut[0], "first"), (cut[1], "second"), (cut[-1], "last")):
        near(found, given[name], 0)
    near(aggregated(cut, box.shape, size, stride), given["reassembled_identity"], DOUBLE)
    scaled = (patch * (1 + 0.01 * index) for index, patch in enumerate(cut))
    near(aggregated(scaled, box.shape, size, stride), given["reassembled_scaled"], DOUBLE)


@recorded("patches*.npz")
def test_the_rim_that_no_patch_covers_is_zero(file: Path) -> None:
    given = arrays(file)
    image, expected = given["uncovered_stride_in"], given["uncovered_stride_out"]
    size, stride = (8, 8, 8), (5, 5, 5)  # of this recording alone, whatever the patches of the others are
    found = patches(image, size, stride)
    assert len(found) == given["uncovered_stride_n"]
    near(aggregated(found, image.shape, size, stride), expected, DOUBLE)


@recorded("degrade*.npz")
def test_decimation(file: Path) -> None:
    given = arrays(file)
    cases = {name: re.fullmatch(r"(\w+)_(\d+)_start(\d+)", name) for name in given if name != "volume"}
    assert cases
    for name, match in cases.items():
        assert match, name
        near(decimate(given["volume"], match[1], int(match[2]), int(match[3])), given[name], DOUBLE)


@recorded("pipeline*.npz")
def test_the_pipeline_from_two_volumes_to_one(file: Path, tmp_path: Path) -> None:
    given = arrays(file)
    (weights, *_) = sorted(file.parent.glob("*_weights.pth"))
    network = imported(weights, tmp_path / "model")
    t1w, t2w = (Volume(given[name], given["affine"]) for name in ("t1", "t2_anisotropic"))
    shape = triple(given["target_shape"])
    assert len(corners(shape, (WINDOW,) * 3, (STRIDE,) * 3)) == given["n_patches"]
    found = reference_super_resolve(t1w, t2w, network, shape)
    near(found.array, given["output"], NETWORK)
    near(found.affine, given["output_affine"], DOUBLE)
    swapped = reference_super_resolve(t2w, t1w, network, shape)
    assert np.abs(swapped.array - given["output"]).max() > 10 * NETWORK, "the order of the channels matters"


@recorded("metrics.json")
def test_metrics(file: Path) -> None:
    values, images = json.loads(file.read_text()), arrays(file.with_suffix(".npz"))
    real = images["real"]
    generated = [images[name] for name in sorted(images) if name != "real"]
    pairs = {
        "mean_of_two": [(image, real) for image in generated],
        "first_only": [(generated[0], real)],
        "arguments_swapped": [(real, generated[0])],
    }
    for name, compared in pairs.items():
        for metric in (psnr, ssim, nrmse):
            found = np.mean([metric(image, reference) for image, reference in compared])
            assert found == pytest.approx(values[name][metric.__name__], rel=1e-9), f"{name}, {metric.__name__}"
    ratios = [psnr(image, real) for image in generated]
    assert ratios == pytest.approx(values["ci"]["psnr_list"], rel=1e-9)


@recorded("split_sizes.json")
def test_splits(file: Path) -> None:
    for files, parts in json.loads(file.read_text()).items():
        assert published_split(int(files)) == tuple(parts)
