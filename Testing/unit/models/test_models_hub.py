"""Models from a hub: fetched once, pinned, resumed, checked, and explained when something is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib import models
from NeuroGenLib.core.errors import Cancelled, InputError, NeuroGenError
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.models import catalogue, opening, published
from NeuroGenLib.models.folder import ModelFolder, load_tensors, write_model
from NeuroGenLib.models.published import Published
from NeuroGenLib.models.reference import HubReference, models_folder
from Testing.hub_server import HubServer, Repository
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = "lab/fetal"
REFERENCE = f"hf:{REPOSITORY}"
BLOCK = 64 * 1024


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("NEUROGEN_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NEUROGEN_MODELS", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # The library hands over blocks of 10 MB; the small files here shall arrive in several.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", BLOCK)
    return tmp_path / "cache"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


def model_files(folder: Path, value: float = 0.0, size: int = 1024) -> dict[str, bytes]:
    noise = torch.rand(size, generator=torch.Generator().manual_seed(1)) + value
    write_model(folder, "atlas", {"noise": noise}, {"name": f"value {value}"}, "# card")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def repository(hub: HubServer, tmp_path: Path) -> Repository:
    hub.repositories[REPOSITORY] = repository = Repository()
    repository.commit({**model_files(tmp_path / "source"), "run.py": b"import os", "weights.pth": b"pickle"})
    return repository


@pytest.fixture
def large_repository(hub: HubServer, tmp_path: Path) -> Repository:
    """Whose weights have 16 blocks."""
    hub.repositories[REPOSITORY] = repository = Repository()
    repository.commit(model_files(tmp_path / "source", size=16 * BLOCK // 4))
    return repository


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in (cache / ".incomplete").rglob("*") if path.suffix != ".lock"]


class Recorder(Progress):
    def __init__(self, cancel_at: float = 2.0) -> None:
        super().__init__()
        self.fractions: list[float] = []
        self.cancel_at = cancel_at

    def show(self, step: float, total: float, message: str) -> None:  # noqa: ARG002
        self.fractions.append(step / total)
        if step / total >= self.cancel_at:
            self.cancel()


def test_model_is_fetched_whole_and_without_code(hub: HubServer, repository: Repository, cache: Path) -> None:
    progress = Recorder()
    folder = models.resolve(REFERENCE, progress=progress)
    assert folder.reference == REFERENCE
    assert folder.revision == repository.names["main"]
    assert folder.path == cache / "hub" / f"lab--fetal@{folder.revision}"
    assert {item.name for item in folder.path.iterdir()} == {"neurogen.json", "model.safetensors", "README.md"}
    expected = torch.rand(1024, generator=torch.Generator().manual_seed(1))
    assert torch.equal(load_tensors(folder)["noise"], expected)
    assert not hub.file_requests("run.py")
    assert not hub.file_requests("weights.pth")
    assert progress.fractions == sorted(progress.fractions)
    assert progress.fractions[-1] == 1
    assert leftovers(cache) == []


def test_second_opening_asks_nothing(hub: HubServer, repository: Repository) -> None:
    first = models.resolve(REFERENCE)
    asked = len(hub.requests)
    assert asked > 0
    for reference in (REFERENCE, f"{REFERENCE}@main", f"{REFERENCE}@{first.revision}"):
        assert models.resolve(reference).path == first.path
        assert models.resolve(reference, offline=True).path == first.path
    assert len(hub.requests) == asked


@pytest.mark.parametrize("variable", ["NEUROGEN_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_without_the_model_says_how_to_bring_it(
    hub: HubServer, repository: Repository, cache: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with raises("network-failed", kind=NeuroGenError) as caught:
        models.resolve(REFERENCE)
    assert f"neurogen models download {REFERENCE}" in caught.value.remedy
    assert str(cache) in caught.value.remedy
    assert "NEUROGEN_MODELS" in caught.value.remedy
    with raises("network-failed", kind=NeuroGenError):
        catalogue.download(REFERENCE)
    assert hub.requests == []


def test_copied_cache_serves_a_machine_without_network(
    hub: HubServer, repository: Repository, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = models.resolve(REFERENCE).revision
    shutil.copytree(cache, tmp_path / "stick")
    monkeypatch.setenv("NEUROGEN_MODELS", str(tmp_path / "stick"))
    monkeypatch.setenv("NEUROGEN_OFFLINE", "1")
    asked = len(hub.requests)
    folder = models.resolve(REFERENCE)
    assert folder.revision == revision
    assert folder.path.is_relative_to(tmp_path / "stick")
    assert len(hub.requests) == asked


def test_hub_that_does_not_answer_is_explained(hub: HubServer, repository: Repository) -> None:
    hub.faults.status = 503
    with raises("network-failed", "503", kind=NeuroGenError):
        models.resolve(REFERENCE)
    hub.shutdown()
    hub.server_close()
    with raises("network-failed", kind=NeuroGenError) as caught:
        models.resolve(REFERENCE)
    assert "neurogen models download" in caught.value.remedy


def test_broken_connection_goes_on_where_it_stopped(hub: HubServer, large_repository: Repository) -> None:
    hub.faults.break_once_after["model.safetensors"] = 10 * BLOCK
    folder = models.resolve(REFERENCE)
    size = folder.file("model.safetensors").stat().st_size
    first, second = (request.start for request in hub.file_requests("model.safetensors"))
    assert first == 0
    assert 8 * BLOCK <= second <= 10 * BLOCK
    assert size <= hub.bytes_sent["model.safetensors"] <= size + 2 * BLOCK


def test_server_without_ranges_still_gives_the_right_file(hub: HubServer, large_repository: Repository) -> None:
    hub.faults.break_once_after["model.safetensors"] = 10 * BLOCK
    hub.faults.ignores_range = True
    folder = models.resolve(REFERENCE)
    expected = large_repository.commits[str(folder.revision)]["model.safetensors"]
    assert folder.file("model.safetensors").read_bytes() == expected


def test_cancelled_download_goes_on_later(hub: HubServer, large_repository: Repository, cache: Path) -> None:
    with pytest.raises(Cancelled):
        models.resolve(REFERENCE, progress=Recorder(cancel_at=0.5))
    assert not (cache / "hub").exists()
    models.resolve(REFERENCE)
    start = hub.file_requests("model.safetensors")[-1].start
    assert start >= 7 * BLOCK
    assert len(hub.file_requests("neurogen.json")) == 1
    assert leftovers(cache) == []


def test_killed_download_goes_on_later(hub: HubServer, large_repository: Repository, cache: Path) -> None:
    hub.faults.seconds_per_block = 0.1
    code = (
        "import huggingface_hub.constants as c; c.DOWNLOAD_CHUNK_SIZE = 65536\n"
        f"from NeuroGenLib import models; models.resolve({REFERENCE!r})"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    child = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        partial = (
            cache / ".incomplete" / f"lab--fetal@{large_repository.names['main']}" / "model.safetensors.incomplete"
        )
        for _ in range(600):
            if partial.is_file() and partial.stat().st_size >= 4 * BLOCK:
                break
            time.sleep(0.05)
    finally:
        child.kill()
        child.wait()
    arrived = partial.stat().st_size
    assert 4 * BLOCK <= arrived < 16 * BLOCK
    assert not (cache / "hub").exists()
    hub.faults.seconds_per_block = 0.0
    folder = models.resolve(REFERENCE)
    assert hub.file_requests("model.safetensors")[-1].start == arrived
    assert (
        folder.file("model.safetensors").read_bytes()
        == large_repository.commits[str(folder.revision)]["model.safetensors"]
    )


@pytest.mark.parametrize("name", ["model.safetensors", "README.md"])
def test_damaged_content_is_refused_and_not_kept(
    hub: HubServer, repository: Repository, cache: Path, name: str
) -> None:
    hub.faults.corrupted.add(name)
    with raises("network-failed", f"'{name}'", kind=NeuroGenError):
        models.resolve(REFERENCE)
    assert not any(path.name.startswith(name) for path in cache.rglob("*"))
    hub.faults.corrupted.clear()
    assert models.resolve(REFERENCE).kind == "atlas"


def test_page_of_a_proxy_in_place_of_the_file_does_not_stay(hub: HubServer, repository: Repository) -> None:
    hub.faults.replaced["model.safetensors"] = b"<html>log in first</html>" * 1000
    with raises("network-failed", kind=NeuroGenError):
        models.resolve(REFERENCE)
    hub.faults.replaced.clear()
    assert models.resolve(REFERENCE).kind == "atlas"


def test_content_that_is_not_what_the_manifest_says_is_refused(
    hub: HubServer, repository: Repository, cache: Path
) -> None:
    files = dict(repository.commits[repository.names["main"]])
    files["model.safetensors"] = files["model.safetensors"][:-1] + b"!"
    repository.commit(files)
    with raises("model-damaged", "model.safetensors"):
        models.resolve(REFERENCE)
    assert leftovers(cache) == []
    assert not any((cache / "hub").glob("*"))


def test_unknown_repository_revision_and_gate_are_told_apart(hub: HubServer, repository: Repository) -> None:
    with raises("model-missing", "lab/feotal"):
        models.resolve("hf:lab/feotal")
    with raises("model-missing", "v9"):
        models.resolve(f"{REFERENCE}@v9")
    repository.gated = True
    with raises("access-denied", kind=NeuroGenError) as caught:
        models.resolve(REFERENCE)
    assert "hf auth login" in caught.value.remedy


def test_repository_without_a_model_is_explained(hub: HubServer) -> None:
    hub.repositories["lab/other"] = Repository()
    hub.repositories["lab/other"].commit({"pytorch_model.bin": b"x"})
    with raises("model-missing", "neurogen.json"):
        models.resolve("hf:lab/other")


def test_repository_with_a_climbing_file_name_is_refused(hub: HubServer, repository: Repository, cache: Path) -> None:
    repository.commit({"neurogen.json": b"{}", "../../evil.json": b"{}"})
    with raises("path-unsafe", "../../evil.json"):
        models.resolve(REFERENCE)
    assert not any(cache.parent.rglob("evil.json"))


def test_full_disk_is_said_before_the_download(
    hub: HubServer, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(100, 90, 10))
    with raises("file-unwritable", kind=NeuroGenError):
        models.resolve(REFERENCE)
    assert not hub.file_requests("model.safetensors")


def test_revisions_stay_pinned_until_asked(hub: HubServer, repository: Repository, tmp_path: Path) -> None:
    old = models.resolve(REFERENCE)
    new_commit = repository.commit(model_files(tmp_path / "newer", value=5.0))
    repository.names["v1"] = str(old.revision)
    assert models.resolve(REFERENCE).revision == old.revision
    assert catalogue.download(REFERENCE).revision == new_commit
    newer = models.resolve(REFERENCE)
    assert newer.revision == new_commit
    assert newer.manifest["name"] == "value 5.0"
    for reference in (f"{REFERENCE}@{old.revision}", f"{REFERENCE}@v1"):
        assert models.resolve(reference).manifest["name"] == "value 0.0"
    assert len(hub.file_requests("model.safetensors")) == 2


def test_model_in_a_subfolder(hub: HubServer, repository: Repository, tmp_path: Path) -> None:
    root, sub = model_files(tmp_path / "root"), model_files(tmp_path / "sub", value=3.0)
    repository.commit({**root, **{f"models/small/{name}": content for name, content in sub.items()}})
    folder = models.resolve(f"{REFERENCE}/models/small")
    assert folder.manifest["name"] == "value 3.0"
    assert {request.path.rpartition("/")[0][-12:] for request in hub.file_requests("model.safetensors")} == {
        "models/small"
    }
    assert [row["reference"] for row in catalogue.list_models() if row["where"] == "downloaded"] == [
        f"{REFERENCE}@{folder.revision}/models/small"
    ]


def test_two_downloads_of_one_model_share_the_work(hub: HubServer, large_repository: Repository) -> None:
    hub.faults.seconds_per_block = 0.02
    code = f"from NeuroGenLib import models; print(models.resolve({REFERENCE!r}).revision)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", code]
    children = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = {child.communicate(timeout=60)[0].strip() for child in children}
    assert answers == {large_repository.names["main"]}
    assert len(hub.file_requests("model.safetensors")) == 1


@pytest.mark.parametrize(
    ("text", "repository", "revision", "subfolder"),
    [
        ("hf:org/repo", "org/repo", None, ""),
        ("hf:org/repo@v1.2", "org/repo", "v1.2", ""),
        ("hf:org/repo@abc/sub/folder", "org/repo", "abc", "sub/folder"),
        ("hf:org/repo/sub", "org/repo", None, "sub"),
    ],
)
def test_references_are_read(text: str, repository: str, revision: str | None, subfolder: str) -> None:
    parsed = HubReference.parse(text)
    assert (parsed.repository, parsed.revision, parsed.subfolder) == (repository, revision, subfolder)
    assert str(parsed) == text


@pytest.mark.parametrize(
    "text", ["hf:", "hf:repo", "hf:/repo", "hf:org/../x", "hf:org/repo@", "hf:org/repo/../y", "hf:a b/c"]
)
def test_wrong_references_are_refused(text: str) -> None:
    with raises("value-invalid", "hf:org/repo"):
        models.resolve(text)


_word = st.from_regex(r"[a-z0-9][a-z0-9_.]{0,5}[a-z0-9]", fullmatch=True)


@given(_word, _word, st.none() | _word, st.lists(_word, max_size=2))
def test_references_survive_text_and_folder_names(org: str, repo: str, revision: str | None, parts: list[str]) -> None:
    reference = HubReference(f"{org}/{repo}", revision, "/".join(parts))
    assert HubReference.parse(str(reference)) == reference
    pinned = reference.at("0" * 40)
    assert HubReference.from_folder_name(pinned.folder_name) == pinned
    assert "/" not in pinned.folder_name


def test_models_folder_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NEUROGEN_MODELS", raising=False)
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    expected = {
        "win32": tmp_path / "Local" / "neurogen" / "models",
        "darwin": tmp_path / "Library" / "Caches" / "neurogen" / "models",
        "linux": tmp_path / "xdg" / "neurogen" / "models",
    }
    for platform, folder in expected.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert models_folder() == folder


# Models that others published


WEIGHTS = b"foreign weights " * 100


def import_weights(checkpoint: Path, destination: Path, **options: Any) -> None:
    content = torch.frombuffer(bytearray(checkpoint.read_bytes()), dtype=torch.uint8)
    beside = (checkpoint.parent / "atlas.txt").read_text(encoding="utf-8")
    write_model(destination, "atlas", {"bytes": content}, {"notice": beside, "training": options}, "card")


def refuse_weights(checkpoint: Path, destination: Path, **options: Any) -> None:
    raise InputError("These weights are of an unknown shape.", "Ask their author.", code="value-invalid")


@pytest.fixture
def entry(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Published:
    hub.repositories["author/weights"] = Repository()
    hub.repositories["author/weights"].commit({"net.pth": WEIGHTS, "atlas.txt": b"read me", "hook.py": b"bad"})
    entry = Published(
        system="other",
        name="Other",
        kind="atlas",
        reference="hf:author/weights",
        files=[{"name": "net.pth"}, {"name": "atlas.txt"}],
        checkpoint="net.pth",
        importer=f"{__name__}:import_weights",
        options={"window": 32},
        license="MIT",
    )
    publish(monkeypatch, entry)
    return entry


def publish(monkeypatch: pytest.MonkeyPatch, entry: Published) -> None:
    monkeypatch.setattr(published, "published_models", lambda: (entry,))
    monkeypatch.setattr(catalogue, "published_models", lambda: (entry,))


def test_published_model_is_imported_once(hub: HubServer, entry: Published, cache: Path) -> None:
    folder = models.resolve("hf:author/weights")
    commit = hub.repositories["author/weights"].names["main"]
    assert folder.path == cache / "imported" / f"author--weights@{commit}"
    assert load_tensors(folder)["bytes"].numpy().tobytes() == WEIGHTS
    assert folder.manifest["notice"] == "read me"
    assert folder.manifest["training"] == {"window": 32}
    assert not hub.file_requests("hook.py")
    assert leftovers(cache) == []
    asked = len(hub.requests)
    assert models.resolve("hf:author/weights", offline=True).revision == commit
    assert len(hub.requests) == asked


@pytest.mark.parametrize("facts", [{"sha256": "0" * 64}, {"size": 7}])
def test_published_file_that_was_replaced_is_refused_before_its_download(
    hub: HubServer, entry: Published, cache: Path, facts: dict[str, Any]
) -> None:
    entry.files[0].update(facts)
    with raises("model-damaged", "net.pth", kind=NeuroGenError):
        models.resolve("hf:author/weights")
    assert not hub.file_requests("net.pth")
    entry.files[0].update(sha256=hashlib.sha256(WEIGHTS).hexdigest(), size=len(WEIGHTS))
    assert models.resolve("hf:author/weights").kind == "atlas"


def test_failed_import_leaves_nothing(
    hub: HubServer, entry: Published, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, Published(**{**vars(entry), "importer": f"{__name__}:refuse_weights"}))
    with raises("value-invalid"):
        models.resolve("hf:author/weights")
    assert leftovers(cache) == []
    assert not (cache / "imported").exists()


def test_missing_published_file_is_named(hub: HubServer, entry: Published) -> None:
    entry.files.append({"name": "gone.nii.gz"})
    with raises("model-missing", "gone.nii.gz"):
        models.resolve("hf:author/weights")


@pytest.mark.parametrize(
    ("importer", "error"),
    [
        (None, ("model-kind", "hf:author/weights")),
        ("NeuroGenLib.no_such_part:read", ("installation-damaged", "'NeuroGenLib.no_such_part'")),
    ],
)
def test_model_without_importer_asks_nothing(
    hub: HubServer, entry: Published, monkeypatch: pytest.MonkeyPatch, importer: str | None, error: tuple[Any, ...]
) -> None:
    publish(monkeypatch, Published(**{**vars(entry), "importer": importer}))
    with raises(*error, kind=NeuroGenError):
        models.resolve("hf:author/weights")
    assert hub.requests == []


def test_shipped_list_of_published_models_is_sound() -> None:
    for entry in published.published_models():
        if entry.reference:
            assert HubReference.parse(entry.reference).repository
        assert entry.kind
        assert entry.citation
        assert not entry.checkpoint or entry.checkpoint in [file["name"] for file in entry.files]
        assert not entry.importer or entry.checkpoint
        for file in entry.files:
            assert set(file) <= {"name", "sha256", "size"}


# What the command line shows


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "Resources"
    model_files(folder / "models" / "tiny")
    monkeypatch.setattr(opening, "resources_folder", lambda: folder)
    return folder


def test_list_and_info(hub: HubServer, repository: Repository, entry: Published, bundle: Path) -> None:
    assert {row["reference"]: row["where"] for row in catalogue.list_models()} == {
        "bundled:tiny": "bundled",
        "hf:author/weights": "published",
    }
    before = catalogue.model_info("hf:author/weights")
    assert (before["where"], before["license"], before["path"]) == ("published", "MIT", None)
    commit = catalogue.download("hf:author/weights").revision
    downloaded = catalogue.download(REFERENCE).revision
    rows = {row["reference"]: row for row in catalogue.list_models()}
    assert {reference: row["where"] for reference, row in rows.items()} == {
        "bundled:tiny": "bundled",
        f"{REFERENCE}@{downloaded}": "downloaded",
        f"hf:author/weights@{commit}": "imported",
    }
    assert rows["bundled:tiny"]["name"] == "value 0.0"
    info = catalogue.model_info(REFERENCE)
    assert (info["where"], info["card"], info["verified"]) == ("downloaded", "# card", None)
    assert info["manifest"]["kind"] == "atlas"
    assert catalogue.model_info("hf:author/weights")["verified"] is False


def test_listed_names_of_published_programs_are_described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for row in catalogue.list_models():
        info = catalogue.model_info(row["reference"])
        assert (info["reference"], info["kind"] if "kind" in info else info["manifest"]["kind"]) == (
            row["reference"],
            row["kind"],
        )
        assert info["citation"]
    assert catalogue.model_info("baby-ai")["reference"] == "hf:almalennartsson/baby-ai"
    with raises("model-missing", "cinema", "neurogen models import cinema"):
        models.resolve("cinema")
    with raises("model-missing", "baby-ai", "hf:almalennartsson/baby-ai"):
        models.resolve("baby-ai")


def test_a_missing_model_is_compared_with_models_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "neurogen.json").write_text("{}", encoding="utf-8")
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("phots", str(tmp_path / "phots")):
        with pytest.raises(InputError) as caught:
            models.resolve(name)
        assert "photos" not in caught.value.remedy
        assert "own" in caught.value.remedy
    with raises("model-missing", "bundled:fetal-sba"):
        models.resolve("fetal-sba")


def test_damaged_cached_model_is_listed_with_its_problem(hub: HubServer, repository: Repository, bundle: Path) -> None:
    folder = catalogue.download(REFERENCE)
    (folder.path / "model.safetensors").write_bytes(b"")
    row = next(row for row in catalogue.list_models() if row["where"] == "downloaded")
    assert "incomplete or was altered" in row["problem"]
    with raises("model-damaged"):
        catalogue.model_info(REFERENCE)


def test_import_of_an_own_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue.IMPORTERS, "other", f"{__name__}:import_weights")
    (tmp_path / "net.pth").write_bytes(WEIGHTS)
    (tmp_path / "atlas.txt").write_text("mine", encoding="utf-8")
    folder = catalogue.import_model("other", tmp_path / "net.pth", tmp_path / "model", window=16)
    assert isinstance(folder, ModelFolder)
    assert json.loads((tmp_path / "model" / "neurogen.json").read_text(encoding="utf-8"))["training"] == {"window": 16}
    with raises("name-unknown", "cinma", "cinema"):
        catalogue.import_model("cinma", tmp_path / "net.pth", tmp_path / "model")
    with raises("file-missing"):
        catalogue.import_model("other", tmp_path / "no.pth", tmp_path / "model")
    with raises("value-invalid"):
        catalogue.download("bundled:tiny")
