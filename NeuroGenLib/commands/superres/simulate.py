"""`neurogen superres simulate`: thick slices of a scan in thin slices."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from NeuroGenLib.commands.options import add_report_options, make_parser, make_progress
from NeuroGenLib.commands.registration.apply import stem
from NeuroGenLib.commands.shared import (
    add_out_option,
    add_reading_options,
    out_folder,
    print_result,
    print_written,
    use_reading_options,
)
from NeuroGenLib.commands.superres.shared import read_scan
from NeuroGenLib.core import provenance
from NeuroGenLib.core.config_command_line import add_options, options_of
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import staged_outputs
from NeuroGenLib.core.provenance import RECORD
from NeuroGenLib.simulate.decimation import decimate_volume
from NeuroGenLib.simulate.thick_slices import DIRECTIONS, SliceProfile, slice_axis, thick_slices, with_noise
from NeuroGenLib.spatial.result import Result, write_result
from NeuroGenLib.superres.run_config import SimulateConfig

if TYPE_CHECKING:
    from NeuroGenLib.core.progress import Progress
    from NeuroGenLib.simulate.thick_slices import Direction
    from NeuroGenLib.spatial.volume import Volume

_THICK = 1.5
"""Ratio of the spacing across slices to the smallest one from which on a scan has thick slices itself."""
_FEWEST = 2
"""Slices of a result."""


def simulate(arguments: list[str]) -> None:
    """`neurogen superres simulate`: thick slices of a scan in thin ones."""
    parser = make_parser(
        "superres simulate",
        "Turn a scan in thin slices into thick ones, as a scanner would have measured them: each slice is an average\n"
        "over its profile, and the noise is added after. The files lie in the scan's own place in the world.\n\n"
        "With --reference nothing is measured: slices are dropped and the rest enlarged to the scan's grid, as the\n"
        "published program BABY-AI makes its training images, with the scaling that this brings.",
        (
            "neurogen superres simulate sub-01_T2w.nii.gz --thickness 4 --out thick",
            "neurogen superres simulate sub-01_T2w.nii.gz --thickness 3 --gap 0.6 --direction all --noise 0.02 --out s",
            "neurogen superres simulate sub-01_T2w.nii.gz --reference --factor 4 --out published",
        ),
    )
    parser.add_argument("scan", metavar="SCAN", help="a 3-D scan, or a folder with a DICOM series")
    add_options(parser, SimulateConfig)
    add_out_option(parser)
    add_reading_options(parser)
    add_report_options(parser)
    options = parser.parse(arguments)

    config = options_of(options, SimulateConfig)
    names = [f"{_name(options.scan, direction, config)}.nii.gz" for direction in config.directions]
    out = out_folder(options.out, names, overwrite=options.overwrite)

    started = time.monotonic()
    progress = make_progress(options.progress)
    use_reading_options(options, progress)
    result = simulated_scans(read_scan(Path(options.scan)), options.scan, config, progress)
    with staged_outputs(out) as folder:
        write_result(result, folder)
    progress.close()
    files = [out / name for name in (*names, RECORD)]
    seconds, warnings = time.monotonic() - started, list(result.warnings)
    if options.json:
        print_written(out, files, started, warnings=warnings)
    else:
        print_result(out, files, seconds, warnings, "These scans are simulated, not measured.")


def simulated_scans(scan: Volume, path: str, config: SimulateConfig, progress: Progress) -> Result:
    """Return a scan in thick slices of each direction, float32, with warnings and record.

    Parameters
    ----------
    scan, path:
        (i, j, k) intensities, and the file they come from.
    config:
        How the slices are simulated.
    progress:
        Progress callback.

    Raises
    ------
    InputError
        When the scan is too coarse, or the slices are fewer than two.
    """
    volumes = {
        _name(path, direction, config): _simulated(scan, direction, config)
        for direction in progress.track(config.directions, "Simulating slices")
    }
    warnings = [text for direction in config.directions for text in _coarse_warnings(scan, direction)]
    record = provenance.record(
        "superres simulate",
        parameters={"scan": path, "directions": config.directions, **config.applied()},
        files=[f"{name}.nii.gz" for name in volumes],
        warnings=warnings,
    )
    return Result(volumes=volumes, warnings=warnings, record=record)


def _coarse_warnings(scan: Volume, direction: Direction) -> list[str]:
    own = scan.spacing[slice_axis(scan, direction)]
    if own <= _THICK * min(scan.spacing):
        return []
    return [f"The scan itself has {direction} slices {own:.3g} mm apart: what lies between them is not in it."]


def _simulated(scan: Volume, direction: Direction, config: SimulateConfig) -> Volume:
    if config.factor is not None:
        thick = decimate_volume(scan, direction, config.factor, config.start)
        return thick.with_array(thick.array.astype("float32"))
    return _acquired(scan, direction, config)


def _acquired(scan: Volume, direction: Direction, config: SimulateConfig) -> Volume:
    """Return a scan averaged over the slice profile, with noise."""
    import numpy as np

    thickness = cast("float", config.thickness)  # without --reference there is one
    axis = slice_axis(scan, direction)
    own, distance = scan.spacing[axis], thickness + config.gap
    _require_coarser(scan, direction, config)
    if config.spacing is not None:
        scan = scan.resample([own if dimension == axis else config.spacing for dimension in range(3)], order=3)
    # Towards right, anterior or superior, whichever way the axis is stored.
    towards = 1 if scan.axcodes[axis] in "RAS" else -1
    profile = SliceProfile(config.profile, thickness)
    thick = thick_slices(scan, axis, profile, distance, towards * config.offset)
    if config.noise:
        # Every direction has random numbers of its own.
        rng = np.random.default_rng((config.seed, DIRECTIONS.index(direction)))
        thick = with_noise(thick, config.noise, rng)
    return thick.with_array(thick.array.astype(np.float32))


def _require_coarser(scan: Volume, direction: Direction, config: SimulateConfig) -> None:
    """Refuse slices or voxels finer than the scan's, and fewer than two slices."""
    axis, thickness = slice_axis(scan, direction), cast("float", config.thickness)
    own, distance = scan.spacing[axis], thickness + config.gap
    if thickness < own * 0.999:
        raise InputError(
            f"Slices of {thickness:g} mm are thinner than the scan's {direction} voxels of {own:.3g} mm.",
            "Ask for thicker slices, or start from a scan in thinner ones.",
            code="value-invalid",
        )
    extent = scan.shape[axis] * own
    if distance * _FEWEST > extent * 1.001:
        raise InputError(
            f"Slices {distance:g} mm apart (thickness and gap) leave fewer than two {direction} ones of a scan of"
            f" {extent:.4g} mm.",
            "Ask for thinner slices or a smaller gap.",
            code="value-invalid",
        )
    finest = max(mm for dimension, mm in enumerate(scan.spacing) if dimension != axis)
    if config.spacing is not None and config.spacing < finest * 0.999:
        raise InputError(
            f"A voxel size of {config.spacing:g} mm within {direction} slices is finer than the scan's"
            f" {finest:.3g} mm.",
            "Ask for a larger one, or omit --spacing.",
            code="value-invalid",
        )


def _name(path: str, direction: Direction, config: SimulateConfig) -> str:
    how = f"LR{config.factor}" if config.reference else f"{config.thickness:g}mm"
    return f"{stem(Path(path))}_{direction}_{how}"
