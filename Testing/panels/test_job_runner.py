"""Runners of jobs from Slicer's console: to the end, with an error, with packages that are missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from NeuroGenLib.core.errors import Cancelled, InputError, NeuroGenError
from Testing.raising import raises
from Testing.slicer_desktop import missing_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from Testing.slicer_desktop import Desktop

pytestmark = [pytest.mark.skipif(bool(missing_parts()), reason=missing_parts()), pytest.mark.usefixtures("parts")]


class ScriptedWorker:
    """Worker whose jobs end at the third poll, with the outcome that the test chose."""

    def __init__(self) -> None:
        self.outcome: Any = None
        self.polls = 0
        self.handles: list[SimpleNamespace] = []
        self.log: list[str] = []

    @property
    def busy(self) -> list[SimpleNamespace]:
        return [handle for handle in self.handles if not handle.done]

    def submit(self, job: str, arguments: dict[str, Any]) -> SimpleNamespace:
        self.handles.append(SimpleNamespace(job=job, arguments=arguments, done=False, result=None, error=None))
        return self.handles[-1]

    def poll(self, _seconds: float = 0.0) -> None:
        self.polls += 1
        if self.polls == 3:
            failed = isinstance(self.outcome, NeuroGenError)
            vars(self.handles[-1]).update({"error" if failed else "result": self.outcome, "done": True})

    def close(self) -> None:
        """End running jobs as cancelled, without a callback."""
        for handle in self.busy:
            handle.done, handle.error = True, Cancelled()


@pytest.fixture
def worker() -> ScriptedWorker:
    return ScriptedWorker()


@pytest.fixture
def service(parts: None, worker: ScriptedWorker) -> Iterator[Any]:
    from NeuroGenPanels.worker_service import WorkerService

    service = WorkerService("Console", lambda: worker)
    yield service
    service.retire()


@pytest.fixture
def runner(service: Any) -> Any:
    from NeuroGenPanels.job_runner import WaitingRunner

    return WaitingRunner(service)


def test_a_waiting_runner_returns_after_the_result(runner: Any, worker: ScriptedWorker) -> None:
    worker.outcome = {"age": 30.2}
    results: list[Any] = []
    assert runner.run("Fit", "atlas.fit", {"model": "m"}, results.append)
    assert results == [{"age": 30.2}]
    assert (worker.handles[0].job, worker.handles[0].arguments) == ("atlas.fit", {"model": "m"})


def test_slicers_window_stays_responsive_meanwhile(
    runner: Any, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    turns: list[int] = []
    monkeypatch.setattr(slicer.app, "processEvents", lambda: turns.append(worker.polls))
    runner.run("Fit", "atlas.fit", {}, lambda _result: None)
    assert turns == [0, 1, 2]


def test_the_error_of_a_job_is_raised_after_its_callback(runner: Any, worker: ScriptedWorker) -> None:
    worker.outcome = InputError("There is no file scan.nii.", code="file-missing")
    results: list[Any] = []
    errors: list[NeuroGenError] = []
    with raises("file-missing", "scan.nii"):
        runner.run("Fit", "atlas.fit", {}, results.append, errors.append)
    assert errors == [worker.outcome]
    assert results == []


def test_a_service_that_is_closed_meanwhile_cancels_the_job(
    runner: Any, service: Any, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    monkeypatch.setattr(slicer.app, "processEvents", service.close)
    with pytest.raises(Cancelled):
        runner.run("Fit", "atlas.fit", {}, lambda _result: None)


def test_missing_packages_are_asked_for_before_the_job(desktop: Desktop, runner: Any, worker: ScriptedWorker) -> None:
    desktop.missing_packages.add("scipy")
    desktop.answer(False)
    with raises("package-missing", "scipy", kind=NeuroGenError):
        runner.run("Fit", "atlas.fit", {}, lambda _result: None)
    assert "scipy" in desktop.messages[-1].text
    assert worker.handles == []
    desktop.answer(True)
    assert runner.run("Fit", "atlas.fit", {}, lambda _result: None)
    assert desktop.missing_packages == set()


@pytest.mark.slow
def test_a_job_runs_in_a_real_worker_without_a_panel(desktop: Desktop) -> None:
    from NeuroGenPanels.job_runner import WaitingRunner

    results: list[Any] = []
    assert WaitingRunner().run("Version", "run", {"words": ["--version"]}, results.append)
    assert results[0]["output"].startswith("neurogen ")
