"""Data files are found wherever the code lies, and the code keeps the project's rules."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import pytest

from NeuroGenLib.core import resources
from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.models import bundled_models, open_model
from NeuroGenLib.spatial.labels import LabelTable
from Testing.raising import raises

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = sorted((ROOT / "NeuroGenLib").rglob("*.py"))
OTHERS = [path for name in ("NeuroGen", "training", "Testing") for path in sorted((ROOT / name).rglob("*.py"))]
GUI = ("qt", "slicer", "vtk", "ctk", "PythonQt")
LONGEST_FILE = 600


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(tree: ast.AST) -> list[str]:
    """Return what the statements of a tree import, whole names."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def at_top(path: Path) -> list[str]:
    """Return what importing a file imports: what stands outside of functions and of ``if TYPE_CHECKING``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: list[ast.stmt] = []
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        if typing_only or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        waiting += ast.iter_child_nodes(node)
    return imported(ast.Module(found, []))


def test_label_tables_are_found_and_readable() -> None:
    tables = sorted(resources.resource("labels").glob("*.tsv"))
    assert tables
    for path in tables:
        assert 0 in LabelTable.from_tsv(path).values
    assert "ventricles" in LabelTable.from_tsv(resources.resource("labels/fetal-tissues.tsv")).names


def test_a_missing_resource_is_named() -> None:
    with raises("installation-damaged", "labels/unheard-of.tsv", kind=NeuroGenError):
        resources.resource("labels/unheard-of.tsv")


@pytest.mark.parametrize("inside", [True, False])
def test_resources_lie_in_the_package_or_beside_it(
    inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "NeuroGenLib"
    folder = (package if inside else tmp_path) / "Resources"
    (folder / "models").mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert resources.resources_folder() == folder


def test_the_packages_own_resources_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "NeuroGenLib"
    for folder in (package, tmp_path):
        (folder / "Resources" / "models").mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert resources.resources_folder() == package / "Resources"


def test_an_installation_without_resources_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "NeuroGenLib")
    with raises("installation-damaged", "Resources", kind=NeuroGenError):
        resources.resources_folder()


def test_the_bundled_atlas_is_what_the_documentation_says() -> None:
    assert "fetal-sba" in bundled_models()
    atlas = open_model("bundled:fetal-sba", device="cpu")
    assert atlas.age_range == (21, 34)
    assert atlas.age_unit == "weeks"
    assert atlas.modalities == ("T2w",)
    assert atlas.labels.names == LabelTable.from_tsv(resources.resource("labels/fetal-tissues.tsv")).names
    (condition,) = atlas.conditions
    assert (condition.name, condition.minimum, condition.maximum) == ("lv_volume_normed", 0.10, 0.23)
    assert atlas.folder.manifest["license"] == "CC0-1.0"
    assert atlas.folder.manifest["citation"]
    assert "not a norm" in atlas.notice
    assert atlas.folder.card


def test_the_library_imports_no_gui_at_top_level() -> None:
    assert LIBRARY
    offenders = {relative(path): [name for name in at_top(path) if name.split(".")[0] in GUI] for path in LIBRARY}
    assert not {path: names for path, names in offenders.items() if names}


def test_only_the_rooms_for_slicer_know_slicer() -> None:
    allowed = ("mrml", "worker")
    offenders = {}
    for path in LIBRARY:
        if not any(part.startswith(allowed) for part in path.relative_to(ROOT / "NeuroGenLib").parts):
            names = imported(ast.parse(path.read_text(encoding="utf-8")))
            offenders[relative(path)] = [name for name in names if name.split(".")[0] in GUI]
    assert offenders
    assert not {path: names for path, names in offenders.items() if names}


def test_nothing_forks() -> None:
    """Slicer and Windows: no multiprocessing, no fork, in the library."""
    offenders = {}
    for path in LIBRARY:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {".".join(name.split(".")[:2]) for name in imported(tree)}
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        forbidden = {"multiprocessing", "torch.multiprocessing", "os.fork", "os.forkpty", "pty.fork"}
        offenders[relative(path)] = (modules | calls) & forbidden
    assert not {path: names for path, names in offenders.items() if names}


def lines_without_docstrings(path: Path) -> int:
    """Docstrings with their examples may be as long as they need to be."""
    text = path.read_text(encoding="utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
    docstrings = [node.body[0] for node in nodes if ast.get_docstring(node) is not None]
    return len(text.splitlines()) - sum(one.end_lineno - one.lineno + 1 for one in docstrings)


def test_files_are_short_enough_to_read() -> None:
    long = [path for path in [*LIBRARY, *OTHERS] if path.read_bytes().count(b"\n") > LONGEST_FILE]
    lengths = {relative(path): lines_without_docstrings(path) for path in long}
    assert not {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE}


def test_file_names_suit_every_system() -> None:
    folders = [ROOT / name for name in ("NeuroGenLib", "NeuroGen", "Resources", "training", "Testing", "docs")]
    names = [path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts]
    assert names
    for path in names:
        assert not set(path.name) & set('<>:"\\|?*'), relative(path)
        assert len(relative(path)) < 120, "Windows allows 260 letters, and Slicer's folders take half of them"
    assert len({relative(path).lower() for path in names}) == len(names), "two names differ only in case"


def test_public_names_are_there_when_asked_for() -> None:
    package = importlib.import_module("NeuroGenLib")
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = package.nothing
    assert sys.modules["NeuroGenLib.spatial.volume"].Volume is package.Volume
