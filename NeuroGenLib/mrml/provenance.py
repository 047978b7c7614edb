"""Provenance of a result as attributes of its node.

Each top-level key of :func:`NeuroGenLib.core.provenance.record` becomes an attribute ``NeuroGen.<key>`` with a JSON
value: Slicer's Data module shows it, and it is kept in ``.mrb`` files.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.provenance import RESEARCH_USE
from NeuroGenLib.mrml.arrays import node_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from NeuroGenLib.mrml.core import Node

PREFIX = "NeuroGen."


def set_provenance(node: Node, record: Mapping[str, Any]) -> None:
    """Write a record into a node's attributes, replacing an earlier one; the research-use notice is added.

    Parameters
    ----------
    node:
        ``vtkMRMLNode``.
    record:
        JSON values by name.
    """
    for name in _names(node):
        node.RemoveAttribute(name)
    for key, value in {"notice": RESEARCH_USE, **record}.items():
        # ASCII on one line: the scene file loses tabs.
        node.SetAttribute(PREFIX + key, json.dumps(value, allow_nan=False))


def provenance_of(node: Node) -> dict[str, Any]:
    """Return the record in a node's attributes; empty where there is none.

    Raises
    ------
    InputError
        When an attribute has been changed and is not JSON.
    """
    record = {}
    for name in _names(node):
        try:
            record[name.removeprefix(PREFIX)] = json.loads(node.GetAttribute(name))
        except ValueError as error:
            raise InputError(
                f"The attribute {name} of '{node_name(node)}' is not readable ({error}).",
                "Make the result again.",
                code="value-invalid",
            ) from error
    return record


def _names(node: Node) -> list[str]:
    return [name for name in node.GetAttributeNames() if name.startswith(PREFIX)]
