"""What a registration promises its user: symmetry, geometry, files that say the same, plain words for bad input.

The network is tiny and random: what is demanded here does not depend on training. It moves by some tenths of a
millimetre, and the optimisation does the rest.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from NeuroGenLib.alignment.halfway import HalfwayStart, square_root
from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.registration import infer
from NeuroGenLib.registration.config import RegisterConfig
from NeuroGenLib.spatial import foreground as foregrounds
from NeuroGenLib.spatial.files.spatial_maps import read_transform, write_transform
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import (
    ORIENTATIONS,
    anisotropic,
    dice,
    oblique,
    reoriented,
    rotated_copy,
    rotation,
    same_in_world,
)
from Testing.raising import raises
from Testing.registration_pairs import a_bent_pair, a_tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = RegisterConfig(start="none", refine=12)
WHOLE = RegisterConfig(start="affine", refine=30)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return a_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def pair():
    return a_bent_pair()


@pytest.fixture(scope="module")
def found(model, pair):
    return registered(model, pair, QUICK)


def registered(model, pair, settings=QUICK, **options):
    labels = {"fixed_labels": pair.fixed_labels, "moving_labels": pair.moving_labels}
    return model.register(pair.fixed, pair.moving, settings=settings, **(labels | options))


def brain_points(pair):
    return pair.fixed_labels.voxel_to_world(np.argwhere(pair.fixed_labels.array > 0)[::7])


def test_the_brain_is_found_and_nothing_folds(model, pair):
    found = registered(model, pair, RegisterConfig(start="none", refine=60))
    quality = found.quality
    assert quality.correlation["registered"] > 0.9
    assert quality.correlation["headers"] < 0.7
    assert quality.mean_dice() > quality.mean_dice("headers") + 0.1
    assert (quality.folded_voxels, quality.ndv_percent) == (0, 0)
    assert float(found.jacobian.array.min()) > 0
    assert quality.inverse_consistency_mm < 0.1
    assert found.warped.same_space(pair.fixed)
    assert found.jacobian.same_space(pair.fixed)
    assert found.warped_labels.array.dtype == pair.moving_labels.array.dtype
    assert dice(found.warped_labels, pair.fixed_labels) == pytest.approx(quality.mean_dice())
    assert found.warnings == []


def test_swapped_images_give_the_inverse(model, pair):
    there = registered(model, pair)
    back = model.register(pair.moving, pair.fixed, settings=QUICK)
    points = brain_points(pair)
    away = np.linalg.norm(there.forward.points(points) - back.inverse.points(points), axis=1)
    assert away.mean() < 1e-3
    assert away.max() < 0.01
    assert np.linalg.norm(there.forward.points(points) - points, axis=1).mean() > 1


def test_there_and_back(found, pair):
    points = brain_points(pair)
    for one, other in ((found.forward, found.inverse), (found.inverse, found.forward)):
        away = np.linalg.norm(other.points(one.points(points)) - points, axis=1)
        assert away.mean() < 0.1
        assert away.max() < 0.5


@pytest.mark.parametrize("refine", [0, 1, 2, 7])
def test_any_number_of_steps(model, pair, refine):
    quality = registered(model, pair, RegisterConfig(start="none", refine=refine)).quality
    assert quality.folded_voxels == 0
    assert quality.inverse_consistency_mm < 0.1
    if refine:
        assert quality.correlation["registered"] > quality.correlation["headers"]


def test_equal_images_stay_where_they_are(model, pair):
    same = pair._replace(moving=pair.fixed, moving_labels=pair.fixed_labels)
    found = registered(model, same)
    assert found.quality.displacement_mm < 0.01
    assert found.quality.correlation["registered"] > 0.9999
    assert np.array_equal(found.warped_labels.array, pair.fixed_labels.array)
    assert found.warnings == []


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_how_an_image_is_stored_does_not_matter(model, pair, found, role, codes):
    stored = {name: reoriented(getattr(pair, name), codes) for name in (role, f"{role}_labels")}
    result = registered(model, pair._replace(**stored))
    points = brain_points(pair)
    assert np.abs(result.forward.points(points) - found.forward.points(points)).max() < 1e-3
    assert result.warped.same_space(stored.get("fixed", pair.fixed))
    largest = float(pair.moving.array.max())
    assert same_in_world(result.warped, found.warped, 1e-4 * largest)
    assert same_in_world(result.warped_labels, found.warped_labels)
    assert same_in_world(result.jacobian, found.jacobian, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("role", ["fixed", "moving"])
@pytest.mark.parametrize("refine", [0, 30])
def test_a_turned_header_turns_the_result(still_model, pair, role, refine):
    turned = {name: oblique(getattr(pair, name)) for name in (role, f"{role}_labels")}
    settings = RegisterConfig(start="affine", refine=refine)
    expected = registered(still_model, pair, settings)
    result = registered(still_model, pair._replace(**turned), settings)
    labels = Volume(result.warped_labels.array, pair.fixed.affine)  # voxel by voxel, whatever the header says
    assert dice(labels, expected.warped_labels) >= 0.98
    assert result.warped.same_space(turned.get("fixed", pair.fixed))


@pytest.mark.slow
@pytest.mark.parametrize("refine", [0, 30])
def test_an_oblique_copy_registers_alike(model, refine):
    """After the optimisation two results agree less than each with the truth is good: the copy is a blurred image."""
    pair = a_bent_pair(shape=(46, 56, 44), spacing=1.8)
    settings = RegisterConfig(start="affine", refine=refine)
    expected = registered(model, pair, settings)
    turned = pair._replace(moving=rotated_copy(pair.moving), moving_labels=rotated_copy(pair.moving_labels, order=0))
    copy = registered(model, turned, settings)
    pulled = copy.forward.pull(pair.moving_labels, pair.fixed, order=0)
    if refine == 0:
        assert dice(pulled, expected.warped_labels) >= 0.97
    assert dice(pulled, pair.fixed_labels) >= dice(expected.warped_labels, pair.fixed_labels) - 0.02


@pytest.mark.slow
def test_different_fields_of_view_and_headers_far_apart(model, pair):
    """The moving scan is cropped, its header half a metre away and left-handed."""
    far = np.eye(4)
    far[:3, 3] = (400, -300, 120)
    moved = [Volume(one.array, far @ one.affine) for one in (pair.moving, pair.moving_labels)]
    cut = [reoriented(one.crop([(1, 31), (0, 38), (3, 30)]), "LAS") for one in moved]
    result = registered(model, pair._replace(moving=cut[0], moving_labels=cut[1]), WHOLE)
    assert result.quality.correlation["registered"] > 0.85
    assert result.quality.mean_dice() > result.quality.mean_dice("headers") + 0.3
    assert result.quality.folded_voxels == 0


@pytest.mark.parametrize("role", ["fixed", "moving"])
@pytest.mark.parametrize("change", ["oblique", "anisotropic"])
def test_itk_resamples_by_the_file_as_we_do(model, pair, role, change, tmp_path):
    changed = (
        oblique(getattr(pair, role), 10) if change == "oblique" else anisotropic(getattr(pair, role), (2.5, 3.0, 4.0))
    )
    changed = reoriented(changed, "PIL")  # left-handed
    images = {"fixed": pair.fixed, "moving": pair.moving, role: changed}
    result = model.register(images["fixed"], images["moving"], settings=QUICK)
    write_transform(result.forward, tmp_path / "forward.h5")
    back = read_transform(tmp_path / "forward.h5")
    points = brain_points(pair)
    assert np.abs(back.points(points) - result.forward.points(points)).max() < 1e-3
    images["fixed"].save(tmp_path / "fixed.nii")
    images["moving"].save(tmp_path / "moving.nii")
    fixed, moving = (SimpleITK.ReadImage(str(tmp_path / f"{name}.nii"), SimpleITK.sitkFloat32) for name in images)
    transform = SimpleITK.ReadTransform(str(tmp_path / "forward.h5"))
    pulled = SimpleITK.GetArrayFromImage(SimpleITK.Resample(moving, fixed, transform, SimpleITK.sitkLinear, 0.0)).T
    away = np.abs(pulled - result.warped.array)
    # Rounding decides at the very border of the field of view; inside, all but nothing differs.
    assert np.quantile(away, 0.995) < 1e-3 * float(pair.moving.array.max())
    assert np.corrcoef(pulled.ravel(), result.warped.array.ravel())[0, 1] > 0.9999


def test_a_thin_structure_is_carried_along_whole(model, pair):
    """One voxel thin: no linear interpolation eats it, and no new value appears."""
    thin = np.zeros(pair.moving.shape, np.uint8)
    thin[:, 19, :] = 7
    thin[16] = 200
    result = registered(model, pair, moving_labels=pair.moving.with_array(thin), fixed_labels=None)
    assert set(np.unique(result.warped_labels.array)) == {0, 7, 200}
    assert 0.5 < (result.warped_labels.array == 200).sum() / (thin == 200).sum() < 2
    assert result.quality.dice is None


def test_label_maps_stored_as_floats(model, pair, found):
    floats = {
        "moving_labels": pair.moving.with_array(pair.moving_labels.array.astype(np.float64)),
        "fixed_labels": pair.fixed.with_array(pair.fixed_labels.array.astype(np.float32)),
    }
    result = registered(model, pair, **floats)
    assert np.array_equal(result.warped_labels.array, found.warped_labels.array)
    assert result.quality.dice == found.quality.dice


def test_empty_label_maps_are_carried_along(model, pair):
    """No lesion in either scan of a cohort is not an error."""
    empty = pair.fixed.with_array(np.zeros(pair.fixed.shape, np.uint8))
    result = registered(model, pair, fixed_labels=empty, moving_labels=empty)
    assert not result.warped_labels.array.any()
    assert result.quality.dice is None


def test_masks_limit_what_is_seen(model, pair):
    """Something bright beside the brain spoils the result without masks, and not with them."""
    masks = {f"{one}_mask": getattr(pair, f"{one}_labels") for one in ("fixed", "moving")}
    expected = registered(model, pair, **masks)
    spoilt = pair.moving.array.copy()
    spoilt[(pair.moving_labels.array == 0) & (np.arange(pair.moving.shape[0]) < 6)[:, None, None]] = 2000
    spoilt_pair = pair._replace(moving=pair.moving.with_array(spoilt))
    points = brain_points(pair)
    away = [
        np.linalg.norm(
            registered(model, spoilt_pair, **given).forward.points(points) - expected.forward.points(points), axis=1
        )
        for given in (masks, {})
    ]
    assert away[0].mean() < 1e-4
    assert away[1].mean() > 0.5


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.float64])
def test_images_of_any_type(model, pair, kind):
    arrays = [np.round(image.array * (250 / image.array.max())).astype(kind) for image in (pair.fixed, pair.moving)]
    typed = pair._replace(fixed=pair.fixed.with_array(arrays[0]), moving=pair.moving.with_array(arrays[1]))
    quality = registered(model, typed).quality
    assert quality.correlation["registered"] > quality.correlation["headers"] + 0.01


def test_shapes_alone_can_be_registered(model, pair):
    shapes = [image.with_array(image.array > 550) for image in (pair.fixed, pair.moving)]
    result = model.register(*shapes, settings=QUICK)
    numbers = [image.with_array(image.array.astype(np.uint8)) for image in shapes]
    expected = model.register(*numbers, settings=QUICK)
    assert np.array_equal(result.warped.array, expected.warped.array)
    assert result.quality.correlation["registered"] > result.quality.correlation["headers"]


def test_a_negative_background_and_a_single_channel(model, pair, found):
    shifted = pair._replace(
        fixed=Volume(pair.fixed.array[None] - 1000, pair.fixed.affine),
        moving=pair.moving.with_array(pair.moving.array - 500),
    )
    result = registered(model, shifted)
    points = brain_points(pair)
    assert np.abs(result.forward.points(points) - found.forward.points(points)).max() < 0.05
    assert result.warped.channels is None


def test_two_channels(tmp_path, pair):
    model = a_tiny_model(tmp_path / "two", channels=2)
    both = [Volume(np.stack([one.array, 900 - one.array]), one.affine) for one in (pair.fixed, pair.moving)]
    result = model.register(*both, settings=QUICK)
    assert result.warped.channels == 2
    assert result.quality.correlation["registered"] > result.quality.correlation["headers"]
    with raises("image-dimensions", "moving image", 1, 2) as refused:
        model.register(both[0], pair.moving, settings=QUICK)
    assert "Stack" in refused.value.remedy


FAR = np.eye(4)
FAR[0, 3] = 600


def replaced(array, place, value):
    copy = array.astype(np.float64)
    copy[place] = value
    return copy


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        (
            "fixed",
            lambda scan: scan.with_array(replaced(scan.array, (3, 4, 5), np.nan)),
            ("image-not-finite", "fixed image", "1 voxel"),
        ),
        (
            "moving",
            lambda scan: scan.with_array(replaced(scan.array, (3, 4, 5), np.inf)),
            ("image-not-finite", "moving image", "1 voxel"),
        ),
        ("moving", lambda scan: scan.with_array(np.full(scan.shape, 3)), ("image-empty", "moving image")),
        (
            "fixed",
            lambda scan: Volume(scan.array[:, :, 14:15], scan.affine),
            ("image-dimensions", "fixed image", "(32, 38, 1)"),
        ),
        (
            "moving",
            lambda scan: Volume(np.stack([scan.array] * 3), scan.affine),
            ("image-dimensions", "moving image", 3, 1),
        ),
        ("moving", lambda scan: Volume(scan.array, FAR @ scan.affine), ("geometry-mismatch", "'affine'", "'none'")),
        (
            "fixed_mask",
            lambda scan: Volume(np.ones(scan.shape, bool), FAR @ scan.affine),
            ("geometry-mismatch", "fixed image", "fixed mask"),
        ),
        ("moving_mask", lambda scan: scan.with_array(np.zeros(scan.shape)), ("image-empty", "moving mask")),
        ("moving_mask", lambda scan: scan.with_array(np.full(scan.shape, np.nan)), ("image-not-finite", "moving mask")),
        (
            "fixed_mask",
            lambda scan: Volume(np.ones((2, *scan.shape)), scan.affine),
            ("image-dimensions", "fixed mask", 2),
        ),
        ("moving_labels", lambda scan: scan.with_array(scan.array + 0.5), ("labels-invalid", "moving label map")),
        ("moving_labels", lambda scan: scan.with_array(scan.array * np.nan), ("labels-invalid", "moving label map")),
        (
            "fixed_labels",
            lambda scan: Volume(np.ones((4, 4, 4), int), scan.affine),
            ("geometry-mismatch", "fixed image", "fixed label map"),
        ),
    ],
)
def test_unusable_input_is_named_before_the_work(model, pair, name, change, error):
    image = pair.moving if name.startswith("moving") else pair.fixed
    changed = change(image)
    images = {"fixed": pair.fixed, "moving": pair.moving}
    options = {}
    (images if name in images else options)[name] = changed
    with raises(*error) as refused:
        model.register(**images, settings=QUICK, **options)
    assert refused.value.remedy.endswith(".")


class Stopping(Progress):
    """Cancelled once a share of the work is done; keeps what was shown."""

    def __init__(self, share):
        super().__init__()
        self.share, self.shown = share, []

    def show(self, step, total, message):
        self.shown.append((step / total, message))
        if self.shown[-1][0] >= self.share:
            self.cancel()


def test_it_can_be_stopped_at_every_stage(model, pair):
    watched = Stopping(2.0)
    registered(model, pair, progress=watched)
    shares = [share for share, _ in watched.shown]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    for text in ("Preparing", "comparing", "improving", "Resampling", "Jacobian", "measuring"):
        first = next(share for share, message in watched.shown if text in message)
        stopping = Stopping(first)
        with pytest.raises(Cancelled):
            registered(model, pair, progress=stopping)
        assert len(stopping.shown) <= next(place for place, share in enumerate(shares) if share >= first) + 1


def test_two_threads_get_what_one_gets(model, pair, found):
    started = threading.Barrier(2)

    def work(_):
        started.wait()
        return registered(model, pair)

    with ThreadPoolExecutor(2) as threads:
        for result in threads.map(work, range(2)):
            assert np.array_equal(result.forward.field.array, found.forward.field.array)
            assert np.array_equal(result.warped_labels.array, found.warped_labels.array)


def test_it_goes_on_when_memory_runs_out(model, pair, found, monkeypatch):
    calls = []
    whole = infer._optimised

    def short_of_memory(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("out of memory")
        return whole(*arguments)

    monkeypatch.setattr(infer, "_optimised", short_of_memory)
    monkeypatch.setattr(infer, "MOST_FINE_VOXELS", 3000)  # a warning of the work itself: it must not be said twice
    result = registered(model, pair)
    assert len(calls) == 2
    assert sum("Memory ran out" in warning for warning in result.warnings) == 1
    assert sum("The optimisation works at" in warning for warning in result.warnings) == 1
    assert len(set(result.warnings)) == len(result.warnings)
    assert result.quality.correlation["registered"] > found.quality.correlation["headers"]


def test_another_error_is_not_taken_for_a_shortage_of_memory(model, pair, monkeypatch):
    def broken(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(infer, "_optimised", broken)
    with pytest.raises(RuntimeError, match="something else"):
        registered(model, pair)


def test_images_are_not_touched(model, pair):
    kept = [one.array.copy() for one in pair]
    registered(model, pair, fixed_mask=pair.fixed_labels, moving_mask=pair.moving_labels)
    assert all(np.array_equal(one, volume.array) for one, volume in zip(kept, pair, strict=True))


def test_a_model_with_an_affine_stage_and_its_own_spacing(tmp_path, pair):
    """As a published model: the voxels and axes of its training, images of one shape, masks, fixed intensities."""
    preparation = {
        "grid": (24, 26, 20),
        "fill": None,
        "spacing": (3.5, 3.5, 4.0),
        "orientation": "LIA",
        "normalisation": "fixed",
        "clip": [-1000, None],
        "shift": -1000,
        "scale": 1000,
        "masked": True,
    }
    model = a_tiny_model(
        tmp_path / "published", preparation=preparation, affine_inputs=6 * 7 * 5, factor=(1.0, 1.0, 2.0)
    )
    ct = pair._replace(
        fixed=pair.fixed.with_array(pair.fixed.array - 900), moving=pair.moving.with_array(pair.moving.array - 900)
    )
    masks = {"fixed_mask": pair.fixed_labels, "moving_mask": pair.moving_labels}
    for refine in (0, 12):
        result = registered(model, ct, RegisterConfig(start="none", refine=refine), **masks)
        assert result.quality.folded_voxels == 0
        assert result.quality.inverse_consistency_mm < 0.1
    assert result.quality.correlation["registered"] > result.quality.correlation["headers"]
    with raises("value-missing", "fixed image"):
        registered(model, ct)


# --- affine parts ----------------------------------------------------------------------------------------------------

LARGE = np.array([[1.4, 0, 0, 20], [0, 1.4, 0, 0], [0, 0, 1.4, 0], [0, 0, 0, 1.0]])
"""A scale of 1.4 about the world's origin and a shift of 20 mm along R."""
WITH_AFFINE_STAGE = {"fill": None, "spacing": (7.0, 7.0, 8.0), "orientation": "RAS", "grid": (12, 14, 10)}


@pytest.fixture(scope="module")
def still_model(tmp_path_factory):
    """A network that moves nothing."""
    return a_tiny_model(tmp_path_factory.mktemp("models") / "still", gain=0.0)


@pytest.fixture(scope="module")
def affine_model(tmp_path_factory):
    """A network that moves nothing but by its affine stage: ``LARGE`` about the centre of its grid."""
    model = a_tiny_model(
        tmp_path_factory.mktemp("models") / "affine", gain=0.0, preparation=WITH_AFFINE_STAGE, affine_inputs=3 * 4 * 3
    )
    half = np.diag([1.4**0.5, 1.4**0.5, 1.4**0.5, 1.0])
    # In the network's world the longest side, 14 voxels of 7 mm, is 2 long; half the way twice is the whole.
    half[0, 3] = 20 / (14 * 7.0 / 2) / (1 + 1.4**0.5)
    there, back = (torch.from_numpy(one)[None].float() for one in (half, np.linalg.inv(half)))
    model._network.affine.forward = lambda *_: (there, back)
    return model


def places(pair):
    """Points all over the field of view of the fixed image, its corners among them."""
    low, high = pair.fixed.world_bounds
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), -1).reshape(-1, 3)
    return np.concatenate([corners, np.random.default_rng(5).uniform(low, high, (500, 3))])


def apply(matrix, points):
    return points @ matrix[:3, :3].T + matrix[:3, 3]


@given(
    scale=st.floats(0.7, 1.4),
    shift=st.tuples(*[st.floats(-20, 20)] * 3),
    degrees=st.floats(-40, 40),
)
@example(scale=1.4, shift=(20.0, 0.0, 0.0), degrees=0.0)
@hypothesis_settings(max_examples=4, deadline=None)
def test_a_large_start_holds_in_the_whole_image(still_model, pair, scale, shift, degrees):
    whole = rotation(degrees, (0, 0, 0), (1, 2, 2)) @ np.diag([scale, scale, scale, 1.0])
    whole[:3, 3] += shift
    half = square_root(whole)
    start = HalfwayStart(np.linalg.inv(half), half, 0.0, 0.0, 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(infer, "halfway_start", lambda *_, **__: start)
        found = still_model.register(pair.fixed, pair.moving, settings=RegisterConfig(refine=0))
    points = places(pair)
    assert np.abs(found.forward.points(points) - apply(whole, points)).max() < 1e-3
    assert np.abs(found.inverse.points(apply(whole, points)) - points).max() < 1e-3


def test_a_large_affine_stage_of_the_network_holds_in_the_whole_image(affine_model, pair, monkeypatch):
    """Also where its grid, which is smaller than the image, ends."""
    monkeypatch.setattr(infer, "less_similar", lambda *_: False)  # equal images are scaled
    wide = pair._replace(fixed=padded(pair.fixed, 12), moving=padded(pair.moving, 12))
    centred = wide._replace(moving=wide.fixed)  # the grid's centre is that of the brain
    found = affine_model.register(centred.fixed, centred.moving, settings=RegisterConfig(start="none", refine=0))
    points = places(centred)
    moved = found.forward.points(points)
    assert np.abs((moved - moved[0]) - 1.4 * (points - points[0])).max() < 1e-3
    brain = brain_points(pair)
    centre = (brain.min(axis=0) + brain.max(axis=0)) / 2
    assert np.abs(apply(LARGE, points - centre) + centre - moved).max() < 0.4 * 4 * pair.fixed.spacing[0]
    assert np.abs(found.inverse.points(moved) - points).max() < 1e-3


def test_the_optimisation_keeps_a_large_affine_stage(affine_model, pair):
    wide = pair._replace(fixed=padded(pair.fixed, 12), moving=padded(pair.moving, 12))
    found = affine_model.register(wide.fixed, wide.moving, settings=QUICK)
    far = np.array([[900.0, -700, 500], [-800, 900, 700]])
    moved = found.forward.points(far)
    assert np.abs((moved[1] - moved[0]) - 1.4 * (far[1] - far[0])).max() < 1e-3
    points = brain_points(wide)
    assert np.abs(found.inverse.points(found.forward.points(points)) - points).max() < 0.5
    assert found.quality.folded_voxels == 0


def padded(volume, voxels):
    affine = volume.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, voxels)
    return Volume(np.pad(volume.array, voxels), affine)


# --- huge images, one mask -------------------------------------------------------------------------------------------


def test_a_huge_image_is_registered_at_its_means_and_written_whole(model, pair, found, monkeypatch):
    """Each voxel split into eight: the means over blocks are the image as it was."""
    affine = pair.fixed.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, 0.5)
    fine = [Volume(one.array.repeat(2, 0).repeat(2, 1).repeat(2, 2), affine) for one in pair]
    monkeypatch.setattr(foregrounds, "MOST_VOXELS", 50_000)
    result = registered(model, pair._make(fine))
    points = brain_points(pair)
    assert np.abs(result.forward.points(points) - found.forward.points(points)).max() < 1e-3
    assert result.warped.same_space(fine[0])
    assert result.jacobian.same_space(fine[0])
    spoken = [warning for warning in result.warnings if "is huge" in warning]
    assert ["2.50 x 2.50 x 2.50 mm" in warning for warning in spoken] == [True, True]
    monkeypatch.setattr(infer, "MOST_FINE_VOXELS", 3000)  # the optimisation sees no more of the image as it is
    assert not any("is huge" in warning for warning in registered(model, pair._make(fine)).warnings)


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_a_mask_of_one_image_alone_is_named(model, pair, role):
    result = registered(model, pair, **{f"{role}_mask": getattr(pair, f"{role}_labels")})
    assert sum(f"Only the {role} image has a mask" in warning for warning in result.warnings) == 1
    both = {f"{one}_mask": getattr(pair, f"{one}_labels") for one in ("fixed", "moving")}
    assert not any("has a mask" in warning for warning in registered(model, pair, **both).warnings)


def test_a_deformation_that_makes_images_less_similar_is_not_kept(tmp_path, pair):
    wild = a_tiny_model(tmp_path / "wild", gain=1.0)
    result = registered(wild, pair, RegisterConfig(start="none", refine=0))
    points = brain_points(pair)
    assert result.forward.field is None
    assert np.allclose(result.forward.points(points), points)
    assert np.allclose(result.inverse.points(points), points)
    assert np.array_equal(result.warped_labels.array, pair.moving_labels.array)
    assert np.allclose(result.jacobian.array, 1)
    assert result.quality.mutual_information["registered"] == result.quality.mutual_information["headers"]
    assert result.quality.displacement_mm == 0
    assert sum("nothing is deformed" in text for text in result.warnings) == 1


@pytest.mark.slow
@pytest.mark.parametrize("refine", [0, 40])
def test_an_image_stays_on_its_own_inverted_contrast(model, pair, refine):
    inverted = pair.fixed.with_array(np.where(pair.fixed.array > 0, pair.fixed.array.max() - pair.fixed.array, 0))
    result = registered(
        model, pair._replace(moving=inverted, moving_labels=pair.fixed_labels), RegisterConfig(refine=refine)
    )
    points = brain_points(pair)
    assert np.linalg.norm(result.forward.points(points) - points, axis=1).max() < 0.3
