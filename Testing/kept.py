"""What is expensive to make, such as a trained model, is kept from one test session to the next.

It lies under ``.pytest_cache`` by a hash of the sources it depends on. The processes of a session share it: one makes
it while the others wait. Treat it as read-only: what was changed since it was made is made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("torch", "numpy", "scipy", "nibabel", "safetensors", "SimpleITK", "matplotlib")
UNUSED_DAYS = 7.0


def digest_of(paths: Iterable[Path], top: Path) -> str:
    """Return a hash of the names and contents of files, and of all files below folders."""
    files = {file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()}
    state = hashlib.sha256()
    for file in sorted(files):
        if "__pycache__" not in file.parts:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            state.update(f"{file.relative_to(top).as_posix()} {content}\n".encode())
    return state.hexdigest()


def kept(config: pytest.Config, name: str, sources: Iterable[str], make: Callable[[Path], object]) -> Path:
    """Return a folder that ``make`` has filled, in this session or in an earlier one.

    Parameters
    ----------
    config:
        Of the session; its cache is where the folder lies.
    name:
        Of the folder, without the hash.
    sources:
        Files and folders of the repository that it depends on, besides the versions of Python and the libraries.
    make:
        Fills the folder, which is empty.
    """
    versions = [sys.version, *(f"{library} {version(library)}" for library in LIBRARIES)]
    inputs = digest_of([ROOT / source for source in sources], ROOT) + "\n".join(versions)
    store = config.cache.mkdir("kept")
    folder = store / f"{name}-{hashlib.sha256(inputs.encode()).hexdigest()[:16]}"
    seal = folder.with_suffix(".json")
    with filelock.FileLock(store / f"{name}.lock"):
        if not (seal.is_file() and json.loads(seal.read_text(encoding="utf-8")) == digest_of([folder], folder)):
            seal.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            seal.write_text(json.dumps(digest_of([folder], folder)), encoding="utf-8")
        seal.touch()
        for other in store.glob(f"{name}-*.json"):
            if time.time() - other.stat().st_mtime > UNUSED_DAYS * 86400:
                other.unlink()
                shutil.rmtree(other.with_suffix(""), ignore_errors=True)
    return folder
