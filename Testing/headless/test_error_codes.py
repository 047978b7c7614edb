"""Every error says by a code what kind of problem it is, for programs and tests."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

from NeuroGenLib.core.errors import Code

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
CODED = ("NeuroGenLib", "NeuroGen", "training")


def errors_of(source: str) -> Iterator[tuple[int, str | None]]:
    """Yield the line and the code of each ``InputError(...)`` and ``NeuroGenError(...)`` in a source; None without."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("InputError", "NeuroGenError")
        ):
            codes = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            yield (
                node.lineno,
                str(codes[0].value) if codes and isinstance(codes[0], ast.Constant) else ("" if codes else None),
            )


@pytest.mark.parametrize("place", CODED)
def test_every_error_has_a_code(place: str) -> None:
    path = ROOT / place
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    assert files
    bare = [
        f"{file.relative_to(ROOT)}, line {line}"
        for file in files
        for line, code in errors_of(file.read_text(encoding="utf-8"))
        if code is None or (code and code not in get_args(Code))
    ]
    assert not bare


def test_an_error_without_code_is_found() -> None:
    source = (
        'def work():\n    raise InputError("No.", code="value-invalid")\ndef other():\n    raise NeuroGenError("No.")'
    )
    assert list(errors_of(source)) == [(2, "value-invalid"), (4, None)]
