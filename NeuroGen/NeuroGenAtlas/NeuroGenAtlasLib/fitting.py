"""Fits the atlas to a volume of the scene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer

from NeuroGenAtlasLib.parameters import FIT_FIELDS
from NeuroGenAtlasLib.sequence import show_plot
from NeuroGenLib.core.errors import InputError
from NeuroGenPanels.parameter_fields import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenAtlasLib.browser import View
    from NeuroGenAtlasLib.model_session import ModelSession
    from NeuroGenAtlasLib.parameters import AtlasParameters
    from NeuroGenPanels.run_bar import RunBar


def fit_arguments(parameters: AtlasParameters, view: View, session: ModelSession, kind: str) -> dict[str, Any]:
    """Return the arguments of the job ``atlas.fit``.

    Parameters
    ----------
    parameters:
        Scan, mask, labels, and what is known.
    view:
        Model and conditions of the panel.
    session:
        The open model.
    kind:
        Which of its images the scan is.

    Raises
    ------
    InputError
        When no scan is chosen, or it holds nothing.
    """
    from NeuroGenLib.mrml.labelled import labels_on, mask_on
    from NeuroGenLib.mrml.volumes import volume_of

    if parameters.scan is None:
        raise InputError(
            "No volume is chosen.",
            "Choose the image of the brain that the atlas shall be fitted to.",
            code="value-missing",
        )
    scan = volume_of(parameters.scan)
    arguments: dict[str, Any] = {"model": view.model, "device": view.device, "images": {kind: scan}}
    if parameters.mask is not None:
        arguments["mask"] = mask_on(parameters.mask, scan)
    if parameters.labels is not None:
        arguments["labels"] = labels_on(parameters.labels, session.table, scan)
    if parameters.ageKnown:
        arguments["age"] = parameters.scanAge
    if parameters.conditionsKnown:
        arguments["conditions"] = dict(view.conditions)
    return arguments | {"settings": settings_of(parameters, **FIT_FIELDS)}


def fit(
    run_bar: RunBar,
    session: ModelSession,
    arguments: dict[str, Any],
    scan: Any,
    on_fitted: Callable[[dict[str, Any]], object],
) -> bool:
    """Fit in the worker, put what was found into the scene and look at it on the scan; return whether it began."""

    def show(result: dict[str, Any]) -> None:
        from NeuroGenLib.mrml.views import show_in_slices
        from NeuroGenLib.scenes.atlas_fit import ShownFit, add_fit

        shown = ShownFit.of_job(result, session.model, session.table)
        nodes = add_fit(slicer.mrmlScene, shown, {}, result["provenance"])
        on_fitted(result["summary"])
        is_there = slicer.mrmlScene.IsNodePresent(scan)
        show_in_slices(slicer.mrmlScene, scan if is_there else next(iter(nodes.reconstruction.values())))
        show_plot(nodes.growth.plot)

    return run_bar.run("Fitting", "atlas.fit", arguments, show)


def found_text(summary: dict[str, Any]) -> str:
    """Return what a fit found, in a few sentences."""
    unit, interval = summary["age_unit"], summary["age_interval"]
    known = summary["known_age"]
    age = f"Predicted age: {summary['age']:.1f} {unit}"
    age += f" (95 %: {interval[0]:.1f} to {interval[1]:.1f})." if interval else "."
    sentences = [age] if known is None else [age, f"Known age: {known:g} {unit}."]
    for name, found in summary["conditions"].items():
        value = f"{found['value']:.3g}" if isinstance(found["value"], float) else found["value"]
        sentences.append(f"{name.replace('_', ' ')}: {value} ({found['how']}).")
    if summary["z_rough"]:
        sentences.append(f"z from {summary['z_n']} subjects: rough.")
    return " ".join([*sentences, *summary["warnings"], summary["shows"], summary["research_use"]])


def tissue_rows(summary: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return name, volume, expected volume and z of every tissue, as text."""
    return [
        (
            name.replace("_", " "),
            f"{one['volume_ml']:.1f}",
            "" if one["expected_ml"] is None else f"{one['expected_ml']:.1f}",
            "" if one["z"] is None else f"{one['z']:+.1f}",
        )
        for name, one in summary["tissues"].items()
    ]
