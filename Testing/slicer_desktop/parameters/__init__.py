"""``slicer.parameterNodeWrapper``: typed fields over a vtkMRMLScriptedModuleNode, bound to widgets.

Fields may be bool, int, float, str, paths, enums, nodes, packs, and list, tuple, dict, ``Optional`` and ``Union`` of
these, with ``Annotated`` defaults and validators. Names of classes and functions are Slicer's.
"""

from Testing.slicer_desktop.parameters.annotations import (
    Choice,
    Decimals,
    Default,
    Exclude,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    RangeBounds,
    SingleStep,
    Validator,
    WithinRange,
    findFirstAnnotation,
    splitAnnotations,
    unannotatedType,
)
from Testing.slicer_desktop.parameters.connectors import GuiConnector, createGuiConnector, parameterNodeGuiConnector
from Testing.slicer_desktop.parameters.packs import FloatRange, isParameterPack, parameterPack
from Testing.slicer_desktop.parameters.wrapper import isParameterNodeWrapper, parameterNodeWrapper

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "FloatRange",
    "GuiConnector",
    "IsInstance",
    "Maximum",
    "Minimum",
    "NotNone",
    "RangeBounds",
    "SingleStep",
    "Validator",
    "WithinRange",
    "createGuiConnector",
    "findFirstAnnotation",
    "isParameterNodeWrapper",
    "isParameterPack",
    "parameterNodeGuiConnector",
    "parameterNodeWrapper",
    "parameterPack",
    "splitAnnotations",
    "unannotatedType",
]
