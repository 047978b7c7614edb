"""Checkpoint files of a training run: written whole, read without running code, and the newest sound one found."""

from __future__ import annotations

import logging
import pickle
import re
import zipfile
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.core.files import atomic_file, require_file
from NeuroGenLib.core.leftovers import remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

_NAME = re.compile(r"step=(\d+)\.ckpt")


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the file in ``folder`` for the state after ``step`` steps."""
    return folder / f"step={step:06d}.ckpt"


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Return steps and files of the checkpoints in ``folder``, oldest first; none when there is no folder."""
    if not folder.is_dir():
        return []
    matches = [(_NAME.fullmatch(path.name), path) for path in folder.iterdir()]
    return sorted((int(match[1]), path) for match, path in matches if match)


def write_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write a state of tensors and plain values, whole or not at all.

    Raises
    ------
    NeuroGenError
        When the file cannot be written, or ``state`` holds an object that could not be read again without running
        code; the message names where.
    """
    import torch

    _require_plain(state, "")
    try:
        with atomic_file(path) as temporary:
            torch.save(state, temporary)
    except RuntimeError as error:
        # torch's writer reports a full disk so.
        raise NeuroGenError(
            f"{path} could not be written ({error}).", "Free some space, then run again.", code="file-unwritable"
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU; no code in it is run.

    Raises
    ------
    InputError
        When there is no such file.
    NeuroGenError
        When it is truncated, damaged or holds anything but tensors and plain values.
    """
    import torch

    require_file(path)
    try:
        _verify_checksums(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise NeuroGenError(
            f"The checkpoint {path} is damaged ({error}).",
            "Restore it, or go on from an older one.",
            code="file-damaged",
        ) from error
    if not isinstance(state, dict):
        raise NeuroGenError(
            f"The file {path} is not a checkpoint of a run.", "Move it out of the folder.", code="file-type"
        )
    return state


def newest_checkpoint(folder: Path) -> tuple[int, Path, dict[str, Any]] | None:
    """Return step, file and state of the newest sound checkpoint; ``None`` when there is none at all.

    A damaged one is passed over with a warning.

    Raises
    ------
    NeuroGenError
        When there are checkpoints and all are damaged.
    """
    checkpoints = list_checkpoints(folder)
    for step, path in reversed(checkpoints):
        try:
            return step, path, read_checkpoint(path)
        except NeuroGenError as error:
            log.warning("%s Passing over it.", error.problem)
    if checkpoints:
        raise NeuroGenError(
            f"None of the {len(checkpoints)} checkpoints in {folder} can be read.",
            "Restore one from a backup, or choose another folder to start again.",
            code="file-damaged",
        )
    return None


def tidy_checkpoints(folder: Path, start: int) -> None:
    """Remove what a killed process left half-written, and rename damaged checkpoints later than step ``start``."""
    if not folder.is_dir():
        return
    remove_leftovers(folder)
    for step, path in list_checkpoints(folder):
        if step > start:
            path.replace(path.with_name(path.name + ".damaged"))


def keep_newest(folder: Path, count: int = 2) -> None:
    """Remove all checkpoints but the newest ``count``; one that another program holds open stays until next time."""
    for _, path in list_checkpoints(folder)[:-count]:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s could not be removed (%s).", path, error.strerror)


def _verify_checksums(path: Path) -> None:
    """Read the whole archive once; torch.load does not look at the checksums."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"wrong checksum of {damaged}")


def _require_plain(value: Any, where: str) -> None:
    """Raise an error that names the first thing ``weights_only`` reading would refuse."""
    import torch

    if isinstance(value, torch.Tensor) or type(value) in _SCALARS:
        return
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            _require_plain(key, f"{where}[{key!r}]")
            _require_plain(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple, set, torch.Size):
        for index, item in enumerate(value):
            _require_plain(item, f"{where}[{index}]")
    elif not isinstance(value, torch.dtype | torch.device):
        raise NeuroGenError(
            f"The training state{where} is a {type(value).__name__}, which a checkpoint cannot hold.",
            "Keep tensors, numbers, text, lists and dictionaries in the module's state.",
            code="value-invalid",
        )


_SCALARS = (type(None), bool, int, float, complex, str, bytes)
