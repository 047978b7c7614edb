"""A whole head of ellipsoids in the size of an adult's: what brain masks are tested on without a scan."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Literal

import numpy as np

from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

# Label after FreeSurfer, centre and radii in mm (right, anterior, superior): from outside to inside.
_PARTS = (
    (507, (0, -12, -80), (52, 58, 90)),
    (511, (0, 0, 0), (84, 104, 98)),
    (515, (0, 0, 0), (78, 98, 92)),
    (507, (0, 40, -62), (46, 50, 36)),
    (24, (0, 0, 8), (71, 90, 76)),
    (3, (0, 0, 11), (68, 87, 70)),
    (2, (0, 0, 13), (58, 76, 59)),
    (8, (0, -42, -45), (48, 34, 24)),
    (16, (0, -14, -53), (14, 14, 26)),
    (4, (-14, 4, 19), (8, 30, 10)),
    (43, (14, 4, 19), (8, 30, 10)),
)
_BRAIN = (2, 3, 4, 8, 16, 24, 43)
_LOW, _HIGH = (-112.0, -128.0, -160.0), (112.0, 128.0, 112.0)


def head_labels(spacing: float = 2.0) -> Volume:
    """Draw the label map of a head with a neck, RAS, 224 x 256 x 272 mm about the world's origin."""
    shape = [round((high - low) / spacing) for low, high in zip(_LOW, _HIGH, strict=True)]
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = np.array(_LOW) + spacing / 2
    world = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1) * spacing + affine[:3, 3]
    values = np.zeros(shape, np.int16)
    for value, centre, radii in _PARTS:
        values[np.linalg.norm((world - centre) / radii, axis=-1) < 1] = value
    return Volume(values, affine)


def head_brain(labels: Volume) -> Volume:
    """Return where the brain and its fluid are, uint8."""
    return labels.with_array(np.isin(labels.array, _BRAIN).astype(np.uint8))


def head_scan(labels: Volume, kind: Literal["random", "t1w", "t2w"] = "t1w", seed: int = 1) -> Volume:
    """Return a scan of the head, as a scanner could make it; the air is dark."""
    import torch

    from NeuroGenLib.simulate.contrast import ContrastConfig, random_image
    from NeuroGenLib.simulate.tissues import freesurfer_tissues
    from NeuroGenLib.training.random_streams import step_generator

    config = ContrastConfig(kind=kind, stripped=0, thick=0, background=0)
    drawn = random_image(torch.from_numpy(labels.array), step_generator(seed, 0), config, freesurfer_tissues())
    return labels.with_array(drawn[0].numpy())


@functools.cache
def coarse_head_scan() -> Volume:
    """Return a scan of the head at 6 mm, drawn once."""
    return head_scan(head_labels(6.0))


def write_coarse_head(path: Path) -> Path:
    """Write :func:`coarse_head_scan` and return where it is."""
    coarse_head_scan().save(path)
    return path
