"""Super-resolution of a scan: in its own place and units, however it is stored, with and without a guide."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.models import open_model
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.infer import SuperresModel, super_resolve
from NeuroGenLib.superres.published.reference import reference_super_resolve
from NeuroGenLib.superres.run_config import SuperresConfig
from NeuroGenLib.superres.stacks.data_consistency import null_space_component
from NeuroGenLib.superres.stacks.preprocessing import AlreadyIsotropic
from NeuroGenLib.superres.stacks.stack import as_stack
from Testing.geometry import oblique, orientations, rotation, same_in_world
from Testing.raising import raises
from Testing.superres_models import (
    MM,
    THICKNESS,
    a_head,
    in_thick_slices,
    write_published_model,
    write_residual_model,
)

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from NeuroGenLib.core.errors import Code

pytestmark = pytest.mark.usefixtures("one_thread")

COARSE = SuperresConfig(spacing=MM, back_projection=0)
TRUSTING = SuperresConfig(spacing=MM, align=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose corrections are small noise."""
    return write_residual_model(tmp_path_factory.mktemp("model") / "superres")


@pytest.fixture(scope="module")
def model(folder: Path) -> SuperresModel:
    return open_model(folder, SuperresModel, device="cpu")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> SuperresModel:
    """An untrained network of the published kind, without an atlas."""
    return open_model(write_published_model(tmp_path_factory.mktemp("model") / "baby-ai"), SuperresModel, device="cpu")


@pytest.fixture(scope="module")
def head() -> Volume:
    return a_head()


@pytest.fixture(scope="module")
def scan(head: Volume) -> Volume:
    """The head in axial slices of 6 mm."""
    return in_thick_slices(head)


@pytest.fixture(scope="module")
def t1w() -> Volume:
    """Another contrast of the same head."""
    image = a_head()
    return image.with_array(30 * np.sqrt(image.array))


def test_the_result_is_isotropic_in_the_place_and_units_of_the_scan(model: SuperresModel, scan: Volume) -> None:
    found = model.super_resolve(scan, settings=COARSE)
    np.testing.assert_allclose(found.image.spacing, [MM] * 3)
    assert found.image.axcodes == scan.axcodes
    np.testing.assert_allclose(found.image.world_bounds, scan.world_bounds, atol=MM / 2)
    assert found.residual.same_space(found.image)
    assert found.head.same_space(found.image)
    inside = found.head.array
    assert found.image.array[inside].mean() == pytest.approx(found.interpolated.array[inside].mean(), rel=0.1)
    changed = found.image.array - found.interpolated.array
    assert np.abs(changed[inside]).max() > 1, "the network corrects something"
    assert np.abs(changed[0, 0, 0]) == 0, "and nothing far outside of the head"
    (stack,) = found.quality.stacks
    assert (stack.direction, stack.thickness_mm, stack.gap_mm) == ("axial", THICKNESS, pytest.approx(0))


def test_without_correction_it_is_the_sharpened_interpolation(head: Volume, scan: Volume, tmp_path: Path) -> None:
    silent = open_model(write_residual_model(tmp_path / "silent", strength=0.0), SuperresModel, device="cpu")
    found = silent.super_resolve(scan, settings=COARSE, like=head)
    assert found.image.same_space(head)
    expected = scan.resample(like=head, order=3).array.clip(scan.array.min(), scan.array.max())
    np.testing.assert_allclose(found.interpolated.array, expected, atol=1e-2)
    errors = [np.abs(one.array - head.array)[found.head.array].mean() for one in (found.image, found.interpolated)]
    assert errors[0] < 0.9 * errors[1]
    closer = silent.super_resolve(scan, settings=SuperresConfig(spacing=MM), like=head)
    assert closer.quality.stacks[0].rms < 0.7 * closer.quality.stacks[0].rms_interpolated


def test_of_a_correction_only_what_no_stack_shows_is_kept(head: Volume) -> None:
    stacks = [as_stack(in_thick_slices(head, direction)) for direction in ("axial", "coronal", "sagittal")]
    smooth = head.with_array(np.full(head.shape, 10, np.float32))
    waves = (-1.0) ** np.indices(head.shape).sum(axis=0)
    fine = head.with_array((10 * waves).astype(np.float32))
    inner = (slice(8, -8),) * 3
    assert np.abs(null_space_component(smooth, stacks).array[inner]).max() < 0.5
    np.testing.assert_allclose(null_space_component(fine, stacks).array[inner], fine.array[inner], atol=0.5)


@pytest.mark.parametrize("codes", ["LPS", "LAS", "PIR"])
def test_storage_does_not_change_the_result(model: SuperresModel, scan: Volume, codes: str) -> None:
    _, stored = next(orientations(scan, [codes]))
    wanted, found = (model.super_resolve(one, settings=COARSE) for one in (scan, stored))
    assert found.image.axcodes == tuple(codes)
    assert same_in_world(wanted.image, found.image, tolerance=1e-5 * float(wanted.image.array.max()))
    assert same_in_world(wanted.residual, found.residual, tolerance=1e-4 * float(wanted.image.array.max()))


def test_a_slab_of_a_head_keeps_its_first_and_last_planes(model: SuperresModel, head: Volume) -> None:
    slab = in_thick_slices(head.crop([(0, head.shape[0]), (0, head.shape[1]), (14, 30)]))
    # Voxels of this size do not divide the slab, whose ends once got a plane of zeros.
    result = model.super_resolve(slab, settings=dataclasses.replace(TRUSTING, spacing=1.96))
    truth = head.resample(like=result.image).array
    inside = result.head.array & (truth > 0)
    for plane in (0, 1, -2, -1):
        measured = result.image.array[:, :, plane][inside[:, :, plane]].mean()
        assert measured == pytest.approx(truth[:, :, plane][inside[:, :, plane]].mean(), rel=0.05)
    assert "superior" in result.quality.cut_sides
    assert any("superior" in text for text in result.warnings)
    assert not model.super_resolve(in_thick_slices(head), settings=COARSE).quality.cut_sides


def test_a_turned_header_turns_the_result(model: SuperresModel, scan: Volume) -> None:
    wanted, turned = (model.super_resolve(one, settings=COARSE) for one in (scan, oblique(scan, 40)))
    turn = rotation(40, scan.centre)
    np.testing.assert_allclose(turned.image.affine, turn @ wanted.image.affine, atol=1e-6)
    # Rounding decides about single voxels at the border of the head, where the correction fades.
    apart = np.abs(turned.image.array - wanted.image.array) / float(wanted.image.array.max())
    assert apart.mean() < 5e-4
    assert apart.max() < 0.02


@pytest.mark.slow
def test_a_guide_is_found_wherever_it_lies(model: SuperresModel, scan: Volume, t1w: Volume) -> None:
    placed = rotation(40, t1w.centre)
    placed[:3, 3] += (20, -10, 5)
    moved = Volume(t1w.array, placed @ t1w.affine)
    found = model.super_resolve(scan, guide=moved, settings=COARSE)
    corners = np.array([[-20, -30, -20, 1], [20, 30, 20, 1], [20, -30, 0, 1]]).T
    there = found.transforms["scan_to_guide"] @ corners
    assert np.linalg.norm((there - placed @ corners)[:3], axis=0).max() < 3
    trusted = model.super_resolve(scan, guide=t1w, settings=TRUSTING)
    alone = model.super_resolve(scan, settings=TRUSTING)
    assert np.abs(trusted.image.array - alone.image.array).max() > 1, "the guide counts"
    assert found.quality.guide is not None
    assert found.quality.guide.turn_degrees == pytest.approx(40, abs=5)


@pytest.mark.slow
@pytest.mark.parametrize(("other", "warned"), [(1, False), (2, True)])
def test_a_guide_of_another_person_is_warned_of(model: SuperresModel, head: Volume, other: int, warned: bool) -> None:
    t2w, t1w = person(head, 1), person(head, other)
    found = model.super_resolve(
        in_thick_slices(t2w), guide=t1w.with_array(30 * np.sqrt(t1w.array)), settings=SuperresConfig(spacing=MM)
    )
    assert any("different people" in text for text in found.warnings) == warned


def person(head: Volume, seed: int) -> Volume:
    """Return a head with folds of its own."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(head.shape), 2.0)
    folds = 1 + 0.5 * np.tanh(1.5 * noise / noise.std())
    return head.with_array((head.array * folds).astype(np.float32))


def test_two_scans_are_fused(model: SuperresModel, head: Volume, scan: Volume) -> None:
    other = in_thick_slices(head, "coronal")
    found = model.super_resolve([scan, other], settings=TRUSTING)
    assert [stack.direction for stack in found.quality.stacks] == ["axial", "coronal"]
    assert np.array_equal(found.transforms["scan_2_to_scan"], np.eye(4))
    truth, one = head.resample(like=found.image), model.super_resolve(scan, settings=TRUSTING)
    inside = found.head.array
    alone = one.interpolated.resample(like=found.image).array
    errors = [np.square((image - truth.array)[inside]).mean() for image in (found.interpolated.array, alone)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize(
    ("settings", "thickness", "direction"),
    [
        (SuperresConfig(spacing=MM, back_projection=0, thickness=6.0, direction="coronal"), 6.0, "coronal"),
        (SuperresConfig(spacing=MM, back_projection=0, gap=-4.0, direction="axial"), 6.0, "axial"),
    ],
)
def test_a_header_that_lies_is_overruled(
    model: SuperresModel, head: Volume, settings: SuperresConfig, thickness: float, direction: str
) -> None:
    """Voxels of 2 mm by the header, slices of 6 mm in truth."""
    (stack,) = model.super_resolve(head, settings=settings).quality.stacks
    assert (stack.thickness_mm, stack.direction) == (pytest.approx(thickness), direction)
    assert stack.header_distance_mm == pytest.approx(MM)


def test_what_is_isotropic_stays_as_it_is(model: SuperresModel, head: Volume) -> None:
    with raises("value-invalid", "2 x 2 x 2 mm", kind=AlreadyIsotropic):
        model.super_resolve(head)
    with raises("value-missing", "2 x 2 x 2 mm"):
        model.super_resolve(head, settings=SuperresConfig(thickness=6.0))


def test_the_usual_voxel_size_is_that_within_slices_as_far_as_was_trained(model: SuperresModel, scan: Volume) -> None:
    assert model.spacings == (0.8, 1.0)
    warned = model.super_resolve(scan, settings=COARSE).warnings
    assert any("voxels of 2 mm are asked for" in text for text in warned)


@pytest.mark.parametrize(
    ("array", "code", "named"),
    [
        (np.full((20, 20, 8), np.nan), "image-not-finite", "NaN"),
        (np.ones((2, 20, 20, 8)), "image-dimensions", "2 channels"),
        (np.ones((20, 20, 8)), "image-empty", "The scan"),
        (np.arange(48.0).reshape(2, 3, 8), "image-empty", "4 x 6 x 48 mm"),
        (np.arange(400.0).reshape(20, 20, 1), "image-empty", "1 axial slices"),
    ],
)
def test_images_that_are_not_scans_are_refused(model: SuperresModel, array: np.ndarray, code: Code, named: str) -> None:
    with raises(code, named):
        model.super_resolve(Volume(array, np.diag([2.0, 2.0, 6.0, 1.0])))


def test_negative_values_are_accepted(model: SuperresModel, scan: Volume) -> None:
    wanted = model.super_resolve(scan, settings=COARSE)
    shifted = model.super_resolve(scan.with_array(scan.array / 100 - 5), settings=COARSE)
    np.testing.assert_allclose(100 * (shifted.image.array + 5), wanted.image.array, atol=0.5)


def test_short_memory_makes_smaller_windows_and_says_so(
    model: SuperresModel, scan: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = type(model._network).forward

    def greedy(self: torch.nn.Module, low: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        if max(low.shape) > 40:
            raise MemoryError
        return forward(self, low, *others)

    monkeypatch.setattr(type(model._network), "forward", greedy)
    assert any("Memory ran out" in text for text in model.super_resolve(scan, settings=COARSE).warnings)


def test_it_can_be_cancelled(model: SuperresModel, scan: Volume) -> None:
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        model.super_resolve(scan, settings=COARSE, progress=progress)


# --- models ---------------------------------------------------------------------------------------------------------


def test_a_model_that_needs_a_guide_refuses_to_go_without(published: SuperresModel, scan: Volume) -> None:
    assert published.guide == "needed"
    with raises("value-missing", published.folder.reference, "bundled:superres"):
        published.super_resolve(scan)


def test_a_model_that_takes_no_guide_says_so(scan: Volume, t1w: Volume, tmp_path: Path) -> None:
    plain = open_model(write_residual_model(tmp_path / "plain", guide="none"), SuperresModel, device="cpu")
    found = plain.super_resolve(scan, guide=t1w, settings=COARSE)
    assert any("takes no guide" in text for text in found.warnings)
    assert found.quality.guide is None


def test_the_published_network_works_at_its_own_voxel_size(published: SuperresModel, scan: Volume, t1w: Volume) -> None:
    found = published.super_resolve(scan, guide=t1w, settings=TRUSTING)
    np.testing.assert_allclose(found.image.spacing, [MM] * 3)
    assert found.image.axcodes == scan.axcodes
    assert any("holds no atlas" in text for text in found.warnings)
    assert np.abs(found.image.array - found.interpolated.array)[found.head.array].max() > 1
    assert found.image.array[0, 0, 0] == pytest.approx(found.interpolated.array[0, 0, 0]), "no haze in the air"


def test_the_published_pipeline_is_there_for_comparison(published: SuperresModel, model: SuperresModel) -> None:
    random = np.random.default_rng(3)
    affine = np.diag([-1.0, 1, 1, 1])
    one, other = (Volume(random.integers(0, 900, (33, 30, 35)).astype(np.int16), affine) for _ in range(2))
    published._preparation = dataclasses.replace(published._preparation, padded=(48, 32, 48))
    expected = reference_super_resolve(one, other, published._network, (48, 32, 48))
    np.testing.assert_array_equal(published.reference(other, one).array, expected.array)
    with raises("model-kind", model.folder.reference):
        model.reference(other, one)
    with raises("value-missing", published.folder.reference):
        published.reference(other, None)


def test_other_models_and_damaged_ones_are_refused(folder: Path, tmp_path: Path) -> None:
    with raises("model-kind", "bundled:brain-mask", "super-resolution"):
        open_model("bundled:brain-mask", SuperresModel, device="cpu")
    with raises("model-missing", "'superres-2'"):
        open_model("bundled:superres-2", SuperresModel, device="cpu")
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((copy / "neurogen.json").read_text(encoding="utf-8"))
    manifest["network"]["features"] = [4, 8]
    (copy / "neurogen.json").write_text(json.dumps(manifest), encoding="utf-8")
    with raises("model-damaged", copy):
        open_model(copy, device="cpu")


def test_the_function_opens_the_model(folder: Path, scan: Volume) -> None:
    found = super_resolve(scan, folder, settings=COARSE, device="cpu")
    assert found.image.array.dtype == np.float32
