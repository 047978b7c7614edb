"""Input volumes of a job: sent through the scratch folder, or named by the path of a file."""

from __future__ import annotations

from typing import Any

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.spatial.volume import Volume


def read_volume(value: object, name: str) -> Volume:
    """Return a volume that was sent, or the one in the file that was named.

    Raises
    ------
    InputError
        When it is neither, or the file cannot be read.
    """
    if isinstance(value, str):
        return Volume.load(value)
    if not isinstance(value, Volume):
        raise InputError(
            f"'{name}' is neither a volume nor a path.",
            "Send an array with its affine, or a path.",
            code="value-invalid",
        )
    return value


def recorded_paths(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return where volumes came from, for the record: their paths, or that they were sent.

    Examples
    --------
    >>> import numpy as np
    >>> recorded_paths({"fixed": "sub-01_T1w.nii.gz", "moving": Volume(np.zeros((2, 2, 2)), np.eye(4))})
    {'fixed': 'sub-01_T1w.nii.gz', 'moving': 'sent'}
    """
    return {
        name: recorded_paths(value) if isinstance(value, dict) else "sent" if isinstance(value, Volume) else value
        for name, value in inputs.items()
    }
