"""The record of how a result was made."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import platform
from typing import TYPE_CHECKING

from NeuroGenLib.core import provenance
from NeuroGenLib.core.job import current_job, part_of_job, running_job
from NeuroGenLib.version import __version__

if TYPE_CHECKING:
    import pytest


def test_a_record_says_what_was_done_with_what() -> None:
    made = provenance.record(
        "atlas generate", parameters={"age": 30.2}, model={"reference": "bundled:x"}, seed=3, warnings=["a guess"]
    )
    assert made["action"] == "atlas generate"
    assert made["parameters"] == {"age": 30.2}
    assert made["model"] == {"reference": "bundled:x"}
    assert (made["seed"], made["warnings"]) == (3, ["a guess"])
    assert "research use only" in made["notice"]
    assert json.loads(json.dumps(made)) == made


def test_a_record_has_the_entries_and_warnings_of_its_job() -> None:
    with running_job(["neurogen", "mask"]) as job:
        job.entries["reading"] = {"geometry": "qform"}
        job.warn("of the command")
        with part_of_job():
            inner = current_job()
            assert inner is not None
            inner.warn("of one scan")
            inner.warn("of one scan")
            made = provenance.record("mask", parameters={}, warnings=["of the result"])
        after = provenance.record("mask", parameters={})
    assert made["reading"] == {"geometry": "qform"}
    assert made["warnings"] == ["of one scan", "of the result"]
    assert after["warnings"] == ["of the command"]
    assert "reading" not in provenance.record("mask", parameters={})


def test_a_record_has_its_time_in_utc() -> None:
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    made = dt.datetime.fromisoformat(provenance.record("x", parameters={})["made"])
    assert made.utcoffset() == dt.timedelta(0)
    assert before <= made <= dt.datetime.now(dt.UTC)


def test_versions_are_those_that_are_installed() -> None:
    versions = provenance.software_versions()
    assert versions["neurogen"] == __version__
    assert versions["python"] == platform.python_version()
    for name in ("torch", "numpy", "nibabel"):
        assert versions[name] == importlib.metadata.version(name)


def test_a_library_that_is_missing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "monai":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    versions = provenance.software_versions()
    assert "monai" not in versions
    assert versions["torch"] == "1.0"
