"""The worker's parts without a process: what travels through the scratch folder, requests, errors, speeds."""

from __future__ import annotations

import gc
import io
import json
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.progress import JsonLinesProgress
from NeuroGenLib.models import Model
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.worker.context import Models, Rates
from NeuroGenLib.worker.jobs import JOBS
from NeuroGenLib.worker.protocol import JobFailed, Request, error_from_message, error_to_message
from NeuroGenLib.worker.scratch import MAPPED_FROM, Scratch, array_names
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.core.errors import Code

ARRAYS = hnp.arrays(
    st.sampled_from([np.uint8, np.int16, np.float32, np.float64, bool]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
AFFINE = np.array([[0.0, -1.25, 0, 7], [0.1, 0, 2, -3.5], [-0.8, 0, 0, 1e-3], [0, 0, 0, 1]])


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    folder = tmp_path / "räumlich und leer"
    folder.mkdir()
    return Scratch(folder)


@given(array=ARRAYS)
def test_arrays_arrive_as_they_were_sent(array: np.ndarray, scratch: Scratch) -> None:
    plain = json.loads(json.dumps(scratch.put({"a": [array]})))
    taken = scratch.take(plain)["a"][0]
    assert taken.dtype == array.dtype
    np.testing.assert_array_equal(taken, array)


@given(value=JSON)
def test_json_values_arrive_as_they_were_sent(value: object, scratch: Scratch) -> None:
    assert scratch.take(json.loads(json.dumps(scratch.put(value)))) == value


def test_volumes_arrive_with_their_affine_to_the_last_bit(scratch: Scratch) -> None:
    wide = np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(2, 0, 1)
    sent = {"wide": wide, "n": np.float32(0.1), "t": (1, 2)}
    taken = scratch.take(json.loads(json.dumps(scratch.put({**sent, "brain": Volume(wide, AFFINE)}))))
    assert isinstance(taken["brain"], Volume)
    np.testing.assert_array_equal(taken["brain"].affine, AFFINE)
    np.testing.assert_array_equal(taken["brain"].array, wide)
    np.testing.assert_array_equal(taken["wide"], wide)
    assert taken["n"] == float(np.float32(0.1))
    assert taken["t"] == [1, 2]


def test_a_large_array_is_mapped_and_released_when_it_is_not_used_any_more(scratch: Scratch) -> None:
    released: list[str] = []
    plain = scratch.put(Volume(np.ones((40, 50, 60), np.float32), np.eye(4)))
    volume = scratch.take(plain, released.append)
    section = volume.array[3, :, ::2]
    del volume
    gc.collect()
    assert released == []
    assert section.sum() == 50 * 30
    with pytest.raises(ValueError, match="read-only"):
        section[0] = 0
    del section
    gc.collect()
    assert released == [plain["npy"]]


def test_a_small_array_is_read_and_released_at_once(scratch: Scratch) -> None:
    released: list[str] = []
    array = scratch.take(scratch.put(np.arange(MAPPED_FROM // 8 - 100)), released.append)
    assert len(released) == 1
    assert scratch.remove(released) == []
    assert list(scratch.folder.iterdir()) == []
    assert array[-1] == MAPPED_FROM // 8 - 101


@pytest.mark.parametrize(
    "name", ["../secret.npy", "/etc/passwd", "a.npy", "A" * 32 + ".npy", "0" * 32 + ".npy/..", "", 7, None, ["x"]]
)
def test_only_names_that_it_gave_are_read_or_removed(name: object, scratch: Scratch) -> None:
    np.save(scratch.folder.parent / "secret.npy", np.zeros(3))
    with raises("path-unsafe", repr(name)):
        scratch.take({"npy": name})
    with raises("path-unsafe", repr(name)):
        scratch.remove([name])  # type: ignore[list-item]
    assert (scratch.folder.parent / "secret.npy").exists()


def test_pickled_objects_are_refused_both_ways(scratch: Scratch) -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        scratch.put(np.array([{}, None], object))
    name = "0" * 32 + ".npy"
    np.save(scratch.folder / name, np.array([print], object), allow_pickle=True)
    with raises("file-damaged", name):
        scratch.take({"npy": name})


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"no array at all"])
def test_a_damaged_array_is_named(content: bytes, scratch: Scratch) -> None:
    name = "f" * 32 + ".npy"
    (scratch.folder / name).write_bytes(content)
    with raises("file-damaged", name):
        scratch.take({"npy": name})


@pytest.mark.parametrize("value", [{1: "x"}, object(), {"deep": [b"bytes"]}, {"f": print}])
def test_what_cannot_travel_is_a_programming_error(value: object, scratch: Scratch) -> None:
    with pytest.raises(TypeError, match="travel"):
        scratch.put(value)


def test_clearing_leaves_what_is_not_the_scratch_folder_s(scratch: Scratch) -> None:
    plain = scratch.put({"a": np.zeros(3), "b": [Volume(np.zeros((2, 2, 2)), np.eye(4))]})
    assert len(list(array_names(plain))) == 2
    (scratch.folder / "a person's.npy").write_text("mine")
    scratch.clear()
    assert [item.name for item in scratch.folder.iterdir()] == ["a person's.npy"]
    (scratch.folder / "a person's.npy").unlink()
    scratch.clear()
    assert not scratch.folder.exists()
    scratch.clear()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with raises("file-unwritable", tmp_path / "nowhere", kind=NeuroGenError):
        Scratch(tmp_path / "nowhere").put(np.zeros(3))


@given(
    message=st.fixed_dictionaries(
        {"id": st.integers() | JSON, "job": st.just("echo") | JSON},
        optional={
            "arguments": st.just({}) | JSON,
            "slot": st.text() | JSON,
            "replaces": st.booleans() | JSON,
            "other": JSON,
        },
    )
)
def test_a_request_is_right_or_refused(message: dict[str, object]) -> None:
    kinds = {"id": int, "job": str, "arguments": dict, "slot": str, "replaces": bool}
    right = (
        {"id", "job"} <= message.keys() <= kinds.keys()
        and all(type(value) is kinds[key] for key, value in message.items())
        and message["job"] == "echo"
        and ("slot" in message or not message.get("replaces"))
    )
    with nullcontext() if right else pytest.raises(InputError):
        assert Request.read(message, ["echo"]).job == "echo"


@pytest.mark.parametrize(
    ("message", "code", "culprit"),
    [
        ({"id": 1, "job": "ecko"}, "name-unknown", "'ecko'"),
        ({"id": 1, "job": "echo", "argument": {}}, "name-unknown", "'argument'"),
        ({"id": 1, "job": "echo", "arguments": []}, "value-invalid", "'arguments'"),
        ({"id": "1", "job": "echo"}, "value-invalid", "'id'"),
        ({"id": True, "job": "echo"}, "value-invalid", "'id'"),
        ({"job": "echo"}, "value-invalid", "'id'"),
        ({"id": 1, "job": "echo", "replaces": True}, "value-missing", "'slot'"),
        ({"id": 1, "job": "echo", "slot": 3, "replaces": True}, "value-invalid", "'slot'"),
    ],
)
def test_an_invalid_request_is_refused_by_name(message: dict[str, object], code: Code, culprit: str) -> None:
    with raises(code, culprit):
        Request.read(message, ["echo"])


@pytest.mark.parametrize(
    ("error", "kind", "code", "named"),
    [
        (InputError("No such age.", "Give another.", code="model-range"), "input", "model-range", "age"),
        (
            NeuroGenError("The disk is full.", "Free some.", code="file-unwritable"),
            "failure",
            "file-unwritable",
            "disk",
        ),
        (NeuroGenError("Broken.", "Mend it.", code="unexpected"), "failure", "unexpected", "Broken"),
        (MemoryError(), "memory", "memory-exhausted", ""),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "memory", "memory-exhausted", ""),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory", "memory-exhausted", ""),
        (ModuleNotFoundError("No module named 'monai'", name="monai"), "missing", "package-missing", "'monai'"),
        (ZeroDivisionError("division by zero"), "unexpected", "unexpected", "ZeroDivisionError: division by zero"),
    ],
)
def test_errors_arrive_with_kind_code_and_sentences(error: Exception, kind: str, code: Code, named: str) -> None:
    message = json.loads(json.dumps(error_to_message(error)))
    assert (message["kind"], message["code"]) == (kind, code)
    assert named in message["problem"]
    assert message["remedy"]
    assert type(error).__name__ in message["traceback"]
    arrived = error_from_message(message)
    assert (arrived.code, arrived.problem, arrived.remedy) == (code, message["problem"], message["remedy"])
    assert type(error).__name__ in "".join(arrived.__notes__)
    assert isinstance(arrived, InputError) if kind == "input" else isinstance(arrived, JobFailed)
    assert kind in ("input", getattr(arrived, "kind", None))


def test_speed_is_that_of_the_largest_recent_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("NeuroGenLib.worker.context.time.monotonic", lambda: clock[0])
    rates = Rates()
    assert rates.seconds_per_unit(("draw",)) is None
    for units, seconds, expected in ((1000, 5, 0.005), (10, 4, 0.005), (600, 6, 0.01), (4000, 4, 0.001)):
        with rates.measured(("draw",), units):
            clock[0] += seconds
        assert rates.seconds_per_unit(("draw",)) == pytest.approx(expected)
    with pytest.raises(KeyError), rates.measured(("draw",), 1e6):
        raise KeyError
    assert rates.seconds_per_unit(("draw",)) == pytest.approx(0.001)
    assert rates.seconds_per_unit(("growth",)) is None


def test_two_models_stay_open_and_a_changed_one_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    class Opened(Model):
        def __init__(self, name: str) -> None:
            opened.append(name)
            self.folder = type("Folder", (), {"path": tmp_path / name})

    monkeypatch.setattr("NeuroGenLib.worker.context.open_model", lambda name, *_, **__: Opened(name))
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "neurogen.json").write_text("{}")
    models, silent = Models(), JsonLinesProgress(io.StringIO())
    for name in "aabab":
        models.get(name, "cpu", silent, Opened)
    assert opened == ["a", "b"]
    models.get("c", "cpu", silent, Opened)  # closes a, which was not used for longest
    models.get("b", "cpu", silent, Opened)
    models.get("a", "cpu", silent, Opened)
    assert opened == ["a", "b", "c", "a"]
    (tmp_path / "a" / "neurogen.json").unlink()
    models.get("a", "cpu", silent, Opened)
    assert opened[-2:] == ["a", "a"]
    models.clear()
    models.get("b", "cpu", silent, Opened)
    assert opened[-1] == "b"


def test_progress_lines_have_the_job_s_number_and_pauses() -> None:
    stream = io.StringIO()
    progress = JsonLinesProgress(stream, pause=3600, id=7)
    for step in range(5):
        progress.update(step, 4, "drawing")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines == [
        {"id": 7, "progress": 0.0, "message": "drawing"},
        {"id": 7, "progress": 1.0, "message": "drawing"},
    ]


def test_every_job_says_what_it_is_for() -> None:
    for name, job in JOBS.items():
        assert (job.__doc__ or "").startswith(f"``{name}``: ")
