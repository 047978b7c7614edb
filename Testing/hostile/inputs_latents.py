"""Bad inputs of `neurogen atlas latents`: the table whose columns are predicted, and the columns' names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from Testing.hostile.inputs import edit_table, hostile, values

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.hostile.workspace import Workspace


@hostile("covariates", says="no-such-table.tsv")
def covariates_that_are_not_there(made: Workspace) -> Path:
    return made.table.with_name("no-such-table.tsv")


@hostile("covariates", says="participants.tsv")
def covariates_that_are_binary(made: Workspace) -> None:
    made.table.write_bytes(bytes(range(256)) * 4)


@hostile("covariates", says="participants.tsv")
def covariates_without_rows(made: Workspace) -> None:
    made.table.write_text(made.table.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")


@hostile("covariates", says="participant_id")
def covariates_without_ids(made: Workspace) -> None:
    edit_table(made, "participant_id", "who")


@hostile("covariates", says=("sub-01", "case-01"))
def covariates_of_other_people(made: Workspace) -> None:
    edit_table(made, "sub-0", "case-0")


@hostile("covariates", says="sub-02")
def covariates_that_list_somebody_twice(made: Workspace) -> None:
    edit_table(made, "sub-03\t", "sub-02\t")


values("columns", ("head_size", "head_size"), ("", "''"), ("sex,T2w", "'T2w'"))
