"""What is written of a super-resolution: whole or not at all, with the record of how it was made."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pytest

from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres import output
from NeuroGenLib.superres.evaluation.quality import Quality, StackQuality
from NeuroGenLib.superres.infer import SuperResolution
from NeuroGenLib.superres.output import summary, write_reference, write_result
from Testing.superres_models import MM, a_head, in_thick_slices

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
def model() -> SimpleNamespace:
    """What is told of a model."""
    record = {"reference": "example", "revision": None}
    folder = SimpleNamespace(manifest={"citation": ["Nobody."]})
    return SimpleNamespace(notice="It is untrained.", record=record, folder=folder, device="cpu")


def test_everything_is_written_in_the_space_of_the_result(
    model: SimpleNamespace, found: SuperResolution, scan: Volume, tmp_path: Path
) -> None:
    files = write_result(model, found, scan, tmp_path / "out", {"thickness": 6.0}, case="mark")
    names = ["provenance.json", "quality.json", "residual.nii.gz", "superres.nii.gz", "superres.png"]
    assert [file.name for file in files] == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    image = Volume.load(tmp_path / "out" / "superres.nii.gz")
    assert image.same_space(found.image)
    np.testing.assert_array_equal(image.array, found.image.array)
    made = json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))
    assert made["action"] == "superres run"
    assert made["parameters"] == {"thickness": 6.0}
    assert made["warnings"] == ["It is an example."]
    assert made["shows"] == "It is untrained."
    assert made["case"] == "mark"
    quality = json.loads((tmp_path / "out" / "quality.json").read_text(encoding="utf-8"))
    assert quality["stacks"][0]["percent"] == 1.5
    assert "research use" in quality["research_use"]


def test_the_summary_holds_transforms(found: SuperResolution) -> None:
    assert summary(found)["transforms"]["a"] == np.eye(4).tolist()


def test_what_fails_half_way_leaves_nothing(
    model: SimpleNamespace, found: SuperResolution, scan: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output, "write_json", full)
    with pytest.raises(NeuroGenError, match="No space left"):
        write_result(model, found, scan, tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


def test_the_published_pipelines_result_says_its_units(
    model: SimpleNamespace, found: SuperResolution, tmp_path: Path
) -> None:
    write_reference(model, found.image, tmp_path, {"reference": True})
    made = json.loads((tmp_path / "provenance.json").read_text(encoding="utf-8"))
    assert "normalised" in made["units"]
