"""Windows: they cover what is wanted, agree where they overlap, and leave the rest out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.superres.windows import corrected, window_boxes

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
    found = corrected(lambda given: 3 * given - 1, [image], torch.ones_like(image) > 0, 8, 0.5, multiple=4, batch=3)
    torch.testing.assert_close(found, 3 * image - 1)


def test_all_channels_are_given_in_their_order() -> None:
    one, other = torch.zeros((9, 9, 9)), torch.ones((9, 9, 9))
    found = corrected(lambda given: given[:, 1:] - given[:, :1], [one, other], one == 0, 8, 0.25, multiple=8)
    torch.testing.assert_close(found, other)


def test_empty_windows_are_never_computed() -> None:
    wanted = a_box((40, 40, 40), (30, 30, 30), (34, 34, 34))
    seen = []

    def correction(given: torch.Tensor) -> torch.Tensor:
        seen.append(len(given))
        return given + 1

    found = corrected(correction, [torch.zeros((40, 40, 40))], wanted, 8, 0.25)
    assert seen == [1]
    assert (found[wanted] == 1).all()
    assert found.sum() == 8**3
    assert corrected(correction, [torch.zeros((9, 9, 9))], a_box((9, 9, 9), (0,) * 3, (0,) * 3), 8, 0.25).sum() == 0


def test_small_images_are_padded_to_what_the_network_needs() -> None:
    image = torch.rand((5, 9, 3))

    def correction(given: torch.Tensor) -> torch.Tensor:
        assert tuple(given.shape[2:]) == (8, 12, 4)
        assert given.min() >= image.min(), "what lies beyond repeats the border"
        return given

    found = corrected(correction, [image], image >= 0, 16, 0.25, multiple=4)
    torch.testing.assert_close(found, image)


def test_no_step_shows_where_windows_disagree() -> None:
    """Each window answers with another constant: blending goes from one to the other little by little."""
    answers = iter([0.0, 1.0])

    def correction(given: torch.Tensor) -> torch.Tensor:
        return torch.full_like(given, next(answers))

    found = corrected(correction, [torch.zeros((24, 16, 16))], torch.ones((24, 16, 16)) > 0, 16, 0.5)
    line = found[:, 8, 8]
    assert line[0] == 0
    assert line[-1] == 1
    assert torch.diff(line).min() >= 0
    assert torch.diff(line).max() < 0.5


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
        corrected(correction, [image], image == 0, 8, 0.0, batch=1, progress=Impatient())
    assert len(calls) < 5
