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
    """Show errors in a window; those of the program propagate as well, into Slicer's log."""
    try:
        yield
    except NeuroGenError as error:
        show_error(error, doing)
    except Exception as error:  # Slicer would write it to the Python console alone
        show_error(unexpected(error), doing)
        raise


def unexpected(error: Exception) -> NeuroGenError:
    """Error of the program itself as one that can be shown, with its traceback folded away."""
    shown = NeuroGenError(
        f"Something unexpected happened ({type(error).__name__}: {error}).",
        "Please report it with the details below; your data are untouched.",
        code="unexpected",
    )
    shown.add_note("".join(traceback.format_exception(error)))
    return shown
