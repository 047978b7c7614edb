"""The programs that are compared, and how their processes are started and timed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peers.job import Job

THREADS = 2
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)


@dataclass(frozen=True)
class Program:
    """A script of this folder with its settings; ``own`` ones run in NeuroGen's environment, others in the peers'."""

    script: str
    settings: tuple[str, ...] = ()
    own: bool = False


PROGRAMS = {
    "ANTs affine": Program("ants_peer.py", ("Affine",)),
    "ANTs SyN": Program("ants_peer.py", ("SyN",)),
    "greedy": Program("greedy_peer.py", ("NCC",)),
    "greedy -sv": Program("greedy_peer.py", ("WNCC", "-sv")),
    "demons": Program("demons_peer.py", own=True),
    "neurogen": Program("neurogen_peer.py", own=True),
    "neurogen --refine 0": Program("neurogen_peer.py", ("--refine", "0"), own=True),
}


@dataclass(frozen=True)
class Cost:
    """Seconds a step took by the clock and on all processors; the latter is None on Windows."""

    wall: float
    cpu: float | None


class ProgramFailedError(Exception):
    """A program ended with an error; the text has the last two lines it wrote."""


def run_program(program: Program, job: Job, peers_python: Path) -> Cost:
    """Run both steps of a program, its output going to ``log.txt`` of the job's folder, and return what it cost.

    Raises
    ------
    ProgramFailedError
        When a step fails.
    """
    python = sys.executable if program.own else str(peers_python)
    cost = _run_step(program, "register", job, python)
    _run_step(program, "displacement", job, python)
    return cost


def _run_step(program: Program, step: str, job: Job, python: str) -> Cost:
    folder = Path(__file__).parent
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(THREADS))
    environment["PYTHONPATH"] = str(folder.parents[2]) if program.own else ""
    command = [python, str(folder / program.script), step, *job.arguments(), *program.settings]
    log = job.out / "log.txt"
    started, used = time.perf_counter(), _children_cpu()
    with log.open("a", encoding="utf-8") as output:
        done = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
    wall, now_used = time.perf_counter() - started, _children_cpu()
    if done.returncode:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").split("\n")]
        last = " ".join([line for line in lines if line][-2:])
        raise ProgramFailedError(f"step {step} ended with {done.returncode}: {last}")
    return Cost(wall, None if used is None or now_used is None else now_used - used)


def _children_cpu() -> float | None:
    """Return user and system seconds of all child processes that have ended."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
