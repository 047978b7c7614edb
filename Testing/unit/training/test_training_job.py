"""The course of a training job, and what its model says of it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import pytest
from ddp_script import TinyModule
from lightning.pytorch.callbacks import LambdaCallback

from NeuroGenLib.core.checksums import sha256_of
from NeuroGenLib.core.config import Config, Help, Identifying
from NeuroGenLib.core.files import existing_file, read_json, write_text
from NeuroGenLib.core.folder_lock import LOCK, Owner
from NeuroGenLib.core.job import running_job
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.training import job as training_job
from NeuroGenLib.training.job import common_manifest, run_job
from NeuroGenLib.training.settings import TrainerConfig, TrainJobConfig
from Testing.raising import raises


@dataclass(frozen=True)
class Group(Config):
    """Scans of a group."""

    table: Annotated[Path, Help("Table")]
    include: Annotated[tuple[str, ...], Identifying(), Help("Ids")] = ("sub-ann",)
    root: Annotated[Path | None, Identifying(blank=True), Help("Folder")] = None


@dataclass(frozen=True, kw_only=True)
class Job(TrainJobConfig):
    """A job with ids in a nested group and with folders."""

    unshared = ("note",)

    groups: dict[str, Group] = field(default_factory=dict)
    exclude: Annotated[tuple[str, ...], Identifying(blank=True)] = ("sub-eve",)
    note: str = "for Ann"


def job(out: Path, **more: object) -> Job:
    run = TrainerConfig(out=out, steps=2, device="cpu", threads=1, init_from="/home/ann/first/model")
    groups = {"adults": Group(Path("/home/ann/adults.tsv"), root=Path("/home/ann/scans"))}
    return Job(train=run, name="tiny", attribution=("A paper",), groups=groups, **more)


def test_a_model_is_written_after_the_last_step(tmp_path):
    order = []

    def build(reading: Progress, training: Progress) -> tuple[TinyModule, list[LambdaCallback]]:
        assert (tmp_path / "run" / LOCK).is_file()
        order.append("built")
        reading.update(1, 1)
        assert training is not SILENT
        return TinyModule(), [LambdaCallback(on_train_batch_end=lambda *_: order.append("step"))]

    def write(module: TinyModule, folder: Path) -> None:
        order.append(folder)
        assert module.trainer.should_stop

    assert run_job(job(tmp_path / "run"), build, write) == tmp_path / "run" / "model"
    assert order == ["built", "step", "step", tmp_path / "run" / "model"]
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_training_records_how_its_model_was_made(tmp_path):
    table = tmp_path / "adults.tsv"
    table.write_text("age\n30\n", encoding="utf-8")
    run = tmp_path / "run"

    def build(*_: Progress) -> tuple[TinyModule, tuple[()]]:
        existing_file(table)
        return TinyModule(), ()

    def write(_: TinyModule, folder: Path) -> None:
        write_text(folder / "model.safetensors", "weights")

    for start in (1, 2):
        with running_job(["neurogen", "tiny", "train", "--token", "secret"]):
            run_job(job(run), build, write)
        record = read_json(run / "provenance.json")
        assert record["command"] == ["neurogen", "tiny", "train", "--token", "***"]
        assert [(entry["path"], entry["sha256"]) for entry in record["inputs"]] == [(str(table), sha256_of(table))]
        assert record["parameters"]["train"]["steps"] == 2
        assert record["parameters"]["name"] == record["model"]["name"] == "tiny"
        assert record["citation"] == ["A paper"]
        assert len(record["starts"]) == 1, f"call {start} found it trained, or was the only start"
        assert record["software"]["torch"]
        expected = {"config.yaml", "metrics.csv", "model/model.safetensors", "provenance.json", "run.json"}
        assert set(record["outputs"]) == expected


def test_a_run_folder_in_which_another_process_trains_is_refused_before_the_data_are_read(tmp_path):
    owner = replace(Owner.this_process(), pid=os.getppid(), command="neurogen atlas train")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).write_text(json.dumps(asdict(owner)), encoding="utf-8")
    with raises("run-conflict", tmp_path / "run", os.getppid(), "neurogen atlas train"):
        run_job(job(tmp_path / "run"), lambda *_: pytest.fail("data read"), lambda *_: pytest.fail("written"))


def test_a_folder_that_is_a_file_is_refused_before_the_data_are_read(tmp_path):
    (tmp_path / "run").write_text("notes", encoding="utf-8")
    with raises("file-unwritable", tmp_path / "run"):
        run_job(job(tmp_path / "run"), lambda *_: pytest.fail("data read"), lambda *_: pytest.fail("written"))


def test_the_first_process_alone_writes_and_reports(tmp_path, monkeypatch):
    monkeypatch.setattr(training_job, "is_first_process", lambda: False)
    reports = []

    class Recorder(Progress):
        def show(self, *report: object) -> None:
            reports.append(report)

    result = run_job(
        job(tmp_path / "run"), lambda *_: (TinyModule(), []), lambda *_: pytest.fail("written"), Recorder()
    )
    assert result is None
    assert reports == []


def test_a_manifest_names_neither_people_nor_folders(tmp_path):
    manifest = common_manifest(job(tmp_path / "run"), 2)
    assert {name: manifest[name] for name in ("name", "license", "citation")} == {
        "name": "tiny",
        "license": "unknown",
        "citation": ["A paper"],
    }
    assert manifest["training"]["steps"] == 2
    settings = manifest["training"]["config"]
    assert set(settings) == {"train", "groups", "exclude"}
    assert settings["groups"] == {"adults": {"table": "adults.tsv", "root": None}}
    assert settings["exclude"] == []
    assert (settings["train"]["out"], settings["train"]["init_from"]) == ("run", "model")


def test_a_manifest_names_people_when_ids_are_stored(tmp_path):
    settings = job(tmp_path / "run", store_ids=True).shareable()
    assert settings["groups"] == {"adults": {"table": "adults.tsv", "include": ["sub-ann"], "root": "scans"}}
    assert settings["exclude"] == ["sub-eve"]
