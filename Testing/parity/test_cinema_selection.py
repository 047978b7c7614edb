"""The choice of subjects equals the published CINeMA program's, ids and order."""

from __future__ import annotations

import json
from dataclasses import replace

from cases import each_cinema_case
from cinema_case import config_of

from NeuroGenLib.atlas.data.dataset import select_cohort
from NeuroGenLib.cohort.subjects import Cohort, draw


@each_cinema_case("selection.json", "inputs/*")
def test_the_subjects_of_the_recorded_run(case):
    expected = json.loads((case / "selection.json").read_text())["of_the_run"]
    config = config_of(case)
    wanted = {"train": config.data.subjects, "val": config.validation.most}
    assert expected
    for split, ids in expected.items():
        data = replace(config.data, split=split, subjects=wanted[split])
        assert list(select_cohort(data, reference_compat=True).ids) == ids


@each_cinema_case("selection.json", "selection_input.tsv")
def test_the_subjects_of_a_synthetic_table(case):
    expected = json.loads((case / "selection.json").read_text())["synthetic_table"]
    data = config_of(case).data
    table = Cohort.from_table(case / "selection_input.tsv", (*data.modalities, data.segmentation))
    eligible = table.constrain(data.constraints)
    assert expected
    for wanted, ids in expected.items():
        assert list(draw(eligible, data.constraints, int(wanted), reference_compat=True).ids) == ids
