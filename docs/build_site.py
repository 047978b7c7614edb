"""Hooks of MkDocs: pages of the API, pages from outside docs/, links to other files.

``make docs`` builds the site. An API page is generated for each public class and function of every ``infer.py`` and for
the objects in :data:`SHARED`; its text is the docstring.
"""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import griffe
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "NeuroGenLib"

SHARED = {
    "Models": [
        "models.opening.open_model",
        "models.opening.resolve",
        "models.opening.bundled_models",
        "models.model.Model",
        "models.folder.ModelFolder",
    ],
    "Space": [
        "spatial.volume.Volume",
        "spatial.labels.LabelTable",
        "spatial.labels.Label",
        "spatial.transforms.affine.Affine",
        "spatial.transforms.displacement.Displacement",
        "spatial.transforms.spatial_map.SpatialMap",
        "spatial.files.spatial_maps.read_transform",
        "spatial.files.spatial_maps.write_transform",
        "spatial.files.spatial_maps.FileTransform",
        "spatial.files.landmarks.PointFile",
        "spatial.files.landmarks.read_point_file",
        "spatial.metrics.dice_by_label",
        "spatial.metrics.psnr",
        "spatial.metrics.ssim",
        "spatial.metrics.nrmse",
    ],
    "Parameters and results": [
        "core.config.Config",
        "core.config_command_line.load_config",
        "atlas.config.FitConfig",
        "registration.config.RegisterConfig",
        "superres.run_config.SuperresConfig",
        "mask.run_config.MaskConfig",
        "spatial.result.Result",
        "spatial.result.write_result",
    ],
    "Simulation": [
        "simulate.thick_slices.thick_slices",
        "simulate.thick_slices.SliceProfile",
        "simulate.contrast.ContrastConfig",
        "simulate.contrast.random_image",
        "simulate.pair.simulate_pair",
    ],
    "Cohorts and samples": [
        "cohort.subjects.Cohort",
        "cohort.subjects.Subject",
        "samples.registry.list_samples",
        "samples.fetch.fetch_sample",
    ],
    "Background jobs": [
        "worker.client.Worker",
        "worker.client.JobHandle",
        "worker.protocol.JobFailed",
    ],
    "Errors and progress": [
        "core.errors.NeuroGenError",
        "core.errors.InputError",
        "core.errors.Cancelled",
        "core.progress.Progress",
        "core.progress.TerminalProgress",
    ],
}
"""Objects below NeuroGenLib that have a page beside those of each ``infer.py``, by the heading of the menu."""

MOVED = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages from the repository's root, with their place on the site."""

_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`(?P<short>~?)(?P<name>[^`]+)`")


def public_names(path: Path) -> list[str]:
    """Return the public classes and functions of a module, in the order of the file."""
    kinds = ast.ClassDef, ast.FunctionDef
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return [node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def api() -> dict[str, list[str]]:
    """Return the full names of the objects that have a page, by the heading of the menu."""
    groups = {heading: [f"NeuroGenLib.{name}" for name in names] for heading, names in SHARED.items()}
    for path in sorted(LIBRARY.glob("*/infer.py")):
        module = f"NeuroGenLib.{path.parent.name}.infer"
        groups[f"NeuroGenLib.{path.parent.name}"] = [f"{module}.{name}" for name in public_names(path)]
    return groups


def page_of(name: str) -> str:
    """Return the path of an object's page."""
    return f"api/{name.removeprefix('NeuroGenLib.')}.md"


def repository() -> str:
    """Return the address of the repository's files, as the entry of the ExtensionsIndex has it."""
    entry = json.loads((ROOT / "NeuroGen.json").read_text(encoding="utf-8"))
    return f"{entry['scm_url'].removesuffix('.git')}/blob/{entry['scm_revision']}"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the API into the menu."""
    menu = [{heading: [{name.rpartition(".")[2]: page_of(name)} for name in names]} for heading, names in api().items()]
    config.nav.append({"Python": menu})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the API and those of the repository's root."""
    for names in api().values():
        for name in names:
            content = f"# {name.rpartition('.')[2]}\n\n::: {name}\n"
            files.append(File.generated(config, page_of(name), content=content))
    for source, target in MOVED.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 (MkDocs' names)
    """Point the links of a page to where their targets are on the site, or in the repository."""
    place = page.file.src_uri
    origin = {target: source for source, target in MOVED.items()}.get(place, f"docs/{place}")

    def moved(link: re.Match[str]) -> str:
        return f"]({_target(link['target'], origin, place)})"

    return _LINK.sub(moved, markdown)


def _target(target: str, origin: str, place: str) -> str:
    """Return a link of the file ``origin`` of the repository as the page ``place`` of the site has it."""
    parts = urlsplit(target)
    if parts.scheme or not parts.path:
        return target
    path = os.path.normpath(PurePosixPath(origin).parent / parts.path).replace(os.sep, "/")
    if path in MOVED or path.startswith("docs/"):
        page = MOVED.get(path, path.removeprefix("docs/"))
        found = os.path.relpath(page, PurePosixPath(place).parent).replace(os.sep, "/")
    elif (ROOT / path).exists():
        found = f"{repository()}/{path}"
    else:
        return target  # which MkDocs reports
    return f"{found}#{parts.fragment}" if parts.fragment else found


class SphinxRoles(griffe.Extension):
    """Turns the cross-references of docstrings (``:func:`name```) into code."""

    def on_object(self, *, obj: griffe.Object, **_others: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(
                lambda role: f"`{role['name'].rpartition('.')[2] if role['short'] else role['name']}`",
                obj.docstring.value,
            )
