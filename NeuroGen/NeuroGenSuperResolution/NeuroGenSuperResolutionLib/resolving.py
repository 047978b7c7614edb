"""Super-resolution of volumes of the scene."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import slicer
from slicer.i18n import tr as _

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.simulate.thick_slices import DIRECTIONS
from NeuroGenLib.superres.evaluation.quality_table import STAGES
from NeuroGenLib.superres.run_config import SuperresConfig
from NeuroGenPanels.parameter_fields import settings_of
from NeuroGenPanels.quality import remarks_of
from NeuroGenSuperResolutionLib.parameters import FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from NeuroGenLib.scenes.superres import SuperresNodes
    from NeuroGenLib.spatial.result import Result
    from NeuroGenLib.superres.stacks.slice_geometry import SliceGeometry
    from NeuroGenPanels.job_runner import JobRunner
    from NeuroGenSuperResolutionLib.parameters import SuperResolutionParameters

JOB: Final = "superres.run"
AUTO = "auto"
DIRECTION_CHOICES = (AUTO, *DIRECTIONS)


class Task(NamedTuple):
    """A super-resolution of volumes of the scene.

    Attributes
    ----------
    scan:
        The first scan's node.
    names:
        Names of the nodes, for the record.
    volumes:
        Arguments of the job ``superres.run``.
    """

    scan: Any
    names: dict[str, Any]
    volumes: dict[str, Any]


def chosen_scans(parameters: SuperResolutionParameters) -> list[Any]:
    """Return the nodes of the chosen scans, in their order."""
    nodes = (parameters.scan, parameters.secondScan, parameters.thirdScan)
    return [node for node in nodes if node is not None]


def chosen_settings(parameters: SuperResolutionParameters) -> dict[str, Any]:
    """Return the settings of the job other than those left to header and model."""
    chosen: dict[str, Any] = settings_of(parameters, **FIELDS)
    for name in ("spacing", "thickness"):
        if getattr(parameters, name) > 0:
            chosen[name] = getattr(parameters, name)
    if parameters.gapIsKnown:
        chosen["gap"] = parameters.gap
    if parameters.direction != AUTO and len(chosen_scans(parameters)) == 1:
        chosen["direction"] = parameters.direction
    return chosen


def with_recorded(settings: dict[str, Any], scans: Sequence[Any]) -> dict[str, Any]:
    """Return settings with the thickness that is recorded with each scan's files, unless they hold it."""
    return {"recorded": [recorded_of(node) for node in scans], **settings}


def recorded_of(node: Any) -> float:
    """Return the slice thickness recorded with a volume node, mm, 0 where unknown: of its DICOM or BIDS files."""
    from NeuroGenLib.superres.stacks.slice_thickness import UNKNOWN, recorded_thickness

    database, instances = getattr(slicer, "dicomDatabase", None), node.GetAttribute("DICOM.instanceUIDs")
    storage = node.GetStorageNode()
    if database is not None and instances:
        file = database.fileForInstance(instances.split()[0])
    else:
        file = storage.GetFileName() if storage is not None else None
    return recorded_thickness(file) if file else UNKNOWN


def superres_task(scans: Sequence[Any], guide: Any = None) -> Task:
    """Read the nodes of scans, and of a guide.

    Raises
    ------
    InputError
        When there is no scan, one node is there twice, a node is empty or lies under a warp.
    """
    from NeuroGenLib.mrml.arrays import node_name
    from NeuroGenLib.mrml.volumes import volume_of

    if not scans or scans[0] is None:
        raise InputError(_("No T2w scan is chosen."), _("Choose the scan in thick slices."), code="value-missing")
    nodes = [*scans] if guide is None else [*scans, guide]
    for index, node in enumerate(nodes):
        if any(node is earlier for earlier in nodes[:index]):
            raise InputError(
                _("'{name}' is chosen twice.").format(name=node_name(node)),
                _("Choose another volume, or none, in one of the two places."),
                code="value-duplicate",
            )
    volumes: dict[str, Any] = {"scans": [volume_of(node) for node in scans]}
    names: dict[str, Any] = {"scans": [node_name(node) for node in scans]}
    if guide is not None:
        volumes["guide"], names["guide"] = volume_of(guide), node_name(guide)
    return Task(scans[0], names, volumes)


def run_task(
    runner: JobRunner,
    task: Task,
    arguments: dict[str, Any],
    on_nodes: Callable[[SuperresNodes], object],
    on_nothing: Callable[[str], object],
    *,
    residual: bool = True,
) -> bool:
    """Super-resolve in the worker and put the result into the scene; return whether it began.

    Parameters
    ----------
    runner, task:
        Where it runs, and what.
    arguments:
        ``model``, ``device`` and ``settings`` of the job.
    on_nodes:
        Called with the nodes of the result.
    on_nothing:
        Called with a sentence where the scan is isotropic already.
    residual:
        Whether the residual gets a node.
    """

    def show(result: Result) -> None:
        from NeuroGenLib.scenes.superres import add_superres

        if "nothing_to_do" in result.facts:
            on_nothing(result.facts["nothing_to_do"])
            return
        parameters = {**result.record["parameters"], **task.names}
        named = replace(result, record={**result.record, "parameters": parameters})
        on_nodes(add_superres(slicer.mrmlScene, named, task.scan, residual=residual))

    return runner.run(_("Super-resolution"), JOB, {**arguments, **task.volumes}, show)


def understood(parameters: SuperResolutionParameters) -> list[SliceGeometry | InputError]:
    """Return how each chosen scan is understood from its grid, or what is wrong with it."""
    from NeuroGenLib.mrml.arrays import from_vtk_matrix
    from NeuroGenLib.mrml.core import vtk
    from NeuroGenLib.mrml.transforms import parent_matrix
    from NeuroGenLib.superres.stacks.slice_geometry import slice_geometry

    geometries: list[SliceGeometry | InputError] = []
    for node in chosen_scans(parameters):
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        image = node.GetImageData()
        try:
            affine = parent_matrix(node) @ from_vtk_matrix(matrix)
            config = from_mapping(SuperresConfig, with_recorded(chosen_settings(parameters), [node]))
            geometries.append(slice_geometry((0, 0, 0) if image is None else image.GetDimensions(), affine, config))
        except InputError as error:
            geometries.append(error)
    return geometries


def understood_text(parameters: SuperResolutionParameters) -> str:
    """Return a line for each chosen scan: its slices, their thickness and gap, as they will be used."""
    from NeuroGenLib.mrml.arrays import node_name

    lines = [
        f"{node_name(node)}: {slices if isinstance(slices, InputError) else _slices_text(slices)}"
        for node, slices in zip(chosen_scans(parameters), understood(parameters), strict=True)
    ]
    return "\n".join(lines)


def estimate_arguments(parameters: SuperResolutionParameters) -> dict[str, Any]:
    """Return the arguments of the job's estimate."""
    known = [slices for slices in understood(parameters) if not isinstance(slices, InputError)]
    arguments = {
        "model": parameters.model,
        "device": parameters.device,
        "settings": with_recorded(chosen_settings(parameters), chosen_scans(parameters)),
        "placed": max(0, len(chosen_scans(parameters)) - 1) + (parameters.guide is not None),
    }
    return arguments | ({"voxels": known[0].voxels_of_result(parameters.spacing or None)} if known else {})


def guide_text(need: str, *, chosen: bool) -> str:
    """Return a remark where the choice of a guide does not fit the model's need; else an empty text."""
    if need == "needed" and not chosen:
        return _("This model needs a T1w of the same head as guide: choose it below.")
    if need == "none" and chosen:
        return _("This model takes no guide: the T1w will not be used.")
    return ""


def quality_headings() -> tuple[str, ...]:
    """Return the headings of the panel's table of the quality."""
    return (_("measure"), _("interpolated"), _("result"), _("unit"))


def result_text(rows: list[dict[str, Any]], record: dict[str, Any]) -> str:
    """Return how well the slices are reproduced, then the warnings, in a few sentences."""
    row = next((row for row in rows if row["measure"] == "slices not reproduced"), None)
    sentences = []
    if row is not None:
        before, after = (str(row[stage]) for stage in STAGES)
        sentences.append(
            _(
                "Sliced again, the result differs from the slices by {after} % of the intensity range, the"
                " interpolation by {before} %."
            ).format(before=before, after=after)
        )
    return " ".join([*sentences, *remarks_of(record)])


def _slices_text(slices: SliceGeometry) -> str:
    direction = {"axial": _("axial"), "coronal": _("coronal"), "sagittal": _("sagittal")}[slices.direction]
    text = _("{count} {direction} slices, {thickness} mm thick, {gap}; {first} x {second} mm within.").format(
        count=slices.count,
        direction=direction,
        thickness=f"{slices.thickness_mm:.3g}",
        gap=_gap_text(slices.gap_mm),
        first=f"{slices.within_mm[0]:.3g}",
        second=f"{slices.within_mm[1]:.3g}",
    )
    used = slices.thickness_mm + slices.gap_mm
    if abs(used - slices.header_distance_mm) > 0.01 * slices.header_distance_mm:
        text += " " + _("The header has them {header} mm apart; {used} mm are used.").format(
            header=f"{slices.header_distance_mm:.3g}", used=f"{used:.3g}"
        )
    return text + (" " + _("Isotropic already, by its header.") if slices.isotropic else "")


def _gap_text(gap: float) -> str:
    if abs(gap) < 0.005:
        return _("touching each other")
    if gap < 0:
        return _("overlapping by {gap} mm").format(gap=f"{-gap:.3g}")
    return _("{gap} mm between them").format(gap=f"{gap:.3g}")
