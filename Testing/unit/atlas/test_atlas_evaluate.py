"""An atlas compared with people who were left out of its training: the table, the picture, and what is refused."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import nibabel
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from NeuroGenLib.atlas.config import EvaluateConfig, FitConfig
from NeuroGenLib.atlas.evaluation.figure import MOST_SHOWN, Comparison, evaluation_figure
from NeuroGenLib.atlas.evaluation.table import (
    EvaluationRow,
    dice_columns,
    evaluate_to_folder,
    intensity_metrics,
    mean_row,
    overlaps,
)
from NeuroGenLib.atlas.infer import AtlasModel
from NeuroGenLib.cohort.subjects import Cohort
from NeuroGenLib.commands.atlas.evaluate import evaluate
from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.core.reports import markdown_table
from NeuroGenLib.models import open_model
from NeuroGenLib.spatial.volume import Volume
from Testing.atlas_fixtures import MODALITIES, AtlasCohort, Person, write_cohort
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")

HELD_OUT = (
    Person("sub-11", 27.8, 0.95, 0.5, "M", (16, 18, 14)),
    Person("sub-12", 30.4, 1.01, 0.3, "F", (15, 19, 16), axcodes="LPS", degrees=20, origin=(30, 5, -40)),
)
QUICK = EvaluateConfig(fit=FitConfig(steps=30, points=600), volumes=True)
ALONE = EvaluateConfig(fitted=False)
TISSUES = (
    "white_matter",
    "ventricles",
    "cerebellum",
    "extra_axial_csf",
    "cortical_gray_matter",
    "deep_gray_matter",
    "brainstem",
    "corpus_callosum",
)


class Evaluation(NamedTuple):
    """What an evaluation returned and wrote."""

    rows: list[EvaluationRow]
    folder: Path


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> AtlasCohort:
    """Two people whom the tiny atlas has not seen, the second one turned and stored as DICOM is."""
    return write_cohort(tmp_path_factory.mktemp("held_out"), HELD_OUT)


def cohort_of(people: AtlasCohort) -> Cohort:
    return Cohort.from_table(people.table, (*MODALITIES, "Seg"))


@pytest.fixture(scope="module")
def evaluation(atlas_run: Path, held_out: AtlasCohort, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """The held-out subjects compared with the tiny atlas, and fitted."""
    out = tmp_path_factory.mktemp("evaluation") / "out"
    model = open_model(str(atlas_run / "model"), device="cpu")
    return Evaluation(evaluate_to_folder(model, cohort_of(held_out), out, QUICK), out)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def dice_of(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


# --- the table ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_table_has_a_row_a_subject_and_their_mean(evaluation):
    written = table(evaluation.folder / "evaluation.tsv")
    assert [row["subject"] for row in written] == ["sub-11", "sub-12", "mean"]
    images = [f"{kind}_{name}" for name in MODALITIES for kind in ("psnr", "ssim")]
    overlap = ["dice", *(f"dice_{name}" for name in TISSUES)]
    scores = [*images, "dice_before_alignment", *overlap]
    fitted = [*(f"fitted_{name}" for name in (*overlap, *images)), "fitted_age", "age_error"]
    assert list(written[0]) == ["subject", "scan_age", "ventricles", "sex", *scores, *fitted, "fitted_ventricles",
                                "fitted_sex"]  # fmt: skip
    assert [row["scan_age"] for row in written[:2]] == ["27.8", "30.4"]
    assert [row["sex"] for row in written] == ["M", "F", ""]
    for row, expected in zip(evaluation.rows, written, strict=True):
        assert row.keys() == expected.keys()
        assert all(type(value)(expected[name]) == value for name, value in row.items())


def test_the_mean_is_over_subjects_and_of_the_errors_size(evaluation):
    *rows, mean = table(evaluation.folder / "evaluation.tsv")
    for name in ("dice", "fitted_dice", "psnr_T2w", "fitted_ssim_T1w", "dice_brainstem"):
        assert float(mean[name]) == pytest.approx(np.mean([float(row[name]) for row in rows]), abs=1e-4)
    assert float(mean["age_error"]) == pytest.approx(np.mean([abs(float(row["age_error"])) for row in rows]), abs=1e-4)


def test_the_fit_of_each_held_out_subject_is_measured_on_what_was_written(evaluation):
    """Dice and PSNR counted from the files, on the subject's own grid."""
    for person, row in zip(HELD_OUT, evaluation.rows, strict=False):
        images, labels = person.head()
        found = np.asarray(nibabel.load(evaluation.folder / person.id / "labels.nii.gz").dataobj)
        for value, name in enumerate(TISSUES, 1):
            expected = dice_of(found == value, labels.array == value)
            assert row[f"fitted_dice_{name}"] == pytest.approx(expected, abs=1e-4)
        assert row["fitted_dice"] == pytest.approx(np.mean([row[f"fitted_dice_{name}"] for name in TISSUES]), abs=1e-4)
        drawn = nibabel.load(evaluation.folder / person.id / "reconstruction_T2w.nii.gz").get_fdata()
        box = tuple(slice(low.min(), low.max() + 1) for low in np.nonzero(labels.array))
        one, other = drawn[box], np.where(labels.array > 0, images["T2w"].array, 0)[box]
        one, other = (one - one.min()) / np.ptp(one), (other - other.min()) / np.ptp(other)
        assert row["fitted_psnr_T2w"] == pytest.approx(peak_signal_noise_ratio(other, one, data_range=1), abs=1e-3)


def test_the_fit_is_better_than_the_atlas_and_finds_the_age(evaluation):
    """Of voxels of 5 mm white matter fills most; ventricles, brainstem and callosum are a few each."""
    *rows, mean = evaluation.rows
    assert mean["fitted_dice"] > mean["dice"] + 0.03
    for row in rows:
        assert row["dice_white_matter"] > 0.8, "aligned, also where the head is turned"
        assert row["fitted_dice_white_matter"] > 0.9
        assert row["fitted_psnr_T2w"] > row["psnr_T2w"]
        assert row["age_error"] == pytest.approx(row["fitted_age"] - row["scan_age"], abs=2e-4)
        assert abs(row["age_error"]) < 1.5


def test_an_evaluation_says_how_it_was_made(evaluation):
    record = json.loads((evaluation.folder / "provenance.json").read_text(encoding="utf-8"))
    assert record["parameters"]["subjects"] == ["sub-11", "sub-12"]
    assert record["parameters"]["fit"]["steps"] == 30
    assert record["results"] == evaluation.rows
    assert "research use only" in record["notice"]
    assert (evaluation.folder / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    assert {"labels.nii.gz", "fit.json", "provenance.json"} <= {
        path.name for path in (evaluation.folder / "sub-12").iterdir()
    }


def test_a_brain_of_the_atlas_itself_agrees(atlas, tmp_path):
    """Drawn at a subject's age and conditions, put elsewhere by a few voxels and 12 mm, and never turned."""
    brain = atlas.generate(28.0, {"ventricles": 0.5, "sex": "M"}, 5.0)
    place = np.eye(4)
    place[:3, 3] = (40, -25, 12)
    names = {}
    for name, volume in {**brain.images, "Seg": brain.labels}.items():
        Volume(volume.array, place @ volume.affine).save(tmp_path / f"{name}.nii")
        names[name] = f"{name}.nii"
    header, cells = zip(*({"participant_id": "sub-20", "scan_age": 28, "ventricles": 0.5, "sex": "M"} | names).items(),
                        strict=True)  # fmt: skip
    (tmp_path / "people.tsv").write_text("\t".join(header) + "\n" + "\t".join(map(str, cells)) + "\n")
    cohort = Cohort.from_table(tmp_path / "people.tsv", (*MODALITIES, "Seg"))
    row, mean = evaluate_to_folder(atlas, cohort, tmp_path / "out", ALONE)
    assert row["dice"] > 0.95
    assert row["psnr_T2w"] > 30
    assert row["dice_before_alignment"] > 0.9, "centres of mass are enough where nothing is turned"
    assert mean["dice"] == row["dice"]
    assert not any(name.startswith("fitted") for name in row)


# --- its parts ------------------------------------------------------------------------------------------------------


def test_equal_label_maps_and_images_agree_fully(atlas, held_out):
    images, labels = held_out.people[0].head()
    dice = overlaps(atlas, labels, labels)
    assert set(dice) == set(range(1, 9))
    assert set(dice.values()) == {1.0}
    assert dice_columns(atlas, dice)["dice"] == 1.0
    scores = intensity_metrics("T2w", images["T2w"], images["T2w"])
    assert scores == {"psnr_T2w": "inf", "ssim_T2w": 1.0}
    json.dumps(mean_row([{"subject": "one", **scores}]), allow_nan=False)


def test_a_tissue_that_is_missing_in_both_has_no_dice(atlas, held_out):
    _, labels = held_out.people[0].head()
    without = labels.with_array(np.where(labels.array == 8, 1, labels.array))
    row = dice_columns(atlas, overlaps(atlas, without, without), "fitted_")
    assert row["fitted_dice_corpus_callosum"] == "n/a"
    assert row["fitted_dice"] == 1.0
    assert dice_columns(atlas, overlaps(atlas, labels, without))["dice_corpus_callosum"] == 0.0


def test_words_do_not_enter_the_mean():
    rows: list[EvaluationRow] = [
        {"subject": "a", "dice": 0.5, "psnr": "inf", "age_error": -2.0, "sex": "M"},
        {"subject": "b", "dice": 0.75, "psnr": 20.0, "age_error": 1.0, "sex": "F"},
    ]
    assert mean_row(rows) == {"subject": "mean", "dice": 0.625, "psnr": 20.0, "age_error": 1.5, "sex": ""}


def test_rows_as_markdown():
    assert markdown_table([{"subject": "a", "dice": 0.5}, {"subject": "mean"}]).splitlines() == [
        "| subject | dice |",
        "|---|---|",
        "| a | 0.5 |",
        "| mean |  |",
    ]


@pytest.mark.parametrize("fitted", [False, True])
def test_the_picture_shows_some_subjects_and_all_tissues(atlas, held_out, fitted):
    images, labels = held_out.people[1].head()
    one = Comparison("sub-12", images["T2w"], labels, images["T2w"], labels)
    row: EvaluationRow = {"scan_age": 30.4, "fitted_age": 30.0} | {
        f"{prefix}{name}": 0.5 for prefix in ("", "fitted_") for name in ("dice", *(f"dice_{one}" for one in TISSUES))
    }
    if fitted:
        one = replace(one, fitted=images["T2w"], fitted_labels=labels)
    figure = evaluation_figure(atlas, [one] * 9, [row] * 10)
    columns = 6 if fitted else 4
    assert len(figure.axes) == MOST_SHOWN * columns + 1
    assert figure.axes[0].get_ylabel() == "sub-12\n30.4 weeks"
    bars = figure.axes[-1].patches
    assert len(bars) == (len(TISSUES) + 1) * (2 if fitted else 1)
    assert {bar.get_height() for bar in bars} == {0.5}


@pytest.mark.parametrize("shape", [(70, 26, 12), (30, 32, 12), (20, 60, 12)], ids=["wide", "round", "tall"])
@pytest.mark.parametrize("fitted", [False, True])
def test_every_word_of_the_picture_is_on_it(atlas, shape, fitted):
    """Also with one subject alone; in pixels of 1/100 inch, and not on the edge."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    labels = Volume(np.pad(np.ones(shape, np.uint8), 4), np.eye(4))
    one = Comparison("sub-CC00000XX00_ses-1", labels, labels, labels, labels)
    if fitted:
        one = replace(one, fitted=labels, fitted_labels=labels)
    row: EvaluationRow = {"scan_age": 30.4, "fitted_age": 30.0, "dice": 0.5, "fitted_dice": 0.5}
    figure = evaluation_figure(atlas, [one], [row] * 2)
    FigureCanvasAgg(figure).draw()
    width, height = figure.canvas.get_width_height()
    for axis in figure.axes:
        for text in (axis.title, axis.xaxis.label, axis.yaxis.label):
            if text.get_text():
                box = text.get_window_extent()
                assert box.x0 >= 2, text
                assert box.y0 >= 4, text
                assert box.x1 <= width - 2, text
                assert box.y1 <= height - 6, text


# --- what cannot be compared ----------------------------------------------------------------------------------------


def test_a_brain_that_cannot_be_fitted_is_named_and_nothing_is_written(atlas, tmp_path):
    giant = write_cohort(tmp_path, (Person("sub-13", 28.0, 1.9, 0.5, "M", (16, 18, 14)),))
    with raises("model-range", "sub-13", " ml"):
        evaluate_to_folder(atlas, cohort_of(giant), tmp_path / "out", QUICK)
    assert not (tmp_path / "out").exists()


def test_an_evaluation_that_is_cancelled_leaves_nothing(atlas, held_out, tmp_path):
    class Stopper(Progress):
        def show(self, step: float, total: float, message: str) -> None:  # noqa: ARG002
            if "sub-12" in message:
                self.cancel()

    with pytest.raises(Cancelled):
        evaluate_to_folder(atlas, cohort_of(held_out), tmp_path / "out", ALONE, Stopper())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("27.8", "n/a", ("value-missing", "scan_age", "sub-11")),
        ("0.5", "n/a", ("value-missing", "'ventricles'", "sub-11")),
        ("27.8", "60", ("model-range", 60)),
        ("sub-11_Seg.nii", "gone.nii", ("file-missing", "gone.nii")),
    ],
)
def test_a_value_that_the_table_lacks_is_named(atlas, tmp_path, old, new, error):
    people = write_cohort(tmp_path, HELD_OUT[:1])
    text = people.table.read_text(encoding="utf-8")
    assert old in text
    people.table.write_text(text.replace(old, new), encoding="utf-8")
    with raises(*error):
        evaluate_to_folder(atlas, cohort_of(people), tmp_path / "out", ALONE)
    assert not (tmp_path / "out").exists()


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def line(atlas_run: Path, held_out: AtlasCohort, tmp_path: Path) -> list[str]:
    """The command's arguments, but for who is compared."""
    fixed = ["--model", str(atlas_run / "model"), "--table", str(held_out.table), "--no-fit", "--json"]
    return [*fixed, "--progress", "none", "--device", "cpu", "--out", str(tmp_path / "out")]


def splits_file(folder: Path, text: str) -> str:
    path = folder / "splits.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_command_says_what_the_model_shows_and_what_it_is_for(line, tmp_path, capsys, monkeypatch):
    notice = "It shows ellipsoids."
    monkeypatch.setattr(AtlasModel, "notice", notice)
    evaluate([*line, "--subjects", "sub-12"])
    assert json.loads(capsys.readouterr().out)["notice"].startswith(notice)
    assert json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))["shows"] == notice
    evaluate([word for word in [*line, "--subjects", "sub-12", "--overwrite"] if word != "--json"])
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("subject\tscan_age")
    assert said[-1] == f"{notice} For research use only; not for diagnosis or treatment."


def test_who_is_compared_comes_from_a_list_or_a_split(line, tmp_path, capsys):
    splits = splits_file(tmp_path, "train: [sub-01]\nval: [sub-12]\ntest: [sub-11]\n")
    said: list[dict[str, Any]] = []
    for who in (["--subjects", "sub-12"], ["--splits", splits], ["--splits", splits, "--split", "test"]):
        evaluate([*line, *who, "--overwrite"])
        said.append(json.loads(capsys.readouterr().out))
    assert [[row["subject"] for row in one["rows"]] for one in said] == [
        ["sub-12", "mean"],
        ["sub-12", "mean"],
        ["sub-11", "mean"],
    ]
    assert said[0]["rows"] == said[1]["rows"]
    assert "fitted_dice" not in said[0]["rows"][0]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "evaluation.tsv",
        "evaluation.png",
        "provenance.json",
    }


def test_how_the_atlas_is_drawn_can_be_chosen_and_is_recorded(line, tmp_path, capsys):
    evaluate([*line, "--subjects", "sub-12"])
    plain = json.loads(capsys.readouterr().out)["rows"][0]
    evaluate([*line, "--subjects", "sub-12", "--regression", "gaussian", "--bandwidth", "6", "--overwrite"])
    assert json.loads(capsys.readouterr().out)["rows"][0]["psnr_T2w"] != plain["psnr_T2w"]
    record = json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))["parameters"]
    assert (record["regression"], record["bandwidth"], record["fit"]) == ("gaussian", 6.0, None)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ([], ("value-conflict", "--subjects", "--splits")),
        (["--subjects", "sub-11", "--splits", "{splits}"], ("value-conflict", "--subjects", "--splits")),
        (["--splits", "{splits}", "--split", "tests"], ("name-unknown", "'tests'", "'test'")),
        (["--splits", "{splits}", "--split", "test"], ("value-missing", "'test'")),
        (["--splits", "{splits}"], ("name-unknown", "'sub-99'")),
        (["--subjects", "sub-11,"], ("name-unknown", "''")),
    ],
)
def test_unclear_subjects_are_refused(line, tmp_path, options, error):
    splits = splits_file(tmp_path, "val: [sub-99]\ntest: []\n")
    with raises(*error):
        evaluate([*line, *(word.replace("{splits}", splits) for word in options)])
    assert not (tmp_path / "out").exists()
