"""Errors are sentences with exit codes."""

from __future__ import annotations

import copy
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.cli import run_safely
from NeuroGenLib.core.errors import Cancelled, InputError, NeuroGenError, nearest

WORDS = st.text("abcdefgh_", min_size=1, max_size=12)


@pytest.mark.parametrize(("kind", "code"), [(NeuroGenError, 1), (InputError, 2), (Cancelled, 130)])
def test_every_error_has_its_exit_code(kind: type[NeuroGenError], code: int) -> None:
    error = a_broken(kind)
    assert error.exit_code == code
    assert str(error) == "It broke. Mend it."
    assert isinstance(error, NeuroGenError)


@pytest.mark.parametrize("kind", [NeuroGenError, InputError, Cancelled])
def test_errors_are_copied_whole(kind: type[NeuroGenError]) -> None:
    error = a_broken(kind)
    make, arguments = error.__reduce__()  # what copying and sending to another process call
    for twin in (copy.copy(error), make(*arguments)):
        assert type(twin) is kind
        assert (twin.problem, twin.remedy, twin.code) == (error.problem, error.remedy, error.code)
        assert str(twin) == str(error)


def a_broken(kind: type[NeuroGenError]) -> NeuroGenError:
    return kind("It broke.", "Mend it.") if kind is Cancelled else kind("It broke.", "Mend it.", code="unexpected")


def test_an_error_without_remedy_has_no_trailing_space() -> None:
    assert str(NeuroGenError("It broke.", code="unexpected")) == "It broke."
    assert str(Cancelled()) == "Stopped before the end."


@given(word=WORDS, others=st.lists(WORDS, max_size=5))
def test_a_known_word_is_its_own_nearest(word: str, others: list[str]) -> None:
    assert nearest(word, [*others, word]) == f"Did you mean '{word}'?"


@given(word=WORDS, known=st.lists(WORDS, min_size=1, max_size=5))
def test_the_nearest_is_known_or_all_are_listed(word: str, known: list[str]) -> None:
    said = nearest(word, known)
    suggestions = {f"Did you mean '{name}'?" for name in known}
    assert said in suggestions or all(name in said for name in known)


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("T2W", ["T1w", "T2w"], "Did you mean 'T2w'?"),
        ("optimizer", ["optimiser", "data"], "Did you mean 'optimiser'?"),
        ("zzz", ["b", "a"], "Known: a, b."),
        ("zzz", [], "Known: none."),
        ("1", [1, 2], "Did you mean '1'?"),
    ],
)
def test_nearest_examples(word: str, known: list[object], said: str) -> None:
    assert nearest(word, known) == said


def fails_with(error: BaseException) -> int:
    def work() -> None:
        raise error

    return run_safely(work)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            InputError("No such file.", "Look again.", code="value-invalid"),
            2,
            "\nError: No such file.\n  Look again.\n",
        ),
        (NeuroGenError("The disk is full.", code="unexpected"), 1, "\nError: The disk is full.\n"),
        (Cancelled("Stopped at step 5.", "Go on."), 130, "\nStopped: Stopped at step 5.\n  Go on.\n"),
        (KeyboardInterrupt(), 130, "\nStopped.\n"),
        (SystemExit(0), 0, ""),
        (SystemExit(3), 3, ""),
        (SystemExit("a word"), 1, ""),
        (SystemExit(None), 0, ""),
    ],
)
def test_errors_become_sentences_and_codes(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fails_with(error) == code
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", said)


def test_an_unexpected_error_asks_for_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert fails_with(ZeroDivisionError("by zero")) == 1
    said = capsys.readouterr().err
    assert "ZeroDivisionError: by zero" in said
    assert "--debug" in said
    assert "Traceback" not in said


def test_a_missing_package_is_named_as_it_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert fails_with(ModuleNotFoundError("No module named 'yaml'", name="yaml")) == 1
    said = capsys.readouterr().err
    assert "'yaml'" in said
    assert "pip install PyYAML" in said
    assert fails_with(ModuleNotFoundError("No module named 'NeuroGenLib.x'", name="NeuroGenLib.x")) == 1
    assert "unexpected" in capsys.readouterr().err, "a gap in NeuroGen itself is not a package to install"


@pytest.mark.parametrize("kind", [InputError, ZeroDivisionError])
def test_a_long_message_of_a_library_is_one_short_line(
    kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    text = "size mismatch:\n\tfirst.weight\n" + "x" * 5000 + "\nlast.weight"
    error = InputError(text, code="weights-mismatch") if kind is InputError else kind(text)
    assert fails_with(error) in (1, 2)
    problem = capsys.readouterr().err.strip().splitlines()[0]
    assert "size mismatch: first.weight" in problem
    assert "last.weight" in problem
    assert len(problem) < 800


def test_debugging_shows_the_error_itself() -> None:
    def work() -> None:
        raise InputError("No such file.", code="value-invalid")

    with pytest.raises(InputError):
        run_safely(work, debug=True)


def test_success_is_zero_and_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_safely(lambda: None) == 0
    monkeypatch.setattr(sys, "stdout", None)
    assert run_safely(lambda: None) == 0, "a program without a console has no stdout"
