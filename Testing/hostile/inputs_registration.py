"""Bad inputs of `neurogen registration train`: the scans, and the numbers of a short training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from Testing.hostile.inputs import edit_table, hostile, values
from Testing.hostile.workspace import rewrite, voxels

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.hostile.workspace import Workspace


@hostile("scans", says="no-such-table.tsv")
def scans_that_are_not_there(made: Workspace) -> Path:
    return made.table.with_name("no-such-table.tsv")


@hostile("scans", says="participants.tsv")
def a_binary_table_of_scans(made: Workspace) -> None:
    made.table.write_bytes(bytes(range(256)) * 4)


@hostile("scans", says="T2w")
def scans_without_an_image_column(made: Workspace) -> None:
    edit_table(made, "T2w\t", "t2star\t")


@hostile("scans", says="sub-02_T2w.nii.gz")
def a_scan_whose_file_is_missing(made: Workspace) -> None:
    made.image().unlink()


@hostile("scans", says="sub-02_T2w.nii.gz")
def a_scan_that_is_truncated(made: Workspace) -> None:
    made.image().write_bytes(made.image().read_bytes()[:2000])


@hostile("scans", says=("sub-02_T2w.nii.gz", "NaN"))
def a_scan_with_nan(made: Workspace) -> None:
    image = voxels(made.image()).copy()
    image[3, 4, 5] = np.nan
    rewrite(made.image(), image)


@hostile("scans", says=("sub-02_T2w.nii.gz", "3-D"))
def a_scan_with_time_points(made: Workspace) -> None:
    rewrite(made.image(), np.stack([voxels(made.image())] * 2, axis=-1))


@hostile("scans", says=("sub-02", "same value"))
def a_scan_without_contrast(made: Workspace) -> None:
    rewrite(made.image(), np.full_like(voxels(made.image()), 7))


@hostile("scans", says=("sub-02", "same space"))
def scans_that_do_not_fit_their_labels(made: Workspace) -> None:
    rewrite(made.image(), voxels(made.image())[:-1])


values("scan_ids", ("sub-9", "sub-9"), ("sub-01", "needs 2 scans, there are 1"))
values("scan_labels", ("aseg", "aseg"))
values("short_steps", ("0", "'train.steps' is 0"), ("many", "'train.steps' is 'many'"), ("2.5", "'train.steps' is 2.5"))
values("pair_batch", ("0", "'data.batch' is 0"), ("two", "'data.batch' is 'two'"))
