"""Reads checkpoints of other programs without running anything that is in them.

PyTorch's restricted reader rebuilds tensors and plain containers. What pandas and numpy put into a checkpoint comes
back as inert stand-ins that only remember what they were made from, so neither library needs to be installed in the
version that wrote the file; :mod:`~NeuroGenLib.models.pickled_frame` gets the columns of a table out of them. Every
other name that a file wants to import is refused.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import threading
import zipfile
from typing import IO, TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.files import existing_file

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

_STOOD_IN = ("pandas.", "numpy.")
_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_PICKLES = 4
"""Pickles at the start of a file in torch's old format: magic number, protocol, system, content."""
# Before 2.6 torch's restricted reader could be made to run code (CVE-2025-32434).
_SAFE_TORCH = (2, 6)
_REFUSED_NAME = re.compile(r"GLOBAL (\S+)")

# The list of allowed names belongs to the whole process.
_allow_list = threading.Lock()


class Pickled:
    """What a checkpoint says about an object of pandas or numpy; does nothing.

    Attributes
    ----------
    source:
        The name it was pickled under, such as ``"pandas.core.frame.DataFrame"``; the same for the whole class.
    arguments:
        What it was to be called with.
    state:
        What was to be restored into it, or None.
    """

    source = ""
    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> Pickled:
        """Remember the arguments."""
        made = super().__new__(cls)
        made.arguments = arguments
        made.state = None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __repr__(self) -> str:
        return f"<pickled {self.source}>"


def _empty_bytes() -> bytes:
    """Stand in for ``bytes``, which pickles call without arguments; with a number it would fill the memory."""
    return b""


_PLAIN = {"builtins.slice": slice, "builtins.bytes": _empty_bytes}


class PickledFrame(Pickled):
    """A pandas table as a checkpoint holds it; see :func:`~NeuroGenLib.models.pickled_frame.frame_columns`."""


def load_foreign_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read another program's PyTorch checkpoint, tensors on the CPU.

    Parameters
    ----------
    path:
        A ``.pth``, ``.pt`` or ``.ckpt`` file as ``torch.save`` writes it, also in its format before 2020.

    Returns
    -------
    dict
        The saved dictionary. Tables of pandas in it are :class:`PickledFrame`, other objects of pandas and numpy
        :class:`Pickled`.

    Raises
    ------
    InputError
        When the file is damaged or something else, holds no dictionary, or wants to import anything but tensors,
        plain containers, pandas and numpy.
    NeuroGenError
        When the installed PyTorch cannot read foreign files safely.
    """
    import torch

    path = existing_file(path)
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < _SAFE_TORCH:
        raise NeuroGenError(
            f"PyTorch {torch.__version__} cannot read other people's checkpoints safely.",
            "Update it to 2.6 or newer.",
            code="package-missing",
        )
    names = _imported_names(path)
    stand_ins: list[Any] = [(_stand_in(name), name) for name in sorted(names) if name.startswith(_STOOD_IN)]
    # The layouts of tables need these two as well.
    stand_ins += [(function, name) for name, function in _PLAIN.items() if name in names]
    with _allow_list:
        earlier = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(stand_ins)
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise _refused(path, error) from error
        except Exception as error:
            raise _damaged(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from error
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(earlier)
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds a {type(content).__name__}, not a dictionary of weights.",
            "Give the training checkpoint.",
            code="file-type",
        )
    return content


def _stand_in(name: str) -> type[Pickled]:
    base = PickledFrame if name.endswith(".DataFrame") else Pickled
    return type(name.rpartition(".")[2], (base,), {"source": name})


def _imported_names(path: Path) -> set[str]:
    """Dotted names that the file's pickles want to import; nothing is loaded."""
    with path.open("rb") as file:
        start = file.read(64)
        file.seek(0)
        if start.startswith(b"PK"):
            return _names_in_archive(path)
        if start.startswith(_LEGACY_START):
            return {name for _ in range(_LEGACY_PICKLES) for name in _names_in_pickle(file, path)}
    raise InputError(f"{path} {_what_it_is(start)}.", "Give the file that torch.save wrote.", code="file-type")


def _names_in_archive(path: Path) -> set[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            # torch.save never compresses, so what is larger unpacked than packed was made to fill the memory.
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
            if packed or sum(member.file_size for member in members) > path.stat().st_size:
                raise InputError(
                    f"{path} is a compressed or overlapping archive, not a checkpoint.",
                    "Do not use this file.",
                    code="checkpoint-unsafe",
                )
            pickles = [member for member in members if member.filename.endswith("data.pkl")]
            if len(pickles) != 1:
                raise _damaged(path, "there is no data.pkl in the archive")
            with archive.open(pickles[0]) as file:
                return set(_names_in_pickle(file, path))
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise _damaged(path, str(error)) from error


def _names_in_pickle(file: IO[bytes], path: Path) -> Iterator[str]:
    try:
        for operation, argument, _ in pickletools.genops(file):
            if operation.name == "GLOBAL":
                yield str(argument).replace("__builtin__ ", "builtins.").replace(" ", ".")
    except Exception as error:
        raise _damaged(path, str(error)) from error


def _what_it_is(start: bytes) -> str:
    if not start:
        return "is empty"
    if start.startswith(b"version https://"):
        return "is a Git LFS pointer, a note that stands for the file (fetch it with git lfs pull)"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "is a web page"
    if start.startswith(b"\x80"):
        return "is a plain pickle, which can hold any code"
    return "is not a PyTorch checkpoint"


def _refused(path: Path, error: Exception) -> InputError:
    match = _REFUSED_NAME.search(str(error))
    if match is None:
        return _damaged(path, str(error).splitlines()[0])
    name = match[1] if "." in match[1] else f"builtins.{match[1]}"
    return InputError(
        f"{path} contains code ({name}); nothing of it was run.",
        "Ask its author for the weights alone (a state_dict, or safetensors).",
        code="checkpoint-unsafe",
    )


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path} is not readable as a PyTorch checkpoint ({reason.strip().rstrip('.')}).",
        "The file may be incomplete: copy or download it again.",
        code="file-damaged",
    )
