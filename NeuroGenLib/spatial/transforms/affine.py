"""Affine maps with named source and target spaces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from NeuroGenLib.spatial.transforms.spatial_map import affine_matrix


@dataclass(frozen=True, eq=False)
class Affine:
    """Affine map of points from one space to another, both in RAS mm.

    Composing maps whose spaces do not meet is a mistake in the program, which a bare matrix would hide.

    Parameters
    ----------
    matrix:
        (4, 4) float64.
    source, target:
        Names of the spaces, such as ``"fixed"`` and ``"moving"``.

    Raises
    ------
    InputError
        When the matrix is not an invertible affine one.

    Examples
    --------
    >>> to_moving = Affine(np.diag([2.0, 1.0, 1.0, 1.0]), "halfway", "moving")
    >>> to_fixed = Affine(np.eye(4), "halfway", "fixed")
    >>> fixed_to_moving = to_moving @ to_fixed.inverse()
    >>> fixed_to_moving.source, fixed_to_moving.target
    ('fixed', 'moving')
    >>> fixed_to_moving.points(np.array([[3.0, 4.0, 5.0]])).tolist()
    [[6.0, 4.0, 5.0]]
    >>> to_moving @ to_fixed
    Traceback (most recent call last):
    ValueError: A map to 'fixed' cannot be followed by one from 'halfway'.
    """

    matrix: np.ndarray
    source: str
    target: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", affine_matrix(self.matrix, f"from {self.source} to {self.target}"))

    def __matmul__(self, first: Affine) -> Affine:
        """Return the map that applies ``first`` and then this one.

        Raises
        ------
        ValueError
            When ``first`` ends in another space than the one that this map starts from.
        """
        if first.target != self.source:
            raise ValueError(f"A map to '{first.target}' cannot be followed by one from '{self.source}'.")
        return Affine(self.matrix @ first.matrix, first.source, self.target)

    def inverse(self) -> Affine:
        """Return the map from the target to the source."""
        return Affine(np.linalg.inv(self.matrix), self.target, self.source)

    def points(self, xyz: np.ndarray) -> np.ndarray:
        """Return where points go: (N, 3) RAS mm to (N, 3) RAS mm."""
        mapped: np.ndarray = xyz @ self.matrix[:3, :3].T + self.matrix[:3, 3]
        return mapped
