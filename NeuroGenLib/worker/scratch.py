"""Scratch folder through which arrays travel between the worker and its parent."""

from __future__ import annotations

import re
import secrets
import weakref
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.spatial.result import Result
from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap
from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAPPED_FROM: Final = 2**16
"""Files of this many bytes or more are mapped into memory, smaller ones are read."""

_OBJECTS = (SpatialMap, Result)
"""Dataclasses that travel field by field."""
_BY_NAME: Final = {kind.__name__: kind for kind in _OBJECTS}

_NAME = re.compile(r"[0-9a-f]{32}\.npy")


class Scratch:
    """Folder through which arrays travel; only files that a :class:`Scratch` named are read or removed.

    Parameters
    ----------
    folder:
        An existing folder into which only this user may write.

    Examples
    --------
    >>> import tempfile
    >>> scratch = Scratch(Path(tempfile.mkdtemp()))
    >>> sent = scratch.put({"image": np.arange(6).reshape(2, 3)})
    >>> list(sent["image"]), scratch.take(sent)["image"].shape
    (['npy'], (2, 3))
    >>> scratch.clear()
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, value: Any) -> Any:
        """Return ``value`` as JSON values, its volumes and arrays written to files.

        Parameters
        ----------
        value:
            JSON values, paths, NumPy numbers, arrays, volumes, spatial maps and results, in dicts with text keys, lists
            and tuples.

        Raises
        ------
        TypeError
            When something in it is of another type.
        NeuroGenError
            When the disk refuses.
        """
        if isinstance(value, Volume):
            return {"npy": self._write(value.array), "affine": value.affine.tolist()}
        if isinstance(value, np.ndarray):
            return {"npy": self._write(value)}
        if isinstance(value, _OBJECTS):
            content = {field.name: self.put(getattr(value, field.name)) for field in fields(value)}
            return {"object": type(value).__name__, "content": content}
        if isinstance(value, np.generic | Path):
            value = str(value) if isinstance(value, Path) else value.item()
        if isinstance(value, list | tuple):
            return [self.put(item) for item in value]
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise TypeError(f"Keys must be text to travel: {list(value)[:3]}")
            return {key: self.put(item) for key, item in value.items()}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"A value of type {type(value).__name__} cannot travel.")

    def take(self, value: Any, release: Callable[[str], None] | None = None) -> Any:
        """Return what was put: volumes, arrays (read-only where they are large) and what is made of them.

        Parameters
        ----------
        value:
            What :meth:`put` returned.
        release:
            Called with the name of each file once nothing needs it any more, from any thread.

        Raises
        ------
        InputError
            When a file's name is not one of :meth:`put`, or the file is missing or unreadable.
        """
        if isinstance(value, list):
            return [self.take(item, release) for item in value]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"object", "content"} and value["object"] in _BY_NAME:
            return _BY_NAME[value["object"]](**self.take(value["content"], release))
        if "npy" not in value or not value.keys() <= {"npy", "affine"}:
            return {key: self.take(item, release) for key, item in value.items()}
        array = self._read(value["npy"], release)
        return Volume(array, np.array(value["affine"])) if "affine" in value else array

    def remove(self, names: Sequence[str]) -> list[str]:
        """Remove files and return the names of those that are still in use (Windows keeps mapped files)."""
        kept = []
        for name in names:
            try:
                self._path(name).unlink(missing_ok=True)
            except OSError:
                kept.append(name)
        return kept

    def clear(self) -> None:
        """Remove every file that was put, and the folder when it is empty then."""
        with suppress(OSError):
            self.remove([item.name for item in self.folder.iterdir() if _NAME.fullmatch(item.name)])
            self.folder.rmdir()

    def _path(self, name: object) -> Path:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r} is not the name of an array in the scratch folder.",
                "Send the array itself.",
                code="path-unsafe",
            )
        return self.folder / name

    def _write(self, array: np.ndarray) -> str:
        name = f"{secrets.token_hex(16)}.npy"
        try:
            with (self.folder / name).open("xb") as file:
                np.save(file, array, allow_pickle=False)
        except OSError as error:
            self.remove([name])
            raise NeuroGenError(
                f"An array could not be kept in {self.folder}: {error.strerror or error}.",
                "Free some space there, or name another temporary folder (TMPDIR, TEMP on Windows) and start again.",
                code="file-unwritable",
            ) from error
        return name

    def _read(self, name: object, release: Callable[[str], None] | None) -> np.ndarray:
        path = self._path(name)
        try:
            mapped = path.stat().st_size >= MAPPED_FROM
            array: np.ndarray = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"The array {name} cannot be read ({error}).", "Run the job again.", code="file-damaged"
            ) from error
        if release is not None:
            if mapped:
                weakref.finalize(array, release, path.name).atexit = False
            else:
                release(path.name)
        return array


def array_names(value: Any) -> Iterator[str]:
    """Yield the names of the files in what :meth:`Scratch.put` returned."""
    if isinstance(value, dict) and isinstance(value.get("npy"), str):
        yield value["npy"]
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from array_names(item)
