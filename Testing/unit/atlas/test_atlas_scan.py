"""What is read of a scan before an atlas is fitted to it, and what is refused by name."""

from __future__ import annotations

import math

import numpy as np
import pytest

from NeuroGenLib.atlas.config import FitConfig
from NeuroGenLib.atlas.fit.fit import fit_scan
from NeuroGenLib.atlas.fit.scan import ROOM_MM, read_scan
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import oblique
from Testing.held_out_heads import HeldOutHead, head, whole
from Testing.raising import raises


@pytest.fixture(scope="module")
def held_out() -> HeldOutHead:
    return head()


def test_zeros_inside_the_brain_are_brain(atlas, held_out):
    images, labels = held_out
    hollow = images["T2w"].array.copy()
    hollow[tuple(np.array(labels.shape) // 2)] = 0
    hollow[0, 0, 0] = 7  # a speck outside
    scan = read_scan(atlas, {"T2w": images["T2w"].with_array(hollow)})
    np.testing.assert_array_equal(scan.restored(scan.mask).array, labels.array > 0)


def test_a_scan_is_cut_to_the_brain_and_some_room(atlas, held_out):
    large = {name: image.pad(9) for name, image in held_out.images.items()}
    scan = read_scan(atlas, large)
    expected = np.ptp(np.argwhere(large["T2w"].array), axis=0) + 1 + 2 * math.ceil(ROOM_MM / 5)
    assert scan.mask.shape == tuple(expected)
    assert scan.restored(scan.mask).same_space(large["T2w"])
    assert scan.restored(scan.mask).array.sum() == (held_out.labels.array > 0).sum()


# --- what cannot be used --------------------------------------------------------------------------------------------


def spoilt(image: Volume, value: float) -> Volume:
    array = image.array.copy()
    array[7, 9, 6] = value
    return image.with_array(array)


def empty(volume: Volume) -> Volume:
    return volume.with_array(np.zeros_like(volume.array))


BAD = {
    "NaN": (lambda subject: {"images": {"T2w": spoilt(subject.images["T2w"], np.nan)}}, ("image-not-finite", "T2w", 1)),
    "infinite": (
        lambda subject: {"images": {"T1w": spoilt(subject.images["T1w"], np.inf)}},
        ("image-not-finite", "T1w", 1),
    ),
    "all zero": (lambda subject: {"images": {"T2w": empty(subject.images["T2w"])}}, ("image-empty",)),
    "constant": (
        lambda subject: {"images": {"T2w": empty(subject.images["T2w"])}, "mask": whole(subject.labels)},
        ("image-empty", "T2w"),
    ),
    "no background": (
        lambda subject: {"images": {"T2w": subject.images["T2w"].with_array(subject.images["T2w"].array + 1)}},
        ("value-missing", "--mask"),
    ),
    "time points": (
        lambda subject: {"images": {"T2w": Volume(np.stack([subject.images["T2w"].array] * 2), subject.labels.affine)}},
        ("image-dimensions", "T2w", 2),
    ),
    "unknown image": (lambda subject: {"images": {"T2W": subject.images["T2w"]}}, ("name-unknown", "'T2W'", "'T2w'")),
    "two grids": (
        lambda subject: {"images": {**subject.images, "T1w": subject.images["T1w"].pad(1)}},
        ("geometry-mismatch", "T2w", "T1w"),
    ),
    "turned mask": (lambda subject: {"mask": oblique(whole(subject.labels), 5)}, ("geometry-mismatch", "T2w", "mask")),
    "empty mask": (lambda subject: {"mask": empty(subject.labels)}, ("image-empty", "mask")),
    "huge mask": (
        lambda subject: {"mask": subject.labels.with_array(np.ones_like(subject.labels.array))},
        ("model-range", "409.5 ml", "78 to 139 ml"),
    ),
    "tiny mask": (
        lambda subject: {"mask": subject.labels.with_array((subject.labels.array == 2).astype(np.uint8))},
        ("model-range", "1.1 ml", "78 to 139 ml"),
    ),
    "mask with NaN": (
        lambda subject: {"mask": subject.labels.with_array(np.where(subject.labels.array > 0, 1, np.nan))},
        ("image-not-finite", "mask"),
    ),
    "empty labels": (lambda subject: {"labels": empty(subject.labels)}, ("image-empty", "label map")),
    "unknown labels": (
        lambda subject: {
            "labels": subject.labels.with_array(np.where(subject.labels.array == 1, 77, subject.labels.array))
        },
        ("labels-invalid", 77, "'neurogen atlas info'"),
    ),
    "fractions": (
        lambda subject: {"labels": subject.labels.with_array(subject.labels.array + np.float32(0.5))},
        ("labels-invalid",),
    ),
    "age": (lambda _: {"age": 60.0}, ("model-range", 60, 24, 32)),
    "no age": (lambda _: {"age": math.nan}, ("model-range", "nan")),
    "condition": (lambda _: {"conditions": {"ventricle": 0.4}}, ("name-unknown", "'ventricle'", "'ventricles'")),
    "word": (lambda _: {"conditions": {"sex": "X"}}, ("name-unknown", "'sex'", "'X'")),
    "number": (lambda _: {"conditions": {"ventricles": 9}}, ("model-range", "ventricles=9")),
}


@pytest.mark.parametrize(("change", "error"), BAD.values(), ids=BAD)
def test_an_unusable_input_is_refused_by_name(atlas, held_out, change, error):
    with raises(*error):
        fit_scan(atlas, settings=FitConfig(steps=1), **{"images": held_out.images, **change(held_out)})


def test_a_scan_in_another_unit_is_refused(atlas, held_out):
    """Voxels of 5 um instead of 5 mm, as when a header is wrong."""
    tiny = np.diag([1e-3, 1e-3, 1e-3, 1.0])
    with raises("model-range", "0.0", "78", "139"):
        read_scan(atlas, {name: Volume(image.array, tiny @ image.affine) for name, image in held_out.images.items()})
