"""`neurogen doctor` never fails because something is missing; it says so."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from NeuroGenLib.commands import doctor
from NeuroGenLib.core import resources
from NeuroGenLib.version import __version__


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where models would be kept; it does not exist."""
    monkeypatch.setenv("NEUROGEN_MODELS", str(tmp_path / "not" / "there"))
    monkeypatch.delenv("NEUROGEN_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "not" / "there"


def test_the_report_names_versions_devices_and_models(models: Path) -> None:
    report = doctor.examine()
    assert report["NeuroGen"]["version"] == __version__
    assert report["Needed to run models"]["torch"] == torch.__version__
    assert "cores" in report["Devices"]["cpu"]
    assert report["Models"]["folder"] == str(models)
    assert report["Models"]["downloads"] == "can be stored there"
    assert report["Devices"]["memory"].endswith(" GiB")
    assert report["Devices"]["mps"]
    assert report["Needed for scenes outside 3D Slicer"]["slicer-core"]
    assert "GiB free" in report["Models"]["room there"]
    assert not models.exists(), "looking makes no folder"


def test_it_prints_text_or_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.doctor([])
    text = capsys.readouterr().out
    doctor.doctor(["--json"])
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    report = json.loads(line)
    for title, entries in report.items():
        assert title in text
        assert all(name in text for name in entries)


def test_a_models_folder_that_cannot_be_made_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("NEUROGEN_MODELS", str(tmp_path / "file" / "models"))
    report = doctor.examine()
    assert str(tmp_path / "file") in report["Models"]["downloads"]
    assert "GiB free" in report["Models"]["room there"]


def test_a_missing_package_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "lightning":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert doctor.examine()["Needed to train"]["lightning"] == "missing"


def test_a_missing_pytorch_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "PyTorch is missing" in doctor.examine()["Devices"]["gpu"]


def test_a_gpu_is_reported_with_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 1,
        mem_get_info=lambda _: (6 * 2**30, 8 * 2**30),
        get_device_name=lambda _: "Some GPU",
    )
    monkeypatch.setattr(torch, "cuda", card)
    assert doctor.examine()["Devices"]["cuda:0"] == "Some GPU, 6.0 of 8.0 GiB free"


def test_an_installation_without_resources_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "NeuroGenLib")
    assert "Resources folder of NeuroGen is missing" in doctor.examine()["Models"]["bundled"]


@pytest.mark.parametrize("name", ["NEUROGEN_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_is_reported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "used when" in doctor.examine()["Models"]["network"]
    monkeypatch.setenv(name, "1")
    assert "offline" in doctor.examine()["Models"]["network"]


def test_every_package_that_is_named_is_one_of_the_project() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [
        *project["dependencies"],
        *project["optional-dependencies"]["train"],
        *project["optional-dependencies"]["slicer"],
    ]
    known = {text.partition(">=")[0] for text in needed}
    assert set(doctor.INFERENCE + doctor.COMMAND_LINE + doctor.TRAINING + doctor.SCENES) <= known
