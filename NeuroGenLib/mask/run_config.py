"""Parameters of a brain mask's run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from NeuroGenLib.core.config import Config, Help, Option, Range, Unit


@dataclass(frozen=True)
class MaskConfig(Config):
    """How the brain is found in a scan of the whole head.

    Examples
    --------
    >>> MaskConfig(spacing=1.6).spacing
    1.6
    """

    spacing: Annotated[
        float | None,
        Range(0.5, 10),
        Unit("mm"),
        Option(metavar="MM"),
        Help("Voxel size at which the network sees the scan, the model's when not given; smaller for small heads"),
    ] = None
