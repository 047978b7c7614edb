"""The registration job of the worker, in a real child process: the same bits as the library's."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from NeuroGenLib.core.errors import Cancelled, InputError
from NeuroGenLib.models import open_model
from NeuroGenLib.registration.config import RegisterConfig
from NeuroGenLib.registration.output import quality_rows, summary
from NeuroGenLib.spatial.spatial_map import SpatialMap
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.worker import Worker
from Testing.raising import raises
from Testing.registration_pairs import Pair, a_bent_pair, a_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from NeuroGenLib.registration.infer import Registration, RegistrationModel

SETTINGS = {"start": "none", "refine": 3}
SECONDS = 60
POINTS = np.random.default_rng(4).uniform(-40, 40, (50, 3))

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(environment={**os.environ, "OMP_NUM_THREADS": "1"}) as worker:
        yield worker


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RegistrationModel:
    """A tiny model with random weights, in a folder with a name as people have them."""
    return a_tiny_model(tmp_path_factory.mktemp("models") / "größte (2)")


@pytest.fixture(scope="module")
def pair() -> Pair:
    return a_bent_pair(2.0)


@pytest.fixture(scope="module")
def expected(model: RegistrationModel, pair: Pair) -> Registration:
    return model.register(
        pair.fixed,
        pair.moving,
        settings=RegisterConfig(**SETTINGS),
        fixed_labels=pair.fixed_labels,
        moving_labels=pair.moving_labels,
    )


@pytest.fixture
def asked(model: RegistrationModel, pair: Pair) -> dict[str, Any]:
    """What a question about the pair holds, without labels."""
    images = {"fixed": pair.fixed, "moving": pair.moving}
    return {"model": model.folder.reference, "device": "cpu", "settings": SETTINGS, **images}


def ask(worker: Worker, job: str, arguments: dict[str, Any]) -> Any:
    return worker.wait(worker.submit(job, arguments), SECONDS)


def labels_of(pair: Pair) -> dict[str, Volume]:
    return {"fixed_labels": pair.fixed_labels, "moving_labels": pair.moving_labels}


def assert_same(came: Volume, expected: Volume) -> None:
    assert came.array.dtype == expected.array.dtype
    np.testing.assert_array_equal(came.array, expected.array)
    np.testing.assert_array_equal(came.affine, expected.affine)


@pytest.mark.slow
def test_a_registration_is_the_librarys_for_volumes_and_for_paths(
    worker: Worker, asked: dict[str, Any], pair: Pair, expected: Registration, tmp_path: Path
) -> None:
    folder = tmp_path / "Patient Ø"
    folder.mkdir()
    volumes = {"fixed": pair.fixed, "moving": pair.moving, **labels_of(pair)}
    for name, volume in volumes.items():
        volume.save(folder / f"{name}.nii.gz")
    paths = {name: str(folder / f"{name}.nii.gz") for name in volumes}
    for sent in (volumes, paths):
        came = ask(worker, "registration.run", {**asked, **sent})
        for name, one in (("forward", expected.forward), ("inverse", expected.inverse)):
            there = SpatialMap(np.array(came[name]["before"]), came[name]["field"], np.array(came[name]["after"]))
            np.testing.assert_array_equal(there.points(POINTS), one.points(POINTS))
        assert_same(came["warped"], expected.warped)
        assert_same(came["jacobian"], expected.jacobian)
        assert expected.warped_labels is not None
        assert_same(came["warped_labels"], expected.warped_labels)
        assert came["quality"] == summary(expected)
        assert came["quality_rows"] == quality_rows(expected.quality)
        assert came["warnings"] == expected.warnings
        kept = came["provenance"]["parameters"]
        assert kept["settings"] == SETTINGS
        assert kept["moving"] == (paths["moving"] if sent is paths else "sent")
        assert came["provenance"]["model"]["weights"]["model.safetensors"]["sha256"]


def test_without_labels_there_are_none(worker: Worker, asked: dict[str, Any]) -> None:
    came = ask(worker, "registration.run", {**asked, "settings": {"start": "none", "refine": 0}})
    assert came["warped_labels"] is None
    assert "dice" not in came["quality"]


def test_masks_reach_the_library(worker: Worker, asked: dict[str, Any], pair: Pair) -> None:
    nothing = pair.fixed.with_array(np.zeros(pair.fixed.shape, np.uint8))
    for role in ("fixed", "moving"):
        with pytest.raises(InputError, match=f"{role} mask|mask of the {role}"):
            ask(worker, "registration.run", {**asked, f"{role}_mask": nothing})


def test_opening_tells_what_a_panel_shows(worker: Worker, model: RegistrationModel, tmp_path: Path) -> None:
    facts = ask(worker, "model.open", {"model": model.folder.reference, "device": "cpu"})
    assert (facts["kind"], facts["registration"]) == ("registration", {"channels": 1, "needs_masks": False})
    masked = a_tiny_model(tmp_path / "masked", preparation={"masked": True})
    facts = ask(worker, "model.open", {"model": masked.folder.reference, "device": "cpu"})
    assert facts["registration"]["needs_masks"]


def test_time_is_estimated_from_what_ran(model: RegistrationModel, asked: dict[str, Any], pair: Pair) -> None:
    question = {name: asked[name] for name in ("model", "device")}
    voxels = pair.fixed.array.size
    with Worker(environment={**os.environ, "OMP_NUM_THREADS": "1"}) as worker:
        first, longer = (
            ask(
                worker,
                "estimate",
                {"job": "registration.run", "arguments": {**question, "settings": {"refine": steps}}},
            )
            for steps in (0, 200)
        )
        assert not first["measured"]
        assert 0 < first["seconds"] < longer["seconds"]
        ask(worker, "registration.run", asked)
        started = time.monotonic()
        ask(worker, "registration.run", asked)
        seconds = time.monotonic() - started
        estimate = {"job": "registration.run", "arguments": {**question, "settings": SETTINGS, "voxels": voxels}}
        found = ask(worker, "estimate", estimate)
    assert found["measured"]
    assert seconds / 8 < found["seconds"] < 8 * seconds


@pytest.mark.parametrize(
    ("job", "arguments", "said"),
    [
        ("registration.run", {"moving": None}, "moving image"),
        ("registration.run", {"fixed": None}, "fixed image"),
        ("registration.run", {"fixed": 3}, "'fixed'"),
        ("registration.run", {"moving": "nicht da.nii"}, "nicht da.nii"),
        ("registration.run", {"settings": {"refine": -1}}, "refine"),
        ("registration.run", {"settings": {"steps": 3}}, "steps"),
        ("registration.run", {"settings": {"start": "afine"}}, "start"),
        ("registration.run", {"movin": 3}, "movin"),
        ("registration.run", {"model": "nowhere/to/be/found"}, "nowhere"),
        ("registration.run", {"moving": Volume(np.ones((8, 8, 8), np.float32), np.eye(4))}, "moving"),
        ("registration.run", {"moving_labels": Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4))}, "moving label map"),
        ("estimate", {"job": "registration.run", "arguments": {"model": "m", "refine": 3}}, "refine"),
        ("estimate", {"job": "registration.run", "arguments": {"model": "m", "voxels": 0}}, "voxels"),
        ("estimate", {"job": "registration.run", "arguments": [3]}, "group"),
        ("estimate", {"job": "registration.run", "argument": {}}, "argument"),
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


def test_an_atlas_does_not_register(worker: Worker, asked: dict[str, Any], atlas_run: Path) -> None:
    folder = str(atlas_run / "model")
    with raises("model-kind", "registration network"):
        ask(worker, "registration.run", {**asked, "model": folder})
    assert open_model(folder, device="cpu").folder.kind == "atlas"


def test_a_cancelled_registration_ends_within_a_second(worker: Worker, asked: dict[str, Any]) -> None:
    job = worker.submit("registration.run", {**asked, "settings": {"refine": 10_000}})
    end = time.monotonic() + SECONDS
    while job.progress < 0.25 and time.monotonic() < end:
        worker.poll(0.02)
    assert 0 < job.progress < 1
    job.cancel()
    with pytest.raises(Cancelled):
        worker.wait(job, 1.5)
    assert ask(worker, "run", {"words": ["--version"]})["output"]
