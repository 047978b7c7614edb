"""What a registration writes: files in their spaces that say the same as the result in memory, or nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, get_args

import nibabel
import numpy as np
import pytest
import SimpleITK

from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.registration import infer
from NeuroGenLib.registration.config import RegisterConfig, TransformFormat
from NeuroGenLib.registration.evaluation.overview_figure import registration_figure
from NeuroGenLib.registration.evaluation.quality import Quality
from NeuroGenLib.registration.output import (
    RegistrationInputs,
    quality_rows,
    registration_result,
    summary,
    write_registration,
)
from NeuroGenLib.spatial.files.landmarks import read_point_file
from NeuroGenLib.spatial.files.spatial_maps import read_transform
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import oblique, reoriented
from Testing.raising import raises
from Testing.registration_pairs import a_bent_pair, a_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from NeuroGenLib.registration.infer import Registration, RegistrationModel

WRITTEN = {
    "warped.nii.gz",
    "warped_labels.nii.gz",
    "jacobian.nii.gz",
    "forward.h5",
    "inverse.h5",
    "points.tsv",
    "quality.json",
    "quality.tsv",
    "registration.png",
    "provenance.json",
}


@pytest.fixture(scope="module", autouse=True)
def kept_deformations() -> Iterator[None]:
    """Deformations of random weights are kept: they make images less similar."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(infer, "less_similar", lambda *_: False)
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RegistrationModel:
    return a_tiny_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> RegistrationInputs:
    """A pair, the moving one tilted and stored left-handed, with points."""
    pair = a_bent_pair()
    moving, labels = (reoriented(oblique(one, 10), "LPS") for one in (pair.moving, pair.moving_labels))
    moving = Volume(moving.array * 7 + 100 * (moving.array > 0), moving.affine)
    path = tmp_path_factory.mktemp("points") / "p.tsv"
    path.write_text("x\ty\tz\n3\t4\t5\n-6\t2\t1\n", encoding="utf-8")
    return RegistrationInputs(pair.fixed, moving, pair.fixed_labels, labels, points=read_point_file(path))


@pytest.fixture(scope="module")
def registration(model: RegistrationModel, scans: RegistrationInputs) -> Registration:
    return model.register(
        scans.fixed,
        scans.moving,
        settings=RegisterConfig(refine=0),
        fixed_labels=scans.fixed_labels,
        moving_labels=scans.moving_labels,
    )


@pytest.fixture(scope="module")
def folder(
    model: RegistrationModel,
    registration: Registration,
    scans: RegistrationInputs,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("out") / "result"
    files = write_registration(registration_result(model, registration, {"refine": 0}), registration, scans, out)
    assert {file.name for file in files} == WRITTEN == {file.name for file in out.iterdir()}
    return out


@pytest.mark.slow
def test_itk_resamples_the_moving_image_to_the_warped_one(
    folder: Path, scans: RegistrationInputs, tmp_path: Path
) -> None:
    """Nothing of NeuroGen reads or resamples here."""
    for name, volume in (("fixed", scans.fixed), ("moving", scans.moving)):
        nibabel.save(nibabel.Nifti1Image(volume.array, volume.affine), tmp_path / f"{name}.nii")
    images = {
        name: SimpleITK.ReadImage(str(tmp_path / f"{name}.nii"), SimpleITK.sitkFloat32) for name in ("fixed", "moving")
    }
    forward = SimpleITK.ReadTransform(str(folder / "forward.h5"))
    by_itk = SimpleITK.Resample(images["moving"], images["fixed"], forward, SimpleITK.sitkLinear, 0.0)
    written = SimpleITK.ReadImage(str(folder / "warped.nii.gz"))
    one, other = (SimpleITK.GetArrayFromImage(image) for image in (by_itk, written))
    assert one.max() > 500, "the moving image's own intensities"
    assert np.abs(one - other).max() < 0.02 * one.max()
    assert np.abs(one - other).mean() < 1e-4 * one.max()


def test_volumes_lie_on_the_fixed_grid(folder: Path, scans: RegistrationInputs) -> None:
    for name in ("warped", "warped_labels", "jacobian"):
        image = nibabel.load(folder / f"{name}.nii.gz")
        assert image.shape == scans.fixed.shape
        np.testing.assert_allclose(image.affine, scans.fixed.affine, atol=1e-4)
    labels = np.asarray(nibabel.load(folder / "warped_labels.nii.gz").dataobj)
    assert set(np.unique(labels)) <= set(np.unique(scans.moving_labels.array))


def test_points_of_the_moving_image_go_where_its_voxels_go(folder: Path, scans: RegistrationInputs) -> None:
    carried = read_point_file(folder / "points.tsv").points
    forward = read_transform(folder / "forward.h5")
    np.testing.assert_allclose(forward.points(carried), scans.points.points, atol=0.2)
    assert np.abs(carried - scans.points.points).max() > 0.5, "the head was tilted"


@pytest.mark.parametrize("form", get_args(TransformFormat))
def test_all_formats_map_points_alike(
    form: str, model: RegistrationModel, registration: Registration, scans: RegistrationInputs, tmp_path: Path
) -> None:
    from NeuroGenLib.registration.output import write_map

    index = np.random.default_rng(3).uniform(4, 25, (50, 3))
    for name, one, grid in (
        ("forward", registration.forward, scans.fixed),
        ("inverse", registration.inverse, scans.moving),
    ):
        write_map(one, grid, tmp_path / f"{name}.{form}")
        inside = grid.voxel_to_world(index)
        read = read_transform(tmp_path / f"{name}.{form}").points(inside)
        # A field on the image's grid is interpolated between other places than the transform's own grid.
        np.testing.assert_allclose(read, one.points(inside), atol=1e-4 if form in ("h5", "tfm") else 0.2)


def test_the_numbers_written_are_those_measured(folder: Path, registration: Registration) -> None:
    facts = json.loads((folder / "quality.json").read_text(encoding="utf-8"))
    assert facts == json.loads(json.dumps(summary(registration)))
    assert facts["dice"]["registered"]["mean"] == pytest.approx(registration.quality.mean_dice())
    assert "research use" in facts["research_use"]
    np.testing.assert_allclose(facts["start"]["fixed_to_moving"], registration.start.fixed_to_moving, atol=1e-6)
    lines = (folder / "quality.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t") == ["measure", "label", "headers", "start", "registered", "unit"]
    assert {len(line.split("\t")) for line in lines} == {6}
    assert {"inverse consistency, mean", "inverse consistency, largest"} < {line.split("\t")[0] for line in lines}
    mean = next(line.split("\t") for line in lines if line.startswith("Dice\tmean"))
    assert float(mean[4]) == pytest.approx(registration.quality.mean_dice(), abs=1e-3)


def test_the_record_says_with_what_it_was_made(folder: Path, model: RegistrationModel) -> None:
    record = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert record["action"] == "registration run"
    assert record["model"]["weights"] == model.folder.manifest["files"]
    assert record["parameters"] == {"refine": 0}
    assert "fixed to moving" in record["transforms"]["forward"]


def test_masks_are_written_only_when_they_were_found(
    model: RegistrationModel, registration: Registration, scans: RegistrationInputs, tmp_path: Path
) -> None:
    ones = scans.fixed.with_array(np.ones(scans.fixed.shape, np.uint8))
    masked = RegistrationInputs(scans.fixed, scans.moving, fixed_mask=ones, moving_mask=ones, found_masks=("fixed",))
    result = registration_result(model, registration, {})
    names = {file.name for file in write_registration(result, registration, masked, tmp_path / "out")}
    assert "fixed_mask.nii.gz" in names
    assert "moving_mask.nii.gz" not in names
    assert "points.tsv" not in names


def test_a_failure_leaves_nothing(
    model: RegistrationModel,
    registration: Registration,
    scans: RegistrationInputs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("NeuroGenLib.registration.output.save_figure", full)
    result = registration_result(model, registration, {})
    with raises("file-unwritable", tmp_path / "a" / "out", kind=NeuroGenError):
        write_registration(result, registration, scans, tmp_path / "a" / "out")
    assert list(tmp_path.iterdir()) == []


def a_quality(**changed: object) -> Quality:
    stages = {"headers": 0.1, "start": 0.5, "registered": 0.9}
    return Quality(
        **{
            "correlation": stages,
            "mutual_information": stages,
            "folded_voxels": 3,
            "folded_percent": 0.25,
            "ndv_percent": 0.01,
            "sd_log_jacobian": 0.2,
            "inverse_consistency_mm": 0.03,
            "inverse_consistency_max_mm": 0.4,
            "displacement_mm": 1.5,
            **changed,
        }
    )


def test_the_table_says_not_available_where_nothing_was_measured() -> None:
    by_label = {stage: {1: 0.5, 4: 0.25} for stage in ("headers", "start", "registered")}
    rows = quality_rows(a_quality(dice=by_label, hd95_mm={1: 2.0, 4: float("inf")}))
    found = {(row["measure"], row["label"]): row for row in rows}
    assert found["Dice", "mean"]["registered"] == "0.375"
    assert found["Dice", "4"]["headers"] == "0.25"
    assert found["95 % surface distance", "4"]["registered"] == "n/a"
    assert found["95 % surface distance", "1"] == {
        "measure": "95 % surface distance",
        "label": "1",
        "headers": "n/a",
        "start": "n/a",
        "registered": "2",
        "unit": "mm",
    }
    assert not [row for row in quality_rows(a_quality()) if row["measure"] == "Dice"]


def test_the_picture_has_three_planes_of_every_stage(registration: Registration, scans: RegistrationInputs) -> None:
    figure = registration_figure(registration, scans.fixed, scans.moving, notice="It shows phantoms.")
    sections = [axis for axis in figure.axes if axis.images]
    titles = [axis.get_title() for axis in sections if axis.get_title()]
    assert titles[0] == "fixed"
    assert "registered" in titles
    assert len(sections) == 3 * len(titles)
    assert "It shows phantoms." in figure.get_suptitle()
    for axis in sections:
        shown = np.asarray(axis.images[0].get_array())
        assert shown.std() > 0, axis.get_title()


def test_the_picture_is_the_same_however_the_images_are_stored(model: RegistrationModel) -> None:
    pair = a_bent_pair()
    shown = []
    for codes in ("RAS", "PSR"):
        fixed, moving = (reoriented(one, codes) for one in (pair.fixed, pair.moving))
        result = model.register(fixed, moving, settings=RegisterConfig(start="none", refine=0))
        figure = registration_figure(result, fixed, moving)
        shown.append([np.asarray(axis.images[0].get_array()) for axis in figure.axes if axis.images])
    for one, other in zip(*shown, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_the_picture_shows_the_patients_left_on_the_right(model: RegistrationModel) -> None:
    pair = a_bent_pair()
    fixed, moving = (brighter_on_the_left(reoriented(one, "LAS")) for one in (pair.fixed, pair.moving))
    result = model.register(fixed, moving, settings=RegisterConfig(start="none", refine=0))
    figure = registration_figure(result, fixed, moving)
    axial = figure.axes[0]
    section = np.asarray(axial.images[0].get_array())
    middle = section.shape[1] // 2
    assert section[:, middle:].mean() > 1.2 * section[:, :middle].mean()
    assert "L" in [text.get_text() for text in axial.texts if text.get_position()[0] > 0.9]


def test_both_images_are_compared_by_edges_whatever_their_contrasts(
    registration: Registration, scans: RegistrationInputs
) -> None:
    figure = registration_figure(registration, scans.fixed, scans.moving)
    axis = next(axis for axis in figure.axes if "edges" in axis.get_title())
    fixed = next(axis for axis in figure.axes if axis.get_title() == "fixed")
    np.testing.assert_array_equal(axis.images[0].get_array(), fixed.images[0].get_array())
    assert sum(len(path.vertices) for path in axis.collections[0].get_paths()) > 50


def brighter_on_the_left(volume: Volume) -> Volume:
    """The same head with its left half twice as bright."""
    world = volume.voxel_to_world(np.argwhere(np.ones(volume.shape)))[:, 0].reshape(volume.shape)
    return volume.with_array(volume.array * np.where(world < volume.centre[0], 2, 1).astype(np.float32))
