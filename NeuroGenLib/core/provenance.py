"""The record of how a result was made."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import platform
import re
import subprocess
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.checksums import input_facts
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.job import current_job
from NeuroGenLib.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

_RECORDED = ("torch", "numpy", "monai", "nibabel", "SimpleITK", "pydicom", "scipy", "lightning", "safetensors")

_SECRET_OPTION = re.compile(r"--?[\w.-]*(token|password|passwd|secret|api-?key)[\w.-]*", re.IGNORECASE)
_CREDENTIALS = re.compile(r"://[^/@\s]+@")
_HUB_TOKEN = re.compile(r"hf_[A-Za-z0-9]{16,}")

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
        Anything else worth keeping: seed, device, warnings. Of the running job the command line, the inputs with
        checksums, its entries and warnings are added (:class:`NeuroGenLib.core.job.Job`).
    """
    job = current_job()
    if job is not None:
        inputs = [input_facts(entry) for entry in job.inputs.values() if entry.recorded]
        more = {"command": without_secrets(job.command), "inputs": inputs, **job.entries, **more}
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


def without_secrets(command: Sequence[str]) -> list[str]:
    """Return the words of a command line without tokens, passwords and the credentials in an address.

    Examples
    --------
    >>> without_secrets(["neurogen", "models", "download", "--token", "abc", "--api-key=x", "https://me:pw@host/a"])
    ['neurogen', 'models', 'download', '--token', '***', '--api-key=***', 'https://***@host/a']
    """
    words: list[str] = []
    for word in command:
        hidden = _HUB_TOKEN.sub("***", _CREDENTIALS.sub("://***@", word))
        if words and _SECRET_OPTION.fullmatch(words[-1]):
            hidden = "***"
        name, equals, _ = hidden.partition("=")
        words.append(f"{name}=***" if equals and _SECRET_OPTION.fullmatch(name) else hidden)
    return words


def recorded_outputs(folder: Path) -> list[Path]:
    """Return the files that the record in a folder lists as its result, as far as they are files inside the folder.

    Raises
    ------
    InputError
        When the record is damaged.
    """
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = content.get("outputs", [])
        places = [folder / PurePosixPath(name) for name in names]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path} is not a readable record of a result ({error}).", "Choose another folder.", code="file-damaged"
        ) from error
    root = folder.resolve()
    return [
        place
        for place in places
        if ".." not in place.parts and place.parent.resolve().is_relative_to(root) and place.is_file()
    ]


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
