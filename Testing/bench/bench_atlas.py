"""Measures the atlas on the CPU: NeuroGen's evaluation against the plain, published one.

``python Testing/bench/bench_atlas.py`` takes about three minutes, ``--quick`` only shows that it runs. Times are
medians of CPU seconds, the evaluations taking turns in one process; the last columns give the ratio that is wanted and
whether it is met. The exit status is 1 when results differ from the plain ones; it does not depend on speed.

Allocator: by default glibc gives large freed blocks back to the system at once, which costs the plain evaluation most.
``warm`` rows come from the same jobs with the two settings that make glibc keep them, so that memory is warm.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WARM = {"MALLOC_TRIM_THRESHOLD_": "2000000000", "MALLOC_MMAP_THRESHOLD_": "2000000000"}
WANTED = {
    ("full box, 3 mm", "default"): 2.0,
    ("full box, 3 mm", "warm"): 1.4,
    ("brain only, 3 mm", "default"): 8.0,
    ("brain only, 3 mm", "warm"): 5.0,
    ("brain only, 1.5 mm", "default"): 12.0,
    ("brain only, 1.5 mm", "warm"): 8.0,
    ("training step", "default"): 1.25,
    ("training step", "warm"): 1.25,
}
"""Plain seconds over NeuroGen's: at least this, for the usual plan."""
EXTRA_MEMORY = 0.1
SLICES_MS = 300.0
DIFFERENCE, GRADIENT_DIFFERENCE = 1e-5, 1e-4
TITLES = {"full": "full box", "brain": "brain only"}
ROW = "{:<26}{:<11}{:>7}{:>6}  {:>10}{:>10}{:>8}{:>9}  {}"


@dataclass(frozen=True)
class Plan:
    """How much is measured: variants by spacing in mm, training points, repeats, ages; and whether it is judged."""

    drawings: dict[float, tuple[str, ...]]
    memory_spacing: float
    points: int
    repeats: int
    ages: int
    judged: bool


USUAL = Plan({3.0: ("full", "brain"), 1.5: ("brain",)}, 3.0, 25_000, 3, 10, judged=True)
QUICK = Plan({6.0: ("full", "brain")}, 6.0, 2_000, 1, 1, judged=False)


def job(name: str, threads: int, allocator: str = "default", **arguments: Any) -> dict[str, Any]:
    """Return what a job of ``atlas_jobs.py`` measured, in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key not in WARM}
    checkout = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join([checkout, *filter(None, [environment.get("PYTHONPATH")])])
    if allocator == "warm":
        environment.update(WARM)
    script = Path(__file__).with_name("atlas_jobs.py")
    command = [sys.executable, str(script), name, str(threads), json.dumps(arguments)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise SystemExit(f"The job '{name}' failed; its message is above.")
    return json.loads(done.stdout)


def print_heading(threads: int) -> None:
    """Print what the numbers depend on."""
    facts = job("machine", threads)
    print(f"{processor()}, {os.cpu_count()} logical cores, {platform.system()}, {' '.join(platform.libc_ver())}")
    print(f"Python {platform.python_version()}, torch {facts['torch']} ({facts['instructions']})")
    print("Hidden 256, 3 layers, modulated 1 and 3, latents 64 x 3 x 3 x 3, 2 intensities, 10 classes, 155 mm box.\n")
    print(ROW.format("", "allocator", "threads", "load", "plain", "NeuroGen", "ratio", "wanted", ""))


def print_ratios(plan: Plan, allocator: str, threads: int) -> bool:
    """Measure volumes and training steps; return whether all results agree with the plain ones."""
    agreed = True
    for spacing, variants in plan.drawings.items():
        got = job("drawing", threads, allocator, spacing=spacing, repeats=plan.repeats, variants=variants)
        for variant in variants:
            title, seconds = f"{TITLES[variant]}, {spacing:g} mm", (got["seconds"]["plain"], got["seconds"][variant])
            print_speed(plan, title, allocator, threads, *seconds)
        print(
            f"    {got['brain']:.1%} of {got['voxels']} voxels are brain, {got['missed']} of them missed; "
            f"brain only drew {got['drawn']:.1%}; largest difference {got['difference']:.1e} (at most {DIFFERENCE:g})"
        )
        agreed &= got["missed"] == 0 and got["difference"] <= DIFFERENCE
    got = job("training", threads, allocator, repeats=plan.repeats, points=plan.points)
    print_speed(plan, "training step", allocator, threads, got["seconds"]["plain"], got["seconds"]["neurogen"])
    print(f"    {plan.points} points of 8 subjects; largest relative gradient difference {got['difference']:.1e}")
    return agreed and got["difference"] <= GRADIENT_DIFFERENCE


def print_speed(plan: Plan, title: str, allocator: str, threads: int, plain: float, ours: float) -> None:
    """Print the row of one ratio of CPU seconds."""
    wanted = WANTED.get((title, allocator), 0.0)
    goal = verdict(plan, f">= {wanted:g}x", plain / ours >= wanted)
    numbers = f"{plain:.2f} s", f"{ours:.2f} s", f"{plain / ours:.2f}x"
    print(ROW.format(title, allocator, threads, load(), *numbers, *goal), flush=True)


def print_memory(plan: Plan, threads: int) -> None:
    """Measure by how much a volume raises the peak of the memory in use."""
    title = f"extra memory, {plan.memory_spacing:g} mm"
    plain, ours = (
        job("memory", threads, variant=variant, spacing=plan.memory_spacing)["extra"] for variant in ("plain", "full")
    )
    if plain is None or ours is None:
        print(f"{title}: not applicable, this system does not tell a process' peak")
        return
    goal = verdict(plan, f"<= {EXTRA_MEMORY:g}", ours / plain <= EXTRA_MEMORY)
    numbers = f"{plain:.0f} MB", f"{ours:.0f} MB", f"{ours / plain:.3f}"
    print(ROW.format(title, "default", threads, load(), *numbers, *goal), flush=True)


def print_slices(plan: Plan, model: str, threads: int) -> None:
    """Time what a slider shows; in wall time, since a person waits for it."""
    got = job("slices", threads, model=model, ages=plan.ages)
    if not got["found"]:
        print(f"three slices: no bundled model ({model})")
        return
    title = f"three slices, {got['spacing']:g} mm"
    goal = verdict(plan, f"< {SLICES_MS:.0f} ms", got["wall"] < SLICES_MS)
    print(ROW.format(title, "default", threads, load(), "", f"{got['wall']:.0f} ms", "", *goal))
    print(
        f"    {model}, {got['voxels']} voxels, median wall time over {plan.ages} age(s) (longer on a busy machine); "
        f"CPU time {got['cpu']:.0f} ms"
    )


def verdict(plan: Plan, wanted: str, met: bool) -> tuple[str, str]:
    """Return the last two columns: what is wanted, and whether it is so; blank where the plan is not judged."""
    if not plan.judged:
        return "", ""
    return wanted, "ok" if met else "below"


def load() -> str:
    """Return the load of the last minute, where the system keeps one."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"


def processor() -> str:
    """Return the processor's name."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main(arguments: list[str] | None = None) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(description="Speed and memory of the atlas against the plain evaluation.")
    parser.add_argument("--quick", action="store_true", help="6 mm and one repeat: only shows that the bench runs")
    parser.add_argument("--threads", type=int, help="torch threads (default: 1, and 2 for the slices)")
    parser.add_argument("--model", default="bundled:fetal-sba", help="the atlas whose slices are timed")
    options = parser.parse_args(arguments)
    plan, threads = QUICK if options.quick else USUAL, options.threads or 1
    print_heading(threads)
    agreed = print_ratios(plan, "default", threads)
    if platform.libc_ver()[0] == "glibc":
        agreed &= print_ratios(plan, "warm", threads)
    else:
        print("warm: not applicable, this system's C library is not glibc")
    print_memory(plan, threads)
    print_slices(plan, options.model, options.threads or 2)
    print("All results agree with the plain ones." if agreed else "RESULTS DIFFER from the plain ones.")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
