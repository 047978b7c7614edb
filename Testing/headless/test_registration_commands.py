"""`neurogen registration run` and `apply` as processes: what they write and say, and that both agree."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
import SimpleITK

from NeuroGenLib import cli, models
from NeuroGenLib.mask.infer import BrainMask
from NeuroGenLib.spatial.files.landmarks import read_point_file
from NeuroGenLib.spatial.files.spatial_maps import read_transform
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import oblique, reoriented
from Testing.registration_pairs import a_bent_pair, a_tiny_model

if TYPE_CHECKING:
    from NeuroGenLib.core.progress import Progress

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}

PAUSED_REGISTRATION = """
import sys, time
from pathlib import Path
from NeuroGenLib import cli, models
from NeuroGenLib.registration import infer
def pause(*_, **__):
    Path("paused").touch()
    time.sleep(600)
infer.measure_quality = pause
sys.exit(cli.main())
"""


def neurogen(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "NeuroGenLib.cli", *map(str, words)]
    return subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, encoding="utf-8", check=False
    )


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair of scans with labels, the moving ones tilted and left-handed; points of the moving one; a tiny model."""
    folder = tmp_path_factory.mktemp("registration")
    pair = a_bent_pair()
    for name, volume in pair._asdict().items():
        placed = reoriented(oblique(volume, 8), "LAS") if name.startswith("moving") else volume
        nibabel.save(nibabel.Nifti1Image(placed.array, placed.affine), folder / f"{name}.nii.gz")
    text = "# Markups fiducial file version = 5.0\n# CoordinateSystem = LPS\n# columns = id,x,y,z,label\n"
    (folder / "marks.fcsv").write_text(f"{text}1,-4,6,3,left\n2,5,-9,-2,right\n", encoding="utf-8")
    a_tiny_model(folder / "model")
    return folder


LABELS = ("--fixed-labels=fixed_labels.nii.gz", "--moving-labels=moving_labels.nii.gz")


@pytest.fixture(scope="module")
def said(workplace: Path) -> str:
    """What a run printed that wrote the folder ``result``."""
    done = neurogen(
        workplace,
        *("registration", "run", "fixed.nii.gz", "moving.nii.gz", *LABELS, "--points=marks.fcsv"),
        *("--model=model", "--refine=3", "--device=cpu", "--out=result"),
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_run_says_how_good_it_is_and_what_it_is_for(workplace: Path, said: str) -> None:
    lines = said.splitlines()
    assert lines[0].split() == ["headers", "start", "registered"]
    dice = next(line for line in lines if line.startswith("Dice"))
    stages = [float(word) for word in dice.split()[1:]]
    facts = json.loads((workplace / "result" / "quality.json").read_text(encoding="utf-8"))
    assert stages == pytest.approx([facts["dice"][stage]["mean"] for stage in lines[0].split()], abs=1e-3)
    assert stages[0] < stages[2], "the head was tilted"
    assert any(line.startswith("Folded voxels: 0") for line in lines)
    assert "For research use only" in lines[-1]
    files = {path.name for path in (workplace / "result").iterdir()}
    assert {"warped.nii.gz", "warped_labels.nii.gz", "forward.h5", "inverse.h5", "points.fcsv"} <= files
    assert all(f"  {name}" in lines for name in files)


def test_apply_repeats_what_the_run_wrote(workplace: Path, said: str) -> None:
    assert said
    done = neurogen(
        workplace,
        *("registration", "apply", "result/forward.h5", "--like=fixed.nii.gz", "moving.nii.gz"),
        *("--points=marks.fcsv", "--out=again"),
    )
    assert done.returncode == 0, done.stderr
    assert "moving scan into the space of the fixed one" in done.stdout
    assert "For research use only" in done.stdout
    again, warped = voxels(workplace / "again" / "moving_carried.nii.gz"), voxels(workplace / "result/warped.nii.gz")
    assert np.abs(again - warped).mean() < 1e-3 * warped.max()
    points = [read_point_file(workplace / name).points for name in ("again/marks_carried.fcsv", "result/points.fcsv")]
    np.testing.assert_allclose(*points, atol=1e-4)
    forward = read_transform(workplace / "result" / "forward.h5")
    np.testing.assert_allclose(forward.points(points[0]), [(4, -6, 3), (-5, 9, -2)], atol=0.2)

    labels = neurogen(
        workplace,
        *("registration", "apply", "result/forward.h5", "--labels", "moving_labels.nii.gz"),
        *("--like=fixed.nii.gz", "--out=again/labels.nii.gz", "--json"),
    )
    assert labels.returncode == 0, labels.stderr
    assert json.loads(labels.stdout)["transforms"] == {"label maps": "result/forward.h5"}
    made, expected = voxels(workplace / "again/labels.nii.gz"), voxels(workplace / "result/warped_labels.nii.gz")
    assert made.dtype == expected.dtype
    assert (made != expected).mean() < 1e-3
    record = json.loads((workplace / "again" / "labels_provenance.json").read_text(encoding="utf-8"))
    assert record["parameters"]["order"] == 0


def test_the_other_way_and_back(workplace: Path, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said
    folder = workplace / "back"
    line = ["registration", "apply", str(workplace / "result" / "forward.h5"), "--inverse"]
    images = [str(workplace / "fixed_labels.nii.gz"), "--labels", f"--like={workplace / 'moving.nii.gz'}"]
    assert cli.main([*line, *images, f"--out={folder}"]) == 0
    assert f"label maps by {workplace / 'result' / 'inverse.h5'}" in capsys.readouterr().out
    carried, own = voxels(folder / "fixed_labels_carried.nii.gz"), voxels(workplace / "moving_labels.nii.gz")
    assert nibabel.load(folder / "fixed_labels_carried.nii.gz").shape == own.shape
    overlap = 2 * ((carried > 0) & (own > 0)).sum() / ((carried > 0).sum() + (own > 0).sum())
    assert overlap > 0.9
    points = workplace / "result" / "points.fcsv"
    assert cli.main([*line, f"--points={points}", f"--out={folder / 'marks.fcsv'}"]) == 0
    assert "fixed scan into the space of the moving one" in capsys.readouterr().out
    np.testing.assert_allclose(read_point_file(folder / "marks.fcsv").points, [(4, -6, 3), (-5, 9, -2)], atol=0.2)


def test_points_follow_another_programs_affine(tmp_path: Path) -> None:
    """Without a file of the other direction, an affine transform is inverted: moving points come to the fixed scan."""
    turn = SimpleITK.Euler3DTransform((0, 0, 0), 0.1, -0.2, 0.3, (4, 5, -6))
    SimpleITK.WriteTransform(turn, str(tmp_path / "0GenericAffine.tfm"))
    (tmp_path / "p.csv").write_text("name,x,y,z\na,10,20,30\n", encoding="utf-8")
    assert cli.main(["registration", "apply", str(tmp_path / "0GenericAffine.tfm"), f"--points={tmp_path / 'p.csv'}",
                     f"--out={tmp_path / 'q.csv'}"]) == 0  # fmt: skip
    x, y, z = read_point_file(tmp_path / "q.csv").points[0]
    back = turn.TransformPoint((-x, -y, z))
    np.testing.assert_allclose((-back[0], -back[1], back[2]), (10, 20, 30), atol=1e-4)


@pytest.mark.slow
def test_an_image_registered_to_itself_stays(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = str(workplace / "fixed.nii.gz")
    words = ["registration", "run", scan, scan, f"--model={workplace / 'model'}", "--refine=60", "--format=nii.gz"]
    assert cli.main([*words, f"--out={tmp_path / 'same'}", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["folded_voxels"] == 0
    field = voxels(tmp_path / "same" / "forward.nii.gz")
    assert nibabel.load(tmp_path / "same" / "forward.nii.gz").header["intent_code"] == 1006
    head = voxels(workplace / "fixed_labels.nii.gz") > 0
    assert np.linalg.norm(field[:, :, :, 0], axis=-1)[head].mean() < 0.3


@pytest.mark.skipif(find_spec("slicer") is None, reason="a scene needs slicer-core")
def test_a_scene_lies_where_it_was_asked_for_or_nothing_is_written(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = [str(workplace / "fixed.nii.gz"), str(workplace / "moving.nii.gz")]
    words = ["registration", "run", *scans, f"--model={workplace / 'model'}", "--start=none", "--refine=0"]
    places = [f"--out={tmp_path / 'out'}", f"--scene={tmp_path / 'scenes' / 'pair.mrb'}"]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("NeuroGenLib.scenes.registration.write_registration_scene", full)
        assert cli.main([*words, *places]) == 1
    assert "No space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert cli.main([*words, *places]) == 0
    assert str(tmp_path / "scenes" / "pair.mrb") in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "scenes" / "pair.mrb") as scene:
        assert any(name.endswith(".mrml") for name in scene.namelist())


class HalfHead:
    """Stands for the brain mask model: the brain is what is bright, and it is not sure."""

    def find(self, image: Volume, progress: Progress) -> BrainMask:
        progress.update(1, 1, "found")
        return BrainMask(image.with_array((image.array > 20).astype(np.uint8)), 900.0, 0.6, ["Look at it."])


def test_masks_are_found_where_none_is_given(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = models.open_model
    monkeypatch.setattr(
        "NeuroGenLib.commands.registration.run.open_model",
        lambda name, *more, **how: HalfHead() if "mask" in str(name) else real(name, *more, **how),
    )
    words = ["registration", "run", str(workplace / "fixed.nii.gz"), str(workplace / "moving.nii.gz"), "--mask=auto"]
    own = f"--moving-mask={workplace / 'moving_labels.nii.gz'}"
    model = f"--model={workplace / 'model'}"
    assert cli.main([*words, own, model, "--refine=0", "--start=none", f"--out={tmp_path / 'out'}"]) == 0
    assert "Note: Mask of the fixed image: Look at it." in capsys.readouterr().out
    assert (voxels(tmp_path / "out" / "fixed_mask.nii.gz") == (voxels(workplace / "fixed.nii.gz") > 20)).all()
    assert not (tmp_path / "out" / "moving_mask.nii.gz").exists(), "it was given"
    record = json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))
    assert record["parameters"]["mask"] == "auto"
    assert record["warnings"][0].endswith("Look at it.")


@pytest.mark.parametrize(("volume_ml", "confidence", "named"), [(26.0, 0.97, "26 ml"), (1400.0, 0.55, "0.55")])
def test_an_implausible_mask_ends_the_command_before_the_registration(
    volume_ml: float,
    confidence: float,
    named: str,
    workplace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def implausible(_: HalfHead, image: Volume, __: Progress) -> BrainMask:
        return BrainMask(image.with_array(np.ones(image.shape, np.uint8)), volume_ml, confidence, [])

    real = models.open_model
    monkeypatch.setattr(HalfHead, "find", implausible)
    monkeypatch.setattr(
        "NeuroGenLib.commands.registration.run.open_model",
        lambda name, *more, **how: HalfHead() if "mask" in str(name) else real(name, *more, **how),
    )
    images = [str(workplace / "fixed.nii.gz"), str(workplace / "moving.nii.gz")]
    words = ["registration", "run", *images, "--mask=auto", f"--model={workplace / 'model'}"]
    assert cli.main([*words, f"--out={tmp_path / 'out'}"]) == 2
    problem = capsys.readouterr().err
    assert "fixed" in problem
    assert named in problem
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGKILL", -9)])
def test_a_stop_in_the_middle_leaves_nothing(number: str, code: int, workplace: Path, tmp_path: Path) -> None:
    words = ["registration", "run", workplace / "fixed.nii.gz", workplace / "moving.nii.gz", "--start=none"]
    command = [*words, f"--model={workplace / 'model'}", "--refine=0", "--out=out/deep"]
    process = subprocess.Popen(
        [sys.executable, "-c", PAUSED_REGISTRATION, *map(str, command)],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not (tmp_path / "paused").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(getattr(signal, number))
        _, errors = process.communicate()
    finally:
        process.kill()
    assert process.returncode == code
    assert "Traceback" not in errors
    # What a killed process could not remove has hidden names; the next command that writes there takes it away.
    left = [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert left == [tmp_path / "paused"]
    if code > 0:
        assert list(tmp_path.iterdir()) == left


@pytest.mark.skipif(os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_refused_before_the_work(workplace: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    done = neurogen(workplace, "registration", "run", "a.nii", "b.nii", f"--out={tmp_path / 'locked' / 'out'}")
    assert done.returncode == 1
    assert "locked" in done.stderr


PLANS = {
    "nothing": ([], "There is nothing to transform"),
    "no grid": (["a.nii.gz", "--out=out"], "--like"),
    "order of labels": (["a.nii.gz", "--like=b.nii", "--labels", "--order=3", "--out=out"], "--order"),
    "one file for two": (["a.nii.gz", "b.nii", "--like=c.nii", "--out=x.nii.gz"], "there are 2"),
    "one name twice": (["1/a.nii.gz", "2/a.nii.gz", "--like=c.nii", "--out=x"], "one by one"),
    "the input replaced": (["a.nii.gz", "--like=c.nii", "--out=a.nii.gz"], "would be overwritten"),
    "an image as points": (["--points=p.tsv", "--out=x.nii.gz"], ".tsv"),
    "points as another kind": (["--points=p.tsv", "--out=x.fcsv"], "Points stay in their format"),
    "an image into points": (["a.nii.gz", "--like=c.nii", "--out=x.tsv"], "cannot hold an image"),
    "another suffix": (["a.nii.gz", "--like=c.nii", "--out=x.mha"], "not written"),
}


@pytest.mark.parametrize("name", PLANS)
def test_plans_that_cannot_be_are_refused_before_anything_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words, says = PLANS[name]
    words = words if any(word.startswith("--out") for word in words) else [*words, "--out=out"]
    assert cli.main(["registration", "apply", "forward.h5", *words]) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_help_explains_which_way_things_go(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["registration", "apply", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "points of the moving scan into the space of the fixed one" in text
    assert "points need the other direction" in text


@pytest.mark.parametrize(("name", "unit"), [("bold.nii.gz", "sec"), ("bold.nii", "msec")])
def test_a_series_keeps_its_repetition_time(name: str, unit: str, tmp_path: Path) -> None:
    SimpleITK.WriteTransform(SimpleITK.TranslationTransform(3, (1.0, 0.0, 0.0)), str(tmp_path / "shift.tfm"))
    series = np.random.default_rng(0).random((3, 6, 7, 8)).astype(np.float32)
    Volume(series, np.diag([20.0, 20, 20, 1])).save(tmp_path / name, frame_spacing=0.72, frame_unit=unit)
    Volume(series[0], np.diag([20.0, 20, 20, 1])).save(tmp_path / "fixed.nii.gz")
    words = ["registration", "apply", str(tmp_path / "shift.tfm"), str(tmp_path / name)]
    assert cli.main([*words, f"--like={tmp_path / 'fixed.nii.gz'}", f"--out={tmp_path / 'carried.nii.gz'}"]) == 0
    header = nibabel.load(tmp_path / "carried.nii.gz").header
    assert header.get_zooms()[3] == pytest.approx(0.72)
    assert header.get_xyzt_units() == ("mm", unit)
