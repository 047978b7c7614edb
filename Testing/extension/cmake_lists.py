"""The lists of files in the CMakeLists.txt of the Slicer extension.

``python Testing/extension/cmake_lists.py`` rewrites them from what is on disk; a test compares the two.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
LISTS = "CMakeLists.txt"


def files_below(folder: Path) -> Iterator[str]:
    """Yield the files below a folder that belong to the extension, relative and with forward slashes."""
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in relative.parts)
        if path.is_file() and not hidden and path.suffix != ".pyc" and path.name != LISTS:
            yield relative.as_posix()


def on_disk(root: Path) -> dict[Path, dict[str, list[str]]]:
    """Return, for every CMakeLists.txt with lists, each variable and the sorted values it should have."""
    panels = root / "NeuroGen"
    inside = sorted(path for path in panels.iterdir() if not path.name.startswith("."))
    folders = [path for path in inside if path.is_dir() and any(files_below(path))]
    expected = {
        panels / LISTS: {
            "NEUROGEN_FOLDERS": [path.name for path in folders],
            "BATCH_SCRIPTS": [path.name for path in inside if path.suffix == ".py"],
        },
        root / "Resources" / LISTS: {"RESOURCE_FILES": sorted(files_below(root / "Resources"))},
    }
    for folder in (root / "NeuroGenLib", *folders):
        kind = "MODULE" if (folder / f"{folder.name}.py").is_file() else "LIBRARY"
        files = sorted(files_below(folder))
        expected[folder / LISTS] = {
            f"{kind}_PYTHON_SCRIPTS": [name for name in files if name.endswith(".py")],
            f"{kind}_PYTHON_RESOURCES": [name for name in files if not name.endswith(".py")],
        }
    return expected


def _pattern(variable: str) -> re.Pattern[str]:
    return re.compile(rf"^set\({variable}\n(?P<values>(?:  \S+\n)*)  \)$", re.MULTILINE)


def listed(text: str, variable: str) -> list[str]:
    """Return the values of ``set(VARIABLE`` with one value a line; ValueError where there is no such list."""
    found = _pattern(variable).search(text)
    if found is None:
        raise ValueError(f"no list set({variable} ...) with one value a line")
    return found["values"].split()


def with_list(text: str, variable: str, values: list[str]) -> str:
    """Return the text with other values in a list that it has."""
    listed(text, variable)
    block = "".join(f"  {value}\n" for value in values)
    return _pattern(variable).sub(lambda _found: f"set({variable}\n{block}  )", text, count=1)


def rewrite(root: Path) -> list[Path]:
    """Rewrite every list from disk and return the files that changed."""
    changed = []
    for path, lists in on_disk(root).items():
        before = text = path.read_text(encoding="utf-8")
        for variable, values in lists.items():
            text = with_list(text, variable, values)
        if text != before:
            path.write_text(text, encoding="utf-8", newline="\n")
            changed.append(path)
    return changed


if __name__ == "__main__":
    for changed_file in rewrite(ROOT):
        sys.stdout.write(f"rewritten: {changed_file.relative_to(ROOT).as_posix()}\n")
