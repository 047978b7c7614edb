"""The warm worker with real child processes: jobs, newest wins, cancel, death, and what is left behind."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from NeuroGenLib.core.errors import Cancelled, NeuroGenError
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.worker import JobFailed, Worker
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from NeuroGenLib.worker import JobHandle

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
JOBS = "worker_test_jobs:TABLE"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
AFFINE = np.array([[0.0, -1.25, 0, 7], [0.1, 0, 2, -3.5], [-0.8, 0, 0, 1e-3], [0, 0, 0, 1]])
SECONDS = 30
"""Far more than anything here takes."""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, with a name as people have them."""
    folder = tmp_path / "Müller, Łucja – tmp"  # noqa: RUF001
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def worker(temporary: Path) -> Iterator[Worker]:
    with Worker(jobs=JOBS, environment=ENVIRONMENT) as worker:
        yield worker


@pytest.fixture
def heart(tmp_path: Path) -> Path:
    """The file that grows as long as the process that a stuck job started is alive."""
    return tmp_path / "it's beating"


def until(condition: Callable[[], object], worker: Worker | None = None, seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        if worker is None:
            time.sleep(0.02)
        else:
            worker.poll(0.02)


def running(worker: Worker, job: str, **arguments: Any) -> JobHandle:
    """Return a job that has started and said something."""
    handle = worker.submit(job, arguments)
    until(lambda: handle.message, worker)
    return handle


def beats(heart: Path) -> bool:
    size = heart.stat().st_size
    time.sleep(0.5)
    return heart.stat().st_size > size


def pid(worker: Worker) -> int:
    assert worker.hello
    return int(worker.hello["pid"])


def arrays(temporary: Path) -> list[Path]:
    return list(temporary.rglob("*.npy"))


def test_what_is_sent_comes_back(worker: Worker) -> None:
    volume = Volume(np.random.default_rng(0).normal(size=(9, 8, 7)).astype(np.float32), AFFINE)
    sent = {"ünï": ["código 头", None, True, 0.1, 2**60], "v": volume, "a": np.arange(3)[::-1], "p": Path("a b")}
    came = worker.wait(worker.submit("echo", sent), SECONDS)
    assert came["ünï"] == sent["ünï"]
    assert came["p"] == "a b"
    np.testing.assert_array_equal(came["a"], [2, 1, 0])
    np.testing.assert_array_equal(came["v"].array, volume.array)
    np.testing.assert_array_equal(came["v"].affine, AFFINE)
    assert came["v"].array.dtype == np.float32


def test_warnings_about_files_are_in_the_record_of_the_job(worker: Worker, tmp_path: Path) -> None:
    header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 3 4\nencoding: raw\n\n"
    (tmp_path / "scan.nrrd").write_bytes(header.encode() + bytes(24))
    warnings = worker.wait(worker.submit("recorded", {"path": tmp_path / "scan.nrrd"}), SECONDS)
    assert len(warnings) == 1
    assert "scan.nrrd" in warnings[0]


def test_nothing_that_prints_disturbs(worker: Worker) -> None:
    assert worker.wait(worker.submit("noisy"), SECONDS) == ""
    until(lambda: "by a process" in worker.log, worker)
    assert "by the file descriptor" in worker.log
    assert worker.wait(worker.submit("echo", {"still": "here"}), SECONDS) == {"still": "here"}


def test_callbacks_come_from_poll_in_order_on_this_thread(worker: Worker) -> None:
    said: list[tuple[str, Any]] = []

    def note(what: str) -> Callable[..., None]:
        return lambda *values: said.append((what, (threading.get_ident(), *values)))

    first = worker.submit("count", {"steps": 30}, on_progress=note("progress"), on_result=note("result"))
    worker.submit("echo", {"x": 1}, on_result=note("second"))
    time.sleep(1.5)
    assert said == []
    until(lambda: not worker.busy, worker)
    assert {values[0] for _, values in said} == {threading.get_ident()}
    assert [what for what, _ in said if what != "progress"] == ["result", "second"]
    fractions = [values[1] for what, values in said if what == "progress"]
    assert len(fractions) >= 3
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == first.progress == 1
    assert first.result == 30


def test_what_a_callback_raises_is_raised_by_poll_and_nothing_is_lost(worker: Worker) -> None:
    def bad(result: object) -> None:
        raise ZeroDivisionError(str(result))

    worker.submit("echo", {"n": 1}, on_result=bad)
    second = worker.submit("echo", {"n": 2})
    with pytest.raises(ZeroDivisionError, match="1"):
        until(lambda: False, worker)
    assert worker.wait(second, SECONDS) == {"n": 2}
    assert worker.busy == []


def test_of_twenty_quick_requests_of_a_slot_the_last_is_answered(worker: Worker) -> None:
    answered: list[int] = []
    overtaken: list[NeuroGenError] = []
    first = running(worker, "count", steps=100)
    aside = worker.submit("echo", {"n": 100}, slot="aside", on_result=lambda _: answered.append(100))
    for number in range(20):
        worker.submit(
            "echo", {"n": number}, slot="slider", on_result=lambda r: answered.append(r["n"]), on_error=overtaken.append
        )
        worker.poll()
    assert not first.done
    until(lambda: not worker.busy, worker)
    assert answered == [100, 19]
    assert len(overtaken) == 19
    assert all(isinstance(error, Cancelled) for error in overtaken)
    assert aside.error is None


def test_a_request_that_replaces_stops_the_running_one_of_its_slot_alone(worker: Worker) -> None:
    old = worker.submit("count", {"steps": 5000}, slot="slider")
    until(lambda: old.message, worker)
    aside = worker.submit("echo", {}, slot="aside", replaces=True)
    time.sleep(0.2)
    worker.poll()
    assert not old.done
    new = worker.submit("echo", {"new": True}, slot="slider", replaces=True)
    assert worker.wait(new, SECONDS) == {"new": True}
    assert isinstance(old.error, Cancelled)
    assert aside.result == {}


def test_a_polite_job_is_cancelled_at_once_and_the_process_stays(worker: Worker) -> None:
    job = running(worker, "count", steps=5000)
    before = pid(worker)
    job.cancel()
    job.cancel()
    with pytest.raises(Cancelled):
        worker.wait(job, 1)
    assert worker.wait(worker.submit("echo", {}), SECONDS) == {}
    assert pid(worker) == before
    job.cancel()
    assert isinstance(job.error, Cancelled)


def test_a_stuck_job_is_cancelled_within_a_second_with_what_it_started(
    worker: Worker, heart: Path, temporary: Path
) -> None:
    job = worker.submit("stuck", {"heart": str(heart), "array": np.zeros(10)})
    until(lambda: job.message, worker)
    behind = worker.submit("echo", {"behind": np.arange(4)})
    before = pid(worker)
    started = time.monotonic()
    job.cancel()
    with pytest.raises(Cancelled):
        worker.wait(job, 1)
    assert time.monotonic() - started < 1
    np.testing.assert_array_equal(worker.wait(behind, SECONDS)["behind"], np.arange(4))
    assert pid(worker) != before
    assert not beats(heart)
    until(lambda: not arrays(temporary), worker)


def test_a_waiting_job_is_cancelled_before_it_starts(worker: Worker) -> None:
    ahead = running(worker, "count", steps=100)
    waiting, after = worker.submit("die"), worker.submit("echo", {})
    waiting.cancel()
    with pytest.raises(Cancelled):
        worker.wait(waiting, 0.3)
    assert worker.wait(after, SECONDS) == {}
    assert ahead.result == 100


@pytest.mark.parametrize(("job", "ends"), [("die", ["exit code 7"]), ("crash", ["SIGSEGV", "exit code 0x"])])
def test_the_death_of_the_process_is_an_error_and_the_next_job_has_a_new_one(
    worker: Worker, job: str, ends: list[str]
) -> None:
    errors: list[NeuroGenError] = []
    first = worker.submit(job, on_error=errors.append)
    second = worker.submit("echo", {}, on_error=errors.append)
    with raises("process-died", f"'{job}'", kind=JobFailed) as raised:
        worker.wait(first, SECONDS)
    assert raised.value.kind == "died"
    assert any(end in raised.value.problem for end in ends)
    assert job != "die" or "the reactor is on fire" in raised.value.problem
    assert raised.value.remedy
    until(lambda: second.done, worker)
    assert len(errors) == 2
    assert worker.wait(worker.submit("echo", {"again": 1}), SECONDS) == {"again": 1}


def test_a_process_that_dies_again_and_again_is_not_started_for_ever(worker: Worker) -> None:
    for _ in range(3):
        with raises("process-died", "'die'", "exit code 7", kind=JobFailed):
            worker.wait(worker.submit("die"), SECONDS)
    with raises("process-died", "3 times", "on fire", kind=JobFailed) as raised:
        worker.wait(worker.submit("echo", {}), 1)
    assert "Wait a minute" in raised.value.remedy


def test_too_little_memory_is_a_sentence_and_the_process_goes_on(worker: Worker) -> None:
    with raises("memory-exhausted", kind=JobFailed) as raised:
        worker.wait(worker.submit("memory"), SECONDS)
    assert raised.value.kind == "memory"
    assert "MemoryError" in "".join(raised.value.__notes__)
    before = pid(worker)
    assert worker.wait(worker.submit("echo", {}), SECONDS) == {}
    assert pid(worker) == before


def test_an_unknown_job_is_refused_with_the_nearest_name(worker: Worker) -> None:
    with raises("name-unknown", "'atlas.generat'", "'atlas.generate'"):
        worker.wait(worker.submit("atlas.generat"), SECONDS)


def test_a_result_that_cannot_travel_is_an_error_and_leaves_no_array(worker: Worker, temporary: Path) -> None:
    with pytest.raises(JobFailed, match="object"):
        worker.wait(worker.submit("untravelled"), SECONDS)
    assert arrays(temporary) == []
    with pytest.raises(TypeError, match="object"):
        worker.submit("echo", {"no": object()})
    assert worker.busy == []


def test_arrays_are_removed_as_soon_as_they_are_not_needed(worker: Worker, temporary: Path) -> None:
    brain = worker.wait(worker.submit("brain", {"value": 3, "given": np.zeros(10)}), SECONDS)
    worker.poll()
    assert len(arrays(temporary)) == 1
    plane = brain.array[4]
    del brain
    gc.collect()
    worker.poll()
    assert (plane == 3).all()
    assert len(arrays(temporary)) == 1
    del plane
    gc.collect()
    worker.poll()
    assert arrays(temporary) == []


def test_arrays_outlive_the_worker_that_made_them(temporary: Path) -> None:
    with Worker(jobs=JOBS, environment=ENVIRONMENT) as worker:
        brain = worker.wait(worker.submit("brain", {"value": 5}), SECONDS)
    assert brain.array.sum() == 5 * 40 * 50 * 60


def test_nothing_is_left_after_closing_in_mid_run(worker: Worker, heart: Path, temporary: Path) -> None:
    called: list[object] = []
    stuck = worker.submit(
        "stuck", {"heart": str(heart), "a": np.ones(5)}, on_result=called.append, on_error=called.append
    )
    waiting = worker.submit("echo", {"a": np.ones(9)}, on_error=called.append)
    until(lambda: stuck.message, worker)
    started = time.monotonic()
    worker.close()
    worker.close()
    assert time.monotonic() - started < 2
    assert list(temporary.iterdir()) == []
    assert not beats(heart)
    assert called == []
    assert isinstance(stuck.error, Cancelled)
    assert isinstance(waiting.error, Cancelled)
    worker.poll()
    with raises("process-died", kind=NeuroGenError):
        worker.submit("echo")


def test_a_callback_may_close_the_worker(worker: Worker, temporary: Path) -> None:
    answers: list[object] = []
    worker.submit("echo", {"n": 1}, on_result=lambda _: worker.close())
    worker.submit("echo", {"n": 2}, on_result=answers.append)
    time.sleep(1)
    until(lambda: not worker.busy, worker)
    worker.poll()
    assert answers == []
    assert list(temporary.iterdir()) == []


def test_a_python_that_is_not_there_is_named(temporary: Path) -> None:
    with Worker(temporary / "PythonSlicer") as worker, raises("process-died", "PythonSlicer", kind=JobFailed):
        worker.wait(worker.submit("echo"), SECONDS)
    assert list(temporary.iterdir()) == []


def test_a_program_that_is_not_a_worker_is_reported(temporary: Path) -> None:
    impostor = [sys.executable, "-c", "raise SystemExit('not a worker')"]
    with Worker(impostor) as worker, raises("process-died", "exit code 1", "not a worker", kind=JobFailed):
        worker.wait(worker.submit("echo"), SECONDS)


def test_waiting_has_an_end_and_the_job_goes_on(worker: Worker) -> None:
    job = running(worker, "count", steps=30)
    with raises("process-busy", "'count'", "0.1 s", kind=NeuroGenError):
        worker.wait(job, 0.1)
    assert worker.wait(job, SECONDS) == 30


@pytest.fixture
def bare_worker(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process alone, its pipes in our hands; it has said hello."""
    scratch = tmp_path / "scratch ä"
    scratch.mkdir()
    command = [sys.executable, "-m", "NeuroGenLib.worker", "--scratch", str(scratch), "--jobs", JOBS]
    environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, cwd=tmp_path, start_new_session=True)
    with process:
        hello = answer_of(process)["hello"]
        assert hello["protocol"] == 1
        assert hello["versions"]["neurogen"]
        assert {"atlas.generate", "echo"} <= set(hello["jobs"])
        yield process
        process.kill()


def tell(process: subprocess.Popen[bytes], *lines: bytes) -> None:
    assert process.stdin
    process.stdin.write(b"".join(line + b"\n" for line in lines))
    process.stdin.flush()


def answer_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout
    message = json.loads(process.stdout.readline())
    assert isinstance(message, dict)
    return message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"no json",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"[1]",
        b"null",
        b'{"id": 1}',
        b'{"id": 1, "job": "echo", "arguments": {"npy": "../../secret"}}',
        b'{"id": 1, "job": "ru", "arguments": {}}',
        b'{"cancel": {}}\n{"id": 2, "job": {}}',
        b'{"x": "' + b"y" * 2**24 + b'"}',
    ],
    ids=lambda line: line[:30].decode("ascii", "replace"),
)
def test_garbage_is_answered_and_survived(line: bytes, bare_worker: subprocess.Popen[bytes]) -> None:
    tell(bare_worker, line, b'{"id": 9, "job": "echo", "arguments": {"fine": 1}}')
    answers = []
    while not answers or answers[-1].get("result") != {"fine": 1}:
        answers.append(answer_of(bare_worker))
    (error,) = [answer["error"] for answer in answers if "error" in answer]
    assert error["kind"] == "input"
    assert error["remedy"]


@pytest.mark.parametrize(
    ("way", "left"),
    [
        ("quit", True),
        ("the pipe closes", False),
        pytest.param("SIGTERM", False, marks=pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")),
    ],
)
def test_the_process_ends_when_it_is_asked_to_or_the_pipe_closes(
    way: str, left: bool, bare_worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    tell(bare_worker, b'{"id": 1, "job": "brain", "arguments": {"value": 1}}')
    while "result" not in answer_of(bare_worker):
        pass
    tell(bare_worker, b'{"id": 2, "job": "count", "arguments": {"steps": 100000}}')
    assert answer_of(bare_worker)["id"] == 2
    if way == "quit":
        tell(bare_worker, b'{"quit": true}')
    elif way == "SIGTERM":
        bare_worker.terminate()
        while "cancelled" not in answer_of(bare_worker):
            pass
    else:
        assert bare_worker.stdin
        bare_worker.stdin.close()
    assert bare_worker.wait(5) == 0
    assert (tmp_path / "scratch ä").exists() == left  # the parent that asked removes it itself


PARENT = """
import sys, tempfile, time
tempfile.tempdir = sys.argv[2]
from NeuroGenLib.worker import Worker
worker = Worker(jobs="worker_test_jobs:TABLE")
worker.submit("echo", {"array": [1]})
worker.submit("stuck", {"heart": sys.argv[1]})
while True:
    worker.poll(0.1)
"""


def test_when_the_parent_is_killed_the_child_ends_with_what_it_started(heart: Path, temporary: Path) -> None:
    environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])}
    with subprocess.Popen([sys.executable, "-c", PARENT, str(heart), str(temporary)], env=environment) as parent:
        until(heart.exists)
        assert beats(heart)
        assert len(list(temporary.iterdir())) == 1
        parent.kill()
    until(lambda: not list(temporary.iterdir()), seconds=5)
    assert not beats(heart)
