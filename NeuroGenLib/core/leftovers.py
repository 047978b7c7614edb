"""Names of half-written files, by which a later command knows what a killed process left behind and removes it."""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from NeuroGenLib.core.processes import is_alive, machine

if TYPE_CHECKING:
    from pathlib import Path

WRITING: Final = ".writing-"
"""How the names of half-written files and folders begin."""
RETIRED: Final = ".replaced-"
"""How the name of a folder begins while a new one takes its place."""
OLD_SECONDS: Final = 7 * 24 * 3600.0
"""What another machine left half-written is removed when nothing in it was changed for this long."""

_NAME = re.compile(
    rf"({re.escape(WRITING)}|{re.escape(RETIRED)})(?P<pid>\d+)-(?P<machine>[0-9a-f]{{8}})-[a-z0-9_]{{8}}-?(?P<meant>.*)"
)


def writing_prefix() -> str:
    """Return how the names of what this process has half-written begin; random letters and the later name follow."""
    return f"{WRITING}{os.getpid()}-{machine()}-"


def is_half_written(name: str) -> bool:
    """Return whether a file or folder of this name is not yet, or no longer, a result."""
    return name.startswith((WRITING, RETIRED))


def meant_name(name: str) -> str:
    """Return the name that something half-written will have, empty for a nameless folder; other names unchanged.

    Examples
    --------
    >>> meant_name(writing_prefix() + "a1b2c3d4-brain.nii.gz"), meant_name("brain.nii.gz")
    ('brain.nii.gz', 'brain.nii.gz')
    """
    match = _NAME.fullmatch(name)
    return name if match is None else match["meant"]


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder; a folder that one was about to replace is put back.

    Files of processes that are alive stay, and those of other machines for a week: whether their process is alive
    cannot be known here.
    """
    with suppress(OSError):
        for place in [place for place in folder.iterdir() if is_half_written(place.name)]:
            with suppress(OSError):  # another command may remove it at the same time
                if _is_abandoned(place):
                    _remove(place)


def _remove(place: Path) -> None:
    replaced = place.parent / meant_name(place.name)
    if place.name.startswith(RETIRED) and not replaced.exists():
        place.replace(replaced)
    elif place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


def _is_abandoned(place: Path) -> bool:
    match = _NAME.fullmatch(place.name)
    if match is not None and match["machine"] == machine():
        return not is_alive(int(match["pid"]))
    inside = place.rglob("*") if place.is_dir() else ()
    changed: float = max(item.lstat().st_mtime for item in (place, *inside))
    return time.time() - changed > OLD_SECONDS
