"""Time and memory of the registration network: both directions from one pass, against two passes.

``python Testing/bench/bench_registration.py`` takes about a quarter of an hour, ``--quick`` only shows that it runs.
The network has the sizes of ``training/configs/registration/oasis.yaml`` and random weights, whose last layers are
scaled so that what it finds must be inverted with some effort. "Once" is one pass, which gives the map and its inverse;
"twice" registers the pair, then the pair with its images swapped, as the published program does to get the same two
maps. Both take turns in one process on one thread: medians of the seconds, and memory on top of network and images.
The exit status is 1 when the maps of the two differ.
"""

from __future__ import annotations

import argparse
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.yaml_files import read_yaml
from NeuroGenLib.registration.config import NetworkConfig
from NeuroGenLib.registration.evaluation.cost import MIB, Cost
from NeuroGenLib.registration.network.configured import network_shape
from NeuroGenLib.registration.network.sitreg import SITReg
from NeuroGenLib.simulate.smooth_noise import smooth_noise
from NeuroGenLib.training.random_streams import seeded_weights

CONFIG = Path(__file__).resolve().parents[2] / "training" / "configs" / "registration" / "oasis.yaml"
SIZES = {"80x96x80": 3, "160x192x160": 3}
QUICK = {"16x24x16": 1}
"""Voxels, and how often both are done."""
GAIN = 40.0
"""Factor of the last layers' weights: displacements of some voxels, near the largest that can be inverted."""
SMOOTH_VOXELS = 6.0
DIFFERENCE = 1e-4
"""Voxels by which the maps may differ."""


@dataclass(frozen=True)
class Measured:
    """CPU and wall seconds, and memory in MiB on top of what was there before (None where the system is silent)."""

    cpu: float
    wall: float
    memory: float | None


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, and end with 1 when results differ."""
    parser = argparse.ArgumentParser(description="Time and memory of the registration network.", allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="a small grid, once: shows that it runs")
    parser.add_argument("--sizes", default="", metavar="IxJxK,...", help="grids, instead of the usual ones")
    parser.add_argument("--repeats", type=int, help="how often both are done, instead of the usual")
    options = parser.parse_args(arguments)
    sizes = QUICK if options.quick else SIZES
    if options.sizes:
        sizes = dict.fromkeys(options.sizes.split(","), 3)
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, 1 thread\n")
    print("| grid | largest displacement | way | CPU s | wall s | memory, MiB | load |")
    print("|---|--:|---|--:|--:|--:|--:|", flush=True)
    same = [compared(size, options.repeats or repeats) for size, repeats in sizes.items()]
    if not all(same):
        raise SystemExit(f"The maps of one pass and of two differ by more than {DIFFERENCE:g} voxels.")


def compared(size: str, repeats: int) -> bool:
    """Print the rows of one grid, and return whether both ways give the same maps."""
    i, j, k = (int(side) for side in size.split("x"))
    network = oasis_network((i, j, k))
    moving, fixed = images((i, j, k))
    ways = {"once": once, "twice": twice}
    runs: dict[str, list[Measured]] = {name: [] for name in ways}
    before = load()
    resting = resident_mib()
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for _ in range(repeats):
        for name, way in ways.items():
            found.pop(name, None)
            kept = sum(field.nbytes for fields in found.values() for field in fields) / MIB
            with Cost() as cost, torch.inference_mode():
                found[name] = way(network, moving, fixed)
            peak = cost.peak_memory_mib
            extra = None if peak is None or resting is None else peak - resting - kept
            runs[name].append(Measured(cost.cpu_s, cost.wall_s, extra))
    largest = max(float(field.abs().max()) for field in found["once"])
    middle = {name: _median(many) for name, many in runs.items()}
    loads = f"{before} to {load()}"
    for name, one in middle.items():
        print(f"| {size} | {largest:.1f} voxels | {name} | {_numbers(one)} | {loads} |")
    ratios = [
        f"{there / here:.2f}" if here and there else ""
        for here, there in zip(vars(middle["once"]).values(), vars(middle["twice"]).values(), strict=True)
    ]
    print(f"| {size} | | ratio | {' | '.join(ratios)} | |", flush=True)
    pairs = zip(found["once"], found["twice"], strict=True)
    return max(float((one - other).abs().max()) for one, other in pairs) <= DIFFERENCE


def oasis_network(grid: tuple[int, int, int]) -> SITReg:
    """Return the network of the published OASIS training with random weights."""
    shape = network_shape(from_mapping(NetworkConfig, read_yaml(CONFIG)["network"]), grid)
    with seeded_weights(1):
        network = SITReg(shape)
    with torch.no_grad():
        for stage in network.stages.values():
            stage.final.weight.mul_(GAIN)
            stage.final.bias.zero_()
    return network.eval().requires_grad_(requires_grad=False)


def images(grid: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Return two smooth random images, (1, 1, I, J, K) from 0 to 1."""
    generator = torch.Generator().manual_seed(2)
    made = [smooth_noise(grid, SMOOTH_VOXELS, generator).reshape(1, 1, *grid).sigmoid() for _ in range(2)]
    return made[0], made[1]


def once(network: SITReg, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
    """Return forward and inverse of one pass."""
    mappings = network(moving, fixed)
    return mappings.forward, mappings.inverse


def twice(network: SITReg, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
    """Return forward of one pass, and that of another with the images swapped."""
    return network(moving, fixed).forward, network(fixed, moving).forward


def load() -> str:
    """Return how many processes wanted to run in the last minute."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""


def resident_mib() -> float | None:
    """Return the memory that this process has now: that of a block in which nothing happens."""
    with Cost() as cost:
        pass
    return cost.peak_memory_mib


def _median(runs: list[Measured]) -> Measured:
    memory = [run.memory for run in runs if run.memory is not None]
    return Measured(
        median(run.cpu for run in runs), median(run.wall for run in runs), median(memory) if memory else None
    )


def _numbers(one: Measured) -> str:
    return f"{one.cpu:.2f} | {one.wall:.2f} | {'' if one.memory is None else f'{one.memory:.0f}'}"


if __name__ == "__main__":
    main()
