"""Scenes outside the Slicer application, and saving of scenes."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.files import staged_outputs
from NeuroGenLib.mrml.core import Scene, slicer

if TYPE_CHECKING:
    import os
    from types import TracebackType

_LOGICS = {
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "SceneViews": "vtkSlicerSceneViewsModuleLogic",
}
"""Slicer module to the class of its logic. Node classes of a module are registered by its logic: these are the modules
of the nodes that scenes from Slicer usually contain."""

_SUFFIXES = (".mrb", ".mrml")
_BUNDLE_DATA = "Data"
_INNER_NAME = "scene"
"""Name inside a bundle, whatever the file is called: Slicer takes brackets for a pattern and loses the nodes."""


class HeadlessScene:
    """Scene with the logics of the Slicer application, for use outside Slicer.

    Use it in a ``with`` statement, or call :meth:`close`: scene and logics reference each other. Several may be open.

    Attributes
    ----------
    scene:
        The ``vtkMRMLScene``.
    application_logic:
        Its ``vtkSlicerApplicationLogic``.

    Examples
    --------
    >>> with HeadlessScene() as headless:
    ...     headless.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T2w").GetName()
    'T2w'
    """

    def __init__(self) -> None:
        # Slicer unpacks .mrb files into this folder.
        self._cache = tempfile.TemporaryDirectory(prefix="neurogen-scene-", ignore_cleanup_errors=True)
        self.scene: Scene = slicer.vtkMRMLScene()
        self.application_logic: Any = slicer.vtkSlicerApplicationLogic()
        self.application_logic.SetMRMLScene(self.scene)
        colours = self.application_logic.GetColorLogic()
        colours.SetMRMLScene(self.scene)
        colours.AddDefaultColorNodes()
        self._logics: dict[str, Any] = {}
        for module, name in _LOGICS.items():
            logic = getattr(slicer, name)()
            logic.SetMRMLApplicationLogic(self.application_logic)
            logic.SetMRMLScene(self.scene)
            self.application_logic.SetModuleLogic(module, logic)
            self._logics[module] = logic
        self._remote = slicer.vtkMRMLRemoteIOLogic()
        self._remote.GetCacheManager().SetRemoteCacheDirectory(self._cache.name)
        self._remote.SetMRMLScene(self.scene)
        self._remote.AddDataIOToScene()
        self._data = slicer.vtkDataIOManagerLogic()
        self._data.SetAndObserveDataIOManager(self._remote.GetDataIOManager())

    def logic(self, module: str) -> Any:
        """Return the logic of a Slicer module, such as ``"Segmentations"``."""
        return self._logics[module]

    def close(self) -> None:
        """Delete the scene, its nodes and logics."""
        if not self._logics:
            return
        self.scene.Clear(True)
        for module in self._logics:
            self.application_logic.SetModuleLogic(module, None)
        self._logics.clear()
        self._remote.RemoveDataIOFromScene()
        self._remote.SetMRMLScene(None)
        self._data.SetAndObserveDataIOManager(None)
        self.application_logic.GetColorLogic().SetMRMLScene(None)
        self.application_logic.SetMRMLScene(None)
        self.scene = self.application_logic = self._remote = self._data = None
        self._cache.cleanup()

    def __enter__(self) -> HeadlessScene:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def save_scene(scene: Scene, path: str | os.PathLike[str]) -> None:
    """Write a scene with all its data, whole or not at all.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``; its nodes are unchanged.
    path:
        ``NAME.mrb``, one file with everything; or ``NAME.mrml``, beside which the data go into a folder ``Data``.

    Raises
    ------
    InputError
        When the suffix is another, or a ``.mrml`` would mix its data with those of another scene.
    NeuroGenError
        When the scene cannot be written.
    """
    path = Path(path)
    suffix = _scene_suffix(path)
    if suffix == ".mrml" and not path.exists() and (path.parent / _BUNDLE_DATA).exists():
        raise InputError(
            f"{path.parent} already has a folder '{_BUNDLE_DATA}', into which the data of {path.name} would go.",
            "Choose a folder of its own for this scene, or save it as .mrb.",
            code="file-occupied",
        )
    messages = slicer.vtkMRMLMessageCollection()
    with staged_outputs(path.parent) as staging:
        if suffix == ".mrb":
            bundle = staging / f"{_INNER_NAME}.mrb"
            written = scene.WriteToMRB(str(bundle), None, messages)
            missing = _missing_from_bundle(bundle)
            if not missing:
                bundle.replace(staging / path.name)
        else:
            written = _write_unpacked(scene, staging, path.name, messages)
            missing = _missing_beside(staging / path.name)
        if missing or not written:
            reason = _first_error(messages) or f"{missing or 'a part'} was not written"
            raise NeuroGenError(
                f"Slicer could not write the scene {path.name}: {reason}.",
                "Free some space or choose another folder; existing files are unchanged.",
                code="file-unwritable",
            )


def _scene_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(f"{path} is not a scene file.", "Let it end in .mrb (one file) or .mrml.", code="file-type")
    return suffix


def _write_unpacked(scene: Scene, staging: Path, name: str, messages: Any) -> bool:
    """Write a .mrml and its data folder into ``staging``; Slicer names the file after the folder it is given."""
    folder = staging / _INNER_NAME
    folder.mkdir()
    written = bool(scene.SaveSceneToSlicerDataBundleDirectory(str(folder), None, messages))
    for item in list(folder.iterdir()):
        item.replace(staging / (name if item.suffix == ".mrml" else item.name))
    folder.rmdir()
    return written


def _missing_from_bundle(bundle: Path) -> str:
    """Return what a .mrb lacks: the scene, or a file that the scene names; empty when it is complete."""
    try:
        with zipfile.ZipFile(bundle) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            scene = f"{_INNER_NAME}/{_INNER_NAME}.mrml"
            if not sizes.get(scene):
                return "the list of its nodes"
            names = _named_files(archive.read(scene))
    except (OSError, zipfile.BadZipFile):
        return "the file"
    return next((name for name in names if not sizes.get(f"{_INNER_NAME}/{name}")), "")


def _missing_beside(path: Path) -> str:
    """Return what a .mrml lacks, as :func:`_missing_from_bundle`."""
    if not path.is_file():
        return "the list of its nodes"
    files = ((name, path.parent / name) for name in _named_files(path.read_bytes()))
    return next((name for name, file in files if not (file.is_file() and file.stat().st_size)), "")


def _named_files(scene: bytes) -> list[str]:
    """Return the files that the storage nodes of a scene name, relative to it."""
    nodes = ET.fromstring(scene)  # noqa: S314 (Slicer wrote it just now)
    return [unquote(node.attrib["fileName"]) for node in nodes.iter() if node.attrib.get("fileName")]


def _first_error(messages: Any) -> str:
    text = messages.GetAllMessagesAsString() or ""
    return " ".join(text.split()).removeprefix("- ").removeprefix("Error: ")[:300].rstrip(". ")
