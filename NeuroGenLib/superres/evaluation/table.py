"""Evaluation of a model: thick slices are simulated from isotropic scans, restored by each method, and compared."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import staged_outputs, write_json, write_text
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.reports import PICTURE, PictureConfig, save_figure, write_table
from NeuroGenLib.simulate.thick_slices import Direction, SliceProfile, slice_axis, thick_slices, with_noise
from NeuroGenLib.spatial.intensity import rescale
from NeuroGenLib.spatial.metrics import nrmse, psnr, ssim
from NeuroGenLib.spatial.volume import Volume, require_3d, require_finite, require_same_space
from NeuroGenLib.superres.guide import align_guide
from NeuroGenLib.superres.head import find_head
from NeuroGenLib.superres.intensity import head_range
from NeuroGenLib.superres.run_config import EvaluateConfig, SuperresConfig
from NeuroGenLib.superres.stacks.preprocessing import ISOTROPIC

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from NeuroGenLib.superres.batch import Case
    from NeuroGenLib.superres.infer import SuperresModel

MEASURES = ("psnr_db", "ssim", "nrmse")
PLAIN = {"nearest": 0, "linear": 1, "cubic": 3}
"""Ways without a network, and their order of interpolation."""
MODEL, GUIDED = "model", "model with guide"

Row = dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """Measures inside the head.

    Attributes
    ----------
    rows:
        One a scan, thickness, direction and method, with :data:`MEASURES` (dB; intensities of 1 and 0 are percentiles
        of the true scan's head).
    means:
        The same without the scan: means over the scans, their number as ``scans``.
    """

    rows: list[Row]
    means: list[Row]


def evaluate_cases(
    model: SuperresModel, cases: Sequence[Case], config: EvaluateConfig, progress: Progress = SILENT
) -> Evaluation:
    """Simulate slices of isotropic scans, restore them, and compare with the scans inside their heads.

    Parameters
    ----------
    model:
        What is evaluated: alone unless it needs a guide, and with the guide of a case where it takes one.
    cases:
        Each with one isotropic scan; a guide may lie anywhere, a label map as mask of the head is not needed.
    config:
        The slices to simulate, and how they are super-resolved.
    progress:
        Progress callback.

    Raises
    ------
    InputError
        When a scan cannot be used or is not isotropic, slices are thinner than its voxels, or a guide is missing.
    Cancelled
        When ``progress`` was cancelled.
    """
    rows: list[Row] = []
    for number, case in enumerate(cases):
        part = progress.part(number / len(cases), (number + 1) / len(cases), case.name)
        try:
            rows += _case_rows(model, case, config, part)
        except InputError as error:
            raise error.within(f"{case.name} cannot be evaluated") from error
    return Evaluation(rows, means_of(rows))


FILES = ("scans.tsv", "means.tsv", "table.md", "evaluation.png")
"""What an evaluation writes beside its record."""


def write_evaluation(
    evaluation: Evaluation,
    model: SuperresModel,
    out: Path,
    parameters: dict[str, Any],
    picture: PictureConfig = PICTURE,
) -> list[Path]:
    """Write ``scans.tsv``, ``means.tsv``, ``table.md`` (for a card), ``evaluation.png``, ``provenance.json``."""
    with staged_outputs(out) as staging:
        write_table(staging / "scans.tsv", evaluation.rows)
        write_table(staging / "means.tsv", evaluation.means)
        write_text(staging / "table.md", markdown(evaluation.means))
        save_figure(staging / "evaluation", _figure(evaluation.means), picture)
        record = model.provenance("superres evaluate", parameters, ())
        write_json(staging / "provenance.json", record)
        files = sorted(path.name for path in staging.iterdir())
    return [out / name for name in files]


def markdown(means: Sequence[Row]) -> str:
    """Return means as a Markdown table: a row a thickness and direction, PSNR / SSIM of each method, the best bold."""
    methods = list(dict.fromkeys(row["method"] for row in means))
    lines = [f"| slices | {' | '.join(methods)} |", f"|---|{'--:|' * len(methods)}"]
    for thickness, direction in dict.fromkeys((row["thickness_mm"], row["direction"]) for row in means):
        cells = {
            row["method"]: row for row in means if (row["thickness_mm"], row["direction"]) == (thickness, direction)
        }
        best = {name: max(row[name] for row in cells.values()) for name in ("psnr_db", "ssim")}
        texts = []
        for method in methods:
            row = cells.get(method)
            marks = ["" if row is None or row[name] < best[name] else "**" for name in best]
            texts.append(
                "" if row is None else
                f"{marks[0]}{row['psnr_db']:.2f}{marks[0]} / {marks[1]}{row['ssim']:.3f}{marks[1]}"
            )  # fmt: skip
        lines.append(f"| {thickness:g} mm {direction} | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def _case_rows(model: SuperresModel, case: Case, config: EvaluateConfig, progress: Progress) -> list[Row]:
    truth = Volume.load(case.scans[0])
    require_3d(truth, str(case.scans[0]))
    require_finite(truth, str(case.scans[0]))
    if max(truth.spacing) > ISOTROPIC * min(truth.spacing):
        sides = " x ".join(f"{mm:.3g}" for mm in truth.spacing)
        raise InputError(
            f"Its voxels of {sides} mm are not isotropic.", "Evaluate on isotropic scans.", code="geometry-invalid"
        )
    head = find_head(truth).mask.array
    low, high = head_range(truth.array, head)
    target = rescale(truth.array.astype(np.float32), low, high, clip=False)
    guide = _guide(model, case, truth)
    rows = []
    for thickness, direction in progress.track(
        list(itertools.product(config.thicknesses, dict.fromkeys(config.directions))), "slices"
    ):
        thick = _simulated(truth, thickness, direction, config)
        settings = SuperresConfig(
            thickness=thickness, direction=direction, align=False, back_projection=config.back_projection
        )
        for method, image in _restored(model, thick, truth, guide, settings).items():
            values = rescale(image, low, high, clip=False)
            rows.append(
                {
                    "case": case.name,
                    "thickness_mm": thickness,
                    "direction": direction,
                    "method": method,
                    "psnr_db": psnr(values, target, mask=head),
                    "ssim": ssim(values, target, mask=head),
                    "nrmse": nrmse(values, target, mask=head),
                }
            )
    return rows


def _guide(model: SuperresModel, case: Case, truth: Volume) -> Volume | None:
    """Return the guide of a case on the grid of its scan; None where there is none or it is not taken."""
    if case.guide is None or model.guide == "none":
        if model.guide == "needed":
            raise InputError(
                "It has no guide, which the model needs.",
                "Name the column of the guides with --guide.",
                code="value-missing",
            )
        return None
    guide = Volume.load(case.guide)
    try:
        require_same_space({"the scan": truth, "the guide": guide})
    except InputError:
        return align_guide(truth, guide).image
    return guide


def _simulated(truth: Volume, thickness: float, direction: Direction, config: EvaluateConfig) -> Volume:
    axis = slice_axis(truth, direction)
    if thickness < truth.spacing[axis]:
        raise InputError(
            f"Slices of {thickness:g} mm are thinner than its voxels of {truth.spacing[axis]:.3g} mm.",
            "Ask for thicker slices.",
            code="value-invalid",
        )
    thick = thick_slices(truth, axis, SliceProfile("gaussian", thickness), thickness)
    if config.noise:
        thick = with_noise(thick, config.noise, np.random.default_rng(config.seed))
    return thick


def _restored(
    model: SuperresModel, thick: Volume, truth: Volume, guide: Volume | None, settings: SuperresConfig
) -> dict[str, np.ndarray]:
    """Return the slices on the grid of the scan by each method."""
    darkest, brightest = thick.array.min(), thick.array.max()
    restored = {
        name: thick.resample(like=truth, order=order).array.clip(darkest, brightest) for name, order in PLAIN.items()
    }
    if model.guide != "needed":
        restored[MODEL] = model.super_resolve(thick, settings=settings, like=truth).image.array
    if guide is not None:
        restored[GUIDED] = model.super_resolve(thick, guide=guide, settings=settings, like=truth).image.array
    return restored


def means_of(rows: Sequence[Row]) -> list[Row]:
    """Return rows without the scan: means over the scans of each thickness, direction and method."""
    keys = ("thickness_mm", "direction", "method")
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return [
        dict(zip(keys, group, strict=True))
        | {"scans": len(members)}
        | {name: float(np.mean([row[name] for row in members])) for name in MEASURES}
        for group, members in groups.items()
    ]


def _figure(means: Sequence[Row]) -> Any:
    """Plot PSNR and SSIM against the thickness, means over the directions, a line a method."""
    from matplotlib.figure import Figure

    colours = {"nearest": "#d9d9d9", "linear": "#bdbdbd", "cubic": "#6baed6", MODEL: "#d94801", GUIDED: "#31688e"}
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, name, title in zip(axes, ("psnr_db", "ssim"), ("PSNR in the head (dB)", "SSIM in the head"), strict=True):
        for method in dict.fromkeys(row["method"] for row in means):
            own = [row for row in means if row["method"] == method]
            thicknesses = sorted({row["thickness_mm"] for row in own})
            values = [np.mean([row[name] for row in own if row["thickness_mm"] == mm]) for mm in thicknesses]
            axis.plot(thicknesses, values, "o-", color=colours[method], label=method, markersize=4)
        axis.set_xlabel("slice thickness (mm)", fontsize=9)
        axis.set_ylabel(title, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(fontsize=8, frameon=False)
    return figure
