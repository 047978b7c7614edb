"""What Python sees of the widgets of CTK and Slicer, read from their C++ headers into ``header_api.json``.

PythonQt shows properties, signals, slots, Q_INVOKABLE methods and registered enumerations of a class, not its plain
C++ methods. With checkouts of both sources at hand, the table is made again by::

    CTK_SOURCE=.../CTK SLICER_SOURCE=.../Slicer python Testing/slicer_desktop/header_api.py
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("header_api.json")

CLASSES = {
    "CTK_SOURCE": (
        "ctkCheckBox",
        "ctkCheckableComboBox",
        "ctkCheckablePushButton",
        "ctkCollapsibleButton",
        "ctkCollapsibleGroupBox",
        "ctkColorPickerButton",
        "ctkComboBox",
        "ctkDirectoryButton",
        "ctkDoubleRangeSlider",
        "ctkDoubleSlider",
        "ctkDoubleSpinBox",
        "ctkExpandButton",
        "ctkMenuButton",
        "ctkPathLineEdit",
        "ctkPopupWidget",
        "ctkRangeWidget",
        "ctkSearchBox",
        "ctkSliderWidget",
    ),
    "SLICER_SOURCE": (
        "qMRMLCheckableNodeComboBox",
        "qMRMLLayoutManager",
        "qMRMLNodeComboBox",
        "qMRMLPlotView",
        "qMRMLPlotWidget",
        "qMRMLRangeWidget",
        "qMRMLSegmentSelectorWidget",
        "qMRMLSegmentationShow3DButton",
        "qMRMLSegmentsTableView",
        "qMRMLSequenceBrowserPlayWidget",
        "qMRMLSequenceBrowserSeekWidget",
        "qMRMLSliceControllerWidget",
        "qMRMLSliceWidget",
        "qMRMLSliderWidget",
        "qMRMLSpinBox",
        "qMRMLSubjectHierarchyTreeView",
        "qMRMLTableView",
        "qMRMLThreeDViewControllerWidget",
        "qMRMLThreeDWidget",
        "qMRMLWidget",
        "qSlicerLayoutManager",
        "qSlicerSimpleMarkupsWidget",
        "qSlicerWidget",
    ),
}
"""Variable with the place of a checkout -> classes of its headers."""

_SECTION = re.compile(r"\b(public|protected|private)?\s*\b(Q_SLOTS|slots|Q_SIGNALS|signals)?\s*:(?!:)")
_METHOD = re.compile(r"(~?\w+)\s*\(")
_PROPERTY = re.compile(r"Q_PROPERTY\s*\(\s*[\w:<>,\s*]+?[\s*&]+(\w+)\s+READ\b([^)]*(?:\(\)[^)]*)?)\)")


@dataclass(frozen=True)
class WidgetAPI:
    """Names of one class that Python sees, without those of its base.

    Attributes
    ----------
    base:
        Class it is derived from.
    properties:
        Property to whether it can be written.
    methods:
        Public slots and Q_INVOKABLE methods.
    signals, constants:
        Signals; values of registered enumerations.
    """

    base: str
    properties: dict[str, bool]
    methods: list[str]
    signals: list[str]
    constants: list[str]


def read_table() -> dict[str, WidgetAPI]:
    """Class to its API, as the committed table has it."""
    content = json.loads(TABLE.read_text(encoding="utf-8"))
    return {name: WidgetAPI(**entry) for name, entry in content["classes"].items()}


@cache
def names_of(class_name: str) -> frozenset[str]:
    """Every name that Python sees of a class and of its bases in the table; Qt's own bases are not in it."""
    api = read_table().get(class_name)
    if api is None:
        return frozenset()
    return frozenset((*api.properties, *api.methods, *api.signals, *api.constants)) | names_of(api.base)


def parse_header(text: str, class_name: str) -> WidgetAPI:
    """API of the class that a header declares.

    Raises
    ------
    ValueError
        When the header declares no such class.
    """
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    declared = re.search(rf"class\s+(?:\w+\s+)?{class_name}\s*:\s*public\s+(\w+)[^{{;]*{{", text)
    if declared is None:
        raise ValueError(f"the header does not declare {class_name}")
    body = _body(text, declared.end())
    registered = set(re.findall(r"Q_(?:ENUMS?|FLAGS?)\s*\(\s*(\w+)\s*\)", body))
    flags = dict(re.findall(r"Q_DECLARE_FLAGS\s*\(\s*(\w+)\s*,\s*(\w+)\s*\)", body))
    registered |= {flags[name] for name in registered if name in flags}
    constants = [
        constant
        for name, values in re.findall(r"\benum\s+(\w+)[^{;]*{([^}]*)}", body)
        if name in registered
        for constant in re.findall(r"(?:^|,)\s*(\w+)", values)
    ]
    properties = {name: "WRITE" in rest for name, rest in _PROPERTY.findall(body)}
    slots, signals = _members(re.sub(r"Q_PROPERTY\s*\([^\n]*", "", body))
    return WidgetAPI(declared[1], properties, slots, signals, sorted(set(constants)))


def _body(text: str, start: int) -> str:
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place]
    raise ValueError("the class does not end")


def _members(body: str) -> tuple[list[str], list[str]]:
    """Names of public slots and invokable methods, and of signals."""
    slots: set[str] = set()
    signals: set[str] = set()
    place, access, kind = 0, "private", ""
    borders = [match for match in _SECTION.finditer(body) if match[1] or match[2]]
    for end, border in [*((match.start(), match) for match in borders), (len(body), None)]:
        statements = re.split(r"[;{}]", body[place:end])
        if kind in {"Q_SIGNALS", "signals"}:
            signals.update(filter(None, map(_method_name, statements)))
        elif access == "public":
            exposed = [text for text in statements if kind or "Q_INVOKABLE" in text]
            slots.update(filter(None, map(_method_name, exposed)))
        if border is not None:
            access, kind, place = border[1] or "public", border[2] or "", border.end()
    return sorted(slots), sorted(signals)


def _method_name(statement: str) -> str | None:
    statement = re.sub(r"\b(?:QT_DEPRECATED\w*|Q_DECL_\w+|Q_REVISION)\s*(?:\([^)]*\))?", "", statement)
    name = _METHOD.search(statement)
    return name[1] if name and not name[1].startswith("~") else None


def header_texts(checkout: Path) -> dict[str, str]:
    """Class to the text of its header, of a folder with files or a bare repository."""
    if (checkout / "CMakeLists.txt").is_file():
        return {path.stem: path.read_text(encoding="utf-8") for path in checkout.rglob("*.h")}
    command = ["git", "--git-dir", str(checkout)]
    names = subprocess.run(
        [*command, "ls-tree", "-r", "--name-only", "HEAD"], capture_output=True, text=True, check=True
    )
    listed = {Path(name).stem: name for name in names.stdout.splitlines() if name.endswith(".h")}

    def content(name: str) -> str:
        return subprocess.run([*command, "show", f"HEAD:{name}"], capture_output=True, text=True, check=True).stdout

    wanted = {name for classes in CLASSES.values() for name in classes}
    return {name: content(path) for name, path in listed.items() if name in wanted}


def _commit(checkout: Path) -> str:
    folder = checkout / ".git" if (checkout / ".git").exists() else checkout
    command = ["git", "--git-dir", str(folder), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Write the table from the checkouts that the environment names."""
    missing = [variable for variable in CLASSES if not os.environ.get(variable)]
    if missing:
        sys.exit(f"Set {' and '.join(missing)} to a checkout of the source.")
    entries, commits = {}, {}
    for variable, classes in CLASSES.items():
        checkout = Path(os.environ[variable])
        headers = header_texts(checkout)
        commits[variable] = _commit(checkout)
        entries |= {name: asdict(parse_header(headers[name], name)) for name in classes}
    TABLE.write_text(json.dumps({"commits": commits, "classes": entries}, indent=1) + "\n", encoding="utf-8")
    print(f"{len(entries)} classes in {TABLE.name}")


if __name__ == "__main__":
    main()
