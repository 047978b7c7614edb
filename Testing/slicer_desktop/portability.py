"""Habits that run with PySide6 and fail in desktop Slicer, found in a module's source before it runs."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def require_portable(path: Path) -> None:
    """Check a module file.

    Raises
    ------
    RuntimeError
        With file, line and what to write instead, for every such habit.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    problems = [f"{path.name}:{line}: {problem}" for line, problem in _problems(tree)]
    if problems:
        raise RuntimeError("This does not run in desktop Slicer.\n" + "\n".join(problems))


def _problems(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            if any(name.partition(".")[0] in {"PySide6", "PyQt5", "PyQt6", "shiboken6"} for name in names):
                yield node.lineno, "Slicer has no PySide6: import qt."
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "emit":
            yield node.lineno, "PythonQt signals have no emit: call the widget's method (click, setValue ...)."
        elif isinstance(node, ast.Attribute):
            path = _dotted(node)
            if len(path) == 4 and path[0] == "qt" and all(name[:1].isupper() for name in path[1:]):
                yield node.lineno, f"{'.'.join(path)} is Qt 6 alone: write qt.{path[1]}.{path[3]}."
        elif isinstance(node, ast.ClassDef) and any(_dotted(base)[:1] in (["qt"], ["ctk"]) for base in node.bases):
            yield node.lineno, f"{node.name} is made from a Qt class, which PythonQt supports poorly: hold a widget."


def _dotted(node: ast.AST) -> list[str]:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) else []
