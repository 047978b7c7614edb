"""Super-resolves volumes of the scene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import slicer
from slicer.i18n import tr as _

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.simulate.thick_slices import DIRECTIONS
from NeuroGenLib.superres.evaluation.quality_table import STAGES
from NeuroGenLib.superres.run_config import BUNDLED, SuperresConfig
from NeuroGenPanels.parameter_fields import settings_of
from NeuroGenPanels.quality import remarks_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.superres.stacks.slice_geometry import SliceGeometry
    from NeuroGenPanels.run_bar import RunBar
    from NeuroGenSuperResolutionLib.parameters import SuperResolutionParameters

JOB = "superres.run"
AUTO = "auto"
DIRECTION_CHOICES = (AUTO, *DIRECTIONS)


class Task(NamedTuple):
    """What is to be super-resolved: the first scan's node, the names of all, and the arguments of the job."""

    scan: Any
    names: dict[str, Any]
    arguments: dict[str, Any]
    keep_residual: bool


def chosen_scans(parameters: SuperResolutionParameters) -> list[Any]:
    """Return the nodes of the scans that are chosen, in their order."""
    chosen = (parameters.scan, parameters.secondScan, parameters.thirdScan)
    return [node for node in chosen if node is not None]


def settings(parameters: SuperResolutionParameters) -> dict[str, Any]:
    """Return the settings of the job: those that are not left to header and model."""
    chosen: dict[str, Any] = settings_of(parameters, align="align", back_projection="corrections")
    if parameters.spacing > 0:
        chosen["spacing"] = parameters.spacing
    if parameters.thickness > 0:
        chosen["thickness"] = parameters.thickness
    if parameters.gapIsKnown:
        chosen["gap"] = parameters.gap
    if parameters.direction != AUTO and len(chosen_scans(parameters)) == 1:
        chosen["direction"] = parameters.direction
    chosen["recorded"] = [recorded_of(node) for node in chosen_scans(parameters)]
    return chosen


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


def task_of(parameters: SuperResolutionParameters, manifest: dict[str, Any]) -> Task:
    """Read the chosen nodes.

    Parameters
    ----------
    parameters:
        What is chosen.
    manifest:
        Of the model; empty where it cannot be read, which the job then says.

    Raises
    ------
    InputError
        When no T2w is chosen, one node is chosen twice, a node is empty or lies under a warp, or the model needs a
        guide and none is chosen.
    """
    from NeuroGenLib.mrml.arrays import node_name
    from NeuroGenLib.mrml.volumes import volume_of
    from NeuroGenLib.superres.guide import guide_need

    scans, guide = chosen_scans(parameters), parameters.guide
    if parameters.scan is None:
        raise InputError(_("No T2w scan is chosen."), _("Choose the scan in thick slices."))
    if manifest and guide_need(manifest) == "needed" and guide is None:
        raise InputError(
            _("The chosen model needs a T1w of the same head as guide."),
            _("Choose the T1w, or a model that needs none, such as {name}.").format(name=BUNDLED),
        )
    nodes = scans if guide is None else [*scans, guide]
    for index, node in enumerate(nodes):
        if any(node is other for other in nodes[:index]):
            raise InputError(
                _("'{name}' is chosen twice.").format(name=node_name(node)),
                _("Choose another volume, or none, in one of the two places."),
            )
    arguments: dict[str, Any] = {
        "model": parameters.model,
        "device": parameters.device,
        "settings": settings(parameters),
        "scans": [volume_of(node) for node in scans],
    }
    names: dict[str, Any] = {"scans": [node_name(node) for node in scans]}
    if guide is not None:
        arguments["guide"] = volume_of(guide)
        names["guide"] = node_name(guide)
    return Task(parameters.scan, names, arguments, parameters.keepResidual)


def super_resolve(
    run_bar: RunBar, task: Task, on_found: Callable[[Any], object], on_nothing: Callable[[str], object]
) -> bool:
    """Super-resolve in the worker and put what was found into the scene; return whether it began.

    Parameters
    ----------
    run_bar, task:
        Where it runs, and what.
    on_found:
        Called with the node of the isotropic volume.
    on_nothing:
        Called with a sentence where the scan is isotropic already.
    """

    def show(result: dict[str, Any]) -> None:
        from NeuroGenLib.scenes.superres import ShownSuperres, add_superres

        if result["nothing_to_do"]:
            on_nothing(result["nothing_to_do"])
            return
        record = result["provenance"]
        record["parameters"] |= task.names
        shown = ShownSuperres.of_job(result, residual=task.keep_residual)
        on_found(add_superres(slicer.mrmlScene, shown, task.scan, record).image)

    return run_bar.run(_("Super-resolution"), JOB, task.arguments, show)


def understood(parameters: SuperResolutionParameters) -> list[SliceGeometry | InputError]:
    """Return how each chosen scan is understood from its grid, or what is wrong with it."""
    from NeuroGenLib.mrml.arrays import from_vtk_matrix
    from NeuroGenLib.mrml.core import vtk
    from NeuroGenLib.mrml.transforms import parent_matrix
    from NeuroGenLib.superres.stacks.slice_geometry import slice_geometry

    found: list[SliceGeometry | InputError] = []
    for node in chosen_scans(parameters):
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        image = node.GetImageData()
        try:
            affine = parent_matrix(node) @ from_vtk_matrix(matrix)
            chosen = from_mapping(SuperresConfig, settings(parameters) | {"recorded": [recorded_of(node)]})
            found.append(slice_geometry((0, 0, 0) if image is None else image.GetDimensions(), affine, chosen))
        except InputError as error:
            found.append(error)
    return found


def understood_text(parameters: SuperResolutionParameters) -> str:
    """Return a line for each chosen scan: its slices, their thickness and gap, as they will be used."""
    from NeuroGenLib.mrml.arrays import node_name

    lines = [
        f"{node_name(node)}: {one if isinstance(one, InputError) else _slices_text(one)}"
        for node, one in zip(chosen_scans(parameters), understood(parameters), strict=True)
    ]
    return "\n".join(lines)


def estimate_arguments(parameters: SuperResolutionParameters) -> dict[str, Any]:
    """Return the arguments of the job's estimate."""
    known = [one for one in understood(parameters) if not isinstance(one, InputError)]
    arguments = {
        "model": parameters.model,
        "device": parameters.device,
        "settings": settings(parameters),
        "placed": max(0, len(chosen_scans(parameters)) - 1) + (parameters.guide is not None),
    }
    return arguments | ({"voxels": known[0].voxels_of_result(parameters.spacing or None)} if known else {})


def guide_text(need: str, *, given: bool) -> str:
    """Return what a model's need of a guide means for the choice that was made; empty where all is well."""
    if need == "needed" and not given:
        return _("This model needs a T1w of the same head as guide: choose it below.")
    if need == "none" and given:
        return _("This model takes no guide: the T1w will not be used.")
    return ""


def quality_headings() -> tuple[str, ...]:
    """Return the headings of the panel's table of the quality."""
    return (_("measure"), _("interpolated"), _("result"), _("unit"))


def found_text(rows: list[dict[str, Any]], record: dict[str, Any]) -> str:
    """Return what was found, in a few sentences: how well the slices are reproduced, then what to be aware of."""
    told = next((row for row in rows if row["measure"] == "slices not reproduced"), None)
    sentences = []
    if told is not None:
        before, after = (str(told[stage]) for stage in STAGES)
        sentences.append(
            _(
                "Sliced again, the result differs from the slices by {after} % of the brightness, the interpolation by"
                " {before} %."
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
