"""Compares registration with other programs: ``python Testing/bench/bench_peers.py``, or ``make peers``.

Every program runs in a process of its own with its default settings on 2 threads, one at a time, over the pairs of
``registration_pairs.tsv``: image files in, warped labels and a displacement field out. Measured are the mean Dice of
the warped moving labels (nearest) with the fixed ones, before and after, folded voxels, and seconds from the start of
the process to its end. Results go to ``results.json`` and ``results.md`` in ``--out`` after every run; what is there
already and not asked for stays. Seconds need an idle machine: the load before each run is in the table. Some programs
sample again every time (ANTs) and now and then miss: ``--repeats`` shows how often.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

from peers.job import Job
from peers.pairs import read_pairs, scan_files
from peers.programs import PROGRAMS, THREADS, ProgramFailedError, run_program
from peers.scores import overlap_before, result_scores
from peers.table import markdown

from NeuroGenLib.core.errors import InputError, NeuroGenError, nearest
from NeuroGenLib.core.files import read_json, write_json, write_text

REPOSITORY = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> None:
    """Run what the command line asks for."""
    options = parser().parse_args(arguments)
    try:
        compare(options)
    except NeuroGenError as error:
        raise SystemExit(str(error)) from error


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    scripts = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    parser = argparse.ArgumentParser(description="Compare registration with other programs.", allow_abbrev=False)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data", help="data folder")
    parser.add_argument("--pairs", type=Path, default=Path(__file__).with_name("registration_pairs.tsv"))
    parser.add_argument("--programs", default=",".join(PROGRAMS), help="names, separated by commas")
    parser.add_argument("--first", type=int, metavar="N", help="only this many pairs, to see that it runs")
    parser.add_argument("--repeats", type=int, default=1, help="how often each program registers each pair")
    parser.add_argument("--peers-python", type=Path, default=REPOSITORY / ".venv-peers" / scripts)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "runs" / "peers", help="folder of the results")
    return parser


def compare(options: argparse.Namespace) -> None:
    """Run the programs over the pairs; the results are on disk after every run."""
    programs = known_programs(options.programs)
    pairs = read_pairs(options.pairs)[: options.first]
    data = options.data.resolve()  # the programs run in folders of their own
    files = {pair: (*scan_files(data, pair.fixed), *scan_files(data, pair.moving)) for pair in pairs}
    if not (all(PROGRAMS[name].own for name in programs) or options.peers_python.is_file()):
        raise InputError(
            f"There is no {options.peers_python}.",
            "Call `make peers`, which installs the other programs.",
            code="table-invalid",
        )
    results = options.out / "results.json"
    rows: list[dict[str, Any]] = read_json(results)["rows"] if results.is_file() else []
    for name in programs:
        for pair, repeat in product(pairs, range(options.repeats)):
            row = {**vars(pair), "program": name, "repeat": repeat}
            row |= measured(name, files[pair], options.peers_python)
            rows = [other for other in rows if _key(other) != _key(row)] + [row]
            write_json(results, {"machine": machine(), "rows": rows})
            write_text(options.out / "results.md", markdown(rows, list(PROGRAMS)))
            print(row, flush=True)
    print(markdown(rows, list(PROGRAMS)))


def known_programs(names: str) -> list[str]:
    """Return the programs that are named, in the order given.

    Raises
    ------
    InputError
        When there is no such program.
    """
    programs = [name.strip() for name in names.split(",")]
    for name in programs:
        if name not in PROGRAMS:
            raise InputError(f"There is no program '{name}'.", nearest(name, PROGRAMS), code="table-invalid")
    return programs


def measured(name: str, files: tuple[Path, Path, Path, Path], peers_python: Path) -> dict[str, Any]:
    """Return scores and cost of one run; ``error`` says why a program failed, its scores are then missing."""
    fixed, fixed_labels, moving, moving_labels = files
    with tempfile.TemporaryDirectory() as folder:
        job = Job(fixed, moving, fixed_labels, moving_labels, Path(folder))
        row: dict[str, Any] = {"load": load(), "dice_before": overlap_before(job)}
        try:
            cost = run_program(PROGRAMS[name], job, peers_python)
        except ProgramFailedError as error:
            return {**row, "error": str(error)}
        return {**row, **result_scores(job), "wall_s": cost.wall, "cpu_s": cost.cpu}


def machine() -> dict[str, Any]:
    """Return what the seconds depend on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "logical_cores": os.cpu_count(),
        "threads": THREADS,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def load() -> float | None:
    """Return how many processes wanted to run in the last minute, None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _key(row: dict[str, Any]) -> tuple[str, str, str, int]:
    return row["fixed"], row["moving"], row["program"], row["repeat"]


if __name__ == "__main__":
    main()
