"""`neurogen mask`: which scan gets which mask, and what is written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from NeuroGenLib import cli
from NeuroGenLib.commands.mask.run import planned
from NeuroGenLib.core.files import read_json
from NeuroGenLib.mask.infer import MaskModel
from NeuroGenLib.models import ModelFolder
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import a_brain_phantom
from Testing.raising import raises

if TYPE_CHECKING:
    from NeuroGenLib.core.errors import Code


class IntensityNetwork(torch.nn.Module):
    """Stands for a network: what is brighter than a third is brain."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(multiple=8)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 12 * (image - 1 / 3)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder with two scans, a mask of one of them, and a text."""
    head = a_brain_phantom((20, 24, 18), 4.0).image
    for name in ("sub-1_T1w.nii.gz", "sub-2_T1w.nrrd", "sub-1_T1w_mask.nii.gz"):
        head.save(tmp_path / "scans" / name)
    (tmp_path / "scans" / "notes.txt").write_text("seen", encoding="utf-8")
    return tmp_path / "scans"


@pytest.fixture(autouse=True)
def seen_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model that is opened sees intensity."""
    entries = {"kind": "mask", "network": {"features": [8]}, "preparation": {"spacing": 3.0}, "files": {}}
    manifest = {**entries, "notice": "It sees intensity.", "citation": ["Doe J."]}
    folder = ModelFolder(Path("intensity"), manifest, "intensity")
    model = MaskModel(folder, IntensityNetwork(), torch.device("cpu"))
    monkeypatch.setattr("NeuroGenLib.commands.mask.run.open_model", lambda *_, **__: model)


def test_a_file_gets_the_name_it_is_given(scans: Path, tmp_path: Path) -> None:
    (job,) = planned([str(scans / "sub-1_T1w.nii.gz")], str(tmp_path / "brain.nrrd"))
    assert job.mask == tmp_path / "brain.nrrd"
    assert job.record == tmp_path / "brain_provenance.json"


def test_images_of_a_folder_get_names_of_their_own_and_masks_are_left_out(scans: Path, tmp_path: Path) -> None:
    jobs = planned([str(scans)], str(tmp_path / "masks"))
    assert [job.image.name for job in jobs] == ["sub-1_T1w.nii.gz", "sub-2_T1w.nrrd"]
    assert [job.mask.name for job in jobs] == ["sub-1_T1w_mask.nii.gz", "sub-2_T1w_mask.nii.gz"]
    assert {job.mask.parent for job in jobs} == {tmp_path / "masks"}


def test_a_folder_without_images_may_be_a_dicom_series(tmp_path: Path) -> None:
    (tmp_path / "series7").mkdir()
    (job,) = planned([str(tmp_path / "series7")], str(tmp_path / "masks"))
    assert job.image == tmp_path / "series7"
    assert job.mask.name == "series7_mask.nii.gz"


@pytest.mark.parametrize(
    ("images", "out", "code", "named"),
    [
        (["scans"], "mask.nii.gz", "value-conflict", "2 images"),
        (["scans/sub-1_T1w.nii.gz"], "scans/sub-1_T1w.nii.gz", "file-occupied", "scans/sub-1_T1w.nii.gz"),
        (["scans/sub-1_T1w.nii.gz"], "mask.mha", "file-type", "mask.mha"),
        (["scans/sub-1_T1w.nii.gz"], "mask.txt", "file-type", "mask.txt"),
        (["scans"], "masks.JSON", "file-type", "masks.JSON"),
        (["scans/sub-3_T1w.nii.gz"], "masks", "file-missing", "sub-3_T1w.nii.gz"),
        (["scans/sub-1_T1w.nii.gz", "scans/../scans/sub-1_T1w.nii.gz"], "masks", "value-duplicate", "sub-1_T1w_mask"),
        (["x" * 5000], "masks", "file-missing", "x" * 5000),
    ],
)
def test_plans_that_cannot_be_are_refused(
    scans: Path, monkeypatch: pytest.MonkeyPatch, images: list[str], out: str, code: Code, named: str
) -> None:
    monkeypatch.chdir(scans.parent)
    with raises(code, named):
        planned(images, out)


@pytest.mark.parametrize("name", ["masks", "masks.v2", "1.5mm", "new.masks"])
def test_a_folder_may_have_a_dot_in_its_name(scans: Path, tmp_path: Path, name: str) -> None:
    if name == "new.masks":
        (tmp_path / name).mkdir()
    assert all(job.mask.parent == tmp_path / name for job in planned([str(scans)], str(tmp_path / name)))


def test_masks_are_written_with_their_records(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "masks"
    assert cli.main(["mask", str(scans), "--out", str(out), "--progress", "none"]) == 0
    said = capsys.readouterr().out
    assert "sub-2_T1w_mask.nii.gz" in said
    assert "It sees intensity. For research use only" in said
    names = {"sub-1_T1w_mask.nii.gz", "sub-2_T1w_mask.nii.gz"}
    records = {"sub-1_T1w_mask_provenance.json", "sub-2_T1w_mask_provenance.json"}
    assert {path.name for path in out.iterdir()} == names | records
    mask = Volume.load(out / "sub-2_T1w_mask.nii.gz")
    assert mask.same_space(Volume.load(scans / "sub-2_T1w.nrrd"))
    assert set(np.unique(mask.array)) == {0, 1}
    made = json.loads((out / "sub-2_T1w_mask_provenance.json").read_text(encoding="utf-8"))
    assert made["action"] == "mask"
    assert made["parameters"]["image"].endswith("sub-2_T1w.nrrd")
    assert made["parameters"]["spacing"] == 3.0
    assert made["volume_ml"] == pytest.approx(mask.array.sum() * 0.064, abs=0.1)
    assert made["citation"] == ["Doe J."]
    assert any("whole head" in text for text in made["warnings"])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_not_utf8_is_masked(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = scans / "t\udce9te.nii.gz"
    (scans / "sub-1_T1w.nii.gz").rename(image)
    assert cli.main(["mask", str(image), "--out", str(tmp_path / "masks"), "--progress", "none"]) == 0
    assert "t\\udce9te_mask.nii.gz" in capsys.readouterr().out
    made = read_json(tmp_path / "masks" / "t\udce9te_mask_provenance.json")
    assert made["parameters"]["image"] == str(image)


def test_json_tells_all(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, out = str(scans / "sub-1_T1w.nii.gz"), str(tmp_path / "mask.nii.gz")
    assert cli.main(["mask", image, "--out", out, "--spacing", "2", "--json", "--progress", "none"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["masks"][0]["image"] == image
    assert report["masks"][0]["volume_ml"] > 0
    assert report["written"] == [out, str(tmp_path / "mask_provenance.json")]


def test_a_bad_scan_among_others_is_named_and_the_others_stay(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Volume(np.ones((20, 20, 20)), np.diag([4.0, 4, 4, 1])).save(scans / "sub-0_T1w.nii.gz")
    out = tmp_path / "masks"
    assert cli.main(["mask", str(scans), "--out", str(out), "--progress", "none"]) == 1
    said = capsys.readouterr()
    assert "sub-0_T1w.nii.gz  failed: The image has the same value everywhere." in said.out
    assert "1 of 3 images could not be masked" in said.err
    assert len(list(out.iterdir())) == 4
    assert cli.main(["mask", str(scans), "--out", str(out), "--progress", "none", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [Path(name).name for name in report["failed"]] == ["sub-0_T1w.nii.gz"]
    assert len(report["masks"]) == 2


def test_one_bad_scan_is_an_error_of_the_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = tmp_path / "flat.nii.gz"
    Volume(np.ones((20, 20, 20)), np.diag([4.0, 4, 4, 1])).save(scan)
    assert cli.main(["mask", str(scan), "--out", str(tmp_path / "mask.nii.gz"), "--progress", "none"]) == 2
    assert f"{scan} cannot be masked: The image has the same value everywhere." in capsys.readouterr().err
