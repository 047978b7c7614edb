"""Honesty of a result: its slices are taken again and compared, and what looks wrong is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from NeuroGenLib.simulate.thick_slices import SliceProfile, slice_matrix
from NeuroGenLib.spatial.metrics import normalised_information
from NeuroGenLib.superres.evaluation.quality import GuideQuality, Quality, StackQuality
from NeuroGenLib.superres.stacks.data_consistency import back_projection, data_consistent, slice_residual
from NeuroGenLib.superres.stacks.stack import as_stack
from Testing.geometry import reoriented, same_in_world
from Testing.superres_models import THICKNESS, a_head, in_thick_slices

if TYPE_CHECKING:
    from NeuroGenLib.spatial.volume import Volume

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def head() -> Volume:
    """A head of 2 mm voxels."""
    return a_head()


def test_the_true_image_reproduces_its_slices(head: Volume) -> None:
    for direction in ("axial", "coronal"):
        stack = as_stack(in_thick_slices(head, direction))
        residual = slice_residual(head, stack)
        assert residual.same_space(stack.volume)
        inner = np.moveaxis(residual.array, stack.axis, 0)[1:-1]
        assert np.abs(inner).max() < 0.02 * head.array.max()


def test_the_residual_is_the_difference_of_slices(head: Volume) -> None:
    """Expected by the matrix along the axis, which this code does not use."""
    stack = as_stack(in_thick_slices(head))
    other = head.with_array(head.array[::-1].copy())
    matrix = slice_matrix(42, 2.0, SliceProfile("gaussian", THICKNESS), THICKNESS)
    expected = stack.volume.array - other.array @ matrix.T
    found = slice_residual(other, stack).array
    assert np.abs(found - expected)[..., 1:-1].max() < 0.03 * head.array.max()
    assert np.abs(expected).max() > 0.2 * head.array.max()


def test_slabs_give_what_the_whole_gives(head: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = as_stack(in_thick_slices(head))
    whole = slice_residual(head, stack).array
    monkeypatch.setattr("NeuroGenLib.superres.stacks.data_consistency._AT_ONCE", 2**14)
    np.testing.assert_allclose(slice_residual(head, stack).array, whole, atol=0.1)


def test_units_of_the_image_count(head: Volume) -> None:
    stack = as_stack(in_thick_slices(head))
    doubled = slice_residual(head.with_array(2 * head.array), stack, scale=2.0).array
    np.testing.assert_allclose(doubled, 2 * slice_residual(head, stack).array, atol=0.1)


def test_back_projection_brings_an_interpolation_closer_to_slices_and_truth(head: Volume) -> None:
    stack = as_stack(in_thick_slices(head))
    image = stack.volume.resample(like=head, order=3)
    ones = np.ones(head.shape, np.float32)
    better = data_consistent(image, [stack], ones, 1, (1.0,), (np.ones(stack.volume.shape[2]),))
    assert (
        np.square(slice_residual(better, stack).array).mean()
        < 0.5 * np.square(slice_residual(image, stack).array).mean()
    )
    inside = head.array > 0.2 * head.array.max()
    errors = [np.square((one.array - head.array)[inside]).mean() for one in (image, better)]
    assert errors[1] < 0.95 * errors[0]
    same = data_consistent(image, [stack], 0 * ones, 1, (1.0,), (np.ones(stack.volume.shape[2]),))
    np.testing.assert_array_equal(same.array, image.array)


def test_residuals_of_several_scans_are_averaged_where_there_are_several(head: Volume) -> None:
    ones = head.with_array(np.ones(head.shape, np.float32))
    half = head.with_array(np.full(head.shape, 3, np.float32)).crop([(0, 20), (0, 50), (0, 42)])
    found = back_projection([ones, half], head)
    assert np.allclose(found[:19], 2)
    assert np.allclose(found[21:], 1)


def test_storage_of_the_scan_does_not_change_the_residual(head: Volume) -> None:
    scan = in_thick_slices(head)
    wanted = slice_residual(head, as_stack(scan))
    stored = slice_residual(head, as_stack(reoriented(scan, "PIR")))
    assert same_in_world(wanted, stored, tolerance=0.05)


def test_information_of_two_images() -> None:
    values = np.random.default_rng(0).random(20_000)
    assert normalised_information(values, 5 - 2 * values, 32) == pytest.approx(1, abs=0.01)
    assert normalised_information(values, np.random.default_rng(1).random(20_000), 32) < 0.05
    assert normalised_information(np.ones(10), np.ones(10), 32) == 0


def quality(percent: float = 1.0, likeness: float | None = 2.1) -> Quality:
    stack = StackQuality("axial", 4.0, 0.0, 4.0, 12.345678, 20.0, percent)
    guide = GuideQuality(0.1, 0.3, 0.2, 0.25, likeness, 3.0, 8.0)
    return Quality((stack,), guide, 1.0, 1200.0, 10.0, 900.0)


def test_what_looks_wrong_is_said() -> None:
    assert quality().remarks() == []
    assert "different people" in quality(likeness=1.1).remarks()[0]
    assert quality(likeness=None).remarks() == []
    assert "8.0 %" in quality(percent=8.0).remarks()[0]


def test_numbers_are_rounded_and_plain() -> None:
    record = quality().to_mapping()
    assert record["stacks"][0]["rms"] == 12.346
    assert record["guide"]["turn_degrees"] == 3.0
    assert record["stacks"][0]["moved_percent"] is None
