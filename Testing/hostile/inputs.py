"""Bad inputs: how each is made from good ones, which kinds of input it spoils, and what the message must name.

A new bad input joins by one entry here, and is then given to every command that has an input of its kind.
"""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import nibabel
import numpy as np

from Testing.hostile.workspace import rewrite, voxels, write_published_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from Testing.hostile.workspace import Workspace

    Spoil = Callable[[Workspace], object]


@dataclass(frozen=True)
class Hostile:
    """One bad input.

    Attributes
    ----------
    name:
        What is wrong with it.
    kinds:
        The kinds of input (see :mod:`Testing.hostile.commands`) it is given as.
    spoil:
        Changes the workspace, or returns the value to give instead of the good one.
    says:
        The culprit: what the error must name; ``{folder}`` is the workspace.
    code:
        Exit code: 2 for bad input, 1 for a failure.
    """

    name: str
    kinds: tuple[str, ...]
    spoil: Spoil
    says: tuple[str, ...]
    code: int = 2


HOSTILE: list[Hostile] = []

MODEL = ("model", "atlas", "initial")


def hostile(*kinds: str, says: str | tuple[str, ...], code: int = 2) -> Callable[[Spoil], Spoil]:
    """Add a function to :data:`HOSTILE`, under its name."""

    def add(spoil: Spoil) -> Spoil:
        named = (says,) if isinstance(says, str) else says
        HOSTILE.append(Hostile(spoil.__name__.replace("_", "-"), kinds, spoil, named, code))
        return spoil

    return add


def values(kind: str, *bad: tuple[object, str]) -> None:
    """Add values that are bad by themselves, each with what the error must name."""
    for value, says in bad:
        shown = str(value) if len(str(value)) < 40 else f"{str(value)[:30]}..."
        HOSTILE.append(Hostile(f"{kind}={shown}", (kind,), lambda _, value=value: value, (says,)))


# Models


@hostile(*MODEL, says="no-such-model")
def a_model_that_is_not_there(made: Workspace) -> Path:
    return made.folder / "no-such-model"


@hostile(*MODEL, says="settings.yaml")
def a_file_instead_of_a_model(made: Workspace) -> Path:
    return made.config


@hostile(*MODEL, says="cohort")
def a_folder_that_is_no_model(made: Workspace) -> Path:
    return made.table.parent


@hostile(*MODEL, says="fetal-sbaa")
def a_bundled_model_of_another_name(_: Workspace) -> str:
    return "bundled:fetal-sbaa"


@hostile(*MODEL, says="hf:fetal")
def a_hub_reference_without_a_repository(_: Workspace) -> str:
    return "hf:fetal"


@hostile(*MODEL, "hub", says=("hf:lab/tiny", "offline"), code=1)
def a_hub_model_without_network(_: Workspace) -> str:
    return "hf:lab/tiny"


@hostile(*MODEL, says="neurogen.json")
def a_manifest_that_is_not_json(made: Workspace) -> None:
    (made.model / "neurogen.json").write_text('{"format": ', encoding="utf-8")


@hostile(*MODEL, says="neurogen.json")
def a_manifest_in_another_encoding(made: Workspace) -> None:
    (made.model / "neurogen.json").write_bytes(b'{"name": "\xff\xfe"}')


@hostile(*MODEL, says="neurogen.json")
def a_manifest_of_another_program(made: Workspace) -> None:
    (made.model / "neurogen.json").write_text('{"architectures": ["Bert"]}', encoding="utf-8")


@hostile(*MODEL, says=("newer NeuroGen", "99"), code=1)
def a_manifest_of_a_newer_schema(made: Workspace) -> None:
    edit_manifest(made, schema=99)


@hostile(*MODEL, says="model.safetensors")
def weights_that_are_missing(made: Workspace) -> None:
    (made.model / "model.safetensors").unlink()


@hostile(*MODEL, says="model.safetensors")
def weights_that_are_truncated(made: Workspace) -> None:
    path = made.model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@hostile(*MODEL, says="model.safetensors")
def weights_that_were_tampered_with(made: Workspace) -> None:
    path = made.model / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@hostile(*MODEL, says=("../cohort/participants.tsv", "not a relative path"))
def a_manifest_that_reaches_outside_its_folder(made: Workspace) -> None:
    facts = manifest(made)["files"]
    edit_manifest(made, files={**facts, "../cohort/participants.tsv": facts["model.safetensors"]})


@hostile("atlas", "initial", says="telepathy")
def a_model_of_an_unknown_kind(made: Workspace) -> None:
    edit_manifest(made, kind="telepathy")


@hostile("atlas", "initial", says="{folder}")
def an_atlas_without_subjects(made: Workspace) -> None:
    edit_manifest(made, subjects=None)


@hostile("atlas", says="{folder}")
def an_atlas_of_another_network(made: Workspace) -> None:
    edit_manifest(made, network={**manifest(made)["network"], "hidden": 23})


@hostile("atlas", says="{folder}")
def an_atlas_with_more_images_than_outputs(made: Workspace) -> None:
    edit_manifest(made, modalities=["T2w", "T1w"])


@hostile("atlas", "initial", says="{folder}")
def an_atlas_with_fewer_subjects_than_latents(made: Workspace) -> None:
    edit_manifest(made, subjects=manifest(made)["subjects"][:2])


@hostile("initial", says="layers.0.linear.weight")
def an_atlas_of_other_sizes_than_the_run(made: Workspace) -> None:
    edit_config(made, "hidden: 24", "hidden: 16")


@hostile("initial", says="labels")
def an_atlas_of_other_labels_than_the_run(made: Workspace) -> None:
    made.labels.write_text(made.labels.read_text(encoding="utf-8").replace("brainstem", "stem"), encoding="utf-8")


# Tables, and the volumes they name


@hostile("table", says="no-such-table.tsv")
def a_table_that_is_not_there(made: Workspace) -> Path:
    return made.table.with_name("no-such-table.tsv")


@hostile("table", says="participants.tsv")
def a_table_without_rows(made: Workspace) -> None:
    made.table.write_text(made.table.read_text().splitlines()[0] + "\n", encoding="utf-8")


@hostile("table", says="participants.tsv")
def an_empty_table(made: Workspace) -> None:
    made.table.write_bytes(b"")


@hostile("table", says="participants.tsv")
def a_table_that_is_binary(made: Workspace) -> None:
    made.table.write_bytes(bytes(range(256)) * 4)


@hostile("table", says="T2w")
def a_table_without_the_image_column(made: Workspace) -> None:
    edit_table(made, "T2w\t", "t2star\t")


@hostile("table", says="scan_age")
def a_table_without_the_age(made: Workspace) -> None:
    edit_table(made, "scan_age", "weeks")


@hostile("table", says="lv_volume_normed")
def a_table_without_a_condition(made: Workspace) -> None:
    edit_table(made, "lv_volume_normed", "lv_volume")


@hostile("table", says=("sub-02", "lv_volume_normed"))
def a_table_that_lacks_a_value(made: Workspace) -> None:
    edit_table(made, "27.0\t0.2\t", "27.0\tn/a\t")


@hostile("table", says=("sub-02", "scan_age"))
def an_age_that_is_no_number(made: Workspace) -> None:
    edit_table(made, "27.0", "27 weeks")


@hostile("table", says="sub-02_T2w.nii.gz")
def a_table_that_names_a_missing_file(made: Workspace) -> None:
    made.image().unlink()


@hostile("table", says="sub-02_T2w.nii.gz")
def an_image_that_is_truncated(made: Workspace) -> None:
    made.image().write_bytes(made.image().read_bytes()[:2000])


@hostile("table", says="sub-02_T2w.nii.gz")
def an_image_that_is_empty(made: Workspace) -> None:
    made.image().write_bytes(b"")


@hostile("table", says="sub-02_T2w.nii.gz")
def an_image_that_is_text(made: Workspace) -> None:
    made.image().write_text("see the other folder", encoding="utf-8")


@hostile("table", says=("T2w of sub-02", "NaN"))
def an_image_with_nan(made: Workspace) -> None:
    image = voxels(made.image()).copy()
    image[3, 4, 5] = np.nan
    rewrite(made.image(), image)


@hostile("table", says=("T2w of sub-02", "infinite"))
def an_image_with_infinity(made: Workspace) -> None:
    image = voxels(made.image()).copy()
    image[3, 4, 5:7] = np.inf
    rewrite(made.image(), image)


@hostile("table", says=("T2w of sub-02", "3-D"))
def an_image_with_time_points(made: Workspace) -> None:
    rewrite(made.image(), np.stack([voxels(made.image())] * 2, axis=-1))


@hostile("table", says=("Seg of sub-02",))
def a_label_map_with_time_points(made: Workspace) -> None:
    path = made.image(column="Seg")
    rewrite(path, np.stack([voxels(path)] * 2, axis=-1))


@hostile("table", says="sub-02")
def a_label_map_that_is_all_zero(made: Workspace) -> None:
    path = made.image(column="Seg")
    rewrite(path, np.zeros_like(voxels(path)))


@hostile("table", says=("Seg of sub-02",))
def a_label_map_of_fractions(made: Workspace) -> None:
    path = made.image(column="Seg")
    rewrite(path, voxels(path).astype(np.float32) + 0.5)


@hostile("table", says=("Seg of sub-02", "77"))
def a_label_map_with_a_value_the_table_lacks(made: Workspace) -> None:
    path = made.image(column="Seg")
    labels = voxels(path).copy()
    labels[labels == 1] = 77
    rewrite(path, labels)


@hostile("table", says=("sub-02", "same space"))
def images_on_different_grids(made: Workspace) -> None:
    rewrite(made.image(), voxels(made.image())[:-1])


@hostile("table", says=("sub-02", "same space"))
def images_in_different_places(made: Workspace) -> None:
    affine = np.diag([5.0, 5, 5, 1])
    rewrite(made.image(), voxels(made.image()), affine)


@hostile("table", says="sub-02")
def a_subject_that_is_there_twice(made: Workspace) -> None:
    edit_table(made, "sub-03\t", "sub-02\t")


# Subjects, columns, label tables


values("subjects", ("sub-99", "sub-99"), ("sub-02,sub_01", "sub_01"))
values("segmentation", ("aseg", "aseg"))


@hostile("labels", says="labels.tsv")
def a_label_table_without_names(made: Workspace) -> None:
    made.labels.write_text(made.labels.read_text(encoding="utf-8").replace("name", "title"), encoding="utf-8")


@hostile("labels", says="white")
def a_label_table_with_a_value_that_is_no_number(made: Workspace) -> None:
    made.labels.write_text("index\tname\n0\tbackground\nwhite\tmatter\n", encoding="utf-8")


# Settings


@hostile("config", says="no-such.yaml")
def settings_that_are_not_there(made: Workspace) -> Path:
    return made.config.with_name("no-such.yaml")


@hostile("config", says="cohort")
def settings_that_are_a_folder(made: Workspace) -> Path:
    return made.table.parent


@hostile("config", says=("optimizer", "optimiser"))
def settings_with_an_unknown_key(made: Workspace) -> None:
    edit_config(made, "optimiser:", "optimizer:")


@hostile("config", says=("optimiser.point", "points"))
def settings_with_an_abbreviated_key(made: Workspace) -> None:
    edit_config(made, "points: 1200", "point: 1200")


@hostile("config", says=("settings.yaml", "line"))
def settings_that_are_not_yaml(made: Workspace) -> None:
    edit_config(made, "data:", "data: [")


@hostile("config", says=("settings.yaml", "license"))
def settings_with_a_key_twice(made: Workspace) -> None:
    edit_config(made, "license: CC0-1.0", "license: CC0-1.0\nlicense: MIT")


@hostile("config", says="network.hidden")
def settings_with_a_number_out_of_range(made: Workspace) -> None:
    edit_config(made, "hidden: 24", "hidden: 0")


@hostile("config", says="optimiser.rate")
def settings_with_words_for_a_number(made: Workspace) -> None:
    edit_config(made, "rate: 0.005", "rate: fast")


@hostile("config", says="settings.yaml")
def settings_that_are_binary(made: Workspace) -> None:
    made.config.write_bytes(b"\x00\xff\xfe\x80" * 30)


@hostile("config", says="head_size")
def settings_with_a_condition_the_table_lacks(made: Workspace) -> None:
    edit_config(made, "sex: {kind: categoric}", "head_size: {}")


@hostile("config", says="tail")
def settings_with_a_weight_for_no_label(made: Workspace) -> None:
    edit_config(made, "optimiser: {", "optimiser: {class_weights: {tail: 2}, ")


# Checkpoints of other programs


class RunsCode:
    """Pickles as a call that leaves a file behind."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (os.mkdir, ("code-was-run",))


@hostile("checkpoint", says="no-such.pth")
def a_checkpoint_that_is_not_there(made: Workspace) -> Path:
    return made.checkpoint.with_name("no-such.pth")


@hostile("checkpoint", says="cohort")
def a_checkpoint_that_is_a_folder(made: Workspace) -> Path:
    return made.table.parent


@hostile("checkpoint", says="checkpoint_epoch_5.pth")
def a_checkpoint_that_is_truncated(made: Workspace) -> None:
    made.checkpoint.write_bytes(made.checkpoint.read_bytes()[:5000])


@hostile("checkpoint", says=("checkpoint_epoch_5.pth", "empty"))
def a_checkpoint_that_is_empty(made: Workspace) -> None:
    made.checkpoint.write_bytes(b"")


@hostile("checkpoint", says=("checkpoint_epoch_5.pth", "web page"))
def a_checkpoint_that_is_a_web_page(made: Workspace) -> None:
    made.checkpoint.write_text("<!DOCTYPE html><title>Sign in</title>", encoding="utf-8")


@hostile("checkpoint", says=("checkpoint_epoch_5.pth", "latents"))
def a_checkpoint_of_another_network(made: Workspace) -> None:
    write_published_checkpoint(made.checkpoint, latents=None)


@hostile("checkpoint", says="checkpoint_epoch_5.pth")
def a_checkpoint_with_fewer_subjects_than_its_table(made: Workspace) -> None:
    import torch

    write_published_checkpoint(made.checkpoint, latents=torch.zeros(3, 4, 2, 2, 2))


@hostile("checkpoint", says=("checkpoint_epoch_5.pth", "code"))
def a_checkpoint_with_code_in_it(made: Workspace) -> None:
    write_published_checkpoint(made.checkpoint, args=RunsCode())


@hostile("checkpoint", says=("checkpoint_epoch_5.pth", "code"))
def a_plain_pickle_with_code_in_it(made: Workspace) -> None:
    made.checkpoint.write_bytes(pickle.dumps({"latents": RunsCode()}))


@hostile("checkpoint", says="checkpoint_epoch_5.pth")
def an_archive_that_fills_the_memory(made: Workspace) -> None:
    with zipfile.ZipFile(made.checkpoint, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**20))


@hostile("published_config", says="config_data.yaml")
def published_settings_of_another_shape(made: Workspace) -> None:
    made.published_config.write_text("- 1\n- 2\n", encoding="utf-8")


@hostile("published_config", says="label_names")
def published_settings_without_labels(made: Workspace) -> None:
    text = made.published_config.read_text(encoding="utf-8")
    made.published_config.write_text(text.replace("label_names", "names"), encoding="utf-8")


values("system", ("cinemaa", "cinemaa"), ("freesurfer", "freesurfer"))
values("hub", ("lab/tiny", "lab/tiny"), ("hf:lab", "hf:lab"), ("hf:../..", "hf:../.."))


# Ages, conditions, grids, devices


values(
    "age",
    ("60", "60"),
    ("-1", "-1"),
    ("nan", "nan"),
    ("inf", "inf"),
    ("1e400", "1e400"),
    ("thirty", "thirty"),
    ("", "''"),
    ("24,28", "24,28"),
)
values(
    "ages",
    ("34:21:1", "34:21:1"),
    ("21:34:0", "21:34:0"),
    ("21:34:-1", "21:34:-1"),
    ("21:34", "21:34"),
    ("21:34:1:2", "21:34:1:2"),
    ("21:nan:1", "21:nan:1"),
    ("0:1e9:1e-3", "0:1e9:1e-3"),
    ("0:1e308:1e-308", "0:1e308:1e-308"),
    ("young:old:1", "young:old:1"),
    ("24:60:12", "36"),
)
values(
    "condition",
    ("head_size=3", "head_size"),
    ("lv_volume_norm=0.12", "lv_volume_norm"),
    ("lv_volume_normed", "NAME=VALUE"),
    ("=0.12", "NAME=VALUE"),
    ("lv_volume_normed=", "NAME=VALUE"),
    ("lv_volume_normed=0.12,,0.2", "NAME=VALUE"),
    ("lv_volume_normed=wide", "wide"),
    ("lv_volume_normed=nan", "nan"),
    ("lv_volume_normed=inf", "inf"),
    ("lv_volume_normed=9", "9"),
    ("lv_volume_normed=0.12,0.12", "twice"),
    ("sex=X", "'X'"),
    (("sex=F", "sex=M"), "'sex' is set twice"),
    ("x" * 20_000 + "=1", "xxx"),
    ("sex=" + "F" * 20_000, "FFF"),
)
values(
    "spacing",
    ("0", "0"),
    ("-1", "-1"),
    ("nan", "nan"),
    ("inf", "inf"),
    ("1e-9", "voxels"),
    ("1,2", "'1,2'"),
    ("1,0,1", "(1.0, 0.0, 1.0)"),
    ("fine", "fine"),
    ("", "''"),
)
values(
    "box",
    ("50,-50,-40,40,-24,24", "box"),
    ("-50,50", "box"),
    ("0,0,0,0,0,0", "box"),
    ("-1,1,-1,1,-1,nan", "box"),
    ("-1e9,1e9,-1e9,1e9,-1e9,1e9", "voxels"),
    ("all", "all"),
)
values("bandwidth", ("0", "0"), ("-2", "-2"), ("nan", "nan"), ("inf", "inf"), ("wide", "wide"), ("1,2", "1,2"))
values("device", ("tpu", "tpu"), ("cuda:x", "cuda:x"), ("cpu:", "cpu:"), ("auto:1", "auto:1"), ("mps:x", "mps:x"))


# Images of all commands

IMAGES = (
    *("scan", "brain", "head", "thin_scan", "thick_scan", "guide_scan", "fixed_scan", "moving_scan", "carried", "like"),
    *("mask", "label_map", "fixed_mask", "moving_mask", "fixed_label_map", "moving_label_map"),
)


@hostile(*IMAGES, says=("metres.nii", "0.0045 x", "--any-size"))
def an_image_in_metres(made: Workspace) -> Path:
    image = nibabel.load(made.image())
    path = made.folder / "metres.nii"
    nibabel.save(nibabel.Nifti1Image(voxels(made.image()), np.diag([1e-3, 1e-3, 1e-3, 1]) @ image.affine), path)
    return path


# Places to write


@hostile("out", says="settings.yaml")
def an_output_folder_that_is_a_file(made: Workspace) -> Path:
    return made.config


@hostile("out", says="settings.yaml")
def an_output_folder_inside_a_file(made: Workspace) -> Path:
    return made.config / "results" / "brain"


def manifest(made: Workspace) -> dict[str, object]:
    """Return the content of the model's manifest."""
    return json.loads((made.model / "neurogen.json").read_text(encoding="utf-8"))


def edit_manifest(made: Workspace, **changes: object) -> None:
    """Replace fields of the model's manifest; None takes a field out."""
    fields = {name: value for name, value in {**manifest(made), **changes}.items() if value is not None}
    (made.model / "neurogen.json").write_text(json.dumps(fields), encoding="utf-8")


def edit_table(made: Workspace, old: str, new: str) -> None:
    """Replace a text of the cohort's table."""
    _edit(made.table, old, new)


def edit_config(made: Workspace, old: str, new: str) -> None:
    """Replace a text of the settings."""
    _edit(made.config, old, new)


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
