"""The configs of the published data sets read folders that are laid out like them, and train."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from NeuroGenLib.atlas.config import AtlasTrainConfig
from NeuroGenLib.atlas.data.dataset import build_dataset, select_cohort
from NeuroGenLib.atlas.train import train
from NeuroGenLib.cohort.subjects import Cohort, Subject, read_splits
from NeuroGenLib.core.config_command_line import load_config
from NeuroGenLib.core.resources import resource
from NeuroGenLib.models import open_model
from NeuroGenLib.spatial.labels import LabelTable
from Testing.geometry import a_brain_phantom, reoriented
from Testing.raising import raises

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIGS = Path(__file__).parents[3] / "training" / "configs" / "atlas"
TABLE = resource("labels/perinatal-nine-tissues.tsv")
NINE = np.array([0, 3, 5, 6, 1, 2, 7, 8, 9], np.uint8)
"""The nine-tissue value of each of the phantom's."""
DHCP_COLUMNS = ("subject_id", "session_id", "scan_age", "birth_age", "rad_score", "sex", "dataset_id", "", "T1w", "T2w",
                "SegEM9", "", "", "")  # fmt: skip
MARSFET_COLUMNS = ("subject_id", "scan_age", "pathology", "lv_volume_normed", "rad_score", "T2w", "Seg_nnUNet9")


@dataclass(frozen=True)
class DataSet:
    """One published data set: its table's columns and good values, and rows that must be left out."""

    config: str
    name: str
    columns: tuple[str, ...]
    good: dict[str, str]
    ages: tuple[str, str]
    left_out: tuple[dict[str, str], ...]
    images: tuple[str, ...]
    segmentation: str
    conditions: dict[str, list[str]]


NEONATE = {"birth_age": "38.5", "rad_score": "1", "sex": "F", "dataset_id": "dhcp_neo"}
DATA_SETS = (
    DataSet(
        "dhcp_neo_mm", "dhcp_neo", DHCP_COLUMNS, NEONATE, ("37", "42.57142857"),
        ({"T1w": "NaN"}, {"SegEM9": ""}, {"rad_score": "3"}, {"rad_score": "nan"}, {"birth_age": "30.1"},
         {"scan_age": "46.1"}, {"scan_age": ""}, {"dataset_id": "dhcp_fetal"}),
        ("T2w", "T1w"), "SegEM9", {},
    ),
    DataSet(
        "dhcp_neo_preterm_mm", "dhcp_neo", DHCP_COLUMNS, NEONATE | {"rad_score": "3"}, ("40.2", "38"),
        ({"birth_age": ""}, {"birth_age": "23.9"}, {"rad_score": "4"}, {"T2w": ""}),
        ("T2w", "T1w"), "SegEM9", {"birth_age": ["26.42857143", "41"]},
    ),
    DataSet(
        "dhcp_fetal", "dhcp_fetal", DHCP_COLUMNS,
        {"birth_age": "", "rad_score": "1", "sex": "NR", "dataset_id": "dhcp_fetal", "T1w": ""}, ("34.57", "21"),
        ({"scan_age": "19.9"}, {"dataset_id": "dhcp_neo"}, {"T2w": "nan"}, {"rad_score": "2"}),
        ("T2w",), "SegEM9", {},
    ),
    DataSet(
        "marsfet", "marsfet_nnUNet", MARSFET_COLUMNS, {"pathology": "IRM_normale", "rad_score": "3.5"}, ("24.3", "33"),
        ({"pathology": "agenesie"}, {"pathology": ""}, {"rad_score": "2"}, {"lv_volume_normed": "0.07"},
         {"lv_volume_normed": "NaN"}, {"Seg_nnUNet9": ""}),
        ("T2w",), "Seg_nnUNet9", {"lv_volume_normed": ["0.0085", "0.04"]},
    ),
)  # fmt: skip


def tissues(labels: np.ndarray) -> np.ndarray:
    """The phantom's labels as the nine tissues, with value 4 on one side of the head."""
    nine = NINE[labels]
    around = binary_dilation(nine > 0) & (nine == 0)
    around[nine.shape[0] // 2 :] = False
    return np.where(around, 4, nine)


def write_scan(folder: Path, key: str, orientation: str) -> None:
    """Write T2w (scaled int16, sform), T1w (float32, slightly other affine) and labels (float32, qform)."""
    head = a_brain_phantom((14, 16, 13), 5.0)
    image, labels = (reoriented(volume, orientation) for volume in head)
    folder.mkdir(parents=True, exist_ok=True)
    nine = tissues(labels.array)
    t2w = nibabel.Nifti1Image(np.where(nine > 0, image.array / 2, 7).astype(np.int16), image.affine)
    t2w.header.set_slope_inter(2.0, 0.0)
    t2w.set_qform(None, code=0)
    nibabel.save(t2w, folder / f"{key}_T2w.nii.gz")
    nibabel.save(
        nibabel.Nifti1Image((1000 - image.array).astype(np.float32), image.affine + 1e-6), folder / f"{key}_T1w.nii.gz"
    )
    seg = nibabel.Nifti1Image(nine.astype(np.float32), image.affine)
    seg.set_sform(None, code=0)
    seg.set_qform(image.affine, code=1)
    nibabel.save(seg, folder / f"{key}_seg.nii.gz")


def write_data_set(folder: Path, data: DataSet) -> list[str]:
    """Write table, ids and volumes; return the ids that must be chosen."""
    rows, train, chosen = [], [], []
    cases: list[dict[str, str]] = [{}, {}, *data.left_out, {}]
    for number, change in enumerate(cases):
        key = f"sub-CC{number:05d}XX0{number % 10}_ses-{36800 + number}"
        case = number if number < 2 else 0
        row = {"subject_id": key, "session_id": str(36800 + number), "scan_age": data.ages[case]}
        # Some name their files relative to the table, others in full.
        start = "scans" if number % 2 else str(folder / "scans")
        row |= {"T2w": f"{start}/{key}_T2w.nii.gz", "T1w": f"{start}/{key}_T1w.nii.gz"}
        row |= {data.segmentation: f"{start}/{key}_seg.nii.gz"} | data.good
        row |= {name: values[case] for name, values in data.conditions.items()} | change
        rows.append([row.get(column, "") for column in data.columns])
        if number < 2:
            chosen.append(key)
            write_scan(folder / "scans", key, ("RAS", "LAS")[number])
        if number < len(cases) - 1:  # the last is of another split
            train.append(key)
    lines = ["\t".join(cells) for cells in (data.columns, *rows)]
    (folder / "table.tsv").write_bytes("\r\n".join([*lines, ""]).encode())
    listed = "".join(f"      - {name}\n" for name in train)
    (folder / "subject_ids.yaml").write_text(
        f"other_set:\n    # ...\n{data.name}:\n  subject_ids:\n    train:\n{listed}    val:\n      - "
        f"{rows[-1][0]}\n    test: []\n",
        encoding="utf-8",
    )
    return chosen


def job(data: DataSet, folder: Path) -> AtlasTrainConfig:
    """The real config file, with the options a person gives, and a tiny network."""
    overrides = {
        "data.table": folder / "table.tsv",
        "data.splits": f"{folder / 'subject_ids.yaml'}#{data.name}",
        "data.labels": TABLE,
        "train.out": folder / "run",
        "train.steps": "3",
        "train.device": "cpu",
        "train.threads": "1",
        "network.hidden": "8",
        "network.latent_channels": "4",
        "optimiser.points": "300",
    }
    return load_config(AtlasTrainConfig, CONFIGS / f"{data.config}.yaml", overrides)


@pytest.mark.parametrize("data", DATA_SETS, ids=lambda data: data.config)
def test_a_data_set_is_read_and_trained_on(data: DataSet, tmp_path: Path) -> None:
    chosen = write_data_set(tmp_path, data)
    config = job(data, tmp_path)
    dataset = build_dataset(config.data)
    assert list(dataset.cohort.ids) == chosen
    assert [subject.key for subject in dataset.cohort] == chosen, "the session is not named twice"
    np.testing.assert_allclose(dataset.ages, [float(age) for age in data.ages])
    assert dataset.age_unit == "weeks"
    assert config.data.modalities == data.images
    assert [condition.name for condition in dataset.conditions] == list(data.conditions)
    for name, values in data.conditions.items():
        assert [given[name] for given in dataset.values] == [float(value) for value in values]
    assert dataset.labels.values == tuple(range(10))
    assert dataset.background == 4
    for subject in dataset.subjects:
        assert set(np.unique(subject.classes)) == set(range(1, 10))
        assert subject.intensities.shape[1] == len(data.images)
    # The same head stored in another orientation has the same tissues, in ml.
    values, counts = np.unique(tissues(a_brain_phantom((14, 16, 13), 5.0).labels.array), return_counts=True)
    expected = dict(zip(values.tolist(), 0.125 * counts, strict=True))
    for volumes in dataset.volumes_ml:
        for entry in (one for one in dataset.labels if one.value not in (0, 4)):
            assert volumes[entry.name] == pytest.approx(expected[entry.value])
    path = train(config)
    atlas = open_model(str(path), device="cpu")
    assert atlas.modalities == data.images
    assert [condition.name for condition in atlas.conditions] == list(data.conditions)
    assert {atlas.labels.names[index] for index in atlas.background} == {"background", "BG"}


@pytest.mark.parametrize("data", DATA_SETS, ids=lambda data: data.config)
def test_a_config_keeps_whom_the_published_one_keeps(data: DataSet, tmp_path: Path) -> None:
    """Every row that is spoiled in one cell is left out, and the reason names that cell."""
    write_data_set(tmp_path, data)
    cohort = select_cohort(job(data, tmp_path).data)
    reasons = {subject.id: reason for subject, reason in cohort.left_out}
    ids = [cells.split("\t")[0] for cells in (tmp_path / "table.tsv").read_text().splitlines()[1:]]
    for change, name in zip(data.left_out, ids[2:], strict=False):
        assert next(iter(change)) in reasons[name]


def test_the_configs_follow_the_recipe_of_the_bundled_atlas() -> None:
    ours = load_config(AtlasTrainConfig, CONFIGS / "fetal_sba.yaml")
    for data in DATA_SETS:
        config = load_config(AtlasTrainConfig, CONFIGS / f"{data.config}.yaml")
        assert config.network == ours.network
        assert config.optimiser == ours.optimiser
        assert not config.reference_compat
        assert config.data.labels == Path("Resources/labels") / TABLE.name
        assert not config.store_ids


def test_the_nine_tissues_have_the_published_values() -> None:
    names = LabelTable.from_tsv(TABLE).names
    published = ("", "csf", "cortical", "white", "BG", "ventricles", "cerebellum", "deep", "brainstem", "hippocampi")
    assert all(word in name for word, name in zip(published, names, strict=True))


def test_a_split_file_of_several_data_sets_is_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "ids#1.yaml"
    path.write_text("a: {subject_ids: {train: [007]}}\nb: {train: [x], val: [y]}\nc:\n  # none yet\n", encoding="utf-8")
    assert read_splits(f"{path}#a") == {"train": ("007",)}
    assert read_splits(f"{path}#b") == {"train": ("x",), "val": ("y",)}
    with raises("name-unknown", "ids#1.yaml", "c"):
        read_splits(f"{path}#c")
    with raises("name-unknown"):
        read_splits(path)
    with raises("file-missing", "other.yaml"):
        read_splits(tmp_path / "other.yaml#a")


def test_a_session_that_the_id_holds_is_not_named_twice() -> None:
    subject = Subject("sub-1_ses-36800", {}, session="36800")
    assert subject.key == "sub-1_ses-36800"
    assert replace(subject, session="ses-36800").key == "sub-1_ses-36800"
    assert replace(subject, session="6800").key == "sub-1_ses-36800_6800"
    assert replace(subject, id="36800").key == "36800_36800"


def test_two_sessions_of_a_person_are_two_scans(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    rows = "".join(f"sub-1_ses-{visit}\t{visit}\tT2w_{visit}.nii.gz\n" for visit in ("1", "2"))
    table.write_text("subject_id\tsession_id\tT2w\n" + rows, encoding="utf-8")
    cohort = Cohort.from_table(table, ["T2w"])
    assert [subject.key for subject in cohort] == ["sub-1_ses-1", "sub-1_ses-2"]
    assert cohort.select(["sub-1_ses-2"]).ids == ("sub-1_ses-2",)
