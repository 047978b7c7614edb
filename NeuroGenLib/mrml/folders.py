"""Folders of the subject hierarchy (Slicer's Data module)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from NeuroGenLib.mrml.core import Node, Scene, slicer

if TYPE_CHECKING:
    from collections.abc import Iterable


def add_folder(scene: Scene, name: str, parent: int | None = None) -> int:
    """Add a folder, at the top level or in another one, and return its item id."""
    hierarchy = _hierarchy(scene)
    return int(hierarchy.CreateFolderItem(hierarchy.GetSceneItemID() if parent is None else parent, name))


def folder_named(scene: Scene, name: str) -> int:
    """Return the top-level folder with this name, added when missing."""
    hierarchy = _hierarchy(scene)
    return int(hierarchy.GetItemChildWithName(hierarchy.GetSceneItemID(), name)) or add_folder(scene, name)


def put_into_folder(scene: Scene, folder: int, nodes: Iterable[Node]) -> None:
    """Move nodes into a folder."""
    hierarchy = _hierarchy(scene)
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node)
        # Inside Slicer a node has its item already.
        if item:
            hierarchy.SetItemParent(item, folder)
        else:
            hierarchy.CreateItem(folder, node)


def _hierarchy(scene: Scene) -> Any:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
