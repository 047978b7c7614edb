"""What the ExtensionsIndex asks of an extension: metadata, icon, licence, screenshots."""

from __future__ import annotations

import json
import os
import re
import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from NeuroGenLib.version import __version__
from Testing.extension.render_icon import render

ROOT = Path(__file__).resolve().parents[2]
ICON_SIZE = (128, 128)
MAY_SAY_OWNER = {"CMakeLists.txt", "NeuroGen.json", "README.md", "CONTRIBUTING.md"}
NOT_SOURCE = {"demo-output", "build", "dist", "runs", "lightning_logs", "__pycache__", "extension"}
TEXT = {".py", ".md", ".txt", ".json", ".yaml", ".yml", ".toml", ".ui", ".svg", ".cmake", ".tsv", ".cff", ""}
# The entry's schema, version 1.0.2.
REQUIRED_KEYS = {"$schema", "category", "scm_url"}
OPTIONAL_KEYS = {
    "scm_revision",
    "scm_type",
    "build_dependencies",
    "dicom_support_rule",
    "build_subdirectory",
    "enabled",
    "tier",
}


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    """The variables that the top CMakeLists.txt sets, as the ExtensionsIndex reads them: as text, nothing resolved."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'^set\((\w+) "([^"]*)"', text, re.MULTILINE))


@pytest.fixture(scope="module")
def repository(entry: dict) -> str:
    """Owner and name of the repository on GitHub."""
    address = re.fullmatch(r"https://github\.com/([\w-]+/\w+)\.git", entry["scm_url"])
    assert address
    return address[1]


@pytest.fixture(scope="module")
def entry() -> dict:
    """The entry of the ExtensionsIndex."""
    return json.loads((ROOT / "NeuroGen.json").read_text(encoding="utf-8"))


def test_the_entry_has_the_keys_of_its_schema(entry: dict) -> None:
    assert entry.keys() >= REQUIRED_KEYS
    assert entry.keys() <= REQUIRED_KEYS | OPTIONAL_KEYS
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry["tier"] in (1, 3, 5)


def test_the_entry_says_what_cmake_says(entry: dict, variables: dict[str, str]) -> None:
    assert entry["category"] == variables["EXTENSION_CATEGORY"]
    assert entry["build_dependencies"] == variables["EXTENSION_DEPENDS"].split()


def test_the_repository_has_the_name_that_the_index_asks_for(repository: str) -> None:
    assert re.search(r"^project\(NeuroGen\)$", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert repository.split("/")[1:] == ["SlicerNeuroGen"]


def test_homepage_icon_and_screenshots_are_in_the_repository(
    variables: dict[str, str], entry: dict, repository: str
) -> None:
    raw = f"https://raw.githubusercontent.com/{repository}/{entry['scm_revision']}/"
    assert variables["EXTENSION_HOMEPAGE"].startswith(f"https://github.com/{repository}")
    urls = [variables["EXTENSION_ICONURL"], *variables["EXTENSION_SCREENSHOTURLS"].split()]
    assert len(urls) >= 2
    for url in urls:
        assert url.startswith(raw)
        assert (ROOT / url.removeprefix(raw)).is_file(), f"{url.removeprefix(raw)} is missing (make screenshots)"


def test_people_licence_and_description_are_given(variables: dict[str, str]) -> None:
    assert variables["EXTENSION_CONTRIBUTORS"] == "NeuroGen contributors"
    assert variables["EXTENSION_DEPENDS"] == "PyTorch"
    assert 1 <= variables["EXTENSION_DESCRIPTION"].count(". ") + 1 <= 2
    for name in ("LICENSE", "README"):
        assert _in_checkout(variables[f"EXTENSION_{name}_FILE"]).is_file()
    assert "Apache License" in _in_checkout(variables["EXTENSION_LICENSE_FILE"]).read_text(encoding="utf-8")


def _in_checkout(path: str) -> Path:
    return Path(path.replace("${CMAKE_CURRENT_SOURCE_DIR}", str(ROOT)))


def test_the_owner_is_to_be_set_in_two_files_alone() -> None:
    named = set()
    for folder, below, names in os.walk(ROOT):
        below[:] = [name for name in below if name not in NOT_SOURCE and not name.startswith(".")]
        for path in (Path(folder) / name for name in names):
            if path.suffix in TEXT and re.search(r"\bOWNER\b", path.read_text(encoding="utf-8", errors="replace")):
                named.add(path.relative_to(ROOT).as_posix())
    assert named <= MAY_SAY_OWNER
    assert ("CMakeLists.txt" in named) == ("NeuroGen.json" in named)


def test_changelog_and_citation_name_the_version() -> None:
    versions = re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert versions[0] == cited["version"] == __version__


def test_the_icon_has_the_size_that_the_index_asks_for() -> None:
    content = (ROOT / "NeuroGen.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == ICON_SIZE


@pytest.mark.parametrize(
    "module", sorted(path.stem for path in (ROOT / "NeuroGen").glob("*/*.py") if path.stem == path.parent.name)
)
def test_every_module_has_an_icon_that_can_be_drawn(module: str, tmp_path: Path) -> None:
    icon = ROOT / "NeuroGen" / module / "Resources" / "Icons" / f"{module}.svg"
    tree = ET.parse(icon).getroot()  # noqa: S314 (our own file)
    assert tree.get("viewBox") == "0 0 128 128"
    assert not [part for part in tree.iter() if part.tag.rpartition("}")[2] in {"text", "image", "script"}]
    pytest.importorskip("PySide6.QtSvg", reason="PySide6 is not installed or cannot be loaded", exc_type=ImportError)
    from PySide6.QtGui import QImage

    render(icon, tmp_path / "small.png", 24)
    small = QImage(str(tmp_path / "small.png"))
    colours = {
        small.pixelColor(x, y).name() for x in range(24) for y in range(24) if small.pixelColor(x, y).alpha() > 200
    }
    assert len(colours) > 5, "nothing to be seen at 24 pixels"


def test_a_file_that_is_not_svg_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("PySide6.QtSvg", reason="PySide6 is not installed or cannot be loaded", exc_type=ImportError)
    broken = tmp_path / "broken.svg"
    broken.write_text("<svg", encoding="utf-8")
    with pytest.raises(ValueError, match=r"broken\.svg"):
        render(broken, tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()
