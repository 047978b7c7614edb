"""The published network's own place: the way to the atlas, and what is found there brought back to the scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from NeuroGenLib.alignment.halfway import HalfwayStart
from NeuroGenLib.models import open_model
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.head import find_head
from NeuroGenLib.superres.infer import SuperresModel
from NeuroGenLib.superres.intensity import head_range
from NeuroGenLib.superres.published.atlas_pose import AtlasPose, atlas_pose, correction_at_pose
from NeuroGenLib.superres.stacks.initial_image import InitialImage
from NeuroGenLib.superres.stacks.stack import as_stack
from Testing.geometry import rotation
from Testing.superres_models import a_head, in_thick_slices, write_published_model

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.alignment.prepared_image import PreparedImage

pytestmark = pytest.mark.usefixtures("one_thread")


class Brighter(torch.nn.Module):
    """Stands for a network: T2w a tenth brighter."""

    window = 32

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 1.1 * images[:, 1:]


@pytest.fixture(scope="module")
def seen() -> InitialImage:
    """A scan in slices of 4 mm, interpolated to 2 mm."""
    head = a_head()
    stack = as_stack(in_thick_slices(head, thickness=4.0))
    image = stack.volume.resample(like=head, order=3)
    return InitialImage([stack], image, (1.0,), (np.ones(stack.volume.shape[2]),), (None,))


@pytest.fixture
def turned() -> np.ndarray:
    """From a place turned by 25 degrees and shifted to the scan."""
    matrix = rotation(25, (0, 0, 0))
    matrix[:3, 3] += (9, -4, 6)
    return matrix


def test_what_is_found_at_another_pose_comes_back_to_the_scan(seen: InitialImage, turned: np.ndarray) -> None:
    head = find_head(seen.image).mask
    affine = np.diag([-2.0, 2, 2, 1])
    affine[:3, 3] = (70, -75, -70)
    place = AtlasPose(Volume(np.zeros((71, 76, 71), np.uint8), affine), turned, is_atlas=True)
    guide = Volume(a_head().array, turned @ a_head().affine)
    found, warnings = correction_at_pose(place, Brighter(), seen, guide, turned, head, torch.device("cpu"))
    assert warnings == []
    assert found.same_space(seen.image)
    low, high = head_range(seen.image.array, head.array)
    expected = 0.1 * (seen.image.array.clip(low, high) - low)
    inside = head.array
    assert np.abs(found.array - expected)[inside].mean() < 0.08 * expected[inside].mean()
    assert np.corrcoef(found.array[inside], expected[inside])[0, 1] > 0.98


def test_a_head_that_leaves_the_known_field_of_view_gives_a_warning(seen: InitialImage) -> None:
    head = find_head(seen.image).mask
    grid = seen.image.crop([(0, 46), (0, 50), (0, 30)])
    place = AtlasPose(grid, np.eye(4), is_atlas=True)
    found, warnings = correction_at_pose(place, Brighter(), seen, seen.image, np.eye(4), head, torch.device("cpu"))
    assert "outside the field of view" in warnings[0]
    assert np.all(found.array[:, :, 32:] == 0)


def test_the_way_to_the_atlas_leads_by_the_guide(
    seen: InitialImage, turned: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    atlas = a_head()
    model = open_model(write_published_model(tmp_path / "baby-ai", atlas), SuperresModel, device="cpu")
    to_guide = rotation(-10, (3, 2, 1), (0, 0, 1))
    seen_pairs = []

    def known(fixed: PreparedImage, moving: PreparedImage, kind: str, progress: object) -> HalfwayStart:
        seen_pairs.append((fixed.scan.shape, moving.scan.shape, kind))
        return HalfwayStart(np.eye(4), turned, 0.1, 0.3, 0.0, ("It was odd.",))

    monkeypatch.setattr("NeuroGenLib.superres.published.atlas_pose.halfway_start", known)
    place = atlas_pose(model.folder, seen.stacks, seen.image, to_guide)
    assert seen_pairs == [(atlas.shape, seen.image.shape, "rigid")]
    assert place.warnings == ("On the way to the atlas: It was odd.",)
    in_atlas = np.array([12.0, -7.0, 20.0, 1.0])
    in_guide = turned @ in_atlas
    np.testing.assert_allclose(to_guide @ (place.pose @ in_atlas), in_guide, atol=1e-9)
    assert place.is_atlas
    assert place.grid.axcodes == ("L", "A", "S")
    np.testing.assert_allclose(place.grid.spacing, [1.0] * 3)
    np.testing.assert_allclose(place.grid.world_bounds, atlas.world_bounds, atol=0.6)


def test_without_an_atlas_the_axes_of_the_scan_are_taken(seen: InitialImage, tmp_path: Path) -> None:
    model = open_model(write_published_model(tmp_path / "baby-ai"), SuperresModel, device="cpu")
    place = atlas_pose(model.folder, seen.stacks, seen.image, np.eye(4))
    assert "holds no atlas" in place.warnings[0]
    assert not place.is_atlas
    np.testing.assert_array_equal(place.pose, np.eye(4))
    np.testing.assert_allclose(place.grid.world_bounds, seen.stacks[0].volume.world_bounds, atol=0.6)
