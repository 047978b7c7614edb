"""The super-resolution job of the worker, in a real child process: the same bits as the library's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from NeuroGenLib.models import open_model
from NeuroGenLib.superres.evaluation.quality_table import STAGES, quality_rows
from NeuroGenLib.superres.guide import guide_need
from NeuroGenLib.superres.run_config import SuperresConfig
from NeuroGenLib.superres.stacks.slice_geometry import slice_geometry
from NeuroGenLib.worker import Worker
from Testing.geometry import oblique, reoriented
from Testing.raising import raises
from Testing.superres_models import MM, THICKNESS, a_head, in_thick_slices, write_residual_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from NeuroGenLib.spatial.volume import Volume
    from NeuroGenLib.superres.infer import SuperResolution

SETTINGS = {"spacing": MM, "align": False}
SECONDS = 120

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(environment={**os.environ, "OMP_NUM_THREADS": "1"}) as worker:
        yield worker


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model with random weights, in a folder with a name as people have them."""
    return str(write_residual_model(tmp_path_factory.mktemp("models") / "größte (2)"))


@pytest.fixture(scope="module")
def scan() -> Volume:
    return oblique(reoriented(in_thick_slices(a_head()), "LAS"))


@pytest.fixture(scope="module")
def guide() -> Volume:
    return oblique(a_head(-0.4))


@pytest.fixture(scope="module")
def expected(model: str, scan: Volume, guide: Volume) -> SuperResolution:
    return open_model(model, device="cpu").super_resolve(scan, guide=guide, settings=SuperresConfig(**SETTINGS))


@pytest.fixture
def asked(model: str, scan: Volume) -> dict[str, Any]:
    return {"model": model, "device": "cpu", "settings": SETTINGS, "scans": [scan]}


def ask(worker: Worker, job: str, arguments: dict[str, Any]) -> Any:
    return worker.wait(worker.submit(job, arguments), SECONDS)


def test_several_scans_are_fused(worker: Worker, asked: dict[str, Any], scan: Volume) -> None:
    other = oblique(in_thick_slices(a_head(), "coronal"))
    came = ask(worker, "superres.run", {**asked, "scans": [scan, other]})
    assert [stack["direction"] for stack in came.facts["quality"]["stacks"]] == ["axial", "coronal"]
    assert "scan_2" in came.record["parameters"]["scans"]
    labels = {row["label"] for row in came.tables["quality"]}
    assert {"scan 1, axial", "scan 2, coronal", "all"} == labels


def test_an_isotropic_scan_is_nothing_to_do(worker: Worker, asked: dict[str, Any]) -> None:
    fine = {**asked, "settings": {}, "scans": [a_head()]}
    came = ask(worker, "superres.run", fine)
    assert not came.volumes
    assert "isotropic already" in came.facts["nothing_to_do"]


def test_opening_tells_what_a_panel_shows(worker: Worker, model: str, tmp_path: Path) -> None:
    facts = ask(worker, "model.open", {"model": model, "device": "cpu"})
    assert facts["kind"] == "superres"
    assert facts["superres"]["guide"] == "optional"
    needy = str(write_residual_model(tmp_path / "needy", guide="needed"))
    assert ask(worker, "model.open", {"model": needy, "device": "cpu"})["superres"]["guide"] == "needed"


# How a scan is understood without its voxels


@pytest.mark.parametrize("direction", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("codes", ["RAS", "LAS", "PIR"])
def test_slices_are_understood_from_the_grid_alone(direction: Any, codes: str) -> None:
    thick = oblique(reoriented(in_thick_slices(a_head(), direction), codes))
    found = slice_geometry(thick.shape, thick.affine, SuperresConfig())
    assert (found.direction, found.isotropic) == (direction, False)
    assert found.thickness_mm == pytest.approx(THICKNESS)
    assert found.gap_mm == pytest.approx(0, abs=1e-9)
    assert found.within_mm == pytest.approx((MM, MM))
    assert found.count == min(thick.shape)
    assert found.voxels_of_result(MM) == pytest.approx(thick.array.size * THICKNESS / MM, rel=0.1)


def test_what_is_given_goes_before_the_header() -> None:
    thick = in_thick_slices(a_head())
    found = slice_geometry(thick.shape, thick.affine, SuperresConfig(thickness=3.0, gap=1.0))
    assert (found.thickness_mm, found.gap_mm) == pytest.approx((3, 1))
    assert found.header_distance_mm == pytest.approx(THICKNESS)
    assert found.extent_mm[2] == pytest.approx(4 * thick.shape[2])
    other = slice_geometry(thick.shape, thick.affine, SuperresConfig(direction="sagittal"))
    assert (other.direction, other.thickness_mm) == ("sagittal", pytest.approx(MM))
    with raises("value-conflict", "3 mm", "3.5 mm"):
        slice_geometry(thick.shape, thick.affine, SuperresConfig(thickness=3.0, gap=-3.5))
    with raises("image-empty"):
        slice_geometry((0, 0, 0), thick.affine, SuperresConfig())


@pytest.mark.parametrize(
    ("network", "guide", "need"),
    [("residual", None, "optional"), ("residual", "none", "none"), ("residual", "needed", "needed"),
     ("published", "none", "needed")],
)  # fmt: skip
def test_need_of_a_guide_by_the_manifest(network: str, guide: str | None, need: str) -> None:
    preparation = {} if guide is None else {"guide": guide}
    assert guide_need({"network": {"kind": network}, "preparation": preparation}) == need


def test_rows_hold_the_numbers_of_the_quality(expected: SuperResolution) -> None:
    rows = {row["measure"]: row for row in quality_rows(expected.quality)}
    stack, bright = expected.quality.stacks[0], expected.quality.bright - expected.quality.dark
    row = rows["slices not reproduced"]
    assert float(row["result"]) == pytest.approx(100 * stack.rms / bright, rel=1e-3)
    assert float(row["interpolated"]) == pytest.approx(100 * stack.rms_interpolated / bright, rel=1e-3)
    assert rows["slice thickness"]["result"] == f"{THICKNESS:g}"
    assert all(row[stage] is None or float(row[stage]) >= 0 for row in rows.values() for stage in STAGES)
