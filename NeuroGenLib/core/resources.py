"""Finds the data files that travel with the code: label tables, cards, bundled models."""

from __future__ import annotations

from pathlib import Path

from NeuroGenLib.core.errors import NeuroGenError

_PACKAGE = Path(__file__).resolve().parents[1]


def resources_folder() -> Path:
    """Return the ``Resources`` folder of the wheel, of Slicer's module folder or of the checkout.

    In a wheel and in an installed Slicer extension it lies inside the package; in a checkout beside it.

    Raises
    ------
    NeuroGenError
        When the installation lacks it.
    """
    for folder in (_PACKAGE / "Resources", _PACKAGE.parent / "Resources"):
        if (folder / "models").is_dir():
            return folder
    raise NeuroGenError(
        "The Resources folder of NeuroGen is missing.", "Install NeuroGen again.", code="installation-damaged"
    )


def resource(relative: str) -> Path:
    """Return the path of one resource, such as ``"labels/feta.tsv"``.

    Raises
    ------
    NeuroGenError
        When it is not there.
    """
    path = resources_folder() / relative
    if not path.exists():
        raise NeuroGenError(
            f"NeuroGen's resource '{relative}' is missing.", "Install NeuroGen again.", code="installation-damaged"
        )
    return path
