"""Measures the atlas: NeuroGen's evaluation against the plain, published one, on the CPU.

``python Testing/bench/bench_atlas.py`` takes some minutes. Seconds are CPU seconds of medians, the two evaluations
taking turns in one process; a last column compares with the ratio that is wanted. The exit status is 1 when results
differ from the plain ones, and never depends on speed.

"Kept" memory: glibc gives large freed blocks back to the system at once, and the plain evaluation pays most for that.
The rows marked so come from the same processes started with the two settings that make glibc keep them.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEPT_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "2000000000", "MALLOC_MMAP_THRESHOLD_": "2000000000"}
ALLOCATORS = ("default", "kept")
WANTED: dict[tuple[str, str], float] = {
    ("full box, 3 mm", "default"): 2.0,
    ("full box, 3 mm", "kept"): 1.4,
    ("brain only, 3 mm", "default"): 8.0,
    ("brain only, 3 mm", "kept"): 5.0,
    ("brain only, 1.5 mm", "default"): 12.0,
    ("brain only, 1.5 mm", "kept"): 8.0,
    ("training step", "default"): 1.25,
    ("training step", "kept"): 1.25,
}
"""Plain CPU seconds over NeuroGen's, at least."""
MEMORY_SHARE = 0.1
SLICES_MS = 300.0
DIFFERENCE, GRADIENT_DIFFERENCE = 1e-5, 1e-4
COLUMNS = "{:<38} {:<9} {:>7} {:>6} {:>10} {:>10} {:>7} {:>8} {:<6}"
NAMES = {"full": "full box", "brain": "brain only"}


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    drawings: dict[float, tuple[str, ...]]
    memory_spacing: float
    points: int
    repeats: int
    ages: int


FULL = Plan({3.0: ("full", "brain"), 1.5: ("brain",)}, 3.0, 25_000, 3, 10)
QUICK = Plan({6.0: ("full", "brain")}, 6.0, 2_000, 1, 1)


@dataclass(frozen=True)
class Bench:
    """Runs jobs and prints their rows."""

    plan: Plan
    threads: int
    slice_threads: int
    model: str

    def run(self) -> bool:
        """Measure and print everything; return whether all results agree with the plain ones."""
        for line in _heading(self.job("machine")):
            print(line)
        print(COLUMNS.format("", "allocator", "threads", "load", "plain", "NeuroGen", "ratio", "wanted", ""))
        agreed = [self._ratios(allocator) for allocator in ALLOCATORS]
        self._memory()
        self._slices()
        return all(agreed)

    def job(self, name: str, allocator: str = "default", threads: int | None = None, **arguments: Any) -> Any:
        """Return what a job of ``atlas_jobs.py`` measured in a process of its own."""
        environment = {key: value for key, value in os.environ.items() if key not in KEPT_MEMORY}
        if allocator == "kept":
            environment.update(KEPT_MEMORY)
        script = Path(__file__).with_name("atlas_jobs.py")
        command = [sys.executable, str(script), name, str(threads or self.threads), json.dumps(arguments)]
        return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)

    def _ratios(self, allocator: str) -> bool:
        if allocator == "kept" and platform.libc_ver()[0] != "glibc":
            _row("drawing and training", allocator, ratio="not applicable: no glibc here")
            return True
        checks = []
        for spacing, variants in self.plan.drawings.items():
            got = self.job("drawing", allocator, spacing=spacing, repeats=self.plan.repeats, variants=variants)
            for variant in variants:
                self._speed(f"{NAMES[variant]}, {spacing:g} mm", allocator, got["seconds"], variant)
            shares = f"  brain {got['brain']:.1%} of {got['voxels']} voxels, {got['drawn']:.1%} drawn;"
            print(f"{shares} {got['missed']} missed, largest difference {got['difference']:.1e} ({DIFFERENCE:g})")
            checks += [got["missed"] == 0, got["difference"] <= DIFFERENCE]
        got = self.job("training", allocator, repeats=self.plan.repeats, points=self.plan.points)
        self._speed("training step", allocator, got["seconds"], "neurogen")
        print(f"  {self.plan.points} points, largest relative gradient difference {got['difference']:.1e}")
        checks.append(got["difference"] <= GRADIENT_DIFFERENCE)
        return all(checks)
