"""Options: no abbreviations, negative numbers, repeated values, and sentences for what is wrong."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.atlas.output import folder_name, parse_ages
from NeuroGenLib.commands import options
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, JsonLinesProgress, TerminalProgress
from Testing.raising import raises

if TYPE_CHECKING:
    from NeuroGenLib.core.arguments import ArgumentParser

FINITE = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text("abcxyz_", min_size=1, max_size=8)
WORDS = st.text(st.characters(exclude_characters=",", exclude_categories=("Z", "C")), min_size=1, max_size=8)


def parser_of_a_command() -> ArgumentParser:
    parser = options.make_parser("atlas draw", "Draw.", ("neurogen atlas draw --age 3",))
    parser.add_argument("--age", required=True)
    parser.add_argument("--box")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--kind", choices=("a", "b"))
    options.add_device_option(parser)
    options.add_report_options(parser)
    return parser


def parsed(*arguments: str) -> object:
    return parser_of_a_command().parse(arguments)


def test_options_and_their_defaults() -> None:
    found = parsed("--age", "30.2", "--set", "a=1", "--set=b=2")
    assert (found.age, found.set) == ("30.2", ["a=1", "b=2"])
    assert (found.device, found.progress, found.json) == ("auto", "bar", False)


@pytest.mark.parametrize("value", ["-50,50,-60,60", "-.5", "-1e-3", "-3"])
def test_a_value_may_begin_with_a_minus(value: str) -> None:
    assert parsed("--age", "1", "--box", value).box == value
    assert parsed("--age", "1", f"--box={value}").box == value
    assert parsed("--age", value).age == value


@pytest.mark.parametrize(
    ("arguments", "named", "remedy"),
    [
        (["--age", "1", "--boxx", "2"], "--boxx", "Did you mean '--box'?"),
        (["--ag", "1"], "--ag", "Did you mean '--age'?"),
        (["--age", "1", "--colour=red"], "--colour", ""),
        (["--age"], "age", "neurogen atlas draw --help"),
        ([], "age", "neurogen atlas draw --help"),
        (["--age", "1", "--kind", "c"], "kind", "neurogen atlas draw --help"),
        (["--age", "1", "more"], "more", "neurogen atlas draw --help"),
        (["--age", "1", "--progress", "loud"], "progress", "neurogen atlas draw --help"),
        (["--age", "1", "-q"], "-q", "Known: --age"),
        (["--age", "1", "-b", "2"], "-b", "Did you mean '--box'?"),
        (["-ag", "1"], "-ag", "Did you mean '--age'?"),
        ([], "age", "For example: neurogen atlas draw --age 3 (see"),
        (["--age", "1", "more"], "'more' is one too many", "no arguments and options"),
        (["--age="], "--age", "variable of the shell"),
        (["--age", ""], "--age", "variable of the shell"),
        (["--age", "1", ""], "The argument '' is empty", "variable of the shell"),
    ],
)
def test_a_wrong_line_is_a_sentence(arguments: list[str], named: str, remedy: str) -> None:
    with pytest.raises(InputError) as caught:
        parsed(*arguments)
    assert named in caught.value.problem
    assert remedy in caught.value.remedy
    assert "\n" not in caught.value.problem
    assert caught.value.problem[0].isupper()


def test_help_has_the_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parsed("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "usage: neurogen atlas draw" in text
    assert "examples:\n  neurogen atlas draw --age 3\n" in text


@given(value=FINITE)
def test_a_number_is_read_as_written(value: float) -> None:
    assert options.number(repr(value), "an age") == value


@pytest.mark.parametrize("text", ["", "a", "1,2", "nan", "inf", "-inf", "1e999"])
def test_an_invalid_number_is_named(text: str) -> None:
    with pytest.raises(InputError) as caught:
        options.number(text, "an age")
    assert f"'{text}' is not an age." == caught.value.problem


@pytest.mark.parametrize("text", ["0", "-0.0", "-2"])
def test_a_width_is_above_zero(text: str) -> None:
    with raises("value-invalid"):
        options.number(text, "a bandwidth", positive=True)
    assert options.number(text, "an age") == float(text)


def test_progress_goes_to_stderr() -> None:
    assert options.make_progress("none") is SILENT
    bar, lines = options.make_progress("bar"), options.make_progress("json")
    assert isinstance(bar, TerminalProgress)
    assert isinstance(lines, JsonLinesProgress)
    assert bar._stream is lines._stream is sys.stderr


def test_json_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: object) -> None:
    options.print_json({"name": "Köln\n", "path": tmp_path})
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    assert json.loads(text) == {"name": "Köln\n", "path": str(tmp_path)}
    assert "ö" in text


# What the atlas commands read


@given(first=st.integers(0, 40), steps=st.integers(0, 60), step=st.sampled_from([0.1, 0.25, 0.5, 1.0, 1 / 3]))
def test_both_ends_of_a_range_of_ages_belong_to_it(first: int, steps: int, step: float) -> None:
    ages = parse_ages(f"{first}:{first + steps * step!r}:{step!r}")
    assert len(ages) == steps + 1
    assert ages[0] == first
    assert ages[-1] == pytest.approx(first + steps * step, abs=1e-6)


def test_ages_examples() -> None:
    assert parse_ages("21:34:4") == (21, 25, 29, 33)
    assert parse_ages("0:0.3:0.1") == (0, 0.1, 0.2, 0.3)
    assert parse_ages("30:30:1") == (30,)
    assert parse_ages("28,24.5") == (28, 24.5)
    assert len(parse_ages("0:999:1")) == 1000


@pytest.mark.parametrize("text", ["34:21:1", "21:34:0", "21:34:-1", "21:34", "a:b:c", "", "nan:34:1", "21:inf:1"])
def test_an_invalid_range_of_ages_is_named(text: str) -> None:
    with raises("value-invalid", text):
        parse_ages(text)


@pytest.mark.parametrize("text", ["0:1000:1", "0:1e9:1", "0:1e308:1e-308"])
def test_too_many_ages_are_refused(text: str) -> None:
    with raises("value-invalid", f"'{text}'", 1000):
        parse_ages(text)


@given(values=st.dictionaries(st.text(min_size=1, max_size=6), st.text(max_size=6) | FINITE, min_size=1, max_size=3))
def test_a_folder_of_a_combination_has_a_name_every_system_takes(values: dict[str, object]) -> None:
    name = folder_name(values)
    assert name
    assert not set(name) & set('/\\:*?"<>|\0\n ')
    assert name.strip(".") != ""


def test_a_folder_of_a_combination_is_named_after_it() -> None:
    assert folder_name({"lv_volume_normed": 0.12, "sex": "F"}) == "lv_volume_normed-0.12_sex-F"
    assert folder_name({"group": "a/b: c"}) == "group-a_b__c"
    assert math.isclose(float(folder_name({"x": 1e-7}).removeprefix("x-")), 1e-7)


def test_files_may_stand_between_options() -> None:
    parser = parser_of_a_command()
    parser.add_argument("transform")
    parser.add_argument("volume", nargs="*")
    parser.add_argument("--maps", nargs="+")
    line = ["a.h5", "--json", "b.nii", "--age", "3", "c.nii", "--box=-1", "d.nii", "--maps", "e.nii", "f.nii"]
    found = parser.parse(line)
    assert (found.transform, found.volume) == ("a.h5", ["b.nii", "c.nii", "d.nii"])
    assert (found.age, found.box, found.maps, found.json) == ("3", "-1", ["e.nii", "f.nii"], True)
