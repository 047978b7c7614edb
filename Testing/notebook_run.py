"""Runs a notebook as Jupyter would: its code cells in order, in one namespace; what they print and draw is kept.

    python -m Testing.notebook_run NOTEBOOK RAN VALUES

writes the notebook with its outputs, and the variables at its end that JSON can hold. Plain Python: no magics, and what
the last line of a cell evaluates to is not shown.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import linecache
import sys
from pathlib import Path
from typing import Any

DPI = 80
COLOURS = 128
"""Of a picture, so that notebooks stay small."""

Notebook = dict[str, Any]


def read_notebook(path: Path) -> Notebook:
    """Return what a notebook file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_notebook(path: Path, notebook: Notebook) -> None:
    """Write a notebook the way Jupyter lays it out, so that saving it there changes no line."""
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")


def source_of(cell: Notebook) -> str:
    """Return the text of a cell."""
    return "".join(cell["source"])


def run_cells(notebook: Notebook) -> dict[str, Any]:
    """Run the code cells in their order, put their outputs into the notebook, and return the namespace they leave."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    codes = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(codes, start=1):
        name, text = f"<cell {number}>", source_of(cell)
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)  # a traceback shows the line
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(text, name, "exec"), namespace)  # noqa: S102 (our own notebooks)
        cell["execution_count"] = number
        cell["outputs"] = [*_stream(printed.getvalue()), *map(_display, _figures())]
    return namespace


def plain(namespace: dict[str, Any]) -> dict[str, Any]:
    """Return the variables that JSON can hold."""
    kept = {}
    for name, value in namespace.items():
        with contextlib.suppress(TypeError, ValueError):
            json.dumps(value)
            kept[name] = value
    return kept


def _stream(text: str) -> list[Notebook]:
    lines = text.splitlines(keepends=True)
    return [{"name": "stdout", "output_type": "stream", "text": lines}] if lines else []


def _figures() -> list[bytes]:
    """Return the open figures as PNG, and close them."""
    import matplotlib.pyplot as plt
    from PIL import Image

    pictures = []
    for number in plt.get_fignums():
        drawn, small = io.BytesIO(), io.BytesIO()
        plt.figure(number).savefig(drawn, format="png", dpi=DPI)
        Image.open(drawn).convert("RGB").quantize(COLOURS).save(small, "PNG", optimize=True)
        pictures.append(small.getvalue())
    plt.close("all")
    return pictures


def _display(picture: bytes) -> Notebook:
    data = {"image/png": base64.b64encode(picture).decode("ascii"), "text/plain": ["<Figure>"]}
    return {"data": data, "metadata": {}, "output_type": "display_data"}


def main(notebook: str, ran: str, values: str) -> None:
    """Run a notebook and write what came of it."""
    content = read_notebook(Path(notebook))
    namespace = run_cells(content)
    write_notebook(Path(ran), content)
    Path(values).write_text(json.dumps(plain(namespace)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
