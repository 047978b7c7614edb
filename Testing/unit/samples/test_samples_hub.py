"""Samples of the hub: their entries in the registry, and downloads from a local stand-in."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from NeuroGenLib import cli
from NeuroGenLib.core.errors import Cancelled, InputError, NeuroGenError
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.samples import fetch, fetch_sample, list_samples, sample_offer
from NeuroGenLib.samples.registry import find_sample
from NeuroGenLib.spatial.volume import Volume
from Testing.hub_server import HubServer, Repository
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME = "baby-ai-demo"
REPOSITORY = "almalennartsson/baby-ai"
T1W, T2W = "demo_t1w_input.nii.gz", "demo_t2w_input.nii.gz"
LICENCE = "cc-by-nc-4.0"
CARD = f"---\nlicense: {LICENCE}\ntags: [mri]\n---\n# BABY-AI\n".encode()
BLOCK = 64 * 1024
FILES = {
    T1W: bytes(range(256)) * 600,
    T2W: bytes(range(255, -1, -1)) * 1200,
    "pretrained_weights.pth": b"large",
    "infant_atlas.nii.gz": b"atlas",
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("NEUROGEN_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NEUROGEN_MODELS", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", BLOCK)
    return tmp_path / "cache"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


@pytest.fixture
def repository(hub: HubServer) -> Repository:
    hub.repositories[REPOSITORY] = repository = Repository()
    repository.commit({**FILES, "README.md": CARD})
    return repository


def get(out: Path, progress: Progress | None = None, licence: str = LICENCE) -> list[str]:
    """Fetch the sample and return the names of what was written."""
    fetched = fetch_sample(NAME, out, progress or Progress(), accept_licence=licence)
    return [file.relative_to(out).as_posix() for file in fetched.files]


def downloads(hub: HubServer) -> list[str]:
    """Names of the files that were asked for."""
    return [request.path.rpartition("/")[2] for request in hub.requests if "/resolve/" in request.path]


def kept(cache: Path) -> dict[str, int]:
    """Names and sizes of images in the cache, whole and in part."""
    return {path.name: path.stat().st_size for path in cache.rglob("demo_*")}


# The registry

GOOD = (
    '- {name: a, kind: hub, title: T, description: D, reference: "hf:org/repo@v1", files: [x.nii.gz, y/z.nii], next: N}'
)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("next: N", "nextt: N", "lacks 'next'"),
        ("hf:org/repo@v1", "org repo", "'org repo'"),
        ("hf:org/repo@v1", "hf:org/repo/deep", "'hf:org/repo/deep' in entry 1 .*names a folder"),
        ("[x.nii.gz, y/z.nii]", "x.nii.gz", "'files' in entry 1"),
        ("[x.nii.gz, y/z.nii]", "[]", "'files' in entry 1"),
        ("[x.nii.gz, y/z.nii]", "[3]", "'files' in entry 1"),
        ("y/z.nii", "../z.nii", r"'\.\./z\.nii' in entry 1"),
        ("y/z.nii", "X.nii.gz", r"'X\.nii\.gz' is twice in entry 1"),
        ("y/z.nii", "provenance.json", r"'provenance\.json' is twice in entry 1"),
        ("next: N", "next: N, licence: MIT", "unknown field 'licence'"),
    ],
)
def test_a_broken_entry_is_refused(old: str, new: str, says: str, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(GOOD, encoding="utf-8")
    (sample,) = list_samples(good)
    assert (sample.reference, sample.files) == ("hf:org/repo@v1", ("x.nii.gz", "y/z.nii"))
    bad.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError) as error:
        list_samples(bad)
    assert re.search(says, str(error.value)), str(error.value)


# What is on offer


def test_the_offer_says_licence_and_size_and_fetches_no_image(hub: HubServer, repository: Repository) -> None:
    offer = sample_offer(NAME)
    assert (offer.licence, offer.creators, offer.files) == (LICENCE, ("almalennartsson",), (T1W, T2W))
    assert offer.size == 256 * 1800
    assert offer.page.endswith(f"/{REPOSITORY}")
    assert offer.needs_acceptance
    assert downloads(hub) == ["README.md"]


@pytest.mark.parametrize(
    "card",
    [
        None,
        b"# No head",
        b"---\ntags: [mri]\n---\n",
        b"---\nlicense: [broken\n---\n",
        b"---\n- a list\n---\n",
        b"---\nlicense: ''\n---\n",
        b'---\nlicense: "mit\\e[2J"\n---\n',
        b"---\nlicense: 3\n---\n",
        b"---\nlicense: \xff\n---\n",
    ],
)
def test_without_a_readable_licence_it_is_not_stated(card: bytes | None, hub: HubServer, tmp_path: Path) -> None:
    hub.repositories[REPOSITORY] = repository = Repository()
    repository.commit(FILES if card is None else {**FILES, "README.md": card})
    with raises("access-denied", "not-stated", "--accept-licence"):
        fetch_sample(NAME, tmp_path / "out")
    assert T1W in get(tmp_path / "out", licence="not-stated")


@pytest.mark.parametrize("accepted", [None, "mit", ""])
def test_no_image_is_fetched_without_the_licence(
    accepted: str | None, hub: HubServer, repository: Repository, tmp_path: Path
) -> None:
    with raises("access-denied", f"--accept-licence {LICENCE}"):
        fetch_sample(NAME, tmp_path / "out", accept_licence=accepted)
    assert downloads(hub) == ["README.md"]
    assert not (tmp_path / "out").exists()


# Downloads


def test_the_pair_arrives_with_its_provenance_and_nothing_else(
    hub: HubServer, repository: Repository, cache: Path, tmp_path: Path
) -> None:
    assert get(tmp_path / "out") == [T1W, T2W, "provenance.json"]
    for name in (T1W, T2W):
        assert (tmp_path / "out" / name).read_bytes() == FILES[name]
    assert sorted(downloads(hub)) == ["README.md", T1W, T2W]
    record = json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))
    assert record["revision"] == repository.names["main"]
    assert record["licence"] == record["parameters"]["accepted_licence"] == LICENCE
    blob = hashlib.sha1(b"blob 153600\0" + FILES[T1W], usedforsecurity=False).hexdigest()
    assert record["files"][0] == {"name": T1W, "size": 153600, "sha256": None, "git_oid": blob}
    assert kept(cache) == {}, "the cache keeps no second copy"


def test_a_pinned_sample_is_that_of_its_commit(
    hub: HubServer, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = repository.names["main"]
    repository.commit({**FILES, "README.md": CARD, T1W: b"replaced"})
    pinned = replace(find_sample(NAME), reference=f"hf:{REPOSITORY}@{first}")
    get(tmp_path / "newest")
    monkeypatch.setattr(fetch, "find_sample", lambda _: pinned)
    get(tmp_path / "pinned")
    assert (tmp_path / "newest" / T1W).read_bytes() == b"replaced"
    assert (tmp_path / "pinned" / T1W).read_bytes() == FILES[T1W]


def test_a_broken_download_goes_on(hub: HubServer, repository: Repository, tmp_path: Path) -> None:
    hub.faults.break_once_after[T2W] = 2 * BLOCK
    get(tmp_path / "out")
    assert (tmp_path / "out" / T2W).read_bytes() == FILES[T2W]
    assert [request.start for request in hub.file_requests(T2W)] == [0, 2 * BLOCK]
    assert len(hub.file_requests(T1W)) == 1


def test_a_cancel_keeps_what_has_arrived_in_the_cache_alone(
    hub: HubServer, repository: Repository, cache: Path, tmp_path: Path
) -> None:
    class Impatient(Progress):
        def show(self, step: float, total: float, message: str) -> None:
            if T2W in message and step > 0.5 * total:
                self.cancel()

    hub.faults.seconds_per_block = 0.02
    with pytest.raises(Cancelled):
        get(tmp_path / "out", Impatient())
    assert not (tmp_path / "out").exists()
    assert kept(cache)[T1W] == len(FILES[T1W])
    assert sample_offer(NAME).size == 256 * 1800, "asking again removes nothing"
    get(tmp_path / "out")
    assert hub.file_requests(T2W)[-1].start > 0
    assert len(hub.file_requests(T1W)) == 1


def test_a_damaged_image_is_refused_and_removed(
    hub: HubServer, repository: Repository, cache: Path, tmp_path: Path
) -> None:
    hub.faults.corrupted.add(T2W)
    with raises("network-failed", f"'{T2W}'", f"hf:{REPOSITORY}", kind=NeuroGenError):
        get(tmp_path / "out")
    assert list(kept(cache)) == [T1W]
    assert not (tmp_path / "out").exists()


def test_a_models_broken_download_stays(hub: HubServer, repository: Repository, cache: Path, tmp_path: Path) -> None:
    """The weights of the same repository, 1.5 GB, may have arrived in part."""
    weights = (
        cache / ".incomplete" / f"{REPOSITORY.replace('/', '--')}@{repository.names['main']}" / "weights.incomplete"
    )
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"half")
    get(tmp_path / "out")
    assert weights.read_bytes() == b"half"


def test_two_downloads_of_one_sample_do_not_mix(
    hub: HubServer, repository: Repository, cache: Path, tmp_path: Path
) -> None:
    import filelock

    lock = cache / "samples" / ".incomplete" / f"hub-{NAME}.lock"
    lock.parent.mkdir(parents=True)
    with filelock.FileLock(lock), raises("file-occupied", kind=NeuroGenError):
        get(tmp_path / "out")
    assert T1W in get(tmp_path / "out")


# What is not there


def test_an_unknown_repository_is_named(hub: HubServer) -> None:
    with raises("model-missing", REPOSITORY):
        sample_offer(NAME)


def test_a_gated_repository_says_what_to_do(hub: HubServer, repository: Repository) -> None:
    repository.gated = True
    with raises("access-denied", kind=NeuroGenError):
        sample_offer(NAME)


def test_a_missing_image_is_named_and_nothing_fetched(hub: HubServer, tmp_path: Path) -> None:
    hub.repositories[REPOSITORY] = repository = Repository()
    repository.commit({T1W: b"x", "README.md": CARD})
    with raises("file-missing", f"hf:{REPOSITORY}", f"'{T2W}'", f"'{NAME}'") as error:
        get(tmp_path / "out")
    assert error.value.remedy
    assert downloads(hub) == []


def test_a_hub_that_is_not_there_is_explained(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with raises("network-failed", kind=NeuroGenError) as error:
        sample_offer(NAME)
    assert f"neurogen samples get {NAME} --out DIR" in error.value.remedy
    assert "models download" not in error.value.remedy


@pytest.mark.parametrize("variable", ["NEUROGEN_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_asked(
    variable: str, hub: HubServer, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    calls: tuple[Callable[[], object], ...] = (lambda: sample_offer(NAME), lambda: get(tmp_path / "out"))
    for call in calls:
        with raises("network-failed", f"'neurogen samples get {NAME} --out DIR'", kind=NeuroGenError):
            call()
    assert hub.requests == []


# The commands


def test_the_command_asks_takes_the_licence_and_says_what_to_do_next(
    hub: HubServer, repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["samples", "list"]) == 0
    assert "T1w and T2w published with BABY-AI (download)" in capsys.readouterr().out
    assert cli.main(["samples", "info", NAME]) == 0
    said = capsys.readouterr().out
    assert all(text in said for text in (LICENCE, "almalennartsson", "0.5 MB, 2 files", T1W, T2W))
    words = ["samples", "get", NAME, "--out", str(tmp_path / "out"), "--json"]
    assert cli.main(words) == 2
    assert f"--accept-licence {LICENCE}" in capsys.readouterr().err
    assert cli.main([*words, "--accept-licence", LICENCE]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["written"] == [str(tmp_path / "out" / name) for name in (T1W, T2W, "provenance.json")]
    assert "superres run" in answer["next"]


def test_what_to_do_next_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The printed command, on an interpolated scan with a guide: its slices are not in the header."""
    from Testing.superres_models import MM, THICKNESS, a_head, in_thick_slices, write_residual_model

    head = a_head()
    in_thick_slices(head, thickness=THICKNESS).resample(like=head, order=3).save(tmp_path / T2W)
    a_head(contrast=-0.4).save(tmp_path / T1W)
    model = write_residual_model(tmp_path / "model")
    command = re.search(r"'neurogen (superres run [^']*)'", find_sample(NAME).next)
    assert command is not None
    words = shlex.split(command[1])
    assert words[words.index("--thickness") + 1] == "4"
    monkeypatch.chdir(tmp_path)
    more = ["--model", str(model), "--spacing", str(MM), "--device", "cpu", "--no-align", "--json"]
    assert cli.main([*words, *more]) == 0
    (stack,) = json.loads(capsys.readouterr().out)["stacks"]
    assert (stack["direction"], stack["thickness_mm"]) == ("axial", 4)
    made = Volume.load(tmp_path / "superres" / "superres.nii.gz")
    np.testing.assert_allclose(made.spacing, MM, rtol=1e-6)
