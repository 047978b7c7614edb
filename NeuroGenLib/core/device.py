"""Which device computes, and what happens when its memory runs out."""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import TYPE_CHECKING, TypeVar

from NeuroGenLib.core.errors import InputError, NeuroGenError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

Result = TypeVar("Result")
log = logging.getLogger(__name__)

CHOICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    name:
        ``auto`` is CUDA when there is a usable GPU, else the CPU; ``cuda:1`` picks a card; ``mps`` (Apple) is
        experimental and never chosen by itself.

    Raises
    ------
    InputError
        When the name is unknown or that device is not there.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, index = name.partition(":")
    if kind not in CHOICES or (colon and not (kind == "cuda" and index.isascii() and index.isdigit())):
        raise InputError(
            f"'{name}' is not a device.",
            f"Choose one of {', '.join(CHOICES)}, or cuda:N for one card.",
            code="value-invalid",
        )
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "No CUDA device is usable here.",
            "Choose --device cpu, or install a PyTorch build with CUDA.",
            code="device-unavailable",
        )
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise InputError(
            f"There is no CUDA device number {index}.",
            f"This machine has {torch.cuda.device_count()}, counted from 0.",
            code="device-unavailable",
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("No MPS device is usable here.", "Choose --device cpu.", code="device-unavailable")
    return torch.device(name)


def machine_memory() -> int | None:
    """Return the bytes of the machine's main memory; None where the system does not say."""
    if sys.platform == "win32":
        import ctypes

        class Status(ctypes.Structure):
            _fields_ = (
                ("length", ctypes.c_ulong),
                ("load", ctypes.c_ulong),
                ("total", ctypes.c_ulonglong),
                ("others", ctypes.c_ulonglong * 6),
            )

        status = Status(length=ctypes.sizeof(Status))
        return int(status.total) if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that a device's memory ran out."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()


def with_memory_fallback(
    work: Callable[[torch.device, int], Result],
    device: torch.device,
    chunk: int,
    *,
    smallest: int = 1,
    warn: Callable[[str], None] = log.warning,
) -> Result:
    """Run ``work(device, chunk)``; when memory runs out, retry with smaller chunks, then on the CPU, and say so.

    Parameters
    ----------
    work:
        The computation; must be repeatable from the start.
    device, chunk:
        What to try first. ``chunk`` is the number of items handled at once; it is halved twice on a GPU.
    smallest:
        No chunk gets smaller than this.
    warn:
        Callback for a sentence on each fallback; the caller keeps these for the provenance record.

    Raises
    ------
    NeuroGenError
        When the CPU's memory is not enough either.
    """
    attempts = [(device, chunk)]
    if device.type != "cpu":
        attempts += [(device, max(smallest, chunk // 4)), (device, max(smallest, chunk // 16))]
        attempts.append((_cpu(), chunk))
    attempts.append((_cpu(), max(smallest, chunk // 8)))
    for index, (place, size) in enumerate(attempts):
        try:
            return work(place, size)
        except (RuntimeError, MemoryError) as error:
            if not (isinstance(error, MemoryError) or out_of_memory(error)):
                raise
            if index + 1 == len(attempts):
                break
        _release(place)
        following, smaller = attempts[index + 1]
        warn(f"Memory ran out on {place}; going on on {following} with {smaller} at a time.")
    raise NeuroGenError(
        "There is not enough memory for this job.",
        "Close other programs, or ask for a coarser spacing or a smaller box.",
        code="memory-exhausted",
    )


def _cpu() -> torch.device:
    import torch

    return torch.device("cpu")


def _release(device: torch.device) -> None:
    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
