"""Good and bad files of the published atlas program: its settings, and atlases that it wrote as 4-D files."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np

from Testing.geometry import a_brain_phantom
from Testing.hostile.inputs import hostile, values
from Testing.hostile.workspace import rewrite, voxels

if TYPE_CHECKING:
    from Testing.hostile.workspace import Workspace

_FOLDER = tempfile.TemporaryDirectory(prefix="neurogen-published-", ignore_cleanup_errors=True)
PUBLISHED = Path(_FOLDER.name)
"""The good files; bad ones are made from copies in the workspace."""

END = "ga=24-28_cond=0_ep=1.nii.gz"

DATA = """\
tiny:
  dataset_name: tiny
  subject_ids: ./configs/subject_ids.yaml
  tsv_file: ./configs/people.tsv
  modalities: [T2w, Seg]
  conditions: {scan_age: false, lv_volume_normed: true}
  constraints:
    scan_age: {type: numeric, min: 20, max: 40, distribution: {type: uniform_fillup, priority: 1}}
    lv_volume_normed: {type: numeric, min: 0.1, max: 0.23}
  label_names: [Clear, brain, BG]
  class_weights: [0.0, 1.0, 1.0]
  world_bbox: [60, 70, 50]
  normalize_values: minmax
"""

ATLAS = """\
config_data: tiny
output_dir: ./tmp
device: cuda
seed: 42
mask_reconstruction: True
optimizer:
  lr_inr: 1.0e-4
  inr_weight_decay: 0.0
  lr_latent: 5.0e-4
  latent_weight_decay: 0.0
  lr_tf: 7.5e-3
  tf_weight_decay: 0.0
  tf_weight: 0.0
  loss_metric: l1
  seg_weight: 1.0
  scheduler: {type: cosine, eta_min: 2.5e-5}
inr_decoder:
  tf_dim: 6
  cnn_kernel_size: 0
  latent_dim: [4, 2, 2, 2]
  in_dim: 3
  out_dim: [1, 3]
  hidden_size: 8
  num_hidden_layers: 2
  modulated_layers: [1]
  omega: [30, 30]
atlas_gen: {gaussian_span: 1.0, cond_scale: 0.1}
n_subjects: {train: 4, val: 2}
epochs: {train: 2, val: 1}
batch_size: 250
n_samples: 500
"""


def _write_good_files() -> None:
    """Write what the published program reads and writes: settings, and three frames of a head."""
    (PUBLISHED / "data.yaml").write_text(DATA, encoding="utf-8")
    (PUBLISHED / "atlas.yaml").write_text(ATLAS, encoding="utf-8")
    head = a_brain_phantom((16, 18, 14), 5.0)
    frames = {
        "T2w": head.image.array / head.image.array.max(),
        "Seg": head.labels.array.astype(np.float32),
        "ventricles": (head.labels.array == 2).astype(np.float32),
    }
    for name, frame in frames.items():
        array = np.stack([frame * (0.9 if name == "T2w" else 1), frame, frame], axis=-1).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(array, np.diag([5.0, 5, 5, 1])), PUBLISHED / f"{name}_{END}")


_write_good_files()


def copied(made: Workspace, name: str) -> Path:
    """Return a copy of a good file that may be spoiled."""
    return Path(shutil.copy(PUBLISHED / name, made.folder / name))


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


@hostile("precomputed", "frame_labels", "certainty", says=f"ventricles_{END}")
def frames_that_are_truncated(made: Workspace) -> Path:
    path = copied(made, f"ventricles_{END}")
    path.write_bytes(path.read_bytes()[:300])
    return path


@hostile("precomputed", "frame_labels", "certainty", says=("ventricles", "age 26"))
def frames_with_nan(made: Workspace) -> Path:
    path = copied(made, f"ventricles_{END}")
    array = voxels(path).copy()
    array[2, 3, 4, 1] = np.nan
    rewrite(path, array)
    return path


@hostile("precomputed", "frame_labels", "certainty", says=("ventricles", "do not fit together"))
def frames_of_another_shape(made: Workspace) -> Path:
    path = copied(made, f"ventricles_{END}")
    rewrite(path, voxels(path)[:-1])
    return path


@hostile("precomputed", "frame_labels", "certainty", says=("ventricles", "do not fit together"))
def frames_in_another_place(made: Workspace) -> Path:
    path = copied(made, f"ventricles_{END}")
    affine = np.diag([5.0, 5, 5, 1])
    affine[0, 3] = 4
    rewrite(path, voxels(path), affine)
    return path


@hostile("frame_labels", says=(f"T2w_{END}", "label map"))
def an_image_for_label_maps(_: Workspace) -> Path:
    return PUBLISHED / f"T2w_{END}"


@hostile("certainty", says=("T2w", "no label"))
def a_certainty_map_of_no_label(_: Workspace) -> Path:
    return PUBLISHED / f"T2w_{END}"


@hostile("certainty", says=(f"ventricles_{END}", "no probabilities"))
def a_certainty_map_beyond_one(made: Workspace) -> Path:
    path = copied(made, f"ventricles_{END}")
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
