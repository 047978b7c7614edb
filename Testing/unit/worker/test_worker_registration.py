"""The registration job of the worker, in a real child process: the same bits as the library's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from NeuroGenLib.registration.config import RegisterConfig
from NeuroGenLib.worker import Worker
from Testing.raising import raises
from Testing.registration_pairs import Pair, a_bent_pair, a_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from NeuroGenLib.registration.infer import Registration, RegistrationModel
    from NeuroGenLib.spatial.volume import Volume

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


@pytest.mark.slow
def test_maps_are_the_librarys_in_both_directions(
    worker: Worker, asked: dict[str, Any], pair: Pair, expected: Registration
) -> None:
    came = ask(worker, "registration.run", {**asked, **labels_of(pair)})
    for name, one in (("forward", expected.forward), ("inverse", expected.inverse)):
        np.testing.assert_array_equal(came.maps[name].points(POINTS), one.points(POINTS))


def test_without_labels_there_are_none(worker: Worker, asked: dict[str, Any]) -> None:
    came = ask(worker, "registration.run", {**asked, "settings": {"start": "none", "refine": 0}})
    assert came.labels == {}
    assert "dice" not in came.facts["quality"]


def test_masks_reach_the_library(worker: Worker, asked: dict[str, Any], pair: Pair) -> None:
    nothing = pair.fixed.with_array(np.zeros(pair.fixed.shape, np.uint8))
    for role in ("fixed", "moving"):
        with raises("image-empty", f"{role} mask"):
            ask(worker, "registration.run", {**asked, f"{role}_mask": nothing})


def test_opening_tells_what_a_panel_shows(worker: Worker, model: RegistrationModel, tmp_path: Path) -> None:
    facts = ask(worker, "model.open", {"model": model.folder.reference, "device": "cpu"})
    assert (facts["kind"], facts["registration"]) == ("registration", {"channels": 1, "needs_masks": False})
    masked = a_tiny_model(tmp_path / "masked", preparation={"masked": True})
    facts = ask(worker, "model.open", {"model": masked.folder.reference, "device": "cpu"})
    assert facts["registration"]["needs_masks"]
