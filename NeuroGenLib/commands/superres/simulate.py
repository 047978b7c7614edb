"""`neurogen superres simulate`: what a scan in thick slices would have shown of a head scanned in thin ones."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from NeuroGenLib.commands.options import (
    add_report_options,
    make_parser,
    make_progress,
    number,
    print_json,
    whole_number,
)
from NeuroGenLib.commands.registration.apply import stem
from NeuroGenLib.commands.shared import close_bar, out_folder, print_result
from NeuroGenLib.commands.superres.shared import read_scan
from NeuroGenLib.core import provenance
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import staged_outputs, write_json
from NeuroGenLib.simulate.decimation import decimate_volume
from NeuroGenLib.simulate.thick_slices import (
    DIRECTIONS,
    PROFILES,
    Direction,
    ProfileKind,
    SliceProfile,
    slice_axis,
    thick_slices,
    with_noise,
)

if TYPE_CHECKING:
    from typing import Any

    from NeuroGenLib.spatial.volume import Volume

_THICK = 1.5
"""Spacing, in parts of the smallest one, from which on a scan has thick slices itself."""
_FEWEST = 2


@dataclass(frozen=True)
class Simulation:
    """How a scan in thick slices is simulated; lengths in mm, see the options of the command."""

    thickness: float
    gap: float = 0.0
    profile: ProfileKind = "gaussian"
    noise: float = 0.0
    seed: int = 0
    offset: float = 0.0
    spacing: float | None = None


@dataclass(frozen=True)
class Decimation:
    """How slices are left out, as the published program does it."""

    factor: int
    start: int = 0


def simulate(arguments: list[str]) -> None:
    """`neurogen superres simulate`: thick slices of a scan in thin ones."""
    parser = make_parser(
        "superres simulate",
        "Turn a scan in thin slices into thick ones, as a scanner would have measured them: each slice is an average\n"
        "over its profile, and the noise is added after. The files lie in the scan's own place in the world.\n\n"
        "With --reference nothing is measured: slices are left out and the rest enlarged to the scan's grid, as the\n"
        "published program BABY-AI makes its training images, with the stretching that this brings.",
        (
            "neurogen superres simulate sub-01_T2w.nii.gz --thickness 4 --out thick",
            "neurogen superres simulate sub-01_T2w.nii.gz --thickness 3 --gap 0.6 --direction all --noise 0.02 --out s",
            "neurogen superres simulate sub-01_T2w.nii.gz --reference --factor 4 --out published",
        ),
    )
    parser.add_argument("scan", metavar="SCAN", help="a 3-D scan, or a folder with a DICOM series")
    parser.add_argument("--thickness", metavar="MM", help="of the slices: full width at half maximum of their profile")
    parser.add_argument("--gap", metavar="MM", help="between slices (default: 0)")
    parser.add_argument(
        "--direction", choices=(*DIRECTIONS, "all"), default="axial", help="of the slices, by anatomy (default: axial)"
    )
    parser.add_argument("--profile", choices=PROFILES, help="of a slice (default: gaussian)")
    parser.add_argument(
        "--noise", metavar="LEVEL", help="Rician, as a part of the 99th percentile, such as 0.02 (default: 0)"
    )
    parser.add_argument("--seed", metavar="N", help="of the noise (default: 0)")
    parser.add_argument(
        "--offset", metavar="MM", help="moves the slices towards right, anterior or superior (default: 0)"
    )
    parser.add_argument("--spacing", metavar="MM", help="voxel size within the slices (default: the scan's)")
    parser.add_argument("--reference", action="store_true", help="leave slices out as the published program does")
    parser.add_argument("--factor", metavar="K", help="with --reference: keep every K-th slice")
    parser.add_argument("--start", metavar="K", help="with --reference: the first one kept (default: 0)")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write into")
    add_report_options(parser)
    options = parser.parse(arguments)

    out, job = out_folder(options.out), requested(options)
    directions = DIRECTIONS if options.direction == "all" else (options.direction,)

    started = time.monotonic()
    progress = make_progress(options.progress)
    scan = read_scan(Path(options.scan))
    warnings: list[str] = []
    with staged_outputs(out) as folder:
        names = []
        for direction in progress.track(directions, "Simulating slices"):
            name = _file_name(Path(options.scan), direction, job)
            simulated(scan, direction, job, warnings).save(folder / name)
            names.append(name)
        made = provenance.record(
            "superres simulate",
            parameters={"scan": options.scan, "directions": directions, **asdict(job)},
            files=names,
            warnings=warnings,
        )
        write_json(folder / "provenance.json", made)
    close_bar(progress)
    files = [out / name for name in (*names, "provenance.json")]
    seconds = time.monotonic() - started
    if options.json:
        written = [str(file) for file in files]
        print_json({"written": written, "warnings": warnings, "notice": provenance.RESEARCH_USE, "seconds": seconds})
    else:
        print_result(out, files, seconds, warnings, "These scans are simulated, not measured.")


def requested(options: Any) -> Simulation | Decimation:
    """Return what the options ask for.

    Raises
    ------
    InputError
        When one makes no sense, is missing, or belongs to the other way of simulating.
    """
    physics = ("thickness", "gap", "profile", "noise", "seed", "offset", "spacing")
    others = physics if options.reference else ("factor", "start")
    for name in others:
        if getattr(options, name) is not None:
            which = "does not go with" if options.reference else "goes only with"
            raise InputError(f"The option --{name} {which} --reference.", "Leave one of the two out.")
    needed, example = ("factor", "4") if options.reference else ("thickness", "4")
    if getattr(options, needed) is None:
        raise InputError(f"The option --{needed} is missing.", f"Add, for instance, --{needed} {example}.")
    if options.reference:
        start = whole_number(options.start or "0", "the number of a slice (--start)")
        return Decimation(whole_number(options.factor, "a distance of slices (--factor)", least=2), start)
    return Simulation(
        thickness=number(options.thickness, "a slice thickness in mm", positive=True),
        gap=_not_negative(options.gap or "0", "a gap in mm"),
        profile=options.profile or "gaussian",
        noise=_not_negative(options.noise or "0", "a noise level"),
        seed=whole_number(options.seed or "0", "a seed"),
        offset=number(options.offset or "0", "an offset in mm"),
        spacing=None if options.spacing is None else number(options.spacing, "a spacing in mm", positive=True),
    )


def simulated(scan: Volume, direction: Direction, job: Simulation | Decimation, warnings: list[str]) -> Volume:
    """Return the scan in thick slices of one direction, float32.

    Parameters
    ----------
    scan:
        (i, j, k) intensities.
    direction, job:
        Of the slices, by anatomy; how they are made.
    warnings:
        Takes a sentence where the scan has thick slices itself.

    Raises
    ------
    InputError
        When the scan is too coarse, or the slices are fewer than two.
    """
    axis = slice_axis(scan, direction)
    own = scan.spacing[axis]
    if own > _THICK * min(scan.spacing):
        warnings.append(
            f"The scan itself has {direction} slices {own:.3g} mm apart: what lies between them is not in it."
        )
    if isinstance(job, Decimation):
        thick = decimate_volume(scan, direction, job.factor, job.start)
        return thick.with_array(thick.array.astype("float32"))
    return _measured(scan, direction, axis, job)


def _measured(scan: Volume, direction: Direction, axis: int, job: Simulation) -> Volume:
    import numpy as np

    own = scan.spacing[axis]
    if job.thickness < own * 0.999:
        raise InputError(
            f"Slices of {job.thickness:g} mm are thinner than the scan's {direction} voxels of {own:.3g} mm.",
            "Ask for thicker slices, or start from a scan in thinner ones.",
        )
    extent = scan.shape[axis] * own
    distance = job.thickness + job.gap
    if distance * _FEWEST > extent * 1.001:
        raise InputError(
            f"Slices {distance:g} mm apart (thickness and gap) leave less than two {direction} ones of a scan of"
            f" {extent:.4g} mm.",
            "Ask for thinner slices or a smaller gap.",
        )
    if job.spacing is not None:
        inside = [mm for other, mm in enumerate(scan.spacing) if other != axis]
        if job.spacing < max(inside) * 0.999:
            raise InputError(
                f"A voxel size of {job.spacing:g} mm within {direction} slices is finer than the scan's"
                f" {max(inside):.3g} mm.",
                "Ask for a larger one, or leave --spacing out.",
            )
        scan = scan.resample([own if other == axis else job.spacing for other in range(3)], order=3)
    # Towards right, anterior or superior, whichever way the axis is stored.
    towards = 1 if scan.axcodes[axis] in "RAS" else -1
    thick = thick_slices(scan, axis, SliceProfile(job.profile, job.thickness), distance, towards * job.offset)
    if job.noise:
        # Every direction has a draw of its own.
        rng = np.random.default_rng((job.seed, DIRECTIONS.index(direction)))
        thick = with_noise(thick, job.noise, rng)
    return thick.with_array(thick.array.astype(np.float32))


def _not_negative(text: str, what: str) -> float:
    value = number(text, what)
    if value < 0:
        raise InputError(f"'{text}' is not {what}.", "Write zero or a number above it.")
    return value


def _file_name(scan: Path, direction: Direction, job: Simulation | Decimation) -> str:
    how = f"LR{job.factor}" if isinstance(job, Decimation) else f"{job.thickness:g}mm"
    return f"{stem(scan)}_{direction}_{how}.nii.gz"
