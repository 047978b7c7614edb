"""A result as files and as a message of the worker."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.spatial.files.reading import reading_session
from NeuroGenLib.spatial.result import Result, write_result
from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.worker.scratch import Scratch
from Testing.geometry import a_brain_phantom
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def a_result() -> Result:
    """One of each: an image, labels, a map with a field, a table, facts, a record."""
    phantom = a_brain_phantom((20, 24, 18), 4.0)
    shift = np.eye(4)
    shift[:3, 3] = (1, 2, 3)
    field = Volume(np.ones((3, 4, 5, 6), np.float32), np.diag([2.0, 2, 2, 1]))
    return Result(
        volumes={"image": phantom.image},
        labels={"labels": phantom.labels},
        maps={"forward": SpatialMap(np.eye(4), field, shift), "affine": SpatialMap(shift, None, np.eye(4))},
        tables={"quality": [{"measure": "Dice", "value": 0.5}]},
        facts={"quality": {"folds": 0}},
        warnings=["Look at it."],
        record={"job": "test"},
    )


def test_a_result_is_written_by_its_names(a_result: Result, tmp_path: Path) -> None:
    write_result(a_result, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["image.nii.gz", "labels.nii.gz", "provenance.json", "quality.json", "quality.tsv"]
    image = Volume.load(tmp_path / "image.nii.gz")
    np.testing.assert_array_equal(image.array, a_result.volumes["image"].array)
    np.testing.assert_allclose(image.affine, a_result.volumes["image"].affine, atol=1e-6)
    assert (tmp_path / "quality.tsv").read_text(encoding="utf-8") == "measure\tvalue\nDice\t0.5\n"
    assert json.loads((tmp_path / "quality.json").read_text(encoding="utf-8")) == {"folds": 0}


@pytest.mark.parametrize("role", ["volumes", "labels"])
def test_what_is_written_is_looked_at(a_result: Result, tmp_path: Path, role: str) -> None:
    empty = a_result.labels["labels"].with_array(np.zeros(a_result.labels["labels"].shape, np.float32))
    (tmp_path / "constant").mkdir()
    with reading_session() as session:
        write_result(replace(a_result, **{role: {"warped": empty}}), tmp_path / "constant")
    record = json.loads((tmp_path / "constant" / "provenance.json").read_text(encoding="utf-8"))
    assert record["warnings"] == session.warnings == ["The result warped has the same value everywhere (0)."]
    partly = empty.array.copy()
    partly[2, 3, 4] = np.inf
    write_result(replace(a_result, **{role: {"warped": empty.with_array(partly)}}), tmp_path / "constant")
    record = json.loads((tmp_path / "constant" / "provenance.json").read_text(encoding="utf-8"))
    assert record["warnings"] == ["The result warped has 1 voxel that is NaN or infinite."]
    with raises("image-not-finite", "warped", kind=NeuroGenError):
        write_result(replace(a_result, **{role: {"warped": empty.with_array(empty.array + np.nan)}}), tmp_path)
    assert not (tmp_path / "warped.nii.gz").exists()


def test_a_result_travels_through_the_scratch_folder(a_result: Result, tmp_path: Path) -> None:
    sent = Scratch(tmp_path).put(a_result)
    received = Scratch(tmp_path).take(json.loads(json.dumps(sent)))
    assert isinstance(received, Result)
    for name, volume in {**a_result.volumes, **a_result.labels}.items():
        other = {**received.volumes, **received.labels}[name]
        np.testing.assert_array_equal(other.array, volume.array)
        np.testing.assert_array_equal(other.affine, volume.affine)
    point = np.array([[1.0, 2.0, 3.0]])
    for name, spatial_map in a_result.maps.items():
        np.testing.assert_array_equal(received.maps[name].points(point), spatial_map.points(point))
    assert (received.tables, received.facts) == (a_result.tables, a_result.facts)
    assert (received.warnings, received.record) == (["Look at it."], {"job": "test"})
