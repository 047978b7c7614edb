"""``PyTorchUtils`` of Slicer's PyTorch extension: notes torch as installed, and installs nothing."""

from __future__ import annotations

from types import ModuleType

from Testing.slicer_desktop import packages


class PyTorchUtilsLogic:
    """The one method that panels call."""

    def installTorch(self, askConfirmation: bool = False, torchVersionRequirement: str | None = None) -> object:
        """Note torch as installed and return what stands for the imported module."""
        del askConfirmation
        packages.pip_install(f"torch{torchVersionRequirement or ''}")
        return ModuleType("torch")
