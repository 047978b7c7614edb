"""The stand-in's widgets and the panels use only what PythonQt shows of CTK's and Slicer's classes."""

from __future__ import annotations

import ast
import os
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from Testing.panels.panel_cases import MODULES
from Testing.slicer_desktop import missing_parts
from Testing.slicer_desktop.header_api import CLASSES, names_of, parse_header, read_table

if TYPE_CHECKING:
    from collections.abc import Iterator

UI_FILES = sorted(MODULES.glob("*/Resources/UI/*.ui"))
OF_SLICER = {"SlicerParameterName", "SlicerPackParameterName"}
"""Dynamic properties that Slicer's parameter nodes read."""

HEADER = """
class Q_WIDGETS_EXPORT ctkExample : public QWidget
{
  Q_OBJECT
  // Q_PROPERTY(int commented READ commented WRITE setCommented)
  Q_PROPERTY(double minimum READ minimum WRITE setMinimum)
  Q_PROPERTY(QString text READ text NOTIFY textChanged)
  Q_PROPERTY(Filters filters READ filters WRITE setFilters)
public:
  enum Filter { Files = 0x1, Folders = 0x2 };
  Q_DECLARE_FLAGS(Filters, Filter)
  Q_FLAG(Filters)
  enum Hidden { Unregistered };
  explicit ctkExample(QWidget* parent = nullptr);
  void setRange(double low, double high);
  Q_INVOKABLE virtual int count() const;
public Q_SLOTS:
  virtual void setValue(double value) { this->Value = value; }
Q_SIGNALS:
  void valueChanged(double value);
protected Q_SLOTS:
  void update();
private:
  int Value;
};
"""


def _desktop_widgets() -> dict[str, type]:
    from Testing.slicer_desktop import ctk_module, mrml_widgets, node_selector

    known = read_table()
    modules = (ctk_module, mrml_widgets, node_selector)
    return {name: kind for module in modules for name, kind in vars(module).items() if name in known}


def _uses(tree: ast.AST, kinds: dict[str, str]) -> Iterator[tuple[str, str, int]]:
    """(class, name, line) of every ``....ui.WIDGET.NAME`` in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            owner = node.value.value
            of_ui = isinstance(owner, ast.Attribute) and owner.attr == "ui"
            if of_ui and node.value.attr in kinds:
                yield kinds[node.value.attr], node.attr, node.lineno


def _widgets(file: Path) -> list[tuple[str, str, list[str]]]:
    """(class, name, properties) of every widget in a ``.ui`` file."""
    return [
        (
            widget.attrib["class"],
            widget.attrib.get("name", ""),
            [entry.attrib["name"] for entry in widget.findall("property")],
        )
        for widget in ET.parse(file).iter("widget")  # noqa: S314 (a file of this repository)
    ]


def _of_qt() -> frozenset[str]:
    from PySide6.QtWidgets import QAbstractButton, QWidget

    return frozenset((*dir(QWidget), *dir(QAbstractButton)))


def test_plain_methods_of_a_header_are_not_shown() -> None:
    api = parse_header(HEADER, "ctkExample")
    assert api.base == "QWidget"
    assert api.properties == {"minimum": True, "text": False, "filters": True}
    assert api.methods == ["count", "setValue"]
    assert api.signals == ["valueChanged"]
    assert api.constants == ["Files", "Folders"]


def test_a_header_without_the_class_is_an_error() -> None:
    with pytest.raises(ValueError, match="ctkAbsent"):
        parse_header(HEADER, "ctkAbsent")


@pytest.mark.skipif(bool(missing_parts()), reason=missing_parts())
def test_the_stand_in_shows_what_the_headers_show_and_no_more(desktop: Any) -> None:
    extra = {}
    for name, kind in _desktop_widgets().items():
        ours = {member for base in kind.__mro__ if base.__module__.startswith("Testing") for member in vars(base)}
        of_qt = {member for base in kind.__mro__ if base.__module__.startswith("PySide6") for member in dir(base)}
        extra[name] = sorted(member for member in ours - of_qt - names_of(name) if not member.startswith("_"))
    assert {name: members for name, members in extra.items() if members} == {}


@pytest.mark.skipif(bool(missing_parts()), reason=missing_parts())
def test_panels_use_only_what_python_sees(desktop: Any) -> None:
    known, of_qt = read_table(), _of_qt()
    unseen = []
    for file in UI_FILES:
        kinds = {name: kind for kind, name, _ in _widgets(file) if kind in known}
        for module in sorted(file.parents[2].rglob("*.py")):
            for kind, member, line in _uses(ast.parse(module.read_text(encoding="utf-8")), kinds):
                if member not in names_of(kind) | of_qt:
                    unseen.append(f"{module.name}:{line}: {kind}.{member}")
    assert not unseen


@pytest.mark.skipif(bool(missing_parts()), reason=missing_parts())
def test_files_of_the_panels_set_only_properties(desktop: Any) -> None:
    known, of_qt = read_table(), _of_qt()
    writable = {
        name: {entry for kind in _with_bases(name) for entry, write in known[kind].properties.items() if write}
        for name in known
    }
    unknown = [
        f"{file.name}: {kind} {name}.{entry}"
        for file in UI_FILES
        for kind, name, entries in _widgets(file)
        if kind in known
        for entry in entries
        if entry not in writable[kind] | of_qt | OF_SLICER
    ]
    assert not unknown


def _with_bases(name: str) -> list[str]:
    known = read_table()
    return [name, *_with_bases(known[name].base)] if name in known else []


@pytest.mark.skipif(
    not all(os.environ.get(variable) for variable in CLASSES), reason=f"{' and '.join(CLASSES)} name no checkouts"
)
def test_the_table_is_that_of_the_headers() -> None:
    from Testing.slicer_desktop.header_api import header_texts

    table = read_table()
    for variable, classes in CLASSES.items():
        headers = header_texts(Path(os.environ[variable]))
        for name in classes:
            assert parse_header(headers[name], name) == table[name], name
