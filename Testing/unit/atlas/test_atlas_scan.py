"""What is read of a scan before an atlas is fitted to it, and what is refused by name."""

from __future__ import annotations

import math

import numpy as np
import pytest

from NeuroGenLib.atlas.config import FitConfig
from NeuroGenLib.atlas.fit.fit import fit_scan
from NeuroGenLib.atlas.fit.scan import ROOM_MM, read_scan
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import oblique
from Testing.raising import raises
from Testing.strangers import Stranger, head, whole


@pytest.fixture(scope="module")
def stranger() -> Stranger:
    return head()


def test_zeros_inside_the_brain_are_brain(atlas, stranger):
    images, labels = stranger
    hollow = images["T2w"].array.copy()
    hollow[tuple(np.array(labels.shape) // 2)] = 0
    hollow[0, 0, 0] = 7  # a speck outside
    scan = read_scan(atlas, {"T2w": images["T2w"].with_array(hollow)})
    np.testing.assert_array_equal(scan.restored(scan.mask).array, labels.array > 0)


def test_a_scan_is_cut_to_the_brain_and_some_room(atlas, stranger):
    large = {name: image.pad(9) for name, image in stranger.images.items()}
    scan = read_scan(atlas, large)
    expected = np.ptp(np.argwhere(large["T2w"].array), axis=0) + 1 + 2 * math.ceil(ROOM_MM / 5)
    assert scan.mask.shape == tuple(expected)
    assert scan.restored(scan.mask).same_space(large["T2w"])
    assert scan.restored(scan.mask).array.sum() == (stranger.labels.array > 0).sum()


# --- what cannot be used --------------------------------------------------------------------------------------------


def spoilt(image: Volume, value: float) -> Volume:
    array = image.array.copy()
    array[7, 9, 6] = value
    return image.with_array(array)


def empty(volume: Volume) -> Volume:
    return volume.with_array(np.zeros_like(volume.array))


BAD = {
    "NaN": (lambda one: {"images": {"T2w": spoilt(one.images["T2w"], np.nan)}}, "The T2w has 1 voxel that is NaN"),
    "infinite": (lambda one: {"images": {"T1w": spoilt(one.images["T1w"], np.inf)}}, "The T1w has 1 voxel .* infinite"),
    "all zero": (lambda one: {"images": {"T2w": empty(one.images["T2w"])}}, "The image is zero everywhere"),
    "constant": (
        lambda one: {"images": {"T2w": empty(one.images["T2w"])}, "mask": whole(one.labels)},
        "The T2w is constant in the brain",
    ),
    "no background": (
        lambda one: {"images": {"T2w": one.images["T2w"].with_array(one.images["T2w"].array + 1)}},
        "no background .* Give --mask, a brain mask",
    ),
    "time points": (
        lambda one: {"images": {"T2w": Volume(np.stack([one.images["T2w"].array] * 2), one.labels.affine)}},
        "The T2w has 2 channels",
    ),
    "unknown image": (lambda one: {"images": {"T2W": one.images["T2w"]}}, "no image 'T2W'. Did you mean 'T2w'"),
    "two grids": (
        lambda one: {"images": {**one.images, "T1w": one.images["T1w"].pad(1)}},
        "the T2w and the T1w are not in the same space",
    ),
    "turned mask": (lambda one: {"mask": oblique(whole(one.labels), 5)}, "and the mask are not in the same space"),
    "empty mask": (lambda one: {"mask": empty(one.labels)}, "The mask is empty"),
    "huge mask": (
        lambda one: {"mask": one.labels.with_array(np.ones_like(one.labels.array))},
        "The mask holds 409.5 ml; .* have 78 to 139 ml. Check that it shows the whole brain",
    ),
    "tiny mask": (
        lambda one: {"mask": one.labels.with_array((one.labels.array == 2).astype(np.uint8))},
        "The mask holds [0-9.]+ ml; .* 78 to 139 ml",
    ),
    "mask with NaN": (
        lambda one: {"mask": one.labels.with_array(np.where(one.labels.array > 0, 1, np.nan))},
        "The mask has [0-9]+ voxels that are NaN",
    ),
    "empty labels": (lambda one: {"labels": empty(one.labels)}, "The label map is empty"),
    "unknown labels": (
        lambda one: {"labels": one.labels.with_array(np.where(one.labels.array == 1, 77, one.labels.array))},
        "label values 77, which the model lacks. .* 'neurogen atlas info'",
    ),
    "fractions": (
        lambda one: {"labels": one.labels.with_array(one.labels.array + np.float32(0.5))},
        "The label map is not a label map",
    ),
    "age": (lambda _: {"age": 60.0}, "No training subject supports the age 60. Ask for an age between 24 and 32"),
    "no age": (lambda _: {"age": math.nan}, "supports the age nan"),
    "condition": (lambda _: {"conditions": {"ventricle": 0.4}}, "no condition 'ventricle'. Did you mean 'ventricles'"),
    "word": (lambda _: {"conditions": {"sex": "X"}}, "'sex' has no value 'X'"),
    "number": (lambda _: {"conditions": {"ventricles": 9}}, "ventricles=9 is far outside"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_used_is_refused_by_name(atlas, stranger, change, message):
    with pytest.raises(InputError, match=rf"(?s){message}"):
        fit_scan(atlas, settings=FitConfig(steps=1), **{"images": stranger.images, **change(stranger)})


def test_a_scan_in_another_unit_is_no_brain_of_this_atlas(atlas, stranger):
    """Voxels of 5 um instead of 5 mm, as when a header is wrong."""
    tiny = np.diag([1e-3, 1e-3, 1e-3, 1.0])
    with raises("model-range", "0.0", "78", "139"):
        read_scan(atlas, {name: Volume(image.array, tiny @ image.affine) for name, image in stranger.images.items()})
