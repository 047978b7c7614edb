"""Sample data: the registry, heads that are drawn, and downloads from a local stand-in for Zenodo."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import re
import threading
import time
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib import cli
from NeuroGenLib.commands import samples as commands
from NeuroGenLib.core.errors import Cancelled, InputError, NeuroGenError
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.samples import fetch_sample, list_samples, sample_offer, samples_folder
from NeuroGenLib.samples.archive import require_safe_names, unpack
from NeuroGenLib.samples.registry import Storage, find_sample
from NeuroGenLib.samples.rendered import reversed_intensities, stored_scan, tilted_grid
from NeuroGenLib.spatial.volume import Volume
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from NeuroGenLib.core.errors import Code
    from Testing.geometry import Phantom

LICENCE = "cc-by-4.0"
NAME = "cinema-atlases"
LEFT_HANDED = np.array([[-1.0, 0, 0, 4], [0, 2, 0.5, 5], [0, -0.25, 3, 6], [0, 0, 0, 1]])


@dataclass
class Zenodo:
    """What the stand-in serves, how it fails, and what it was asked."""

    files: dict[str, bytes]
    api: str = ""
    facts: dict[str, Any] = field(default_factory=lambda: {"license": {"id": LICENCE}})
    replaced: dict[str, bytes] = field(default_factory=dict)
    break_after: int | None = None
    ignores_range: bool = False
    status: int = 200
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    slow: bool = False

    def answer(self) -> dict[str, Any]:
        """The JSON about the record."""
        root = self.api.removesuffix("/api/records")
        files = [
            {
                "key": name,
                "size": len(content),
                "checksum": f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}",
                "links": {"self": f"{root}/content/{number}"},
            }
            for number, (name, content) in enumerate(self.files.items())
        ]
        creators = [{"name": "Doe, Jane"}, {"name": "Roe, Richard"}]
        return {"metadata": {"title": "Tiny atlases", "creators": creators, **self.facts}, "files": files}

    def file_requests(self) -> list[tuple[str, str | None]]:
        return [request for request in self.asked if request[0].startswith("/content/")]


@pytest.fixture
def zenodo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zenodo]:
    """A record with two files, and an empty cache."""
    monkeypatch.setenv("NEUROGEN_MODELS", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("NEUROGEN_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    made = Zenodo({"t2w.nii.gz": bytes(range(256)) * 4000, "more/readme.txt": b"hello"})

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Print nothing."""

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            made.asked.append((self.path, wanted))
            if made.status != 200:
                self.send_error(made.status)
            elif self.path == "/api/records/17023473":
                self.send(json.dumps(made.answer()).encode())
            elif self.path.startswith("/content/"):
                name = list(made.files)[int(self.path.rpartition("/")[2])]
                start = 0 if made.ignores_range or not wanted else int(wanted[len("bytes=") : -1])
                self.send(made.replaced.get(name, made.files[name]), start)
            else:
                self.send_error(404)

        def send(self, body: bytes, start: int = 0) -> None:
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            limit, content = made.break_after, self.path.startswith("/content/")
            end = min(len(body), start + limit) if limit is not None and content else len(body)
            for begin in range(start, end, 65536):
                self.wfile.write(body[begin : min(begin + 65536, end)])
                time.sleep(0.01 if made.slow and content else 0)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # clients that stop break their connection
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        made.api = f"http://127.0.0.1:{server.server_address[1]}/api/records"
        yield made
        server.shutdown()


def fetch(zenodo: Zenodo, out: Path, progress: Progress | None = None) -> list[str]:
    """Fetch the record and return the names of what was written."""
    fetched = fetch_sample(NAME, out, progress or Progress(), accept_licence=LICENCE, api=zenodo.api)
    return [file.relative_to(out).as_posix() for file in fetched.files]


def parts() -> dict[str, int]:
    """Names and sizes of what the cache keeps of a download."""
    place = samples_folder() / ".incomplete" / "zenodo-17023473"
    return {path.relative_to(place).as_posix(): path.stat().st_size for path in place.rglob("*") if path.is_file()}


# The registry


def test_the_registry_names_what_the_panels_and_documents_name() -> None:
    samples = {sample.name: sample for sample in list_samples()}
    drawn = ["fetal-brain-30w", "fetal-brain-thick", "fetal-brain-25w-tilted", "fetal-brain-4mm"]
    assert list(samples) == [*drawn, "cinema-atlases", "baby-ai-demo"]
    assert samples["cinema-atlases"].record == "17023473"
    assert samples["fetal-brain-30w"].age == samples["fetal-brain-thick"].age == 30.2


def test_a_drawn_sample_has_its_models_licence() -> None:
    from NeuroGenLib.models import resolve

    for sample in list_samples():
        if sample.kind == "drawn":
            assert sample.licence == resolve(sample.model).manifest["license"]


GOOD = """\
- {name: a, kind: drawn, title: T, description: D, licence: CC0-1.0, model: "bundled:x", age: 3, spacing: 1,
   stored: {spacing: [1, 1, 3], tilt: [1, 2, 3], axcodes: LAS}}
- {name: b, kind: zenodo, title: T, description: D, record: "12", next: N}
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("name: a,", "", "entry 1 of .*lacks 'name'"),
        ("name: b", "name: a", "'a' is twice"),
        ("name: a,", "name: ../a,", "'../a'"),
        ("kind: drawn", "kind: drawm", "entry 1 .*no known kind"),
        ("age: 3", "agee: 3", "lacks 'age'"),
        ("next: N", "next: N, recrod: 3", "'recrod'.*record"),
        ("age: 3", "age: old", "'age' in entry 1"),
        ("age: 3", "age: .nan", "'age' in entry 1"),
        ("age: 3", "age: true", "'age' in entry 1"),
        ("spacing: 1,", "spacing: 0,", "'spacing' in entry 1"),
        ("[1, 1, 3]", "[1, 3]", "'spacing' in 'stored' in entry 1"),
        ("tilt: [1, 2, 3],", "", "'stored' in entry 1 .*lacks 'tilt'"),
        ("axcodes: LAS", "axcodes: LAS, thickness: 0", "'thickness' in 'stored' in entry 1"),
        ("age: 3", "age: 3, guide: perhaps", "'guide' in entry 1"),
        ('record: "12"', 'record: "../12"', "'../12'"),
        ('record: "12"', "record: 12", "'record' in entry 2"),
        ("title: T", "title: ''", "'title' in entry 1"),
        ("- {name: a", "- {name: [a", "not readable as YAML"),
    ],
)
def test_a_broken_registry_is_refused(old: str, new: str, says: str, tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_text(GOOD, encoding="utf-8")
    assert [sample.name for sample in list_samples(good)] == ["a", "b"]
    bad = tmp_path / "bad.yaml"
    bad.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError) as error:
        list_samples(bad)
    assert re.search(says, str(error.value), re.DOTALL), str(error.value)


# Drawn samples


angles = st.tuples(*[st.floats(-30, 30)] * 3)
codes = st.sampled_from(["RAS", "LAS", "LPS", "ASL", "SRA", "PIR"])


@given(angles, st.tuples(*[st.floats(0.8, 4)] * 3), codes)
def test_the_tilted_grid_holds_the_whole_field_of_view(
    tilt: tuple[float, ...], spacing: tuple[float, ...], codes: str
) -> None:
    affine = np.array([[1.5, 0, 0, -20], [0, 2, 0, 5], [0, 0, 1, 40], [0, 0, 0, 1.0]])
    volume = Volume(np.zeros((12, 9, 15), np.uint8), affine)
    shape, tilted = tilted_grid(volume, Storage(spacing, tilt, codes))
    corners = np.array([[i, j, k, 1] for i in (-0.5, 11.5) for j in (-0.5, 8.5) for k in (-0.5, 14.5)])
    inside = corners @ (np.linalg.inv(tilted) @ affine).T
    assert (inside[:, :3] > -0.5 - 1e-4).all()
    assert (inside[:, :3] < np.array(shape) - 0.5 + 1e-4).all()
    np.testing.assert_allclose(np.linalg.norm(tilted[:3, :3], axis=0), spacing, rtol=1e-9)


def test_a_stored_scan_lies_where_the_head_lies(phantom: Phantom) -> None:
    storage = Storage((1, 1, 3), (12, -7, 9), "LAS")
    images, labels = stored_scan({"T2w": phantom.image}, phantom.labels, storage)
    assert "".join(labels.axcodes) == "LAS"
    assert np.linalg.det(labels.affine[:3, :3]) < 0, "left-handed"
    assert labels.is_oblique
    np.testing.assert_allclose(labels.spacing, (1, 1, 3), rtol=1e-9)
    assert images["T2w"].same_space(labels)
    for value in np.unique(phantom.labels.array)[1:]:
        centres = [
            nibabel.affines.apply_affine(one.affine, np.argwhere(one.array == value)).mean(axis=0)
            for one in (phantom.labels, labels)
        ]
        assert np.linalg.norm(centres[0] - centres[1]) < 0.6, value
        sizes = [(one.array == value).sum() * one.voxel_volume_ml for one in (phantom.labels, labels)]
        assert sizes[1] == pytest.approx(sizes[0], rel=0.1)


@pytest.mark.parametrize("thickness", [8.0, 12.0])
def test_a_plane_is_as_wide_as_the_slices_are_thick(phantom: Phantom, thickness: float) -> None:
    """A plane one voxel thin, in slices that are 4 mm apart: a Gaussian of the given width at half maximum."""
    plane = np.zeros(phantom.image.shape, np.float32)
    plane[:, :, phantom.image.shape[2] // 2] = 1
    everywhere = phantom.labels.with_array(np.ones(phantom.labels.shape, np.uint8))
    storage = Storage((2, 2, 4), (0, 0, 0), "LAS", thickness)
    images, labels = stored_scan({"T2w": phantom.image.with_array(plane)}, everywhere, storage)
    assert images["T2w"].same_space(labels)
    seen = images["T2w"].array.mean(axis=(0, 1)).astype(float)
    place = 4.0 * np.arange(len(seen))
    middle = (seen * place).sum() / seen.sum()
    width = np.sqrt((seen * (place - middle) ** 2).sum() / seen.sum()) * np.sqrt(8 * np.log(2))
    assert width == pytest.approx(thickness, rel=0.1)
    without, _labels = stored_scan(
        {"T2w": phantom.image.with_array(plane)}, everywhere, Storage((2, 2, 4), (0, 0, 0), "LAS")
    )
    assert np.count_nonzero(without["T2w"].array.mean(axis=(0, 1)) > 0.02) < np.count_nonzero(seen > 0.02)


def test_a_guide_is_the_same_brain_reversed() -> None:
    image = Volume(np.array([0.0, 2.0, 5.0, 1.0], np.float32).reshape(4, 1, 1), LEFT_HANDED)
    labels = image.with_array(np.array([0, 1, 2, 0], np.uint8).reshape(4, 1, 1))
    guide = reversed_intensities(image, labels)
    assert guide.array.ravel().tolist() == [0, 3, 0, 0]
    np.testing.assert_array_equal(guide.affine, LEFT_HANDED)


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn samples have 6 mm voxels, so that a test need not wait."""
    from dataclasses import replace

    from NeuroGenLib.samples import fetch as module

    monkeypatch.setattr(module, "find_sample", lambda name: replace(find_sample(name), spacing=6.0))


@pytest.mark.parametrize("name", ["fetal-brain-30w", "fetal-brain-thick", "fetal-brain-25w-tilted", "fetal-brain-4mm"])
def test_a_head_is_drawn_and_recorded(name: str, coarse: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROGEN_OFFLINE", "1")
    fetched = fetch_sample(name, tmp_path / "out")
    guide = ["guide.nii.gz"] if "4mm" in name else []
    assert [file.name for file in fetched.files] == [
        *("T2w.nii.gz", *guide, "labels.nii.gz", "labels.tsv", "provenance.json"),
    ]
    assert all(file.is_file() for file in fetched.files)
    image, labels = (nibabel.load(tmp_path / "out" / file) for file in ("T2w.nii.gz", "labels.nii.gz"))
    np.testing.assert_allclose(image.affine, labels.affine)
    assert set(np.unique(labels.dataobj)) <= set(range(9))
    assert len(np.unique(labels.dataobj)) > 4
    assert (np.linalg.det(image.affine[:3, :3]) < 0) == (name != "fetal-brain-30w")
    record = json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))
    assert record["parameters"]["sample"] == name
    assert record["parameters"]["age"] == find_sample(name).age
    assert record["licence"] == "CC0-1.0"
    assert "not a norm" in record["shows"]
    assert "research use" in record["notice"]
    assert fetched.notice == record["shows"]


def test_a_cancel_while_drawing_leaves_nothing(coarse: None, tmp_path: Path) -> None:
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        fetch_sample("fetal-brain-30w", tmp_path / "out", progress)
    assert list(tmp_path.iterdir()) == []


def test_a_licence_that_is_not_the_drawn_samples_is_refused(tmp_path: Path) -> None:
    with raises("access-denied", "CC0-1.0", "MIT"):
        fetch_sample("fetal-brain-30w", tmp_path / "out", accept_licence="MIT")


# Downloads


def test_the_offer_says_title_licence_and_size_and_fetches_nothing(zenodo: Zenodo) -> None:
    offer = sample_offer(NAME, zenodo.api)
    assert (offer.title, offer.licence, offer.creators) == ("Tiny atlases", LICENCE, ("Doe, Jane", "Roe, Richard"))
    assert offer.size == 256 * 4000 + 5
    assert offer.size_text == "1.0 MB"
    assert offer.files == ("t2w.nii.gz", "more/readme.txt")
    assert zenodo.file_requests() == []


@pytest.mark.parametrize("accepted", [None, "mit", "cc-by", ""])
def test_nothing_is_fetched_without_the_licence(accepted: str | None, zenodo: Zenodo, tmp_path: Path) -> None:
    with raises("access-denied", "--accept-licence", "cc-by-4.0") as error:
        fetch_sample(NAME, tmp_path / "out", accept_licence=accepted, api=zenodo.api)
    assert LICENCE in error.value.problem
    assert zenodo.file_requests() == []
    assert not (tmp_path / "out").exists()
    assert parts() == {}


def test_a_record_without_licence_says_so(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.facts = {}
    with raises("access-denied", "--accept-licence"):
        fetch_sample(NAME, tmp_path / "out", api=zenodo.api)


def test_a_record_arrives_whole_with_its_provenance(zenodo: Zenodo, tmp_path: Path) -> None:
    assert fetch(zenodo, tmp_path / "out") == ["more/readme.txt", "provenance.json", "t2w.nii.gz"]
    assert (tmp_path / "out" / "t2w.nii.gz").read_bytes() == zenodo.files["t2w.nii.gz"]
    record = json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))
    assert record["licence"] == record["parameters"]["accepted_licence"] == LICENCE
    assert record["source"].endswith("17023473")
    assert record["files"][1] == {"name": "more/readme.txt", "size": 5, "md5": "5d41402abc4b2a76b9719d911017c592"}
    assert parts() == {}, "the cache keeps no second copy"


@pytest.mark.parametrize("ignores_range", [False, True])
def test_a_broken_download_goes_on(ignores_range: bool, zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.break_after = 300_000
    with raises("network-failed", "t2w.nii.gz", kind=NeuroGenError):
        fetch(zenodo, tmp_path / "out")
    assert parts() == {"t2w.nii.gz.part": 300_000}
    assert not (tmp_path / "out").exists()
    zenodo.break_after, zenodo.ignores_range = None, ignores_range
    fetch(zenodo, tmp_path / "out")
    assert zenodo.file_requests()[1] == ("/content/0", "bytes=300000-")
    assert (tmp_path / "out" / "t2w.nii.gz").read_bytes() == zenodo.files["t2w.nii.gz"]


def test_a_cancel_keeps_what_has_arrived_in_the_cache_alone(zenodo: Zenodo, tmp_path: Path) -> None:
    class Impatient(Progress):
        def show(self, step: float, total: float, message: str) -> None:
            if "downloading" in message and step > 0.2 * total:
                self.cancel()

    zenodo.slow = True
    with pytest.raises(Cancelled):
        fetch(zenodo, tmp_path / "out", Impatient())
    assert list(parts()) == ["t2w.nii.gz.part"]
    assert 100_000 < parts()["t2w.nii.gz.part"] < 256 * 4000
    assert not (tmp_path / "out").exists()
    zenodo.slow = False
    assert "t2w.nii.gz" in fetch(zenodo, tmp_path / "out")
    assert zenodo.file_requests()[1][1] is not None


@pytest.mark.parametrize("content", [bytes(256 * 4000), bytes(256 * 4000 + 9)], ids=["other", "longer"])
def test_a_damaged_file_is_refused_and_removed(content: bytes, zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.replaced["t2w.nii.gz"] = content
    with raises("network-failed", "t2w.nii.gz", kind=NeuroGenError):
        fetch(zenodo, tmp_path / "out")
    assert parts() == {}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("status", "named", "code", "exit_code"),
    [
        (404, "17023473", "file-missing", 2),
        (403, "17023473", "access-denied", 1),
        (429, "17023473", "network-failed", 1),
        (500, "500", "network-failed", 1),
    ],
)
def test_a_refusal_of_the_server_is_explained(
    status: int, named: str, code: Code, exit_code: int, zenodo: Zenodo
) -> None:
    zenodo.status = status
    with raises(code, named, kind=NeuroGenError) as error:
        sample_offer(NAME, zenodo.api)
    assert error.value.exit_code == exit_code
    assert error.value.remedy


def test_a_server_that_is_not_there_is_explained(zenodo: Zenodo) -> None:
    with raises("network-failed", "17023473", kind=NeuroGenError):
        sample_offer(NAME, "http://127.0.0.1:9/api/records")


@pytest.mark.parametrize("change", ["[]", "no json", '{"metadata": {"title": "x"}, "files": []}'])
def test_an_answer_that_is_none_is_explained(change: str, zenodo: Zenodo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "dumps", lambda _: change)
    with raises("network-failed", 17023473, kind=NeuroGenError):
        sample_offer(NAME, zenodo.api)


@pytest.mark.parametrize("key", ["../x.nii", "/etc/x", "a\\b", "C:x", "a/../../b", "Provenance.json", "T2W.nii.gz"])
def test_names_that_lead_elsewhere_are_refused(key: str, zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.files[key] = b"x"
    with pytest.raises(InputError) as error:
        fetch(zenodo, tmp_path / "out")
    assert key in error.value.problem
    assert zenodo.file_requests() == []


def test_a_file_that_is_read_from_the_disk_is_refused(zenodo: Zenodo, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = zenodo.answer()
    answer["files"][0]["links"]["self"] = "file:///etc/passwd"
    monkeypatch.setattr(Zenodo, "answer", lambda _: answer)
    with raises("network-failed", "t2w.nii.gz", kind=NeuroGenError):
        sample_offer(NAME, zenodo.api)


@pytest.mark.parametrize("variable", ["NEUROGEN_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_asked(
    variable: str, zenodo: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    calls: tuple[Callable[[], object], ...] = (
        lambda: sample_offer(NAME, zenodo.api),
        lambda: fetch(zenodo, tmp_path / "out"),
    )
    for call in calls:
        with raises("network-failed", f"'neurogen samples get {NAME} --out DIR'", kind=NeuroGenError):
            call()
    assert zenodo.asked == []


def test_two_downloads_of_one_record_do_not_mix(zenodo: Zenodo, tmp_path: Path) -> None:
    import filelock

    lock = samples_folder() / ".incomplete" / "zenodo-17023473.lock"
    lock.parent.mkdir(parents=True)
    with filelock.FileLock(lock), raises("file-occupied", kind=NeuroGenError):
        fetch(zenodo, tmp_path / "out")
    assert "t2w.nii.gz" in fetch(zenodo, tmp_path / "out")


# Archives


def zipped(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_an_archive_is_unpacked_into_a_folder_of_its_name(zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.files["atlas.zip"] = zipped(**{"deep/": b"", "deep/a.nii": b"A" * 10, "b.txt": b"B"})
    assert "atlas/deep/a.nii" in fetch(zenodo, tmp_path / "out")
    assert (tmp_path / "out/atlas/deep/a.nii").read_bytes() == b"A" * 10
    assert not (tmp_path / "out/atlas.zip").exists()


@pytest.mark.parametrize("name", ["../up.txt", "/top.txt", "c:/x", "a/../../x"])
def test_an_archive_that_reaches_outside_is_refused(name: str, zenodo: Zenodo, tmp_path: Path) -> None:
    zenodo.files["atlas.zip"] = zipped(**{"good.txt": b"x", name: b"bad"})
    with pytest.raises(InputError) as error:
        fetch(zenodo, tmp_path / "out")
    assert name in error.value.problem
    assert "atlas.zip" in error.value.problem
    assert {path.name for path in tmp_path.iterdir()} == {"cache"}
    assert parts() == {}


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "bomb.zip"
    archive.write_bytes(zipped(zeros=bytes(5_000_000)))
    with raises("file-damaged", "bomb.zip"):
        unpack(archive, tmp_path / "out", most_bytes=4_000_000)
    assert len(unpack(archive, tmp_path / "out", most_bytes=5_000_000)) == 1


def test_unpacking_says_how_far_it_is_and_can_be_cancelled(tmp_path: Path) -> None:
    class Stopping(Progress):
        seen: list[float]

        def show(self, step: float, total: float, *_: object) -> None:
            self.seen.append(step / total)
            if len(self.seen) == most:
                self.cancel()

    archive = tmp_path / "large.zip"
    archive.write_bytes(zipped(a=bytes(3 * 2**20), b=bytes(2**20)))
    most, progress = 5, Stopping()
    progress.seen = []
    unpack(archive, tmp_path / "whole", progress)
    assert progress.seen == [0.25, 0.5, 0.75, 1.0]
    most, progress = 2, Stopping()
    progress.seen = []
    with pytest.raises(Cancelled):
        unpack(archive, tmp_path / "part", progress)


def test_an_archive_that_holds_more_than_it_says_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped(a=bytes(5000)))
    for field_at in (22, content.index(b"PK\x01\x02") + 24):  # the unpacked size, in both headers
        content[field_at : field_at + 4] = (100).to_bytes(4, "little")
    archive = tmp_path / "liar.zip"
    archive.write_bytes(content)
    with raises("file-damaged", "liar.zip"):
        unpack(archive, tmp_path / "out", most_bytes=1000)
    assert (tmp_path / "out" / "a").stat().st_size <= 100


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped(a=bytes(range(256)) * 50))
    content[60] ^= 255
    archive = tmp_path / "broken.zip"
    archive.write_bytes(content)
    with raises("file-damaged", "broken.zip"):
        unpack(archive, tmp_path / "out")


@given(st.lists(st.text(alphabet="aA./\\:\x00 b", min_size=1, max_size=6), max_size=4))
def test_safe_names_stay_inside_and_apart(names: list[str]) -> None:
    from pathlib import PurePosixPath, PureWindowsPath

    try:
        accepted = require_safe_names(names, "here")
    except InputError:
        return
    assert len({name.lower() for name in accepted}) == len(accepted)
    for kind in (PurePosixPath, PureWindowsPath):
        for name in accepted:
            path = kind(name)
            assert not path.is_absolute()
            assert not path.drive
            assert ".." not in path.parts


# The commands


def test_the_list_names_every_sample(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["samples", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["samples"]
    assert [row["name"] for row in rows] == [sample.name for sample in list_samples()]
    assert cli.main(["samples", "list"]) == 0
    assert "fetal-brain-thick" in capsys.readouterr().out


def test_the_command_shows_the_licence_and_then_takes_it(
    zenodo: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "ZENODO_API", zenodo.api)
    words = ["samples", "get", NAME, "--out", str(tmp_path / "out"), "--progress", "json"]
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert all(text in said for text in ("Tiny atlases", "Doe, Jane", "1.0 MB", f"--accept-licence {LICENCE}"))
    assert cli.main([*words, "--accept-licence", LICENCE.upper(), "--json"]) == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert answer["written"][-1] == str(tmp_path / "out" / "t2w.nii.gz")
    assert "atlas open" in answer["next"]
    steps = [json.loads(line)["progress"] for line in printed.err.splitlines()]
    assert steps == sorted(steps)
    assert steps[-1] == 1


def test_the_command_says_what_is_on_offer(
    zenodo: Zenodo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "ZENODO_API", zenodo.api)
    assert cli.main(["samples", "info", NAME, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["licence"], answer["size"], answer["needs_acceptance"]) == (LICENCE, 1_024_005, True)
    assert cli.main(["samples", "info", NAME]) == 0
    assert f"licence   {LICENCE}" in capsys.readouterr().out
