"""Generation of brains, and fits of the atlas to volumes of the scene."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import slicer

from NeuroGenAtlasLib.model_session import table_of
from NeuroGenAtlasLib.sequence import show_plot
from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.scenes.atlas import GeneratedNodes
    from NeuroGenLib.scenes.atlas_fit import FitNodes
    from NeuroGenLib.spatial.result import Result
    from NeuroGenPanels.job_runner import JobRunner


def generate(
    runner: JobRunner,
    facts: dict[str, Any],
    arguments: dict[str, Any],
    on_generated: Callable[[GeneratedNodes], object],
) -> bool:
    """Render a brain in the worker and put it into the scene; return whether it began.

    Parameters
    ----------
    runner:
        Runs the job.
    facts:
        Result of the job ``model.open``.
    arguments:
        Of the job ``atlas.generate``.
    on_generated:
        Called with the nodes.
    """
    table = table_of(facts)

    def show(result: Result) -> None:
        from NeuroGenLib.scenes.atlas import Generated, add_generated

        atlas = SimpleNamespace(modalities=facts["atlas"]["modalities"], subjects=facts["atlas"]["subjects"])
        on_generated(add_generated(slicer.mrmlScene, Generated.of([result], table), atlas))

    return runner.run("Generating", "atlas.generate", arguments, show)


def scan_arguments(scan: Any, facts: dict[str, Any], *, image: str | None, mask: Any, labels: Any) -> dict[str, Any]:
    """Return the volumes of the job ``atlas.fit``.

    Parameters
    ----------
    scan:
        Volume node of the scan.
    facts:
        Result of the job ``model.open``.
    image:
        The one of the model's images that the scan is; the first when not given.
    mask, labels:
        Segmentation or label map nodes, or None.

    Raises
    ------
    InputError
        When no scan is given, or it is empty.
    """
    from NeuroGenLib.mrml.labelled import labels_on, mask_on
    from NeuroGenLib.mrml.volumes import volume_of

    table = table_of(facts)
    if scan is None:
        raise InputError(
            "No volume is chosen.",
            "Choose the image of the brain that the atlas shall be fitted to.",
            code="value-missing",
        )
    volume = volume_of(scan)
    volumes: dict[str, Any] = {"images": {image or facts["atlas"]["modalities"][0]: volume}}
    if mask is not None:
        volumes["mask"] = mask_on(mask, volume)
    if labels is not None:
        volumes["labels"] = labels_on(labels, table, volume)
    return volumes


def fit(
    runner: JobRunner,
    facts: dict[str, Any],
    arguments: dict[str, Any],
    scan: Any,
    on_fitted: Callable[[FitNodes, Result], object],
) -> bool:
    """Fit in the worker, put the result into the scene and show it on the scan; return whether it began.

    Parameters
    ----------
    runner, facts:
        As for :func:`generate`.
    arguments:
        Of the job ``atlas.fit``.
    scan:
        Volume node of the scan.
    on_fitted:
        Called with the nodes and the result.
    """

    def show(result: Result) -> None:
        from NeuroGenLib.mrml.views import show_in_slices
        from NeuroGenLib.scenes.atlas_fit import add_fit

        nodes = add_fit(slicer.mrmlScene, result, table_of(facts), subjects=facts["atlas"]["subjects"])
        on_fitted(nodes, result)
        is_there = slicer.mrmlScene.IsNodePresent(scan)
        show_in_slices(slicer.mrmlScene, scan if is_there else next(iter(nodes.reconstruction.values())))
        show_plot(nodes.growth.plot)

    return runner.run("Fitting", "atlas.fit", arguments, show)


def result_text(summary: dict[str, Any]) -> str:
    """Return the result of a fit in a few sentences."""
    unit, interval, known = summary["age_unit"], summary["age_interval"], summary["known_age"]
    age = f"Predicted age: {summary['age_of_image']:.1f} {unit}"
    age += f" (95 %: {interval[0]:.1f} to {interval[1]:.1f})." if interval else "."
    sentences = [age] if known is None else [f"Age: {known:g} {unit} (given).", age]
    for name, condition in summary["conditions"].items():
        value = f"{condition['value']:.3g}" if isinstance(condition["value"], float) else condition["value"]
        sentences.append(f"{name.replace('_', ' ')}: {value} ({condition['how']}).")
    if summary["z_n"] and summary["z_rough"]:
        sentences.append(f"z from {summary['z_n']} subjects: rough.")
    return " ".join([*sentences, *summary["warnings"], summary["shows"], summary["research_use"]])


def tissue_rows(summary: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return name, volume, expected volume and z of every tissue, as text."""
    return [
        (
            name.replace("_", " "),
            f"{tissue['volume_ml']:.1f}",
            "" if tissue["expected_ml"] is None else f"{tissue['expected_ml']:.1f}",
            "" if tissue["z"] is None else f"{tissue['z']:+.1f}",
        )
        for name, tissue in summary["tissues"].items()
    ]
