"""Bad inputs of `neurogen registration evaluate`: the table of pairs, the run, and which of its checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from Testing.hostile.inputs import hostile, values
from Testing.hostile.workspace import rewrite, voxels

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.hostile.workspace import Workspace


def _replaced(made: Workspace, old: str, new: str) -> None:
    made.pairs.write_text(made.pairs.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


@hostile("pairs", says="no-such-pairs.tsv")
def pairs_that_are_not_there(made: Workspace) -> Path:
    return made.pairs.with_name("no-such-pairs.tsv")


@hostile("pairs", says="pairs.tsv")
def a_binary_table_of_pairs(made: Workspace) -> None:
    made.pairs.write_bytes(bytes(range(256)) * 4)


@hostile("pairs", says=("pairs.tsv", "moving"))
def pairs_without_a_moving_column(made: Workspace) -> None:
    _replaced(made, "fixed\tmoving\t", "fixed\tfloating\t")


@hostile("pairs", says=("fixed_label", "Did you mean 'fixed_labels'"))
def pairs_with_a_misspelt_column(made: Workspace) -> None:
    _replaced(made, "fixed_labels", "fixed_label")


@hostile("pairs", says=("Row 1", "moving_labels"))
def a_pair_with_labels_of_one_image(made: Workspace) -> None:
    _replaced(made, "\tcohort/sub-03_Seg.nii.gz", "\tn/a")


@hostile("pairs", says="sub-02_T2w.nii.gz")
def a_pair_whose_file_is_missing(made: Workspace) -> None:
    made.image().unlink()


@hostile("pairs", says="x" * 40)
def a_pair_with_a_name_that_no_system_takes(made: Workspace) -> None:
    _replaced(made, "cohort/sub-02_T2w", "x" * 500)


@hostile("pairs", says="sub-02_T2w.nii.gz")
def a_pair_with_a_truncated_image(made: Workspace) -> None:
    made.image().write_bytes(made.image().read_bytes()[:2000])


@hostile("pairs", says=("sub-02_T2w.nii.gz", "NaN"))
def a_pair_with_nan(made: Workspace) -> None:
    image = voxels(made.image()).copy()
    image[3, 4, 5] = np.nan
    rewrite(made.image(), image)


@hostile("pairs", says=("fixed label map", "same space"))
def a_pair_whose_labels_lie_elsewhere(made: Workspace) -> None:
    path = made.image(column="Seg")
    rewrite(path, voxels(path)[:-1])


@hostile("pairs", says="twice")
def the_same_pair_twice(made: Workspace) -> None:
    header, row, _ = made.pairs.read_text(encoding="utf-8").split("\n")
    made.pairs.write_text("\n".join([header, row, row, ""]), encoding="utf-8")


@hostile("sitreg_run", says="no-such-run")
def a_run_that_is_not_there(made: Workspace) -> Path:
    return made.folder / "no-such-run"


@hostile("sitreg_run", says=("no checkpoint", "cohort"))
def a_run_without_checkpoints(made: Workspace) -> Path:
    return made.table.parent


@hostile("sitreg_run", says="training_config.json")
def a_run_without_settings(made: Workspace) -> None:
    (made.sitreg / "training_config.json").unlink()


@hostile("sitreg_run", says="model_epoch_004.pt")
def a_run_with_a_truncated_checkpoint(made: Workspace) -> None:
    path = made.sitreg / "model_epoch_004.pt"
    path.write_bytes(path.read_bytes()[:3000])


values("epochs", ("7", "There are: 4"), ("last", "'last'"), ("9-12", "9-12"), ("best", "best.json"), ("4-", "'4-'"))
values("select", ("tre", "fixed_landmarks"), ("Dice", "Dice"))
