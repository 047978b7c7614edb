"""Heads of a group placed on each other by affine maps, from their label maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_STEPS = 80
"""Gradient steps of the alignment."""
_RATE = 0.01
"""Change of an entry of a matrix per step; a grid is 2 wide."""


def affine_to_mean(tissues: torch.Tensor) -> list[np.ndarray]:
    """Return where the voxels of the grid lie in each head, so that the heads lie on their mean.

    The squared difference between each head and the mean of all is minimised, at half resolution; the mean of the
    matrices stays the identity, so that the heads do not wander or shrink together.

    Parameters
    ----------
    tissues:
        (S, C, I, J, K) float: 1 where a head of the group has a tissue; sides of at least 2 voxels.

    Returns
    -------
    list
        S matrices (4, 4), voxels of the grid to voxels of the head's own grid.
    """
    import torch
    from torch.nn import functional

    halved = functional.avg_pool3d(tissues, 2, ceil_mode=True)
    identity = torch.eye(3, 4, device=tissues.device)
    change = torch.zeros(len(tissues), 3, 4, device=tissues.device, requires_grad=True)
    optimiser = torch.optim.Adam([change], lr=_RATE)
    for _ in range(_STEPS):
        grid = functional.affine_grid(identity + change - change.mean(0), list(halved.shape), align_corners=False)
        placed = functional.grid_sample(halved, grid, align_corners=False)
        loss = (placed - placed.mean(0).detach()).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    matrices = (identity + change - change.mean(0)).detach().double().cpu().numpy()
    # What affine_grid counts in: -1 to 1 from face to face, the last axis first.
    to_faces = np.eye(4)
    to_faces[:3, :3] = np.diag(2 / np.array(tissues.shape[2:]))[::-1]
    to_faces[:3, 3] = (1 / np.array(tissues.shape[2:]) - 1)[::-1]
    whole = [np.vstack([matrix, [0, 0, 0, 1]]) for matrix in matrices]
    return [np.linalg.inv(to_faces) @ matrix @ to_faces for matrix in whole]
