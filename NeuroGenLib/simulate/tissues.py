"""Tissues of label values, their left and right partners, and tissue intensities on T1w and T2w images."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.resources import resource
from NeuroGenLib.spatial.labels import LabelTable

if TYPE_CHECKING:
    from collections.abc import Mapping

BACKGROUND = "background"
WHITE_MATTER = "white_matter"
CSF = "csf"
LESION = "lesion"

OUTSIDE = frozenset(
    {"skin", "bone", "marrow", "muscle", "mucosa", "eye", "optic_nerve", "spinal_cord", "soft_tissue", "head_vessel"}
)
"""Tissues that skull stripping removes, besides the background."""

# Relative intensities, 0 to 1, for the order and approximate contrast of tissues: not those of one scanner or sequence.
_HEAD_T1W = {
    "background": 0.0, "skin": 0.85, "bone": 0.1, "marrow": 0.6, "muscle": 0.4, "mucosa": 0.45, "eye": 0.2,
    "optic_nerve": 0.65, "spinal_cord": 0.65, "soft_tissue": 0.5, "head_vessel": 0.3,
}  # fmt: skip
_HEAD_T2W = {
    "background": 0.0, "skin": 0.6, "bone": 0.07, "marrow": 0.4, "muscle": 0.2, "mucosa": 0.65, "eye": 0.95,
    "optic_nerve": 0.45, "spinal_cord": 0.4, "soft_tissue": 0.4, "head_vessel": 0.15,
}  # fmt: skip
ADULT_T1W: Mapping[str, float] = MappingProxyType(_HEAD_T1W | {
    "white_matter": 0.8, "corpus_callosum": 0.84, "cortex": 0.54, "deep_grey": 0.6, "thalamus": 0.65, "pallidum": 0.71,
    "hippocampus": 0.53, "brain_stem": 0.74, "cerebellar_white_matter": 0.77, "cerebellar_cortex": 0.51,
    "ventricles": 0.15, "csf": 0.19, "choroid_plexus": 0.36, "vessel": 0.3, "optic_chiasm": 0.65, "lesion": 0.5,
})  # fmt: skip
ADULT_T2W: Mapping[str, float] = MappingProxyType(_HEAD_T2W | {
    "white_matter": 0.3, "corpus_callosum": 0.27, "cortex": 0.5, "deep_grey": 0.42, "thalamus": 0.4, "pallidum": 0.27,
    "hippocampus": 0.52, "brain_stem": 0.36, "cerebellar_white_matter": 0.32, "cerebellar_cortex": 0.48,
    "ventricles": 0.95, "csf": 0.88, "choroid_plexus": 0.7, "vessel": 0.2, "optic_chiasm": 0.4, "lesion": 0.68,
})  # fmt: skip
"""Mean intensity of tissues of an adult, from 0 to 1."""

# Before myelination white matter holds more water than cortex: hyperintense on T2w, hypointense on T1w.
FETAL_T1W: Mapping[str, float] = MappingProxyType(_HEAD_T1W | {
    "white_matter": 0.42, "corpus_callosum": 0.5, "cortex": 0.66, "deep_grey": 0.66, "brain_stem": 0.7,
    "cerebellum": 0.62, "ventricles": 0.16, "csf": 0.2, "lesion": 0.6,
})  # fmt: skip
FETAL_T2W: Mapping[str, float] = MappingProxyType(_HEAD_T2W | {
    "white_matter": 0.61, "corpus_callosum": 0.5, "cortex": 0.4, "deep_grey": 0.48, "brain_stem": 0.46,
    "cerebellum": 0.53, "ventricles": 0.93, "csf": 0.82, "lesion": 0.75,
})  # fmt: skip
"""Mean intensity of tissues of a fetus, from 0 to 1."""

# FreeSurfer's structures on the left and right.
_SIDES = {
    2: (41, "white_matter"), 3: (42, "cortex"), 4: (43, "ventricles"), 5: (44, "ventricles"),
    7: (46, "cerebellar_white_matter"), 8: (47, "cerebellar_cortex"), 10: (49, "thalamus"), 11: (50, "deep_grey"),
    12: (51, "deep_grey"), 13: (52, "pallidum"), 17: (53, "hippocampus"), 18: (54, "hippocampus"),
    25: (57, "lesion"), 26: (58, "deep_grey"), 28: (60, "deep_grey"), 30: (62, "vessel"), 31: (63, "choroid_plexus"),
    78: (79, "lesion"), 81: (82, "lesion"), 136: (163, "choroid_plexus"), 137: (164, "choroid_plexus"),
}  # fmt: skip
_MIDDLE = {
    0: "background", 14: "ventricles", 15: "ventricles", 16: "brain_stem", 24: "csf", 72: "ventricles", 77: "lesion",
    80: "lesion", 85: "optic_chiasm", 251: "corpus_callosum", 252: "corpus_callosum", 253: "corpus_callosum",
    254: "corpus_callosum", 255: "corpus_callosum", 165: "bone", 258: "soft_tissue", 259: "eye",
}  # fmt: skip
# Tissues around the brain; newer tables of the same structures start at 900.
_HEAD = {
    1: "background", 2: "head_vessel", 6: "eye", 7: "soft_tissue", 8: "muscle", 9: "mucosa", 11: "skin",
    12: "spinal_cord", 14: "head_vessel", 15: "bone", 16: "marrow", 17: "background", 20: "csf", 30: "optic_nerve",
}  # fmt: skip
# First value on the left, first on the right, number of values: parcels of the cortex and the white matter below.
_PARCELS = (
    (1000, 2000, 36, "cortex"), (1100, 2100, 82, "cortex"), (11100, 12100, 76, "cortex"),
    (3000, 4000, 36, "white_matter"), (3100, 4100, 82, "white_matter"), (13100, 14100, 76, "white_matter"),
    (5001, 5002, 1, "white_matter"),
)  # fmt: skip
_FETAL_NAMES = {
    "extra_axial_csf": "csf", "cortical_gray_matter": "cortex", "deep_gray_matter": "deep_grey",
    "brainstem": "brain_stem",
}  # fmt: skip


@dataclass(frozen=True)
class TissueTable:
    """Tissues and sides of the values of a label map, with tissue intensities.

    Attributes
    ----------
    tissues:
        Tissue of each value. Other values count as brain, each a tissue of its own.
    t1w, t2w:
        Mean intensity of each tissue, 0 to 1.
    partners:
        Value of a structure on the right to the value of its counterpart on the left.

    Raises
    ------
    InputError
        When a tissue has no intensity, or an intensity is outside 0 to 1.

    Examples
    --------
    >>> TissueTable({2: "white_matter"}, ADULT_T1W, ADULT_T2W, {}).tissue(2)
    'white_matter'
    """

    tissues: Mapping[int, str]
    t1w: Mapping[str, float]
    t2w: Mapping[str, float]
    partners: Mapping[int, int]

    def __post_init__(self) -> None:
        for contrast, intensities in (("T1w", self.t1w), ("T2w", self.t2w)):
            for tissue in self.tissues.values():
                if tissue not in intensities:
                    raise InputError(
                        f"The tissue '{tissue}' has no {contrast} intensity.",
                        nearest(tissue, intensities),
                        code="name-unknown",
                    )
                if not 0 <= intensities[tissue] <= 1:
                    raise InputError(
                        f"The {contrast} intensity of '{tissue}' is not between 0 and 1.",
                        "Correct it.",
                        code="value-invalid",
                    )

    def tissue(self, value: int) -> str | None:
        """Return the tissue of a label value, or None when it is unknown.

        Examples
        --------
        >>> freesurfer_tissues().tissue(17)
        'hippocampus'
        """
        return self.tissues.get(value)

    def is_brain(self, value: int) -> bool:
        """Return whether skull stripping keeps a label value; cerebrospinal fluid counts as brain.

        Examples
        --------
        >>> freesurfer_tissues().is_brain(24), freesurfer_tissues().is_brain(165)  # CSF, skull
        (True, False)
        """
        tissue = self.tissue(value)
        return value != 0 and tissue != BACKGROUND and tissue not in OUTSIDE


@functools.cache
def freesurfer_tissues() -> TissueTable:
    """Tissue table of FreeSurfer's values: segmentation, parcels and tissues around the brain, of an adult.

    Examples
    --------
    >>> freesurfer_tissues().partners[42]  # right cortex to left cortex
    3
    """
    tissues = dict(_MIDDLE)
    partners = {}
    for left, (right, tissue) in _SIDES.items():
        tissues[left] = tissues[right] = tissue
        partners[right] = left
    for first in (500, 900):
        tissues.update({first + offset: tissue for offset, tissue in _HEAD.items()})
    for left, right, count, tissue in _PARCELS:
        tissues.update({first + offset: tissue for first in (left, right) for offset in range(count)})
        partners.update({right + offset: left + offset for offset in range(count)})
    return TissueTable(MappingProxyType(tissues), ADULT_T1W, ADULT_T2W, MappingProxyType(partners))


@functools.cache
def fetal_tissues() -> TissueTable:
    """Tissue table of the fetal label maps, values as in ``Resources/labels/fetal-tissues.tsv``.

    Examples
    --------
    >>> fetal_tissues().tissue(7)
    'brain_stem'
    """
    table = LabelTable.from_tsv(resource("labels/fetal-tissues.tsv"))
    tissues = {entry.value: _FETAL_NAMES.get(entry.name, entry.name) for entry in table}
    return TissueTable(MappingProxyType(tissues), FETAL_T1W, FETAL_T2W, MappingProxyType({}))


@functools.cache
def unknown_tissues() -> TissueTable:
    """Tissue table of label maps of which only the background, value 0, is known.

    Examples
    --------
    >>> unknown_tissues().tissue(17) is None
    True
    """
    return TissueTable(MappingProxyType({0: BACKGROUND}), ADULT_T1W, ADULT_T2W, MappingProxyType({}))
