"""The record of how a result was made."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import platform
import subprocess
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from NeuroGenLib.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_RECORDED = ("torch", "numpy", "monai", "nibabel", "SimpleITK", "pydicom", "scipy", "lightning", "safetensors")

RECORD = "provenance.json"
"""Name of the record in the folder of a result."""

RESEARCH_USE = "For research use only; not for diagnosis or treatment."


@dataclass
class Session:
    """What all records of one command or job have in common.

    Attributes
    ----------
    entries:
        Further entries by name, JSON values.
    warnings:
        Sentences about the inputs, which precede those of the result.
    show:
        Called with each such warning, for the person at the command line.
    """

    entries: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    show: Callable[[str], object] = lambda _: None


_SESSION: ContextVar[Session | None] = ContextVar("session", default=None)


def current_session() -> Session | None:
    """Return the innermost session, None outside of any."""
    return _SESSION.get()


@contextmanager
def session() -> Iterator[Session]:
    """Begin a session: records made in this block have its entries and warnings. One inside another inherits entries.

    Examples
    --------
    >>> with session() as command:
    ...     command.warnings.append("scan.nii has no orientation.")
    ...     record("atlas fit", parameters={}, warnings=["A guess."])["warnings"]
    ['scan.nii has no orientation.', 'A guess.']
    """
    outer = _SESSION.get()
    inner = Session() if outer is None else Session(dict(outer.entries), show=outer.show)
    token = _SESSION.set(inner)
    try:
        yield inner
    finally:
        _SESSION.reset(token)


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
        Anything else worth keeping: seed, device, warnings, inputs, outputs. The entries and warnings of the current
        :class:`Session` are added.
    """
    current = _SESSION.get()
    if current is not None:
        more = {**current.entries, **more}
        if current.warnings:
            more["warnings"] = [*current.warnings, *more.get("warnings", ())]
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
