"""Scans of one head and of two are distinguished, whatever their contrast, noise and intensity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.evaluation.guide_similarity import local_similarity
from Testing.geometry import reoriented

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (56, 64, 60)


def folds(seed: int) -> np.ndarray:
    """Return a pattern as coarse as the folds of a brain, 2 mm voxels, 0 to 1."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), 1.5)
    return (np.tanh(noise / noise.std()) + 1) / 2


@pytest.fixture
def head() -> Volume:
    """An ellipsoid, boolean, 2 mm."""
    away = [np.linspace(-1.1, 1.1, size) ** 2 for size in SHAPE]
    inside = away[0][:, None, None] + away[1][:, None] + away[2] < 1
    return Volume(inside, np.diag([-2.0, 2.0, 2.0, 1.0]))


def scan(head: Volume, seed: int, contrast: Callable[[np.ndarray], np.ndarray] = np.asarray) -> Volume:
    """Return an image of one person's head."""
    return head.with_array(np.where(head.array, contrast(folds(seed)), 0).astype(np.float32))


def bright_is_dark(values: np.ndarray) -> np.ndarray:
    return 700 - 500 * values


def test_one_head_agrees_and_two_do_not(head: Volume) -> None:
    t2w = scan(head, 1)
    same, other = (local_similarity(t2w, scan(head, seed, bright_is_dark), head) for seed in (1, 2))
    assert same is not None
    assert other is not None
    assert same > 3
    # Two people share the outline alone, and that where it is.
    assert other == pytest.approx(1, abs=0.35)


def test_noise_hides_no_person(head: Volume) -> None:
    draws = np.random.default_rng(3)
    noisy = [
        one.with_array(np.abs(one.array + 0.1 * one.array.max() * draws.standard_normal(SHAPE)).astype(np.float32))
        for one in (scan(head, 1), scan(head, 1, bright_is_dark))
    ]
    similarity = local_similarity(*noisy, head)
    assert similarity is not None
    assert similarity > 1.8


@pytest.mark.parametrize("axes", ["LPS", "LAS", "SAR"])
def test_the_order_of_voxels_does_not_matter(head: Volume, axes: str) -> None:
    images = scan(head, 1), scan(head, 2, bright_is_dark), head
    assert local_similarity(*(reoriented(one, axes) for one in images)) == pytest.approx(
        local_similarity(*images), rel=1e-3
    )


def test_the_unit_of_intensity_does_not_matter(head: Volume) -> None:
    t2w, t1w = scan(head, 1), scan(head, 1, bright_is_dark)
    scaled = t1w.with_array(t1w.array * np.float32(1e-3))
    assert local_similarity(t2w, scaled, head) == pytest.approx(local_similarity(t2w, t1w, head), rel=1e-4)


def test_of_too_little_nothing_is_said(head: Volume) -> None:
    little = np.zeros(SHAPE, bool)
    little[20:26, 20:26, 20:26] = True
    assert local_similarity(scan(head, 1), scan(head, 2), head.with_array(little)) is None


def test_a_guide_without_contrast_says_nothing(head: Volume) -> None:
    flat = head.with_array(np.zeros(SHAPE, np.float32))
    assert local_similarity(scan(head, 1), flat, head) is None
