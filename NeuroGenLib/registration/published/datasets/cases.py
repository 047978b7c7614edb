"""What a layout finds in its folder: scans, and which of them form pairs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import existing_file, read_json, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from NeuroGenLib.registration.data.pairs import ScanFiles


@dataclass(frozen=True)
class Cases:
    """The scans of one split.

    Attributes
    ----------
    scans:
        Each image once.
    pairs:
        (P, 2) positions of moving and fixed images in ``scans``; None where any two different scans form a pair.
    """

    scans: tuple[ScanFiles, ...]
    pairs: np.ndarray | None


def all_pairs(count: int, *, both_directions: bool) -> np.ndarray:
    """Return (P, 2) positions of every two scans, in the order of the published program."""
    chosen = (permutations if both_directions else combinations)(range(count), 2)
    return np.array(list(chosen), dtype=np.int32).reshape(-1, 2)


def named_pairs(ids: Sequence[str], pairs: Iterable[tuple[str, str]]) -> np.ndarray:
    """Return (P, 2) positions in ``ids`` of pairs of ids."""
    position = {name: index for index, name in enumerate(ids)}
    return np.array([(position[first], position[second]) for first, second in pairs], dtype=np.int32).reshape(-1, 2)


def first_cases(names: Sequence[str], most: int | None) -> list[str]:
    """Return the first ``most`` cases, all without it.

    Raises
    ------
    InputError
        When there are fewer.
    """
    if most is not None and most > len(names):
        raise InputError(
            f"There are {len(names)} training cases, not {most}.", "Lower layout.cases.", code="value-invalid"
        )
    return list(names[:most])


def no_split(split: str, data_set: str, has: str) -> InputError:
    """Return the error of a split that a data set has not."""
    return InputError(f"{data_set} has no split '{split}'.", f"It has: {has}.", code="name-unknown")


def require_files(scans: Iterable[ScanFiles], data_set: str) -> None:
    """Demand every file of every scan, before any is read.

    Raises
    ------
    InputError
        Naming the first that is missing, and how many are.
    """
    missing = [
        (scan.id, path)
        for scan in scans
        for path in (*scan.images, scan.labels, scan.mask, scan.landmarks)
        if path is not None and not path.is_file()
    ]
    if missing:
        case, path = missing[0]
        more = f" ({len(missing)} files are missing)" if len(missing) > 1 else ""
        raise InputError(
            f"The file {path} of {case} does not exist{more}.",
            f"Give the folder of {data_set} as layout.root, with its own names of folders and files.",
            code="file-missing",
        )


def read_list(path: Path, data_set: str) -> dict[str, Any]:
    """Read the JSON file that lists the images of a Learn2Reg data set.

    Raises
    ------
    InputError
        When it is missing or no list of settings by name.
    """
    content = read_json(existing_file(path)) if path.is_file() else None
    if content is None:
        raise InputError(
            f"{path} does not exist, which lists the images of {data_set}.",
            "Give the folder it is in as layout.root.",
            code="file-missing",
        )
    if not isinstance(content, dict):
        raise InputError(f"{path} does not list images by name.", f"Restore the file of {data_set}.", code="file-type")
    return content


def entries(content: dict[str, Any], key: str, names: Sequence[str], path: Path) -> list[tuple[str, ...]]:
    """Return the file names that a list of images holds under ``names`` of each entry of ``key``, without folders.

    Raises
    ------
    InputError
        When there is no such list or an entry lacks a name.
    """
    rows = content.get(key)
    if not isinstance(rows, list) or not rows:
        raise InputError(
            f"{path} has no list '{key}'.", "Restore the file as its authors distribute it.", code="value-missing"
        )
    listed = []
    for number, row in enumerate(rows):
        values = [row.get(name) if isinstance(row, dict) else None for name in names]
        texts = [value for value in values if isinstance(value, str) and value]
        if len(texts) < len(names):
            raise InputError(
                f"Entry {number} of '{key}' in {path} does not name {' and '.join(names)}.",
                "Restore the file as its authors distribute it.",
                code="value-missing",
            )
        listed.append(tuple(text.replace("\\", "/").rpartition("/")[2] for text in texts))
    return listed


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file that hold something.

    Raises
    ------
    InputError
        When it is missing, empty or no text.
    """
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty.", "Restore the file as its authors distribute it.", code="table-empty")
    return lines
