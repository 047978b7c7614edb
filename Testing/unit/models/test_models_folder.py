"""A model folder: written whole, read only when everything in it is what the manifest says."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib import models
from NeuroGenLib.core.errors import Code, InputError, NeuroGenError
from NeuroGenLib.models import ModelFolder, load_tensors, opening, write_model
from NeuroGenLib.models.folder import require_relative_name
from Testing.raising import raises


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    grid = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    return {"grid": grid, "turned": grid.transpose(0, 2), "same memory": grid.view(-1)}


@pytest.fixture
def model(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> ModelFolder:
    manifest = {"name": "Test atlas", "license": "CC0-1.0", "labels": [{"value": 1, "name": "white matter"}]}
    table = "label\tname\n1\twhite matter\n"
    return write_model(
        tmp_path / "model", "atlas", tensors, manifest, "# Test atlas\n", extra_files={"tables/labels.tsv": table}
    )


def edit(model: ModelFolder, **changes: object) -> Path:
    path = model.path / "neurogen.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")
    return model.path


def test_what_is_written_is_read_back(model: ModelFolder, tensors: dict[str, torch.Tensor]) -> None:
    folder = ModelFolder.read(model.path)
    assert folder.kind == "atlas"
    assert folder.card == "# Test atlas\n"
    assert folder.manifest["name"] == "Test atlas"
    assert folder.reference == str(model.path)
    assert folder.revision is None
    assert folder.file("tables/labels.tsv").read_text(encoding="utf-8").startswith("label\tname")
    loaded = load_tensors(folder)
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def test_checksums_and_sizes_are_those_of_the_files(model: ModelFolder) -> None:
    listed = json.loads((model.path / "neurogen.json").read_text(encoding="utf-8"))["files"]
    assert set(listed) == {"model.safetensors", "tables/labels.tsv"}
    for name, facts in listed.items():
        content = (model.path / name).read_bytes()
        assert facts == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    assert model.size == sum(len((model.path / name).read_bytes()) for name in listed)


def test_a_manifest_that_was_read_can_be_written_again(model: ModelFolder, tmp_path: Path) -> None:
    second = write_model(tmp_path / "second", "synthesis", load_tensors(model), model.manifest, "card")
    assert second.kind == "synthesis"
    assert set(second.manifest["files"]) == {"model.safetensors"}


def test_failed_writing_leaves_what_was_there(model: ModelFolder, tensors: dict[str, torch.Tensor]) -> None:
    before = (model.path / "neurogen.json").read_bytes()
    with raises("value-invalid"):
        write_model(model.path, "atlas", tensors, {"training": {"loss": float("nan")}}, "card")
    assert (model.path / "neurogen.json").read_bytes() == before
    assert [item.name for item in model.path.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("name", ["../outside.json", "/etc/labels.tsv", "C:/labels.tsv", "sub\\labels.tsv"])
def test_extra_files_stay_inside(tmp_path: Path, tensors: dict[str, torch.Tensor], name: str) -> None:
    with raises("path-unsafe"):
        write_model(tmp_path / "model", "atlas", tensors, {}, "card", extra_files={name: "text"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [("run.py", "file-type"), ("model.pth", "file-type"), ("neurogen.json", "value-conflict")],
)
def test_extra_files_may_not_be_code(tmp_path: Path, tensors: dict[str, torch.Tensor], name: str, code: Code) -> None:
    with raises(code, name):
        write_model(tmp_path / "model", "atlas", tensors, {}, "card", extra_files={name: "text"})


@pytest.mark.parametrize(
    "name",
    [
        "../../secret",
        "/etc/passwd",
        "a/../../b",
        "C:\\b",
        "C:b",
        "a\\b",
        "",
        "a//b",
        "./a",
        "..",
        "a/",
        "a\x00b",
        "con:",
    ],
)
def test_manifest_may_not_name_files_outside(model: ModelFolder, name: str) -> None:
    files = {**model.manifest["files"], name: {"sha256": "0" * 64, "size": 1}}
    with raises("path-unsafe"):
        ModelFolder.read(edit(model, files=files))


@given(st.lists(st.sampled_from(["a", "b.json", "..", ".", "", "C:", "x\\y", "d.d"]), min_size=1, max_size=5))
def test_accepted_names_never_leave_the_folder(parts: list[str]) -> None:
    name = "/".join(parts)
    try:
        accepted = require_relative_name(name, "a test")
    except InputError:
        return
    root = Path("root").resolve()
    assert (root / accepted).resolve().is_relative_to(root)
    assert (root / accepted).resolve() != root
    assert "\\" not in accepted
    assert ":" not in accepted


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_links_to_outside_are_refused(model: ModelFolder, tmp_path: Path) -> None:
    outside = tmp_path / "outside.safetensors"
    (model.path / "model.safetensors").replace(outside)
    (model.path / "model.safetensors").symlink_to(outside)
    with raises("path-unsafe"):
        ModelFolder.read(model.path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"format": "other"}, "neurogen-model"),
        ({"schema": "1"}, "'schema'"),
        ({"schema": True}, "'schema'"),
        ({"schema": 0}, "'schema'"),
        ({"kind": None}, "'kind'"),
        ({"kind": ""}, "'kind'"),
        ({"files": None}, "'files'"),
        ({"files": {}}, "model.safetensors"),
        ({"files": {"model.safetensors": {"size": 3}}}, "sha256"),
        ({"files": {"model.safetensors": {"size": "3", "sha256": "0" * 64}}}, "size"),
        ({"files": {"model.safetensors": []}}, "size"),
        ({"citation": "a paper"}, "'citation'"),
        ({"network": [1]}, "'network'"),
    ],
)
def test_wrong_manifests_name_the_field(model: ModelFolder, changes: dict[str, object], named: str) -> None:
    with raises("model-damaged", named):
        ModelFolder.read(edit(model, **changes))


def test_newer_schema_asks_for_an_update(model: ModelFolder) -> None:
    with raises("model-newer", kind=NeuroGenError) as caught:
        ModelFolder.read(edit(model, schema=99))
    assert caught.value.exit_code == 1
    assert "Update NeuroGen" in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "file-type"),
        (b"{", "file-type"),
        (b"[1, 2]", "model-damaged"),
        (b"\xff\xfe\x00", "file-type"),
        (b"null", "model-damaged"),
    ],
)
def test_broken_manifest_is_named(model: ModelFolder, content: bytes, code: Code) -> None:
    (model.path / "neurogen.json").write_bytes(content)
    with raises(code, "neurogen.json"):
        ModelFolder.read(model.path)


def test_missing_file_is_named(model: ModelFolder) -> None:
    (model.path / "tables" / "labels.tsv").unlink()
    with raises("model-damaged", "tables/labels.tsv"):
        ModelFolder.read(model.path)


def test_truncated_weights_are_refused(model: ModelFolder) -> None:
    weights = model.path / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 5)
    with raises("model-damaged"):
        ModelFolder.read(model.path, verify=False)


def test_altered_byte_is_found_by_the_checksum(model: ModelFolder) -> None:
    weights = model.path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    ModelFolder.read(model.path, verify=False)
    with raises("model-damaged", "model.safetensors"):
        ModelFolder.read(model.path)


def test_large_files_are_hashed_on_request_only(model: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("NeuroGenLib.models.folder.HASHED_ON_OPENING", 64)
    weights = model.path / "model.safetensors"
    weights.write_bytes(bytes(weights.stat().st_size))
    folder = ModelFolder.read(model.path)
    with raises("model-damaged", "model.safetensors"):
        folder.verify()


@pytest.mark.parametrize("content", [b"not safetensors at all", b"", (2**62).to_bytes(8, "little") + b"{}"])
def test_foreign_weights_are_refused(model: ModelFolder, content: bytes) -> None:
    (model.path / "model.safetensors").write_bytes(content)
    facts = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    folder = ModelFolder.read(edit(model, files={"model.safetensors": facts}))
    with raises("model-damaged"):
        load_tensors(folder)


def test_wrong_folder_names_the_nearest(model: ModelFolder) -> None:
    with raises("model-missing", "model"):
        ModelFolder.read(model.path.with_name("modle"))
    with raises("model-damaged", "neurogen.json"):
        ModelFolder.read(model.path.parent)
    with raises("model-damaged"):
        ModelFolder.read(model.path / "model.safetensors")


class _Opened(models.Model):
    """A capability that needs no network."""

    kind = "atlas"
    title = "an atlas"

    @classmethod
    def build(cls, folder, tensors, device):  # noqa: ARG003
        return cls(folder, device)


def test_open_model_hands_the_folder_to_the_capability_of_its_kind(
    model: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(opening.CAPABILITIES, "atlas", f"{__name__}:_Opened")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[_Opened.__module__])
    opened = models.open_model(model.path, device="cpu")
    assert opened.folder.path == model.path
    assert opened.device == torch.device("cpu")


def test_unknown_kind_names_the_nearest(model: ModelFolder) -> None:
    with raises("model-kind", "atals", "atlas"):
        models.open_model(edit(model, kind="atals"), device="cpu")


def test_bundled_models_are_found_by_name(model: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = model.path.parent / "Resources" / "models"
    bundle.mkdir(parents=True)
    model.path.rename(bundle / "fetal-test")
    (bundle / "no model").mkdir()
    monkeypatch.setattr(opening, "resources_folder", lambda: bundle.parent)
    assert models.bundled_models() == ["fetal-test"]
    folder = models.resolve("bundled:fetal-test")
    assert (folder.reference, folder.path) == ("bundled:fetal-test", bundle / "fetal-test")
    with raises("model-missing", "fetal-test"):
        models.resolve("bundled:fetal-tset")
    with raises("model-missing", "bundled:fetal-test"):
        models.resolve("fetal-test")


def test_hub_name_without_its_prefix_is_explained() -> None:
    with raises("model-missing", "hf:some-org/some-model"):
        models.resolve("some-org/some-model")
