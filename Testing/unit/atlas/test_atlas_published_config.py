"""The published program's settings become NeuroGen's: every one is translated or named with a reason."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from NeuroGenLib.atlas.config import AtlasTrainConfig, AugmentationConfig, ConditionConfig, ValidationConfig
from NeuroGenLib.atlas.published.generation import published_atlases
from NeuroGenLib.atlas.published.training_config import _NO_COUNTERPART, USUAL_POINTS, AtlasTranslation, import_config
from NeuroGenLib.core.config import parameters, to_mapping
from NeuroGenLib.core.config_command_line import load_config
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.labels import LabelTable
from Testing.geometry import a_brain_phantom
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

BLOCK: dict[str, Any] = {
    "dataset_name": "cohort_a",
    "subject_ids": "./configs/ids.yaml",
    "tsv_file": "./configs/people.tsv",
    "modalities": ["T2w", "T1w", "SegX"],
    "conditions": {"scan_age": False, "birth_age": True, "sex": False},
    "constraints": {
        "scan_age": {
            "type": "numeric",
            "min": 30,
            "max": 44,
            "distribution": {"type": "uniform_fillup", "priority": 3},
        },
        "birth_age": {"type": "numeric", "min": 24, "max": 42, "distribution": {"type": "uniform_fillup"}},
        "group": {"type": "categoric", "values": ["control", "case"]},
    },
    "label_names": ["Clear", "CSF", "BG", "WM"],
    "class_weights": [0.0, 2.0, 1.0, 1],
    "world_bbox": [120, 130.5, 110],
    "normalize_values": "zscore",
}
ATLAS: dict[str, Any] = {
    "config_data": "a",
    "output_dir": "./results",
    "device": "cuda",
    "amp": True,
    "seed": 7,
    "mask_reconstruction": True,
    "save_imgs": {"train": True, "val": False},
    "load_model": {"path": "", "epoch": 1},
    "data_augmentation": {"activate": False, "augment_noise": {"p": 0.5, "mean": 1.0}},
    "optimizer": {
        "re_init_latents": False,
        "lr_inr": 2e-4,
        "inr_weight_decay": 1e-3,
        "lr_latent": 4e-4,
        "latent_weight_decay": 2e-3,
        "lr_tf": 8e-3,
        "tf_weight_decay": 3e-3,
        "tf_weight": 0.25,
        "loss_metric": "mse",
        "seg_weight": 0.5,
        "scheduler": {"type": "cosine", "eta_min": 1e-4},
    },
    "inr_decoder": {
        "tf_dim": 9,
        "cnn_kernel_size": 3,
        "latent_dim": [16, 2, 3, 4],
        "in_dim": 3,
        "out_dim": [2, 4],
        "hidden_size": 48,
        "num_hidden_layers": 4,
        "modulated_layers": [0, 2, 7],
        "omega": [20, 25],
    },
    "atlas_gen": {"spacing": [1, 1, 1], "temporal_values": [31, 33], "conditions": None, "gaussian_span": 1.5,
                  "cond_scale": 0.12},
    "latent_anaylsis": {"activate": False, "ba_regression": {"lr": 1e-3}},
    "n_subjects": {"train": 5, "val": 2},
    "epochs": {"train": 3, "val": 4},
    "batch_size": 10,
    "n_samples": 1000,
    "num_workers": 4,
}  # fmt: skip

Importing = Callable[..., tuple[AtlasTranslation, AtlasTrainConfig]]


def changed(content: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy with one setting at a dotted key replaced, or taken out where the value is ``...``."""
    content = copy.deepcopy(content)
    *groups, last = key.split(".")
    inner = content
    for group in groups:
        inner = inner[group]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return content


@pytest.fixture
def importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Importing:
    """Writes both files, imports them, and reads the settings back as a training would."""
    monkeypatch.chdir(tmp_path)

    def run(block: Any = BLOCK, atlas: Any = ATLAS, **options: Any) -> tuple[AtlasTranslation, AtlasTrainConfig]:
        data, settings = tmp_path / "config_data.yaml", tmp_path / "config_atlas.yaml"
        # Quoted, so that text stays text whatever it looks like.
        data.write_text(yaml.safe_dump({"a": block, "b": {"x": 1}}, default_style='"'), encoding="utf-8")
        settings.write_text(yaml.safe_dump(atlas, default_style='"'), encoding="utf-8")
        out = tmp_path / "out" / "settings.yaml"
        out.unlink(missing_ok=True)
        translation, files = import_config(data, settings, out, **options)
        assert out in files
        assert all(file.is_file() for file in files)
        return translation, load_config(AtlasTrainConfig, out)

    return run


def test_every_setting_arrives(importing: Importing, tmp_path: Path) -> None:
    _, config = importing(points_per_subject=2000)
    data, network, optimiser = config.data, config.network, config.optimiser
    assert config.reference_compat
    assert (config.name, config.train.seed, config.bandwidth) == ("a", 7, 0.75)
    assert data.table.as_posix() == "configs/people.tsv"
    assert data.splits is not None
    assert (data.splits.as_posix(), data.split) == ("configs/ids.yaml#cohort_a", "train")
    assert data.root is not None
    assert (data.root.as_posix(), config.train.out.as_posix()) == (".", "results/a")
    assert (data.modalities, data.segmentation) == (("T2w", "T1w"), "SegX")
    assert (data.age, data.age_unit, data.background, data.subjects, data.mask) == ("scan_age", "weeks", "BG", 5, True)
    assert (data.normalisation, data.box) == ("zscore", (120.0, 130.5, 110.0))
    condition = to_mapping(data.conditions["birth_age"])
    assert (condition["minimum"], condition["maximum"], condition["scale"]) == (24, 42, 0.12)
    assert list(data.conditions) == ["birth_age"]
    constraints = to_mapping(data)["constraints"]
    assert constraints["scan_age"]["distribution"] == {"priority": 3, "bins": None, "type": "uniform_fillup"}
    assert constraints["birth_age"]["distribution"] is None, "without a priority the published program ignores it"
    assert constraints["group"]["values"] == ["control", "case"]
    assert (network.latent_channels, network.latent_grid, network.latent_kernel) == (16, (4, 3, 2), 3)
    assert (network.hidden, network.layers, network.modulated, network.omega) == (48, 4, (0, 2), (20, 25))
    assert (optimiser.points, optimiser.subjects_per_step, optimiser.outside) == (1000, 10, 0)
    assert (optimiser.rate, optimiser.latent_rate, optimiser.transform_rate) == (2e-4, 4e-4, 8e-3)
    assert (optimiser.weight_decay, optimiser.latent_decay, optimiser.transform_decay) == (1e-3, 2e-3, 3e-3)
    assert (optimiser.loss, optimiser.segmentation_weight, optimiser.transform_weight) == ("mse", 0.5, 0.25)
    assert (optimiser.transform, optimiser.schedule, optimiser.floor) == ("rigid+scale", "cosine", 0.25)
    assert optimiser.class_weights == {"Clear": 0.0, "CSF": 2.0}
    assert data.labels is not None
    table = LabelTable.from_tsv(tmp_path / data.labels)
    assert list(zip(table.values, table.names, strict=True)) == [(0, "Clear"), (1, "CSF"), (2, "BG"), (3, "WM")]


def test_what_has_no_counterpart_is_listed_with_a_reason(importing: Importing, tmp_path: Path) -> None:
    translation, _ = importing(block=BLOCK | {"notes": "by hand"}, points_per_subject=2000)
    listed = {key: reason for key, _, reason in translation.left_out}
    assert set(listed) == {
        *("notes", "device", "amp", "save_imgs.train", "load_model.path", "load_model.epoch"),
        *("optimizer.re_init_latents", "inr_decoder.out_dim", "atlas_gen.spacing", "atlas_gen.temporal_values"),
        *("atlas_gen.conditions", "latent_anaylsis.activate", "latent_anaylsis.ba_regression.lr"),
        *("epochs.val", "num_workers"),
    }
    assert "not a setting of the published program" in listed["notes"]
    text = (tmp_path / "out" / "settings.yaml").read_text(encoding="utf-8")
    for key, reason in listed.items():
        assert any(line.startswith(f"# - {key}: ") and reason in line for line in text.splitlines())
    record = json.loads((tmp_path / "out" / "settings_provenance.json").read_text(encoding="utf-8"))
    assert record["without_counterpart"] == listed
    assert [entry["name"] for entry in record["inputs"]] == ["config_data.yaml", "config_atlas.yaml"]


AUGMENTED = {
    "activate": True,
    "augment_deformation": {"p": 0.3, "num_control_points": 6, "max_displacement": 5},
    "augment_motion": {"p": 0.2, "degrees": 4, "translation": 3.5, "num_transforms": 2},
    "augment_noise": {"p": 0.1, "mean": 1.5, "std": 3.0},
    "augment_biasfield": {"p": 0.4, "coeff": 0.5},
    "augment_gamma": {"p": 0.6, "log_gamma": [-0.3, 0.3]},
}


def test_augmentation_arrives_where_it_was_on(importing: Importing) -> None:
    translation, config = importing(atlas=ATLAS | {"data_augmentation": AUGMENTED}, points_per_subject=2000)
    deformation, motion = config.augmentation.deformation, config.augmentation.motion
    assert (deformation.probability, deformation.control_points, deformation.displacement) == (0.3, 6, 5)
    assert (motion.probability, motion.rotation, motion.translation, motion.moves) == (0.2, 4, 3.5, 2)
    assert (config.augmentation.bias.probability, config.augmentation.bias.coefficient) == (0.4, 0.5)
    assert (config.augmentation.gamma.probability, config.augmentation.gamma.log_gamma) == (0.6, 0.4)
    assert config.augmentation.noise.probability == 0, "its size is in units of the file"
    listed = {key: reason for key, _, reason in translation.left_out if key.startswith("data_augmentation")}
    noise = {f"data_augmentation.augment_noise.{name}" for name in ("p", "mean", "std")}
    assert listed.keys() == noise | {"data_augmentation.augment_gamma.log_gamma"}
    assert all("augmentation.noise.size" in listed[name] for name in noise)
    _, off = importing(points_per_subject=2000)
    assert off.augmentation == AugmentationConfig()


def test_validation_does_as_much_as_published_and_waits_for_its_interval(importing: Importing) -> None:
    translation, config = importing(atlas=ATLAS | {"validate_every": 2}, points_per_subject=2000)
    assert (config.validation.every, config.validation.most, config.validation.volumes) == (None, 2, False)
    assert any("every 2 epoch(s), as published, is 20 steps" in remark for remark in translation.remarks)
    _, config = importing(atlas=changed(ATLAS, "n_subjects.val", 0), points_per_subject=2000)
    assert config.validation.most == ValidationConfig().most


@pytest.mark.parametrize(
    ("logging", "project", "expected"),
    [
        (True, "CINeMA", "CINeMA"),
        (False, "CINeMA", None),
        (True, "", None),
        (True, None, None),
        ("yes", "CINeMA", None),
    ],
)
def test_metrics_go_where_they_went(importing: Importing, logging: object, project: object, expected: object) -> None:
    more = {"logging": logging, "project_name": project, "wandb_entity": "lab"}
    translation, config = importing(atlas=ATLAS | more, points_per_subject=2000)
    assert config.train.wandb == expected
    listed = {key: reason for key, _, reason in translation.left_out}
    assert "WANDB_ENTITY" in listed["wandb_entity"]


def test_reasons_name_settings_that_exist() -> None:
    known = {parameter.name for parameter in parameters(AtlasTrainConfig)}
    sections = {name.partition(".")[0] for name in known}
    for reason in _NO_COUNTERPART.values():
        for name in re.findall(r"\b[a-z_]+(?:\.[a-z_]+)+\b", reason):
            assert name.partition(".")[0] not in sections or name in known, reason


def test_recommended_leaves_the_training_to_neurogen(importing: Importing) -> None:
    translation, config = importing(recommended=True, points_per_subject=2000)
    _, published = importing(points_per_subject=2000)
    plain = load_config(AtlasTrainConfig, None, {"data.table": "t", "train.out": "o", "train.steps": "1"})
    assert not config.reference_compat
    assert (config.network, config.optimiser, config.bandwidth) == (plain.network, plain.optimiser, None)
    assert (config.data.normalisation, config.data.box) == ("percentile", None)
    same = ("table", "modalities", "segmentation", "labels", "splits", "constraints", "subjects", "background", "mask")
    assert all(getattr(config.data, name) == getattr(published.data, name) for name in same)
    assert config.data.conditions["birth_age"].scale == ConditionConfig().scale
    assert config.train.steps == 3 * math.ceil(5 * 2000 / plain.optimiser.points)
    reasons = {key: reason for key, _, reason in translation.left_out}
    for key in ("optimizer.lr_inr", "inr_decoder.hidden_size", "n_samples", "world_bbox", "atlas_gen.cond_scale"):
        assert "own default" in reasons[key]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("inr_decoder.tf_dim", 0, ("transform", "none")),
        ("inr_decoder.tf_dim", 4, ("transform", "rigid")),
        ("inr_decoder.tf_dim", 12, ("transform", "affine")),
        ("optimizer.loss_metric", "l1", ("loss", "l1")),
        ("optimizer.loss_metric", "huber", ("loss", "l1")),
        ("optimizer.scheduler.type", "step", ("schedule", "constant")),
        ("epochs.train", 1, ("schedule", "constant")),
        ("optimizer.scheduler.eta_min", 1.0, ("floor", 1.0)),
        ("optimizer.scheduler.eta_min", ..., ("floor", 0.0)),
    ],
)
def test_the_ways_to_optimise(importing: Importing, key: str, value: Any, expected: tuple[str, Any]) -> None:
    _, config = importing(atlas=changed(ATLAS, key, value), points_per_subject=2000)
    assert getattr(config.optimiser, expected[0]) == expected[1]


@given(
    epochs=st.integers(1, 50), subjects=st.integers(1, 300), each=st.integers(1, 10**7), points=st.integers(1, 10**6)
)
def test_an_epoch_is_all_points_of_all_subjects(
    importing: Importing, epochs: int, subjects: int, each: int, points: int
) -> None:
    atlas = ATLAS | {"epochs": {"train": epochs, "val": 1}, "n_subjects": {"train": subjects, "val": 1}}
    _, config = importing(atlas=atlas | {"n_samples": points}, points_per_subject=each)
    chunks = (
        len(range(0, subjects * each, points)) if subjects * each / points < 10**5 else -(-subjects * each // points)
    )
    assert config.train.steps == epochs * chunks


def test_points_are_measured_where_the_data_is_there(importing: Importing, tmp_path: Path) -> None:
    folder = tmp_path / "configs"
    folder.mkdir()
    counts = []
    rows = ["subject_id\tscan_age\tbirth_age\tgroup\tT2w\tT1w\tSegX\n"]
    for number in range(3):
        head = a_brain_phantom((12 + number, 14, 12), 6.0)
        for column, volume in (("T2w", head.image), ("T1w", head.image), ("SegX", head.labels)):
            nibabel.save(nibabel.Nifti1Image(volume.array, volume.affine), tmp_path / f"{number}_{column}.nii.gz")
        files = "\t".join(f"{number}_{column}.nii.gz" for column in ("T2w", "T1w", "SegX"))
        rows.append(f"s{number}\t{34 + number}\t30\tcontrol\t{files}\n")
        rim = gaussian_filter((head.labels.array > 0).astype(np.float32), 1.5) > 0.001
        counts.append(int(np.count_nonzero(rim)))
    (folder / "people.tsv").write_text("".join(rows), encoding="utf-8")
    (folder / "ids.yaml").write_text("cohort_a: {subject_ids: {train: [s0, s1, s2]}}\n", encoding="utf-8")
    translation, config = importing()
    assert config.train.steps == 3 * math.ceil(3 * round(sum(counts) / 3) / 1000)
    assert any("measured" in remark for remark in translation.remarks)
    # A run folder of the program lists the ids themselves.
    ids = {"train": ["s0", "s1"], "val": ["s2"], "test": []}
    translation, config = importing(block=BLOCK | {"subject_ids": ids})
    assert config.train.steps == 3 * math.ceil(2 * round(sum(counts[:2]) / 2) / 1000)
    assert config.data.splits is not None
    assert yaml.safe_load((tmp_path / config.data.splits).read_text(encoding="utf-8")) == ids


def test_without_the_data_the_points_are_an_estimate_that_says_so(importing: Importing) -> None:
    translation, config = importing()
    assert config.train.steps == 3 * math.ceil(5 * USUAL_POINTS / 1000)
    assert any("estimate" in remark and "people.tsv does not exist" in remark for remark in translation.remarks)


def test_age_is_not_a_condition_and_a_note_says_so(importing: Importing) -> None:
    translation, config = importing(block=changed(BLOCK, "conditions.scan_age", True), points_per_subject=9)
    assert list(config.data.conditions) == ["birth_age"]
    assert any("scan_age is true" in remark for remark in translation.remarks)


def test_a_condition_of_words(importing: Importing) -> None:
    block = changed(BLOCK, "conditions", {"group": True})
    _, config = importing(block=block, points_per_subject=9)
    assert (config.data.conditions["group"].kind, config.data.conditions["group"].values) == (
        "categoric",
        ("control", "case"),
    )


def test_another_root_moves_every_relative_path(importing: Importing, tmp_path: Path) -> None:
    there = tmp_path / "elsewhere"
    block = BLOCK | {"tsv_file": (tmp_path / "absolute.tsv").as_posix()}
    translation, config = importing(block=block, root=there, points_per_subject=9)
    assert config.data.root == there
    assert config.data.table == tmp_path / "absolute.tsv"
    assert str(config.data.splits).startswith(str(there))
    assert config.train.out == there / "results" / "a"
    assert not any("current folder" in remark for remark in translation.remarks)


def test_the_data_set_can_be_named(importing: Importing, tmp_path: Path) -> None:
    _, config = importing(atlas=ATLAS | {"config_data": "gone"}, dataset="a", points_per_subject=9)
    assert config.name == "a"
    with raises("name-unknown", "aa"):
        importing(dataset="aa")
    with raises("name-unknown", "gone"):
        importing(atlas=ATLAS | {"config_data": "gone"})


@pytest.mark.slow
@given(word=st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=12))
def test_odd_texts_survive_and_break_no_comment(importing: Importing, word: str) -> None:
    block = {word: word} | BLOCK | {"modalities": [word, "Seg"], "tsv_file": f"{word}.tsv"}
    _, config = importing(block=block, points_per_subject=9)
    assert config.data.modalities == (word,)


@pytest.mark.parametrize("name", ["1e5", "yes", "null", "007", "1_000", "~", "0x1f", "#x", "a: b", "2024-01-01"])
def test_names_that_look_like_something_else_stay_text(importing: Importing, name: str) -> None:
    _, config = importing(block=BLOCK | {"modalities": [name, "Seg"], "dataset_name": name}, points_per_subject=9)
    assert config.data.modalities == (name,)


@pytest.mark.parametrize(
    ("file", "key", "value", "code", "named"),
    [
        ("data", "modalities", ["T2w", "T1w"], "value-invalid", ["'modalities'", "config_data.yaml", "'Seg'"]),
        ("data", "modalities", ["Seg"], "value-invalid", ["'modalities'"]),
        ("data", "modalities", "T2w", "value-invalid", ["'modalities'", "config_data.yaml"]),
        ("data", "label_names", ["a", "a", "b", "c"], "value-invalid", ["'a'"]),
        ("data", "label_names", ..., "value-missing", ["config_data.yaml", "'label_names'"]),
        ("data", "class_weights", [1, 1], "value-invalid", ["'class_weights'", "4"]),
        ("data", "class_weights", [1, 1, "x", 1], "value-invalid", ["class_weights.BG"]),
        ("data", "world_bbox", [1, 2], "value-invalid", ["data.box"]),
        ("data", "normalize_values", "l2", "value-invalid", ["data.normalisation"]),
        ("data", "constraints.group.type", "binary", "value-invalid", ["data.constraints.group"]),
        ("data", "constraints.group", 5, "value-invalid", ["'constraints.group'"]),
        ("data", "constraints.birth_age.min", "low", "value-invalid", ["birth_age.min"]),
        ("data", "constraints.birth_age", ..., "value-invalid", ["'constraints.birth_age'"]),
        ("data", "conditions.birth_age", "maybe", "value-invalid", ["'conditions.birth_age'"]),
        ("data", "tsv_file", 7, "value-invalid", ["'tsv_file'"]),
        ("data", "subject_ids", {"train": "s1"}, "value-invalid", ["'subject_ids.train'"]),
        ("atlas", "inr_decoder.tf_dim", 7, "value-invalid", ["'inr_decoder.tf_dim'"]),
        ("atlas", "inr_decoder.latent_dim", [16, 3], "file-type", ["'inr_decoder'", "config_atlas.yaml"]),
        ("atlas", "inr_decoder.latent_dim", [16, 3, 3, "x"], "value-invalid", ["network.latent_grid"]),
        ("atlas", "inr_decoder.in_dim", 2, "value-invalid", ["'inr_decoder.in_dim'"]),
        ("atlas", "inr_decoder", ..., "file-type", ["'inr_decoder'"]),
        ("atlas", "optimizer", 3, "value-missing", ["config_atlas.yaml", "'optimizer."]),
        ("atlas", "optimizer.lr_inr", "fast", "value-invalid", ["'optimizer.lr_inr'", "config_atlas.yaml", '"fast"']),
        ("atlas", "optimizer.lr_inr", float("nan"), "value-invalid", ["'optimizer.lr_inr'"]),
        ("atlas", "n_samples", 0, "value-invalid", ["'n_samples'"]),
        ("atlas", "epochs.train", True, "value-invalid", ["'epochs.train'"]),
        ("atlas", "n_subjects.train", 2.5, "value-invalid", ["'n_subjects.train'"]),
        ("atlas", "mask_reconstruction", "yes please", "value-invalid", ["data.mask"]),
    ],
)
def test_unusable_settings_are_named(
    importing: Importing, tmp_path: Path, file: str, key: str, value: Any, code: Any, named: list[str]
) -> None:
    content = {"data": {"block": changed(BLOCK, key, value)} if file == "data" else {}}
    content["atlas"] = {"atlas": changed(ATLAS, key, value)} if file == "atlas" else {}
    with raises(code, *named):
        importing(points_per_subject=9, **content["data"], **content["atlas"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.mkdir [code-was-run]\n",
        "a: !custom 5\n",
        "a: [1, 2\n",
        "- 1\n",
        "",
        "a: 5\n",
        "a: &x {b: *x}\n",
        'a: {x: "\\ud800"}\n',
        "[" * 1500,
        "x: &a [1,1,1,1,1,1,1,1,1]\ny: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nz: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n"
        "u: &d [*c,*c,*c,*c,*c,*c,*c,*c]\nv: &e [*d,*d,*d,*d,*d,*d,*d,*d]\na: [*e,*e,*e,*e,*e,*e,*e,*e]\n",
    ],
    ids=[
        "python-object",
        "tag",
        "open-list",
        "list",
        "empty",
        "no-block",
        "cycle",
        "half-a-character",
        "deep",
        "aliases-that-multiply",
    ],
)
def test_hostile_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "atlas.yaml").write_text(yaml.safe_dump(ATLAS), encoding="utf-8")
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"a": BLOCK}), encoding="utf-8")
    for data, atlas in (("bad.yaml", "atlas.yaml"), ("data.yaml", "bad.yaml")):
        with pytest.raises(InputError):
            import_config(tmp_path / data, tmp_path / atlas, tmp_path / "out.yaml")
    assert not (tmp_path / "code-was-run").exists()
    assert not (tmp_path / "out.yaml").exists()


def test_an_edited_settings_file_is_not_replaced(importing: Importing, tmp_path: Path) -> None:
    importing(points_per_subject=9)
    out = tmp_path / "out" / "settings.yaml"
    before = out.read_bytes()
    with raises("file-occupied", "settings.yaml"):
        import_config(tmp_path / "config_data.yaml", tmp_path / "config_atlas.yaml", out)
    assert out.read_bytes() == before
    with raises("file-type", ".yaml"):
        import_config(tmp_path / "config_data.yaml", tmp_path / "config_atlas.yaml", tmp_path / "settings.txt")


def test_the_atlases_that_are_generated_after_a_training() -> None:
    """Of two conditions the first changes slowest; -1 and 1 are the ends of the range of the table's values."""
    data = {
        "conditions": {"scan_age": False, "birth_age": True, "group": True},
        "constraints": {
            "birth_age": {"type": "numeric", "min": 24, "max": 42},
            "group": {"type": "categoric", "values": ["control", "case"]},
        },
    }
    section = {
        "spacing": [1, 1, 2],
        "temporal_values": [30, 35.5],
        "conditions": {
            "birth_age": {"values": [-1, 0.5], "normed_values": True},
            "group": {"values": ["case", "control"]},
        },
    }
    found = published_atlases({"atlas_gen": section}, data)
    assert (found.ages, found.spacing) == ((30.0, 35.5), (1.0, 1.0, 2.0))
    assert [tuple(values.items()) for values in found.combinations] == [
        (("birth_age", 24.0), ("group", "case")),
        (("birth_age", 24.0), ("group", "control")),
        (("birth_age", 37.5), ("group", "case")),
        (("birth_age", 37.5), ("group", "control")),
    ]
    assert published_atlases({"atlas_gen": section | {"conditions": None}}, {"conditions": {}}).combinations == ({},)
    with raises("file-damaged"):
        published_atlases({"atlas_gen": section | {"conditions": {"birth_age": {"values": [30]}}}}, data)
