"""Python packages that NeuroGen needs in Slicer: found without importing them, installed only after asking."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import slicer

from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.core.resources import resource

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from packaging.requirements import Requirement

TORCH = "torch"
DRAWING = frozenset({TORCH, "safetensors", "scipy"})
"""All that the first brain of a bundled atlas needs; the rest is asked for when it is needed."""
SLICERS_OWN = ("numpy", "SimpleITK", "scipy", "pydicom")
"""Held where they are: another version of these may break Slicer."""

_installing: list[str] = []
"""Who is installing now: the buttons stay alive while pip works."""


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


def missing(needed: Collection[str] | None = None) -> list[Dependency]:
    """Return the packages that are missing or of an unsuitable version; of the ``needed`` names, or of all."""
    return [package for package in dependencies() if not package.met and (needed is None or package.name in needed)]


def ensure(requester: str, needed: Collection[str] | None = None) -> None:
    """Install what is missing, after asking.

    torch comes through the PyTorch extension alone, which finds the build for this computer.

    Parameters
    ----------
    requester:
        Name of the module, for the question.
    needed:
        Names of the packages, such as :data:`DRAWING`; all when not given.

    Raises
    ------
    InstallationDeclined
        When the person declines, or the PyTorch extension is missing.
    NeuroGenError
        When the installation failed, or one is under way.
    """
    packages = missing(needed)
    if not packages:
        return
    if _installing:
        raise NeuroGenError(
            f"{_installing[0]} is installing packages.",
            "Wait until it is done, then try again.",
            code="package-missing",
        )
    if any(package.name == TORCH for package in packages) and _pytorch_extension() is None:
        _offer_extension(requester)
    names = ", ".join(package.name for package in packages)
    question = f"NeuroGen needs Python packages that are not installed: {names}. Install them now? They are downloaded."
    if not slicer.util.confirmOkCancelDisplay(question, f"{requester}: packages"):
        raise InstallationDeclined(
            f"NeuroGen cannot compute without {names}.",
            "Press the button again to install them when it suits you.",
            code="package-missing",
        )
    _installing.append(requester)
    try:
        for package in packages:
            if package.name == TORCH:
                _install_torch(package.requirement)
        by_pip = [package.requirement for package in packages if package.name != TORCH]
        if by_pip:
            _install(by_pip, requester)
    except Exception as error:  # what pip and its wrappers raise differs between versions of Slicer
        raise NeuroGenError(
            f"Installing {names} failed: {str(error).rstrip('.')}.",
            "Check the network, and read pip's own message in Slicer's log.",
            code="package-missing",
        ) from error
    finally:
        _installing.clear()


def _install(requirements: list[str], requester: str) -> None:
    packaging = _slicers_packaging()
    with _constraints(requirements) as constraints:
        if packaging is not None:
            packaging.pip_ensure(requirements, constraints=constraints, prompt_install=False, requester=requester)
        else:  # Slicer before 5.11
            slicer.util.pip_install(["--constraint", str(constraints), *requirements])


@contextmanager
def _constraints(requirements: list[str]) -> Iterator[Path]:
    """File that holds pip to the versions of the packages that Slicer brings, but those that are to be replaced."""
    from packaging.requirements import Requirement

    replaced = {Requirement(line).name for line in requirements}
    held = {name: _installed(name) for name in SLICERS_OWN if name not in replaced}
    with tempfile.TemporaryDirectory(prefix="neurogen-pip-", dir=slicer.app.temporaryPath) as folder:
        path = Path(folder) / "constraints.txt"
        lines = [f"{name}=={installed}\n" for name, installed in held.items() if installed]
        path.write_text("".join(lines), encoding="utf-8")
        yield path


def _slicers_packaging() -> Any:
    """Return Slicer's own installer; None in Slicer before 5.11."""
    try:
        from slicer import packaging
    except ImportError:
        return None
    return packaging


def _pytorch_extension() -> Any:
    """Return the module of the PyTorch extension; None where it is not installed."""
    try:
        import PyTorchUtils
    except ImportError:
        return None
    return PyTorchUtils


def _offer_extension(requester: str) -> None:
    """Offer the Extensions Manager; pip alone may leave a torch that does not start.

    Raises
    ------
    InstallationDeclined
        Always: the person must install the extension and restart Slicer first.
    """
    question = (
        "NeuroGen computes with PyTorch, which Slicer's extension 'PyTorch' installs in the build for this computer."
        " That extension is not installed. Open the Extensions Manager now?"
    )
    if slicer.util.confirmOkCancelDisplay(question, f"{requester}: PyTorch"):
        slicer.app.openExtensionsManagerDialog()
    raise InstallationDeclined(
        "PyTorch is not installed.",
        "Install the extension 'PyTorch' in the Extensions Manager, restart Slicer, and press the button again.",
        code="package-missing",
    )


def _install_torch(requirement: str) -> None:
    logic = _pytorch_extension().PyTorchUtilsLogic()
    if logic.installTorch(askConfirmation=False, torchVersionRequirement=requirement.removeprefix(TORCH)) is None:
        raise RuntimeError("the PyTorch extension could not install torch")


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
