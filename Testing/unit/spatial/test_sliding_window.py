"""Sliding-window inference: windows cover what is inside, agree where they overlap, and leave the rest out."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.spatial.sliding_window import sliding_window_inference, window_boxes

SIZES = st.tuples(*[st.integers(3, 30)] * 3)


def a_box(shape: tuple[int, int, int], first: tuple[int, ...], stop: tuple[int, ...]) -> torch.Tensor:
    wanted = torch.zeros(shape, dtype=torch.bool)
    wanted[tuple(slice(a, b) for a, b in zip(first, stop, strict=True))] = True
    return wanted


@given(shape=SIZES, seed=st.integers(0, 99), overlap=st.sampled_from([0.0, 0.25, 0.5]))
def test_windows_cover_what_is_wanted_and_stay_inside(shape: tuple[int, int, int], seed: int, overlap: float) -> None:
    wanted = torch.from_numpy(np.random.default_rng(seed).random(shape) > 0.9)
    sides = [min(8, size) for size in shape]
    covered = torch.zeros(shape, dtype=torch.bool)
    for box in window_boxes(wanted, sides, overlap):
        assert [part.stop - part.start for part in box] == sides
        assert all(part.start >= 0 and part.stop <= size for part, size in zip(box, shape, strict=True))
        assert wanted[box].any()
        covered[box] = True
    assert covered[wanted].all()


def test_windows_that_hardly_count_are_left_out() -> None:
    wanted = a_box((64, 16, 16), (0, 0, 0), (64, 16, 16))
    wanted[20:60] = False
    starts = [box[0].start for box in window_boxes(wanted, [16, 16, 16], 0.5)]
    assert starts == [0, 8, 48], "the middle of the third, 20 to 28, is empty; so are those of the next"


def test_neighbours_share_the_overlap() -> None:
    boxes = window_boxes(torch.ones((40, 8, 8), dtype=torch.bool), [16, 8, 8], 0.25)
    starts = [box[0].start for box in boxes]
    assert starts == [0, 12, 24]
    assert len(window_boxes(torch.ones((192, 224, 192), dtype=torch.bool), [32] * 3, 0.5)) == 1573


def test_a_correction_of_each_voxel_alone_is_not_changed_by_windows() -> None:
    image = torch.rand((19, 23, 17), generator=torch.Generator().manual_seed(1))
    found = sliding_window_inference(lambda given: 3 * given - 1, [image], 8, 0.5, multiple=4, batch=3)
    torch.testing.assert_close(found, 3 * image - 1)


def test_windows_are_blended_by_gaussians_of_an_eighth_of_their_side() -> None:
    """Two windows of 8 voxels that share 4, of 0 and 1: sigma is one voxel, their middles are 3.5 and 7.5."""
    image = torch.zeros((12, 8, 8))
    image[8:] = 1  # only the second window holds it in its last plane
    found = sliding_window_inference(lambda part: part[:, :, -1:].expand_as(part), [image], 8, 0.5)
    share = {4: 1 / (1 + np.exp((3.5**2 - 0.5**2) / 2)), 5: 1 / (1 + np.exp((2.5**2 - 1.5**2) / 2))}
    for plane, expected in share.items():
        assert found[plane].numpy() == pytest.approx(expected, abs=1e-5)
        assert found[11 - plane].numpy() == pytest.approx(1 - expected, abs=1e-5)


def test_all_channels_are_given_in_their_order() -> None:
    one, other = torch.zeros((9, 9, 9)), torch.ones((9, 9, 9))
    found = sliding_window_inference(lambda given: given[:, 1:] - given[:, :1], [one, other], 8, 0.25, multiple=8)
    torch.testing.assert_close(found, other)


def test_empty_windows_are_never_computed() -> None:
    wanted = a_box((40, 40, 40), (30, 30, 30), (34, 34, 34))
    seen = []

    def correction(given: torch.Tensor) -> torch.Tensor:
        seen.append(len(given))
        return given + 1

    found = sliding_window_inference(correction, [torch.zeros((40, 40, 40))], 8, 0.25, inside=wanted)
    assert seen == [1]
    assert (found[wanted] == 1).all()
    assert found.sum() == 8**3
    nothing = a_box((9, 9, 9), (0,) * 3, (0,) * 3)
    assert sliding_window_inference(correction, [torch.zeros((9, 9, 9))], 8, 0.25, inside=nothing).sum() == 0


@pytest.mark.parametrize(("padding", "darkest"), [("replicate", 0.5), ("constant", 0.0)])
def test_small_images_are_padded_to_what_the_network_needs(
    padding: Literal["replicate", "constant"], darkest: float
) -> None:
    image = torch.full((5, 9, 3), 0.5)

    def correction(given: torch.Tensor) -> torch.Tensor:
        assert tuple(given.shape[2:]) == (8, 12, 4)
        assert given.min() == darkest, "what lies beyond repeats the border, or is 0"
        return given

    found = sliding_window_inference(correction, [image], 16, 0.25, multiple=4, padding=padding)
    torch.testing.assert_close(found, image)


@pytest.mark.parametrize("weighting", ["gaussian", "linear"])
def test_no_step_shows_where_windows_disagree(weighting: Literal["gaussian", "linear"]) -> None:
    """Each window answers with another constant: blending goes from one to the other little by little."""
    answers = iter([0.0, 1.0])

    def correction(given: torch.Tensor) -> torch.Tensor:
        return torch.full_like(given, next(answers))

    found = sliding_window_inference(correction, [torch.zeros((24, 16, 16))], 16, 0.5, weighting=weighting)
    line = found[:, 8, 8]
    assert line[0] == 0
    assert line[-1] == 1
    assert torch.diff(line).min() >= 0
    assert torch.diff(line).max() < 0.5


def test_gaussian_weights_by_hand() -> None:
    """Windows of 16 voxels, sigma 2, share 8: voxel 10 is 2.5 from the middle of the first, 5.5 from the second's."""
    answers = iter([0.0, 1.0])

    def correction(given: torch.Tensor) -> torch.Tensor:
        return torch.full_like(given, next(answers))

    found = sliding_window_inference(correction, [torch.zeros((24, 16, 16))], 16, 0.5)
    first, second = math.exp(-0.5 * 1.25**2), math.exp(-0.5 * 2.75**2)
    assert float(found[10, 8, 8]) == pytest.approx(second / (first + second), rel=1e-5)


def test_linear_weights_by_hand() -> None:
    """Windows of 4 voxels share 2: there the first counts 2 and 1 parts of 4, the second 1 and 2."""
    answers = iter([0.0, 1.0])

    def correction(given: torch.Tensor) -> torch.Tensor:
        return torch.full_like(given, next(answers))

    found = sliding_window_inference(correction, [torch.zeros((6, 4, 4))], 4, 0.5, weighting="linear")
    torch.testing.assert_close(found[:, 1, 1], torch.tensor([0, 0, 1 / 3, 2 / 3, 1, 1]))


@given(size=st.integers(1, 700), half=st.integers(4, 60))
def test_windows_cover_everything_and_overlap_by_half(size: int, half: int) -> None:
    side = min(2 * half, size)
    boxes = window_boxes(torch.ones((size, 1, 1), dtype=torch.bool), [side, 1, 1], 0.5)
    starts = [box[0].start for box in boxes]
    assert starts[0] == 0
    assert starts[-1] == size - side
    assert all(0 < later - earlier <= half + 1 for earlier, later in itertools.pairwise(starts))


def test_it_stops_between_batches() -> None:
    class Impatient(Progress):
        def show(self, step: float, total: float, message: str) -> None:  # noqa: ARG002
            if step >= 2:
                self.cancel()

    calls = []

    def correction(given: torch.Tensor) -> torch.Tensor:
        calls.append(len(given))
        return given

    image = torch.zeros((40, 8, 8))
    with pytest.raises(Cancelled):
        sliding_window_inference(correction, [image], 8, 0.0, batch=1, progress=Impatient())
    assert len(calls) < 5
