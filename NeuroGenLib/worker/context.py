"""Context of a job of the worker: progress, open models, measured speeds."""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

from NeuroGenLib.models import Model, open_model, require_kind
from NeuroGenLib.models.folder import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from NeuroGenLib.core.progress import Progress

Opened = TypeVar("Opened", bound=Model)

OPEN_MODELS: Final = 2
"""Models that stay open; the one that was not used for longest is closed for another."""


class Models:
    """Models that stay open between jobs, by reference and device."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, str], tuple[Model, int]] = OrderedDict()

    def get(self, reference: str, device: str, progress: Progress, expected: type[Opened]) -> Opened:
        """Return a model of the expected class; it is opened again when its folder has changed since.

        Raises
        ------
        InputError, NeuroGenError
            As :func:`NeuroGenLib.models.open_model`.
        """
        key = (reference, device)
        model, stamp = self._open.pop(key, (None, None))
        if model is None or stamp != _last_change(model.folder.path / MANIFEST):
            del model  # closed before the next is opened: there may be memory for one only
            while len(self._open) >= OPEN_MODELS:
                self._open.popitem(last=False)
            model = open_model(reference, expected, device=device, progress=progress)
        self._open[key] = model, _last_change(model.folder.path / MANIFEST)
        if not isinstance(model, expected):
            require_kind(model.folder, expected)
        return cast("Opened", model)

    def clear(self) -> None:
        """Close all."""
        self._open.clear()


def _last_change(path: Path) -> int:
    """Return when a file was changed, in nanoseconds; 0 when it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


class Rates:
    """Measured speeds of work on this machine, to estimate how long more of it will take.

    Examples
    --------
    >>> rates = Rates()
    >>> with rates.measured(("fit", "cpu"), units=300):
    ...     pass
    >>> rates.seconds_per_unit(("fit", "cpu")) >= 0, rates.seconds_per_unit(("fit", "cuda"))
    (True, None)
    """

    def __init__(self) -> None:
        self._measured: dict[tuple[str, ...], tuple[float, float]] = {}

    @contextmanager
    def measured(self, key: tuple[str, ...], units: float) -> Iterator[None]:
        """Measure a block that does ``units`` of work; one that raises does not count."""
        started = time.monotonic()
        yield
        if 2 * units >= self._measured.get(key, (0.0, 0.0))[0]:  # short work says little about long work
            self._measured[key] = units, time.monotonic() - started

    def seconds_per_unit(self, key: tuple[str, ...]) -> float | None:
        """Return how long a unit of work takes, s; None when none was measured."""
        if key not in self._measured:
            return None
        done, seconds = self._measured[key]
        return seconds / done


@dataclass(frozen=True)
class Context:
    """Context of a job.

    Attributes
    ----------
    progress:
        Progress callback; stops the job.
    models:
        The open models.
    rates:
        Measured speeds.
    keep:
        Writes the volumes and arrays of a part of the result to the scratch folder and returns what stands for them,
        so that a long job need not hold all of them in memory.
    """

    progress: Progress
    models: Models
    rates: Rates
    keep: Callable[[Any], Any]


Job: TypeAlias = "Callable[[dict[str, Any], Context], Any]"
"""A job: a function of its arguments and a context, whose result can travel."""
