"""Typed manifest of a registration network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from NeuroGenLib.core.config import Help
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.models.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class RegistrationManifest(Manifest):
    """What ``neurogen.json`` says of a registration network.

    Examples
    --------
    >>> from NeuroGenLib.models import resolve
    >>> resolve("bundled:registration").read_as(RegistrationManifest).preparation["grid"]
    [64, 80, 64]
    """

    network: Annotated[dict[str, Any], Help("Sizes of the network, finest level first")]
    preparation: Annotated[dict[str, Any], Help("Grid in voxels, and how images come to it")]

    def check(self) -> None:
        """Refuse a preparation without a grid of three sides."""
        grid = self.preparation.get("grid")
        if not isinstance(grid, list | tuple) or len(grid) != 3:
            raise InputError(f"'preparation.grid' is {grid!r}; it must be a list of 3 values.", code="value-invalid")
