"""How every command is called with good inputs, and which of its inputs can be bad.

A new command joins the hostile suite by one entry in :data:`USAGES`; a test fails while it has none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

import Testing.hostile.inputs_dicom  # adds to HOSTILE
import Testing.hostile.inputs_evaluate  # adds to HOSTILE
import Testing.hostile.inputs_mask  # adds to HOSTILE
import Testing.hostile.inputs_published  # adds to HOSTILE
import Testing.hostile.inputs_register
import Testing.hostile.inputs_registration
import Testing.hostile.inputs_sitreg
import Testing.hostile.inputs_superres
import Testing.hostile.inputs_superres_run
import Testing.hostile.inputs_superres_train  # noqa: F401  # adds to HOSTILE
from Testing.hostile.workspace import FRAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from Testing.hostile.workspace import Workspace


@dataclass(frozen=True)
class Usage:
    """One way to call a command.

    Attributes
    ----------
    words:
        The command.
    slots:
        Its inputs: what kind it is -> how it stands on the command line, ``{}`` being the value. Kinds are the keys of
        :func:`good_values`; hostile inputs name the kinds that they spoil.
    good:
        Values where those of :func:`good_values` do not fit.
    slow:
        Whether a run with good inputs takes more than two CPU seconds.
    """

    words: str
    slots: Mapping[str, str] = field(default_factory=dict)
    good: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False

    def arguments(self, made: Workspace, **replaced: object) -> list[str]:
        """Return the command line with good values but for the ``replaced`` ones; a tuple repeats the option."""
        values: dict[str, object] = {**good_values(made), **self.good, **replaced}
        line = self.words.split()
        for kind, form in self.slots.items():
            value = values[kind]
            line += [form.format(one) for one in (value if isinstance(value, tuple) else (value,))]
        return line


def good_values(made: Workspace) -> dict[str, Path | str | tuple[object, ...]]:
    """Return a usable value of each kind of input."""
    return {
        "model": made.model,  # a model folder that is described but not opened
        "atlas": made.model,  # one that is opened, and must be an atlas
        "initial": made.model,  # one that training starts from
        "hub": "hf:lab/tiny",
        "table": made.table,
        "labels": made.labels,
        "config": made.config,
        "checkpoint": made.checkpoint,
        "published_config": made.published_config,
        "recipe_data": made.published / "data.yaml",
        "recipe_atlas": made.published / "atlas.yaml",
        "recipe_name": "tiny",
        "recipe_points": "9000",
        "precomputed": made.published / f"T2w_{FRAMES}",
        "frame_ages": "24:28:2",
        "frame_labels": made.published / f"Seg_{FRAMES}",
        "certainty": made.published / f"ventricles_{FRAMES}",
        "system": "cinema",
        "sitreg_settings": made.sitreg / "training_config.json",
        "sitreg_checkpoint": made.sitreg / "model_epoch_004.pt",
        "sitreg_orientation": "LAS",
        "start_epoch": "2",
        "scan": made.image(),
        "mask": made.image(column="Seg"),
        "brain": made.brain,  # a scan without a mask
        "label_map": made.image(column="Seg"),
        "splits": made.splits,
        "steps": "2",
        "known": "lv_volume_normed=0.12",
        "subjects": "sub-01",
        "segmentation": "Seg",
        "scans": made.table,  # one of which images and label maps are read
        "scan_ids": "sub-01,sub-02",
        "scan_labels": "Seg",
        "short_steps": "2",
        "pair_batch": "1",
        "register_model": made.registration,
        "fixed_scan": made.image(),
        "moving_scan": made.image("sub-03"),
        "still_scan": made.image("sub-03"),  # one whose header is trusted
        "fixed_label_map": made.image(column="Seg"),
        "moving_label_map": made.image("sub-03", "Seg"),
        "fixed_mask": made.image(column="Seg"),
        "moving_mask": made.image("sub-03", "Seg"),
        "refine": "2",
        "start_kind": "none",
        "transform_format": "nrrd",
        "pairs": made.pairs,
        "sitreg_run": made.sitreg,
        "epochs": "4",
        "select": "similarity",
        "moving_points": made.points,
        "transform": made.transform,
        "point_transform": made.transform,  # one whose other direction is needed
        "carried": made.image(),
        "carried_labels": ("--labels", made.image(column="Seg")),
        "carried_points": made.points,
        "like": made.image("sub-03"),
        "order": "3",
        "head": made.head,  # a scan of a whole head
        "mask_model": "bundled:brain-mask",
        "mask_spacing": "4",
        "head_maps": made.table,  # one of which label maps alone are read
        "mask_steps": "2",
        "mask_side": "[16]",
        "thin_scan": made.image(),
        "slice_thickness": "12",
        "slice_gap": "2",
        "slice_offset": "1.5",
        "slice_noise": "0.02",
        "slice_seed": "3",
        "slice_spacing": "6",
        "slice_way": "--reference",
        "slice_factor": "4",
        "slice_start": "1",
        "thick_scan": made.image(),  # thicker than its header says
        "guide_scan": made.image(),
        "superres_model": made.superres,
        "thick_table": made.table,
        "thick_columns": "T2w",
        "thickness": "10",
        "gap": "0",
        "slice_direction": "axial",
        "result_spacing": "5",
        "corrections": "1",
        "most_scans": "1",
        "superres_fractions": "[0.5,0.5,0]",
        "superres_window": "16",
        "covariates": made.table,  # a table of which only values are read
        "columns": "sex",
        "age": "28.5",
        "ages": "26:30:2",
        "condition": "lv_volume_normed=0.12",
        "spacing": "8",
        "box": "-32,32,-40,40,-24,24",
        "bandwidth": "3",
        "device": "cpu",
        "sample": "fetal-brain-30w",
        "drawn_licence": "CC0-1.0",
        "out": made.out,
    }


USAGES = (
    Usage("demo", {"out": "--out={}", "spacing": "--spacing={}", "device": "--device={}"}),
    Usage("doctor"),
    Usage("cite", {"model": "{}"}),
    Usage(
        "atlas generate",
        {
            "atlas": "--model={}",
            "age": "--age={}",
            "condition": "--set={}",
            "spacing": "--spacing={}",
            "box": "--box={}",
            "bandwidth": "--bandwidth={}",
            "device": "--device={}",
            "out": "--out={}",
        },
    ),
    Usage("atlas generate", {"atlas": "--model={}", "ages": "--ages={}", "spacing": "--spacing={}", "out": "--out={}"}),
    Usage("atlas info", {"atlas": "--model={}"}),
    Usage(
        "atlas fit",
        {
            "scan": "{}",
            "atlas": "--model={}",
            "mask": "--mask={}",
            "known": "--set={}",
            "steps": "--steps={}",
            "device": "--device={}",
            "out": "--out={}",
        },
        slow=True,
    ),
    Usage(
        "atlas fit",
        {"brain": "{}", "atlas": "--model={}", "age": "--age={}", "steps": "--steps={}", "out": "--out={}"},
        slow=True,
    ),
    Usage(
        "atlas fit",
        {"scan": "{}", "atlas": "--model={}", "label_map": "--labels={}", "steps": "--steps={}", "out": "--out={}"},
        slow=True,
    ),
    Usage(
        "atlas train",
        {
            "config": "--config={}",
            "table": "--data.table={}",
            "labels": "--data.labels={}",
            "subjects": "--data.include={}",
            "segmentation": "--data.segmentation={}",
            "initial": "--train.init_from={}",
            "device": "--train.device={}",
            "out": "--train.out={}",
        },
        {"subjects": "sub-*"},
    ),
    Usage(
        "atlas evaluate",
        {
            "atlas": "--model={}",
            "table": "--table={}",
            "subjects": "--subjects={}",
            "segmentation": "--segmentation={}",
            "steps": "--steps={}",
            "bandwidth": "--bandwidth={}",
            "device": "--device={}",
            "out": "--out={}",
        },
        {"subjects": "sub-02"},
        slow=True,
    ),
    Usage(
        "atlas evaluate",
        {
            "atlas": "--model={}",
            "table": "--table={}",
            "splits": "--splits={}",
            "steps": "--steps={}",
            "out": "--out={}",
        },
        slow=True,
    ),
    Usage(
        "atlas latents",
        {"atlas": "--model={}", "covariates": "--table={}", "columns": "--columns={}", "out": "--out={}"},
    ),
    Usage(
        "atlas import-config",
        {
            "recipe_data": "--config-data={}",
            "recipe_atlas": "--config-atlas={}",
            "recipe_name": "--dataset={}",
            "recipe_points": "--points-per-subject={}",
            "out": "--out={}/settings.yaml",
        },
    ),
    Usage(
        "atlas open",
        {
            "precomputed": "{}",
            "frame_ages": "--ages={}",
            "frame_labels": "--segmentation={}",
            "labels": "--labels={}",
            "certainty": "--certainty={}",
            "out": "--out={}",
        },
    ),
    Usage(
        "registration run",
        {
            "fixed_scan": "{}",
            "moving_scan": "{}",
            "fixed_label_map": "--fixed-labels={}",
            "moving_label_map": "--moving-labels={}",
            "register_model": "--model={}",
            "moving_points": "--points={}",
            "refine": "--refine={}",
            "device": "--device={}",
            "out": "--out={}",
        },
    ),
    Usage(
        "registration run",
        {
            "fixed_scan": "{}",
            "still_scan": "{}",
            "fixed_mask": "--fixed-mask={}",
            "moving_mask": "--moving-mask={}",
            "register_model": "--model={}",
            "start_kind": "--start={}",
            "transform_format": "--format={}",
            "refine": "--refine={}",
            "out": "--out={}",
        },
        {"refine": "0"},
    ),
    Usage(
        "registration apply",
        {"transform": "{}", "carried": "{}", "like": "--like={}", "order": "--order={}", "out": "--out={}"},
    ),
    Usage(
        "registration apply",
        {
            "transform": "{}",
            "carried_labels": "{}",
            "like": "--like={}",
            "out": "--out={}/labels.nii.gz",
        },
    ),
    Usage("registration apply", {"point_transform": "{}", "carried_points": "--points={}", "out": "--out={}"}),
    Usage(
        "registration train",
        {
            "scans": "--data.table.table={}",
            "scan_ids": "--data.table.include={}",
            "scan_labels": "--data.table.segmentation={}",
            "pair_batch": "--data.batch={}",
            "short_steps": "--train.steps={}",
            "device": "--train.device={}",
            "out": "--train.out={}",
        },
    ),
    Usage(
        "registration evaluate",
        {
            "pairs": "--pairs={}",
            "register_model": "--model={}",
            "start_kind": "--start={}",
            "refine": "--refine={}",
            "device": "--device={}",
            "out": "--out={}",
        },
    ),
    Usage(
        "registration evaluate",
        {
            "pairs": "--pairs={}",
            "sitreg_run": "--run={}",
            "epochs": "--epochs={}",
            "select": "--select={}",
            "sitreg_orientation": "--orientation={}",
            "start_kind": "--start={}",
            "out": "--out={}",
        },
    ),
    Usage(
        "registration import-config",
        {"sitreg_settings": "{}", "start_epoch": "--start-epoch={}", "out": "--out={}/settings.yaml"},
    ),
    Usage(
        "superres run",
        {
            "thick_scan": "{}",
            "guide_scan": "--guide={}",
            "superres_model": "--model={}",
            "thickness": "--thickness={}",
            "slice_direction": "--direction={}",
            "gap": "--gap={}",
            "result_spacing": "--spacing={}",
            "corrections": "--back-projection={}",
            "device": "--device={}",
            "out": "--out={}",
        },
    ),
    Usage(
        "superres batch",
        {
            "thick_table": "{}",
            "thick_columns": "--scans={}",
            "superres_model": "--model={}",
            "thickness": "--thickness={}",
            "slice_direction": "--direction={}",
            "result_spacing": "--spacing={}",
            "corrections": "--back-projection={}",
            "device": "--device={}",
            "out": "--out={}",
        },
    ),
    Usage(
        "superres evaluate",
        {
            "thick_table": "{}",
            "thick_columns": "--scan={}",
            "superres_model": "--model={}",
            "thickness": "--thickness={}",
            "slice_direction": "--direction={}",
            "most_scans": "--most={}",
            "device": "--device={}",
            "out": "--out={}",
        },
    ),
    Usage(
        "superres simulate",
        {
            "thin_scan": "{}",
            "slice_thickness": "--thickness={}",
            "slice_gap": "--gap={}",
            "slice_offset": "--offset={}",
            "slice_noise": "--noise={}",
            "slice_seed": "--seed={}",
            "slice_spacing": "--spacing={}",
            "out": "--out={}",
        },
    ),
    Usage(
        "superres simulate",
        {
            "thin_scan": "{}",
            "slice_way": "{}",
            "slice_factor": "--factor={}",
            "slice_start": "--start={}",
            "out": "--out={}",
        },
    ),
    Usage(
        "superres train",
        {
            "scans": "--scans.source={}",
            "segmentation": "--scans.segmentation={}",
            "subjects": "--scans.include={}",
            "superres_fractions": "--split.fractions={}",
            "superres_window": "--window={}",
            "short_steps": "--train.steps={}",
            "device": "--train.device={}",
            "out": "--train.out={}",
        },
        {"subjects": "sub-*"},
    ),
    Usage(
        "mask train",
        {
            "head_maps": "--maps.source={}",
            "segmentation": "--maps.segmentation={}",
            "subjects": "--maps.include={}",
            "mask_side": "--view.sides={}",
            "mask_steps": "--train.steps={}",
            "device": "--train.device={}",
            "out": "--train.out={}",
        },
        {"subjects": "sub-*"},
    ),
    Usage(
        "mask",
        {
            "head": "{}",
            "mask_model": "--model={}",
            "mask_spacing": "--spacing={}",
            "device": "--device={}",
            "out": "--out={}",
        },
    ),
    Usage(
        "mask",
        {
            "head": "{}",
            "mask_model": "--model={}",
            "mask_spacing": "--spacing={}",
            "out": "--out={}/mask.nii.gz",
        },
    ),
    Usage("samples list"),
    Usage("samples info", {"sample": "{}"}),
    Usage("samples get", {"sample": "{}", "drawn_licence": "--accept-licence={}", "out": "--out={}"}, slow=True),
    Usage("models list"),
    Usage("models info", {"model": "{}"}),
    Usage("models download", {"hub": "{}"}),
    Usage(
        "models import", {"system": "{}", "checkpoint": "{}", "published_config": "--config-data={}", "out": "--out={}"}
    ),
    Usage(
        "models import",
        {
            "system": "{}",
            "sitreg_checkpoint": "{}",
            "sitreg_settings": "--config={}",
            "sitreg_orientation": "--orientation={}",
            "out": "--out={}",
        },
        {"system": "sitreg"},
    ),
)


def as_cases(usages: Iterable[Usage]) -> list[Any]:
    """Return ways to call commands as parameters of a test that runs them with good inputs."""
    return [
        pytest.param(usage, id=f"{usage.words} {'-'.join(usage.slots)}", marks=pytest.mark.slow if usage.slow else [])
        for usage in usages
    ]
