"""Progress: what is shown, how parts fill the whole, and how work is stopped."""

from __future__ import annotations

import io
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import SILENT, JsonLinesProgress, Progress, TerminalProgress

FRACTIONS = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


class Recorder(Progress):
    """Remembers what was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[tuple[float, str]] = []

    def show(self, step: float, total: float, message: str) -> None:
        self.shown.append((step / total if total else 0.0, message))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_cancel_is_raised_at_the_next_step_from_any_thread() -> None:
    progress = Recorder()
    progress.update(1, 3)
    canceller = threading.Thread(target=progress.cancel)
    canceller.start()
    canceller.join()
    with pytest.raises(Cancelled):
        progress.update(2, 3)
    assert len(progress.shown) == 1
    assert progress.cancelled


@given(outer=FRACTIONS, inner=FRACTIONS, step=st.floats(0, 1))
def test_parts_of_parts_fill_their_share(outer: list[float], inner: list[float], step: float) -> None:
    progress = Recorder()
    progress.part(*outer).part(*inner).update(step, 1)
    low = outer[0] + (outer[1] - outer[0]) * inner[0]
    high = outer[0] + (outer[1] - outer[0]) * inner[1]
    assert progress.shown[0][0] == pytest.approx(low + (high - low) * step, abs=1e-12)


def test_parts_join_messages_and_share_the_cancel() -> None:
    progress = Recorder()
    part = progress.part(0, 0.5, "subject 3").part(0, 1, "aligning")
    part.update(1, 2, "level 1")
    assert progress.shown == [(0.25, "subject 3, aligning, level 1")]
    part.cancel()
    assert progress.cancelled
    with pytest.raises(Cancelled):
        progress.part(0.5, 1).update(0, 1)


def test_a_part_without_a_total_is_done() -> None:
    progress = Recorder()
    progress.part(0.2, 0.4).update(0, 0)
    assert progress.shown[0][0] == pytest.approx(0.4)


def test_tracking_reports_before_and_after_every_item() -> None:
    progress = Recorder()
    assert list(progress.track("abcd", "reading")) == list("abcd")
    assert [fraction for fraction, _ in progress.shown] == [0, 0.25, 0.5, 0.75, 1]
    assert list(Recorder().track(iter("ab"), total=2)) == ["a", "b"]


def test_tracking_stops_when_cancelled() -> None:
    progress = Recorder()
    items = progress.track(range(5))
    assert [next(items), next(items)] == [0, 1]
    progress.cancel()
    with pytest.raises(Cancelled):
        next(items)


def test_json_lines_are_one_object_a_line() -> None:
    stream = io.StringIO()
    progress = JsonLinesProgress(stream)
    progress.update(1, 3, "längs\nquer")
    progress.update(0, 0)
    lines = stream.getvalue().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"progress": 0.3333, "message": "längs\nquer"},
        {"progress": 0.0, "message": ""},
    ]


def test_a_log_file_gets_a_line_now_and_then() -> None:
    stream = io.StringIO()
    progress = TerminalProgress(stream, quiet_seconds=1000)
    for step in range(101):
        progress.update(step, 100, "training")
    progress.close()
    assert stream.getvalue() == "  0 %  training\n100 %  training\n"


def test_a_log_file_stays_short(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("NeuroGenLib.core.progress.time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    progress = TerminalProgress(stream)
    for step in range(1000):  # an hour of training
        clock[0] += 3.6
        progress.update(step + 1, 1000, f"step {step + 1}, loss 0.5")
    for case in range(90):  # and a quarter of an hour of looking at its result
        clock[0] += 10
        progress.update(1000, 1000, f"step 1000, validating with {case}")
    lines = stream.getvalue().splitlines()
    assert 20 <= len(lines) <= 22
    assert lines[1].startswith("  5 %  step 51, loss 0.5, ")
    assert lines[-1] == "100 %  step 1000, loss 0.5"
    for _ in range(90):  # at one place for a quarter of an hour
        clock[0] += 10
        progress.update(999, 1000, "validating")
    more = stream.getvalue().splitlines()[len(lines) :]
    assert len(more) <= 2
    assert more[0].startswith(" 99 %  validating")


def test_a_terminal_gets_a_bar_that_overwrites_itself() -> None:
    stream = Terminal()
    progress = TerminalProgress(stream)
    progress.update(0, 2, "a long message")
    progress.update(2, 2, "done")
    progress.close()
    progress.close()
    first, second = stream.getvalue().split("\r")[1:]
    assert first == "░" * 28 + "   0 %  a long message"
    assert second == ("█" * 28 + " 100 %  done").ljust(len(first)) + "\n"


@given(step=st.floats(-10, 1e6), total=st.sampled_from([0, 1, 7.5]))
def test_odd_steps_never_break_the_bar(step: float, total: float) -> None:
    stream = Terminal()
    TerminalProgress(stream).update(step, total)
    assert stream.getvalue().count("█") + stream.getvalue().count("░") == 28


@pytest.mark.parametrize(("elapsed", "said"), [(30, "0:30 left"), (60 * 59, "59:00 left"), (3600 * 2, "2:00:00 left")])
def test_the_time_left_is_what_it_took_so_far(elapsed: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("NeuroGenLib.core.progress.time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    progress = TerminalProgress(stream)
    clock[0] += elapsed
    progress.update(1, 2)
    assert said in stream.getvalue()


def test_silence_shows_nothing_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    SILENT.update(1, 2, "nothing")
    assert not SILENT.cancelled
    assert capsys.readouterr() == ("", "")
