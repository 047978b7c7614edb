"""The floors of NeuroGenLib: nothing imports what stands above it or beside it, and no modules import in a circle.

Every import counts, be it at the top of a file, in a function or for type checkers alone. Only names in strings
(``module:function`` in the table of commands and in the list of capabilities) are looked up while the program runs.
"""

from __future__ import annotations

import ast
import itertools
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PACKAGE = "NeuroGenLib"
CAPABILITIES = ("atlas", "synthesis", "superres", "latents", "registration", "mask")
FLOORS: tuple[tuple[str, ...], ...] = (
    ("version",),
    ("core",),
    ("cohort", "models", "training"),
    ("spatial",),
    ("alignment", "simulate", "mrml"),
    CAPABILITIES,
    ("scenes", "samples", "pipeline"),
    ("worker", "commands"),
    ("", "cli"),
)
"""From the ground up; the folders of a floor do not import each other. The empty name is the package itself."""

HEAVY = frozenset(
    {"torch", "lightning", "scipy", "SimpleITK", "nibabel", "matplotlib", "pandas"}
    | {"skimage", "monai", "huggingface_hub", "slicer", "vtk"}
)
"""Libraries that take long to import: a module that loads one may be imported inside a function."""

CALLED_AT_ONCE = {("NeuroGenLib.mrml.core", "slicer")}
"""Libraries imported in a function that its module calls as soon as it is imported."""

_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")
"""Where a statement holds statements; expressions hold no imports."""


@dataclass(frozen=True)
class Import:
    """One import: which module imports which, where (at the top, in a function, for type checkers), in which line."""

    source: str
    target: str
    where: Literal["top", "function", "types"]
    line: int

    def __str__(self) -> str:
        return f"{self.source}, line {self.line}, imports {self.target}"


class Tree:
    """The imports of a package, read from its source; nothing is run.

    Parameters
    ----------
    root:
        The folder that holds the package's folder.
    """

    def __init__(self, root: Path) -> None:
        files = {self._name(path.relative_to(root)): path for path in sorted((root / PACKAGE).rglob("*.py"))}
        self.modules = frozenset(files)
        self.imports = tuple(each for name, path in files.items() for each in self._imports_of(name, path))

    def between_modules(self) -> list[Import]:
        """Return the imports of the package's own modules by each other."""
        return [each for each in self.imports if each.target in self.modules]

    def upwards(self) -> list[Import]:
        """Return the imports of what stands above or beside the importing module, or on no floor."""
        floor_of = {folder: number for number, floor in enumerate(FLOORS) for folder in floor}
        wrong = []
        for each in self.between_modules():
            own, other = _folder(each.source), _folder(each.target)
            known = own in floor_of and other in floor_of
            if own != other and not (known and floor_of[other] < floor_of[own]):
                wrong.append(each)
        return wrong

    def circle(self) -> list[str]:
        """Return modules that import each other in a circle, the first one again at the end; empty without one."""
        graph: dict[str, set[str]] = {}
        for each in self.between_modules():
            graph.setdefault(each.source, set()).add(each.target)
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            return list(reversed(error.args[1]))
        return []

    def heavy_libraries(self) -> dict[str, frozenset[str]]:
        """Return the heavy libraries that importing each module loads, through whatever it imports at the top."""
        top: dict[str, set[str]] = {module: set() for module in self.modules}
        for each in self.imports:
            if each.where == "top" or (each.source, each.target) in CALLED_AT_ONCE:
                top[each.source].add(each.target)
        return {module: frozenset(_reached(module, top)) & HEAVY for module in self.modules}

    def needlessly_late(self) -> list[Import]:
        """Return the imports inside functions of modules that load no heavy library beyond those loaded already."""
        loaded = self.heavy_libraries()
        late = [each for each in self.between_modules() if each.where == "function"]
        return [each for each in late if loaded[each.target] <= loaded[each.source]]

    @staticmethod
    def _name(path: Path) -> str:
        parts = path.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def _imports_of(self, module: str, path: Path) -> Iterator[Import]:
        for node, where in _import_nodes(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            else:
                assert node.level == 0, f"{module} imports relatively, line {node.lineno}"
                inside = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [name if name in self.modules else str(node.module) for name in inside]
            for target in dict.fromkeys(targets):
                own = target in self.modules
                yield Import(module, target if own else target.partition(".")[0], where, node.lineno)


def _import_nodes(
    node: ast.AST, where: Literal["top", "function", "types"] = "top"
) -> Iterator[tuple[ast.Import | ast.ImportFrom, Literal["top", "function", "types"]]]:
    for child in itertools.chain.from_iterable(getattr(node, field, ()) for field in _BLOCKS):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, where
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _import_nodes(child, "function")
        elif isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            yield from _import_nodes(child, "types")
        else:
            yield from _import_nodes(child, where)


def _folder(module: str) -> str:
    """Return the folder or loose file below the package that a module is or lies in; empty for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def _reached(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    """Return all that is loaded with a module: what it imports, and the packages that these lie in."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += graph.get(name, ())
            waiting += [name.rpartition(".")[0]] if "." in name else []
    return reached


def _sentences(imports: Sequence[Import]) -> str:
    return "\n".join(map(str, imports))


@pytest.fixture(scope="module")
def library() -> Tree:
    """NeuroGenLib as it stands."""
    return Tree(Path(__file__).parents[2])


def test_nothing_imports_what_stands_above_or_beside_it(library: Tree) -> None:
    assert not library.upwards(), _sentences(library.upwards())


def test_no_modules_import_each_other_in_a_circle(library: Tree) -> None:
    assert not library.circle(), " -> ".join(library.circle())


def test_imports_inside_functions_save_a_heavy_library(library: Tree) -> None:
    assert not library.needlessly_late(), _sentences(library.needlessly_late())


def test_the_package_and_the_table_of_commands_load_no_heavy_library(library: Tree) -> None:
    loaded = library.heavy_libraries()
    assert loaded["NeuroGenLib"] == loaded["NeuroGenLib.cli"] == frozenset()


def made_up(folder: Path, files: Mapping[str, str]) -> Tree:
    """Return the imports of a made-up package: source by path below its folder."""
    for name, source in files.items():
        path = folder / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return Tree(folder)


@pytest.mark.parametrize(
    "source",
    [
        "from NeuroGenLib.spatial.volume import Volume",
        "from NeuroGenLib.spatial import volume",
        "import NeuroGenLib.spatial.volume",
        "def work():\n    from NeuroGenLib.spatial.volume import Volume",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from NeuroGenLib.spatial.volume import Volume",
        "class Job:\n    def work(self):\n        if True:\n            import NeuroGenLib.spatial.volume",
    ],
)
def test_an_import_upwards_is_found_wherever_it_stands(source: str, tmp_path: Path) -> None:
    tree = made_up(tmp_path, {"core/errors.py": source, "spatial/__init__.py": "", "spatial/volume.py": ""})
    assert [(each.source, each.target) for each in tree.upwards()] == [
        ("NeuroGenLib.core.errors", "NeuroGenLib.spatial.volume")
    ]


@pytest.mark.parametrize(
    ("importing", "imported", "allowed"),
    [
        ("spatial/volume.py", "core/errors.py", True),
        ("atlas/fit/scan.py", "atlas/data/points.py", True),
        ("commands/mask/run.py", "registration/infer.py", True),
        ("version.py", "core/errors.py", False),
        ("cohort/scans.py", "models/folder.py", False),
        ("simulate/pair.py", "mask/data.py", False),
        ("mask/data.py", "registration/data/table.py", False),
        ("worker/run_command.py", "commands/shared.py", False),
        ("worker/run_command.py", "cli.py", False),
        ("spatial/volume.py", "elsewhere/tools.py", False),
        ("core/errors.py", "__init__.py", False),
    ],
)
def test_floors(importing: str, imported: str, allowed: bool, tmp_path: Path) -> None:
    dotted = f"NeuroGenLib.{imported.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__")
    tree = made_up(tmp_path, {importing: f"import {dotted}", imported: ""})
    assert len(tree.between_modules()) == 1
    assert (not tree.upwards()) == allowed


def test_a_circle_is_named(tmp_path: Path) -> None:
    files = {
        "core/a.py": "from NeuroGenLib.core.b import something",
        "core/b.py": "def work():\n    from NeuroGenLib.core.c import something",
        "core/c.py": "if TYPE_CHECKING:\n    from NeuroGenLib.core.a import Something",
        "core/d.py": "from NeuroGenLib.core.a import something",
    }
    circle = made_up(tmp_path, files).circle()
    assert circle[0] == circle[-1]
    assert set(circle) == {"NeuroGenLib.core.a", "NeuroGenLib.core.b", "NeuroGenLib.core.c"}
    assert circle[circle.index("NeuroGenLib.core.a") + 1] == "NeuroGenLib.core.b"
    assert made_up(tmp_path, {"core/c.py": ""}).circle() == []


def test_a_late_import_must_save_a_library(tmp_path: Path) -> None:
    files = {
        "core/light.py": "import json",
        "core/heavy.py": "try:\n    import torch.nn\nexcept ImportError:\n    pass",
        "core/through.py": "from NeuroGenLib.core.heavy import something",
        "core/pack/__init__.py": "import scipy",
        "core/pack/part.py": "",
        "core/lazy.py": "def work():\n    import torch",
        "core/early.py": "import torch\ndef work():\n    import NeuroGenLib.core.through",
        "core/late.py": "".join(
            f"def {name}():\n    import NeuroGenLib.core.{name.replace('_', '.')}\n"
            for name in ("light", "heavy", "through", "pack_part", "lazy")
        ),
    }
    found = {(each.source, each.target) for each in made_up(tmp_path, files).needlessly_late()}
    assert found == {
        ("NeuroGenLib.core.late", "NeuroGenLib.core.light"),
        ("NeuroGenLib.core.late", "NeuroGenLib.core.lazy"),
        ("NeuroGenLib.core.early", "NeuroGenLib.core.through"),
    }
