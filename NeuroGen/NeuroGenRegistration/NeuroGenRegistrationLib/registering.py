"""Registration of two volumes of the scene."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import slicer
from slicer.i18n import tr as _

from NeuroGenLib.core.errors import InputError
from NeuroGenPanels.parameter_fields import settings_of
from NeuroGenPanels.quality import remarks_of
from NeuroGenRegistrationLib.parameters import FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.scenes.registration import NodePair, RegistrationNodes
    from NeuroGenLib.spatial.labels import LabelTable
    from NeuroGenLib.spatial.result import Result
    from NeuroGenLib.spatial.volume import Volume
    from NeuroGenPanels.job_runner import JobRunner
    from NeuroGenRegistrationLib.parameters import RegistrationParameters

JOB: Final = "registration.run"


@dataclass(frozen=True, kw_only=True)
class InputNodes:
    """Nodes of the scene to register; label maps and masks are segmentation or label map nodes, or None."""

    fixed: Any
    moving: Any
    fixed_labels: Any = None
    moving_labels: Any = None
    fixed_mask: Any = None
    moving_mask: Any = None


class Task(NamedTuple):
    """A registration of two volumes of the scene.

    Attributes
    ----------
    pair:
        The two volume nodes.
    volumes:
        Arguments of the job ``registration.run``.
    table:
        Names of the labels; None without labels.
    notes:
        What the person should know before it begins.
    """

    pair: NodePair
    volumes: dict[str, Volume]
    table: LabelTable | None
    notes: list[str]


def registration_task(inputs: InputNodes) -> Task:
    """Read the nodes as they lie without earlier registrations of NeuroGen.

    Raises
    ------
    InputError
        When an image is missing or empty, both are the same one, or a node lies under a warp.
    """
    from NeuroGenLib.mrml.labelled import mask_on
    from NeuroGenLib.mrml.volumes import volume_of
    from NeuroGenLib.scenes.registration import NodePair, unregistered

    if inputs.fixed is None or inputs.moving is None:
        raise InputError("An image is not chosen.", "Choose the fixed and the moving image.", code="value-missing")
    pair = NodePair.of(inputs.fixed, inputs.moving)
    labelled = (inputs.fixed_labels, inputs.moving_labels, inputs.fixed_mask, inputs.moving_mask)
    with unregistered(inputs.fixed, inputs.moving, *labelled):
        volumes = {"fixed": volume_of(inputs.fixed), "moving": volume_of(inputs.moving)}
        for role, mask in (("fixed", inputs.fixed_mask), ("moving", inputs.moving_mask)):
            if mask is not None:
                volumes[f"{role}_mask"] = mask_on(mask, volumes[role])
        labels, table, notes = _labels(inputs, volumes)
    return Task(pair, volumes | labels, table, notes)


def run_task(
    runner: JobRunner, task: Task, arguments: dict[str, Any], on_registered: Callable[[RegistrationNodes], object]
) -> bool:
    """Register in the worker and put the result into the scene; return whether it began.

    Parameters
    ----------
    runner, task:
        Where it runs, and what.
    arguments:
        ``model``, ``device`` and ``settings`` of the job.
    on_registered:
        Called with the nodes.
    """

    def show(result: Result) -> None:
        from NeuroGenLib.mrml.arrays import node_name
        from NeuroGenLib.scenes.registration import add_registration

        names = {"fixed": node_name(task.pair.fixed), "moving": node_name(task.pair.moving)}
        record = {**result.record, "parameters": {**result.record["parameters"], **names}}
        on_registered(add_registration(slicer.mrmlScene, replace(result, record=record), task.pair, task.table))

    return runner.run(_("Registering"), JOB, {**arguments, **task.volumes}, show)


def chosen_nodes(parameters: RegistrationParameters) -> dict[str, Any]:
    """Return the nodes that are chosen in the panel, as arguments of ``NeuroGenRegistrationLogic.register``."""
    return {
        "fixedNode": parameters.fixed,
        "movingNode": parameters.moving,
        "fixed_labels": parameters.fixedLabels,
        "moving_labels": parameters.movingLabels,
        "fixed_mask": parameters.fixedMask,
        "moving_mask": parameters.movingMask,
    }


def chosen_settings(parameters: RegistrationParameters) -> dict[str, Any]:
    """Return the settings that are chosen in the panel, as RegisterConfig names them."""
    settings = settings_of(parameters, **FIELDS)
    return settings if parameters.adjust else settings | {"refine": 0}


def estimate_arguments(parameters: RegistrationParameters) -> dict[str, Any]:
    """Return the arguments of the job's estimate."""
    image = None if parameters.fixed is None else parameters.fixed.GetImageData()
    voxels = 0 if image is None else image.GetNumberOfPoints()
    arguments = {
        "model": parameters.model,
        "device": parameters.device,
        "settings": chosen_settings(parameters),
    }
    return arguments | ({"voxels": voxels} if voxels else {})


def quality_headings() -> tuple[str, ...]:
    """Return the headings of the panel's table of the quality."""
    return (_("measure"), _("headers"), _("start"), _("registered"), _("unit"))


def result_text(rows: list[dict[str, Any]], record: dict[str, Any]) -> str:
    """Return the result of a registration in a few sentences: overlap or similarity, then its warnings."""
    by_measure = {(row["measure"], row["label"]): row for row in reversed(rows)}
    row = by_measure.get(("Dice", "mean")) or by_measure.get(("mutual information", "all"))
    sentences = []
    if row is not None:
        sentences.append(
            _("{measure}: {before} by the headers, {after} registered.").format(
                measure=_("Mean overlap of the labels (Dice)") if row["label"] == "mean" else _("Mutual information"),
                before=row["headers"],
                after=row["registered"],
            )
        )
    return " ".join([*sentences, *remarks_of(record)])


def _labels(inputs: InputNodes, volumes: dict[str, Volume]) -> tuple[dict[str, Volume], LabelTable | None, list[str]]:
    """Return the label maps for the job, the names of their values, and notes about them."""
    from NeuroGenLib.mrml.labelled import labels_on, match_labels, table_of

    fixed, moving = inputs.fixed_labels, inputs.moving_labels
    if moving is None:
        alone = _("Labels of the fixed image alone are not used: give those of the moving image too.")
        return {}, None, [] if fixed is None else [alone]
    table = table_of(moving)
    labels = {"moving_labels": labels_on(moving, table, volumes["moving"])}
    if fixed is None:
        return labels, table, []
    own = table_of(fixed)
    on_fixed, table, both = match_labels(labels_on(fixed, own, volumes["fixed"]), own, table)
    if not both:
        apart = _("The fixed and the moving labels have no name in common: their overlap is not measured.")
        return labels, table, [apart]
    return labels | {"fixed_labels": on_fixed}, table, []
