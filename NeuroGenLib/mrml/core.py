"""Slicer's libraries, imported once for all modules of this package.

``slicer`` and ``vtk`` are those of the Slicer application inside it, else those of the package ``slicer-core``.
Scenes and nodes have no Python types: :data:`Scene` is a ``vtkMRMLScene``, :data:`Node` a ``vtkMRMLNode`` of the class
that the docstring names.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from NeuroGenLib.mrml import SlicerMissing

__all__ = ["Node", "Scene", "slicer", "vtk"]

Scene: TypeAlias = Any
Node: TypeAlias = Any


def _libraries() -> tuple[Any, Any]:
    try:
        import slicer
        import vtk

        slicer.vtkMRMLScene  # noqa: B018 (an unrelated package has the same name)
    except (ImportError, AttributeError) as error:
        raise SlicerMissing(
            "A Slicer scene needs Slicer's libraries, which are not installed.",
            "Run this inside 3D Slicer, or install them with: pip install 'neurogen[slicer]'",
            code="package-missing",
        ) from error
    return slicer, vtk


slicer, vtk = _libraries()
