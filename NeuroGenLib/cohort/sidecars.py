"""JSON files beside images, with what BIDS inherits from the folders above."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import existing_file, files_in, read_json

if TYPE_CHECKING:
    import os

log = logging.getLogger(__name__)


def read_sidecar(image: str | os.PathLike[str], suffix: str) -> dict[str, Any]:
    """Read what the JSON files of an image say: the one of its name, and those that BIDS lets it inherit.

    A file applies when its name ends as the image's does (``T2w``) and all its entities (``sub-01``, ``acq-ax``) are
    the image's; it lies in the image's folder, or above, up to the folder that holds the subjects. What a nearer file
    says, or one with more entities in the same folder, goes first. A file that cannot be read is passed over, with a
    warning.

    Parameters
    ----------
    image:
        An image file, which need not exist.
    suffix:
        Of its format, such as ``.nii.gz``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     subject = Path(folder, "sub-01")
    ...     subject.mkdir()
    ...     _ = Path(folder, "T2w.json").write_text('{"SliceThickness": 4, "Manufacturer": "A"}')
    ...     _ = (subject / "sub-01_T2w.json").write_text('{"SliceThickness": 3}')
    ...     sorted(read_sidecar(subject / "sub-01_T2w.nii", ".nii").items())
    [('Manufacturer', 'A'), ('SliceThickness', 3)]
    """
    image = Path(image)
    stem = image.name.removesuffix(suffix)
    values: dict[str, Any] = {}
    for folder in reversed(_folders(image)):
        try:
            applicable = [file for file in files_in(folder, (".json",)) if _applies(file.stem, stem)]
        except InputError as error:
            log.warning("%s Its JSON files are not used.", error.problem)
            continue
        for file in sorted(applicable, key=lambda file: file.stem.count("_")):
            values |= _content(file)
    return values


def _folders(image: Path) -> list[Path]:
    """Return the image's folder and those above it, up to the one that holds the subjects; nearest first."""
    image = image.absolute()
    subject = image.name.partition("_")[0]
    parents = list(image.parents)
    subjects = [index for index, folder in enumerate(parents) if folder.name == subject]
    inherits = subject.startswith("sub-") and bool(subjects)
    return [folder for folder in parents[: subjects[0] + 2 if inherits else 1] if folder.is_dir()]


def _applies(stem: str, image: str) -> bool:
    if stem == image:
        return True
    *entities, ending = stem.split("_")
    *own, own_ending = image.split("_")
    return ending == own_ending and set(entities) <= set(own)


def _content(file: Path) -> dict[str, Any]:
    file = existing_file(file)
    try:
        content = read_json(file)
    except InputError as error:
        log.warning("%s It is not used.", error.problem)
        return {}
    if not isinstance(content, dict):
        log.warning("%s holds no names with values, and is not used.", file)
        return {}
    return content
