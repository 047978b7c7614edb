"""Messages between the parent and the worker: requests, and errors that are the same at both ends."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from NeuroGenLib.core.errors import InputError, NeuroGenError, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from NeuroGenLib.core.errors import Code

PROTOCOL: Final = 1

_NO_MEMORY = ("out of memory", "can't allocate memory")


@dataclass(frozen=True)
class Request:
    """Request for a job; see :mod:`NeuroGenLib.worker`."""

    id: int
    job: str
    arguments: dict[str, Any]
    slot: str | None = None
    replaces: bool = False

    @classmethod
    def read(cls, message: Mapping[str, Any], jobs: Collection[str]) -> Request:
        """Read a message and check it.

        Parameters
        ----------
        message:
            Fields by name.
        jobs:
            Names of the jobs there are.

        Raises
        ------
        InputError
            When it is not a request, or the job does not exist.

        Examples
        --------
        >>> Request.read({"id": 3, "job": "model.open", "slot": "model"}, jobs=["model.open"]).slot
        'model'
        """
        remedy = "See the list of requests in NeuroGenLib/worker/__init__.py."
        for key in message:
            if key not in cls.__dataclass_fields__:
                raise InputError(
                    f"A request has no field '{key}'.", nearest(key, cls.__dataclass_fields__), code="name-unknown"
                )
        for key, kind in (("id", int), ("job", str), ("arguments", dict), ("slot", str), ("replaces", bool)):
            optional = key not in ("id", "job")
            # exact: JSON's true is not a number
            if type(message.get(key)) is not kind and not (optional and key not in message):
                raise InputError(
                    f"The field '{key}' of a request is not of type {kind.__name__}.", remedy, code="value-invalid"
                )
        request = cls(**{"arguments": {}, **message})
        if request.job not in jobs:
            raise InputError(f"The worker has no job '{request.job}'.", nearest(request.job, jobs), code="name-unknown")
        if request.replaces and request.slot is None:
            raise InputError("A request that replaces another needs a 'slot'.", remedy, code="value-missing")
        return request


class JobFailed(NeuroGenError):
    """A job failed, or its process ended.

    Attributes
    ----------
    kind:
        ``failure``, ``memory``, ``missing`` (a Python package), ``unexpected``, or ``died`` (the process). Invalid
        arguments are an :class:`~NeuroGenLib.core.errors.InputError` instead. The worker's traceback,
        where there is one, is in the error's notes.
    """

    def __init__(self, problem: str, remedy: str = "", kind: str = "failure", *, code: Code) -> None:
        super().__init__(problem, remedy, code=code)
        self.kind = kind


def error_to_message(error: BaseException) -> dict[str, str]:
    """Return an error as the protocol sends it.

    ``kind`` is ``input`` (what was asked for cannot be done), ``failure``, ``memory``, ``missing`` (a Python package)
    or ``unexpected``; ``code`` is one of :data:`~NeuroGenLib.core.errors.Code`.
    """
    text = str(error).lower()
    code: Code = "unexpected"
    if isinstance(error, InputError):
        kind, problem, remedy, code = "input", error.problem, error.remedy, error.code
    elif isinstance(error, NeuroGenError):
        kind, problem, remedy, code = "failure", error.problem, error.remedy, error.code
    elif isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
        kind, code, problem = "memory", "memory-exhausted", "There is not enough memory for this job."
        remedy = "Close other programs, or ask for a coarser spacing or a smaller box."
    elif isinstance(error, ModuleNotFoundError):
        kind, code = "missing", "package-missing"
        problem = f"This needs the Python package '{error.name}', which is not installed."
        remedy = f"Install it: pip install {error.name}"
    else:
        kind, problem = "unexpected", f"Something unexpected went wrong ({type(error).__name__}: {error})."
        remedy = "Report it with what the log says."
    trace = "".join(traceback.format_exception(error))
    return {"kind": kind, "code": code, "problem": problem, "remedy": remedy, "traceback": trace}


def error_from_message(message: Mapping[str, str]) -> NeuroGenError:
    """Return the error that :func:`error_to_message` described.

    Examples
    --------
    >>> sent = error_to_message(InputError("There is no file scan.nii.", code="file-missing"))
    >>> sent["kind"], error_from_message(sent).code
    ('input', 'file-missing')
    """
    error: NeuroGenError
    if message["kind"] == "input":
        error = InputError(message["problem"], message["remedy"], code=cast("Code", message["code"]))
    else:
        error = JobFailed(message["problem"], message["remedy"], message["kind"], code=cast("Code", message["code"]))
    error.add_note(f"In the worker:\n{message['traceback']}")
    return error
