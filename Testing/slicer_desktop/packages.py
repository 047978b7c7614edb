"""``slicer.packaging``: asks for packages as Slicer does, and installs none.

A test says which packages are missing by :attr:`Desktop.missing_packages`, and what the person answers by
:meth:`Desktop.answer`. What would have been installed is in :attr:`Desktop.installed_packages`.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import slicer.util
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

missing: set[str] = set()
"""Packages that count as missing although they are here; canonical names."""

installed: list[str] = []
"""Requirements that were asked for and would have been installed."""

constrained: list[str] = []
"""Lines of the constraints files that pip would have been given."""


def load_requirements(path: str | Path) -> list[Requirement]:
    """Read a requirements.txt; comments, empty lines and options of pip are skipped."""
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def pip_check(req: Any) -> bool:
    """Tell whether all requirements are met."""
    return not [requirement for requirement in _requirements(req) if not _is_met(requirement)]


def pip_ensure(
    requirements: Any,
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Ask for what is missing, and note it as installed.

    Slicer skips this in testing mode; here nothing can be harmed, so that the question is always asked.

    Raises
    ------
    RuntimeError
        When the person says no.
    """
    del prompt_restart, skip_in_testing, show_progress
    wanted = [requirement for requirement in _requirements(requirements) if not _is_met(requirement)]
    if not wanted:
        return None
    title = f"{requester} - Install Python Packages" if requester else "Install Python Packages"
    names = "\n".join(f"- {requirement}" for requirement in wanted)
    question = f"{len(wanted)} Python packages need to be installed. Continue?"
    if prompt_install and not slicer.util.confirmOkCancelDisplay(question, title, detailedText=names):
        raise RuntimeError("User declined package installation")
    return pip_install(
        [str(requirement) for requirement in wanted], constraints=constraints, skip_packages=skip_packages
    )


def pip_install(
    requirements: Any,
    *,
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    **_options: Any,
) -> list[str] | None:
    """Note the requirements as installed; returns those skipped, when some may be."""
    if constraints is not None:
        constrained.extend(Path(constraints).read_text(encoding="utf-8").splitlines())
    skipped = {canonicalize_name(name) for name in skip_packages or ()}
    left_out = []
    for requirement in _requirements(requirements):
        name = canonicalize_name(requirement.name)
        if name in skipped:
            left_out.append(str(requirement))
        else:
            missing.discard(name)
            installed.append(str(requirement))
    return left_out if skip_packages is not None else None


def isPipInstallInProgress() -> bool:
    """Return False: nothing runs in the background here."""
    return False


def _requirements(given: Any) -> list[Requirement]:
    if isinstance(given, str):
        given = [given] if ";" in given else given.split()
    elif isinstance(given, Requirement):
        given = [given]
    return [Requirement(entry) if isinstance(entry, str) else entry for entry in given]


def _is_met(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    name = canonicalize_name(requirement.name)
    if name in missing or any(Requirement(entry).name == requirement.name for entry in installed):
        return name not in missing
    try:
        return version(requirement.name) in requirement.specifier
    except PackageNotFoundError:
        return False
