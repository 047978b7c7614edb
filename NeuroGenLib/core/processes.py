"""Processes of this machine: whether one is alive, and names by which files say whose they are."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path


@functools.cache
def machine() -> str:
    """Return a name of this machine that tells it from others on a shared disk: eight hexadecimal digits.

    Containers with process numbers of their own count as machines of their own.
    """
    numbering = ""
    with suppress(OSError):  # Linux alone has it
        numbering = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (not the path of a file)
    return hashlib.sha256(f"{platform.node()} {numbering}".encode()).hexdigest()[:8]


def is_alive(pid: int) -> bool:
    """Return whether a process of this machine is running; one that has ended and only waits to be counted is not.

    Examples
    --------
    >>> is_alive(os.getpid())
    True
    """
    if pid <= 0:
        return False
    if sys.platform == "win32":
        return _is_alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # another user's
    with suppress(OSError, IndexError):  # Linux alone has it
        facts = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return facts.rpartition(")")[2].split()[0] not in ("Z", "X")
    return True


def _is_alive_on_windows(pid: int) -> bool:
    """Ask the system without a signal: there, :func:`os.kill` ends the process."""
    import ctypes

    limited_information, still_active, access_denied = 0x1000, 259, 5
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = kernel.OpenProcess(limited_information, False, pid)
    if not handle:
        return bool(ctypes.get_last_error() == access_denied)  # type: ignore[attr-defined,unused-ignore]
    try:
        code = ctypes.c_ulong()
        known = kernel.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(code))
        return not known or code.value == still_active
    finally:
        kernel.CloseHandle(ctypes.c_void_p(handle))
