"""Skull-stripped scans: distinguished from heads whose background was set to zero, and masked whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage

from NeuroGenLib.mask.infer import brain_mask
from NeuroGenLib.mask.stripped import stripped_brain
from NeuroGenLib.spatial.volume import Volume
from Testing.drawn_head import head_brain, head_labels, head_scan
from Testing.geometry import dice

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ("t1w", "t2w")


@pytest.fixture(scope="module")
def labels() -> Volume:
    """Label map of a head, at 3 mm."""
    return head_labels(3.0)


@pytest.fixture(scope="module", params=KINDS)
def head(request: pytest.FixtureRequest, labels: Volume) -> Volume:
    """A scan of the whole head, without exact zeros in it."""
    scan = head_scan(labels, request.param)
    return scan.with_array(scan.array + 0.01)


def _masked(scan: Volume, mask: np.ndarray, background: float = 0) -> Volume:
    return scan.with_array(np.where(mask, scan.array, background).astype(np.float32))


@pytest.mark.parametrize("background", [0, -1])
def test_a_stripped_brain_is_taken_whole(head: Volume, labels: Volume, background: float) -> None:
    brain = head_brain(labels)
    mask = stripped_brain(_masked(head, brain.array != 0, background))
    assert mask is not None
    assert mask.array.dtype == np.uint8
    assert np.array_equal(mask.array, brain.array)


def test_holes_are_filled(head: Volume, labels: Volume) -> None:
    brain = head_brain(labels)
    ventricles = np.isin(labels.array, (4, 43))
    mask = stripped_brain(_masked(head, (brain.array != 0) & ~ventricles))
    assert mask is not None
    assert np.array_equal(mask.array, brain.array)


@pytest.mark.parametrize("part", [slice(None), slice(56, 80)])
def test_a_head_with_a_background_of_zeros_is_not_stripped(head: Volume, labels: Volume, part: slice) -> None:
    zeroed = _masked(head, labels.array != 0)
    slab = zeroed.crop([(0, labels.shape[0]), (0, labels.shape[1]), (part.indices(labels.shape[2])[:2])])
    assert stripped_brain(slab) is None


def test_a_small_head_whose_skull_is_zero_too_is_not_stripped(head: Volume, labels: Volume) -> None:
    small = Volume(_masked(head, (labels.array != 0) & (labels.array != 515)).array, np.diag([1.8, 1.8, 1.8, 1]))
    assert np.count_nonzero(small.array) * small.voxel_volume_ml < 1500
    assert stripped_brain(small) is None


def test_a_background_with_noise_is_no_sign(head: Volume, labels: Volume) -> None:
    noise = np.random.default_rng(1).random(labels.shape) < 0.3
    assert stripped_brain(_masked(head, (head_brain(labels).array != 0) | noise)) is None


def test_a_slab_with_air_that_was_padded_with_zeros_is_not_stripped(head: Volume, labels: Volume) -> None:
    noise = np.random.default_rng(1).random(labels.shape) * 0.02
    slab = head.with_array(np.maximum(head.array, noise)).crop([(0, labels.shape[0]), (0, labels.shape[1]), (60, 66)])
    assert np.prod(slab.shape) * slab.voxel_volume_ml < 2000
    assert stripped_brain(slab.pad([(10, 10), (10, 10), (3, 3)])) is None


def test_orientation_and_a_field_of_view_cut_tightly_do_not_matter(head: Volume, labels: Volume) -> None:
    brain = _masked(head, head_brain(labels).array != 0)
    tight = brain.crop_to(head_brain(labels)).reorient("LIP")
    mask = stripped_brain(tight)
    assert mask is not None
    assert np.array_equal(mask.array, tight.array != 0)


def test_real_brains_keep_their_mask_when_they_are_stripped(shared_data: Path) -> None:
    scan = Volume.load(shared_data / "adult_scans" / "chris_PD.nii.gz")
    whole = brain_mask(scan, device="cpu")
    assert whole.confidence is not None
    stripped = brain_mask(_masked(scan, whole.mask.array != 0), device="cpu")
    assert stripped.confidence is None
    assert dice(stripped.mask, whole.mask) > 0.99


@pytest.mark.parametrize("subject", ["sub-nt24", "sub-sba27op"])
def test_real_fetal_brains_are_stripped(shared_data: Path, subject: str) -> None:
    scan = Volume.load(shared_data / "fetal" / subject / "anat" / f"{subject}_T2w.nii.gz")
    mask = stripped_brain(scan)
    assert mask is not None
    filled = ndimage.binary_fill_holes(scan.array != 0)
    assert dice(mask, scan.with_array(filled.astype(np.uint8))) > 0.999
