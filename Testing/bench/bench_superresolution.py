"""Time and memory of super-resolution: the published network folded, in batches, against one window at a time, whole.

``python Testing/bench/bench_superresolution.py`` takes some minutes, ``--quick`` only shows that it runs. Both networks
have the published sizes and random weights, on a volume of 182 x 218 x 182 voxels of which this many windows are
computed. What a whole volume would take is extrapolated from them: for what the published program does, one window
after the other by the unfolded network, its 1573 windows; for NeuroGen those that hold a head of about half of the
volume. Before that, the residual network in the sizes of ``training/configs/superres/bundled.yaml`` corrects the same
head, all of it. CPU seconds are those of all threads; memory is the largest of the process, for the folded network
before the unfolded one is made. The exit status is 1 when a whole volume takes more than an eighth of the CPU seconds,
or more than 1.5 GB.
"""

from __future__ import annotations

import argparse
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.yaml_files import read_yaml
from NeuroGenLib.registration.evaluation.cost import Cost
from NeuroGenLib.spatial.sliding_window import window_boxes
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.config import NetworkConfig
from NeuroGenLib.superres.correction import PUBLISHED_OVERLAP, published_correction, residual_correction
from NeuroGenLib.superres.network import ResidualUNetConfig, SuperresNetwork
from NeuroGenLib.superres.published.unet import FoldedUNet, PublishedUNetConfig, published_network

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = Path(__file__).resolve().parents[2] / "training" / "configs" / "superres" / "bundled.yaml"
GRID = (182, 218, 182)
WINDOWS = 1573
"""Of the published pipeline."""
WINDOW = 32
STRIDE = round((1 - PUBLISHED_OVERLAP) * WINDOW)
LEAST_RATIO, MOST_MIB = 8.0, 1500.0


@dataclass(frozen=True)
class Measured:
    """Seconds of this many windows, and the largest memory in MiB (None where the system is silent)."""

    windows: int
    cpu: float
    wall: float
    memory: float | None


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, and end with 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description="Time and memory of super-resolution.", allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="tiny networks on a small volume: shows that it runs")
    parser.add_argument("--windows", type=int, default=32, help="folded windows that are measured, about (default: 32)")
    parser.add_argument("--unfolded", type=int, default=6, help="unfolded windows that are measured (default: 6)")
    parser.add_argument("--threads", type=int, default=1, help="threads (default: 1)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    grid = (64, 64, 48) if options.quick else GRID
    sizes = PublishedUNetConfig((2, 3, 4, 5, 6, 7), 2) if options.quick else PublishedUNetConfig()
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {options.threads} thread(s)")
    print(f"Volume {'x'.join(map(str, grid))}, load {load()}\n")
    print("| what | windows | CPU s | CPU s a window | wall s | peak MiB | CPU s of a whole volume, extrapolated |")
    print("|---|--:|--:|--:|--:|--:|--:|", flush=True)
    own = corrected_volume(grid, bundled_network(quick=options.quick))
    row("residual, whole volume", own)
    folded = folded_windows(grid, sizes, options.windows)
    needed = len(window_boxes(torch.from_numpy(ellipsoid(grid)), [WINDOW] * 3, PUBLISHED_OVERLAP))
    row("folded, batches of 16", folded, needed)
    whole = unfolded_windows(sizes, options.unfolded)
    row("unfolded, one by one", whole, WINDOWS)
    each = (whole.cpu / whole.windows) / (folded.cpu / folded.windows)
    ratio = each * WINDOWS / needed
    print(
        f"\nThe folded network takes 1/{each:.1f} of the CPU seconds a window, 1/{ratio:.1f} a volume. Load {load()}."
    )
    if not options.quick and (ratio < LEAST_RATIO or (folded.memory or 0.0) > MOST_MIB):
        raise SystemExit(f"Wanted: a ratio of {LEAST_RATIO:g} and at most {MOST_MIB:g} MiB.")


def folded_windows(grid: tuple[int, int, int], sizes: PublishedUNetConfig, wanted: int) -> Measured:
    """Correct about this many windows in the middle of a volume, as a user's scan is corrected."""
    torch.manual_seed(1)
    network = FoldedUNet(sizes, WINDOW).eval().requires_grad_(requires_grad=False)
    image, guide = volume(grid, 1), volume(grid, 2)
    inside = np.zeros(grid, bool)
    side = WINDOW + STRIDE * (max(1, round(wanted ** (1 / 3))) - 1)  # this many windows, for a cube
    inside[tuple(slice(size // 2 - side // 2, size // 2 - side // 2 + side) for size in grid)] = True
    head = image.with_array(inside)
    count = len(window_boxes(torch.from_numpy(inside), [WINDOW] * 3, PUBLISHED_OVERLAP))
    return measured(lambda: published_correction(network, image, guide, head, torch.device("cpu"), print), count)


def unfolded_windows(sizes: PublishedUNetConfig, count: int) -> Measured:
    """Run the whole network on one window after the other."""
    torch.manual_seed(1)
    network = published_network(sizes).eval().requires_grad_(requires_grad=False)
    windows = torch.rand((count, 1, 2, WINDOW, WINDOW, WINDOW))

    def run() -> None:
        with torch.no_grad():
            for one in windows:
                network(one)

    return measured(run, count)


def corrected_volume(grid: tuple[int, int, int], network: SuperresNetwork) -> Measured:
    """Correct a head that fills about half of the volume, with a guide."""
    image, guide = volume(grid, 1), volume(grid, 2)
    head = image.with_array(ellipsoid(grid))
    slices = [[0.0, 0, 4], [0.0, 0, 4]]
    return measured(
        lambda: residual_correction(network, image, guide, head, head, slices, torch.device("cpu"), print), 1
    )


def bundled_network(*, quick: bool) -> SuperresNetwork:
    """Return the network of the bundled model with random weights."""
    torch.manual_seed(1)
    config = from_mapping(NetworkConfig, {"features": [4, 6]} if quick else read_yaml(CONFIG)["network"])
    network = SuperresNetwork(ResidualUNetConfig(config.features, config.convolutions))
    torch.nn.init.normal_(network.last.weight, 0, 0.01)
    return network.eval().requires_grad_(requires_grad=False)


def ellipsoid(grid: tuple[int, int, int]) -> np.ndarray:
    """Return a head that fills about half of the volume, boolean."""
    away = [np.linspace(-1, 1, size) ** 2 for size in grid]
    inside: np.ndarray = away[0][:, None, None] + away[1][:, None] + away[2] < 1
    return inside


def volume(grid: tuple[int, int, int], seed: int) -> Volume:
    """Return noise at 1 mm; times do not depend on values."""
    values = np.random.default_rng(seed).random(grid, dtype=np.float32)
    return Volume(values, np.diag([-1.0, 1.0, 1.0, 1.0]))


def measured(work: Callable[[], object], windows: int) -> Measured:
    """Return what the work costs."""
    with Cost() as cost:
        work()
    return Measured(windows, cost.cpu_s, cost.wall_s, cost.peak_memory_mib)


def row(name: str, one: Measured, whole: int | None = None) -> None:
    """Print a row of the table; ``whole`` is the number of windows of a volume, None where all of it was measured."""
    memory = "" if one.memory is None else f"{one.memory:.0f}"
    counts, extrapolated = " | ", ""
    if whole is not None:
        counts = f"{one.windows} | {one.cpu / one.windows:.3f}"
        extrapolated = f"{one.cpu / one.windows * whole:.0f} ({whole} windows)"
    windows, each = counts.split(" | ")
    print(f"| {name} | {windows} | {one.cpu:.1f} | {each} | {one.wall:.1f} | {memory} | {extrapolated} |", flush=True)


def load() -> str:
    """Return how many processes wanted to run in the last minute."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


if __name__ == "__main__":
    main()
