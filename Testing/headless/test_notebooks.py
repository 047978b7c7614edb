"""The notebooks are true: their cells run in order, with these outputs, and nothing in them is of one computer alone.

``NEUROGEN_UPDATE_PICTURES=1`` rewrites the outputs.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from Testing.headless.test_documents import ROOT
from Testing.headless.test_tutorial import UPDATING, difference
from Testing.notebook_run import DPI, Notebook, read_notebook, run_cells, source_of, write_notebook

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
SUPERRES = ROOT / "docs" / "notebooks" / "superres.ipynb"
MOST_BYTES = 400_000
_ABSOLUTE = re.compile(r"(?<![\w:/.<)~-])(?:/[\w.-]+){2,}|\b[A-Za-z]:\\\w")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


@dataclass(frozen=True)
class Ran:
    """A notebook with the outputs of this computer, and the variables at its end."""

    path: Path
    notebook: Notebook
    values: dict[str, Any]


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.name)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A notebook that ran in a process and a folder of its own."""
    path: Path = request.param
    place = tmp_path_factory.mktemp("notebook")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-m", "Testing.notebook_run", str(path), "ran.ipynb", "values.json"],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{path.name}\n{done.stderr[-3000:]}"
    notebook = read_notebook(place / "ran.ipynb")
    if UPDATING:
        write_notebook(path, notebook)
    return Ran(path, notebook, json.loads((place / "values.json").read_text(encoding="utf-8")))


def printed(notebook: Notebook) -> str:
    """What the cells print."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    return "".join("".join(output["text"]) for output in outputs if output["output_type"] == "stream")


def pictures(notebook: Notebook) -> list[Image.Image]:
    """What the cells draw."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    drawn = [output["data"]["image/png"] for output in outputs if output["output_type"] == "display_data"]
    return [Image.open(io.BytesIO(base64.b64decode(each))).convert("RGB") for each in drawn]


def test_there_is_a_notebook() -> None:
    assert SUPERRES in NOTEBOOKS


@each_notebook
def test_it_is_a_notebook_of_version_4(path: Path) -> None:
    notebook = read_notebook(path)
    assert set(notebook) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert notebook["nbformat"] == 4
    assert notebook["nbformat_minor"] >= 5
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    names = [cell["id"] for cell in notebook["cells"]]
    assert len(set(names)) == len(names)
    for cell in notebook["cells"]:
        of_code = {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
        assert set(cell) == {"id", "cell_type", "metadata", "source"} | of_code, cell["id"]
        assert cell["cell_type"] in ("code", "markdown")
        assert re.fullmatch(r"[\w-]{1,64}", cell["id"])
        assert all(line.endswith("\n") for line in cell["source"][:-1])
        assert source_of(cell).strip(), f"{cell['id']} is empty"


@each_notebook
def test_it_is_stored_as_jupyter_stores_it(path: Path, tmp_path: Path) -> None:
    write_notebook(tmp_path / "again.ipynb", read_notebook(path))
    assert (tmp_path / "again.ipynb").read_bytes() == path.read_bytes()


@each_notebook
def test_it_is_small(path: Path) -> None:
    assert path.stat().st_size <= MOST_BYTES


@each_notebook
def test_it_names_no_place_of_one_computer(path: Path) -> None:
    notebook = read_notebook(path)
    text = "\n".join(map(source_of, notebook["cells"])) + printed(notebook)
    assert not _ABSOLUTE.findall(text)
    assert str(Path.home()) not in text


@pytest.mark.parametrize("text", ["in /home/ann/scan.nii.gz", 'open("/opt/data")', r"C:\data", r"'d:\scans\a.nii'"])
def test_places_of_a_computer_are_recognised(text: str) -> None:
    assert _ABSOLUTE.search(text)


@pytest.mark.parametrize(
    "text", ["https://a.org/b/c", "docs/notebooks/x", "../superres.md", "a/b", "PSNR / SSIM", "n/a"]
)
def test_other_texts_are_not_paths(text: str) -> None:
    assert not _ABSOLUTE.search(text)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_stored_outputs_are_what_the_cells_print_and_draw(ran: Ran) -> None:
    stored = read_notebook(ran.path)
    counts = [cell["execution_count"] for cell in stored["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1)), "NEUROGEN_UPDATE_PICTURES=1 stores the outputs"
    old, new = printed(stored), printed(ran.notebook)
    assert _NUMBER.sub("#", old) == _NUMBER.sub("#", new)
    # Numbers may differ a little between versions of libraries and kinds of processor.
    assert [float(one) for one in _NUMBER.findall(old)] == pytest.approx(
        [float(one) for one in _NUMBER.findall(new)], rel=0.05, abs=0.06
    )
    for one, other in zip(pictures(stored), pictures(ran.notebook), strict=True):
        assert one.size == other.size
        assert difference(one, other) < difference(one, Image.new("RGB", one.size, "white")) / 8


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_the_notebook_on_super_resolution_claims(ran: Ran) -> None:
    if ran.path != SUPERRES:
        pytest.skip("it is about something else")
    scores, quality = ran.values["scores"], ran.values["quality"]
    for name in ("psnr", "ssim"):
        measured = {method: one[name] for method, one in scores.items()}
        assert measured["network"] > measured["cubic interpolation"]
        assert measured["network with guide"] > measured["cubic interpolation"]
        assert measured["three scans fused"] > measured["network"]
        # The fusion leaves little to correct: the network must not spoil it.
        assert measured["three scans and network"] > 0.98 * measured["three scans fused"]
    assert max(ran.values["misplaced"].values()) < 0.5
    assert quality["stacks"][0]["rms"] < quality["stacks"][0]["rms_interpolated"]
    assert [row["status"] for row in ran.values["rows"]] == ["kept", "kept"]


def a_notebook(*sources: str) -> Notebook:
    """A notebook of code cells."""
    return {"cells": [{"cell_type": "code", "source": [source]} for source in sources]}


def test_cells_share_a_namespace_and_keep_what_they_print() -> None:
    notebook = a_notebook("a = 2\nprint('two', a)", "b = a + 1")
    assert run_cells(notebook)["b"] == 3
    assert printed(notebook) == "two 2\n"
    assert [cell["execution_count"] for cell in notebook["cells"]] == [1, 2]


def test_figures_are_kept_with_their_cell() -> None:
    draw = "import matplotlib.pyplot as plt\nplt.switch_backend('Agg')\nplt.figure(figsize=(2, 1)).add_subplot()"
    notebook = a_notebook(draw, "", draw)
    run_cells(notebook)
    assert [len(cell["outputs"]) for cell in notebook["cells"]] == [1, 0, 1]
    assert pictures(notebook)[0].size == (2 * DPI, DPI)


def test_a_cell_that_fails_ends_the_run() -> None:
    with pytest.raises(ZeroDivisionError):
        run_cells(a_notebook("1 / 0"))
