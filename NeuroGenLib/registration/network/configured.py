"""The registration network of a training configuration: its sizes, and which of its parts are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from NeuroGenLib.registration.network.grids import Grids
from NeuroGenLib.registration.network.sizes import SITRegConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from NeuroGenLib.registration.config import NetworkConfig
    from NeuroGenLib.registration.network.sitreg import SITReg


def network_shape(config: NetworkConfig, grid: Sequence[int]) -> SITRegConfig:
    """Return the sizes of the network for images on a grid of (I, J, K) voxels."""
    i, j, k = grid
    coarsest = Grids((i, j, k)).level_shape(len(config.features) - 1)
    return SITRegConfig(
        channels=config.channels,
        features=config.features,
        feature_convolutions=config.feature_convolutions,
        stage_features=config.stage_features,
        stage_convolutions=config.stage_convolutions,
        factor=config.factor,
        groups=config.groups,
        normalise_stages=config.normalise_stages,
        negative_slope=config.negative_slope,
        bound=config.bound,
        affine_inputs=coarsest[0] * coarsest[1] * coarsest[2] if config.affine else None,
        chained_affine=config.chained_affine,
        skipped_stages=config.skipped_stages,
        threshold=config.threshold,
        most_iterations=config.most_iterations,
        memory=config.memory,
    )


def freeze_unused(network: SITReg, levels: frozenset[int]) -> None:
    """Exclude from training what no loss depends on; processes that train together would wait for its gradient."""
    config = network.config
    used = config.used_stages[: len(config.used_stages) - min(levels)]
    unused: list[nn.Module] = [stage for name, stage in network.stages.items() if int(name) not in used]
    if network.affine is None:
        coarsest = max(used, default=0)
        pyramid = network.pyramid
        unused += [*pyramid.blocks[coarsest + 1 :], *pyramid.reductions[coarsest:], *pyramid.shortcuts[coarsest:]]
    elif not config.chained_affine:
        unused += [*network.affine.hidden[:-1]]
    for module in unused:
        module.requires_grad_(requires_grad=False)
