"""Bad inputs of `neurogen mask` and `neurogen mask train`: scans, models, label maps, numbers."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import nibabel
import numpy as np

from NeuroGenLib.core.resources import resource
from Testing.drawn_head import coarse_head_scan
from Testing.hostile.inputs import edit_table, hostile, values
from Testing.hostile.workspace import rewrite, voxels

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.hostile.workspace import Workspace


def bad_head(made: Workspace, array: np.ndarray, width: float = 6.0) -> Path:
    """Write another array as the scan."""
    path = made.folder / "bad-head.nii.gz"
    nibabel.save(nibabel.Nifti1Image(array, np.diag([width, width, width, 1])), path)
    return path


@hostile("head", says="no-such-scan.nii.gz")
def a_head_that_is_not_there(made: Workspace) -> Path:
    return made.folder / "no-such-scan.nii.gz"


@hostile("head", says="x" * 40)
def a_head_with_a_name_that_no_system_takes(made: Workspace) -> str:
    return "x" * 5000 + ".nii.gz"


@hostile("head", says="model")
def a_head_that_is_a_folder_without_images(made: Workspace) -> Path:
    return made.model


@hostile("head", says="bad-head.nii.gz")
def a_head_that_is_empty(made: Workspace) -> Path:
    path = made.folder / "bad-head.nii.gz"
    path.touch()
    return path


@hostile("head", says="bad-head.nii.gz")
def a_head_that_is_truncated(made: Workspace) -> Path:
    path = made.folder / "bad-head.nii.gz"
    path.write_bytes(made.head.read_bytes()[:2000])
    return path


@hostile("head", says=("bad-head.nii.gz", "NaN"))
def a_head_with_nan(made: Workspace) -> Path:
    array = coarse_head_scan().array.copy()
    array[3, 4, 5] = np.nan
    return bad_head(made, array)


@hostile("head", says=("bad-head.nii.gz", "2 channels"))
def a_head_with_time_points(made: Workspace) -> Path:
    return bad_head(made, np.stack([coarse_head_scan().array] * 2, axis=-1))


@hostile("head", says=("bad-head.nii.gz", "same value"))
def a_head_without_contrast(made: Workspace) -> Path:
    return bad_head(made, np.full((30, 30, 30), 7, np.int16))


@hostile("head", says=("bad-head.nii.gz", "voxel size"))
def a_head_of_a_few_millimetres(made: Workspace) -> Path:
    return bad_head(made, coarse_head_scan().array, 0.1)


@hostile("head", says=("bad-head.nii.gz", "voxel size"))
def a_head_as_large_as_a_house(made: Workspace) -> Path:
    return bad_head(made, coarse_head_scan().array, 1000)


@hostile("mask_model", says="no-such-model")
def a_mask_model_that_is_not_there(made: Workspace) -> Path:
    return made.folder / "no-such-model"


@hostile("mask_model", says="not a brain mask")
def a_model_that_masks_nothing(made: Workspace) -> Path:
    return made.model


@hostile("mask_model", says=("bad-mask", "model.safetensors"))
def a_mask_model_that_is_truncated(made: Workspace) -> Path:
    bad = shutil.copytree(resource("models/brain-mask"), made.folder / "bad-mask")
    weights = bad / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:9000])
    return bad


values(
    "mask_spacing",
    ("0", "'spacing' is 0"),
    ("-1", "'spacing' is -1"),
    ("nan", "'nan'"),
    ("fine", "'fine'"),
    ("1,2,3", "'1,2,3'"),
    ("0.01", "0.01"),
    ("100", "100"),
)


@hostile("head_maps", says="no-such-table.tsv")
def head_maps_that_are_not_there(made: Workspace) -> Path:
    return made.table.with_name("no-such-table.tsv")


@hostile("head_maps", says=("sub-02_Seg.nii.gz", "no label of the brain"))
def head_maps_without_a_brain(made: Workspace) -> None:
    path = made.image(column="Seg")
    rewrite(path, np.full_like(voxels(path), 165))


@hostile("head_maps", says="sub-02_Seg.nii.gz")
def head_maps_of_fractions(made: Workspace) -> None:
    path = made.image(column="Seg")
    rewrite(path, voxels(path).astype(np.float32) + 0.5)


@hostile("head_maps", says="sub-02_Seg.nii.gz")
def a_head_map_that_is_missing(made: Workspace) -> None:
    made.image(column="Seg").unlink()


@hostile("head_maps", says="Seg")
def head_maps_without_their_column(made: Workspace) -> None:
    edit_table(made, "\tSeg", "\tlabels")


values("mask_steps", ("0", "'train.steps' is 0"), ("many", "'train.steps' is 'many'"))
values("mask_side", ("[40]", "40 voxels"), ("[]", "sides is empty"), ("wide", "view.sides"))
