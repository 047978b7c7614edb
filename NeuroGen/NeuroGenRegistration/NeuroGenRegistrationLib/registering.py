"""Registers two volumes of the scene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import slicer
from slicer.i18n import tr as _

from NeuroGenLib.core.errors import InputError
from NeuroGenPanels.parameter_fields import settings_of
from NeuroGenPanels.quality import remarks_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.scenes.registration import Pair
    from NeuroGenLib.spatial.labels import LabelTable
    from NeuroGenPanels.run_bar import RunBar
    from NeuroGenRegistrationLib.parameters import RegistrationParameters


class Task(NamedTuple):
    """What is to be registered.

    Attributes
    ----------
    pair:
        The two volume nodes.
    arguments:
        Of the job ``registration.run``.
    table:
        What the labels mean; None without labels.
    notes:
        What the person should know before it begins.
    """

    pair: Pair
    arguments: dict[str, Any]
    table: LabelTable | None
    notes: list[str]


def task_of(parameters: RegistrationParameters) -> Task:
    """Read the chosen nodes as they lie without earlier registrations of NeuroGen.

    Raises
    ------
    InputError
        When an image is not chosen or empty, both are the same one, or a node lies under a warp.
    """
    from NeuroGenLib.mrml.labelled import mask_on
    from NeuroGenLib.mrml.volumes import volume_of
    from NeuroGenLib.scenes.registration import Pair, unregistered

    chosen = parameters
    if chosen.fixed is None or chosen.moving is None:
        raise InputError("An image is not chosen.", "Choose the fixed and the moving image.")
    pair = Pair.of(chosen.fixed, chosen.moving)
    others = (chosen.fixedLabels, chosen.movingLabels, chosen.fixedMask, chosen.movingMask)
    with unregistered(chosen.fixed, chosen.moving, *others):
        fixed, moving = volume_of(chosen.fixed), volume_of(chosen.moving)
        arguments: dict[str, Any] = {**model_arguments(chosen), "fixed": fixed, "moving": moving}
        if chosen.fixedMask is not None:
            arguments["fixed_mask"] = mask_on(chosen.fixedMask, fixed)
        if chosen.movingMask is not None:
            arguments["moving_mask"] = mask_on(chosen.movingMask, moving)
        labels, table, notes = _labels(chosen, arguments)
    return Task(pair, arguments | labels, table, notes)


def model_arguments(parameters: RegistrationParameters) -> dict[str, Any]:
    """Return the arguments of the job without its volumes."""
    settings = settings_of(parameters, refine="steps") | {"start": parameters.start}
    if not parameters.adjust:
        settings["refine"] = 0
    return {"model": parameters.model, "device": parameters.device, "settings": settings}


def estimate_arguments(parameters: RegistrationParameters) -> dict[str, Any]:
    """Return the arguments of the job's estimate."""
    image = None if parameters.fixed is None else parameters.fixed.GetImageData()
    voxels = 0 if image is None else image.GetNumberOfPoints()
    return model_arguments(parameters) | ({"voxels": voxels} if voxels else {})


def register(run_bar: RunBar, task: Task, on_registered: Callable[[Any], object]) -> bool:
    """Register in the worker and put what was found into the scene; return whether it began.

    Parameters
    ----------
    run_bar, task:
        Where it runs, and what.
    on_registered:
        Called with the forward transform.
    """

    def show(result: dict[str, Any]) -> None:
        from NeuroGenLib.mrml.arrays import node_name
        from NeuroGenLib.scenes.registration import ShownRegistration, add_registration

        names = {"fixed": node_name(task.pair.fixed), "moving": node_name(task.pair.moving)}
        record = result["provenance"]
        record["parameters"] |= names
        shown = ShownRegistration.of_job(result, task.table)
        on_registered(add_registration(slicer.mrmlScene, shown, task.pair, record).forward)

    return run_bar.run(_("Registering"), "registration.run", task.arguments, show)


def quality_headings() -> tuple[str, ...]:
    """Return the headings of the panel's table of the quality."""
    return (_("measure"), _("headers"), _("start"), _("registered"), _("unit"))


def found_text(rows: list[dict[str, Any]], record: dict[str, Any]) -> str:
    """Return what a registration found, in a few sentences: overlap or similarity, then what to be aware of."""
    by_measure = {(row["measure"], row["label"]): row for row in reversed(rows)}
    told = by_measure.get(("Dice", "mean")) or by_measure.get(("mutual information", "all"))
    sentences = []
    if told is not None:
        sentences.append(
            _("{measure}: {before} by the headers, {after} registered.").format(
                measure=_("Mean overlap of the labels (Dice)") if told["label"] == "mean" else _("Mutual information"),
                before=told["headers"],
                after=told["registered"],
            )
        )
    return " ".join([*sentences, *remarks_of(record)])


def _labels(
    parameters: RegistrationParameters, arguments: dict[str, Any]
) -> tuple[dict[str, Any], LabelTable | None, list[str]]:
    """Return the label maps for the job, what their values mean, and what is to be said about them."""
    from NeuroGenLib.mrml.labelled import labels_on, match_labels, table_of

    fixed, moving = parameters.fixedLabels, parameters.movingLabels
    if moving is None:
        alone = _("Labels of the fixed image alone are not used: give those of the moving image too.")
        return {}, None, [] if fixed is None else [alone]
    table = table_of(moving)
    labels = {"moving_labels": labels_on(moving, table, arguments["moving"])}
    if fixed is None:
        return labels, table, []
    own = table_of(fixed)
    on_fixed, table, both = match_labels(labels_on(fixed, own, arguments["fixed"]), own, table)
    if not both:
        apart = _("The fixed and the moving labels have no name in common: their overlap is not measured.")
        return labels, table, [apart]
    return labels | {"fixed_labels": on_fixed}, table, []
