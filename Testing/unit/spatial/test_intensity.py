"""Intensity normalisation by percentiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from NeuroGenLib.spatial.intensity import intensity_range, rescale
from Testing.raising import raises

IMAGES = arrays.arrays(np.float64, (3, 4, 2), elements=st.floats(-1000, 1000, width=32))


def test_percentiles_interpolate_between_ranks() -> None:
    # Eleven values have ranks 0 to 10: the 25th percentile lies at rank 2.5.
    values = np.array([7, 1, 3, 0, 2, 9, 8, 5, 4, 6, 30])
    assert intensity_range(values, (25, 90)) == (2.5, 9.0)
    assert intensity_range(values) == (0.0, 30.0)


def test_only_the_mask_counts() -> None:
    values = np.array([[-500.0, 1.0], [3.0, 900.0]])
    assert intensity_range(values, mask=np.array([[0, 1], [2, 0]])) == (1.0, 3.0)


def test_masks_that_do_not_fit_or_are_empty_are_refused() -> None:
    with raises("geometry-mismatch", "The T2w", (2, 3), (3, 2)):
        intensity_range(np.ones((2, 3)), mask=np.ones((3, 2)), name="The T2w")
    with raises("image-empty", "The T2w"):
        intensity_range(np.ones((2, 3)), mask=np.zeros((2, 3)), name="The T2w")
    with raises("image-empty"):
        intensity_range([])


@given(image=IMAGES, percentiles=st.tuples(st.floats(0, 49), st.floats(51, 100)))
def test_rescaled_images_lie_between_0_and_1_in_the_order_of_their_intensities(
    image: np.ndarray, percentiles: tuple[float, float]
) -> None:
    scaled = rescale(image, *intensity_range(image, percentiles))
    assert scaled.min() >= 0
    assert scaled.max() <= 1
    assert np.all(np.diff(scaled.ravel()[np.argsort(image, axis=None)]) >= 0)


@given(image=IMAGES, gain=st.floats(0.1, 50), offset=st.floats(-500, 500))
def test_gain_and_offset_of_a_scanner_cancel(image: np.ndarray, gain: float, offset: float) -> None:
    low, high = intensity_range(image, (2, 98))
    assume(high - low > 1e-2)
    other = gain * image + offset
    np.testing.assert_allclose(rescale(other, *intensity_range(other, (2, 98))), rescale(image, low, high), atol=1e-6)


@given(image=IMAGES, low=st.floats(-100, 0), width=st.floats(0.5, 200))
def test_without_clipping_the_rescaling_has_an_inverse(image: np.ndarray, low: float, width: float) -> None:
    scaled = rescale(image, low, low + width, clip=False)
    np.testing.assert_allclose(low + width * scaled, image, atol=1e-9)
    np.testing.assert_array_equal(rescale(image, low, low + width), scaled.clip(0, 1))


@pytest.mark.parametrize(
    ("dtype", "becomes"), [("float64", "float64"), ("float32", "float32"), ("int16", "float64"), ("uint8", "float64")]
)
def test_single_precision_is_kept(dtype: str, becomes: str) -> None:
    image = np.array([0, 50, 100], dtype)
    scaled = rescale(image, 0, 200)
    assert scaled.dtype == becomes
    assert scaled.tolist() == [0, 0.25, 0.5]
    assert image.tolist() == [0, 50, 100]


def test_a_constant_image_becomes_a_step() -> None:
    assert rescale(np.array([3.0, 4.0, 5.0], np.float32), 4, 4).tolist() == [0, 0, 1]
