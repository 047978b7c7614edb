"""A fit as a scene: everything lies on the scan, wherever and however that is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from NeuroGenLib.atlas.config import FitConfig
from NeuroGenLib.atlas.fit.output import fit_result
from NeuroGenLib.core import provenance
from NeuroGenLib.models import open_model
from Testing.atlas_fixtures import PEOPLE
from Testing.geometry import same_in_world
from Testing.mrml.places import WITHOUT_SLICER

pytest.importorskip("slicer", reason=WITHOUT_SLICER)

from NeuroGenLib.mrml.colours import DIVERGING
from NeuroGenLib.mrml.provenance import provenance_of
from NeuroGenLib.mrml.scene import HeadlessScene
from NeuroGenLib.mrml.segmentations import label_map_of
from NeuroGenLib.mrml.tables import rows_of
from NeuroGenLib.mrml.volumes import volume_of
from NeuroGenLib.scenes.atlas_fit import add_fit, write_fit_scene
from Testing.mrml.nodes import folder_of, load_scene, matrix_of

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.atlas.fit.fit import FittedBrain
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.mrml.core import Scene
    from NeuroGenLib.spatial.result import Result
    from NeuroGenLib.spatial.volume import Volume

LEFT_HANDED = PEOPLE[1]
RECORD = provenance.record("atlas fit", parameters={"seed": 0}, model={"name": "tiny"})


@pytest.fixture(scope="module")
def model(atlas_run: Path) -> AtlasModel:
    return open_model(str(atlas_run / "model"), device="cpu")


@pytest.fixture(scope="module")
def scan() -> dict[str, Volume]:
    """A turned, left-handed scan away from the origin."""
    return LEFT_HANDED.head()[0]


@pytest.fixture(scope="module")
def fitted(model: AtlasModel, scan: dict[str, Volume]) -> FittedBrain:
    from NeuroGenLib.atlas.fit.fit import fit_scan

    mask = LEFT_HANDED.head()[1]
    return fit_scan(model, scan, mask=mask, age=27.0, settings=FitConfig(steps=5, points=300))


@pytest.fixture(scope="module")
def result(model: AtlasModel, fitted: FittedBrain) -> Result:
    return fit_result(model, fitted, RECORD)


def assert_shows(find: Any, model: AtlasModel, fitted: FittedBrain, scan: dict[str, Volume]) -> None:
    """Whether the nodes, found by name, hold the fit."""
    for name, image in scan.items():
        assert same_in_world(image, volume_of(find(name)), 0)
        assert same_in_world(fitted.reconstruction[name], volume_of(find(f"{name} reconstruction")), 0)
        assert same_in_world(fitted.atlas[name], volume_of(find(f"{name} atlas")), 0)
        assert same_in_world(fitted.deviation[name], volume_of(find(f"{name} deviation")), 0)
    labels = label_map_of(find("labels"), model.labels, scan["T2w"])
    np.testing.assert_array_equal(labels.array, fitted.labels.array)
    np.testing.assert_allclose(matrix_of(find("scan to atlas"), maps="to_parent"), fitted.to_atlas, atol=1e-6)


def test_a_file_holds_the_fit(
    model: AtlasModel, fitted: FittedBrain, result: Result, scan: Any, tmp_path: Path
) -> None:
    write_fit_scene(result, model.labels, scan, tmp_path / "fit.mrb", model.subjects)
    with HeadlessScene() as opened:
        load_scene(opened.scene, tmp_path / "fit.mrb")
        find = opened.scene.GetFirstNodeByName
        assert_shows(find, model, fitted, scan)
        for name in ("T2w", "labels", "T1w deviation", "scan to atlas", "tissue volumes plot"):
            assert provenance_of(find(name)) == RECORD
            assert folder_of(opened.scene, find(name)).endswith("tiny fitted")


def test_the_scan_moves_onto_the_atlas(
    model: AtlasModel, fitted: FittedBrain, result: Result, scan: Any, scene: Scene
) -> None:
    """Put under the transform, the middle of the fitted brain lies where the atlas has the middle of its own."""
    nodes = add_fit(scene, result, model.labels, scan, model.subjects)
    nodes.images["T2w"].SetAndObserveTransformNodeID(nodes.to_atlas.GetID())
    placed = volume_of(nodes.images["T2w"])
    brain = fitted.labels.array > 0
    there = scan["T2w"].voxel_to_world(np.argwhere(brain)).mean(axis=0)
    voxel = scan["T2w"].world_to_voxel(there)
    voxel[2] = scan["T2w"].shape[2] - 1 - voxel[2]  # the node of a left-handed scan has its K reversed
    np.testing.assert_allclose(placed.voxel_to_world(voxel), fitted.to_atlas[:3] @ (*there, 1), atol=1e-6)
    assert np.linalg.norm(placed.voxel_to_world(voxel)) < 8 < np.linalg.norm(there)


def test_tissues_are_in_the_table_and_the_plot(
    model: AtlasModel, fitted: FittedBrain, result: Result, scan: Any, scene: Scene
) -> None:
    nodes = add_fit(scene, result, model.labels, scan, model.subjects)
    rows = {row["tissue"]: row for row in rows_of(nodes.tissues)}
    for tissue in fitted.tissues:
        row = rows[tissue.name]
        assert row["volume_ml"] == pytest.approx(tissue.volume_ml, abs=6e-4)
        assert row["training_subjects"] == tissue.n
        if tissue.z is not None:
            assert row["z"] == pytest.approx(tissue.z, abs=6e-4)
        else:
            assert np.isnan(row["z"])
    (subject,) = rows_of(nodes.growth.table)
    assert subject["scan_age"] == 27.0, "the age that was known"
    own = next(one for one in nodes.growth.series if one.GetName() == "cerebellum")
    assert own.GetMarkerStyle() == own.MarkerStyleDiamond
    assert nodes.deviation["T2w"].GetDisplayNode().GetColorNode().GetName() == DIVERGING
