"""The record of how a result was made."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

from NeuroGenLib.core.job import current_job
from NeuroGenLib.version import __version__

_RECORDED = ("torch", "numpy", "monai", "nibabel", "SimpleITK", "pydicom", "scipy", "lightning", "safetensors")

RECORD = "provenance.json"
"""Name of the record in the folder of a result."""

RESEARCH_USE = "For research use only; not for diagnosis or treatment."


def software_versions() -> dict[str, str]:
    """Return the versions of Python, the operating system, NeuroGen and the libraries that are installed."""
    versions = {"neurogen": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for name in _RECORDED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def record(
    action: str, *, parameters: dict[str, Any], model: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """Build the provenance of one result.

    Parameters
    ----------
    action:
        What was done, such as ``"atlas generate"``.
    parameters:
        Every parameter of the job, JSON values.
    model:
        What identifies the model: reference, revision, licence.
    more:
        Anything else worth keeping: seed, device, warnings, inputs, outputs. The entries and warnings of the running
        job are added (:class:`NeuroGenLib.core.job.Job`).
    """
    job = current_job()
    if job is not None:
        more = {**job.entries, **more}
        if job.warnings:
            more["warnings"] = [*job.warnings, *more.get("warnings", ())]
    made = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    return {
        "action": action,
        "made": made,
        "model": model,
        "parameters": parameters,
        **more,
        "software": software_versions(),
        "notice": RESEARCH_USE,
    }


def checkout_commit() -> str | None:
    """Return the commit of the checkout this code runs from, or None outside one."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
