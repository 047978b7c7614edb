"""The numbers of a registration, on maps whose numbers are known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from NeuroGenLib.alignment.halfway import HalfwayStart
from NeuroGenLib.alignment.prepared_image import PreparedImage
from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.registration.evaluation.quality import STAGES, LabelMaps, RegistrationMaps, measure_quality
from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap, from_voxel_displacement
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import ORIENTATIONS, a_brain_phantom, dice, reoriented

MM = 3.0
START = HalfwayStart(np.eye(4), np.eye(4), 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def head():
    return a_brain_phantom((26, 30, 24), MM)


def shift(*millimetres):
    matrix = np.eye(4)
    matrix[:3, 3] = millimetres
    return matrix


def moved_copy(volume, *millimetres):
    return Volume(volume.array, shift(*millimetres) @ volume.affine)


def affine_map(matrix):
    return SpatialMap(matrix, None, np.eye(4))


def numbers(head, forward, inverse, moving, start=START, labels=True, **changes):
    fixed, jacobian = head.image, forward.jacobian(head.image)
    inside = head.image.with_array(head.labels.array > 0)
    if labels is True:
        labels = LabelMaps(head.labels, moving.labels, forward.pull(moving.labels, head.labels, order=0))
    images = PreparedImage.of(fixed, inside), PreparedImage.of(moving.image)
    maps = RegistrationMaps(forward, inverse, start)
    return measure_quality(maps, *images, jacobian, labels, **changes)


def test_nothing_moved(head):
    found = numbers(head, affine_map(np.eye(4)), affine_map(np.eye(4)), head)
    assert list(found.correlation) == list(STAGES)
    assert found.correlation["registered"] == pytest.approx(1)
    assert (found.folded_voxels, found.folded_percent, found.ndv_percent) == (0, 0, 0)
    assert found.sd_log_jacobian == pytest.approx(0, abs=1e-6)
    assert found.inverse_consistency_max_mm == pytest.approx(0, abs=1e-9)
    assert found.displacement_mm == 0
    assert found.mean_dice() == 1
    assert set(found.hd95_mm.values()) == {0}
    assert found.remarks() == []


def test_a_shift_that_is_found(head):
    away = (6.0, -3.0, 9.0)  # whole voxels
    moving = head._replace(image=moved_copy(head.image, *away), labels=moved_copy(head.labels, *away))
    forward, inverse = affine_map(shift(*away)), affine_map(shift(-5.0, 3.0, -9.0))  # the inverse is off by 1 mm
    found = numbers(head, forward, inverse, moving)
    assert found.correlation["registered"] == pytest.approx(1, abs=1e-6)
    assert found.correlation["headers"] < 0.8
    assert found.mutual_information["registered"] > found.mutual_information["headers"]
    assert found.mutual_information["start"] == found.mutual_information["headers"]
    assert found.inverse_consistency_mm == pytest.approx(1)
    assert found.inverse_consistency_max_mm == pytest.approx(1)
    assert found.displacement_mm == pytest.approx(np.linalg.norm(away))
    assert found.mean_dice("registered") == 1
    as_headers = head.labels.with_array(np.roll(head.labels.array, (2, -1, 3), axis=(0, 1, 2)))
    assert found.mean_dice("headers") == pytest.approx(dice(as_headers, head.labels))


def test_the_start_is_measured_with_its_own_transform(head):
    start = HalfwayStart(shift(-3, 0, 0), shift(3, 0, 0), 0.0, 0.0, 0.0)
    moving = head._replace(image=moved_copy(head.image, 6, 0, 0), labels=moved_copy(head.labels, 6, 0, 0))
    found = numbers(head, affine_map(shift(6, 0, 0)), affine_map(shift(-6, 0, 0)), moving, start)
    assert found.correlation["start"] == pytest.approx(1, abs=1e-6)
    assert found.mean_dice("start") == 1
    assert found.displacement_mm == pytest.approx(0, abs=1e-9)  # all of it was the start's


def test_correlation_and_information_by_definition(head):
    """Another contrast: correlation turns negative, information does not care."""
    other = head._replace(image=head.image.with_array(1000 - head.image.array))
    same = affine_map(np.eye(4))
    plain, inverted = numbers(head, same, same, head), numbers(head, same, same, other)
    assert inverted.correlation["registered"] == pytest.approx(-1)
    values = head.image.array[head.labels.array > 0]
    share = np.histogram(values, 32)[0] / values.size
    entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
    assert plain.mutual_information["registered"] == pytest.approx(entropy, rel=1e-3)
    assert inverted.mutual_information["registered"] == pytest.approx(entropy, rel=0.02)


def a_stretch(head, slope, at=12):
    """Displacement of ``slope`` voxels a voxel along i, inside the grid of the head."""
    field = np.zeros((3, *head.image.shape), np.float32)
    field[0] = slope * np.clip(np.arange(head.image.shape[0]) - at, -4, 4)[:, None, None]
    return from_voxel_displacement(field, head.image.affine, margin=8)


def test_a_stretch_has_its_jacobian(head):
    forward = a_stretch(head, 0.5)
    jacobian = forward.jacobian(head.image).array
    assert jacobian[12, 15, 12] == pytest.approx(1.5, abs=1e-4)
    found = numbers(head, forward, affine_map(np.eye(4)), head)
    logarithms = np.log(jacobian[head.labels.array > 0])
    assert found.sd_log_jacobian == pytest.approx(logarithms.std(), rel=1e-3)
    assert found.folded_voxels == 0


def test_folds_are_counted_and_told(head):
    forward = a_stretch(head, -1.5)
    found = numbers(head, forward, affine_map(np.eye(4)), head)
    expected = int((forward.jacobian(head.image).array <= 0).sum())
    assert expected > 0
    assert found.folded_voxels == expected
    assert found.folded_percent == pytest.approx(100 * expected / head.image.array.size)
    assert found.ndv_percent > 0
    remarks = " ".join(found.remarks())
    assert f"folds at {expected} voxels" in remarks
    assert "less similar" in remarks


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_how_the_images_are_stored_does_not_matter(head, codes):
    forward, inverse = affine_map(shift(4, 1, -2)), affine_map(shift(-4, -1, 2))
    expected = numbers(head, forward, inverse, head)
    turned = head._replace(image=reoriented(head.image, codes), labels=reoriented(head.labels, codes))
    found = numbers(turned, forward, inverse, head)
    for stage in STAGES:
        assert found.correlation[stage] == pytest.approx(expected.correlation[stage], abs=1e-6)
        assert found.mean_dice(stage) == pytest.approx(expected.mean_dice(stage), abs=1e-9)
    assert found.displacement_mm == pytest.approx(expected.displacement_mm)


def test_without_labels_or_with_empty_ones_nothing_is_said_about_them(head):
    same = affine_map(np.eye(4))
    empty = head.labels.with_array(np.zeros_like(head.labels.array))
    for labels in (None, LabelMaps(empty, empty, empty)):
        found = numbers(head, same, same, head, labels=labels)
        assert (found.dice, found.hd95_mm, found.mean_dice()) == (None, None, None)
        assert "dice" not in found.to_mapping()


def test_a_label_of_one_map_only(head):
    same = affine_map(np.eye(4))
    lost = head.labels.with_array(np.where(head.labels.array == 3, 0, head.labels.array))
    found = numbers(head, same, same, head._replace(labels=lost))
    assert found.dice["registered"][3] == 0
    assert np.isinf(found.hd95_mm[3])
    record = found.to_mapping()
    assert record["hd95_mm"]["3"] is None
    assert record["dice"]["registered"]["mean"] == found.mean_dice()
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float64])
def test_images_of_any_type(head, kind):
    same = affine_map(np.eye(4))
    whole = head._replace(image=head.image.with_array(np.round(head.image.array / 4).astype(kind)))
    found = numbers(whole, same, same, whole)
    assert found.correlation["registered"] == pytest.approx(1)


def test_an_image_without_contrast_inside(head):
    flat = head._replace(image=head.image.with_array(np.full(head.image.shape, 5.0, np.float32)))
    same = affine_map(np.eye(4))
    found = numbers(flat, same, same, head)
    assert found.correlation["registered"] == 0
    assert found.mutual_information["registered"] == pytest.approx(0, abs=1e-9)


def test_it_can_be_stopped(head):
    stopped = Progress()
    stopped.cancel()
    same = affine_map(np.eye(4))
    with pytest.raises(Cancelled):
        numbers(head, same, same, head, progress=stopped)
