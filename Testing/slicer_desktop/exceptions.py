"""Exceptions that Qt and VTK would print and swallow: they are kept, and fail the test."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class ExceptionCollector:
    """Keeps what slots, timers, observers and threads raise, until :meth:`raise_collected` raises it.

    Qt and VTK cannot let a Python exception pass through C++: they hand it to ``sys.excepthook`` and go on.
    """

    def __init__(self) -> None:
        self.collected: list[BaseException] = []
        self._hooks = (sys.excepthook, sys.unraisablehook, threading.excepthook)

    def install(self) -> None:
        """Take over the three hooks."""
        self._hooks = (sys.excepthook, sys.unraisablehook, threading.excepthook)
        sys.excepthook = self._keep
        sys.unraisablehook = lambda event: self._keep_value(event.exc_value)
        threading.excepthook = lambda event: self._keep_value(event.exc_value)

    def remove(self) -> None:
        """Give the hooks back."""
        sys.excepthook, sys.unraisablehook, threading.excepthook = self._hooks

    def raise_collected(self) -> None:
        """Raise what came in since the last call: the exception itself, or a group when there are several."""
        collected, self.collected = self.collected, []
        if len(collected) == 1:
            raise collected[0]
        if collected:
            raise BaseExceptionGroup("Several slots failed.", collected)

    def _keep(self, _kind: type[BaseException], value: BaseException, _trace: TracebackType | None) -> None:
        self._keep_value(value)

    def _keep_value(self, value: BaseException | None) -> None:
        if value is not None:
            self.collected.append(value)
