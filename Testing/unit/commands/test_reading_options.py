"""Options of how image files are read: on every command that reads images, shown to the user, kept in the record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest

from NeuroGenLib.cli import main
from NeuroGenLib.spatial.files.reading import reading
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import a_brain_phantom

if TYPE_CHECKING:
    from pathlib import Path

READERS = (
    "atlas fit",
    "atlas evaluate",
    "registration run",
    "registration apply",
    "registration evaluate",
    "mask",
    "superres run",
    "superres batch",
    "superres evaluate",
    "superres simulate",
)


@pytest.fixture
def two_geometries(tmp_path: Path) -> Path:
    """A scan whose sform (aligned) lies 25 mm right of its qform (scanner)."""
    image = a_brain_phantom().image
    shifted = image.affine.copy()
    shifted[0, 3] += 25
    nifti = nibabel.Nifti1Image(image.array, shifted)
    nifti.set_qform(image.affine, 1)
    nifti.set_sform(shifted, 2)
    nibabel.save(nifti, tmp_path / "scan.nii")
    return tmp_path / "scan.nii"


@pytest.mark.parametrize("words", READERS)
def test_every_command_that_reads_images_has_the_options(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"--{name}" in said for name in ("geometry", "series", "any-size"))


@pytest.mark.parametrize(("options", "used"), [([], "sform"), (["--geometry", "qform"], "qform")])
def test_the_person_and_the_record_are_told(
    two_geometries: Path, capsys: pytest.CaptureFixture[str], options: list[str], used: str
) -> None:
    out = two_geometries.parent / "out"
    line = ["superres", "simulate", str(two_geometries), "--thickness", "6", "--out", str(out), *options]
    assert main([*line, "--progress", "none", "--json"]) == 0
    said = capsys.readouterr()
    notes = [text for text in said.err.splitlines() if text.startswith("Note: ")]
    record = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    assert len(notes) == 1
    assert f"the {used} was used" in notes[0]
    assert record["warnings"][0] == json.loads(said.out)["warnings"][0] == notes[0].removeprefix("Note: ")
    assert record["reading"]["geometry"] == (options[1] if options else "auto")
    thick = Volume.load(next(out.glob("*.nii.gz")))
    centre = {"sform": 25, "qform": 0}[used]
    np.testing.assert_allclose(thick.centre[0], centre, atol=0.5)
    assert reading().geometry == "auto", "the next command begins with the default"


@pytest.mark.parametrize(("factor", "says"), [(1000, "2000 x"), (20, "40 x"), (0.001, "0.002 x"), (0.1, "8 x 9.6")])
def test_a_size_that_no_head_has_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], factor: float, says: str
) -> None:
    image = a_brain_phantom().image
    affine = image.affine.copy()
    affine[:3] *= factor
    nibabel.save(nibabel.Nifti1Image(image.array, affine), tmp_path / "scan.nii")
    line = ["superres", "simulate", str(tmp_path / "scan.nii"), "--reference", "--factor", "4", "--progress", "none"]
    assert main([*line, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in ("scan.nii", says, "--any-size"))
    assert not (tmp_path / "out").exists()
    assert main([*line, "--out", str(tmp_path / "out"), "--any-size"]) == 0


def test_another_geometry_is_refused(two_geometries: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["superres", "simulate", str(two_geometries), "--thickness", "6", "--geometry", "qforms", "--out", "x"]
    assert main(line) == 2
    assert "geometry" in capsys.readouterr().err
