"""An atlas fitted to brains it has not seen: labels, age, place and deviation, however the scan is stored."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
import torch

from NeuroGenLib.atlas.config import FitConfig
from NeuroGenLib.atlas.fit.age_interval import AgeEstimate
from NeuroGenLib.atlas.fit.fit import (
    FittedBrain,
    _age_cautions,
    conditions_at_bounds,
    fit_scan,
    outside_population,
)
from NeuroGenLib.atlas.fit.output import fit_result, summary, write_fit
from NeuroGenLib.commands.atlas import fit as command
from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.models import open_model
from NeuroGenLib.spatial.volume import Volume
from Testing.atlas_fixtures import PEOPLE
from Testing.geometry import oblique, reoriented, rotation, same_in_world
from Testing.held_out_heads import CENTRE, SIZE, HeldOutHead, head, overlap, whole
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from NeuroGenLib.atlas.infer import AtlasModel

QUICK = FitConfig(steps=30, points=600)
KNOWN = {"ventricles": 0.5, "sex": "M"}


class Stopper(Progress):
    """Asks to stop once a message is shown."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    def show(self, step: float, total: float, message: str) -> None:  # noqa: ARG002
        if self._words in message:
            self.cancel()


def moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def volumes(fitted: FittedBrain) -> list[Volume]:
    return [
        fitted.labels,
        *fitted.reconstruction.values(),
        *fitted.atlas.values(),
        *fitted.deviation.values(),
    ]


@pytest.fixture(scope="module")
def model(atlas_run: Path) -> Iterator[AtlasModel]:
    """The tiny atlas, with PyTorch on one thread: the same work gives the same bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield open_model(str(atlas_run / "model"), device="cpu")
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def fit(model: AtlasModel) -> Callable[..., FittedBrain]:
    """Fits the tiny atlas, quickly."""

    def fit(images: dict[str, Volume], **options: Any) -> FittedBrain:
        return fit_scan(model, images, **{"settings": QUICK, **options})

    return fit


@pytest.fixture(scope="module")
def held_out() -> HeldOutHead:
    """A person of a size between those of the second and third training subject."""
    return head()


@pytest.fixture(scope="module")
def fitted(fit: Callable[..., FittedBrain], held_out: HeldOutHead) -> FittedBrain:
    """The atlas fitted to a held-out subject: the images are zero outside the brain, nothing else is known."""
    return fit(held_out.images)


# --- what is found --------------------------------------------------------------------------------------------------


def test_labels_are_those_of_the_held_out_subject(model, fitted, held_out):
    labels = held_out.labels
    unmoved = model.generate(28, {"ventricles": 0.5, "sex": "F"}, 5.0).labels
    shifted = unmoved.affine.copy()
    shifted[:3, 3] += labels.voxel_to_world(np.argwhere(labels.array).mean(0))
    before = Volume(unmoved.array, shifted).resample(like=labels, order=0)
    after = overlap(fitted.labels.array, labels.array)
    assert after > 0.8
    assert after > overlap(before.array, labels.array) + 0.05
    assert not fitted.labels.array[labels.array == 0].any()


@pytest.mark.slow
def test_the_age_is_that_of_the_size(fit, fitted):
    """The training subjects' heads grow with age, steadily."""
    ages = [fit(head(0.89).images).estimate.value, fitted.estimate.value, fit(head(1.02).images).estimate.value]
    expected = np.interp([0.89, SIZE, 1.02], [person.size for person in PEOPLE], [person.age for person in PEOPLE])
    np.testing.assert_allclose(ages, expected, atol=1.0)
    assert fitted.estimate.low < fitted.estimate.value < fitted.estimate.high
    assert fitted.estimate.n == len(PEOPLE)
    assert not fitted.estimate.at_end
    assert any("rests on n = 4 subjects" in warning for warning in fitted.warnings)


def test_a_head_larger_than_all_is_said_to_be_at_the_end_of_the_range(fit):
    """Of size 1.12, where the oldest training subject has 1.05."""
    large = fit(head(1.12, shape=(16, 20, 15)).images, settings=replace(QUICK, steps=1))
    assert large.estimate.value == 32.0
    assert large.estimate.at_end
    assert any("real age may lie beyond" in warning for warning in large.warnings)


def test_the_fit_is_closer_than_the_atlas(fitted, held_out):
    inside = held_out.labels.array > 0
    for name, image in held_out.images.items():
        free, atlas = (
            np.abs(drawn[name].array - image.array)[inside].mean() for drawn in (fitted.reconstruction, fitted.atlas)
        )
        assert free < atlas
        assert free < 0.1 * 1000, "in the scan's own units"
    assert fitted.loss < fitted.match.loss
    assert fitted.match.losses.min() <= fitted.match.loss * 1.05
    assert np.all(np.diff(fitted.match.ages) > 0)


def test_the_deviation_is_scan_minus_atlas_as_a_share_of_the_scans_range(fit, held_out):
    """A bright spot that no training subject has."""
    images, labels = held_out
    spot = np.zeros(labels.shape, bool)
    spot[8:10, 9:11, 8:10] = True
    bright = images["T2w"].with_array(np.where(spot, 1000, images["T2w"].array).astype(np.float32))
    fitted = fit({**images, "T2w": bright})
    inside = labels.array > 0
    difference = bright.array[inside] - fitted.atlas["T2w"].array[inside]
    deviation = fitted.deviation["T2w"].array
    # The range is taken over the brain and its rim, whose intensity is zero: here, up to the largest.
    np.testing.assert_allclose(deviation[inside], difference / bright.array.max(), atol=0.01)
    assert deviation[spot].mean() > 0.15
    assert abs(np.median(deviation[inside & ~spot])) < 0.1
    assert not deviation[~inside].any()
    assert deviation.dtype == np.float32


def test_tissues_are_measured_on_the_fitted_labels(model, fitted):
    voxel_ml = 5**3 / 1000
    values = dict(zip(model.labels.names, model.labels.values, strict=True))
    for tissue in fitted.tissues[:-1]:
        assert tissue.volume_ml == pytest.approx(voxel_ml * (fitted.labels.array == values[tissue.name]).sum())
        assert tissue.z is None, "four subjects are too few"
    assert fitted.tissues[-1].name == "total"
    assert fitted.tissues[-1].volume_ml == pytest.approx(voxel_ml * (fitted.labels.array > 0).sum())
    assert any("no z is given" in warning for warning in fitted.warnings)


# --- however the scan is stored -------------------------------------------------------------------------------------


@pytest.mark.parametrize("axcodes", ["LAS", "LPS", "PIR"])
def test_the_stored_order_of_axes_does_not_matter(fit, fitted, held_out, axcodes):
    """Left-handed, DICOM's and sagittal; the voxels as whole numbers."""
    stored = {
        name: reoriented(image.with_array(image.array.astype(np.int16)), axcodes)
        for name, image in held_out.images.items()
    }
    other = fit(stored)
    for volume, expected in zip(volumes(other), volumes(fitted), strict=True):
        np.testing.assert_array_equal(volume.affine, stored["T2w"].affine)
        assert volume.shape == stored["T2w"].shape
        assert same_in_world(expected, volume)
    assert other.estimate == fitted.estimate
    np.testing.assert_allclose(other.to_atlas, fitted.to_atlas, atol=1e-5)


@pytest.mark.parametrize(("degrees", "least"), [(25, 0.98), (90, 0.95)])
def test_a_turned_head_gets_the_same_labels(fit, fitted, held_out, degrees, least):
    """The same array under a turned header.

    At 90 degrees about an oblique axis the search starts from the nearest turn of a cube and ends a few degrees from
    the other pose: where a label has forty voxels of 5 mm, that is two of them.
    """
    turned = fit({name: oblique(image, degrees) for name, image in held_out.images.items()})
    assert overlap(turned.labels.array, fitted.labels.array) >= least
    assert turned.estimate.value == pytest.approx(fitted.estimate.value, abs=0.5)
    assert turned.labels.is_oblique
    between = turned.to_atlas[:3, :3] @ rotation(degrees, CENTRE)[:3, :3] @ fitted.to_atlas[:3, :3].T
    assert math.degrees(math.acos(min((np.trace(between) - 1) / 2, 1.0))) < 8
    assert any("degrees from where its header puts it" in text for text in turned.warnings) == (degrees == 90)


def test_an_oblique_copy_of_the_head_lies_in_the_same_place(fit, fitted, held_out):
    """The head drawn again on a turned grid: at 5 mm the true labels of both grids agree to 0.75 alone."""
    labels = held_out.labels
    copied = head(degrees=20)
    copy = fit(copied.images)
    points = labels.voxel_to_world(np.argwhere(labels.array))
    apart = np.linalg.norm(moved(copy.to_atlas, points) - moved(fitted.to_atlas, points), axis=1)
    assert apart.mean() < 2.0
    assert apart.max() < 4.0
    nearest = fitted.labels.resample(like=copied.labels, order=0)
    limit = overlap(labels.resample(like=copied.labels, order=0).array, copied.labels.array)
    assert overlap(nearest.array, copy.labels.array) > limit - 0.03
    assert overlap(copy.labels.array, copied.labels.array) > 0.8
    assert copy.estimate.value == pytest.approx(fitted.estimate.value, abs=0.5)


@pytest.mark.parametrize(
    ("shape", "spacing"), [((14, 18, 9), (5, 5, 8)), ((20, 26, 5), (3, 3, 16)), ((14, 18, 1), (5, 5, 60))]
)
def test_thick_slices_keep_their_grid(fit, shape, spacing):
    """Also five slices of 16 mm; and one slice of 60 mm alone, of which nothing but a result is asked."""
    images, labels = head(shape=shape, spacing=spacing)
    fitted = fit(images)
    for volume in volumes(fitted):
        assert volume.shape == shape
        np.testing.assert_array_equal(volume.affine, labels.affine)
        assert np.isfinite(volume.array).all()
    if shape[2] > 1:
        assert overlap(fitted.labels.array, labels.array) > 0.75
        assert fitted.estimate.value == pytest.approx(28, abs=1.5)


# --- what is known --------------------------------------------------------------------------------------------------


def test_a_mask_of_what_is_not_zero_changes_not_a_bit(fit, fitted, held_out):
    again = fit(held_out.images, mask=whole(held_out.labels))
    for volume, expected in zip(volumes(again), volumes(fitted), strict=True):
        np.testing.assert_array_equal(volume.array, expected.array)
    np.testing.assert_array_equal(again.latents, fitted.latents)
    assert (again.age, again.conditions, again.loss) == (fitted.age, fitted.conditions, fitted.loss)


def test_one_image_of_two_is_enough(fit, fitted, held_out):
    images, labels = held_out
    alone = fit({"T1w": images["T1w"]})
    assert overlap(alone.labels.array, labels.array) > 0.8
    assert alone.estimate.value == pytest.approx(fitted.estimate.value, abs=0.7)
    assert set(alone.reconstruction) == {"T2w", "T1w"}
    assert set(alone.deviation) == set(alone.intensity) == {"T1w"}
    inside = labels.array > 0
    assert alone.reconstruction["T1w"].array[inside].mean() == pytest.approx(
        images["T1w"].array[inside].mean(), rel=0.1
    )
    assert alone.reconstruction["T2w"].array.max() < 2, "the model's units, where the scan has no such image"


def test_labels_that_are_given_are_followed(fit, fitted, held_out):
    images, labels = held_out
    led = fit(images, labels=labels)
    assert overlap(led.labels.array, labels.array) > overlap(fitted.labels.array, labels.array) + 0.01


@pytest.mark.slow
def test_a_known_age_is_what_the_deviation_is_against(model, fit, fitted, held_out):
    images, labels = held_out
    known = fit(images, age=32.0)
    assert known.known_age == 32.0
    assert known.age == 32.0
    assert known.estimate == fitted.estimate, "the age of the image is found as before"
    voxels = np.argwhere(labels.array)
    points = moved(known.to_atlas, labels.voxel_to_world(voxels)) / (model.box / 2)
    decoded = model.decode_points(model.recipe(32.0, known.conditions), torch.from_numpy(points).float())
    for channel, name in enumerate(model.modalities):
        offset, factor = known.intensity[name]
        expected = offset + factor * decoded[:, channel]
        np.testing.assert_allclose(known.atlas[name].array[tuple(voxels.T)], expected, atol=0.05)


def test_known_conditions_are_kept_and_said(model, fit, fitted, held_out):
    other = fit(held_out.images, conditions={"sex": "M"})
    assert other.conditions["sex"] == "M"
    assert other.given == ("sex",)
    assert fitted.given == ()
    said = summary(model, other)["conditions"]
    assert said["sex"] == {"value": "M", "how": "given", "at_bound": False}
    at_bound = "ventricles" in other.at_bounds
    assert said["ventricles"] == {"value": other.conditions["ventricles"], "how": "fitted", "at_bound": at_bound}


# --- outside the population -----------------------------------------------------------------------------------------


def test_a_given_age_is_the_age_of_the_fit(model, fitted):
    given = replace(fitted, known_age=31.0)
    assert (given.age, fitted.age) == (31.0, fitted.estimate.value)
    said = summary(model, given)
    assert (said["age"], said["known_age"]) == (31.0, 31.0)
    assert said["age_of_image"] == pytest.approx(fitted.estimate.value, abs=1e-3)
    estimate = AgeEstimate(27.3, 25.5, 29.1, 15, at_end=False)
    assert "27.3 weeks" in _age_cautions(model, estimate, 31.0)[0]
    assert "31 weeks" in _age_cautions(model, estimate, 31.0)[0]
    assert _age_cautions(model, estimate, 28.0) == []


def test_a_scan_further_than_all_subjects_is_outside():
    residuals = np.array([0.05, 0.12, 0.08])
    assert outside_population(0.12, residuals) == ""
    assert "15%" in outside_population(0.15, residuals)
    assert outside_population(0.9, np.zeros(0)) == "", "an atlas of a few cannot tell"


def test_a_condition_at_an_end_of_its_range_is_said(model):
    ventricles = next(one for one in model.conditions if one.name == "ventricles")
    for side, value in (("lower", ventricles.minimum), ("upper", ventricles.maximum)):
        said = conditions_at_bounds(model, {"ventricles": value, "sex": "M"}, {})
        assert list(said) == ["ventricles"]
        assert side in said["ventricles"]
    assert conditions_at_bounds(model, {"ventricles": ventricles.maximum, "sex": "M"}, {"ventricles": 1}) == {}
    assert conditions_at_bounds(model, {"ventricles": 0.4, "sex": "M"}, {}) == {}


@pytest.mark.slow
def test_of_another_kind_of_brain_no_z_is_given(model, fit, held_out):
    """Intensities the other way round: no brain of this atlas."""
    inverted = {
        name: image.with_array(np.where(image.array > 0, image.array.max() + 1 - image.array, 0))
        for name, image in held_out.images.items()
    }
    found = fit(inverted, mask=whole(held_out.labels))
    assert found.outside == found.warnings[0]
    assert all(tissue.z is None for tissue in found.tissues)
    said = summary(model, found)
    assert said["outside_population"]
    assert said["z_n"] == 0
    assert {row["z"] for row in fit_result(model, found).tables["deviation"]} == {"n/a"}


# --- brains of the atlas itself -------------------------------------------------------------------------------------


def test_a_brain_of_the_atlas_is_found_where_it_was_put(model, fit):
    brain = model.generate(28.0, KNOWN, 5.0)
    place = rotation(17, (0, 0, 0), (3, -1, 2))
    place[:3, 3] = (40, -25, 60)
    images = {name: Volume(image.array, place @ image.affine) for name, image in brain.images.items()}
    mask = Volume(whole(brain.labels).array, place @ brain.labels.affine)
    found = fit(images, mask=mask)
    inside = mask.array > 0
    points = mask.voxel_to_world(np.argwhere(inside))
    apart = np.linalg.norm(moved(found.to_atlas, points) - moved(np.linalg.inv(place), points), axis=1)
    assert apart.mean() < 1.5
    assert overlap(found.labels.array, brain.labels.array) > 0.85
    # The tiny atlas is smooth, and what it shows beyond its labels is cut off here: the age is off by that.
    assert found.estimate.value == pytest.approx(28.0, abs=0.6)
    for name, image in images.items():
        difference = np.abs(found.reconstruction[name].array - image.array)[inside]
        assert difference.mean() < 0.05 * np.ptp(image.array[inside])


# --- long work ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["looking for", "age, conditions and pose", "fitting", "rendering"])
def test_a_fit_can_be_cancelled_anywhere(fit, held_out, words):
    with pytest.raises(Cancelled):
        fit(held_out.images, settings=replace(QUICK, points=200), progress=Stopper(words))


def test_a_cancelled_command_leaves_nothing(atlas_run, held_out, tmp_path, monkeypatch):
    held_out.images["T2w"].save(tmp_path / "T2w.nii")
    monkeypatch.setattr(command, "make_progress", lambda _: Stopper("conditions and pose"))
    with pytest.raises(Cancelled):
        command.fit([str(tmp_path / "T2w.nii"), "--model", str(atlas_run / "model"), "--out", str(tmp_path / "out")])
    assert [path.name for path in tmp_path.iterdir()] == ["T2w.nii"]


# --- files ----------------------------------------------------------------------------------------------------------


def test_everything_is_written_on_the_scans_grid(model, fitted, held_out, tmp_path):
    out = tmp_path / "out"
    files = write_fit(model, fitted, held_out.images, out, {"volume": {"T2w": "T2w.nii.gz"}})
    names = {path.name for path in files}
    assert names == {path.name for path in out.iterdir()}
    kinds = ("reconstruction_T2w", "reconstruction_T1w", "atlas_T2w", "atlas_T1w", "deviation_T2w", "deviation_T1w")
    others = {"labels.tsv", "fit.json", "deviation.tsv", "growth.png", "fit.png", "provenance.json"}
    assert names == {f"{kind}.nii.gz" for kind in (*kinds, "labels")} | others
    for path in files:
        if path.name.endswith(".nii.gz"):
            image = nibabel.load(path)
            np.testing.assert_allclose(image.affine, held_out.labels.affine, atol=1e-4)
            assert image.shape == held_out.labels.shape
    said = json.loads((out / "fit.json").read_text(encoding="utf-8"))
    assert said["age"] == pytest.approx(fitted.estimate.value, abs=1e-3)
    assert said["age_interval"] == pytest.approx([fitted.estimate.low, fitted.estimate.high], abs=0.01)
    assert (said["age_unit"], said["known_age"], said["z_rough"]) == ("weeks", None, True)
    assert len(said["age_profile"]["age"]) == len(said["age_profile"]["mean_absolute_difference"])
    np.testing.assert_allclose(said["to_atlas"], fitted.to_atlas, atol=1e-5)
    assert "research use only" in said["research_use"]
    rows = [line.split("\t") for line in (out / "deviation.tsv").read_text(encoding="utf-8").splitlines()]
    assert rows[0] == ["tissue", "volume_ml", "expected_ml", "z", "n", "rough"]
    assert [row[0] for row in rows[1:]] == [tissue.name for tissue in fitted.tissues]
    record = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    assert record["parameters"] == {"volume": {"T2w": "T2w.nii.gz"}}
    assert record["warnings"] == fitted.warnings


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["scan.nii"], {"T2w": "scan.nii"}),
        (["T1w=a.nii", "T2w=b.nii"], {"T1w": "a.nii", "T2w": "b.nii"}),
        (["T1w=a=b.nii"], {"T1w": "a=b.nii"}),
    ],
)
def test_files_are_given_by_the_names_of_the_images(model, words, files):
    assert command.scan_files(words, model) == files


def test_a_file_with_an_equals_sign_is_a_file(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "echo=1.nii").touch()
    assert command.scan_files(["echo=1.nii"], model) == {"T2w": "echo=1.nii"}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["a.nii", "b.nii"], ("value-duplicate", "T2w", "NAME=FILE", "T2w, T1w")),
        (["T2w=a.nii", "b.nii"], ("value-duplicate", "T2w")),
        (["T3w=a.nii"], ("name-unknown", "'T3w'")),
        (["T2w="], ("value-missing", "'T2w='", "T2w=FILE")),
        ([""], ("value-missing", "''")),
        (["x" * 5000 + "=a.nii"], ("name-unknown", "'xxx")),
        (["\0=a.nii"], ("name-unknown", "T1w, T2w")),
    ],
    ids=["two", "first named", "unknown", "no file", "nothing", "long", "zero byte"],
)
def test_unclear_files_are_refused(model, words, error):
    with raises(*error):
        command.scan_files(words, model)
