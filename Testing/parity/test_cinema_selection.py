"""The choice of subjects equals the published CINeMA program's, ids and order."""

from __future__ import annotations

import json

import pytest
import yaml
from cases import cinema_cases

from NeuroGenLib.cohort.subjects import Cohort, NumericConstraint, draw, read_splits
from NeuroGenLib.core.config import from_mapping

CASES = cinema_cases(requires=("selection.json", "selection_input.tsv", "configs"))
if not CASES:
    pytest.skip("no recorded CINeMA runs here (set NEUROGEN_PARITY)", allow_module_level=True)


def settings(case):
    (data,) = yaml.safe_load((case / "configs" / "config_data.yaml").read_text()).values()
    return data


def constraints(case):
    return {column: from_mapping(NumericConstraint, given) for column, given in settings(case)["constraints"].items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_subjects_of_the_recorded_run(case):
    expected = json.loads((case / "selection.json").read_text())["of_the_run"]
    wanted = yaml.safe_load((case / "configs" / "config_atlas.yaml").read_text())["n_subjects"]
    splits = read_splits(case / "configs" / "subject_ids.yaml")
    table = Cohort.from_table(case / "configs" / "participants.tsv", settings(case)["modalities"])
    assert expected
    for split, ids in expected.items():
        eligible = table.select(splits[split]).constrain(constraints(case))
        assert list(draw(eligible, constraints(case), wanted[split], reference_compat=True).ids) == ids


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_subjects_of_a_synthetic_table(case):
    expected = json.loads((case / "selection.json").read_text())["synthetic_table"]
    table = Cohort.from_table(case / "selection_input.tsv", settings(case)["modalities"])
    eligible = table.constrain(constraints(case))
    assert expected
    for wanted, ids in expected.items():
        assert list(draw(eligible, constraints(case), int(wanted), reference_compat=True).ids) == ids
