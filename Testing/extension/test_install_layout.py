"""The extension, configured, built and installed by CMake with a stand-in for Slicer's macros, and used from there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

import pytest

from NeuroGenLib import version
from Testing.extension.cmake_lists import ROOT, files_below

SLICER = Path(__file__).parent / "stub_slicer"
MODULES_DIR = Path("lib") / "Slicer-5.12" / "qt-scripted-modules"
MODULES = sorted(path.stem for path in (ROOT / "NeuroGen").glob("*/*.py") if path.stem == path.parent.name)

USE = """
import json, sys
modules, *libraries = sys.argv[1:]
sys.path.insert(0, modules)
sys.path += libraries
import NeuroGenLib, NeuroGenPanels, NeuroGenPanels.metadata
from NeuroGenLib.models import bundled_models, resolve
from NeuroGenLib.core.resources import resource, resources_folder
print(json.dumps({
    "packages": [NeuroGenLib.__file__, NeuroGenPanels.__file__],
    "data": [str(resources_folder()), str(resource("requirements.txt"))],
    "models": bundled_models(),
    "kind": resolve("bundled:fetal-sba").kind,
    "category": NeuroGenPanels.metadata.CATEGORY,
}))
"""

BATCH = """
import runpy, sys
script, libraries, *arguments = sys.argv[1:]
sys.path += [folder for folder in libraries.split("|") if folder]
sys.argv = [script, *arguments]
runpy.run_path(script, run_name="__main__")
"""


class Extension(NamedTuple):
    """Where the extension was built and where its modules were installed."""

    build: Path
    modules: Path


def tools() -> list[str]:
    """Return CMake's arguments for the build tool; skip the test where something is missing."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang", "cl")):
        pytest.skip("no C compiler on the path, which CMake asks for")
    if shutil.which("ninja"):
        return ["-G", "Ninja"]
    if shutil.which("make"):
        return ["-G", "Unix Makefiles"]
    pytest.skip("neither ninja nor make is installed")


def cmake(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [*map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def configured(source: Path, build: Path) -> subprocess.CompletedProcess[str]:
    options = [f"-DSlicer_DIR={SLICER}", "-DCMAKE_C_COMPILER_WORKS=1", "-DCMAKE_CXX_COMPILER_WORKS=1"]
    return cmake("cmake", "-S", source, "-B", build, *tools(), *options, folder=source)


def python(code: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a Python that sees neither this checkout nor the packages' .pth files."""
    command = [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def libraries() -> list[str]:
    return sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})


def expected_files() -> dict[str, Path]:
    """Return what must be installed beside the modules, and the source of each file."""
    panels = ROOT / "NeuroGen"
    roots = {
        "NeuroGenPanels/": panels / "NeuroGenPanels",
        "NeuroGenLib/": ROOT / "NeuroGenLib",
        "NeuroGenLib/Resources/": ROOT / "Resources",
    }
    files = {f"{below}{name}": root / name for below, root in roots.items() for name in files_below(root)}
    files |= {name: panels / module / name for module in MODULES for name in files_below(panels / module)}
    return files | {"NeuroGenBatch/neurogen_batch.py": panels / "neurogen_batch.py"}


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Extension:
    """The extension of this checkout, built and installed in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("an extension")
    build, prefix = folder / "build", folder / "Slicer"
    done = configured(ROOT, build)
    assert done.returncode == 0, done.stdout + done.stderr
    done = cmake("cmake", "--build", build, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    # This component is what Slicer packs.
    done = cmake("cmake", "--install", build, "--prefix", prefix, "--component", "RuntimeLibraries", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return Extension(build, prefix / "NeuroGen" / MODULES_DIR)


@pytest.fixture
def small_extension(tmp_path: Path) -> Path:
    """An extension of one module and one library that configures; tests break it."""
    source = tmp_path / "small"
    source.mkdir()
    (source / "Small.py").touch()
    (source / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(Small LANGUAGES NONE)\n"
        "find_package(Slicer REQUIRED)\ninclude(${Slicer_USE_FILE})\n"
        "slicerMacroBuildScriptedModule(NAME Small SCRIPTS Small.py WITH_GENERIC_TESTS)\n"
        "ctkMacroCompilePythonScript(TARGET_NAME Lib SCRIPTS Small.py DESTINATION_DIR d INSTALL_DIR i)\n"
        "slicer_add_python_unittest(SCRIPT Small.py)\n",
        encoding="utf-8",
    )
    return source


@pytest.mark.slow
def test_what_is_installed_is_what_is_here_and_nothing_else(extension: Extension) -> None:
    expected = expected_files()
    installed = {
        path.relative_to(extension.modules).as_posix() for path in extension.modules.rglob("*") if path.is_file()
    }
    assert sorted(expected.keys() - installed) == [], "not installed"
    assert sorted(installed - expected.keys()) == [], "installed without need"
    differing = [
        name for name, source in expected.items() if (extension.modules / name).read_bytes() != source.read_bytes()
    ]
    assert differing == []


def test_the_build_tree_has_the_same_files(extension: Extension) -> None:
    built = extension.build / MODULES_DIR
    assert {
        path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file()
    } == expected_files().keys()


def test_slicer_finds_the_modules_and_nothing_that_it_would_take_for_one(extension: Extension) -> None:
    assert {"NeuroGenHome", "NeuroGenAtlas"} <= set(MODULES)
    assert sorted(path.stem for path in extension.modules.glob("*.py")) == MODULES
    for module in MODULES:
        assert (extension.modules / f"{module}Lib" / "__init__.py").is_file()
        assert (extension.modules / "Resources" / "UI" / f"{module}.ui").is_file()
        assert (extension.modules / "Resources" / "Icons" / f"{module}.svg").is_file()


def test_the_installed_libraries_find_one_another_and_their_data(extension: Extension, tmp_path: Path) -> None:
    done = python(USE, extension.modules, *libraries(), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [Path(path).relative_to(extension.modules).as_posix() for path in (*said["packages"], *said["data"])] == [
        "NeuroGenLib/__init__.py",
        "NeuroGenPanels/__init__.py",
        "NeuroGenLib/Resources",
        "NeuroGenLib/Resources/requirements.txt",
    ]
    assert "fetal-sba" in said["models"]
    assert said["kind"] == "atlas"
    assert said["category"]


def test_the_installed_batch_script_runs_the_installed_library(extension: Extension, tmp_path: Path) -> None:
    script = extension.modules / "NeuroGenBatch" / "neurogen_batch.py"
    in_slicer = "|".join([str(extension.modules), *libraries()])
    done = python(BATCH, script, in_slicer, "--", "atlas", "info", "--model", "bundled:fetal-sba", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "scan_age" in done.stdout
    wrong = python(BATCH, script, in_slicer, "--", "nonsense", folder=tmp_path)
    assert wrong.returncode == 2, wrong.stderr
    assert "nonsense" in wrong.stderr


def test_the_installed_batch_script_finds_the_library_in_plain_python(extension: Extension, tmp_path: Path) -> None:
    script = extension.modules / "NeuroGenBatch" / "neurogen_batch.py"
    done = python(BATCH, script, "", "--version", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["neurogen", version.__version__]


def test_the_modules_tests_are_known_to_ctest(extension: Extension) -> None:
    done = cmake("ctest", "-N", folder=extension.build)
    assert done.returncode == 0, done.stderr
    for module in MODULES:
        assert f"py_{module}\n" in done.stdout


def test_slicer_is_given_the_metadata_and_our_licence(extension: Extension) -> None:
    lines = (extension.build / "metadata.txt").read_text(encoding="utf-8").splitlines()
    metadata = dict(line.split("=", 1) for line in lines)
    entry = json.loads((ROOT / "NeuroGen.json").read_text(encoding="utf-8"))
    assert metadata["CATEGORY"] == entry["category"]
    assert metadata["DEPENDS"].split() == entry["build_dependencies"]
    assert metadata["HOMEPAGE"].split("#")[0] == entry["scm_url"].removesuffix(".git")
    assert Path(metadata["LICENSE_FILE"]) == ROOT / "LICENSE.txt"
    assert (extension.build / "NeuroGenConfig.cmake").is_file()


def test_the_stand_in_takes_an_extension_that_is_right(small_extension: Path, tmp_path: Path) -> None:
    done = configured(small_extension, tmp_path / "build")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("right", "wrong", "culprit"),
    [
        ("SCRIPTS Small.py WITH", "SCRIPTS Gone.py WITH", "Gone.py"),
        ("NAME Small SCRIPTS", "NAME Small FILES Small.py SCRIPTS", "FILES"),
        ("NAME Small ", "", "NAME is mandatory"),
        ("INSTALL_DIR i", "", "INSTALL_DIR is mandatory"),
        ("INSTALL_DIR i", "INSTALL_DIR i TO_BE i", "TO_BE"),
        ("unittest(SCRIPT Small.py)", "unittest(SCRIPT Gone.py)", "Gone.py"),
        ("slicer_add_python_unittest", "slicer_add_pythonic_test", "slicer_add_pythonic_test"),
    ],
)
def test_what_slicer_would_refuse_is_refused(
    small_extension: Path, tmp_path: Path, right: str, wrong: str, culprit: str
) -> None:
    lists = small_extension / "CMakeLists.txt"
    text = lists.read_text(encoding="utf-8")
    assert right in text
    lists.write_text(text.replace(right, wrong), encoding="utf-8")
    done = configured(small_extension, tmp_path / "build")
    assert done.returncode != 0
    assert culprit in done.stderr
