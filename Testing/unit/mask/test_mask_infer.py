"""The brain mask of a scan: on its own voxels, wherever its head lies and however it is stored."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy import ndimage

from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.mask import infer
from NeuroGenLib.mask.config import MapsConfig, MaskTrainConfig, NetworkConfig
from NeuroGenLib.mask.infer import MaskModel, brain_mask
from NeuroGenLib.mask.network import BrainNetwork, BrainNetworkConfig
from NeuroGenLib.mask.train import write_mask_model
from NeuroGenLib.models import ModelFolder, open_model
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.training.settings import TrainerConfig
from Testing.geometry import (
    SWEEP,
    a_brain_phantom,
    anisotropic,
    dice,
    oblique,
    orientations,
    rotated_copy,
    same_in_world,
)
from Testing.raising import raises

if TYPE_CHECKING:
    from NeuroGenLib.core.errors import Code


class IntensityNetwork(torch.nn.Module):
    """Stands for a network: what is brighter than a third is brain."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(multiple=8)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 12 * (image - 1 / 3)


@pytest.fixture
def model() -> MaskModel:
    """A mask that finds what is bright, at 3 mm."""
    manifest = {"network": {}, "preparation": {"spacing": 3.0}, "notice": "It sees intensity.", "files": {}}
    folder = ModelFolder(Path("intensity"), manifest, "intensity")
    return MaskModel(folder, IntensityNetwork(), torch.device("cpu"))


@pytest.fixture
def head() -> Volume:
    """An asymmetric head of 58 x 74 x 54 mm in air with some noise."""
    image = a_brain_phantom((52, 60, 50), 1.6).image
    return image.with_array(image.array + np.random.default_rng(1).random(image.shape))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with a small untrained network."""
    job = MaskTrainConfig(
        train=TrainerConfig(out=tmp_path / "run", steps=1),
        maps=MapsConfig(include=("sub-secret",)),
        network=NetworkConfig(features=(4, 8)),
        notice="It is untrained.",
    )
    write_mask_model(BrainNetwork(BrainNetworkConfig((4, 8))), job, tmp_path / "model")
    return tmp_path / "model"


def test_mask_is_what_the_network_finds_on_the_scans_voxels(model: MaskModel, head: Volume) -> None:
    found = model.find(head)
    assert found.mask.array.dtype == np.uint8
    assert found.mask.same_space(head)
    truth = head.with_array((head.array > head.array.max() / 3).astype(np.uint8))
    assert dice(found.mask, truth) > 0.93
    assert found.volume_ml == pytest.approx(found.mask.array.sum() * 1.6**3 / 1000)
    assert 0.5 < found.confidence <= 1
    assert any("ml" in text for text in found.warnings), "a phantom is smaller than a head"


@pytest.mark.parametrize("codes", SWEEP)
def test_storage_of_the_scan_does_not_change_the_mask(model: MaskModel, head: Volume, codes: str) -> None:
    _, stored = next(orientations(head, [codes]))
    assert same_in_world(model.find(stored).mask, model.find(head).mask)


def test_a_turned_head_gets_a_turned_mask(model: MaskModel, head: Volume) -> None:
    turned = oblique(head, 25)
    found = model.find(turned).mask
    assert found.same_space(turned)
    assert dice(found.with_array(found.array), Volume(model.find(head).mask.array, turned.affine)) > 0.98


def test_a_resampled_oblique_copy_gets_the_same_mask(model: MaskModel, head: Volume) -> None:
    copy = rotated_copy(head, 20)
    wanted = model.find(head).mask.resample(like=copy, order=0)
    assert dice(model.find(copy).mask, wanted) > 0.97


def test_thick_slices_get_a_mask_in_the_same_place(model: MaskModel, head: Volume) -> None:
    thick = anisotropic(head)
    assert dice(model.find(thick).mask, model.find(head).mask.resample(like=thick, order=0)) > 0.94


@pytest.mark.slow
def test_a_fine_scan_is_one_part_without_holes(model: MaskModel) -> None:

    phantom = a_brain_phantom((130, 150, 120), 0.6).image
    mask = model.find(phantom).mask.array
    assert ndimage.label(mask)[1] == 1
    assert np.array_equal(ndimage.binary_fill_holes(mask), mask.astype(bool))


def test_a_head_in_the_corner_of_a_large_field_of_view(
    model: MaskModel, head: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of 48 voxels; the scan has room for several."""
    monkeypatch.setattr(infer, "_SIDE", 48)
    large = head.pad([(5, 150), (130, 3), (0, 100)])
    inside = model.find(large).mask.crop([(5, 57), (130, 190), (0, 50)])
    assert dice(inside, model.find(head).mask) > 0.98
    assert model.find(large).mask.array.sum() == inside.array.sum()


def test_values_and_types_of_the_scan_do_not_matter(model: MaskModel, head: Volume) -> None:
    wanted = model.find(head).mask.array
    assert np.array_equal(model.find(head.with_array(head.array * 1e-3 - 5)).mask.array, wanted)
    rounded = model.find(head.with_array(np.round(head.array).astype(np.int16))).mask
    assert dice(rounded, head.with_array(wanted)) > 0.995


def test_a_smaller_spacing_is_used(model: MaskModel, head: Volume) -> None:
    usual, fine = model.find(head), model.find(head, spacing=1.6)
    assert not np.array_equal(usual.mask.array, fine.mask.array)
    assert dice(usual.mask, fine.mask) > 0.9


@pytest.mark.parametrize("spacing", [0.0, -3.0, 50.0, float("nan")])
def test_a_spacing_out_of_range_is_refused(model: MaskModel, head: Volume, spacing: float) -> None:
    with raises("value-invalid", "'spacing'", spacing, "0.5", "10 mm"):
        model.find(head, spacing=spacing)


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros((40, 40, 40)), "image-empty"),
        (np.full((40, 40, 40), np.inf), "image-not-finite"),
        (np.ones((2, 40, 40, 40)), "image-dimensions"),
    ],
)
def test_images_that_are_not_scans_are_refused(model: MaskModel, array: np.ndarray, code: Code) -> None:
    with raises(code):
        model.find(Volume(array, np.eye(4)))


def test_short_memory_makes_smaller_windows_and_says_so(
    model: MaskModel, head: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Greedy(IntensityNetwork):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            if max(image.shape) > 48:
                raise MemoryError
            return super().forward(image)

    large = head.pad([(0, 60), (0, 60), (0, 60)])
    wanted = model.find(large).mask
    greedy = MaskModel(model.folder, Greedy(), model.device)
    found = greedy.find(large)
    assert dice(found.mask, wanted) > 0.99
    assert any("Memory ran out" in text for text in found.warnings)


def test_a_skull_stripped_scan_is_masked_whole_and_this_is_said(model: MaskModel) -> None:
    depth = 1 - np.linalg.norm((np.indices((44, 52, 40)).T - (22, 26, 20)) / (18, 21, 16), axis=-1).T
    brain = Volume(np.where(depth > 0, 100 + 50 * depth, 0), np.diag([4.0, 4, 4, 1]))
    result = model.find(brain)
    assert np.array_equal(result.mask.array != 0, depth > 0)
    assert result.confidence is None
    assert [f"({result.volume_ml:.0f} ml)" in text for text in result.warnings] == [True]


def test_finding_can_be_cancelled(model: MaskModel, head: Volume) -> None:
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        model.find(head, progress)


def test_a_written_model_opens_again(folder: Path) -> None:
    opened = open_model(folder, device="cpu")
    assert isinstance(opened, MaskModel)
    assert opened.spacing == 4.0
    assert opened.notice == "It is untrained."
    assert opened.record["weights"]["model.safetensors"]["size"] > 0
    assert "sub-secret" not in (folder / "neurogen.json").read_text(encoding="utf-8")
    assert str(folder.parent) not in (folder / "neurogen.json").read_text(encoding="utf-8")


def test_card_says_what_it_is_not_for(folder: Path) -> None:
    card = ModelFolder.read(folder).card
    assert "fetus" in card
    assert "research use only" in card
    assert "It is untrained." in card


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    import json

    manifest = json.loads((folder / "neurogen.json").read_text(encoding="utf-8"))
    manifest["network"]["features"] = [4, 16]
    (folder / "neurogen.json").write_text(json.dumps(manifest), encoding="utf-8")
    with raises("model-damaged", folder):
        open_model(folder, device="cpu")


def test_a_model_of_another_kind_is_refused(atlas: object) -> None:
    with raises("model-kind", atlas.folder.reference, "brain mask"):
        open_model(atlas.folder.path, MaskModel, device="cpu")


def test_brain_mask_opens_the_model_it_is_given(
    folder: Path, head: Volume, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("NeuroGenLib.mask.network.network_from_tensors", lambda *_: IntensityNetwork())
    found = brain_mask(head, folder, device="cpu")
    assert [record.message for record in caplog.records if record.name == "NeuroGenLib.mask.infer"] == found.warnings
    assert found.mask.same_space(head)
    assert found.mask.array.any()
    assert any("whole head" in text for text in found.warnings)
