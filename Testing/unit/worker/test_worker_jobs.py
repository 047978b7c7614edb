"""The contract of the worker's jobs, in a real child process: the same bits as the library's, refusals by name."""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from NeuroGenLib.core.errors import Cancelled, InputError
from NeuroGenLib.worker import Worker
from Testing.raising import raises
from Testing.worker_cases import JOBS, WorkerJob

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from NeuroGenLib.spatial.result import Result
    from NeuroGenLib.spatial.volume import Volume

SECONDS = 120

FACTOR = 12
"""How wrong an estimate may be on a busy machine."""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(environment={**os.environ, "OMP_NUM_THREADS": "1"}) as worker:
        yield worker


@pytest.fixture(scope="module", params=JOBS, ids=lambda job: job.name)
def job(request: pytest.FixtureRequest) -> WorkerJob:
    return request.param


@pytest.fixture(scope="module")
def model(job: WorkerJob, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model with random weights, in a folder with a name as people have them."""
    folder = tmp_path_factory.mktemp("models") / "größte (2)"
    job.write_model(folder)
    return str(folder)


@pytest.fixture(scope="module")
def inputs(job: WorkerJob) -> dict[str, Volume]:
    return job.inputs()


@pytest.fixture
def arguments(job: WorkerJob, model: str, inputs: dict[str, Volume]) -> dict[str, Any]:
    return job.arguments(model, inputs)


def by_name(came: Result | dict[str, Any]) -> dict[str, Any]:
    """Return the content of a job's result by name."""
    if isinstance(came, dict):
        return came
    tables = {f"{name}_rows": rows for name, rows in came.tables.items()}
    content = {**came.volumes, **came.labels, **came.maps, **came.facts, **tables}
    return {**content, "warnings": came.warnings, "provenance": came.record}


def ask(worker: Worker, name: str, arguments: Any) -> Any:
    return worker.wait(worker.submit(name, arguments), SECONDS)


@pytest.mark.slow
def test_a_result_is_the_librarys_for_volumes_and_for_paths(
    worker: Worker, job: WorkerJob, model: str, inputs: dict[str, Volume], tmp_path: Path
) -> None:
    folder = tmp_path / "Patient Ø"
    folder.mkdir()
    paths = {name: str(folder / f"{name}.nii.gz") for name in inputs}
    for name, volume in inputs.items():
        volume.save(paths[name])
    expected = job.expected(model, inputs)
    for sent in (inputs, paths):
        result = by_name(ask(worker, job.name, job.arguments(model, sent)))
        for name, volume in job.volumes(expected).items():
            assert result[name].array.dtype == volume.array.dtype
            np.testing.assert_array_equal(result[name].array, volume.array)
            np.testing.assert_array_equal(result[name].affine, volume.affine)
        assert result["quality"] == job.summary(expected)
        assert result["quality_rows"] == job.rows(expected)
        assert result["warnings"] == expected.warnings
        parameters = result["provenance"]["parameters"]
        assert parameters["settings"].items() >= job.settings.items()
        assert job.recorded(parameters) == (next(iter(paths.values())) if sent is paths else "sent")
        assert result["provenance"]["model"]["weights"]["model.safetensors"]["sha256"]


def test_bad_arguments_are_refused_by_name(worker: Worker, job: WorkerJob, arguments: dict[str, Any]) -> None:
    for bad, culprit in job.refused:
        with pytest.raises(InputError) as raised:
            ask(worker, job.name, {**arguments, **bad})
        assert culprit in raised.value.problem
        assert raised.value.remedy


def test_bad_questions_for_an_estimate_are_refused_by_name(worker: Worker, job: WorkerJob) -> None:
    questions = [({"arguments": {"model": "m", **bad}}, culprit) for bad, culprit in job.refused_estimates]
    for question, culprit in (*questions, ({"arguments": [3]}, "group"), ({"argument": {}}, "argument")):
        with pytest.raises(InputError) as raised:
            ask(worker, "estimate", {"job": job.name, **question})
        assert culprit in raised.value.problem
        assert raised.value.remedy


def test_the_model_of_an_atlas_is_refused(
    worker: Worker, job: WorkerJob, arguments: dict[str, Any], atlas_run: Path
) -> None:
    with raises("model-kind", "'atlas'"):
        ask(worker, job.name, {**arguments, "model": str(atlas_run / "model")})


@pytest.mark.slow
def test_time_is_estimated_from_what_ran(job: WorkerJob, model: str, arguments: dict[str, Any]) -> None:
    with Worker(environment={**os.environ, "OMP_NUM_THREADS": "1"}) as worker:

        def estimate(more: dict[str, Any]) -> dict[str, Any]:
            question = {"model": model, "device": "cpu", **more}
            answer: dict[str, Any] = ask(worker, "estimate", {"job": job.name, "arguments": question})
            return answer

        rising = [estimate(more) for more in job.longer]
        assert not any(answer["measured"] for answer in rising)
        seconds = [0.0, *(answer["seconds"] for answer in rising)]
        assert all(shorter < longer for shorter, longer in itertools.pairwise(seconds))
        ask(worker, job.name, arguments)
        started = time.monotonic()
        ask(worker, job.name, arguments)
        taken = time.monotonic() - started
        answer = estimate(job.estimated)
    assert answer["measured"]
    assert taken / FACTOR < answer["seconds"] < FACTOR * taken


@pytest.mark.slow
def test_a_cancelled_job_ends_within_seconds(worker: Worker, job: WorkerJob, arguments: dict[str, Any]) -> None:
    endless = worker.submit(job.name, {**arguments, "settings": job.endless})
    while endless.progress < 0.05:
        assert not endless.done, endless.error
        worker.poll(0.02)
    assert endless.progress < 1
    endless.cancel()
    with pytest.raises(Cancelled):
        worker.wait(endless, 3)
    assert ask(worker, "run", {"words": ["--version"]})["output"]
