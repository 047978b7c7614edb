"""Brains over ages as sequences: what the browser shows at each age."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from NeuroGenLib.spatial.labels import LabelTable
from Testing.geometry import a_brain_phantom, same_in_world
from Testing.mrml.places import WITHOUT_SLICER, stored

pytest.importorskip("slicer", reason=WITHOUT_SLICER)

from NeuroGenLib.mrml.provenance import provenance_of
from NeuroGenLib.mrml.scene import save_scene
from NeuroGenLib.mrml.segmentations import label_map_of, update_segmentation
from NeuroGenLib.mrml.sequences import (
    Index,
    NodeSequence,
    add_browser,
    add_segmentation_sequence,
    add_volume_sequence,
    select,
)
from NeuroGenLib.mrml.volumes import update_volume, volume_of
from Testing.mrml.nodes import load_scene
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.mrml.core import Node, Scene
    from NeuroGenLib.spatial.volume import Volume

AGES = (24.0, 26.5, 30.0)
WEEKS = Index("scan_age", "weeks", AGES)
RECORD = {"action": "atlas generate", "seed": 3}


@pytest.fixture(scope="module")
def heads() -> list[tuple[Volume, Volume]]:
    """Image and labels at each age; every one stored in its own way, on its own grid."""
    made = []
    for how, size in (("RAS", 10), ("LAS turned", 12), ("PIR", 14)):
        head = a_brain_phantom((size, size + 2, size), 5.0)
        made.append((stored(head.image, how), stored(head.labels, how)))
    return made


@pytest.fixture(scope="module")
def table() -> LabelTable:
    return LabelTable.from_names(["background", *(f"part {value}" for value in range(1, 9))])


@pytest.fixture
def played(
    heads: list[tuple[Volume, Volume]], table: LabelTable, scene: Scene
) -> tuple[NodeSequence, NodeSequence, Node]:
    """Images and segmentations, and their browser."""
    images = add_volume_sequence(scene, [image for image, _ in heads], WEEKS, "T2w", window=(0, 900), record=RECORD)
    labels = add_segmentation_sequence(scene, [labels for _, labels in heads], table, WEEKS, "tissues", record=RECORD)
    return images, labels, add_browser(scene, [images, labels], "atlas")


def assert_shows(image: Node, tissues: Node, head: tuple[Volume, Volume], table: LabelTable) -> None:
    assert same_in_world(head[0], volume_of(image), 1e-4)
    np.testing.assert_array_equal(label_map_of(tissues, table, head[1]).array, head[1].array)


def test_the_browser_shows_each_age(played: tuple, heads: list, table: LabelTable, scene: Scene) -> None:
    images, labels, browser = played
    assert_shows(images.proxy, labels.proxy, heads[0], table)
    for position in (2, 0, 1):
        assert select(browser, AGES[position]) == AGES[position]
        assert browser.GetProxyNode(images.sequence) is images.proxy
        assert browser.GetProxyNode(labels.sequence) is labels.proxy
        assert_shows(images.proxy, labels.proxy, heads[position], table)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_sequences_say_what_they_run_over(played: tuple) -> None:
    images, labels, browser = played
    for sequence in (images.sequence, labels.sequence):
        assert (sequence.GetIndexName(), sequence.GetIndexUnit()) == ("scan_age", "weeks")
        assert sequence.GetIndexTypeAsString() == "numeric"
        assert [float(sequence.GetNthIndexValue(item)) for item in range(3)] == list(AGES)
    assert browser.GetMasterSequenceNode() is images.sequence
    assert browser.GetSelectedItemNumber() == 0


@pytest.mark.parametrize(("asked", "shown"), [(0, 24), (25.2, 24), (25.25, 24), (25.3, 26.5), (29, 30), (99, 30)])
def test_the_nearest_age_is_shown(asked: float, shown: float, played: tuple, heads: list, table: LabelTable) -> None:
    images, labels, browser = played
    assert select(browser, asked) == shown
    assert_shows(images.proxy, labels.proxy, heads[AGES.index(shown)], table)


def test_looks_and_record_stay_from_age_to_age(played: tuple) -> None:
    images, labels, browser = played
    images.proxy.GetDisplayNode().SetWindowLevelMinMax(10, 500)
    select(browser, 30)
    display = images.proxy.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (10, 500)
    for node in (images.proxy, labels.proxy, images.sequence, labels.sequence):
        assert provenance_of(node)["seed"] == 3


def test_what_is_put_into_a_proxy_does_not_reach_the_sequence(played: tuple, heads: list, table: LabelTable) -> None:
    """As a panel does between two ages."""
    images, labels, browser = played
    select(browser, 26.5)
    update_volume(images.proxy, heads[1][0].with_array(np.zeros(heads[1][0].shape, np.float32)))
    update_segmentation(labels.proxy, heads[1][1].with_array(np.ones(heads[1][1].shape, np.uint8)), table)
    assert not volume_of(images.proxy).array.any()
    select(browser, 30)
    select(browser, 26.5)
    assert_shows(images.proxy, labels.proxy, heads[1], table)


def test_a_file_keeps_every_age(played: tuple, heads: list, table: LabelTable, scene: Scene, tmp_path: Path) -> None:
    from NeuroGenLib.mrml.scene import HeadlessScene

    save_scene(scene, tmp_path / "atlas.mrb")
    with HeadlessScene() as other:
        load_scene(other.scene, tmp_path / "atlas.mrb")
        browser = other.scene.GetFirstNodeByName("atlas")
        image, tissues = other.scene.GetFirstNodeByName("T2w"), other.scene.GetFirstNodeByName("tissues")
        for age, head in zip(AGES, heads, strict=True):
            assert select(browser, age) == age
            assert_shows(image, tissues, head, table)
        assert browser.GetMasterSequenceNode().GetIndexUnit() == "weeks"
        assert provenance_of(browser.GetMasterSequenceNode())["action"] == "atlas generate"


@pytest.mark.parametrize(
    ("ages", "shown"), [((), "none"), ((24, 24), "24, 24"), ((30, 24), "30, 24"), ((24, np.nan), "24, nan")]
)
def test_ages_that_do_not_rise_are_refused(ages: tuple[float, ...], shown: str) -> None:
    with raises("value-invalid", "scan_age", shown):
        Index("scan_age", "weeks", ages)


def test_sequences_that_do_not_belong_together_are_refused(heads: list, table: LabelTable, scene: Scene) -> None:
    images = [image for image, _ in heads]
    with raises("value-conflict", "'T2w'", "2 volume(s)", "3 value(s) of scan_age"):
        add_volume_sequence(scene, images[:2], WEEKS, "T2w")
    with raises("value-conflict", "'tissues'", "1 volume(s)"):
        add_segmentation_sequence(scene, [heads[0][1]], table, WEEKS, "tissues")
    assert scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0
    weeks = add_volume_sequence(scene, images, WEEKS, "weeks")
    for other in (Index("scan_age", "years", AGES), Index("scan_age", "weeks", (24.0, 26.5, 31.0))):
        years = add_volume_sequence(scene, images, other, "others")
        with raises("value-conflict", "'both'"):
            add_browser(scene, [weeks, years], "both")
    with raises("value-conflict", "'none'"):
        add_browser(scene, [], "none")
    assert scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode") == 0
