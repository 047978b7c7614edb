"""Image prepared for alignment once: reduced to fit into memory, with its mask and its foreground."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from NeuroGenLib.spatial.foreground import foreground, reduced, reduced_mask
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """Image with its mask and foreground, one of two that are aligned.

    Parameters
    ----------
    scan:
        The image in full, (I, J, K), or (C, I, J, K) with the head in the first channel.
    volume, mask:
        Image and mask (nonzero where the image counts, or None) of the search; means over blocks of voxels
        where they are huge.
    name:
        Which image messages speak of: "The fixed", "The moving".
    """

    scan: Volume
    volume: Volume
    mask: Volume | None
    name: str

    @classmethod
    def of(cls, scan: Volume, mask: Volume | None = None, name: str = "The") -> PreparedImage:
        """Prepare an image and its mask, which lies in the same space."""
        return cls(scan, reduced(scan), None if mask is None else reduced_mask(mask), name)

    @property
    def channels(self) -> np.ndarray:
        """Intensities as (C, I, J, K), of :attr:`volume`."""
        return self.volume.array if self.volume.channels is not None else self.volume.array[None]

    @cached_property
    def foreground(self) -> Volume:
        """Where the head is, boolean (:func:`NeuroGenLib.spatial.foreground.foreground`), found once.

        Raises
        ------
        InputError
            When image or mask cannot be used.
        """
        return foreground(first_channel(self.volume), self.mask, self.name)


def first_channel(volume: Volume) -> Volume:
    """Return the first channel of a volume, 3-D.

    Examples
    --------
    >>> import numpy as np
    >>> first_channel(Volume(np.zeros((2, 4, 5, 6), np.float32), np.eye(4))).array.shape
    (4, 5, 6)
    """
    return volume if volume.channels is None else Volume(volume.array[0], volume.affine)
