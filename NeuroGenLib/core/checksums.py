"""SHA-256 checksums of files."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.core.job import Input


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def input_facts(entry: Input) -> dict[str, Any]:
    """Return an input as a record lists it: its path, size in bytes and SHA-256.

    The checksum of a DICOM series is that of a text with a line for each of its files, sorted: checksum and name.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from NeuroGenLib.core.job import Input
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "ages.tsv"
    ...     _ = path.write_bytes(b"abc")
    ...     facts = input_facts(Input(path, (path,)))
    >>> facts["size"], facts["sha256"][:8]
    (3, 'ba7816bf')
    """
    try:
        if entry.files == (entry.path,):
            size, checksum = _size_and_checksum(entry.path)
            return {"path": str(entry.path), "size": size, "sha256": checksum}
        facts = {file.name: _size_and_checksum(file) for file in entry.files}
    except OSError:
        return {"path": str(entry.path), "sha256": None}  # it is gone since it was read
    lines = "".join(sorted(f"{checksum}  {name}\n" for name, (_, checksum) in facts.items()))
    return {
        "path": str(entry.path),
        "files": len(facts),
        "size": sum(size for size, _ in facts.values()),
        "sha256": hashlib.sha256(lines.encode()).hexdigest(),
    }


def _size_and_checksum(path: Path) -> tuple[int, str]:
    facts = path.stat()
    state = path.absolute(), facts.st_size, facts.st_mtime_ns
    if state not in _KNOWN:
        _KNOWN[state] = sha256_of(path)
    return facts.st_size, _KNOWN[state]


_KNOWN: dict[tuple[Path, int, int], str] = {}
"""Checksums by file, size and time of the last change: many records of one process may list the same input."""
