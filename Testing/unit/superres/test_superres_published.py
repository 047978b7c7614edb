"""Published super-resolution: its network whole and folded, its checkpoints, and its pipeline."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.models.dotted import load_object
from NeuroGenLib.models.folder import ModelFolder, load_tensors
from NeuroGenLib.models.published import published_models
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.published.checkpoint import ATLAS, import_checkpoint
from NeuroGenLib.superres.published.reference import (
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
    PublishedUNetConfig,
    fold,
    network_from_tensors,
    network_record,
    published_network,
    reached_taps,
    sizes_of,
)
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = PublishedUNetConfig(channels=(2, 3, 4, 5, 6, 7), units=2)
WINDOW = 32
LAS = np.array([[-1.0, 0, 0, 20], [0, 1, 0, -30], [0, 0, 1, -10], [0, 0, 0, 1]])


@pytest.fixture
def network() -> PublishedUNet:
    """A tiny network of the published kind, untrained."""
    torch.manual_seed(7)
    return published_network(TINY)


@pytest.fixture
def windows() -> torch.Tensor:
    """Two windows of noise and an empty one."""
    images = torch.rand(3, 2, WINDOW, WINDOW, WINDOW, generator=torch.Generator().manual_seed(3))
    images[2] = 0
    return images


@pytest.fixture
def checkpoint(network: PublishedUNet, tmp_path: Path) -> Path:
    """Its weights as the published program writes them."""
    path = tmp_path / "download" / "pretrained_weights.pth"
    path.parent.mkdir()
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def atlas(checkpoint: Path) -> Path:
    """The infant atlas beside the checkpoint."""
    path = checkpoint.with_name(ATLAS)
    Volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5), LAS).save(path)
    return path


@pytest.fixture
def pair() -> tuple[Volume, Volume]:
    """T1w and T2w on one small grid, stored the published way."""
    random = np.random.default_rng(5)
    return tuple(Volume(random.integers(0, 900, (33, 30, 35)).astype(np.int16), LAS) for _ in range(2))


def folded_copy(network: PublishedUNet, window: int = WINDOW) -> FoldedUNet:
    folded = FoldedUNet(network.config, window)
    folded.load_state_dict(fold(network.state_dict().items(), network.config, window))
    return folded


# --- the network ----------------------------------------------------------------------------------------------------


def test_the_published_sizes():
    whole, folded = sizes_of(PublishedUNetConfig()), sizes_of(PublishedUNetConfig(), WINDOW)
    assert len(whole) == len(folded) == 221
    assert sum(math.prod(size) for size in whole.values()) == 379_053_826
    assert sum(math.prod(size) for size in folded.values()) == 46_262_018
    # 512 channels meet one voxel after their first kernel, 1024 never see two.
    deep = "model." + "1.submodule." * 4
    assert folded[f"{deep}0.conv.unit0.conv.weight"] == (512, 256, 2, 2, 2)
    assert folded[f"{deep}0.residual.weight"] == (512, 256, 2, 2, 2)
    assert folded[f"{deep}0.conv.unit9.conv.weight"] == (512, 512, 1, 1, 1)
    assert folded[f"{deep}1.submodule.conv.unit0.conv.weight"] == (1024, 512, 1, 1, 1)
    assert folded[f"{deep}2.0.conv.weight"] == (1536, 256, 2, 2, 2)
    assert folded[f"{deep}2.1.conv.unit0.conv.weight"] == (256, 256, 3, 3, 3)


def test_a_folded_network_is_the_same_function(network, windows):
    with torch.no_grad():
        expected, found = network(windows), folded_copy(network)(windows)
    assert expected.std() > 1e-3
    assert (found - expected).abs().max() < 2e-6


@pytest.mark.parametrize(("channels", "window"), [((2, 3), 2), ((2, 3, 4), 4), ((2, 3, 4), 8), ((2, 2, 2, 2), 16)])
def test_any_depth_and_window_can_be_folded(channels, window):
    torch.manual_seed(window)
    network = PublishedUNet(PublishedUNetConfig(channels, units=2))
    images = torch.rand(2, 2, window, window, window)
    with torch.no_grad():
        assert (folded_copy(network, window)(images) - network(images)).abs().max() < 2e-6


def test_only_taps_without_gradient_are_left_out(network, windows):
    network(windows[:2]).square().sum().backward()
    taps = reached_taps(TINY, WINDOW)
    assert taps
    for name, weight in network.named_parameters():
        touched = weight.grad.abs().amax((0, 1)) > 0 if weight.ndim == 5 else weight.grad != 0
        kept = torch.zeros_like(touched)
        kept[taps[name][2:] if name in taps else ...] = True
        assert torch.equal(touched & ~kept, torch.zeros_like(touched)), name
        if weight.ndim == 5:
            assert torch.equal(touched, kept), name


@pytest.mark.parametrize("size", [(64, 64, 64), (32, 32, 64), (16, 16, 16), (33, 33, 33)])
def test_a_folded_network_refuses_other_windows(network, size):
    with raises("geometry-mismatch", 32, "x".join(map(str, size))) as caught:
        folded_copy(network)(torch.zeros(1, 2, *size))
    assert "32x32x32" in caught.value.remedy


def test_the_whole_network_takes_multiples(network):
    with torch.no_grad():
        assert network(torch.zeros(1, 2, 32, 64, 32)).shape == (1, 1, 32, 64, 32)
    for wrong in ((1, 2, 32, 48, 32), (1, 1, 32, 32, 32), (2, 32, 32, 32)):
        with raises("geometry-mismatch", wrong):
            network(torch.zeros(*wrong))


@pytest.mark.parametrize("channels", [(4,), (2,) * 12, (2, 0, 4)])
def test_shapes_that_no_network_has(channels):
    with pytest.raises(ValueError, match=r"levels|below 1"):
        PublishedUNetConfig(channels)


@pytest.mark.parametrize("window", [None, WINDOW])
def test_a_manifest_describes_the_network(network, windows, window):
    record = json.loads(json.dumps(network_record(TINY, window)))
    assert (record["kind"], record["folded"], record["window"]) == ("published", window is not None, window)
    state = network.state_dict() if window is None else folded_copy(network).state_dict()
    opened = network_from_tensors(record, {name: value.clone() for name, value in state.items()})
    assert not opened.training
    with torch.no_grad():
        assert (opened(windows) - network(windows)).abs().max() < 2e-6
    with pytest.raises(RuntimeError, match=r"model\.2\.1"):
        network_from_tensors(record, {name: value for name, value in state.items() if "2.1" not in name})


# --- its checkpoints ------------------------------------------------------------------------------------------------


def test_an_imported_checkpoint_is_the_same_function(checkpoint, network, windows, tmp_path):
    import_checkpoint(checkpoint, tmp_path / "model")
    folder = ModelFolder.read(tmp_path / "model")
    assert folder.kind == "superres"
    tensors = load_tensors(folder)
    assert {value.dtype for value in tensors.values()} == {torch.float32}
    opened = network_from_tensors(folder.manifest["network"], tensors)
    assert isinstance(opened, FoldedUNet)
    with torch.no_grad():
        assert (opened(windows) - network(windows)).abs().max() < 2e-6
    assert {name: tuple(value.shape) for name, value in tensors.items()} == sizes_of(TINY, WINDOW)


def test_half_precision_is_half_as_large(checkpoint, network, windows, tmp_path):
    import_checkpoint(checkpoint, tmp_path / "half", half=True)
    tensors = load_tensors(ModelFolder.read(tmp_path / "half"))
    assert {value.dtype for value in tensors.values()} == {torch.float16}
    opened = network_from_tensors(network_record(TINY, WINDOW), tensors)
    with torch.no_grad():
        assert 0 < (opened(windows) - network(windows)).abs().max() < 1e-3


def test_a_model_says_what_it_is(checkpoint, tmp_path):
    import_checkpoint(checkpoint, tmp_path / "model")
    folder = ModelFolder.read(tmp_path / "model")
    manifest = folder.manifest
    assert manifest["network"] == {
        "kind": "published",
        "channels": list(TINY.channels),
        "units": 2,
        "inputs": 2,
        "outputs": 1,
        "folded": True,
        "window": 32,
    }
    prepared = manifest["preparation"]
    assert (prepared["orientation"], prepared["spacing"]) == ("LAS", [1, 1, 1])
    assert (prepared["grid"], prepared["padded"]) == ([182, 218, 182], [192, 224, 192])
    assert prepared["normalisation"]["percentiles"] == [1, 99]
    assert prepared["atlas"] is None
    assert manifest["license"] == "unknown"
    assert "9222513" in manifest["citation"][0]
    assert manifest["training"]["larger_windows"] is False
    for words in ("For research use only", "infants", "32 voxels a side", "9222513"):
        assert words in folder.card


def test_the_atlas_beside_it_becomes_part_of_the_model(checkpoint, atlas, tmp_path):
    import_checkpoint(checkpoint, tmp_path / "model")
    folder = ModelFolder.read(tmp_path / "model")
    assert folder.manifest["preparation"]["atlas"] == ATLAS
    kept = Volume.load(folder.file(ATLAS))
    assert kept.same_space(Volume.load(atlas))
    assert np.array_equal(kept.array, np.arange(60).reshape(3, 4, 5))
    assert ATLAS in folder.card


def test_an_atlas_that_is_not_a_volume_is_named(checkpoint, atlas, tmp_path):
    atlas.write_bytes(b"see the other folder")
    with raises("file-damaged", "infant_atlas.nii.gz"):
        import_checkpoint(checkpoint, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_weights_of_larger_windows_are_reported(checkpoint, network, tmp_path, caplog):
    state = network.state_dict()
    name = next(iter(reached_taps(TINY, WINDOW)))
    state[name][0, 0, 0, 0, 0] = 2.0  # first weights are below 1
    torch.save(state, checkpoint)
    import_checkpoint(checkpoint, tmp_path / "model")
    assert "1 kernels of pretrained_weights.pth" in caplog.text
    assert "larger windows" in caplog.text
    manifest = ModelFolder.read(tmp_path / "model").manifest
    assert manifest["training"]["larger_windows"] is True
    assert "larger windows" in manifest["description"]


def test_trained_taps_within_reach_give_no_warning(checkpoint, network, tmp_path, caplog):
    state = network.state_dict()
    for name, taps in reached_taps(TINY, WINDOW).items():
        state[name][taps] = 2.0
    torch.save(state, checkpoint)
    import_checkpoint(checkpoint, tmp_path / "model")
    assert caplog.text == ""


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    return spoil


BIAS = "model.2.1.conv.unit0.conv.bias"
KERNEL = "model.0.conv.unit1.conv.weight"


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda path: path.unlink(), ("file-missing",)),
        (lambda path: path.write_bytes(path.read_bytes()[:3000]), ("file-damaged",)),
        (lambda path: path.write_bytes(b""), ("file-type",)),
        (lambda path: torch.save([1, 2], path), ("file-type", "list")),
        (lambda path: torch.save({}, path), ("weights-mismatch", "BABY-AI")),
        (lambda path: torch.save(torch.nn.Linear(2, 2).state_dict(), path), ("weights-mismatch", "BABY-AI")),
        (lambda path: torch.save({"model": torch.nn.Linear(2, 2)}, path), ("checkpoint-unsafe", "Linear")),
        (changed(lambda state: state.update(epoch=3)), ("weights-mismatch", "'epoch'")),
        (
            changed(lambda state: state.update(steps=torch.ones(1, dtype=torch.int64))),
            ("weights-mismatch", "'steps'"),
        ),
        (changed(lambda state: state.pop(BIAS)), ("weights-mismatch", BIAS)),
        (
            changed(lambda state: state.update({"surprise.weight": torch.zeros(1)})),
            ("weights-mismatch", "surprise.weight"),
        ),
        (
            changed(lambda state: state.update({KERNEL: torch.zeros(2, 2, 5, 3, 3)})),
            ("weights-mismatch", KERNEL, "(2, 2, 5, 3, 3)", "(2, 2, 3, 3, 3)"),
        ),
        (
            changed(lambda state: state.update({BIAS: torch.full((1,), torch.nan)})),
            ("training-diverged", f"'{BIAS}'"),
        ),
        (
            lambda path: torch.save(published_network(PublishedUNetConfig((1,) * 7, 1)).state_dict(), path),
            ("weights-mismatch", 7, 32),
        ),
        (
            lambda path: torch.save({"model.0.conv.unit0.conv.weight": torch.zeros(3)}, path),
            ("weights-mismatch", "BABY-AI"),
        ),
    ],
)
def test_files_that_are_not_a_checkpoint_are_refused(checkpoint, tmp_path, spoil, error):
    spoil(checkpoint)
    with raises(*error, "pretrained_weights.pth") as caught:
        import_checkpoint(checkpoint, tmp_path / "model")
    assert caught.value.remedy
    assert not (tmp_path / "model").exists()


def test_the_list_of_published_models_leads_here():
    (entry,) = (entry for entry in published_models() if entry.system == "baby-ai")
    assert load_object(entry.importer) is import_checkpoint
    assert {entry.checkpoint, ATLAS} == {file["name"] for file in entry.files}
    assert yaml.safe_load(yaml.safe_dump(entry.options)) == {}, "the importer's defaults"


# --- its pipeline ---------------------------------------------------------------------------------------------------


@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.integers(0, 5)] * 3),
)
def test_padding_keeps_voxels_where_they_were(shape, more):
    volume = Volume(np.arange(1, 1 + math.prod(shape), dtype=np.int16).reshape(shape), LAS)
    box = padded(volume, np.add(shape, more))
    assert box.shape == tuple(np.add(shape, more))
    assert box.array.dtype == np.float64
    first = [width // 2 for width in more]
    inside = tuple(slice(start, start + size) for start, size in zip(first, shape, strict=True))
    assert np.array_equal(box.array[inside], volume.array)
    assert np.count_nonzero(box.array) == volume.array.size
    np.testing.assert_allclose(box.voxel_to_world(first), volume.voxel_to_world((0, 0, 0)), atol=1e-12)


def test_what_is_larger_than_the_box_is_refused():
    with raises("geometry-mismatch", (9, 4, 4), (8, 8, 8)):
        padded(Volume(np.ones((9, 4, 4)), LAS), (8, 8, 8))


def test_intensities_by_percentiles_of_what_is_above_zero():
    image = np.concatenate([np.zeros(50), -np.ones(50), np.arange(1.0, 102.0)])
    # Of 1..101 the 1st percentile is 2, the 99th 100.
    expected = np.clip((image - 2) / (98 + 1e-6), 0, 1)
    np.testing.assert_allclose(normalised(image), expected, atol=1e-14)


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (np.zeros((3, 3, 3)), "image-empty"),
        (-np.ones((3, 3, 3)), "image-empty"),
        (np.array([1.0, np.nan]), "image-not-finite"),
        (np.array([1.0, np.inf]), "image-not-finite"),
    ],
)
def test_images_that_cannot_be_normalised(image, code):
    with raises(code, "The T1w"):
        normalised(image, "The T1w")


@given(st.tuples(*[st.integers(4, 9)] * 3), st.integers(1, 4), st.integers(1, 5))
def test_patches_put_back_give_the_image(shape, side, step):
    image = np.random.default_rng(side).random(shape)
    size, stride = (side,) * 3, (step,) * 3
    cut = patches(image, size, stride)
    places = corners(shape, size, stride)
    assert len(cut) == len(places) == math.prod((whole - side) // step + 1 for whole in shape)
    assert places == sorted(places)
    covered = np.zeros(shape, dtype=bool)
    for i, j, k in places:
        covered[i : i + side, j : j + side, k : k + side] = True
    back = aggregated(cut, shape, size, stride)
    np.testing.assert_allclose(back, np.where(covered, image, 0), atol=1e-14)


def test_overlapping_patches_count_alike():
    found = [np.full((2, 1, 1), value) for value in (1.0, 3.0)]
    assert aggregated(found, (3, 1, 1), (2, 1, 1), (1, 1, 1)).ravel().tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="shorter"):
        aggregated(found[:1], (3, 1, 1), (2, 1, 1), (1, 1, 1))


@pytest.mark.parametrize(("size", "stride"), [((9, 2, 2), (1, 1, 1)), ((2, 2, 2), (0, 1, 1)), ((0, 2, 2), (1, 1, 1))])
def test_patches_that_do_not_fit(size, stride):
    with raises("value-conflict", size, stride):
        patches(np.zeros((8, 8, 8)), size, stride)


class _Second(torch.nn.Module):
    """Returns the second channel, the T2w; a mean over overlapping windows leaves it as it was."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.dtype == torch.float32
        return images[:, 1:]


def test_windows_are_put_back_where_they_were(pair):
    t1w, t2w = pair
    found = reference_super_resolve(t1w, t2w, _Second(), (48, 32, 48), batch=3)
    box = padded(t2w, (48, 32, 48))
    assert found.same_space(box)
    np.testing.assert_allclose(found.array, normalised(box.array), atol=1e-7)


def test_the_batch_changes_nothing(pair, network):
    folded = folded_copy(network).eval()
    one, five = (reference_super_resolve(*pair, folded, (48, 32, 48), batch=batch).array for batch in (1, 5))
    assert one.std() > 1e-4
    assert np.abs(one - five).max() < 2e-6


@pytest.mark.parametrize("codes", ["RAS", "PIR", "LSA"])
def test_storage_does_not_matter(pair, codes):
    shape = (48, 48, 48)
    expected = reference_super_resolve(*pair, _Second(), shape)
    found = reference_super_resolve(*(volume.reorient(codes) for volume in pair), _Second(), shape)
    assert found.same_space(expected)
    assert np.abs(found.array - expected.array).max() < 1e-12


def on_another_grid(volume: Volume) -> Volume:
    affine = volume.affine.copy()
    affine[0, 3] += 5
    return Volume(volume.array, affine)


@pytest.mark.parametrize(
    ("spoil", "code", "named"),
    [
        (on_another_grid, "geometry-mismatch", "The T2w"),
        (lambda volume: Volume(volume.array, np.diag([2.0, 1, 1, 1])), "geometry-mismatch", "2x1x1 mm"),
        (lambda volume: Volume(np.stack([volume.array] * 2), volume.affine), "image-dimensions", "The T2w"),
        (lambda volume: volume.with_array(np.full(volume.shape, np.nan)), "image-not-finite", "The T2w"),
        (lambda volume: volume.with_array(np.zeros(volume.shape)), "image-empty", "The T2w"),
        (lambda volume: volume.pad((40, 0, 0)), "geometry-mismatch", "(48, 32, 48)"),
    ],
)
def test_pairs_that_the_pipeline_refuses(pair, spoil, code, named):
    with raises(code, named) as caught:
        reference_super_resolve(pair[0], spoil(pair[1]), _Second(), (48, 32, 48))
    assert caught.value.remedy


def test_the_pipeline_can_be_stopped(pair):
    class OneStep(Progress):
        def show(self, step: float, *_: object) -> None:
            if step >= 1:
                self.cancel()

    with pytest.raises(Cancelled):
        reference_super_resolve(*pair, _Second(), (48, 32, 48), batch=1, progress=OneStep())


@given(st.integers(0, 10_000))
def test_a_split_takes_every_file_once(files):
    parts = published_split(files)
    assert sum(parts) == files
    assert min(parts) >= 0
    assert abs(parts[0] - 0.7 * files) < 1
