"""Sequences of volumes and segmentations over ages, for Slicer's sequence browser.

A sequence contains a copy of a node for each index value; a browser shows the selected one in the proxy node, which is
always the same object. Browsers do not interpolate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.mrml.provenance import set_provenance
from NeuroGenLib.mrml.segmentations import add_segmentation, update_segmentation
from NeuroGenLib.mrml.volumes import GREY, add_volume, update_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from NeuroGenLib.mrml.core import Node, Scene
    from NeuroGenLib.spatial.labels import LabelTable
    from NeuroGenLib.spatial.volume import Volume


@dataclass(frozen=True)
class Index:
    """Index of a sequence: ``name`` with ``unit`` (``scan_age``, ``weeks``), and ascending ``values``.

    Raises
    ------
    InputError
        When there is no value, or they do not ascend.

    Examples
    --------
    >>> Index("scan_age", "weeks", (24.0, 30.0, 36.0)).unit
    'weeks'
    """

    name: str
    unit: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or not (np.isfinite(self.values).all() and (np.diff(self.values) > 0).all()):
            shown = ", ".join(f"{value:g}" for value in self.values[:8]) or "none"
            raise InputError(
                f"The values of {self.name} for a sequence do not ascend: {shown}.",
                "Give each once, the lowest first.",
                code="value-invalid",
            )


@dataclass(frozen=True)
class NodeSequence:
    """``vtkMRMLSequenceNode``, and the proxy node that shows its selected item."""

    sequence: Node
    proxy: Node


def add_volume_sequence(
    scene: Scene,
    volumes: Sequence[Volume],
    index: Index,
    name: str,
    *,
    window: tuple[float, float] | None = None,
    colours: str = GREY,
    record: Mapping[str, Any] | None = None,
) -> NodeSequence:
    """Add volumes, one for each index value.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    volumes:
        (i, j, k) each; their grids may differ.
    index:
        Index of the sequence.
    name:
        Name of the proxy; that of the sequence also names the index.
    window, colours:
        As for :func:`NeuroGenLib.mrml.volumes.add_volume`.
    record:
        Provenance of every item.

    Raises
    ------
    InputError
        When the numbers of volumes and values differ, or a volume has channels.
    """
    _require_one_each(volumes, index, name)
    proxy = add_volume(scene, volumes[0], name, window=window, colours=colours)
    return _recorded(scene, proxy, index, record, lambda item: update_volume(proxy, volumes[item]))


def add_segmentation_sequence(
    scene: Scene,
    maps: Sequence[Volume],
    table: LabelTable,
    index: Index,
    name: str,
    *,
    record: Mapping[str, Any] | None = None,
) -> NodeSequence:
    """Add label maps as segmentations, one for each index value; every item has a segment for every label.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    maps:
        (i, j, k) label maps.
    table:
        Names and colours of their values.
    index, name, record:
        As for :func:`add_volume_sequence`.

    Raises
    ------
    InputError
        When the numbers of maps and values differ, or a map has values that the table lacks.
    """
    _require_one_each(maps, index, name)
    proxy = add_segmentation(scene, maps[0], table, name)
    return _recorded(scene, proxy, index, record, lambda item: update_segmentation(proxy, maps[item], table))


def add_browser(scene: Scene, sequences: Sequence[NodeSequence], name: str) -> Node:
    """Add a ``vtkMRMLSequenceBrowserNode`` that plays sequences of one index together, from the first item.

    Raises
    ------
    InputError
        When there is no sequence, or their indices differ.
    """
    if len({(_axis(item.sequence), *_texts(item.sequence)) for item in sequences}) != 1:
        raise InputError(
            f"The sequences of '{name}' do not have the same index values.",
            "Play them separately.",
            code="value-conflict",
        )
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", name)
    # In one modification: else Slicer adds a second proxy for a sequence without one.
    unfinished = browser.StartModify()
    for position, item in enumerate(sequences):
        if position == 0:
            browser.SetAndObserveMasterSequenceNodeID(item.sequence.GetID())
        else:
            browser.AddSynchronizedSequenceNodeID(item.sequence.GetID())
        browser.AddProxyNode(item.proxy, item.sequence, False)
    browser.SetSelectedItemNumber(0)
    browser.EndModify(unfinished)
    return browser


def select(browser: Node, value: float) -> float:
    """Show the item whose index value is nearest to ``value`` (the lower of two), and return that index value."""
    values = [float(text) for text in _texts(browser.GetMasterSequenceNode())]
    item = int(np.argmin(np.abs(np.array(values) - value)))
    browser.SetSelectedItemNumber(item)
    return values[item]


def _recorded(
    scene: Scene, proxy: Node, index: Index, record: Mapping[str, Any] | None, show: Callable[[int], None]
) -> NodeSequence:
    """Make the sequence of the proxy's content after each ``show``."""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", f"{proxy.GetName()} by {index.name}")
    sequence.SetIndexName(index.name)
    sequence.SetIndexUnit(index.unit)
    sequence.SetIndexTypeFromString("numeric")
    if record is not None:
        # On the items too: the proxy takes the attributes of the item that it shows.
        set_provenance(sequence, record)
        set_provenance(proxy, record)
    for item, value in enumerate(index.values):
        show(item)
        sequence.SetDataNodeAtValue(proxy, f"{value:.9g}")
    return NodeSequence(sequence, proxy)


def _require_one_each(volumes: Sequence[Volume], index: Index, name: str) -> None:
    if len(volumes) != len(index.values):
        raise InputError(
            f"'{name}' has {len(volumes)} volume(s) for {len(index.values)} value(s) of {index.name}.",
            "Give one for each.",
            code="value-conflict",
        )


def _axis(sequence: Node) -> tuple[str, str]:
    return sequence.GetIndexName(), sequence.GetIndexUnit()


def _texts(sequence: Node) -> list[str]:
    return [sequence.GetNthIndexValue(item) for item in range(sequence.GetNumberOfDataNodes())]
