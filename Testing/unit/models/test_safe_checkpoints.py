"""Checkpoints of other programs: read without running anything in them, tables recovered without pandas."""

from __future__ import annotations

import builtins
import collections
import datetime as dt
import io
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.models.pickled_frame import frame_columns
from NeuroGenLib.models.unpickle import Pickled, PickledFrame, load_foreign_checkpoint
from Testing.raising import raises

ROOT = Path(__file__).parents[3]
LEGACY_MAGIC = 15
"""Bytes of the number by which torch's older format begins; an archive begins with PK."""
GOLDEN = sorted((ROOT.parent / "shared" / "parity" / "cinema").glob("case_*/checkpoint_epoch_*.pth"))
golden = pytest.mark.skipif(not GOLDEN, reason="the golden numbers are not beside this checkout")


def save(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def with_pickle(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    """An archive as torch writes it, around a pickle of one's own."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
    return path


def rewritten(path: Path, target: Path, old: bytes, new: bytes) -> Path:
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for member in source.infolist():
            content = source.read(member)
            if member.filename.endswith("data.pkl"):
                assert old in content
                content = content.replace(old, new)
            copy.writestr(member.filename, content)
    return target


class Calling:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


# What belongs into a checkpoint


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_tensors_and_plain_containers_are_read(tmp_path: Path, options: dict[str, Any]) -> None:
    grid = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    content = {
        "network": collections.OrderedDict(weight=grid, bias=torch.nn.Parameter(torch.ones(2))),
        "epoch": 5,
        "args": {"sizes": [1, 2.5, None, True], "name": "é", "pair": (1, "x")},
    }
    loaded = load_foreign_checkpoint(save(tmp_path / "net.pth", content, **options))
    assert torch.equal(loaded["network"]["weight"], grid)
    assert torch.equal(loaded["network"]["bias"], torch.ones(2))
    assert loaded["epoch"] == 5
    assert loaded["args"] == content["args"]


def test_tensors_of_a_gpu_come_to_the_cpu(tmp_path: Path) -> None:
    path = save(tmp_path / "cpu.pth", {"w": torch.arange(3.0)})
    path = rewritten(path, tmp_path / "gpu.pth", b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    loaded = load_foreign_checkpoint(path)["w"]
    assert loaded.device.type == "cpu"
    assert loaded.tolist() == [0, 1, 2]


def test_arrays_of_numpy_come_as_inert_stand_ins(tmp_path: Path) -> None:
    loaded = load_foreign_checkpoint(save(tmp_path / "net.pth", {"a": np.arange(3), "b": np.float32(2)}))
    assert isinstance(loaded["a"], Pickled)
    assert isinstance(loaded["b"], Pickled)
    assert "numpy" in repr(loaded["a"])


# What does not


class Marker:
    """A file that malicious pickles touch when they run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def attacks(self) -> dict[str, Any]:
        code = f"open({str(self.path)!r}, 'w').close()"
        return {
            "system": Calling(os.system, f'"{sys.executable}" -c "{code}"'),
            "eval": Calling(builtins.eval, code),
            "exec": Calling(builtins.exec, code),
            "check_call": Calling(subprocess.check_call, [sys.executable, "-c", code]),
            "open": Calling(builtins.open, str(self.path), "w"),
            "getattr": Calling(builtins.getattr, "text", "upper"),
            "load": Calling(torch.load, str(self.path)),
            "open_code": Calling(io.open_code, str(self.path)),
            "__import__": Calling(builtins.__import__, "this"),
        }


@pytest.fixture
def marker(tmp_path: Path) -> Marker:
    return Marker(tmp_path / "was run")


ATTACKS = sorted(Marker(Path("x")).attacks)


def test_the_attacks_would_work_on_an_unsafe_reader(marker: Marker) -> None:
    pickle.loads(pickle.dumps(marker.attacks["exec"], protocol=2))  # noqa: S301  shows that the test can fail
    assert marker.path.exists()


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("inside", ["alone", "deep", "legacy", "raw"])
def test_code_is_refused_by_name_and_not_run(tmp_path: Path, marker: Marker, name: str, inside: str) -> None:
    attack = marker.attacks[name]
    path = tmp_path / "net.pth"
    if inside == "alone":
        save(path, attack)
    elif inside == "deep":
        save(path, {"network": {"w": torch.ones(1)}, "args": [1, {"x": (attack,)}]})
    elif inside == "legacy":
        save(path, {"args": attack}, _use_new_zipfile_serialization=False)
    else:
        with_pickle(path, pickle.dumps({"args": attack}, protocol=2))
    # PySide6, where other tests of this process use it, puts a function of another name in the place of __import__.
    called = builtins.__import__.__name__ if name == "__import__" else name
    with raises("checkpoint-unsafe", path, f".{called})") as caught:
        load_foreign_checkpoint(path)
    assert not marker.path.exists()
    assert "state_dict" in caught.value.remedy


@pytest.mark.parametrize("module", ["pandas.io.common", "numpy.testing", "pandas"])
def test_names_below_pandas_and_numpy_do_nothing(tmp_path: Path, marker: Marker, module: str) -> None:
    code = f"open({str(marker.path)!r}, 'w').close()".encode()
    argument = b"X" + len(code).to_bytes(4, "little") + code
    pickled = b"\x80\x02}X\x01\x00\x00\x00xc" + module.encode() + b"\nos.system\n" + argument + b"\x85Rs."
    loaded = load_foreign_checkpoint(with_pickle(tmp_path / "net.pth", pickled))
    assert isinstance(loaded["x"], Pickled)
    assert not marker.path.exists()


def test_names_that_others_allowed_are_refused_and_stay_allowed_for_them(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pth", {"when": dt.timedelta(1)})
    with torch.serialization.safe_globals([dt.timedelta]):
        allowed = set(torch.serialization.get_safe_globals())
        with raises("checkpoint-unsafe", "datetime.timedelta"):
            load_foreign_checkpoint(path)
        assert set(torch.serialization.get_safe_globals()) == allowed
        assert torch.load(path, weights_only=True)["when"] == dt.timedelta(1)


def test_nothing_stays_allowed_afterwards(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pth", {"a": np.arange(3)})
    allowed = set(torch.serialization.get_safe_globals())
    load_foreign_checkpoint(path)
    assert set(torch.serialization.get_safe_globals()) == allowed
    with pytest.raises(pickle.UnpicklingError, match="numpy"):
        torch.load(path, weights_only=True)


def test_environment_cannot_switch_the_protection_off(
    tmp_path: Path, marker: Marker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with raises("checkpoint-unsafe"):
        load_foreign_checkpoint(save(tmp_path / "net.pth", {"x": marker.attacks["exec"]}))
    assert not marker.path.exists()


def test_old_torch_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "net.pth", {})
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with raises("package-missing", "2.5.1", "2.6", kind=NeuroGenError):
        load_foreign_checkpoint(path)


def test_threads_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pth", {"a": np.arange(3), "w": torch.ones(2)})
    results: list[object] = []

    def read() -> None:
        results.extend(type(load_foreign_checkpoint(path)["a"]).__name__ for _ in range(20))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80


# Broken files


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", ("file-type",)),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ("file-type", "Git LFS")),
        (b"<!DOCTYPE html><html></html>", ("file-type", "web page")),
        (pickle.dumps({"a": 1}), ("file-type", "pickle")),
        (pickle.dumps({"a": 1}, protocol=0), ("file-type",)),
        (b"\x93NUMPY\x01\x00", ("file-type",)),
        (b"PK\x03\x04 and then nothing", ("file-damaged",)),
        (b"PK\x05\x06" + bytes(18), ("file-damaged",)),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02", ("file-damaged",)),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path: Path, content: bytes, error: tuple[Any, ...]) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with raises(*error, "net.pth") as caught:
        load_foreign_checkpoint(path)
    assert caught.value.remedy


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with raises("file-missing"):
        load_foreign_checkpoint(tmp_path / "no.pth")
    with raises("file-missing"):
        load_foreign_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [torch.ones(3), [1, 2], "text"])
def test_a_checkpoint_that_is_not_a_dictionary_is_refused(tmp_path: Path, content: object) -> None:
    with raises("file-type"):
        load_foreign_checkpoint(save(tmp_path / "net.pth", content))


@pytest.mark.parametrize("legacy", [False, True])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
def test_truncated_checkpoints_never_load(tmp_path: Path, legacy: bool, share: float) -> None:
    whole = io.BytesIO()
    torch.save({"w": torch.rand(300), "a": np.arange(9)}, whole, _use_new_zipfile_serialization=not legacy)
    path = tmp_path / "net.pth"
    length = int(share * len(whole.getvalue()))
    path.write_bytes(whole.getvalue()[:length])
    # Cut within its first bytes, a file shows nothing of what it was.
    shown = length >= (LEGACY_MAGIC if legacy else 2)
    with raises("file-damaged" if shown else "file-type", "net.pth"):
        load_foreign_checkpoint(path)


def test_archives_that_swell_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(50_000_000))
    assert path.stat().st_size < 1_000_000
    with raises("checkpoint-unsafe"):
        load_foreign_checkpoint(path)


def test_storage_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pth", {"w": torch.zeros(4)})
    path = rewritten(path, tmp_path / "liar.pth", b"K\x04tq", b"M\xff\xfftq")
    with raises("file-damaged", "liar.pth"):
        load_foreign_checkpoint(path)


def test_archive_without_a_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/constants.pkl", b"")
    with raises("file-damaged", "data.pkl"):
        load_foreign_checkpoint(path)


# Tables


@golden
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.parent.name)
def test_published_checkpoints_give_weights_and_subjects(path: Path) -> None:
    checkpoint = load_foreign_checkpoint(path)
    arrays = np.load(path.with_name("checkpoint_arrays.npz"))
    assert np.array_equal(checkpoint["latents"].detach().numpy(), arrays["latents"])
    for key, weight in checkpoint["inr_decoder"].items():
        assert np.array_equal(weight.detach().numpy(), arrays[f"inr_decoder/{key}"])
    assert isinstance(checkpoint["dataset_df"], PickledFrame)
    rows = frame_columns(checkpoint["dataset_df"])
    assert rows["subject_id"] == arrays["subject_ids"].tolist()
    lines = (path.parent / "configs" / "participants.tsv").read_text(encoding="utf-8").splitlines()
    table = frame_columns(checkpoint["tsv_file"])
    header = lines[0].split("\t")
    assert list(table) == header
    for position, column in enumerate(header):
        written = [line.split("\t")[position] for line in lines[1:]]
        for value, text in zip(table[column], written, strict=True):
            assert (
                value == pytest.approx(float(text or "nan"), nan_ok=True)
                if isinstance(value, float)
                else text == value or text == str(value)
            )
    ages = dict(zip(table["subject_id"], table["scan_age"], strict=True))
    assert rows["scan_age"] == [ages[subject] for subject in rows["subject_id"]]


@golden
def test_published_checkpoints_need_no_pandas() -> None:
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "from NeuroGenLib.models.unpickle import load_foreign_checkpoint as load\n"
        "from NeuroGenLib.models.pickled_frame import frame_columns\n"
        f"print(len(frame_columns(load({str(GOLDEN[0])!r})['dataset_df'])['subject_id']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(np.load(GOLDEN[0].with_name("checkpoint_arrays.npz"))["subject_ids"])


def columns_of(frame: Any, path: Path) -> dict[str, list[Any]]:
    return frame_columns(load_foreign_checkpoint(save(path, {"frame": frame}))["frame"])


def test_every_type_of_column_is_recovered(tmp_path: Path) -> None:
    import pandas as pd

    day = dt.datetime(2024, 2, 29, 12, 30)
    frame = pd.DataFrame(
        {
            "text": ["a", "é", ""],
            "mixed": np.array(["x", 1, None], dtype=object),
            "weeks": [21.5, 30.25, 40.0],
            "age": [1, 2, 3],
            "small": np.array([1, 2, 3], dtype=np.uint8),
            "big endian": np.array([1, 2, 3], dtype=">i4"),
            "yes": [True, False, True],
            "day": [day, day + dt.timedelta(1), None],
            "group": pd.Categorical(["ctrl", None, "ctrl"]),
            "count": pd.array([1, None, 3], dtype="Int64"),
            "more weeks": [1.0, 2.0, 3.0],
        },
        index=["p", "q", "r"],
    )
    columns = columns_of(frame, tmp_path / "net.pth")
    assert list(columns) == list(frame.columns)
    assert columns["text"] == ["a", "é", ""]
    assert columns["mixed"] == ["x", 1, None]
    assert columns["weeks"] == [21.5, 30.25, 40.0]
    assert columns["age"] == columns["small"] == columns["big endian"] == [1, 2, 3]
    assert columns["yes"] == [True, False, True]
    assert columns["day"] == [day, day + dt.timedelta(1), None]
    assert columns["group"] == ["ctrl", None, "ctrl"]
    assert columns["count"] == [1, None, 3]
    assert columns["more weeks"] == [1.0, 2.0, 3.0]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.text(max_size=5), st.floats(allow_nan=False), st.integers(-(2**60), 2**60)), max_size=6),
    order=st.permutations(["id", "weeks", "count"]),
)
def test_tables_are_recovered_whatever_their_rows(
    tmp_path: Path, rows: list[tuple[Any, ...]], order: list[str]
) -> None:
    import pandas as pd

    table = {name: [row[position] for row in rows] for position, name in enumerate(("id", "weeks", "count"))}
    types = {"id": object, "weeks": "float64", "count": "int64"}
    frame = pd.DataFrame({name: pd.Series(table[name], dtype=types[name]) for name in order})
    assert columns_of(frame, tmp_path / "net.pth") == {name: table[name] for name in order}


def test_selected_rows_keep_their_order(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"id": list("abcde"), "age": range(5)}).iloc[[3, 0, 4]]
    assert columns_of(frame, tmp_path / "net.pth") == {"id": ["d", "a", "e"], "age": [3, 0, 4]}


def test_tables_beyond_the_known_layouts_say_so(tmp_path: Path) -> None:
    import pandas as pd

    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with raises("file-damaged"):
        columns_of(twice, tmp_path / "twice.pth")
    levels = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")]))
    with raises("file-damaged"):
        columns_of(levels, tmp_path / "levels.pth")


def frame_from(source: str, arguments: tuple[Any, ...] = (), state: Any = None) -> Any:
    made = type(source, (PickledFrame,), {"source": source})(*arguments)
    made.state = state
    return made


def numbers(shape: tuple[int, ...], content: bytes, code: str = "i8") -> Pickled:
    dtype = Pickled(code, False, True)
    dtype.state = (3, "<", None, None, None, -1, -1, 0)
    array = Pickled()
    array.state = (1, shape, dtype, False, content)
    return array


def table_of(values: Any, placement: Any = slice(0, 1, 1), rows: int = 2, names: Any = None) -> Any:
    names = ["age"] if names is None else names
    labels = numbers((len(names),), b"", "O8")
    labels.state = (*labels.state[:4], names)
    columns = Pickled(None, {"data": labels, "name": None})
    index = Pickled(None, {"start": 0, "stop": rows, "step": 1})
    manager = Pickled((Pickled(values, placement, 2),), [columns, index])
    return frame_from("pandas.DataFrame", state={"_mgr": manager})


def test_hand_made_table_is_the_baseline_of_the_hostile_ones() -> None:
    assert frame_columns(table_of(numbers((1, 2), np.array([7, 9]).astype("<i8").tobytes()))) == {"age": [7, 9]}


@pytest.mark.parametrize("fortran", [False, True])
def test_both_memory_orders_are_read(fortran: bool) -> None:
    table = np.array([[1, 2], [3, 4]], dtype="<i8")
    values = numbers((2, 2), table.tobytes("F" if fortran else "C"))
    values.state = (*values.state[:3], fortran, values.state[4])
    assert frame_columns(table_of(values, slice(0, 2, 1), names=["a", "b"])) == {"a": [1, 2], "b": [3, 4]}


@pytest.mark.parametrize(
    "frame",
    [
        frame_from("pandas.DataFrame"),
        frame_from("pandas.DataFrame", state={"_mgr": 3}),
        frame_from("pandas.DataFrame", state={"_mgr": Pickled(1, 2)}),
        table_of(numbers((1, 2), b"\0" * 8)),
        table_of(numbers((1, 10**12), b"\0" * 16)),
        table_of(numbers((-1, -2), b"\0" * 16)),
        table_of(numbers((1, 2), b"\0" * 16), rows=10**8),
        table_of(numbers((1, 2), b"\0" * 16), rows=10**12),
        table_of(numbers((1, 2), b"\0" * 16), placement=slice(0, 10**9, 1)),
        table_of(numbers((1, 2), b"\0" * 16), placement=slice(5, 6, 1)),
        table_of(numbers((1, 2), b"\0" * 16), placement=slice(-1, 0, 1)),
        table_of(numbers((1, 2), b"\0" * 16, code="V8")),
        table_of(numbers((1, 2), b"\0" * 16, code="O8")),
        table_of("text"),
        table_of(None, names=[]),
    ],
)
def test_hostile_tables_are_refused_quickly(frame: Any) -> None:
    with raises("file-damaged"):
        frame_columns(frame)
