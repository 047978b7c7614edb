"""Simulated registration pairs from label maps, with the true map between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.simulate.contrast import ContrastConfig, random_image
from NeuroGenLib.simulate.deformation import DeformationConfig, sample_deformation, warped_to

if TYPE_CHECKING:
    import torch

    from NeuroGenLib.simulate.tissues import TissueTable


@dataclass(frozen=True)
class SimulatedPair:
    """Registration pair: two images with independent contrasts and deformations.

    Attributes
    ----------
    image_1, image_2:
        (1, I, J, K) float32, 0 to 1: the moving and the fixed image.
    labels_1, labels_2:
        (I, J, K) their labels.
    forward, inverse:
        (1, 3, I, J, K) float32 in voxels, only for two images of one label map: ``x + forward(x)`` is where voxel x of
        image 2 lies in image 1, and ``x + inverse(x)`` the other way round.
    """

    image_1: torch.Tensor
    image_2: torch.Tensor
    labels_1: torch.Tensor
    labels_2: torch.Tensor
    forward: torch.Tensor | None
    inverse: torch.Tensor | None


def simulate_pair(
    labels_1: torch.Tensor,
    labels_2: torch.Tensor | None = None,
    *,
    generator: torch.Generator,
    contrast: ContrastConfig | None = None,
    deformation: DeformationConfig | None = None,
    tissues: TissueTable | None = None,
) -> SimulatedPair:
    """Simulate a registration pair.

    Parameters
    ----------
    labels_1, labels_2:
        (I, J, K) integers, on one grid; without the second, both images are of the first head.
    generator:
        Source of randomness, on the device of the labels.
    contrast, deformation:
        Contrast of each image and deformation of each head; the defaults when not given.
    tissues:
        Tissues of the label values; see :func:`~NeuroGenLib.simulate.contrast.random_image`.

    Raises
    ------
    InputError
        When the two maps differ in shape, and as :func:`~NeuroGenLib.simulate.contrast.random_image`.

    Examples
    --------
    >>> import torch
    >>> labels = torch.zeros((16, 16, 16), dtype=torch.int32)
    >>> labels[4:12, 4:12, 4:12] = 3
    >>> small = DeformationConfig(scales=(8.0,), amplitudes=(0.5,))
    >>> pair = simulate_pair(labels, generator=torch.Generator().manual_seed(0), deformation=small)
    >>> pair.image_1.shape, pair.forward.shape
    (torch.Size([1, 16, 16, 16]), torch.Size([1, 3, 16, 16, 16]))
    """
    from NeuroGenLib.spatial.transforms.displacement import voxel_grid

    second = labels_1 if labels_2 is None else labels_2
    if labels_1.shape != second.shape:
        raise InputError(
            f"The label maps have {tuple(labels_1.shape)} and {tuple(second.shape)} voxels.",
            "Resample one to the grid of the other.",
            code="geometry-mismatch",
        )
    config = deformation or DeformationConfig()
    shape = tuple(labels_1.shape)
    map_1, map_2 = (sample_deformation(shape, generator, config) for _ in range(2))
    grid = voxel_grid(shape, map_1.flow)
    points_1, points_2 = map_1.forward(grid), map_2.forward(grid)
    deformed_1, deformed_2 = warped_to(labels_1, points_1, order=0), warped_to(second, points_2, order=0)
    return SimulatedPair(
        image_1=random_image(deformed_1, generator, contrast, tissues),
        image_2=random_image(deformed_2, generator, contrast, tissues),
        labels_1=deformed_1,
        labels_2=deformed_2,
        # Both images are the template under their map: image_n(x) = template(map_n(x)).
        forward=map_1.backward(points_2) - grid if labels_2 is None else None,
        inverse=map_2.backward(points_1) - grid if labels_2 is None else None,
    )
