"""A registration model, and the checkpoints of a training, measured on pairs: tables, picture, resuming, choosing."""

from __future__ import annotations

import csv
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.cli import main
from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.files import read_json
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models.folder import ModelFolder, load_tensors
from NeuroGenLib.registration import infer
from NeuroGenLib.registration.config import RegisterConfig
from NeuroGenLib.registration.evaluation.checkpoints import (
    Checkpoint,
    chosen_checkpoints,
    evaluate_run,
    run_checkpoints,
    selection,
)
from NeuroGenLib.registration.evaluation.cost import Cost
from NeuroGenLib.registration.evaluation.pairs import read_pairs
from NeuroGenLib.registration.evaluation.results import METRICS, Evaluation
from NeuroGenLib.registration.evaluation.table import evaluate_to_folder
from NeuroGenLib.registration.infer import RegistrationModel
from Testing.raising import raises
from Testing.registration_fixtures import table_job, write_scans
from Testing.registration_pairs import a_bent_pair, a_tiny_model
from Testing.sitreg_run import write_sitreg_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = RegisterConfig(start="none", refine=0)
BENCH = Path(__file__).parents[2] / "bench"
TRAINING = Path(__file__).parents[3] / "training"
FIXED_POINTS = np.array([(0.0, 0.0, 0.0), (12.0, -8.0, 4.0), (-10.0, 6.0, 9.0)])
MOVING_POINTS = FIXED_POINTS + np.array([(3.0, 4.0, 0.0), (0.0, 0.0, 2.0), (0.0, 0.0, 0.0)])
COLUMNS = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks", "kind")
THERE = ("a.nii.gz", "b.nii.gz", "a_seg.nii.gz", "b_seg.nii.gz", "a.tsv", "b.tsv", "bent")
BACK = ("b.nii.gz", "a.nii.gz", "b_seg.nii.gz", "a_seg.nii.gz", "n/a", "", "back")


class Calls:
    """Counts how often a model registers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        register = RegistrationModel.register

        def counted(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            return register(*arguments, **options)

        monkeypatch.setattr(RegistrationModel, "register", counted)


@pytest.fixture(scope="module", autouse=True)
def kept_deformations() -> Iterator[None]:
    """Deformations of random weights are kept: they make images less similar."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(infer, "less_similar", lambda *_: False)
        yield


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RegistrationModel:
    """A tiny model with random weights."""
    return a_tiny_model(tmp_path_factory.mktemp("models") / "tiny", gain=2.0)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans, their labels and landmarks, and a table that pairs them in both directions."""
    folder = tmp_path_factory.mktemp("scans")
    pair = a_bent_pair()
    for name, volume in zip(("a", "b", "a_seg", "b_seg"), pair, strict=True):
        volume.save(folder / f"{name}.nii.gz")
    for name, points in (("a", FIXED_POINTS), ("b", MOVING_POINTS)):
        lines = ["x\ty\tz", *("\t".join(map(str, point)) for point in points)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_table(folder / "pairs.tsv", [THERE, BACK])
    return folder


@pytest.fixture
def table(scans: Path, tmp_path: Path) -> Path:
    """A copy of the table and its scans that may be spoiled."""
    return Path(shutil.copytree(scans, tmp_path / "scans")) / "pairs.tsv"


@pytest.fixture(scope="module")
def evaluated(
    scans: Path, model: RegistrationModel, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Evaluation, Path]:
    """Both pairs measured, the network alone."""
    out = tmp_path_factory.mktemp("out")
    return evaluate_to_folder(model, read_pairs(scans / "pairs.tsv"), out, QUICK), out


def write_table(path: Path, rows: Sequence[Sequence[str]], columns: Sequence[str] = COLUMNS) -> None:
    path.write_text("\n".join("\t".join(row) for row in (columns, *rows)) + "\n", encoding="utf-8")


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def overlap(first: np.ndarray, second: np.ndarray) -> dict[int, float]:
    values = sorted({*np.unique(first), *np.unique(second)} - {0})
    return {
        int(value): 2
        * np.sum((first == value) & (second == value))
        / (np.sum(first == value) + np.sum(second == value))
        for value in values
    }


# --- one model ------------------------------------------------------------------------------------------------------


def test_the_scores_are_those_of_the_registration(evaluated, model):
    row = evaluated[0].rows[0]
    pair = a_bent_pair()
    labels = {"fixed_labels": pair.fixed_labels, "moving_labels": pair.moving_labels}
    found = model.register(pair.fixed, pair.moving, settings=QUICK, **labels)
    before = overlap(pair.moving_labels.array, pair.fixed_labels.array)
    after = overlap(found.warped_labels.array, pair.fixed_labels.array)
    assert row["dice_headers"] == pytest.approx(np.mean(list(before.values())))
    assert row["dice_start"] == row["dice_headers"], "nothing was asked to be found first"
    assert row["dice"] == pytest.approx(np.mean(list(after.values())), abs=1e-6)
    assert abs(row["dice"] - row["dice_headers"]) > 1e-4, "the network moves"
    assert row["tre_mm_headers"] == pytest.approx((5 + 2 + 0) / 3)
    moved = np.linalg.norm(found.forward.points(FIXED_POINTS) - MOVING_POINTS, axis=1).mean()
    assert row["tre_mm"] == pytest.approx(moved, abs=1e-6)
    assert row["folded_voxels"] == int((found.jacobian.array <= 0).sum())
    assert 0 < row["inverse_consistency_mm"] < 1
    assert row["wall_s"] > 0
    assert row["cpu_s"] > 0
    by_label = {one["label"]: one for one in evaluated[0].labels if one["fixed"] == "a.nii.gz"}
    assert {label: one["dice"] for label, one in by_label.items()} == pytest.approx(after, abs=1e-6)
    assert {label: one["dice_headers"] for label, one in by_label.items()} == pytest.approx(before)


def test_the_summary_has_mean_and_spread_over_pairs_and_kinds(evaluated):
    found = evaluated[0]
    values = [row["dice"] for row in found.rows]
    numbers = found.summary["metrics"]["dice"]
    assert numbers == {"mean": pytest.approx(np.mean(values)), "sd": pytest.approx(np.std(values)), "pairs": 2}
    assert found.summary["metrics"]["tre_mm"]["pairs"] == 1
    assert set(found.summary["kinds"]) == {"bent", "back"}
    assert found.mean("dice", "back") == found.rows[1]["dice"]
    assert found.mean("tre_mm", "back") is None


def test_everything_is_written(evaluated):
    found, out = evaluated
    assert {path.name for path in out.iterdir()} == {
        "done", "pairs.tsv", "labels.tsv", "summary.json", "evaluation.png", "provenance.json",
    }  # fmt: skip
    rows = read_rows(out / "pairs.tsv")
    assert [(row["fixed"], row["moving"], row["status"]) for row in rows] == [
        ("a.nii.gz", "b.nii.gz", "done"),
        ("b.nii.gz", "a.nii.gz", "done"),
    ]
    assert set(METRICS) < set(rows[0])
    assert float(rows[0]["dice"]) == pytest.approx(found.rows[0]["dice"], rel=1e-4)
    assert rows[1]["tre_mm"] == "n/a"
    assert read_json(out / "summary.json") == found.summary
    assert (out / "evaluation.png").read_bytes()[:4] == b"\x89PNG"
    record = read_json(out / "provenance.json")
    assert record["parameters"]["settings"] == {"start": "none", "refine": 0}
    assert "research use" in record["notice"]


def test_a_label_in_one_map_counts_and_is_said(table, model):
    import nibabel

    path = table.parent / "a_seg.nii.gz"
    stored = nibabel.load(path)
    labels = np.asarray(stored.dataobj).astype(np.int16)
    labels[2:5, 2:5, 2:5] = 77
    nibabel.save(nibabel.Nifti1Image(labels, stored.affine), path)
    write_table(table, [THERE])
    found = evaluate_to_folder(model, read_pairs(table), table.parent / "out", QUICK)
    assert found.rows[0]["labels_in_one_map"] == 1
    alone = next(row for row in found.labels if row["label"] == 77)
    assert (alone["dice"], alone["hd95_mm"]) == (0, "inf")
    assert np.isfinite(found.rows[0]["hd95_mm"])


@pytest.mark.slow
def test_what_is_done_is_not_done_again(table, model, calls):
    out = table.parent / "out"
    first = evaluate_to_folder(model, read_pairs(table), out, QUICK)
    assert calls.count == 2
    again = evaluate_to_folder(model, read_pairs(table), out, QUICK)
    assert calls.count == 2
    assert again == first
    evaluate_to_folder(model, read_pairs(table), out, RegisterConfig(start="none", refine=1))
    assert calls.count == 4, "other settings"
    (table.parent / "b.tsv").write_bytes((table.parent / "b.tsv").read_bytes() + b"\n")
    evaluate_to_folder(model, read_pairs(table), out, QUICK)
    assert calls.count == 5, "a file of the first pair has changed"
    other = a_tiny_model(table.parent / "other", seed=2)
    evaluate_to_folder(other, read_pairs(table), out, QUICK)
    assert calls.count == 7, "other weights"


def test_a_damaged_record_is_done_again(table, model, calls):
    out = table.parent / "out"
    evaluate_to_folder(model, read_pairs(table), out, QUICK)
    next((out / "done").iterdir()).write_text("{", encoding="utf-8")
    found = evaluate_to_folder(model, read_pairs(table), out, QUICK)
    assert calls.count == 3
    assert not found.failed


def test_a_pair_that_fails_does_not_stop_the_rest(table, model, capsys):
    (table.parent / "c.nii.gz").write_bytes((table.parent / "a.nii.gz").read_bytes()[:900])
    write_table(table, [("c.nii.gz", *THERE[1:]), BACK])
    out = table.parent / "out"
    words = ["registration", "evaluate", f"--pairs={table}", f"--model={model.folder.path}", "--start=none"]
    assert main([*words, "--refine=0", f"--out={out}", "--progress=none"]) == 1
    assert "1 of 2 pairs" in capsys.readouterr().err
    rows = read_rows(out / "pairs.tsv")
    assert [row["status"] for row in rows] == ["failed", "done"]
    assert "c.nii.gz" in rows[0]["remarks"]
    assert rows[0]["dice"] == "n/a"
    summary = read_json(out / "summary.json")
    assert (summary["pairs"], summary["failed"], summary["metrics"]["dice"]["pairs"]) == (2, 1, 1)


def test_when_every_pair_fails_nothing_is_written(table, model):
    for name in ("a", "b"):
        (table.parent / f"{name}.nii.gz").write_bytes(b"not an image")
    with raises("file-damaged", "b.nii.gz to a.nii.gz"):
        evaluate_to_folder(model, read_pairs(table), table.parent / "out", QUICK)
    assert not (table.parent / "out").exists()


def test_landmarks_must_correspond(table, model):
    (table.parent / "b.tsv").write_text("x\ty\tz\n1\t2\t3\n", encoding="utf-8")
    write_table(table, [THERE])
    with raises("table-invalid", 3, "b.tsv", 1):
        evaluate_to_folder(model, read_pairs(table), table.parent / "out", QUICK)


class StopAfterFirst(Progress):
    """Asks to stop once half is done."""

    def show(self, step: float, total: float, message: str) -> None:  # noqa: ARG002
        if step / total > 0.55:
            self.cancel()


def test_a_stopped_evaluation_goes_on(table, model, calls):
    out = table.parent / "out"
    with pytest.raises(Cancelled):
        evaluate_to_folder(model, read_pairs(table), out, QUICK, StopAfterFirst())
    assert len(list((out / "done").iterdir())) == 1
    assert not (out / "pairs.tsv").exists()
    before = calls.count
    evaluate_to_folder(model, read_pairs(table), out, QUICK, SILENT)
    assert calls.count == before + 1


def test_the_command_prints_what_it_found(table, model, capsys):
    words = ["registration", "evaluate", f"--pairs={table}", f"--model={model.folder.path}", "--start=none"]
    words += ["--refine=0", f"--out={table.parent / 'out'}", "--progress=none"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "2 of 2 pairs" in said
    assert "research use only" in said
    assert main([*words, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["metrics"]["dice"]["pairs"] == 2
    assert len(content["rows"]) == 2


# --- the table ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "rows", "says"),
    [
        (("fix", "moving"), [("a.nii.gz", "b.nii.gz")], ("name-unknown", "fixed")),
        (("fixed", "movin"), [("a.nii.gz", "b.nii.gz")], ("name-unknown", "movin")),
        (
            ("fixed", "moving", "fixed_label"),
            [("a.nii.gz", "b.nii.gz", "a_seg.nii.gz")],
            ("name-unknown", "fixed_labels"),
        ),
        (
            ("fixed", "moving", "fixed_labels"),
            [("a.nii.gz", "b.nii.gz", "a_seg.nii.gz")],
            ("value-missing", "moving_labels"),
        ),
        (("fixed", "moving"), [("a.nii.gz", "n/a")], ("value-missing", 1, "moving")),
        (("fixed", "moving"), [("a.nii.gz", "b.nii.gz"), ("a.nii.gz", "z.nii.gz")], ("file-missing", 2, "z.nii.gz")),
        (("fixed", "moving"), [("a.nii.gz", "x" * 5000)], ("file-missing",)),
        (("fixed", "moving"), [("a.nii.gz", "b.nii.gz")] * 2, ("value-duplicate", "a.nii.gz", "b.nii.gz")),
    ],
)
def test_bad_tables_are_named(table, columns, rows, says):
    write_table(table, rows, columns)
    with raises(*says):
        read_pairs(table)


def test_other_columns_and_commas_are_fine(table):
    path = table.with_name("pairs.csv")
    path.write_text("moving,fixed,site\na.nii.gz,b.nii.gz,Turku\n", encoding="utf-8")
    (pair,) = read_pairs(path)
    assert (pair.fixed, pair.moving) == (path.parent / "b.nii.gz", path.parent / "a.nii.gz")
    assert pair.fixed_labels is None
    assert pair.kind == ""


# --- checkpoints ----------------------------------------------------------------------------------------------------


@given(
    st.sets(st.integers(1, 60), min_size=1),
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 20)), min_size=1, max_size=4),
)
def test_a_list_names_what_its_pieces_name(there: set[int], pieces: list[tuple[int, int]]) -> None:
    checkpoints = [Checkpoint("epoch", number, Path(f"model_epoch_{number:03d}.pt")) for number in sorted(there)]
    text = ",".join(f"{first}-{first + more}" if more else str(first) for first, more in pieces)
    sets = [there & set(range(first, first + more + 1)) for first, more in pieces]
    if all(sets):
        assert [one.number for one in chosen_checkpoints(checkpoints, text)] == sorted(set.union(*sets))
    else:
        with raises("name-unknown", "epoch"):
            chosen_checkpoints(checkpoints, text)


@pytest.mark.parametrize("text", ["", "last", "3-", "-3", "3;4", "1.5", "9-7"])
def test_what_names_no_checkpoints_is_refused(text):
    with raises("name-unknown" if text == "9-7" else "value-invalid", text):
        chosen_checkpoints([Checkpoint("epoch", 8, Path("model_epoch_008.pt"))], text)


@pytest.fixture(scope="module")
def published_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published run of two epochs; the later one displaces nothing."""
    import torch

    folder = tmp_path_factory.mktemp("published")
    write_sitreg_run(folder, 3)
    path = write_sitreg_run(folder, 4)
    state = torch.load(path, weights_only=True)
    for name, value in state["registration_network"].items():
        if "final" in name:
            value.zero_()
    torch.save(state, path)
    return folder


@pytest.mark.slow
def test_the_best_epoch_of_a_published_run_is_named_and_kept(published_run, table, tmp_path):
    pairs, out = read_pairs(table), tmp_path / "out"
    found = evaluate_run(published_run, None, pairs, "val", out, QUICK, device="cpu")
    assert [row["epoch"] for row in found.rows] == [3, 4]
    still = found.rows[1]
    assert still["dice"] == pytest.approx(still["dice_headers"], abs=1e-6)
    wanted = max((3, 4), key=lambda epoch: found.rows[epoch - 3]["dice"])
    assert (found.best.number, found.by) == (wanted, "dice")
    best = read_json(out / "best.json")
    assert (best["epoch"], best["select"], best["epochs"]) == (wanted, "dice", [3, 4])
    assert best["checkpoint"] == f"model_epoch_00{wanted}.pt"
    assert best["dice"] == found.rows[wanted - 3]["dice"]
    assert ModelFolder.read(out / "best_model").manifest["training"]["epochs"] == wanted
    assert [row["epoch"] for row in read_rows(out / "val" / "checkpoints.tsv")] == ["3", "4"]
    assert (out / "val" / "epoch_003" / "pairs.tsv").is_file()
    assert (out / "val" / "checkpoints.png").read_bytes()[:4] == b"\x89PNG"

    by_points = evaluate_run(published_run, "3-4", pairs, "val", tmp_path / "tre", QUICK, "tre", device="cpu")
    nearest = min((3, 4), key=lambda epoch: by_points.rows[epoch - 3]["tre_mm"])
    assert by_points.best.number == nearest

    later = evaluate_run(published_run, "best", pairs[:1], "test", out, QUICK, device="cpu")
    assert (later.best.number, later.by) == (wanted, None)
    assert (out / "test" / f"epoch_00{wanted}" / "summary.json").is_file()
    assert read_json(out / "best.json") == best


@pytest.mark.slow
def test_steps_of_an_own_run_are_compared(table, tmp_path, capsys):
    from NeuroGenLib.registration.train import train

    run = tmp_path / "run"
    config = table_job(write_scans(tmp_path / "heads"), run, train={"checkpoint_steps": 2})
    train(config)
    assert [(one.unit, one.number) for one in run_checkpoints(run)] == [("step", 2), ("step", 4)]
    out = tmp_path / "out"
    words = ["registration", "evaluate", f"--pairs={table}", f"--run={run}", "--start=none", "--device=cpu"]
    words += [f"--out={out}", "--progress=none"]
    assert main([*words, "--steps=4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["best"] == {"step": 4, "by": "dice"}
    ours, theirs = (load_tensors(ModelFolder.read(folder)) for folder in (out / "best_model", run / "model"))
    assert all((ours[name] == value).all() for name, value in theirs.items())
    assert main([*words, "--epochs=4"]) == 2
    assert "counts steps" in capsys.readouterr().err
    # Before the run has ended there is no model: its data say how images get ready.
    shutil.rmtree(run / "model")
    assert main([*words, "--steps=2-4", "--select=similarity"]) == 0
    assert "Best by similarity" in capsys.readouterr().out
    assert ModelFolder.read(out / "best_model").manifest["preparation"]["grid"] == [16, 18, 14]


def test_checkpoints_are_chosen_by_what_the_pairs_have(table):
    pairs = read_pairs(table)
    assert selection(None, pairs) == "dice"
    assert selection("tre", pairs) == "tre"
    write_table(table, [("a.nii.gz", "b.nii.gz")], ("fixed", "moving"))
    bare = read_pairs(table)
    assert selection(None, bare) == "similarity"
    with raises("value-missing", "fixed_landmarks"):
        selection("tre", bare)


def test_a_best_epoch_must_be_known(published_run, table, tmp_path):
    with raises("file-missing", "best.json"):
        evaluate_run(published_run, "best", read_pairs(table), "val", tmp_path / "out", QUICK)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--run={run}", "--model=x"], "--model and --run"),
        (["--run={run}", "--epochs=3", "--steps=3"], "--epochs and --steps"),
        (["--epochs=3"], "--run"),
        (["--select=dice"], "--run"),
        (["--run={run}/none"], "no run folder"),
        (["--run={scans}"], "no checkpoint"),
        (["--run={run}", "--epochs=9"], "There are: 3, 4"),
        (["--refine=many"], "'many'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(published_run, table, tmp_path, capsys, options, says):
    given = [option.format(run=published_run, scans=table.parent) for option in options]
    out = tmp_path / "out"
    assert main(["registration", "evaluate", f"--pairs={table}", f"--out={out}", *given]) == 2
    assert says in capsys.readouterr().err
    assert not out.exists()


# --- cost and bench -------------------------------------------------------------------------------------------------


def test_cost_sees_time_and_memory():
    with Cost() as small:
        time.sleep(0.02)
    with Cost() as large:
        np.ones(30_000_000)
    assert small.wall_s >= 0.02
    assert small.cpu_s < 0.02
    assert large.peak_gpu_mib is None
    if small.peak_memory_mib is not None and Path("/proc/self/clear_refs").exists():
        assert large.peak_memory_mib - small.peak_memory_mib > 200


@pytest.fixture
def bench_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bench is made of scripts: their folder is on the path, as when they are run."""
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.mark.usefixtures("bench_folder")
def test_the_bench_runs(capsys):
    from bench_registration import main as bench

    bench(["--quick"])
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| 16x24x16")]
    assert [row[3].strip() for row in rows] == ["once", "twice", "ratio"]
    assert float(rows[0][2].split()[0]) > 0.5, "voxels: something is displaced, and must be inverted"


@pytest.mark.usefixtures("bench_folder")
def test_adult_scans_are_moved_heads_without_skull(tmp_path):
    from peers.pairs import read_pairs as bench_pairs
    from registration_adult import main as adult

    from NeuroGenLib.spatial.volume import Volume
    from Testing.registration_fixtures import ball

    shape = (48, 50, 46)
    centre = (np.array(shape) - 1) / 2
    head = np.zeros(shape, np.int16)
    for value, radius in ((258, 20), (24, 16), (3, 14), (2, 10)):
        head[ball(shape, centre, radius)] = value
    maps = tmp_path / "maps"
    for name, axcodes in (("m1", "LIA"), ("m2", "RAS")):
        Volume(head, np.diag([1.5, 1.5, 1.5, 1])).reorient(axcodes).save(maps / f"{name}.nii.gz")
    out = tmp_path / "out"
    adult([f"--maps={maps}", "--ids", "m1", "m2", f"--data={tmp_path / 'none'}", f"--out={out}"])
    kinds = [pair.kind for pair in bench_pairs(out / "bench_pairs.tsv")]
    assert kinds == ["adult", "adult", "adult-cross", "adult-cross"]
    pairs = read_pairs(out / "pairs.tsv")
    assert all(pair.fixed_labels is not None for pair in pairs)
    cross = pairs[-1]
    assert {cross.fixed.name[-10:], cross.moving.name[-10:]} == {"T1w.nii.gz", "T2w.nii.gz"}
    image, labels = Volume.load(cross.fixed), Volume.load(cross.fixed_labels)
    assert set(np.unique(labels.array)) == {0, 2, 3}
    assert (image.array[labels.array == 2] > 0).mean() > 0.9
    other = Volume.load(cross.moving_labels)
    middles = [one.voxel_to_world(np.argwhere(one.array == 2).mean(axis=0)) for one in (labels, other)]
    assert np.linalg.norm(middles[0] - middles[1]) > 2, "heads are moved, in mm"


def test_the_card_compares_alone_and_refined(evaluated, monkeypatch):
    monkeypatch.syspath_prepend(str(TRAINING))
    from bundle_registration import card_rows, card_text

    rows = card_rows(evaluated[0], evaluated[0])
    assert [row["pairs"] for row in rows] == ["bent (1)", "back (1)"]
    dice = evaluated[0].rows[0]["dice"]
    assert rows[0]["network alone"] == rows[0]["refined"] == f"{dice:.3f}"
    assert rows[0]["folded voxels, alone / refined"] == "0 / 0"
    assert "120 steps" in card_text(evaluated[0], 120)


def test_a_model_is_bundled_with_its_numbers(table, model, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(TRAINING))
    import bundle_registration
    import bundling

    write_table(table, [THERE])
    monkeypatch.setattr(bundling, "MODELS", tmp_path / "models")
    run = {"kind": "bent", "fixed": "one", "moving": "other", "dice": 0.25, "cpu_s": 7.0, "folded_voxels": 3}
    (tmp_path / "results.json").write_text(json.dumps({"rows": [{**run, "program": "elastix"}]}), encoding="utf-8")
    monkeypatch.setattr(bundle_registration, "RegisterConfig", lambda refine=3: RegisterConfig("none", refine))
    options = [f"--model={model.folder.path}", f"--pairs={table}", f"--out={tmp_path / 'card'}", "--name=tiny"]
    options += ["--command=python training/train_registration.py", "--config-file=settings.yaml"]
    options += ["--peers", str(tmp_path / "results.json")]
    monkeypatch.setattr("sys.argv", ["bundle_registration.py", *options])
    bundle_registration.main()
    folder = ModelFolder.read(tmp_path / "models" / "tiny")
    assert all((load_tensors(model.folder)[name] == value).all() for name, value in load_tensors(folder).items())
    card = (folder.path / "README.md").read_text(encoding="utf-8")
    alone, refined = (read_json(tmp_path / "card" / name / "summary.json") for name in ("network", "refined"))
    for summary in (alone, refined):
        assert f"{summary['metrics']['dice']['mean']:.3f}" in card
    assert alone["metrics"]["dice"]["mean"] != refined["metrics"]["dice"]["mean"]
    assert "3 steps of optimisation" in card
    assert "settings.yaml" in card
    assert "| elastix |" in card
    assert "0.250 / 7, 3 folded" in card
    assert str(tmp_path) not in card
    assert "bent (1)" in capsys.readouterr().out
