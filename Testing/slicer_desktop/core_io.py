"""``slicer.app.coreIOManager()``: what ``slicer.util.loadVolume``, ``saveNode``, ``saveScene`` ... go through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FILE_TYPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "SegmentationFile": ("vtkMRMLSegmentationNode", (".seg.nrrd", ".seg.nhdr")),
    "SequenceFile": ("vtkMRMLSequenceNode", (".seq.nrrd", ".seq.nhdr")),
    "TransformFile": ("vtkMRMLTransformNode", (".tfm", ".h5", ".mat", ".txt")),
    "TableFile": ("vtkMRMLTableNode", (".tsv", ".csv")),
    "ColorTableFile": ("vtkMRMLColorTableNode", (".ctbl",)),
    "ModelFile": ("vtkMRMLModelNode", (".vtk", ".vtp", ".stl", ".obj", ".ply")),
    "VolumeFile": ("vtkMRMLVolumeNode", (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")),
    "SceneFile": ("", (".mrb", ".mrml")),
}
"""Slicer's name of a file type -> node class, and the endings that choose it (the first match counts)."""


class CoreIOManager:
    """Loads and saves nodes by MRML's own storage nodes, and scenes by the scene."""

    def fileType(self, path: Any) -> str:
        """Return the file type for a file's ending; ``NoFile`` when none fits."""
        name = Path(path).name.lower()
        return next((kind for kind, (_, endings) in FILE_TYPES.items() if name.endswith(endings)), "NoFile")

    def fileWriterFileType(self, node: Any) -> str:
        """Return the file type that a node is saved as."""
        return next((kind for kind, (name, _) in FILE_TYPES.items() if name and node.IsA(name)), "NoFile")

    def fileWriterExtensions(self, node: Any) -> tuple[str, ...]:
        """Return the formats that a node can be written in, as ``Name (.ending)``."""
        endings = FILE_TYPES.get(self.fileWriterFileType(node), ("", ()))[1]
        return tuple(f"{node.GetNodeTagName()} ({ending})" for ending in endings)

    def extractKnownExtension(self, path: str, node: Any) -> str:
        """Return the ending of ``path`` that a node's formats know; empty when there is none."""
        endings = FILE_TYPES.get(self.fileWriterFileType(node), ("", ()))[1]
        return next((ending for ending in endings if str(path).lower().endswith(ending)), "")

    def loadNodes(self, kind: str, properties: dict[str, Any], loaded: Any, messages: Any = None) -> bool:
        """Load a file into the scene; the nodes are added to ``loaded``."""
        import slicer

        path = str(properties["fileName"])
        if not Path(path).is_file() or kind not in FILE_TYPES:
            _say(messages, f"{path} is not a file that can be loaded.")
            return False
        if kind == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", True)))
        name = str(properties.get("name") or Path(path).name.partition(".")[0])
        if kind == "VolumeFile":
            options = 1 if properties.get("labelmap") else 0
            node = slicer.modules.volumes.logic().AddArchetypeVolume(path, name, options)
        else:
            node = self._read(path, name, FILE_TYPES[kind][0])
        if node is None:
            _say(messages, f"{path} cannot be read.")
            return False
        loaded.AddItem(node)
        return True

    def saveNodes(self, kind: str, properties: dict[str, Any], messages: Any = None) -> bool:
        """Save the scene, or the node with ``nodeID``, to ``fileName``."""
        import slicer

        path = str(properties["fileName"])
        if kind == "SceneFile":
            return self._save_scene(path)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        written = bool(storage.WriteData(node))
        if not written:
            _say(messages, f"{path} cannot be written.")
        return written

    def exportNodes(
        self, node_ids: list[str], paths: list[str], _properties: dict[str, Any], _harden: bool, messages: Any = None
    ) -> bool:
        """Write nodes to files; their own storage nodes stay as they are."""
        import slicer

        written = True
        for node_id, path in zip(node_ids, paths, strict=True):
            node = slicer.mrmlScene.GetNodeByID(node_id)
            storage = node.CreateDefaultStorageNode()
            storage.UnRegister(None)  # owned by the Python variable now
            storage.SetFileName(str(path))
            if not storage.WriteData(node):
                written = False
                _say(messages, f"{path} cannot be written.")
        return written

    def _read(self, path: str, name: str, node_class: str) -> Any:
        import slicer

        if node_class == "vtkMRMLTransformNode":
            return slicer.modules.transforms.logic().AddTransform(path, slicer.mrmlScene)
        node = slicer.mrmlScene.AddNewNodeByClass(node_class, name)
        node.AddDefaultStorageNode(path)
        if node.GetStorageNode().ReadData(node):
            return node
        slicer.mrmlScene.RemoveNode(node)
        return None

    def _load_scene(self, path: str, clear: bool) -> bool:
        import slicer

        scene = slicer.mrmlScene
        if path.lower().endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import())

    def _save_scene(self, path: str) -> bool:
        import slicer

        scene = slicer.mrmlScene
        if path.lower().endswith(".mrb"):
            return bool(scene.WriteToMRB(path))
        scene.SetURL(path)
        scene.SetRootDirectory(str(Path(path).parent))
        return bool(scene.Commit(path))


def _say(messages: Any, text: str) -> None:
    import vtk

    if messages is not None:
        messages.AddMessage(vtk.vtkCommand.ErrorEvent, text)
