"""Parameters typed once: types, ranges, YAML files, the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.core.arguments import ArgumentParser
from NeuroGenLib.core.config import Config, Help, Option, Range, Unit, from_mapping, parameters, to_mapping
from NeuroGenLib.core.config_command_line import add_options, load_config, options_of, parse_config
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.yaml_files import read_yaml
from Testing.raising import raises

if TYPE_CHECKING:
    from NeuroGenLib.core.errors import Code


@dataclass(frozen=True)
class Ball(Config):
    type: Literal["ball"]
    radius: Annotated[float, Range(0, exclusive_low=True), Unit("mm")] = 1.0


@dataclass(frozen=True)
class Box(Config):
    type: Literal["box"]
    size: Annotated[tuple[float, float, float], Range(0, 500), Unit("mm")]


@dataclass(frozen=True)
class Data(Config):
    table: Annotated[Path, Help("Participants table")]
    modalities: tuple[str, ...] = ("T2w",)
    shapes: dict[str, Ball | Box] = field(default_factory=dict)


@dataclass(frozen=True)
class Train(Config):
    epochs: Annotated[int, Range(1, 10_000), Unit("passes"), Help("Passes over the data, 100% of it")] = 10
    rate: Annotated[float, Range(0, 1, exclusive_low=True), Help("Learning rate")] = 1e-4
    loss: Literal["l1", "mse"] = "l1"
    amp: bool = False
    seed: int | None = 42
    stop: Annotated[float | None, Range(low=0)] = None
    steps: list[int] = field(default_factory=lambda: [1, 2])


@dataclass(frozen=True)
class Job(Config):
    data: Data
    train: Train = field(default_factory=lambda: Train(epochs=5, amp=True))
    spacing: Annotated[tuple[float, float, float], Range(0.1, 10), Unit("mm")] = (0.8, 0.8, 0.8)
    note: str = ""

    def check(self) -> None:
        if self.note == "forbidden":
            raise InputError("The note is forbidden.", "Choose another.", code="value-invalid")


@dataclass(frozen=True)
class Ordered(Config):
    low: float = 0.0
    high: float = 1.0

    def check(self) -> None:
        if self.low > self.high:
            raise InputError("'low' is above 'high'.", "Swap them.", code="value-invalid")


@dataclass(frozen=True)
class Outer(Config):
    inner: Ordered = field(default_factory=Ordered)


@pytest.fixture
def job_file(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("data:\n  table: tables/p.tsv\ntrain:\n  rate: 1e-3\n", encoding="utf-8")
    return path


def parse(*arguments):
    return parse_config(Job, list(arguments), "train_job.py", "Trains.")


# ---- types and ranges ----


def test_values_are_taken_in_their_annotated_types():
    job = from_mapping(Job, {"data": {"table": "p.tsv", "modalities": ["T1w", "T2w"]}, "spacing": [1, 2, 3]})
    assert job.data.table == Path("p.tsv")
    assert job.data.modalities == ("T1w", "T2w")
    assert job.spacing == (1.0, 2.0, 3.0)
    assert all(type(size) is float for size in job.spacing)


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("train.epochs", 0, "at least 1 and at most 10000 passes"),
        ("train.epochs", 10_001, "at most 10000 passes"),
        ("train.epochs", 2.0, "a whole number"),
        ("train.epochs", True, "a whole number"),
        ("train.epochs", "3", "a whole number"),
        ("train.epochs", None, "a whole number"),
        ("train.rate", 0, "above 0 and at most 1"),
        ("train.rate", float("nan"), "a number"),
        ("train.rate", float("inf"), "a number"),
        ("train.rate", False, "a number"),
        ("train.loss", "l2", "one of: l1, mse"),
        ("train.amp", 1, "true or false"),
        ("train.amp", "yes", "true or false"),
        ("train.seed", 1.5, "a whole number"),
        ("train.stop", -1, "at least 0"),
        ("train.steps", 3, "a list"),
        ("train.steps", [1, "b"], "a whole number"),
        ("data.table", 3, "a path"),
        ("data.table", "", "a path"),
        ("data.modalities", "T2w", "a list"),
        ("data.modalities", [1], "text"),
        ("data.shapes", [1], "a mapping"),
        ("spacing", [1, 1], "3 values"),
        ("spacing", [1, 1, 11], "at most 10 mm"),
        ("note", 12, "text"),
        ("train", 3, "a group of settings"),
        ("train", 0, "a group of settings"),
    ],
)
def test_a_wrong_value_is_refused_by_its_full_name(where, value, said):
    content = {"data": {"table": "p.tsv"}, "train": {}}
    *groups, last = where.split(".")
    inside = content
    for group in groups:
        inside = inside[group]
    inside[last] = value
    with pytest.raises(InputError) as caught:
        from_mapping(Job, content)
    assert f"'{where}" in caught.value.problem
    assert said in caught.value.problem
    assert caught.value.remedy


def test_direct_construction_is_checked_too():
    with raises("value-invalid", "epochs", "-1"):
        Train(epochs=-1)
    assert type(Train(rate=1).rate) is float


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_json_cannot_hold_is_not_a_number(value):
    with raises("value-invalid", "high"):
        Ordered(low=-1.0, high=value)


def test_a_boolean_is_not_a_number_and_numpy_scalars_are():
    import numpy as np

    train = Train(epochs=np.int64(3), rate=np.float32(0.5))
    assert (train.epochs, train.rate) == (3, 0.5)
    assert type(train.epochs) is int
    assert type(train.rate) is float


def test_a_config_cannot_be_changed():
    with pytest.raises(AttributeError):
        Train().epochs = 3  # type: ignore[misc]


@given(st.floats(allow_nan=False), st.floats(-5, 5), st.floats(0, 5), st.booleans())
def test_a_range_holds_its_ends(value, low, width, exclusive):
    high = low + width
    allowed = Range(low, high, exclusive_low=exclusive)
    expected = (low < value if exclusive else low <= value) and value <= high
    assert (value in allowed) is expected


def test_configs_in_a_union_are_told_apart_by_type():
    data = from_mapping(
        Data, {"table": "p", "shapes": {"a": {"type": "ball", "radius": 2}, "b": {"type": "box", "size": [1, 2, 3]}}}
    )
    assert data.shapes == {"a": Ball("ball", 2.0), "b": Box("box", (1.0, 2.0, 3.0))}


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"type": "bal"}, "'data.shapes.a.type' is 'bal'"),
        ({}, "'data.shapes.a.type' is empty"),
        ({"type": "ball", "radius": 0}, "'data.shapes.a.radius' is 0; it must be a number above 0 mm"),
        ({"type": "ball", "radios": 1}, "'data.shapes.a.radios'"),
        ({"type": "box"}, "'data.shapes.a.size' is missing"),
        (3, "'data.shapes.a' is 3"),
    ],
)
def test_what_is_wrong_inside_a_union_is_named_in_full(shape, said):
    with pytest.raises(InputError) as caught:
        from_mapping(Job, {"data": {"table": "p", "shapes": {"a": shape}}})
    assert said in caught.value.problem


# ---- mappings ----


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"data": {"table": "p"}, "trian": {}}, ("name-unknown", "'trian'", "'train'")),
        ({"data": {"table": "p"}, "train": {"epoch": 3}}, ("name-unknown", "'train.epoch'", "'epochs'")),
        ({"data": {"table": "p"}, "train": {"Epochs": 3}}, ("name-unknown", "'train.Epochs'", "'epochs'")),
        ({"data": {"table": "p"}, "train": {3: 3}}, ("name-unknown", "'train.3'")),
        ({"data": {"table": "p"}, "train.epochs": 3}, ("name-unknown", "'train.epochs'")),
        ({"data": {}}, ("value-missing", "'data.table'")),
        ({}, ("value-missing", "'data.table'")),
    ],
)
def test_unknown_abbreviated_and_missing_keys_are_named(content, error):
    with raises(*error):
        from_mapping(Job, content)


def test_where_stands_before_the_key():
    with raises("value-invalid", "stage.train.epochs"):
        from_mapping(Job, {"data": {"table": "p"}, "train": {"epochs": 0}}, where="stage")


def test_the_owner_s_defaults_hold_for_what_a_group_leaves_out():
    assert Train().epochs == 10
    job = from_mapping(Job, {"data": {"table": "p"}, "train": {"rate": 0.5}})
    assert (job.train.epochs, job.train.amp, job.train.rate) == (5, True, 0.5)


def test_an_empty_group_means_its_defaults():
    job = from_mapping(Job, {"data": {"table": "p"}, "train": None})
    assert job.train == Train(epochs=5, amp=True)


def test_a_contradiction_is_reported_with_its_place():
    with raises("value-invalid", "inner: ", "'low'", "'high'"):
        from_mapping(Outer, {"inner": {"low": 2}})


trains = st.builds(
    Train,
    epochs=st.integers(1, 10_000),
    rate=st.floats(0, 1, exclude_min=True),
    loss=st.sampled_from(["l1", "mse"]),
    seed=st.one_of(st.none(), st.integers()),
)


@given(trains, st.text(max_size=8).filter(lambda text: text != "forbidden"), st.floats(0, 500))
def test_a_mapping_round_trip_keeps_everything(train, note, size):
    data = Data(table=Path("a") / "b.tsv", shapes={"x": Box("box", (size, 1.0, 2.0))})
    job = Job(data=data, train=train, note=note)
    assert from_mapping(Job, json.loads(json.dumps(to_mapping(job), allow_nan=False))) == job


# ---- YAML files ----


def test_a_file_is_read_and_single_values_overridden(job_file):
    job = load_config(
        Job, job_file, {"train.epochs": "200", "spacing": "1,1,2", "train.seed": "none", "train.amp": False}
    )
    assert job.train.rate == 0.001  # YAML 1.1 would take 1e-3 for text
    assert job.train.epochs == 200
    assert job.spacing == (1.0, 1.0, 2.0)
    assert job.train.seed is None
    assert job.train.amp is False
    assert job.data.table == Path("tables/p.tsv")


def test_relative_paths_stay_as_written(job_file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path.parent)
    assert load_config(Job, job_file).data.table == Path("tables/p.tsv")


def test_an_override_does_not_leak_through_a_yaml_alias(tmp_path):
    path = tmp_path / "alias.yaml"
    path.write_text("inner: &same {low: 0.5}\nother: *same\n", encoding="utf-8")
    content = read_yaml(path)
    assert content["other"] == {"low": 0.5}

    @dataclass(frozen=True)
    class Twice(Config):
        inner: Ordered = field(default_factory=Ordered)
        other: Ordered = field(default_factory=Ordered)

    twice = load_config(Twice, path, {"inner.low": "0.25"})
    assert (twice.inner.low, twice.other.low) == (0.25, 0.5)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("data:\n  table: [1\ntrain: {}\n", ("file-damaged", "line 3")),
        ("data: {table: p}\ntrain:\n  epochs: 1\n  epochs: 2\n", ("file-damaged", "line 4", "'epochs'")),
        ("data: {table: p}\ndata: {table: q}\n", ("file-damaged", "line 2", "'data'")),
        ("- a\n- b\n", ("file-type",)),
        ("[]\n", ("file-type",)),
        ("only text\n", ("file-type",)),
        ("data: !!python/object/apply:os.getcwd []\n", ("file-damaged", "line 1")),
        ("a: 1\n---\nb: 2\n", ("file-damaged", "line 2")),
        ("data:\n\ttable: p\n", ("file-damaged", "line 2")),
    ],
)
def test_a_broken_file_is_refused_with_file_and_line(tmp_path, text, error):
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    with raises(*error, "broken.yaml"):
        load_config(Job, path)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with raises("file-missing"):
        load_config(Job, tmp_path / "none.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\x00\x80\x01")
    with raises("file-type", "binary.yaml"):
        load_config(Job, binary)


def test_an_empty_file_with_a_byte_order_mark_gives_the_defaults(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_bytes(b"\xef\xbb\xbf# nothing set\n")
    assert load_config(Train, path) == Train()


def test_yaml_scalars_follow_version_1_2(tmp_path):
    path = tmp_path / "scalars.yaml"
    path.write_text("a: 1e-4\nb: no\nc: 007\nd: 12:30\ne: 2024-01-01\nf: true\ng: ~\nh: -3\ni: .5\n", encoding="utf-8")
    assert read_yaml(path) == {
        "a": 1e-4,
        "b": "no",
        "c": "007",
        "d": "12:30",
        "e": "2024-01-01",
        "f": True,
        "g": None,
        "h": -3,
        "i": 0.5,
    }
    as_text = read_yaml(path, as_text=True)
    assert (as_text["a"], as_text["f"], as_text["h"]) == ("1e-4", "true", "-3")


def test_an_unknown_override_names_the_nearest(job_file):
    with raises("name-unknown", "train.epoch", "train.epochs"):
        load_config(Job, job_file, {"train.epoch": 3})


def test_an_override_of_a_group_that_is_a_number_is_refused(tmp_path):
    path = tmp_path / "flat.yaml"
    path.write_text("train: 3\n", encoding="utf-8")
    with raises("value-invalid", "train"):
        load_config(Job, path, {"train.epochs": 3})


# ---- for the panel and the command line ----


def test_parameters_are_flat_and_complete():
    found = {parameter.name: parameter for parameter in parameters(Job)}
    assert list(found)[:3] == ["data.table", "data.modalities", "data.shapes"]
    epochs = found["train.epochs"]
    assert (epochs.type, epochs.default, epochs.unit, epochs.required) == (int, 5, "passes", False)
    assert epochs.range == Range(1, 10_000)
    assert epochs.help.startswith("Passes over")
    assert found["train.loss"].choices == ("l1", "mse")
    assert found["data.table"].default is MISSING
    assert found["data.table"].required
    assert found["train.seed"].optional
    assert found["train.seed"].type is int
    assert found["train.stop"].type is float
    assert found["train.stop"].range == Range(low=0)
    assert not found["train.epochs"].optional


def test_options_override_the_file_wherever_they_stand(job_file):
    job = parse("--train.epochs", "200", "--config", str(job_file), "--data.table=other.tsv")
    assert (job.train.epochs, job.train.rate, job.data.table) == (200, 0.001, Path("other.tsv"))
    assert job.train.amp is True


@pytest.mark.parametrize(
    ("typed", "name", "expected"),
    [
        (["--train.rate", "1e-3"], "rate", 1e-3),
        (["--train.rate", "1"], "rate", 1.0),
        (["--train.amp", "false"], "amp", False),
        (["--train.seed", "-3"], "seed", -3),
        (["--train.seed", "none"], "seed", None),
        (["--train.loss", "mse"], "loss", "mse"),
        (["--train.steps", "3,4"], "steps", [3, 4]),
        (["--train.steps", "[3, 4, 5]"], "steps", [3, 4, 5]),
        (["--train.steps", ""], "steps", []),
    ],
)
def test_option_text_is_read_by_the_field_s_type(typed, name, expected):
    assert getattr(parse("--data.table", "p.tsv", *typed).train, name) == expected


def test_text_options_stay_text():
    job = parse("--data.table", "7", "--data.modalities", "007,null", "--note", "1e5")
    assert (job.data.table, job.data.modalities, job.note) == (Path("7"), ("007", "null"), "1e5")


def test_a_mapping_option_is_yaml():
    job = parse("--data.table", "p", "--data.shapes", "{a: {type: ball, radius: 3}}")
    assert job.data.shapes == {"a": Ball("ball", 3.0)}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--train.epo", "3"], ["--train.epo", "'--train.epochs'"]),
        (["--train.epochss=3"], ["--train.epochss", "'--train.epochs'"]),
        (["--conf", "x.yaml"], ["--conf", "'--config'"]),
        (["--train", "{epochs: 3}"], ["--train"]),
        (["--bogus"], ["--bogus"]),
        (["--train.epochs"], ["--train.epochs", "expected one argument"]),
        (["--train.epochs", "many"], ["'train.epochs'", "'many'", "whole number"]),
        (["--train.epochs", "1.5"], ["'train.epochs'", "whole number"]),
        (["--train.epochs", "[1]"], ["'train.epochs'", "whole number"]),
        (["--train.epochs="], ["'train.epochs'", "whole number"]),
        (["--train.amp", "yes"], ["'train.amp'", "true or false"]),
        (["--train.rate", "-1e-3"], ["'train.rate'", "above 0"]),
        (["--train.loss", "l"], ["'train.loss'", "l1, mse"]),
        (["--spacing", "1,1"], ["'spacing'", "3 values"]),
        (["--spacing", "1,1,1,1"], ["'spacing'", "3 values"]),
        (["--data.shapes", "ball"], ["'data.shapes'", "mapping"]),
        (["--data.shapes", "{a: ["], ["'data.shapes'", "mapping"]),
        (["--config", "missing.yaml"], ["missing.yaml", "does not exist"]),
        (["--note", "forbidden"], ["note is forbidden"]),
        (["stray"], ["stray"]),
        (["-x"], ["-x"]),
    ],
)
def test_a_wrong_command_line_never_exits(typed, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        parse("--data.table", "p.tsv", *typed)
    assert all(word in str(caught.value) for word in said), str(caught.value)


def test_help_shows_unit_range_default_and_ends(capsys):
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "passes over the data, 100% of it (in passes, at least 1 and at most 10000, default: 5)" in shown
    assert "participants table (required)" in shown
    assert "{l1,mse}" in shown


def test_print_config_gives_a_file_that_reads_back(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        parse("--data.table", "p.tsv", "--train.rate", "1e-5", "--print-config")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["train"]["epochs"] == 5
    path = tmp_path / "again.yaml"
    path.write_text(printed, encoding="utf-8")
    assert load_config(Job, path) == parse("--data.table", "p.tsv", "--train.rate", "1e-5")


@dataclass(frozen=True, kw_only=True)
class Run(Config):
    """A run with every kind of option."""

    age: Annotated[float, Range(0), Help("Age")]
    spacing: float | tuple[float, float, float] = 1.0
    mask: Annotated[bool, Help("Zero outside the brain")] = True
    growth: bool = False
    fill_holes: int = 3
    conditions: Annotated[dict[str, tuple[float | str, ...]], Option("set")] = field(default_factory=dict)


def run_options(*arguments: str) -> Run:
    parser = ArgumentParser("tool run", "Run.")
    parser.add_argument("--model")
    add_options(parser, Run)
    return options_of(parser.parse(["--model", "m", *arguments]), Run)


def test_options_of_a_run():
    assert run_options("--age", "30") == Run(age=30.0)
    typed = run_options(
        "--age",
        "30",
        "--spacing",
        "1,1,2",
        "--no-mask",
        "--growth",
        "--fill-holes",
        "5",
        "--set",
        "lv=0.1,0.2",
        "--set",
        "sex=F",
    )
    conditions = {"lv": (0.1, 0.2), "sex": ("F",)}
    assert typed == Run(age=30.0, spacing=(1.0, 1.0, 2.0), mask=False, growth=True, fill_holes=5, conditions=conditions)


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ((), "value-missing", "--age"),
        (("--age", "-3"), "value-invalid", "age"),
        (("--age", "old"), "value-invalid", "'old'"),
        (("--age", "30", "--mask"), "name-unknown", "--no-mask"),
        (("--age", "30", "--set", "lv"), "value-invalid", "lv"),
        (("--age", "30", "--set", "lv=1", "--set", "lv=2"), "value-duplicate", "lv"),
    ],
)
def test_a_wrong_option_of_a_run_is_named(arguments: tuple[str, ...], code: Code, named: str):
    with raises(code, named):
        run_options(*arguments)


def test_importing_and_listing_needs_no_yaml():
    code = (
        "import sys; sys.modules['yaml'] = None\n"
        "from dataclasses import dataclass\n"
        "from NeuroGenLib.core.config import Config, parameters, from_mapping\n"
        "@dataclass(frozen=True)\n"
        "class Fit(Config):\n"
        "    steps: int = 3\n"
        "print(parameters(Fit)[0].name, from_mapping(Fit, {'steps': 4}).steps)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.split() == ["steps", "4"]
