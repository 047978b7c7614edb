"""The super-resolution job of the worker, in a real child process: the same bits as the library's."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from NeuroGenLib.core.errors import Cancelled, InputError
from NeuroGenLib.models import open_model
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.evaluation.quality_table import STAGES, quality_rows
from NeuroGenLib.superres.output import summary
from NeuroGenLib.superres.run_config import SuperresConfig
from NeuroGenLib.superres.stacks.overview import guide_need, slices_of
from NeuroGenLib.worker import Worker
from Testing.geometry import oblique, reoriented
from Testing.superres_models import MM, THICKNESS, a_head, in_thick_slices, write_residual_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from NeuroGenLib.superres.infer import SuperResolution

SETTINGS = {"spacing": MM, "align": False}
SECONDS = 120

pytestmark = pytest.mark.usefixtures("one_thread")


def as_in_a_file(volume: Volume) -> Volume:
    """A NIfTI file holds its affine in single precision."""
    return Volume(volume.array, volume.affine.astype(np.float32).astype(np.float64))


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
    return as_in_a_file(oblique(reoriented(in_thick_slices(a_head()), "LAS")))


@pytest.fixture(scope="module")
def guide() -> Volume:
    return as_in_a_file(oblique(a_head(-0.4)))


@pytest.fixture(scope="module")
def expected(model: str, scan: Volume, guide: Volume) -> SuperResolution:
    return open_model(model, device="cpu").super_resolve(scan, guide=guide, settings=SuperresConfig(**SETTINGS))


@pytest.fixture
def asked(model: str, scan: Volume) -> dict[str, Any]:
    return {"model": model, "device": "cpu", "settings": SETTINGS, "scans": [scan]}


def ask(worker: Worker, job: str, arguments: dict[str, Any]) -> Any:
    return worker.wait(worker.submit(job, arguments), SECONDS)


def assert_same(came: Volume, expected: Volume) -> None:
    assert came.array.dtype == expected.array.dtype
    np.testing.assert_array_equal(came.array, expected.array)
    np.testing.assert_array_equal(came.affine, expected.affine)


@pytest.mark.slow
def test_a_result_is_the_librarys_for_volumes_and_for_paths(
    worker: Worker, asked: dict[str, Any], scan: Volume, guide: Volume, expected: SuperResolution, tmp_path: Path
) -> None:
    folder = tmp_path / "Patient Ø"
    folder.mkdir()
    paths = [str(folder / "T2w.nii.gz"), str(folder / "T1w.nii.gz")]
    for volume, path in zip((scan, guide), paths, strict=True):
        volume.save(path)
    for sent in ([scan, guide], paths):
        came = ask(worker, "superres.run", {**asked, "scans": sent[:1], "guide": sent[1]})
        assert came["nothing_to_do"] is None
        assert_same(came["image"], expected.image)
        assert_same(came["interpolated"], expected.interpolated)
        assert_same(came["residual"], expected.residual)
        assert_same(came["head"], expected.head)
        assert (came["across"], came["bright"]) == ("axial", expected.quality.bright)
        assert came["quality"] == summary(expected)
        assert came["quality_rows"] == quality_rows(expected.quality)
        assert came["warnings"] == expected.warnings
        assert came["notice"] == "It is untrained."
        kept = came["provenance"]["parameters"]
        assert kept["settings"].items() >= SETTINGS.items()
        assert kept["scans"] == {"scan_1": paths[0] if sent is paths else "sent"}
        assert came["provenance"]["model"]["weights"]["model.safetensors"]["sha256"]


def test_several_scans_are_fused(worker: Worker, asked: dict[str, Any], scan: Volume) -> None:
    other = oblique(in_thick_slices(a_head(), "coronal"))
    came = ask(worker, "superres.run", {**asked, "scans": [scan, other]})
    assert [stack["direction"] for stack in came["quality"]["stacks"]] == ["axial", "coronal"]
    assert "scan_2" in came["provenance"]["parameters"]["scans"]
    labels = {row["label"] for row in came["quality_rows"]}
    assert {"scan 1, axial", "scan 2, coronal", "all"} == labels


def test_an_isotropic_scan_is_nothing_to_do(worker: Worker, asked: dict[str, Any]) -> None:
    fine = {**asked, "settings": {}, "scans": [a_head()]}
    came = ask(worker, "superres.run", fine)
    assert list(came) == ["nothing_to_do"]
    assert "isotropic already" in came["nothing_to_do"]


def test_opening_tells_what_a_panel_shows(worker: Worker, model: str, tmp_path: Path) -> None:
    facts = ask(worker, "model.open", {"model": model, "device": "cpu"})
    assert facts["kind"] == "superres"
    assert facts["superres"]["guide"] == "optional"
    needy = str(write_residual_model(tmp_path / "needy", guide="needed"))
    assert ask(worker, "model.open", {"model": needy, "device": "cpu"})["superres"]["guide"] == "needed"


def test_time_is_estimated_from_what_ran(model: str, asked: dict[str, Any]) -> None:
    question = {"model": model, "device": "cpu"}
    with Worker(environment={**os.environ, "OMP_NUM_THREADS": "1"}) as worker:

        def estimate(**more: int) -> dict[str, Any]:
            found: dict[str, Any] = ask(worker, "estimate", {"job": "superres.run", "arguments": {**question, **more}})
            return found

        first, guided, finer = estimate(voxels=10**6), estimate(voxels=10**6, placed=1), estimate(voxels=10**7)
        assert not first["measured"]
        assert 0 < first["seconds"] < guided["seconds"] < finer["seconds"]
        ask(worker, "superres.run", asked)
        started = time.monotonic()
        ask(worker, "superres.run", asked)
        seconds = time.monotonic() - started
        found = estimate(voxels=46 * 50 * 42)
    assert found["measured"]
    assert seconds / 12 < found["seconds"] < 12 * seconds


@pytest.mark.parametrize(
    ("job", "arguments", "said"),
    [
        ("superres.run", {"scans": []}, "needs a scan"),
        ("superres.run", {"scans": None}, "needs a scan"),
        ("superres.run", {"scans": [3]}, "'scan 1'"),
        ("superres.run", {"scans": ["nicht da.nii"]}, "nicht da.nii"),
        ("superres.run", {"guide": 3}, "'guide'"),
        ("superres.run", {"settings": {"thicknes": 3}}, "thicknes"),
        ("superres.run", {"settings": {"spacing": -1}}, "spacing"),
        ("superres.run", {"settings": {"reference": True}}, "number for number"),
        ("superres.run", {"scan": 3}, "scan"),
        ("superres.run", {"model": "nowhere/to/be/found"}, "nowhere"),
        ("superres.run", {"scans": [Volume(np.ones((8, 8, 3), np.float32), np.diag([5.0, 5, 20, 1]))]}, "same value"),
        ("estimate", {"job": "superres.run", "arguments": {"model": "m", "voxels": 0}}, "voxels"),
        ("estimate", {"job": "superres.run", "arguments": [3]}, "group"),
        ("estimate", {"job": "superres.run", "argument": {}}, "argument"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    job: str, arguments: dict[str, Any], said: str, worker: Worker, asked: dict[str, Any]
) -> None:
    given = arguments if job == "estimate" else {**asked, **arguments}
    with pytest.raises(InputError) as raised:
        ask(worker, job, given)
    assert said in raised.value.problem
    assert raised.value.remedy


def test_an_atlas_does_not_super_resolve(worker: Worker, asked: dict[str, Any], atlas_run: Path) -> None:
    with pytest.raises(InputError, match="no super-resolution"):
        ask(worker, "superres.run", {**asked, "model": str(atlas_run / "model")})


@pytest.mark.slow
def test_a_cancelled_job_ends_within_seconds(worker: Worker, asked: dict[str, Any]) -> None:
    job = worker.submit("superres.run", {**asked, "settings": {"spacing": 0.6}})
    end = time.monotonic() + SECONDS
    while job.progress < 0.05 and time.monotonic() < end:
        worker.poll(0.02)
    assert 0 < job.progress < 1
    job.cancel()
    with pytest.raises(Cancelled):
        worker.wait(job, 3)
    assert ask(worker, "run", {"words": ["--version"]})["output"]


# How a scan is understood without its voxels


@pytest.mark.parametrize("direction", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("codes", ["RAS", "LAS", "PIR"])
def test_slices_are_understood_from_the_grid_alone(direction: Any, codes: str) -> None:
    thick = oblique(reoriented(in_thick_slices(a_head(), direction), codes))
    found = slices_of(thick.shape, thick.affine, SuperresConfig())
    assert (found.direction, found.isotropic) == (direction, False)
    assert found.thickness_mm == pytest.approx(THICKNESS)
    assert found.gap_mm == pytest.approx(0, abs=1e-9)
    assert found.within_mm == pytest.approx((MM, MM))
    assert found.count == min(thick.shape)
    assert found.voxels_of_result(MM) == pytest.approx(thick.array.size * THICKNESS / MM, rel=0.1)


def test_what_is_given_goes_before_the_header() -> None:
    thick = in_thick_slices(a_head())
    found = slices_of(thick.shape, thick.affine, SuperresConfig(thickness=3.0, gap=1.0))
    assert (found.thickness_mm, found.gap_mm) == pytest.approx((3, 1))
    assert found.header_distance_mm == pytest.approx(THICKNESS)
    assert found.extent_mm[2] == pytest.approx(4 * thick.shape[2])
    other = slices_of(thick.shape, thick.affine, SuperresConfig(direction="sagittal"))
    assert (other.direction, other.thickness_mm) == ("sagittal", pytest.approx(MM))
    with pytest.raises(InputError, match="cannot overlap"):
        slices_of(thick.shape, thick.affine, SuperresConfig(thickness=3.0, gap=-3.5))
    with pytest.raises(InputError, match="no voxels"):
        slices_of((0, 0, 0), thick.affine, SuperresConfig())


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
    told = rows["slices not reproduced"]
    assert float(told["result"]) == pytest.approx(100 * stack.rms / bright, rel=1e-3)
    assert float(told["interpolated"]) == pytest.approx(100 * stack.rms_interpolated / bright, rel=1e-3)
    assert rows["slice thickness"]["result"] == f"{THICKNESS:g}"
    assert all(row[stage] is None or float(row[stage]) >= 0 for row in rows.values() for stage in STAGES)
