"""The job that runs any ``neurogen`` command."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.job import running_job
from NeuroGenLib.models.dotted import load_object

if TYPE_CHECKING:
    from NeuroGenLib.core.progress import Progress
    from NeuroGenLib.worker.context import Context

_DISPATCH = "NeuroGenLib.cli:dispatch"
"""The command line stands above the worker: it is known by name alone."""


def run_job(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """``run``: any ``neurogen`` command.

    Parameters
    ----------
    arguments:
        ``words``: what follows ``neurogen`` on the command line, a list of text. With ``--progress json``, for
        the commands that have it, the progress is passed on and a cancel leaves nothing half-written.
    context:
        Of the worker.

    Returns
    -------
    dict
        ``output``, what was printed; ``json``, the same read as JSON where the command printed one line of it.
    """
    words = arguments.get("words")
    if arguments.keys() != {"words"} or not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(
            "The job 'run' takes 'words', a list of text.", 'Send {"words": ["atlas", "info"]}.', code="value-invalid"
        )
    printed = io.StringIO()
    reader = _ProgressReader(context.progress)
    with redirect_stdout(printed), redirect_stderr(reader):
        try:
            with running_job(["neurogen", *words]):
                load_object(_DISPATCH)([word for word in words if word != "--debug"])
        except SystemExit as stop:  # --help ends so
            if stop.code:
                command = f"neurogen {' '.join(words[:2])}"
                raise NeuroGenError(
                    f"'{command}' ended with exit code {stop.code}.", "See the log.", code="unexpected"
                ) from stop
        finally:
            reader.finish()
    output = printed.getvalue()
    return {"output": output, "json": _json_line(output)}


class _ProgressReader(io.TextIOBase):
    """Stands in for stderr: progress lines go to a progress callback, which may cancel, all others on to stderr."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stderr = sys.stderr
        self._line = ""

    def write(self, text: str, /) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            message = _json_line(line)
            if isinstance(message, dict) and message.keys() == {"progress", "message"}:
                self._progress.update(message["progress"], 1.0, message["message"])
            else:
                self._stderr.write(line + "\n")
        return len(text)

    def flush(self) -> None:
        self._stderr.flush()

    def fileno(self) -> int:
        return self._stderr.fileno()

    def finish(self) -> None:
        """Pass on the last line, which no line break ended."""
        self._stderr.write(self._line)
        self._line = ""


def _json_line(text: str) -> Any:
    """Return the JSON object in a text of one line, else None."""
    if not text.startswith("{") or "\n" in text.strip():
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None
