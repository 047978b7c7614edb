"""Small super-resolution models and scans, for tests that open or run them; untrained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from NeuroGenLib.simulate.thick_slices import Direction, SliceProfile, slice_axis, thick_slices
from Testing.geometry import a_brain_phantom

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.spatial.volume import Volume

MM = 2.0
"""Voxel size of the head."""
THICKNESS = 6.0


def a_head(contrast: float = 0.4) -> Volume:
    """Return a head of 2 mm voxels with folds; another ``contrast`` of the same head is a guide."""
    image = a_brain_phantom((46, 50, 42), MM).image
    place = image.voxel_to_world(np.moveaxis(np.indices(image.shape), 0, -1))
    waves = np.sin(place @ (0.4, 0.1, 0)) * np.cos(place @ (0, 0.35, 0.2)) * np.sin(place @ (0.1, 0.2, 0.3))
    return image.with_array((image.array * (1 + contrast * waves)).astype(np.float32))


def in_thick_slices(head: Volume, direction: Direction = "axial", thickness: float = THICKNESS) -> Volume:
    """Return the head as a scan in slices that touch each other."""
    return thick_slices(head, slice_axis(head, direction), SliceProfile("gaussian", thickness), thickness)


def write_residual_model(folder: Path, strength: float = 0.004, guide: str = "optional") -> Path:
    """Write a residual network whose corrections are small noise; ``strength`` 0 corrects nothing."""
    from NeuroGenLib.superres.config import ImagesConfig, MapsConfig, NetworkConfig, SlicesConfig, SuperresTrainConfig
    from NeuroGenLib.superres.network import ResidualUNetConfig, SuperresNetwork
    from NeuroGenLib.superres.train import write_superres_model
    from NeuroGenLib.training.settings import TrainerConfig

    job = SuperresTrainConfig(
        train=TrainerConfig(out=folder, steps=1),
        maps=MapsConfig(source=folder),
        network=NetworkConfig(features=(4, 6), convolutions=1),
        images=ImagesConfig(guide_dropped={"optional": 0.4, "needed": 0.0, "none": 1.0}[guide]),
        slices=SlicesConfig(thickness=(2.0, 10.0)),
        window=16,
        notice="It is untrained.",
    )
    torch.manual_seed(5)
    network = SuperresNetwork(ResidualUNetConfig((4, 6), 1))
    with torch.no_grad():
        network.last.weight.normal_(0, strength)
    write_superres_model(network, job, 1, folder)
    return folder


def write_published_model(folder: Path, atlas: Volume | None = None) -> Path:
    """Write an untrained network of the published kind, with an atlas if given."""
    from NeuroGenLib.superres.published.checkpoint import ATLAS, import_checkpoint
    from NeuroGenLib.superres.published.unet import PublishedUNetConfig, published_network

    torch.manual_seed(7)
    checkpoint = folder.parent / "download" / "pretrained_weights.pth"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    torch.save(published_network(PublishedUNetConfig((2, 3, 4, 5, 6, 7), units=2)).state_dict(), checkpoint)
    if atlas is not None:
        atlas.save(checkpoint.with_name(ATLAS))
    import_checkpoint(checkpoint, folder)
    return folder
