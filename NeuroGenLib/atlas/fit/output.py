"""A fit as a result, and as files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.atlas.fit.age_interval import FEW
from NeuroGenLib.atlas.fit.deviation import deviation_figure
from NeuroGenLib.atlas.manifest import AtlasManifest
from NeuroGenLib.atlas.output import plain_name
from NeuroGenLib.core import provenance
from NeuroGenLib.core.files import staged_outputs
from NeuroGenLib.core.reports import PICTURE, PictureConfig, save_figure
from NeuroGenLib.spatial.figures.drawing import DIVERGING, draw_tissue_legend, paint, show_section
from NeuroGenLib.spatial.figures.planes import PLANES, HeadWindow
from NeuroGenLib.spatial.result import Result, write_result
from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from NeuroGenLib.atlas.fit.fit import FittedBrain
    from NeuroGenLib.atlas.trained import TrainedAtlas
    from NeuroGenLib.spatial.volume import Volume

FILES = (
    "labels.nii.gz",
    "labels.tsv",
    "reconstruction.nii.gz",
    "atlas.nii.gz",
    "deviation.nii.gz",
    "deviation.tsv",
    "growth.png",
    "fit.json",
    "fit.png",
)
"""What a fit by a model of one image writes beside its record."""


def fit_result(model: TrainedAtlas, fit: FittedBrain, record: Mapping[str, Any] | None = None) -> Result:
    """Return a fit as a result.

    Parameters
    ----------
    model, fit:
        The atlas, and its fit to a scan.
    record:
        Its provenance.

    Returns
    -------
    Result
        Volumes ``reconstruction``, ``atlas`` and ``deviation``, with ``_NAME`` of the image behind them where the model
        has several, and ``labels``, on the grid of the scan; the map ``to_atlas``, scan RAS mm to atlas RAS mm; table
        ``deviation`` of the tissues; fact ``fit``: :func:`summary`.
    """
    several = len(model.modalities) > 1
    parts = {"reconstruction": fit.reconstruction, "atlas": fit.atlas, "deviation": fit.deviation}
    return Result(
        volumes={
            f"{part}_{plain_name(name)}" if several else part: volume
            for part, volumes in parts.items()
            for name, volume in volumes.items()
        },
        labels={"labels": fit.labels},
        maps={"to_atlas": SpatialMap(fit.to_atlas, None, np.eye(4))},
        tables={"deviation": _tissue_rows(fit)},
        facts={"fit": summary(model, fit)},
        warnings=fit.warnings,
        record=record or {},
    )


def write_fit(
    model: TrainedAtlas,
    fit: FittedBrain,
    images: Mapping[str, Volume],
    out: Path,
    parameters: dict[str, Any],
    picture: PictureConfig = PICTURE,
) -> list[Path]:
    """Write a fit, all or nothing, and return the files.

    ``labels.nii.gz``, ``reconstruction.nii.gz``, ``atlas.nii.gz`` and ``deviation.nii.gz`` (with the image's name in
    theirs when the model has several) on the grid of the scan; ``labels.tsv``; ``fit.json`` with age, conditions and
    tissues; ``deviation.tsv`` and ``growth.png`` with the tissues against the training subjects; ``fit.png``;
    ``provenance.json``.
    """
    with staged_outputs(out) as staging:
        write_result(fit_result(model, fit, _record(model, fit, parameters)), staging)
        model.labels.to_tsv(staging / "labels.tsv")
        save_figure(staging / "growth", deviation_figure(model, fit.tissues, fit.age, fit.conditions), picture)
        save_figure(staging / "fit", fit_figure(model, fit, images), picture)
        files = sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_file())
    return [out / name for name in files]


def summary(model: TrainedAtlas, fit: FittedBrain) -> dict[str, Any]:
    """Return the content of ``fit.json``."""
    estimate = fit.estimate
    interval = None
    if estimate.low is not None and estimate.high is not None:
        interval = [round(estimate.low, 2), round(estimate.high, 2)]
    counts = [tissue.n for tissue in fit.tissues if tissue.z is not None]
    return {
        "age": round(fit.age, 3),
        "age_name": model.age_name,
        "age_unit": model.age_unit,
        "known_age": fit.known_age,
        "age_of_image": round(estimate.value, 3),
        "age_interval": interval,
        "age_interval_n": estimate.n,
        "conditions": {
            name: {
                "value": value,
                "how": "given" if name in fit.given else "fitted",
                "at_bound": name in fit.at_bounds,
            }
            for name, value in fit.conditions.items()
        },
        "tissues": {
            tissue.name: {
                "volume_ml": round(tissue.volume_ml, 3),
                "expected_ml": None if tissue.expected_ml is None else round(tissue.expected_ml, 3),
                "z": None if tissue.z is None else round(tissue.z, 2),
                "n": tissue.n,
            }
            for tissue in fit.tissues
        },
        "outside_population": bool(fit.outside),
        "z_n": min(counts, default=0),
        "z_rough": min(counts, default=0) < FEW,
        "mean_absolute_difference": round(fit.loss, 5),
        "mean_absolute_difference_of_the_atlas": round(fit.match.loss, 5),
        "age_profile": {
            "age": np.round(fit.match.ages, 3).tolist(),
            "mean_absolute_difference": np.round(fit.match.losses, 5).tolist(),
        },
        "to_atlas": np.round(fit.to_atlas, 6).tolist(),
        "intensity": {name: {"offset": offset, "factor": factor} for name, (offset, factor) in fit.intensity.items()},
        "warnings": fit.warnings,
        "shows": model.notice,
        "research_use": provenance.RESEARCH_USE,
    }


def fit_figure(model: TrainedAtlas, fit: FittedBrain, images: Mapping[str, Volume]) -> Figure:
    """Plot sections of scan, labels, fitted brain, atlas and deviation; below, how well each age of the atlas fits."""
    from matplotlib.figure import Figure

    name = next(iter(images))
    scan = images[name]
    columns = {
        "scan": scan,
        "labels": fit.labels,
        "reconstruction": fit.reconstruction[name],
        f"atlas at {fit.age:.1f} {model.age_unit}": fit.atlas[name],
        "scan - atlas": fit.deviation[name],
    }
    window = HeadWindow.of(scan, fit.labels)
    inside = scan.array[fit.labels.array > 0]
    top = float(np.percentile(inside if inside.size else scan.array, 99.5))
    grey = {"cmap": "gray", "vmin": 0, "vmax": top}
    figure = Figure(figsize=(2.3 * len(columns) + 0.6, 10.4), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.5, 1]).flat
    axes = above.subplots(len(PLANES), len(columns), squeeze=False)
    values: set[int] = set()
    for row, plane_name in enumerate(PLANES):
        plane = window.plane(plane_name)
        for column, (axis, (title, volume)) in enumerate(zip(axes[row], columns.items(), strict=True)):
            if title == "labels":
                section = plane.cut(volume, order=0)
                values |= set(np.unique(section).tolist())
                show_section(axis, plane, paint(section, model.labels))
            else:
                how = grey if title != "scan - atlas" else {"cmap": DIVERGING, "vmin": -0.5, "vmax": 0.5}
                show_section(axis, plane, plane.cut(volume), scale_bar=column == 0, **how)
        axes[row, 0].set_ylabel(plane_name, fontsize=9)
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=9)
    bar = above.colorbar(axes[0, -1].images[0], ax=axes[:, -1], shrink=0.6)
    bar.set_label("share of the scan's range of intensities", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    draw_tissue_legend(above, model.labels, values)
    _plot_profile(below.subplots(), model, fit)
    above.suptitle(f"{model.folder.read_as(AtlasManifest).name}: {model.notice}", fontsize=8, color="0.4", wrap=True)
    return figure


def _plot_profile(axis: Axes, model: TrainedAtlas, fit: FittedBrain) -> None:
    axis.plot(fit.match.ages, fit.match.losses, color="#31688e")
    best = fit.estimate
    axis.axvline(best.value, color="#d1495b", linewidth=1.2, label=f"best age {best.value:.1f} {model.age_unit}")
    if best.low is not None and best.high is not None:
        axis.axvspan(best.low, best.high, color="#d1495b", alpha=0.12, label="95 % interval")
    if fit.known_age is not None:
        axis.axvline(fit.known_age, color="0.3", linewidth=1, linestyle="--", label=f"known age {fit.known_age:.1f}")
    axis.set_xlabel(f"{model.age_name.replace('_', ' ')} ({model.age_unit})", fontsize=9)
    axis.set_ylabel("difference from the atlas", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False)


def _tissue_rows(fit: FittedBrain) -> list[dict[str, object]]:
    return [
        {
            "tissue": tissue.name,
            "volume_ml": round(tissue.volume_ml, 3),
            "expected_ml": "n/a" if tissue.expected_ml is None else round(tissue.expected_ml, 3),
            "z": "n/a" if tissue.z is None else round(tissue.z, 3),
            "n": tissue.n,
            "rough": "yes" if tissue.n < FEW else "no",
        }
        for tissue in fit.tissues
    ]


def _record(model: TrainedAtlas, fit: FittedBrain, parameters: dict[str, Any]) -> dict[str, Any]:
    return model.provenance("atlas fit", parameters, fit.warnings, training_subjects=len(model.subjects))
