"""In a checkout, where the libraries do not lie beside the modules, every module file finds them all the same."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

MODULES = Path(__file__).resolve().parents[2] / "NeuroGen"
FILES = sorted(path for path in MODULES.glob("*/*.py") if path.stem == path.parent.name)
LIBRARIES = ("NeuroGenLib", "NeuroGenPanels")

REPORT = """
import json, sys
from pathlib import Path
snippet, __file__, *installed = sys.argv[1:]
sys.path += installed
before = list(sys.path)
exec(compile(snippet, __file__, "exec"))
import NeuroGenLib, NeuroGenPanels
print(json.dumps([before, sys.path, NeuroGenLib.__file__, NeuroGenPanels.__file__]))
"""


def snippet(module: Path) -> str:
    """Return the statement of a module file that imports the libraries or looks for them in the checkout."""
    found = [
        ast.unparse(node)
        for node in ast.parse(module.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Try) and all(name in ast.unparse(node.body) for name in LIBRARIES)
    ]
    assert len(found) == 1, f"{module.name} looks for the libraries {len(found)} times"
    return found[0]


def ran(module: Path, checkout: Path, *installed: Path) -> tuple[list[str], list[str], Path, Path]:
    """Run the snippet as if the module lay in ``checkout``; return the path before and after, and what was imported."""
    place = checkout / "NeuroGen" / module.stem / module.name
    command = [sys.executable, "-I", "-S", "-c", REPORT, snippet(module), str(place), *map(str, installed)]
    done = subprocess.run(command, cwd=checkout.parent, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    before, after, library, panels = json.loads(done.stdout)
    return before, after, Path(library), Path(panels)


def package(folder: Path, name: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").touch()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with both libraries at their places."""
    root = tmp_path / "check out"
    package(root, "NeuroGenLib")
    package(root / "NeuroGen", "NeuroGenPanels")
    return root


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Slicer's module folder with both libraries."""
    folder = tmp_path / "qt-scripted-modules"
    for name in LIBRARIES:
        package(folder, name)
    return folder


def test_there_are_modules() -> None:
    assert {path.stem for path in FILES} >= {"NeuroGenHome", "NeuroGenAtlas"}


@pytest.mark.parametrize("module", FILES, ids=lambda path: path.stem)
def test_a_checkout_is_appended_to_the_path(module: Path, checkout: Path) -> None:
    before, after, library, panels = ran(module, checkout)
    assert after[: len(before)] == before
    assert {Path(folder) for folder in after[len(before) :]} == {checkout.resolve(), checkout.resolve() / "NeuroGen"}
    assert library.resolve() == checkout.resolve() / "NeuroGenLib" / "__init__.py"
    assert panels.resolve() == checkout.resolve() / "NeuroGen" / "NeuroGenPanels" / "__init__.py"


@pytest.mark.parametrize("module", FILES, ids=lambda path: path.stem)
def test_installed_libraries_leave_the_path_alone(module: Path, checkout: Path, installed: Path) -> None:
    before, after, library, panels = ran(module, checkout, installed)
    assert after == before
    assert {library.parent.parent, panels.parent.parent} == {installed}


@pytest.mark.parametrize("module", FILES, ids=lambda path: path.stem)
def test_panels_are_found_beside_a_library_from_elsewhere(module: Path, checkout: Path, tmp_path: Path) -> None:
    package(tmp_path / "site-packages", "NeuroGenLib")
    _, _, library, panels = ran(module, checkout, tmp_path / "site-packages")
    assert library.parent.parent == tmp_path / "site-packages"
    assert panels.resolve().is_relative_to(checkout.resolve())
