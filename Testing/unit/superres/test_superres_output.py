"""What is written of a super-resolution: whole or not at all, with the record of how it was made."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pytest

from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.models import open_model
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres import output
from NeuroGenLib.superres.evaluation.figure import superres_figure
from NeuroGenLib.superres.evaluation.quality import Quality, StackQuality
from NeuroGenLib.superres.infer import SuperresModel, SuperResolution
from NeuroGenLib.superres.output import superres_result, write_reference, write_superres
from Testing.geometry import reoriented
from Testing.raising import raises
from Testing.superres_models import MM, a_head, in_thick_slices, write_residual_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def scan() -> Volume:
    return in_thick_slices(a_head())


@pytest.fixture(scope="module")
def found(scan: Volume) -> SuperResolution:
    """A result that is an interpolation."""
    image = scan.resample(spacing=MM)
    stack = StackQuality("axial", 6.0, 0.0, 6.0, 12.0, 20.0, 1.5)
    quality = Quality((stack,), None, MM, 150.0, 20.0, 900.0)
    residual = image.with_array(np.zeros(image.shape, np.float32))
    return SuperResolution(
        image, residual, image.with_array(image.array > 200), image, quality, ["It is an example."], {"a": np.eye(4)}
    )


@pytest.fixture
def model(tmp_path: Path) -> SuperresModel:
    """An untrained model."""
    return open_model(write_residual_model(tmp_path / "model"), SuperresModel, device="cpu")


def test_a_result_holds_everything_by_name(model: SuperresModel, found: SuperResolution) -> None:
    result = superres_result(model, found, {"thickness": 6.0}, case="mark")
    assert result.volumes == {"superres": found.image, "residual": found.residual, "interpolated": found.interpolated}
    assert result.labels == {"head": found.head}
    assert result.facts["quality"]["transforms"]["a"] == np.eye(4).tolist()
    assert {row["measure"] for row in result.tables["quality"]} > {"voxel size", "slices not reproduced"}
    assert result.warnings == ["It is an example."]
    assert result.record["action"] == "superres run"
    assert result.record["parameters"] == {"thickness": 6.0}
    assert result.record["warnings"] == ["It is an example."]
    assert result.record["shows"] == "It is untrained."
    assert result.record["case"] == "mark"


def test_everything_is_written_in_the_space_of_the_result(
    model: SuperresModel, found: SuperResolution, scan: Volume, tmp_path: Path
) -> None:
    result = superres_result(model, found, {})
    files = write_superres(result, scan, tmp_path / "out")
    names = ["provenance.json", "quality.json", "residual.nii.gz", "superres.nii.gz", "superres.png"]
    assert [file.name for file in files] == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    image = Volume.load(tmp_path / "out" / "superres.nii.gz")
    assert image.same_space(found.image)
    np.testing.assert_array_equal(image.array, found.image.array)
    made = json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))
    assert made["model"]["reference"] == model.folder.reference
    quality = json.loads((tmp_path / "out" / "quality.json").read_text(encoding="utf-8"))
    assert quality["stacks"][0]["percent"] == 1.5
    assert "research use" in quality["research_use"]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PSR"])
def test_the_picture_shows_the_patients_left_on_the_right(
    model: SuperresModel, found: SuperResolution, scan: Volume, codes: str
) -> None:
    names = ("image", "residual", "interpolated")
    volumes = {name: brighter_on_the_left(reoriented(getattr(found, name), codes)) for name in names}
    result = superres_result(model, replace(found, head=reoriented(found.head, codes), **volumes), {})
    figure = superres_figure(result, brighter_on_the_left(reoriented(scan, codes)))
    for title in ("slices", "result"):
        axial = next(axis for axis in figure.axes if axis.get_title() == title)
        section = np.asarray(axial.images[0].get_array())
        middle = section.shape[1] // 2
        assert section[:, middle:].mean() > 1.2 * section[:, :middle].mean()
        assert "L" in [text.get_text() for text in axial.texts if text.get_position()[0] > 0.9]
    profile = figure.axes[-1].lines
    assert [line.get_label() for line in profile] == ["slices", "interpolated", "result"]
    assert all(np.nanmax(line.get_ydata()) > 100 for line in profile)


def brighter_on_the_left(volume: Volume) -> Volume:
    """The same head with its left half twice as bright."""
    world = volume.voxel_to_world(np.argwhere(np.ones(volume.shape)))[:, 0].reshape(volume.shape)
    return volume.with_array(volume.array * np.where(world < volume.centre[0], 2, 1).astype(np.float32))


def test_a_full_disk_leaves_nothing(
    model: SuperresModel, found: SuperResolution, scan: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output, "save_figure", full)
    with raises("file-unwritable", tmp_path / "out", kind=NeuroGenError):
        write_superres(superres_result(model, found, {}), scan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_published_pipelines_result_says_its_units(
    model: SuperresModel, found: SuperResolution, tmp_path: Path
) -> None:
    write_reference(model, found.image, tmp_path / "out", {"reference": True})
    made = json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))
    assert "normalised" in made["units"]
