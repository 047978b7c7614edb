"""Public inference API of the brain mask: the brain in a scan of the whole head."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from NeuroGenLib.core.device import with_memory_fallback
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.mask.config import BUNDLED
from NeuroGenLib.mask.grid import coarse_image, on_scan
from NeuroGenLib.mask.intensity import rescaled
from NeuroGenLib.mask.manifest import MaskManifest
from NeuroGenLib.mask.regions import cautions, largest_region
from NeuroGenLib.mask.run_config import MaskConfig
from NeuroGenLib.mask.stripped import stripped_brain
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

_SIDE, _LEAST_SIDE = 80, 48
"""Sides of a window in voxels: usual, and where memory is short."""
_OVERLAP = 0.5
"""Of neighbouring windows, as a part of their side: less shows seams, more takes longer."""


@dataclass(frozen=True)
class BrainMask:
    """Brain mask of a scan, with its measures.

    Attributes
    ----------
    mask:
        uint8 on the scan's grid, 1 in the brain and the fluid in and around it.
    volume_ml:
        Of the mask.
    confidence:
        Mean probability inside the mask, 0.5 to 1; None where the scan was skull-stripped and no network was used.
    warnings:
        What a person should know about this result.
    """

    mask: Volume
    volume_ml: float
    confidence: float | None
    warnings: list[str]


class MaskModel(Model):
    """Trained brain mask, opened by :func:`NeuroGenLib.models.open_model`.

    Attributes
    ----------
    folder:
        The model's files.
    device:
        Where it computes.
    spacing:
        Voxel size in mm of its network.

    Examples
    --------
    >>> from NeuroGenLib.models import open_model
    >>> open_model("bundled:brain-mask", device="cpu").spacing
    4.0
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

    @property
    def traits(self) -> list[str]:
        """Voxel size of its network."""
        return [f"{self.spacing:g} mm"]

    def find(self, image: Volume, progress: Progress = SILENT, *, spacing: float | None = None) -> BrainMask:
        """Find the brain in a scan.

        Parameters
        ----------
        image:
            3-D scan of a head, of any contrast, orientation, spacing and size. Of a skull-stripped one the mask is all
            but its background, with a warning that says so.
        progress:
            Progress callback.
        spacing:
            Voxel size in mm at which the network sees the scan, 0.5 to 10; the model's when not given. A smaller one
            makes a small head look like an adult's.

        Raises
        ------
        InputError
            When the image has channels, voxels that are not finite, one value only or an implausible size, no brain is
            found, or the spacing is out of range.
        NeuroGenError
            When there is not enough memory.
        Cancelled
            When ``progress`` was cancelled.
        """
        import torch

        config = MaskConfig(spacing)
        progress.update(0, 1, "preparing the image")
        coarse = coarse_image(image, config.spacing or self.spacing)
        extracted = stripped_brain(image)
        if extracted is not None:
            return _as_extracted(extracted)
        prepared = rescaled(torch.from_numpy(coarse.array))
        probability, memory_warnings = self._probability(prepared, progress.part(0.2, 0.7))
        brain = largest_region(probability)
        progress.update(0.7, 1, "back to the scan's voxels")
        mask = on_scan(coarse.with_array(brain.probability), image)
        volume_ml = int(mask.array.sum(dtype="int64")) * mask.voxel_volume_ml
        progress.update(1, 1, "mask made")
        return BrainMask(mask, volume_ml, brain.confidence, memory_warnings + cautions(brain, volume_ml))

    def _probability(self, image: torch.Tensor, progress: Progress) -> tuple[np.ndarray, list[str]]:
        """Return the probability of brain, (I, J, K), and a warning when memory ran out."""
        import torch

        warnings: list[str] = []

        def work(device: torch.device, side: int) -> np.ndarray:
            network, multiple = self._network.to(device), self._network.config.multiple
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

        probability = with_memory_fallback(work, self.device, _SIDE, smallest=_LEAST_SIDE, warn=warnings.append)
        return probability, warnings


def _as_extracted(mask: Volume) -> BrainMask:
    """Return the mask of a scan that is skull-stripped already."""
    volume_ml = int(mask.array.sum(dtype="int64")) * mask.voxel_volume_ml
    note = (
        "The image is skull-stripped already: the mask is all of it but its background, holes filled"
        f" ({volume_ml:.0f} ml). The network was not used."
    )
    return BrainMask(mask, volume_ml, None, [note])


def brain_mask(
    image: Volume,
    model: str | os.PathLike[str] = BUNDLED,
    *,
    spacing: float | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> BrainMask:
    """Open a model and let it :meth:`~MaskModel.find` the brain; errors are those of both.

    Parameters
    ----------
    image, spacing:
        See :meth:`MaskModel.find`.
    model:
        A folder, ``bundled:NAME`` or ``hf:org/repo``.
    device:
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    progress:
        Progress callback.

    Returns
    -------
    BrainMask
        Its ``mask`` is uint8 on the grid of ``image``: 1 in the brain and the fluid in and around it, 0 elsewhere. Read
        its ``warnings``, which are logged as well, before the mask is used.

    Examples
    --------
    >>> import numpy as np
    >>> from NeuroGenLib import Volume
    >>> distance = np.linalg.norm(np.indices((12, 12, 12)).T - 6, axis=-1).T
    >>> head = Volume(np.exp(-((distance / 4) ** 4)), np.diag([8.0, 8, 8, 1]))
    >>> found = brain_mask(head, device="cpu")
    >>> found.mask.same_space(head)
    True
    """
    opened = open_model(model, MaskModel, device=device, progress=progress.part(0, 0.05))
    brain = opened.find(image, progress.part(0.05, 1), spacing=spacing)
    for text in brain.warnings:
        log.warning(text)
    return brain
