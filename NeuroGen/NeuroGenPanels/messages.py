"""Error messages in a window."""

from __future__ import annotations

import logging
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

import slicer

from NeuroGenLib.core.errors import Cancelled, NeuroGenError

if TYPE_CHECKING:
    from collections.abc import Iterator


def show_error(error: NeuroGenError, doing: str) -> None:
    """Show an error in a window, its traceback folded away; nothing for a cancel."""
    if isinstance(error, Cancelled):
        return
    details = "\n".join(getattr(error, "__notes__", [])) or "".join(traceback.format_exception(error))
    logging.error("%s: %s", doing, error)
    slicer.util.errorDisplay(str(error), windowTitle=f"NeuroGen: {doing}", detailedText=details)


@contextmanager
def errors_shown(doing: str) -> Iterator[None]:
    """Show errors that a person can act on; any other exception propagates."""
    try:
        yield
    except NeuroGenError as error:
        show_error(error, doing)
