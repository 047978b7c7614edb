"""What the bench measures, one job a process: ``python atlas_jobs.py JOB THREADS ARGUMENTS`` prints JSON.

A process of its own keeps one job's memory out of another's numbers and lets the allocator be chosen.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import plain_atlas
import torch
from atlas_case import BACKGROUND, HALF_BOX, INTENSITIES, AtlasCase, atlas_case
from torch import Tensor

from NeuroGenLib.atlas import transform
from NeuroGenLib.atlas.losses import LossWeights, atlas_loss
from NeuroGenLib.atlas.rendering.brain import brain_mask
from NeuroGenLib.atlas.rendering.brain_search import BrainSearch
from NeuroGenLib.atlas.rendering.render import Grid, Renderer, grid_in_box
from NeuroGenLib.models import open_model
from NeuroGenLib.models.opening import bundled_models
from NeuroGenLib.models.reference import BUNDLED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from NeuroGenLib.atlas.network import AtlasDecoder

SUBJECTS = 8
SLICE_MM = 0.8
WARM_UP_MM = 3.0
"""Spacing of a first round that is not timed: fine enough to fill a whole chunk of the plain evaluation."""


def machine() -> dict[str, Any]:
    """Return the PyTorch version and the instruction set that it uses."""
    return {"torch": torch.__version__, "instructions": torch.backends.cpu.get_cpu_capability()}


def drawing(spacing: float, repeats: int, variants: Sequence[str]) -> dict[str, Any]:
    """Return CPU seconds of one raw volume, plain and by each variant, and how far their results are apart.

    Parameters
    ----------
    spacing:
        Voxel size in mm.
    repeats:
        How often everything is done in turn; the seconds are medians.
    variants:
        ``full`` (the whole box), ``brain`` (the coarse pass and the voxels it chose).

    Returns
    -------
    dict
        ``seconds`` by variant and ``plain``; ``difference``, the largest of a raw output inside the brain; ``missed``,
        the number of brain voxels that were not drawn; ``brain`` and ``drawn``, shares of the box.
    """
    case, grid, warm_up = atlas_case(), _grid(spacing), _grid(max(spacing, WARM_UP_MM))
    names = ["plain", *variants]
    for name in names:
        _WAYS[name](case, warm_up)
    seconds, results = _alternate({name: partial(_WAYS[name], case, grid) for name in names}, repeats)
    _, plain = results.pop("plain")
    classes = plain[:, INTENSITIES:].argmax(1).reshape(grid.shape)
    brain = np.flatnonzero(brain_mask(classes, grid.spacing, BACKGROUND))
    return {
        "seconds": seconds,
        "voxels": grid.size,
        "brain": len(brain) / grid.size,
        "drawn": min(len(voxels) for voxels, _ in results.values()) / grid.size,
        "missed": sum(len(np.setdiff1d(brain, voxels)) for voxels, _ in results.values()),
        "difference": max(_difference(plain, drawing, brain) for drawing in results.values()),
    }


def memory(variant: str, spacing: float) -> dict[str, Any]:
    """Return by how many MB drawing one volume raises this process' peak; None where the system does not tell."""
    case, grid = atlas_case(), _grid(spacing)
    before = _peak_mb()
    _WAYS[variant](case, grid)
    after = _peak_mb()
    return {"extra": None if before is None or after is None else after - before}


def training(repeats: int, points: int) -> dict[str, Any]:
    """Return CPU seconds of a step (forward, loss, backward) and the largest relative difference of a gradient."""
    batch = _batch(points // SUBJECTS)
    ways = {"plain": batch.plain_step, "neurogen": batch.neurogen_step}
    for step in ways.values():
        step()
    seconds, results = _alternate(ways, repeats)
    pairs = zip(results["plain"], results["neurogen"], strict=True)
    return {"seconds": seconds, "difference": max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)}


def slices(model: str, ages: int) -> dict[str, Any]:
    """Return median milliseconds of three slices through the atlas centre; ``found`` false without that model."""
    if model.startswith(BUNDLED) and model.removeprefix(BUNDLED) not in bundled_models():
        return {"found": False}
    atlas = open_model(model, device="cpu")
    low, high = atlas.age_range
    atlas.slices((0, 0, 0), low, spacing=SLICE_MM)
    wall, cpu, voxels = [], [], 0
    for age in np.linspace(low, high, ages):
        started, used = time.perf_counter(), time.process_time()
        planes = atlas.slices((0, 0, 0), float(age), spacing=SLICE_MM)
        wall.append(1000 * (time.perf_counter() - started))
        cpu.append(1000 * (time.process_time() - used))
        voxels = sum(plane.labels.array.size for plane in planes.values())
    return {"found": True, "wall": median(wall), "cpu": median(cpu), "voxels": voxels, "spacing": SLICE_MM}


def _alternate(ways: dict[str, Callable[[], Any]], repeats: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Do everything in turn, ``repeats`` times; return median CPU seconds and the last results."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for _ in range(repeats):
        for name, work in ways.items():
            started = time.process_time()
            results[name] = work()
            seconds[name].append(time.process_time() - started)
    return {name: median(values) for name, values in seconds.items()}, results


def _grid(spacing: float) -> Grid:
    return grid_in_box(-HALF_BOX, HALF_BOX, (spacing,) * 3)


Drawing = tuple[np.ndarray, np.ndarray]
"""The voxels that were drawn (flat indices, ascending) and their raw outputs (n, outputs)."""


def _plain(case: AtlasCase, grid: Grid) -> Drawing:
    outputs = plain_atlas.render(case.decoder, case.latents, case.conditions, grid.points(HALF_BOX))
    return np.arange(grid.size), outputs.numpy()


def _full_box(case: AtlasCase, grid: Grid) -> Drawing:
    outputs = Renderer(case.decoder, case.latents, case.conditions)(grid.points(HALF_BOX))
    return np.arange(grid.size), outputs.numpy()


def _brain_only(case: AtlasCase, grid: Grid) -> Drawing:
    renderer = Renderer(case.decoder, case.latents, case.conditions)
    drawn = BrainSearch(renderer, HALF_BOX, INTENSITIES, BACKGROUND).evaluate(grid)
    return drawn.voxels, drawn.outputs


_WAYS = {"plain": _plain, "full": _full_box, "brain": _brain_only}


def _difference(plain: np.ndarray, drawing: Drawing, brain: np.ndarray) -> float:
    """Return the largest difference of a raw output over the brain voxels that were drawn."""
    voxels, outputs = drawing
    inside = np.isin(voxels, brain)
    return float(np.abs(outputs[inside] - plain[voxels[inside]]).max())


def _peak_mb() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@dataclass(frozen=True)
class _Batch:
    """A training step's points of S subjects (S, N, 3) and targets (S * N, ...), with all that is learned."""

    decoder: AtlasDecoder
    latents: Tensor
    transforms: Tensor
    conditions: Tensor
    points: Tensor
    intensities: Tensor
    classes: Tensor

    def plain_step(self) -> Sequence[Tensor]:
        """Return the gradients, each point with its own copy of grid, condition and transform."""
        subject = torch.arange(len(self.points)).repeat_interleave(self.points.shape[1])
        points = plain_atlas.to_atlas(self.points.flatten(0, 1), self.transforms[subject])
        features = plain_atlas.features(self.decoder, self.latents[subject], self.conditions[subject], points)
        return self._gradients(self.decoder.output(features))

    def neurogen_step(self) -> Sequence[Tensor]:
        """Return the gradients as NeuroGen's training computes them."""
        moved = transform.matrices(self.transforms, torch.from_numpy(HALF_BOX).float(), "euler-zxz")
        tables = self.decoder.fold(self.decoder.latent_grid(self.latents), self.conditions)
        return self._gradients(self.decoder(transform.apply(self.points, *moved), tables).flatten(0, 1))

    def _gradients(self, output: Tensor) -> Sequence[Tensor]:
        weights = LossWeights(transform=0.01, latent=0.01)
        parts = atlas_loss(
            output, self.intensities, self.classes, weights, transforms=self.transforms, latents=self.latents
        )
        return torch.autograd.grad(parts["loss"], [self.latents, self.transforms, *self.decoder.parameters()])


def _batch(count: int) -> _Batch:
    """Return a batch of ``count`` points of each subject, the same every time."""
    decoder = atlas_case().decoder.requires_grad_(True)
    generator = torch.Generator().manual_seed(1)
    latents = 0.3 * torch.randn(SUBJECTS, *decoder.shape.latent_shape, generator=generator)
    transforms = 0.05 * torch.randn(SUBJECTS, transform.PARAMETERS["rigid"], generator=generator)
    return _Batch(
        decoder,
        latents.requires_grad_(),
        transforms.requires_grad_(),
        0.05 * torch.randn(SUBJECTS, decoder.shape.conditions, generator=generator),
        1.4 * torch.rand(SUBJECTS, count, 3, generator=generator) - 0.7,
        torch.rand(SUBJECTS * count, decoder.shape.intensities, generator=generator),
        torch.randint(decoder.shape.classes, (SUBJECTS * count,), generator=generator),
    )


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    job.__name__: job for job in (machine, drawing, memory, training, slices)
}


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    sys.stdout.write(json.dumps(JOBS[sys.argv[1]](**json.loads(sys.argv[3]))))
