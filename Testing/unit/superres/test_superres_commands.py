"""`neurogen superres run`, `batch` and `evaluate`: what they write, what they say, what they do not do twice."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from NeuroGenLib import cli
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.batch import Case, read_cases
from NeuroGenLib.superres.evaluation.table import markdown
from NeuroGenLib.superres.published.reference import ORIENTATION
from Testing.raising import raises
from Testing.superres_models import a_head, in_thick_slices, write_published_model, write_residual_model

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = ["--spacing", "2", "--progress", "none", "--device", "cpu"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_residual_model(tmp_path_factory.mktemp("model") / "superres"))


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scan in thick slices, an isotropic one, and what is not a scan."""
    folder = tmp_path_factory.mktemp("scans")
    head = a_head()
    in_thick_slices(head).save(folder / "thick_T2w.nii.gz")
    head.save(folder / "thin_T2w.nii.gz")
    Volume(np.ones((20, 20, 8)), np.diag([2.0, 2, 6, 1])).save(folder / "empty_T2w.nii.gz")
    return folder


@pytest.fixture
def table(scans: Path, tmp_path: Path) -> Path:
    """Three visits: one that works, one with nothing to do, one that fails."""
    rows = [("sub-1", "thick"), ("sub-2", "thin"), ("sub-3", "empty")]
    lines = ["participant_id\tT2w", *(f"{name}\t{scans / f'{file}_T2w.nii.gz'}" for name, file in rows)]
    path = tmp_path / "participants.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


# --- run ------------------------------------------------------------------------------------------------------------


def test_run_writes_a_scan_and_says_how_it_was_made(
    model: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, out = scans / "thick_T2w.nii.gz", tmp_path / "out"
    assert cli.main(["superres", "run", str(scan), "--model", model, "--out", str(out), *QUICK]) == 0
    said = capsys.readouterr().out
    assert "Axial slices of 6 mm: reproduced to" in said
    assert "It is untrained. For research use only" in said
    image = Volume.load(out / "superres.nii.gz")
    np.testing.assert_allclose(image.spacing, [2.0] * 3, atol=1e-6)
    np.testing.assert_allclose(image.world_bounds, Volume.load(scan).world_bounds, atol=1.0)
    made = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    assert made["parameters"]["scan"] == [str(scan)]
    assert made["parameters"]["spacing"] == 2.0
    assert json.loads((out / "quality.json").read_text(encoding="utf-8"))["stacks"][0]["direction"] == "axial"


def test_run_knows_the_thickness_that_lies_beside_the_scan(
    model: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = tmp_path / "sub-1_T2w.nii.gz"
    Volume.load(scans / "thick_T2w.nii.gz").save(scan)
    scan.with_name("sub-1_T2w.json").write_text(json.dumps({"SliceThickness": 5}), encoding="utf-8")
    assert cli.main(["superres", "run", str(scan), "--model", model, "--out", str(tmp_path / "out"), *QUICK]) == 0
    assert "Axial slices of 5 mm, +1 mm between them" in capsys.readouterr().out
    made = json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))
    assert made["parameters"]["recorded"] == [5.0]


def test_run_leaves_an_isotropic_scan_alone(
    model: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["superres", "run", str(scans / "thin_T2w.nii.gz"), "--model", model, "--out", str(out)]
    assert cli.main([*words, "--progress", "none"]) == 2
    assert "isotropic already" in capsys.readouterr().err
    assert not out.exists()


def test_run_takes_the_published_pipeline_for_comparison(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = str(write_published_model(tmp_path / "baby-ai"))
    pair = []
    for name in ("T2w", "T1w"):
        values = np.random.default_rng(len(pair)).integers(1, 900, (182, 40, 36)).astype(np.int16)
        Volume(values, np.diag([-1.0, 1, 1, 1])).save(tmp_path / f"{name}.nii.gz")
        pair.append(str(tmp_path / f"{name}.nii.gz"))
    manifest = json.loads((tmp_path / "baby-ai" / "neurogen.json").read_text(encoding="utf-8"))
    manifest["preparation"]["padded"] = [192, 48, 48]
    (tmp_path / "baby-ai" / "neurogen.json").write_text(json.dumps(manifest), encoding="utf-8")
    line = ["superres", "run", pair[0], "--guide", pair[1], "--model", published, "--reference", "--progress", "none"]
    assert cli.main([*line, "--out", str(tmp_path / "out")]) == 0
    image = Volume.load(tmp_path / "out" / "superres.nii.gz")
    assert image.shape == (192, 48, 48)
    assert "".join(image.axcodes) == ORIENTATION
    capsys.readouterr()
    thick = str(scans / "thick_T2w.nii.gz")
    assert cli.main([*line[:2], thick, *line[3:], "--out", str(tmp_path / "no")]) == 2
    assert "knows 1 mm" in capsys.readouterr().err
    assert cli.main([*line, "--thickness", "4", "--out", str(tmp_path / "no")]) == 2
    assert "has no thickness" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


# --- batch ----------------------------------------------------------------------------------------------------------


def test_batch_does_what_it_can_and_nothing_twice(
    model: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["superres", "batch", str(table), "--model", model, "--out", str(out), *QUICK]
    assert cli.main(words) == 1
    said = capsys.readouterr()
    assert "1 of 3 scans could not be super-resolved" in said.err
    rows = rows_of(out / "summary.tsv")
    assert [row["status"] for row in rows] == ["done", "isotropic", "failed"]
    assert rows[0]["direction"] == "axial"
    assert "same value everywhere" in rows[2]["remarks"]
    assert sorted(path.name for path in out.iterdir()) == ["provenance.json", "sub-1", "summary.tsv"]
    written = (out / "sub-1" / "superres.nii.gz").stat().st_mtime_ns
    assert cli.main(words) == 1
    assert rows_of(out / "summary.tsv")[0]["status"] == "kept"
    assert (out / "sub-1" / "superres.nii.gz").stat().st_mtime_ns == written
    table.write_text(table.read_text(encoding="utf-8") + "sub-9\tmissing_T2w.nii.gz\n", encoding="utf-8")
    assert cli.main([*words, "--back-projection", "0"]) == 1
    assert "missing_T2w.nii.gz does not exist" in rows_of(out / "summary.tsv")[-1]["remarks"]
    assert rows_of(out / "summary.tsv")[0]["status"] == "done", "other settings, another result"


def test_batch_that_can_do_nothing_says_why_and_leaves_nothing(
    model: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "bad.tsv"
    table.write_text(f"participant_id\tT2w\nsub-3\t{scans / 'empty_T2w.nii.gz'}\n", encoding="utf-8")
    assert cli.main(["superres", "batch", str(table), "--model", model, "--out", str(tmp_path / "out"), *QUICK]) == 2
    assert "sub-3 cannot be super-resolved: The scan has the same value everywhere." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    """Two people in a tree; one has a second scan and a T1w."""
    for name in ("sub-1_acq-ax_T2w", "sub-1_acq-cor_T2w", "sub-1_T1w", "sub-2_acq-ax_T2w"):
        path = tmp_path / "bids" / name.split("_")[0] / "anat" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "bids"


def test_cases_of_a_folder(bids: Path) -> None:
    first, second = read_cases(bids, ["acq-ax_T2w", "acq-cor_T2w"])
    assert first.name == "sub-1"
    assert [path.name for path in first.scans] == ["sub-1_acq-ax_T2w.nii.gz", "sub-1_acq-cor_T2w.nii.gz"]
    assert first.guide is not None
    assert first.guide.name == "sub-1_T1w.nii.gz"
    assert second == Case("sub-2", (bids / "sub-2" / "anat" / "sub-2_acq-ax_T2w.nii.gz",))
    with raises("table-empty", "T9w"):
        read_cases(bids, ["acq-ax_T2w"], "T9w")


def test_cases_of_a_table_may_lack_further_scans_and_guides(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.nii").touch()
    table = tmp_path / "table.csv"
    table.write_text(
        "participant_id,session_id,T2w,T2w_cor,T1w\np1,1,a.nii,b.nii,n/a\np1,2,c.nii,,d.nii\n", encoding="utf-8"
    )
    one, other = read_cases(table, ["T2w", "T2w_cor"])
    assert (one.name, len(one.scans), one.guide) == ("p1_1", 2, None)
    assert (other.name, len(other.scans), other.guide) == ("p1_2", 1, tmp_path / "d.nii")
    with raises("name-unknown", "'T2'", "'T2w'"):
        read_cases(table, ["T2"])


# --- evaluate -------------------------------------------------------------------------------------------------------


def test_evaluate_compares_with_interpolation(
    model: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = tmp_path / "thin.tsv", tmp_path / "out"
    scan = scans / "thin_T2w.nii.gz"
    table.write_text(f"participant_id\tT2w\tT1w\nsub-2\t{scan}\t{scan}\n", encoding="utf-8")
    words = ["superres", "evaluate", str(table), "--model", model, "--out", str(out), "--progress", "none"]
    assert cli.main([*words, "--thickness", "4", "6", "--direction", "axial", "--back-projection", "0"]) == 0
    rows = rows_of(out / "scans.tsv")
    assert len(rows) == 10
    value = {(row["thickness_mm"], row["method"]): float(row["psnr_db"]) for row in rows}
    assert value["6", "nearest"] < value["6", "cubic"] < value["4", "cubic"]
    assert value["6", "model with guide"] != value["6", "model"]
    said = capsys.readouterr().out
    assert "| 6 mm axial |" in said
    assert (out / "table.md").read_text(encoding="utf-8").strip() in said
    names = ["evaluation.png", "means.tsv", "provenance.json", "scans.tsv", "table.md"]
    assert sorted(path.name for path in out.iterdir()) == names


def test_evaluate_wants_isotropic_scans_and_thick_slices(
    model: str, scans: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["superres", "evaluate", str(table), "--model", model, "--out", str(tmp_path / "out"), "--progress", "none"]
    assert cli.main(words) == 2
    assert "sub-1 cannot be evaluated: Its voxels of 2 x 2 x 6 mm are not isotropic" in capsys.readouterr().err
    table.write_text(f"participant_id\tT2w\nsub-2\t{scans / 'thin_T2w.nii.gz'}\n", encoding="utf-8")
    assert cli.main([*words, "--thickness", "1"]) == 2
    assert "thinner than its voxels" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_table_marks_the_best() -> None:
    rows = [
        {"thickness_mm": 4.0, "direction": "axial", "method": method, "scans": 1, "psnr_db": value, "ssim": value / 40}
        for method, value in (("cubic", 20.0), ("model", 23.5))
    ]
    lines = markdown(rows).splitlines()
    assert lines[0] == "| slices | cubic | model |"
    assert lines[2] == "| 4 mm axial | 20.00 / 0.500 | **23.50** / **0.588** |"
