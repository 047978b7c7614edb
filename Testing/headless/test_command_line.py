"""The command line as a real process: what it prints where, what it returns, and what it writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest

from NeuroGenLib import cli
from NeuroGenLib.cli import COMMANDS
from NeuroGenLib.spatial.labels import LabelTable
from NeuroGenLib.version import __version__
from Testing.hostile.workspace import Workspace, kept_workspace

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
BOX = (-32, 32, -40, 40, -24, 24)
AGES = (24, 28, 32)


def neurogen(*arguments: object, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in ``folder`` as a user's shell does."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-m", "NeuroGenLib.cli", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=settings, capture_output=True, text=True, encoding="utf-8", timeout=240, check=False
    )


@pytest.fixture(scope="module")
def inputs(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A trained tiny atlas."""
    return kept_workspace(pytestconfig).copied(tmp_path_factory.mktemp("headless") / "inputs")


@pytest.fixture(scope="module")
def growth(inputs: Workspace) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Three ages on an anisotropic grid, and what the process said."""
    done = neurogen(
        *("atlas", "generate", "--model", inputs.model, "--ages", "24:32:4", "--set", "lv_volume_normed=0.12"),
        *("--set", "sex=F", "--spacing", "4,5,8", "--box", ",".join(map(str, BOX)), "--no-mask"),
        *("--out", "growth", "--json", "--progress", "json"),
        folder=inputs.folder,
    )
    return done, inputs.folder / "growth"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The demo as `make demo` runs it, coarser; the model cache is empty and the network forbidden."""
    folder = tmp_path_factory.mktemp("demo")
    done = neurogen(
        "demo", "--spacing", "6", folder=folder, NEUROGEN_OFFLINE="1", NEUROGEN_MODELS=str(folder / "no-models")
    )
    return done, folder / "demo-output"


@pytest.fixture
def help_of(capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    def ask(words: str) -> str:
        assert cli.main([*words.split(), "--help"]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        return said.out

    return ask


def test_help_of_every_command_names_its_options_and_gives_an_example(help_of: Callable[[str], str]) -> None:
    for command in COMMANDS:
        text = help_of(command.words)
        assert f"usage: neurogen {command.words}" in text
        usage, _, rest = text.partition("\n\n")
        for option in re.findall(r"--[a-z][a-z0-9._-]*", usage):
            assert re.search(rf"^  (-\w, )?{re.escape(option)}\b", rest, re.MULTILINE), f"{option} is not explained"
        assert f"neurogen {command.words}" in " ".join(rest.split()), f"neurogen {command.words} --help has no example"
        assert max(map(len, text.splitlines())) <= 140


def test_help_of_training_names_every_setting(help_of: Callable[[str], str]) -> None:
    from NeuroGenLib.atlas.config import AtlasTrainConfig
    from NeuroGenLib.core.config import parameters

    text = help_of("atlas train")
    assert all(f"--{parameter.name}" in text for parameter in parameters(AtlasTrainConfig))


def test_every_example_of_the_help_is_a_valid_line(help_of: Callable[[str], str], tmp_path: Path) -> None:
    """Each option of an example exists: examples that do not run are worse than none."""
    for command in COMMANDS:
        text = help_of(command.words)
        _, _, rest = text.partition("\n\n")
        examples = [line for line in rest.splitlines() if line.strip().startswith("neurogen ")]
        for option in re.findall(r"--[a-z][a-z._-]*", " ".join(examples)):
            assert re.search(rf"^  {option}\b", rest, re.MULTILINE), (
                f"{option} of an example of '{command.words}' does not exist"
            )


def test_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["help"], ["-h"]):
        assert cli.main(arguments) == 0
        text = capsys.readouterr().out
        assert all(f"neurogen {command.words}" in text and command.summary in text for command in COMMANDS)
        assert "research use only" in text
    assert cli.main(["atlas"]) == 0
    text = capsys.readouterr().out
    assert "neurogen atlas train" in text
    assert "neurogen doctor" not in text


def test_version_and_unknown_commands(tmp_path: Path) -> None:
    done = neurogen("--version", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"neurogen {__version__}\n", "")
    wrong = neurogen("atlas", "genrate", "--age", "30", folder=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert "There is no command 'neurogen atlas genrate'." in wrong.stderr
    assert "Did you mean 'atlas generate'?" in wrong.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "meant"), [("atlsa generate", "atlas"), ("demmo", "demo"), ("models donwload x", "models download")]
)
def test_a_mistyped_command_gets_the_nearest_one(words: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words.split()) == 2
    assert f"Did you mean '{meant}'?" in capsys.readouterr().err


def test_debug_shows_the_traceback_and_nothing_else_does(tmp_path: Path) -> None:
    quiet, loud = (neurogen("models", "info", "nothing", *more, folder=tmp_path) for more in ((), ("--debug",)))
    assert quiet.returncode == 2
    assert "Traceback" not in quiet.stderr
    assert loud.returncode == 1
    assert "Traceback" in loud.stderr
    assert "InputError" in loud.stderr
    assert "Code: model-missing" in loud.stderr


@pytest.mark.skipif(os.name == "nt", reason="a pipe that is closed early is POSIX")
def test_a_reader_that_closes_the_pipe_is_not_an_error(tmp_path: Path) -> None:
    """As in `neurogen atlas train --help | head -1`: the other end closes before everything is written."""
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "NeuroGenLib.cli", "atlas", "train", "--help"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command, cwd=tmp_path, env=settings, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_json_is_one_line_on_stdout_and_progress_goes_to_stderr(
    growth: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, out = growth
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    report = json.loads(done.stdout)
    written = {Path(file).name for file in report["written"]}
    assert written == {path.name for path in out.iterdir()}
    assert report["notice"].startswith("It shows ellipsoids.")
    steps = [json.loads(line) for line in done.stderr.splitlines()]
    fractions = [step["progress"] for step in steps]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert any("scan age 28 weeks" in step["message"] for step in steps)


def test_results_are_where_the_box_says(growth: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """Read with nibabel and with SimpleITK: the first voxel's centre is half a voxel inside the box."""
    import SimpleITK

    _, out = growth
    spacing, low = np.array([4.0, 5.0, 8.0]), np.array(BOX[::2], float)
    shape = tuple(int(side) for side in (np.array(BOX[1::2]) - low) / spacing)
    expected = np.diag([*spacing, 1.0])
    expected[:3, 3] = low + spacing / 2
    for name, axes in (("image", (3,)), ("labels", (3,)), ("probabilities", (3, 9))):
        image = nibabel.load(out / f"{name}.nii.gz")
        assert image.shape == (*shape, *axes)
        np.testing.assert_allclose(image.affine, expected, atol=1e-5)
        assert image.header["pixdim"][4] == pytest.approx(4), "the step between ages"
        assert image.header.get_xyzt_units()[0] == "mm"
    itk = SimpleITK.ReadImage(str(out / "labels.nii.gz"))
    to_lps = np.diag([-1.0, -1.0, 1.0])
    np.testing.assert_allclose(itk.GetOrigin()[:3], to_lps @ expected[:3, 3], atol=1e-5)
    np.testing.assert_allclose(np.reshape(itk.GetDirection(), (4, 4))[:3, :3], to_lps, atol=1e-6)
    np.testing.assert_allclose(itk.GetSpacing()[:3], spacing, atol=1e-6)
    array = np.moveaxis(SimpleITK.GetArrayFromImage(itk), (0, 1, 2, 3), (3, 2, 1, 0))
    np.testing.assert_array_equal(array, np.asarray(nibabel.load(out / "labels.nii.gz").dataobj))


def test_results_hold_what_they_say(growth: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, out = growth
    labels = np.asarray(nibabel.load(out / "labels.nii.gz").dataobj)
    probabilities = nibabel.load(out / "probabilities.nii.gz").get_fdata()
    table = LabelTable.from_tsv(out / "labels.tsv")
    assert set(np.unique(labels).tolist()) <= set(table.values)
    assert len(np.unique(labels)) > 2
    assert np.abs(probabilities.sum(-1) - 1).max() < 9 / 255
    likeliest = np.array(table.values)[probabilities.argmax(-1)]
    certain = np.sort(probabilities, -1)[..., -1] - np.sort(probabilities, -1)[..., -2] > 2 / 255
    assert (likeliest[certain] == labels[certain]).mean() > 0.999
    rows = [line.split("\t") for line in (out / "growth.tsv").read_text(encoding="utf-8").splitlines()]
    assert [float(row[0]) for row in rows[1:]] == list(AGES)
    voxel_ml = 4 * 5 * 8 / 1000
    column = rows[0].index("cortical_gray_matter_ml")
    for frame, row in enumerate(rows[1:]):
        counted = np.count_nonzero(labels[..., frame] == table.lookup("cortical_gray_matter").value) * voxel_ml
        assert float(row[column]) == pytest.approx(counted, abs=2e-3)
    record = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    assert record["parameters"]["conditions"] == {"lv_volume_normed": 0.12, "sex": "F"}
    assert record["parameters"]["ages"] == list(AGES)
    assert record["model"]["license"] == "CC0-1.0"
    assert "research use only" in record["notice"]


def test_the_same_line_gives_the_same_volumes(
    growth: tuple[subprocess.CompletedProcess[str], Path], inputs: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process and in the other one; and several values of a condition make a folder each."""
    line = ["atlas", "generate", "--model", str(inputs.model), "--ages", "24:32:4", "--spacing", "4,5,8", "--no-mask"]
    line += ["--set", "sex=F", "--set", "lv_volume_normed=0.12,0.2", "--box", ",".join(map(str, BOX))]
    again = inputs.folder / "again"
    assert cli.main([*line, "--out", str(again), "--progress", "none"]) == 0
    folders = sorted(path.name for path in again.iterdir() if path.is_dir())
    assert folders == ["sex-F_lv_volume_normed-0.12", "sex-F_lv_volume_normed-0.2"]
    first, other = (np.asarray(nibabel.load(again / name / "image.nii.gz").dataobj) for name in folders)
    before = np.asarray(nibabel.load(growth[1] / "image.nii.gz").dataobj)
    np.testing.assert_allclose(first, before, atol=1e-6)
    assert np.abs(first - other).max() > 0.01, "the condition changes the brain"
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_scan_is_fitted_in_its_own_space(inputs: Workspace) -> None:
    """As a batch job reads it: one line of JSON on stdout, progress on stderr."""
    done = neurogen(
        *("atlas", "fit", inputs.image("sub-03"), "--mask", inputs.image("sub-03", "Seg"), "--model", inputs.model),
        *("--set", "sex=M", "--steps", "3", "--out", "fit", "--json", "--progress", "json"),
        folder=inputs.folder,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    report = json.loads(done.stdout)
    out = inputs.folder / "fit"
    assert {Path(file).name for file in report["written"]} == {path.name for path in out.iterdir()}
    assert report["conditions"]["sex"] == {"value": "M", "how": "given", "at_bound": False}
    assert AGES[0] <= report["age"] <= 33
    scan = nibabel.load(inputs.image("sub-03"))
    for name in ("labels", "reconstruction", "atlas", "deviation"):
        image = nibabel.load(out / f"{name}.nii.gz")
        assert image.shape == scan.shape
        np.testing.assert_allclose(image.affine, scan.affine, atol=1e-4)
    found = np.asarray(nibabel.load(out / "labels.nii.gz").dataobj)
    assert not found[np.asarray(nibabel.load(inputs.image("sub-03", "Seg")).dataobj) == 0].any()
    record = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    assert record["parameters"]["steps"] == 3
    assert record["parameters"]["conditions"] == {"sex": "M"}
    assert "research use only" in record["notice"]
    fractions = [json.loads(line)["progress"] for line in done.stderr.splitlines()]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


@pytest.mark.slow
def test_the_demo_writes_volumes_tables_and_pictures(demo: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    import matplotlib.image

    done, out = demo
    assert done.returncode == 0, done.stderr
    assert "research use only" in done.stdout
    assert "Traceback" not in done.stderr
    folders = [path for path in sorted(out.iterdir()) if path.is_dir()]
    assert [folder.name for folder in folders] == [f"lv_volume_normed-{value}" for value in ("0.11", "0.14", "0.17")]
    for folder in folders:
        names = {"image.nii.gz", "labels.nii.gz", "probabilities.nii.gz", "labels.tsv", "growth.tsv", "provenance.json"}
        assert {path.name for path in folder.iterdir()} == names
        assert nibabel.load(folder / "image.nii.gz").shape[3] == 14, "21 to 34 weeks"
    for name in ("atlas.png", "growth.png"):
        assert name in done.stdout
        picture = matplotlib.image.imread(out / name)
        assert min(picture.shape[:2]) > 300
        pixels = (picture[::3, ::3, :3] * 255).astype(np.int64) @ (65536, 256, 1)
        assert len(np.unique(pixels)) > 100, "colours"


def test_brains_of_the_demo_grow_and_their_ventricles_follow_the_condition(
    demo: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    def column(value: str, name: str) -> np.ndarray:
        lines = (demo[1] / f"lv_volume_normed-{value}" / "growth.tsv").read_text(encoding="utf-8").splitlines()
        index = lines[0].split("\t").index(name)
        return np.array([float(line.split("\t")[index]) for line in lines[1:]])

    totals = column("0.14", "total_ml")
    assert totals[-1] > 1.5 * totals[0]
    assert (column("0.17", "ventricles_ml") > column("0.11", "ventricles_ml")).mean() > 0.8


def test_the_bundled_atlas_is_the_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["atlas", "info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["model"] == "bundled:fetal-sba"
    assert facts["age"] == {"name": "scan_age", "unit": "weeks", "minimum": 21.0, "maximum": 34.0}
    assert [condition["name"] for condition in facts["conditions"]] == ["lv_volume_normed"]
    assert cli.main(["cite"]) == 0
    assert "doi:10.12688/openreseurope.13914.1" in capsys.readouterr().out
    assert cli.main(["models", "list"]) == 0
    assert "bundled:fetal-sba" in capsys.readouterr().out
