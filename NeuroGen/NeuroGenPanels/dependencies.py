"""Python packages that NeuroGen needs in Slicer: found without importing them, installed only after asking."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NamedTuple

import slicer

from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.core.resources import resource

if TYPE_CHECKING:
    from packaging.requirements import Requirement

TORCH = "torch"
SLICERS_OWN = ("numpy", "SimpleITK", "pydicom")
"""Never touched: another version of these breaks Slicer."""


class Dependency(NamedTuple):
    """A package, as the panel lists it."""

    requirement: str
    """As pip takes it: ``scipy>=1.13``."""
    name: str
    installed: str
    """Its version here; empty where it is missing."""
    met: bool


class InstallationDeclined(NeuroGenError):
    """The person declined: nothing was installed."""


def dependencies() -> list[Dependency]:
    """Return every package of ``Resources/requirements.txt`` with what is installed of it."""
    from packaging.requirements import Requirement

    lines = (line.strip() for line in resource("requirements.txt").read_text(encoding="utf-8").splitlines())
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [Dependency(str(needed), needed.name, _installed(needed.name), _is_met(needed)) for needed in requirements]


def missing() -> list[Dependency]:
    """Return the packages that are missing or of an unsuitable version."""
    return [package for package in dependencies() if not package.met]


def ensure(requester: str) -> None:
    """Install what is missing, after asking.

    torch comes through the PyTorch extension where that is installed, since it finds the build for this GPU.

    Raises
    ------
    InstallationDeclined
        When the person declines.
    NeuroGenError
        When the installation failed.
    """
    packages = missing()
    if not packages:
        return
    names = ", ".join(package.name for package in packages)
    question = f"NeuroGen needs Python packages that are not installed: {names}. Install them now? They are downloaded."
    if not slicer.util.confirmOkCancelDisplay(question, f"{requester}: packages"):
        raise InstallationDeclined(
            f"NeuroGen cannot compute without {names}.",
            "Press the button again to install them when it suits you.",
            code="package-missing",
        )
    try:
        by_pip = [
            package.requirement
            for package in packages
            if not (package.name == TORCH and _torch_by_extension(package.requirement))
        ]
        if by_pip:
            _install(by_pip)
    except Exception as error:  # what pip and its wrappers raise differs between versions of Slicer
        raise NeuroGenError(
            f"Installing {names} failed: {str(error).rstrip('.')}.",
            "Check the network, and read pip's own message in Slicer's log.",
            code="package-missing",
        ) from error


def _install(requirements: list[str]) -> None:
    packaging = _slicers_packaging()
    if packaging is not None:
        packaging.pip_ensure(requirements, skip_packages=list(SLICERS_OWN), prompt_install=False, skip_in_testing=False)
        return
    # Slicer before 5.11: constraints keep pip from changing the packages that Slicer brings.
    kept = [f"{name}=={_installed(name)}" for name in SLICERS_OWN if _installed(name)]
    slicer.util.pip_install([*requirements, *kept])


def _slicers_packaging() -> Any:
    """Return Slicer's own installer; None in Slicer before 5.11."""
    try:
        from slicer import packaging
    except ImportError:
        return None
    return packaging


def _torch_by_extension(requirement: str) -> bool:
    """Install torch through the PyTorch extension; return False where that is not installed."""
    try:
        import PyTorchUtils
    except ImportError:
        return False
    versions = requirement.removeprefix(TORCH)
    logic = PyTorchUtils.PyTorchUtilsLogic()
    return logic.installTorch(askConfirmation=False, torchVersionRequirement=versions) is not None


def _is_met(requirement: Requirement) -> bool:
    packaging = _slicers_packaging()
    if packaging is not None:
        return bool(packaging.pip_check(requirement))
    installed = _installed(requirement.name)
    return bool(installed) and requirement.specifier.contains(installed, prereleases=True)


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
