"""Signals by which a system ends a command, treated as Ctrl-C: what is half-written is removed."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES = ("SIGTERM", "SIGHUP", "SIGBREAK")
"""A batch system's time limit, a closed terminal, and Ctrl-Break on Windows."""


class Terminated(KeyboardInterrupt):
    """The system asked the command to stop.

    Attributes
    ----------
    name, exit_code:
        The signal, and 128 more than its number, as shells count.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name = signal.Signals(number).name
        self.exit_code = 128 + number


@contextmanager
def stops_as_ctrl_c() -> Iterator[None]:
    """Raise :class:`Terminated` in the block when the system asks to stop; further requests wait for the tidying up.

    A signal that is ignored, as SIGHUP under ``nohup``, stays so.
    """
    numbers = [number for name in _NAMES if (number := getattr(signal, name, None)) is not None]
    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in numbers} if here else {}
    heard = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def stop(number: int, _frame: Any) -> None:
        for signum in heard:
            signal.signal(signum, signal.SIG_IGN)
        raise Terminated(number)

    for number in heard:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)
