"""Which label is which tissue, against FreeSurfer's numbering, the fetal table and real label maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from NeuroGenLib.simulate.tissues import (
    ADULT_T1W,
    ADULT_T2W,
    FETAL_T1W,
    FETAL_T2W,
    TissueTable,
    fetal_tissues,
    freesurfer_tissues,
    unknown_tissues,
)
from Testing.raising import raises

SHARED = Path(__file__).parents[3].parent / "shared" / "data"


@pytest.mark.parametrize(
    ("value", "tissue"),
    [
        (0, "background"), (2, "white_matter"), (41, "white_matter"), (3, "cortex"), (42, "cortex"), (24, "csf"),
        (43, "ventricles"), (14, "ventricles"), (15, "ventricles"), (16, "brain_stem"), (49, "thalamus"),
        (13, "pallidum"), (47, "cerebellar_cortex"), (46, "cerebellar_white_matter"), (54, "hippocampus"),
        (511, "skin"), (515, "bone"), (916, "marrow"), (1035, "cortex"), (2001, "cortex"), (12175, "cortex"),
        (3001, "white_matter"), (5002, "white_matter"), (251, "corpus_callosum"), (77, "lesion"),
    ],
)  # fmt: skip
def test_freesurfer_values(value: int, tissue: str) -> None:
    assert freesurfer_tissues().tissue(value) == tissue


@pytest.mark.parametrize(("right", "left"), [(41, 2), (42, 3), (54, 18), (60, 28), (2035, 1035), (163, 136)])
def test_both_sides_belong_together(right: int, left: int) -> None:
    table = freesurfer_tissues()
    assert table.partners[right] == left
    assert table.tissue(left) == table.tissue(right)
    assert left not in table.partners


@pytest.mark.parametrize(("value", "expected"), [(2, True), (24, True), (85, True), (0, False), (507, False),
                                                 (515, False), (258, False), (98765, True)])  # fmt: skip
def test_skull_stripping_knows_the_brain(value: int, expected: bool) -> None:
    assert freesurfer_tissues().is_brain(value) is expected


def test_fetal_values_follow_the_label_table() -> None:
    table = fetal_tissues()
    names = ["background", "white_matter", "ventricles", "cerebellum", "csf", "cortex", "deep_grey", "brain_stem",
             "corpus_callosum"]  # fmt: skip
    assert [table.tissue(value) for value in range(9)] == names
    assert [table.is_brain(value) for value in range(9)] == [False] + [True] * 8


def test_tissues_have_the_order_of_their_contrast() -> None:
    for intensities in (ADULT_T1W, FETAL_T1W):
        assert intensities["ventricles"] <= intensities["csf"] < intensities["cortex"]
    for intensities in (ADULT_T2W, FETAL_T2W):
        assert intensities["ventricles"] >= intensities["csf"] > intensities["cortex"]
    assert ADULT_T1W["white_matter"] > ADULT_T1W["cortex"]
    assert ADULT_T2W["white_matter"] < ADULT_T2W["cortex"]
    # Not yet myelinated: the other way round.
    assert FETAL_T1W["white_matter"] < FETAL_T1W["cortex"]
    assert FETAL_T2W["white_matter"] > FETAL_T2W["cortex"]


def test_unknown_maps_have_a_background_and_nothing_else() -> None:
    table = unknown_tissues()
    assert (table.tissue(0), table.tissue(3)) == ("background", None)
    assert table.is_brain(511)


def test_a_tissue_without_an_intensity_is_refused() -> None:
    with raises("name-unknown", "T1w", "'cortx'", "'cortex'"):
        TissueTable({3: "cortx"}, ADULT_T1W, ADULT_T2W, {})


def test_an_intensity_above_one_is_refused() -> None:
    with raises("value-invalid", "T2w", "'cortex'"):
        TissueTable({3: "cortex"}, ADULT_T1W, {"cortex": 1.2}, {})


def test_every_value_of_real_adult_maps_is_known() -> None:
    paths = sorted((SHARED / "adult_labels").glob("*.nii.gz"))[:2]
    if not paths:
        pytest.skip("the adult label maps are not beside this checkout")
    import nibabel as nib

    for path in paths:
        values = np.unique(np.asanyarray(nib.load(path).dataobj)[::2, ::2, ::2])
        assert [value for value in values if freesurfer_tissues().tissue(int(value)) is None] == []


def test_the_fetal_table_is_that_of_the_data() -> None:
    path = SHARED / "fetal" / "dseg.tsv"
    if not path.is_file():
        pytest.skip("the fetal data are not beside this checkout")
    rows = dict(line.split("\t")[:2] for line in path.read_text(encoding="utf-8").splitlines()[1:])
    assert set(fetal_tissues().tissues) == {int(value) for value in rows}
    assert rows["1"] == "white_matter" == fetal_tissues().tissue(1)
