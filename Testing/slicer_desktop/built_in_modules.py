"""``slicer.modules``: the built-in modules of which only the logic counts here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from NeuroGenLib.mrml.scene import HeadlessScene

MODULES = (
    "CropVolume",
    "Markups",
    "Models",
    "Plots",
    "Segmentations",
    "SubjectHierarchy",
    "Tables",
    "Texts",
    "Transforms",
    "Volumes",
    "Sequences",
)
"""Modules whose logic a panel, or ``slicer.util``, may ask for."""


class BuiltInModule(NamedTuple):
    """What ``slicer.modules.volumes`` and its like are asked for."""

    name: str
    module_logic: Any

    def logic(self) -> Any:
        """Return the module's logic."""
        return self.module_logic


def built_in_modules(scene: HeadlessScene) -> SimpleNamespace:
    """Return ``slicer.modules`` as it is before any module file was loaded."""
    modules = {name: scene.logic(name) for name in MODULES}
    modules["Colors"] = scene.application_logic.GetColorLogic()
    return SimpleNamespace(**{name.lower(): BuiltInModule(name, logic) for name, logic in modules.items()})
