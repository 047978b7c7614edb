"""Validation while an atlas is trained: it is recorded, changes nothing, goes on, and refuses who is trained on."""

from __future__ import annotations

import csv
import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import nibabel
import numpy as np
import pytest
import torch

from NeuroGenLib.atlas.evaluation.validation import spread
from NeuroGenLib.atlas.train import train
from NeuroGenLib.cohort.subjects import Cohort
from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.models import open_model
from NeuroGenLib.models.folder import ModelFolder, load_tensors
from NeuroGenLib.training.metrics_log import read_metrics
from Testing.atlas_fixtures import MODALITIES, PEOPLE, AtlasCohort, Person, write_cohort
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.atlas.config import AtlasTrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")

LEFT_OUT = Person("sub-11", 27.8, 0.95, 0.5, "M", (16, 18, 14))
STEPS, EVERY = 6, 4
DUE = (4, 6)
"""Every four steps, and at the last."""


class Run(NamedTuple):
    """A run folder, and the weights of its model."""

    folder: Path
    weights: dict[str, torch.Tensor]


class Stopper(Progress):
    """Asks to stop once a message is shown."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    def show(self, step: float, total: float, message: str) -> None:  # noqa: ARG002
        if self._words in message:
            self.cancel()


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> AtlasCohort:
    """The people of the tiny atlas, and one who is left out."""
    return write_cohort(tmp_path_factory.mktemp("five"), (*PEOPLE, LEFT_OUT))


def job(people: AtlasCohort, out: Path, data: dict[str, Any] | None = None, **validation: Any) -> AtlasTrainConfig:
    """Return a job of a few steps that validates with the one who is left out."""
    config = people.config(
        out,
        train={"out": str(out), "steps": STEPS, "log_every": 3},
        optimiser={"points": 400},
        top={"validation": {"every": EVERY, "subjects": ["sub-11"], "steps": 2, "trained": 2} | validation},
    )
    changes = {"exclude": ("sub-11",)} if data is None else data
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))


def trained(config: AtlasTrainConfig) -> Run:
    train(config)
    return Run(config.train.out, load_tensors(ModelFolder.read(config.train.out / "model")))


@pytest.fixture(scope="module")
def run(five: AtlasCohort, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with two validations."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    done = trained(job(five, tmp_path_factory.mktemp("validated") / "run"))
    torch.set_num_threads(before)
    return done


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def at(run: Run, step: int) -> Path:
    return run.folder / "validation" / f"step={step:06d}"


def same_weights(one: Run, other: Run) -> bool:
    return one.weights.keys() == other.weights.keys() and all(
        torch.equal(one.weights[name], other.weights[name]) for name in one.weights
    )


# --- what is recorded -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_scores_stand_in_the_rows_of_their_steps(run):
    rows = {int(row["step"]): row for row in read_metrics(run.folder / "metrics.csv")}
    assert set(rows) == {1, 3, *DUE}, "also where log_every is not due"
    assert not any(name.startswith(("validation/", "trained/")) for name in rows[3])
    images = {f"{kind}_{name}" for kind in ("psnr", "ssim") for name in MODALITIES}
    fitted = {"fitted_dice", *(f"fitted_{name}" for name in images), "age_error"}
    expected = {f"validation/{name}" for name in {*images, "dice", "dice_before_alignment", *fitted}}
    expected |= {f"trained/{name}" for name in {*images, "dice"}}
    for step in DUE:
        assert {name for name in rows[step] if name.startswith(("validation/", "trained/"))} == expected
        for kind in ("validation", "trained"):
            mean = table(at(run, step) / f"{kind}.tsv")[-1]
            assert mean["subject"] == "mean"
            for name in expected:
                if name.startswith(kind):
                    assert rows[step][name] == float(mean[name.partition("/")[2]])


def test_each_validation_leaves_tables_a_picture_and_volumes(run):
    assert {path.name for path in (run.folder / "validation").iterdir()} == {"step=000004", "step=000006"}
    for step in DUE:
        names = {path.name for path in at(run, step).iterdir()}
        assert names == {"validation.tsv", "validation.png", "trained.tsv", "fitted", "trained"}
        assert (at(run, step) / "validation.png").read_bytes().startswith(b"\x89PNG")
        assert [path.name for path in (at(run, step) / "fitted").iterdir()] == ["sub-11"]
        assert (at(run, step) / "fitted" / "sub-11" / "fit.json").is_file()
        assert {path.name for path in (at(run, step) / "trained").iterdir()} == {"sub-01", "sub-04"}, "of all ages"


def test_a_training_subject_is_compared_with_itself(run):
    """Dice of the large label counted from the file, on the subject's own grid: turned, left-handed or not."""
    for row, person in zip(table(at(run, 6) / "trained.tsv"), (PEOPLE[0], PEOPLE[3]), strict=False):
        assert row["subject"] == person.id
        _, labels = person.head()
        image = nibabel.load(at(run, 6) / "trained" / person.id / "labels.nii.gz")
        np.testing.assert_allclose(image.affine, labels.affine, atol=1e-4)
        found, own = np.asarray(image.dataobj) == 5, labels.array == 5
        expected = 2 * (found & own).sum() / (found.sum() + own.sum())
        assert float(row["dice_cortical_gray_matter"]) == pytest.approx(expected, abs=1e-4)


def test_a_training_subject_is_drawn_at_its_own_voxels_inside_its_brain(run):
    """In the scan's units; what a fine grid in the subject's space, drawn by `reconstruct`, has at the same places."""
    model = open_model(str(run.folder / "model"), device="cpu")
    for row, person in ((0, PEOPLE[0]), (3, PEOPLE[3])):
        images, labels = person.head()
        brain = labels.array > 0
        fine = model.reconstruct(row, 1.5, masked=False)
        for channel, name in enumerate(MODALITIES):
            offset, factor = model.subjects[row]["scaling"][channel]
            expected = offset + factor * fine.images[name].resample(like=labels).array
            drawn = nibabel.load(at(run, 6) / "trained" / person.id / f"reconstruction_{name}.nii.gz").get_fdata()
            assert (drawn[~brain] == 0).all()
            apart = np.abs(drawn - expected)[brain]
            assert np.median(apart) < 0.01 * np.ptp(images[name].array)
        found = np.asarray(nibabel.load(at(run, 6) / "trained" / person.id / "labels.nii.gz").dataobj)
        assert (found[~brain] == 0).all()
        same = found == fine.labels.resample(like=labels, order=0).array
        assert same[brain].mean() > 0.9


@pytest.mark.slow
def test_volumes_and_training_subjects_can_be_left_out(five, tmp_path):
    few = trained(job(five, tmp_path / "run", every=STEPS, volumes=False, trained=0))
    assert {path.name for path in at(few, STEPS).iterdir()} == {"validation.tsv", "validation.png"}
    (*_, row) = read_metrics(few.folder / "metrics.csv")
    assert "validation/fitted_dice" in row
    assert not any(name.startswith("trained/") for name in row)


# --- what it must not change ----------------------------------------------------------------------------------------


def test_validation_does_not_change_the_training(run, five, tmp_path):
    plain = trained(job(five, tmp_path / "run", every=None))
    assert same_weights(run, plain)
    assert not (plain.folder / "validation").exists()


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_with_its_validations(run, five, tmp_path):
    config = job(five, tmp_path / "run", volumes=False)
    with raises("cancelled", 5, STEPS, kind=Cancelled):
        train(config, Stopper("step 4, loss"))
    assert (tmp_path / "run" / "validation" / "step=000004" / "validation.tsv").is_file()
    again = trained(config)
    assert same_weights(run, again)
    assert read_metrics(again.folder / "metrics.csv") == read_metrics(run.folder / "metrics.csv")
    for step in DUE:
        assert table(at(again, step) / "validation.tsv") == table(at(run, step) / "validation.tsv")


@pytest.mark.slow
def test_a_validation_that_is_cancelled_is_given_up_and_the_run_goes_on_later(run, five, tmp_path):
    config = job(five, tmp_path / "run", volumes=False)
    with raises("cancelled", 4, STEPS, kind=Cancelled):
        train(config, Stopper("validating with sub-11"))
    assert (tmp_path / "run" / "model" / "neurogen.json").is_file(), "a run that validates always has a model"
    assert not (tmp_path / "run" / "validation" / "step=000004").exists()
    again = trained(config)
    assert same_weights(run, again)
    assert {path.name for path in (tmp_path / "run" / "validation").iterdir()} == {"step=000006"}


# --- whom it takes --------------------------------------------------------------------------------------------------


def test_subjects_are_spread_over_age(five):
    cohort = Cohort.from_table(five.table, (*MODALITIES, "Seg"))
    ages = {person.id: person.age for person in five.people}

    def chosen(most: int) -> list[float]:
        return sorted(ages[name] for name in spread(cohort, "scan_age", most).ids)

    assert chosen(2) == [24.0, 32.0]
    assert chosen(3) == [24.0, 27.8, 32.0]
    assert chosen(9) == sorted(ages.values())
    assert len(chosen(1)) == 1


SPLITS = "train: [sub-01, sub-02, sub-03, sub-04]\nval: [sub-11]\ntest: []\nboth: [sub-1]\n"


@pytest.mark.parametrize(
    ("data", "validation", "error"),
    [
        ({}, {}, ("value-conflict", "sub-11")),
        (None, {"subjects": ["sub-01"]}, ("value-conflict", "sub-01")),
        (None, {"subjects": []}, ("value-missing", "validation.every", "data.splits", "validation.subjects")),
        (None, {"subjects": ["sub-99"]}, ("name-unknown", "sub-99")),
        ({"splits": "splits.yaml", "split": "train"}, {"subjects": [], "split": "tests"}, ("name-unknown", "'tests'")),
    ],
    ids=["trained on", "validated with", "none", "unknown", "split"],
)
def test_subjects_that_cannot_be_validated_with_are_refused_before_the_first_step(
    five, tmp_path, data, validation, error
):
    (tmp_path / "splits.yaml").write_text(SPLITS, encoding="utf-8")
    if data and "splits" in data:
        data = {**data, "splits": tmp_path / "splits.yaml"}
    with raises(*error):
        train(job(five, tmp_path / "run", data, **validation))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("\t27.8\t", "\t60\t", ("model-range", "sub-11", 60)),
        ("\t27.8\t0.5\t", "\t27.8\tn/a\t", ("value-missing", "sub-11", "'ventricles'")),
        ("sub-11_Seg.nii", "gone.nii", ("file-missing", "gone.nii")),
        ("sub-11_Seg.nii", "sub-03_Seg.nii", ("geometry-mismatch", "T2w of sub-11", "Seg of sub-11")),
    ],
    ids=["age", "condition", "file", "grid"],
)
def test_what_the_first_validation_would_refuse_is_refused_before_the_first_step(five, tmp_path, old, new, error):
    text = five.table.read_text(encoding="utf-8")
    assert old in text
    changed = tmp_path / "participants.tsv"
    changed.write_text(text.replace(old, new).replace("sub-", f"{five.table.parent}/sub-"), encoding="utf-8")
    rows = [line.replace(f"{five.table.parent}/sub-", "sub-", 1) for line in changed.read_text("utf-8").splitlines()]
    changed.write_text("\n".join(rows) + "\n", encoding="utf-8")
    config = job(five, tmp_path / "run")
    with raises(*error):
        train(dataclasses.replace(config, data=dataclasses.replace(config.data, table=changed)))
    assert not (tmp_path / "run").exists()
