"""Bad files of the published atlas program: its settings, and atlases that it wrote as 4-D files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from Testing.hostile.inputs import hostile, values
from Testing.hostile.workspace import FRAMES, rewrite, voxels

if TYPE_CHECKING:
    from Testing.hostile.workspace import Workspace


def copied(made: Workspace, name: str) -> Path:
    """Return a copy of a good file that may be spoiled."""
    return Path(shutil.copy(made.published / name, made.folder / name))


def edited(made: Workspace, name: str, old: str, new: str) -> Path:
    """Return a copy of a good settings file with one text replaced."""
    path = copied(made, name)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


# Settings


@hostile("recipe_data", "recipe_atlas", says="no-such.yaml")
def published_settings_that_are_not_there(made: Workspace) -> Path:
    return made.folder / "no-such.yaml"


@hostile("recipe_data", "recipe_atlas", says="cohort")
def published_settings_that_are_a_folder(made: Workspace) -> Path:
    return made.table.parent


@hostile("recipe_data", "recipe_atlas", says=("bad.yaml", "line 1"))
def published_settings_that_are_not_yaml(made: Workspace) -> Path:
    path = made.folder / "bad.yaml"
    path.write_text("tiny: [", encoding="utf-8")
    return path


@hostile("recipe_data", "recipe_atlas", says=("bad.yaml", "tag"))
def published_settings_with_code_in_them(made: Workspace) -> Path:
    path = made.folder / "bad.yaml"
    path.write_text("tiny: !!python/object/apply:os.mkdir [code-was-run]\n", encoding="utf-8")
    return path


@hostile("recipe_data", "recipe_atlas", says="bad.yaml")
def published_settings_that_are_a_list(made: Workspace) -> Path:
    path = made.folder / "bad.yaml"
    path.write_text("- tiny\n", encoding="utf-8")
    return path


@hostile("recipe_data", "recipe_atlas", says="bad.yaml")
def published_settings_that_refer_to_themselves(made: Workspace) -> Path:
    path = made.folder / "bad.yaml"
    path.write_text("tiny: &a {again: *a}\n", encoding="utf-8")
    return path


@hostile("recipe_data", says=("data.yaml", "label_names"))
def a_published_data_set_without_labels(made: Workspace) -> Path:
    return edited(made, "data.yaml", "label_names", "names")


@hostile("recipe_data", says=("data.yaml", "modalities", "Seg"))
def a_published_data_set_without_segmentation(made: Workspace) -> Path:
    return edited(made, "data.yaml", "[T2w, Seg]", "[T2w, T1w]")


@hostile("recipe_data", says=("data.yaml", "lv_volume_normed"))
def a_published_condition_without_a_range(made: Workspace) -> Path:
    return edited(made, "data.yaml", "min: 0.1, ", "")


@hostile("recipe_data", says=("data.yaml", "scan_age"))
def a_published_constraint_of_an_unknown_type(made: Workspace) -> Path:
    return edited(made, "data.yaml", "type: numeric, min: 20", "type: magic, min: 20")


@hostile("recipe_atlas", says=("atlas.yaml", "lr_latent", "quick"))
def a_published_rate_that_is_a_word(made: Workspace) -> Path:
    return edited(made, "atlas.yaml", "5.0e-4", "quick")


@hostile("recipe_atlas", says=("atlas.yaml", "inr_decoder"))
def a_published_network_of_another_shape(made: Workspace) -> Path:
    return edited(made, "atlas.yaml", "[4, 2, 2, 2]", "[4]")


values("recipe_name", ("tny", "tny"), ("", "''"))
values("recipe_points", ("0", "0"), ("-5", "-5"), ("nan", "nan"), ("many", "many"), ("1,2", "1,2"))


# Atlases that are 4-D files


@hostile("precomputed", "frame_labels", "certainty", says="no-such.nii.gz")
def frames_that_are_not_there(made: Workspace) -> Path:
    return made.folder / "no-such.nii.gz"


@hostile("precomputed", "frame_labels", "certainty", says="cohort")
def frames_that_are_a_folder(made: Workspace) -> Path:
    return made.table.parent


@hostile("precomputed", "frame_labels", "certainty", says="sub-02_T2w.nii.gz")
def frames_that_are_one_volume(made: Workspace) -> Path:
    return made.image()


@hostile("precomputed", "frame_labels", "certainty", says="ventricles.nii.gz")
def frames_that_are_text(made: Workspace) -> Path:
    path = made.folder / "ventricles.nii.gz"
    path.write_text("see the other folder", encoding="utf-8")
    return path


@hostile("precomputed", "frame_labels", "certainty", says=f"ventricles_{FRAMES}")
def frames_that_are_truncated(made: Workspace) -> Path:
    path = copied(made, f"ventricles_{FRAMES}")
    path.write_bytes(path.read_bytes()[:300])
    return path


@hostile("precomputed", "frame_labels", "certainty", says=("ventricles", "age 26"))
def frames_with_nan(made: Workspace) -> Path:
    path = copied(made, f"ventricles_{FRAMES}")
    array = voxels(path).copy()
    array[2, 3, 4, 1] = np.nan
    rewrite(path, array)
    return path


@hostile("precomputed", "frame_labels", "certainty", says=("ventricles", "do not fit together"))
def frames_of_another_shape(made: Workspace) -> Path:
    path = copied(made, f"ventricles_{FRAMES}")
    rewrite(path, voxels(path)[:-1])
    return path


@hostile("precomputed", "frame_labels", "certainty", says=("ventricles", "do not fit together"))
def frames_in_another_place(made: Workspace) -> Path:
    path = copied(made, f"ventricles_{FRAMES}")
    affine = np.diag([5.0, 5, 5, 1])
    affine[0, 3] = 4
    rewrite(path, voxels(path), affine)
    return path


@hostile("frame_labels", says=(f"T2w_{FRAMES}", "label map"))
def an_image_for_label_maps(made: Workspace) -> Path:
    return made.published / f"T2w_{FRAMES}"


@hostile("certainty", says=("T2w", "no label"))
def a_certainty_map_of_no_label(made: Workspace) -> Path:
    return made.published / f"T2w_{FRAMES}"


@hostile("certainty", says=(f"ventricles_{FRAMES}", "not probabilities"))
def a_certainty_map_beyond_one(made: Workspace) -> Path:
    path = copied(made, f"ventricles_{FRAMES}")
    rewrite(path, voxels(path) * 100)
    return path


values(
    "frame_ages",
    ("24:28:1", "5 ages"),
    ("24,28", "2 ages"),
    ("28,26,24", "do not ascend"),
    ("24,24,28", "do not ascend"),
    ("24,26,nan", "do not ascend"),
    ("24:28:0", "24:28:0"),
    ("young,old", "young,old"),
    ("", "''"),
)
