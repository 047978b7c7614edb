"""What training of the brain mask sees: the brain of a label map, and generated heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from NeuroGenLib.mask.config import MapsConfig, MaskTrainConfig, NetworkConfig, ViewConfig
from NeuroGenLib.mask.data import MAP_SPACING, GeneratedHeads, brain_of
from NeuroGenLib.mask.intensity import rescaled
from NeuroGenLib.simulate.contrast import ContrastConfig
from NeuroGenLib.simulate.deformation import DeformationConfig
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.training.settings import TrainerConfig
from Testing.geometry import reoriented
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.core.errors import Code

WHITE_MATTER, CSF, SKIN, BONE, CORD = 2, 24, 511, 515, 512
STILL = DeformationConfig(rotation=0, log_scale=0, shear=0, translation=0, scales=(), amplitudes=())
UPRIGHT = ViewConfig(sides=(48,), offset=0, mirrored=0, turned=0, cut=0)
SHARP = ContrastConfig(
    kind="t1w", jitter=0, stripped=0, thick=0, lesions=0, noise=(0, 0), blur=(0, 0), bias=(0, 0), log_gamma=0,
    background=0, deviation=(0, 0), texture=(0, 0),
)  # fmt: skip


def a_head(shape: tuple[int, int, int] = (48, 48, 48)) -> Volume:
    """Boxes on a 2 mm grid, RAS: skin, bone, fluid, brain with a hole of unknown background; a canal with a cord."""
    labels = np.zeros(shape, np.int16)
    labels[4:44, 4:44, 4:44] = SKIN
    labels[8:40, 8:40, 12:40] = BONE
    labels[10:38, 10:38, 14:38] = CSF
    labels[13:35, 12:36, 17:35] = WHITE_MATTER
    labels[22:25, 22:25, 24:27] = 0
    labels[20:28, 20:28, 4:14] = CSF
    labels[22:26, 22:26, 4:14] = CORD
    return Volume(labels, np.diag([2.0, 2, 2, 1]))


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """A folder with one head, stored left-handed."""
    reoriented(a_head(), "LIA").save(tmp_path / "maps" / "head_1.nii.gz")
    return tmp_path / "maps"


def job(maps: Path, view: ViewConfig = UPRIGHT, **changes: object) -> MaskTrainConfig:
    settings = {"contrast": SHARP, "deformation": STILL, "view": view, "spacing": 2.0, **changes}
    return MaskTrainConfig(
        train=TrainerConfig(out=maps.parent / "run", steps=1), maps=MapsConfig(source=maps), **settings
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_brain_is_tissue_and_fluid_above_its_lowest_tissue_without_holes() -> None:
    expected = np.zeros((48, 48, 48), bool)
    expected[10:38, 10:38, 17:38] = True
    assert np.array_equal(brain_of(a_head()), expected)


def test_a_map_without_brain_is_named() -> None:
    with raises("labels-invalid", "head_7"):
        brain_of(Volume(np.full((9, 9, 9), SKIN, np.int16), np.eye(4)), "head_7")


def test_an_upright_image_shows_the_brain_in_the_middle(maps: Path) -> None:
    """With nothing at random the mask is the brain's box about the middle, and tissue is brighter than fluid."""
    image, brain = GeneratedHeads(job(maps)).sample(generator(), 1)
    expected = np.zeros((48, 48, 48))
    expected[10:38, 10:38, 13:34] = 1  # 28 x 28 x 21 voxels; an odd side of the box stands on a half voxel
    found = brain[0, 0].numpy()
    assert found[12:36, 12:36, 15:32].min() == 1
    assert found[:9].max() == found[:, 40:].max() == found[:, :, :12].max() == found[:, :, 36:].max() == 0
    assert found.sum() == pytest.approx(expected.sum(), rel=0.02)
    assert image.min() >= 0
    assert image.max() <= 1
    white_matter, fluid = image[0, 0, 16, 16, 24], image[0, 0, 11, 24, 24]
    assert white_matter > 3 * fluid


def test_draws_are_a_function_of_the_generator(maps: Path) -> None:
    heads = GeneratedHeads(job(maps, ViewConfig(sides=(16, 32)), contrast=ContrastConfig(stripped=0)))
    one, again, other = (heads.sample(generator(seed), 2) for seed in (3, 3, 4))
    assert torch.equal(one[0], again[0])
    assert torch.equal(one[1], again[1])
    assert one[0].shape == one[1].shape
    assert one[0].shape[:2] == (2, 1)
    assert {*one[0].shape[2:]} <= {16, 32}
    assert one[0].shape != other[0].shape or not torch.equal(one[0], other[0])


@pytest.mark.parametrize("view", [{"mirrored": 1}, {"turned": 1}, {"offset": 20}])
def test_image_and_mask_move_together(maps: Path, view: dict[str, float]) -> None:
    """Tissue of the brain is the brightest on T1w: mean intensity in the mask stays above that outside."""
    settings = {"sides": (48,), "offset": 0, "mirrored": 0, "turned": 0, "cut": 0, **view}
    heads = GeneratedHeads(job(maps, ViewConfig(**settings)))
    still, _ = GeneratedHeads(job(maps)).sample(generator(), 1)
    moved_once = False
    for seed in range(4):
        image, brain = heads.sample(generator(seed), 1)
        inner = torch.nn.functional.max_pool3d(-brain, 5, 1, 2)[0, 0] == -1
        assert inner.sum() > 1000
        assert (image[0, 0][inner] > 0.5).float().mean() > 0.8
        moved_once |= not torch.allclose(image, still)
    assert moved_once


def test_what_a_scan_does_not_show_is_zero_in_both(maps: Path) -> None:
    view = ViewConfig(sides=(48,), offset=0, mirrored=0, turned=0, cut=1, cut_most=0.4)
    bright = ContrastConfig(stripped=0, background=1, mean=(0.5, 1.0))
    image, brain = GeneratedHeads(job(maps, view, contrast=bright)).sample(generator(2), 1)
    seen = image[0, 0] != 0
    for axis in range(3):
        shown = seen.amax(dim=tuple({0, 1, 2} - {axis}))
        index = torch.nonzero(shown).flatten()
        assert 0 <= int(index[0]) < 20
        assert len(index) < 48
        assert brain[0, 0].movedim(axis, 0)[~shown].max() == 0


def test_volume_of_the_brain_follows_the_voxel_size(maps: Path) -> None:
    counts = {}
    for spacing in (2.0, 3.0):
        _, brain = GeneratedHeads(job(maps, spacing=spacing)).sample(generator(), 1)
        counts[spacing] = float(brain.sum()) * spacing**3
    assert counts[2.0] == pytest.approx(28 * 28 * 21 * MAP_SPACING**3, rel=0.02)
    assert counts[3.0] == pytest.approx(counts[2.0], rel=0.05)


def test_unusable_maps_are_named(tmp_path: Path) -> None:
    Volume(np.full((9, 9, 9), SKIN, np.int16), np.eye(4)).save(tmp_path / "maps" / "head_1.nii.gz")
    with raises("labels-invalid", "head_1.nii.gz"):
        GeneratedHeads(job(tmp_path / "maps"))


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"view": ViewConfig(sides=(40,))}, "value-conflict", "40 voxels"),
        ({"view": ViewConfig(sides=())}, "value-missing", "view.sides"),
        ({"contrast": ContrastConfig()}, "value-conflict", "contrast.stripped"),
    ],
)
def test_impossible_settings_are_refused(tmp_path: Path, changes: dict[str, object], code: Code, named: str) -> None:
    with raises(code, named):
        job(tmp_path / "maps", **changes)


def test_a_network_without_levels_is_refused() -> None:
    with raises("value-invalid", "features"):
        NetworkConfig(features=())


def test_rescaled_puts_percentiles_at_the_ends() -> None:
    image = torch.arange(1001.0).reshape(7, 11, 13) * 5 - 300
    result = rescaled(image)
    # Percentile 1 of 0..1000 is 10; percentile 99 of those above the mean, 501..1000, is 995.01.
    assert float(result.flatten()[10]) == 0
    assert float(result.flatten()[500]) == pytest.approx((500 - 10) / (995.01 - 10))
    assert float(result.flatten()[995]) < 1
    assert result.min() == 0
    assert result.max() == 1


def test_air_around_a_head_hardly_changes_its_intensity() -> None:
    head = torch.rand(20, 20, 20, generator=torch.Generator().manual_seed(1)) + 0.5
    alone = rescaled(torch.nn.functional.pad(head, [2] * 6))[2:-2, 2:-2, 2:-2]
    lost = rescaled(torch.nn.functional.pad(head, [30] * 6))[30:-30, 30:-30, 30:-30]
    assert torch.allclose(alone, lost, atol=0.03)


def test_rescaled_sees_a_few_bright_voxels_and_refuses_a_constant() -> None:
    image = torch.zeros(30, 30, 30)
    image[3, 3, 3] = 7
    assert rescaled(image).sum() == 1
    with raises("image-empty"):
        rescaled(torch.full((5, 5, 5), 3.0))
