"""The lists of files in CMakeLists.txt are those on disk."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from Testing.extension.cmake_lists import LISTS, ROOT, listed, on_disk, rewrite, with_list

if TYPE_CHECKING:
    from pathlib import Path

HOW = "run: python Testing/extension/cmake_lists.py"


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small extension with one module, one library, resources and empty lists."""
    module = "set(MODULE_PYTHON_SCRIPTS\n  )\nset(MODULE_PYTHON_RESOURCES\n  )\n"
    write(tmp_path / "NeuroGen" / LISTS, "set(NEUROGEN_FOLDERS\n  )\nset(BATCH_SCRIPTS\n  )\n")
    write(tmp_path / "NeuroGen/batch.py")
    write(tmp_path / "NeuroGen/.idea/x.xml")
    write(tmp_path / "NeuroGen/One/CMakeLists.txt", module)
    write(tmp_path / "NeuroGen/One/One.py")
    write(tmp_path / "NeuroGen/One/OneLib/__init__.py")
    write(tmp_path / "NeuroGen/One/Resources/UI/One.ui")
    write(tmp_path / "NeuroGenLib/CMakeLists.txt", module.replace("MODULE", "LIBRARY"))
    write(tmp_path / "NeuroGenLib/b.py")
    write(tmp_path / "NeuroGenLib/a/c.yaml")
    write(tmp_path / "Resources/CMakeLists.txt", "# kept\nset(RESOURCE_FILES\n  gone.txt\n  )\nafter()\n")
    write(tmp_path / "Resources/labels/x.tsv")
    for stray in ("NeuroGenLib/__pycache__/b.pyc", "NeuroGen/__pycache__/x.pyc", "Resources/.DS_Store"):
        write(tmp_path / stray)
    return tmp_path


@pytest.mark.parametrize("path", on_disk(ROOT), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_lists_are_what_is_on_disk(path: Path) -> None:
    assert path.is_file(), f"{path.relative_to(ROOT)} is missing: copy that of a neighbour, then {HOW}"
    text = path.read_text(encoding="utf-8")
    for variable, files in on_disk(ROOT)[path].items():
        names = listed(text, variable)
        assert names == sorted(set(names)), f"{variable} is not sorted; {HOW}"
        assert sorted(set(files) - set(names)) == [], f"not in {variable}; {HOW}"
        assert sorted(set(names) - set(files)) == [], f"only in {variable}; {HOW}"


def test_every_folder_with_modules_has_its_list() -> None:
    modules = {path.parent for path in (ROOT / "NeuroGen").glob("*/*.py")}
    assert modules
    assert modules <= {path.parent for path in on_disk(ROOT)}


def test_files_are_named_one_by_one() -> None:
    for path in [ROOT / LISTS, *on_disk(ROOT)]:
        assert not re.search(r"GLOB|\*", path.read_text(encoding="utf-8")), path


def test_no_script_lies_where_slicer_takes_it_for_a_module() -> None:
    for folder in (ROOT / "NeuroGen").iterdir():
        own = folder / f"{folder.name}.py"
        if own.is_file():
            assert list(folder.glob("*.py")) == [own]


def test_rewriting_lists_what_is_there_and_nothing_else(tree: Path) -> None:
    changed = rewrite(tree)
    assert len(changed) == 4
    module = (tree / "NeuroGen/One/CMakeLists.txt").read_text(encoding="utf-8")
    assert listed(module, "MODULE_PYTHON_SCRIPTS") == ["One.py", "OneLib/__init__.py"]
    assert listed(module, "MODULE_PYTHON_RESOURCES") == ["Resources/UI/One.ui"]
    library = (tree / "NeuroGenLib/CMakeLists.txt").read_text(encoding="utf-8")
    assert listed(library, "LIBRARY_PYTHON_SCRIPTS") == ["b.py"]
    assert listed(library, "LIBRARY_PYTHON_RESOURCES") == ["a/c.yaml"]
    panels = (tree / "NeuroGen" / LISTS).read_text(encoding="utf-8")
    assert listed(panels, "NEUROGEN_FOLDERS") == ["One"]
    assert listed(panels, "BATCH_SCRIPTS") == ["batch.py"]
    resources = (tree / "Resources/CMakeLists.txt").read_bytes()
    assert resources == b"# kept\nset(RESOURCE_FILES\n  labels/x.tsv\n  )\nafter()\n"
    assert rewrite(tree) == []


def test_a_new_and_a_deleted_file_show(tree: Path) -> None:
    rewrite(tree)
    write(tree / "NeuroGenLib/new.py")
    shutil.rmtree(tree / "NeuroGen/One/Resources")
    assert rewrite(tree) == [tree / "NeuroGenLib" / LISTS, tree / "NeuroGen/One/CMakeLists.txt"]


@pytest.mark.parametrize(
    "text", ["", "set(OTHER\n  )\n", "set(RESOURCE_FILES a b)\n", "set(RESOURCE_FILES\n  a b\n  )\n"]
)
def test_a_list_of_another_form_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="RESOURCE_FILES"):
        with_list(text, "RESOURCE_FILES", ["a"])
