"""Bad inputs of `neurogen superres run`, `batch` and `evaluate`: scans, guides, models, tables, numbers."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np

from Testing.hostile.inputs import edit_table, hostile, values
from Testing.hostile.workspace import rewrite, voxels

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.hostile.workspace import Workspace


def spoiled(made: Workspace, array: np.ndarray) -> Path:
    """Write other voxels with the scan's header."""
    path = shutil.copyfile(made.image(), made.folder / "spoiled.nii.gz")
    rewrite(path, array)
    return path


@hostile("thick_scan", "guide_scan", says="no-such-scan.nii.gz")
def a_thick_scan_that_is_not_there(made: Workspace) -> Path:
    return made.folder / "no-such-scan.nii.gz"


@hostile("thick_scan", "guide_scan", says="model")
def a_thick_scan_that_is_a_folder_without_dicom(made: Workspace) -> Path:
    return made.model


@hostile("thick_scan", "guide_scan", says="truncated.nii.gz")
def a_thick_scan_that_is_truncated(made: Workspace) -> Path:
    path = made.folder / "truncated.nii.gz"
    path.write_bytes(made.image().read_bytes()[:1500])
    return path


@hostile("thick_scan", "guide_scan", says=("spoiled.nii.gz", "NaN"))
def a_thick_scan_with_nan(made: Workspace) -> Path:
    array = voxels(made.image()).astype(np.float32)
    array[2, 3, 4] = np.nan
    return spoiled(made, array)


@hostile("thick_scan", "guide_scan", says=("spoiled.nii.gz", "2 channels"))
def a_thick_scan_with_time_points(made: Workspace) -> Path:
    return spoiled(made, np.stack([voxels(made.image())] * 2, axis=-1))


@hostile("thick_scan", "guide_scan", says=("spoiled.nii.gz", "same value"))
def a_thick_scan_without_contrast(made: Workspace) -> Path:
    return spoiled(made, np.full_like(voxels(made.image()), 5))


@hostile("thick_scan", says="too little of a head")
def a_thick_scan_of_one_slice(made: Workspace) -> Path:
    return spoiled(made, voxels(made.image())[:, :, 6:7])


@hostile("superres_model", says="no-such-model")
def a_superres_model_that_is_not_there(made: Workspace) -> Path:
    return made.folder / "no-such-model"


@hostile("superres_model", says="not a super-resolution")
def a_model_that_resolves_nothing(made: Workspace) -> Path:
    return made.model


@hostile("superres_model", says=("bad-superres", "model.safetensors"))
def a_superres_model_that_is_truncated(made: Workspace) -> Path:
    bad = shutil.copytree(made.superres, made.folder / "bad-superres")
    weights = bad / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:900])
    return bad


@hostile("thick_table", says="no-such-table.tsv")
def a_table_of_thick_scans_that_is_not_there(made: Workspace) -> Path:
    return made.table.with_name("no-such-table.tsv")


@hostile("thick_table", says="T2w")
def a_table_without_thick_scans(made: Workspace) -> None:
    edit_table(made, "\tT2w", "\tother")


@hostile("thick_table", says="../sub-01")
def a_table_with_an_id_that_leads_elsewhere(made: Workspace) -> None:
    edit_table(made, "sub-01\t", "../sub-01\t")


values("thick_columns", ("T3w", "'T3w'"), (",", "','"))
values("thickness", ("0", "is 0"), ("-4", "is -4"), ("nan", "nan"), ("thick", "'thick'"))
values("gap", ("inf", "inf"), ("wide", "'wide'"))
values("result_spacing", ("0", "'spacing' is 0"), ("fine", "'fine'"), ("0.01", "0.01"), ("100", "100"))
values("corrections", ("-1", "'back_projection' is -1"), ("1.5", "1.5"))
values("slice_direction", ("upwards", "upwards"))
values("most_scans", ("0", "'most' is 0"), ("all", "'all'"))
