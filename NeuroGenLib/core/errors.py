"""Errors that are written for the person who meets them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Code = Literal[
    # files and folders
    "file-missing",  # nothing at the path
    "file-damaged",  # truncated, or its content contradicts itself
    "file-type",  # another format than the one that is needed, or a name that ends wrongly
    "file-unwritable",  # no permission, no space, a folder in the way
    "file-occupied",  # something is there that would be lost
    "path-unsafe",  # leaves its folder, or names something that no system allows
    # values
    "name-unknown",  # a command, option, setting, label, column or subject that does not exist
    "value-invalid",  # wrong type, or out of range
    "value-missing",  # required and not given
    "value-conflict",  # two values that exclude each other
    "value-duplicate",  # given or listed twice
    # images
    "image-dimensions",  # not 3-D, or a number of channels that does not fit
    "image-empty",  # no voxels, nothing in it, or constant
    "image-not-finite",  # NaN or infinity
    "image-too-large",  # more voxels than fit into memory or are plausible
    "geometry-invalid",  # an affine that is flat, not finite or not a map of space
    "geometry-mismatch",  # two images that should share a grid or a space and do not
    "labels-invalid",  # values that are not label values, or contradict the table
    "series-ambiguous",  # a folder with several DICOM series, or with none
    "transform-invalid",  # folds, cannot be inverted, or is of a kind that cannot be read
    # tables
    "table-invalid",  # cannot be read as a table, or a row has a wrong number of values
    "table-empty",  # no row, or none left
    "units-unknown",  # a quantity without a unit
    # models and trainings
    "model-missing",  # nothing by this reference
    "model-damaged",  # a folder that is not a model, lacks parts, or whose checksums do not fit
    "model-kind",  # a model of another capability, or one that cannot do this
    "model-newer",  # made by a newer version
    "model-range",  # outside what the model has learned: age, condition, contrast
    "weights-mismatch",  # tensors that do not fit the network
    "checkpoint-unsafe",  # a pickle that wants to run code
    "run-conflict",  # a folder of another training, or one into which another command is writing
    "training-diverged",  # a loss that is not finite
    # the machine
    "network-failed",  # no connection, refused, or answered wrongly
    "access-denied",  # a licence to accept, or a login
    "memory-exhausted",
    "device-unavailable",
    "package-missing",
    "installation-damaged",  # a file of this program is missing
    "process-died",
    "items-failed",  # some of many; the others are done
    "process-busy",  # a job that has not ended in the time that was allowed
    "cancelled",
    "unexpected",
]
"""What kind of thing went wrong, for programs and tests; people read the sentences."""


class NeuroGenError(Exception):
    """Something failed: one sentence on what is wrong, one on the way out.

    The command line prints both sentences and ends with :attr:`exit_code`; a panel shows them. A traceback is for
    ``--debug`` alone.

    Parameters
    ----------
    problem:
        What is wrong, as one sentence.
    remedy:
        What the person can do about it, as one sentence; may be empty.
    code:
        The kind of problem, see :data:`Code`.

    Examples
    --------
    >>> error = InputError("scan.nii is truncated.", "Copy it again.", code="file-damaged")
    >>> str(error), error.code, error.exit_code
    ('scan.nii is truncated. Copy it again.', 'file-damaged', 2)
    >>> str(error.within("The scan of sub-01 cannot be used"))
    'The scan of sub-01 cannot be used: scan.nii is truncated. Copy it again.'
    """

    exit_code = 1

    def __init__(self, problem: str, remedy: str = "", *, code: Code) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy
        self.code: Code = code

    def __str__(self) -> str:
        return f"{self.problem} {self.remedy}".strip()

    def __reduce__(self) -> tuple[Callable[..., NeuroGenError], tuple[object, ...]]:
        """Copy and pickle by attributes: a class may take other arguments, and always takes the code by keyword."""
        return _restored, (type(self), self.args, self.__dict__)

    def within(self, where: str, remedy: str | None = None) -> Self:
        """Return the same error with ``where`` before its problem, to be raised ``from`` this one.

        Parameters
        ----------
        where:
            Such as ``"The scan of sub-01 cannot be used"``; a colon is put behind it.
        remedy:
            In place of the error's own.
        """
        return self._changed(f"{where}: {self.problem}", self.remedy if remedy is None else remedy)

    def with_remedy(self, remedy: str) -> Self:
        """Return the same error with another way out, to be raised ``from`` this one.

        Examples
        --------
        >>> str(InputError("scan.nii is truncated.", "Copy it.", code="file-damaged").with_remedy("Fetch it again."))
        'scan.nii is truncated. Fetch it again.'
        """
        return self._changed(self.problem, remedy)

    def _changed(self, problem: str, remedy: str) -> Self:
        error = type(self).__new__(type(self))
        error.__dict__.update(self.__dict__)
        NeuroGenError.__init__(error, problem, remedy, code=self.code)
        return error


def _restored(kind: type[NeuroGenError], arguments: tuple[object, ...], state: dict[str, object]) -> NeuroGenError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class InputError(NeuroGenError):
    """An input cannot be used: a file, a table, a value, an option."""

    exit_code = 2


class Cancelled(NeuroGenError):
    """The person stopped the work; nothing half-written is left behind."""

    exit_code = 130

    def __init__(self, problem: str = "Stopped before the end.", remedy: str = "") -> None:
        super().__init__(problem, remedy, code="cancelled")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"Did you mean 'x'?"`` for the known word closest to ``word``, else list what is known.

    Examples
    --------
    >>> nearest("epoch", ["epochs", "rate"])
    "Did you mean 'epochs'?"
    >>> nearest("--device", ["--bibtex", "--out"])  # dashes do not make options similar
    'Known: --bibtex, --out.'
    """
    choices = [str(name) for name in known]
    lowered = {name.lower().lstrip("-"): name for name in choices}
    close = difflib.get_close_matches(word.lower().lstrip("-"), lowered, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{lowered[close[0]]}'?"
    return f"Known: {', '.join(sorted(choices)) or 'none'}."
