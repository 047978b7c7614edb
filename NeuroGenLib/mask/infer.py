"""What a user does with a trained brain mask: find the brain in a scan of the whole head."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from NeuroGenLib.core.device import with_memory_fallback
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.mask.config import BUNDLED
from NeuroGenLib.mask.grid import coarse_image, on_scan
from NeuroGenLib.mask.intensity import rescaled
from NeuroGenLib.mask.manifest import MaskManifest
from NeuroGenLib.mask.regions import cautions, one_brain
from NeuroGenLib.models import Model, open_model
from NeuroGenLib.spatial.sliding_window import sliding_window_inference

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import numpy as np
    import torch

    from NeuroGenLib.mask.network import BrainNetwork
    from NeuroGenLib.models.folder import ModelFolder
    from NeuroGenLib.spatial.volume import Volume

log = logging.getLogger(__name__)

SPACINGS_MM = (0.5, 10.0)
"""Least and largest voxel size that can be asked for."""

_SIDE, _LEAST_SIDE = 80, 48
"""Sides of a window in voxels: usual, and where memory is short."""
_OVERLAP = 0.5


@dataclass(frozen=True)
class FoundBrain:
    """The brain of a scan.

    Attributes
    ----------
    mask:
        uint8 on the scan's grid, 1 in the brain and the fluid in and around it.
    volume_ml:
        Of the mask.
    certainty:
        Mean probability inside the mask, 0.5 to 1.
    warnings:
        What a person should know about this result.
    """

    mask: Volume
    volume_ml: float
    certainty: float
    warnings: list[str]


class MaskModel(Model):
    """A trained brain mask, opened by :func:`NeuroGenLib.models.open_model`.

    Attributes
    ----------
    folder:
        The model's files.
    device:
        Where it computes.
    spacing:
        Voxel size in mm at which it sees a scan.
    """

    kind = "mask"
    title = "a brain mask"

    def __init__(self, folder: ModelFolder, network: BrainNetwork, device: torch.device) -> None:
        super().__init__(folder, device)
        self.spacing = folder.read_as(MaskManifest).preparation.spacing
        self._network = network

    @classmethod
    def build(cls, folder: ModelFolder, tensors: Mapping[str, torch.Tensor], device: torch.device) -> MaskModel:
        """Make the model from its manifest and its weights."""
        from NeuroGenLib.mask.network import network_from_tensors

        return cls(folder, network_from_tensors(folder.read_as(MaskManifest).network, tensors), device)

    def mask(self, image: Volume, progress: Progress = SILENT) -> Volume:
        """Return the brain mask of a scan, uint8 on its grid; what looks wrong is logged as a warning.

        Parameters and errors are those of :meth:`find`.
        """
        found = self.find(image, progress)
        for text in found.warnings:
            log.warning(text)
        return found.mask

    def find(self, image: Volume, progress: Progress = SILENT, *, spacing: float | None = None) -> FoundBrain:
        """Find the brain in a scan.

        Parameters
        ----------
        image:
            3-D scan of a head, of any contrast, orientation, spacing and size, the skull included.
        progress:
            Told how far it is.
        spacing:
            Voxel size in mm at which the network sees the scan; the model's when not given. A smaller one makes a
            small head look like an adult's.

        Raises
        ------
        InputError
            When the image has channels, voxels that are not finite, one value only or a size that no head fits, no
            brain is found, or the spacing makes no sense.
        NeuroGenError
            When there is not enough memory.
        Cancelled
            When ``progress`` was cancelled.
        """
        import torch

        width = self.spacing if spacing is None else spacing
        if not SPACINGS_MM[0] <= width <= SPACINGS_MM[1]:
            raise InputError(
                f"A spacing of {width} mm makes no sense.",
                f"Choose from {SPACINGS_MM[0]:g} to {SPACINGS_MM[1]:g} mm, or leave it out.",
            )
        progress.update(0, 1, "preparing the image")
        coarse = coarse_image(image, width)
        prepared = rescaled(torch.from_numpy(coarse.array))
        warnings: list[str] = []
        brain = one_brain(self._probability(prepared, progress.part(0.2, 0.7), warnings))
        progress.update(0.7, 1, "back to the scan's voxels")
        mask = on_scan(coarse.with_array(brain.probability), image)
        volume_ml = int(mask.array.sum(dtype="int64")) * mask.voxel_volume_ml
        progress.update(1, 1, "mask made")
        return FoundBrain(mask, volume_ml, brain.certainty, warnings + cautions(brain, volume_ml))

    def _probability(self, image: torch.Tensor, progress: Progress, warnings: list[str]) -> np.ndarray:
        import torch

        def work(device: torch.device, side: int) -> np.ndarray:
            network, multiple = self._network.to(device), self._network.shape.multiple
            probability = sliding_window_inference(
                lambda windows: torch.sigmoid(network(windows)),
                [image.to(device)],
                max(1, side // multiple) * multiple,
                _OVERLAP,
                multiple=multiple,
                weighting="linear",
                padding="constant",
                message="finding the brain",
                progress=progress,
            )
            return probability.cpu().numpy()

        return with_memory_fallback(work, self.device, _SIDE, smallest=_LEAST_SIDE, warn=warnings.append)


def brain_mask(
    image: Volume,
    model: str | os.PathLike[str] = BUNDLED,
    *,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Volume:
    """Return the brain mask of a scan of a whole head.

    Parameters
    ----------
    image:
        3-D scan, of any contrast, orientation and spacing.
    model:
        A folder, ``bundled:NAME`` or ``hf:org/repo``.
    device:
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    progress:
        Told how far it is.

    Returns
    -------
    Volume
        uint8 on the grid of ``image``: 1 in the brain and the fluid in and around it, 0 elsewhere.

    Raises
    ------
    InputError
        When the model is no brain mask, or as :meth:`MaskModel.find`.
    NeuroGenError
        When the model cannot be fetched, or memory is short.
    """
    return open_model(model, MaskModel, device=device, progress=progress.part(0, 0.05)).mask(
        image, progress.part(0.05, 1)
    )
