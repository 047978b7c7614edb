"""Initial weights from another model, strictly by name and shape."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch


@dataclass(frozen=True)
class InitialReport:
    """Which tensors :func:`load_initial` took from the other model and which it left alone."""

    loaded: tuple[str, ...]
    skipped: tuple[str, ...]


def load_initial(
    module_state: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor], skip: Sequence[str] = ()
) -> InitialReport:
    """Copy a model's tensors into a module, strictly by name and shape, or change nothing.

    Parameters
    ----------
    module_state:
        The module's ``state_dict()``; its tensors are overwritten in place.
    tensors:
        The model's tensors by name.
    skip:
        Names, or patterns such as ``"codes.*"``, that stay as they are: tables that differ in subjects.

    Raises
    ------
    InputError
        When a tensor is missing on either side or has another shape (all are listed), or a ``skip`` fits no name.
    """
    import torch

    names = sorted({*module_state, *tensors})
    unused = [pattern for pattern in skip if not fnmatch.filter(names, pattern)]
    if unused:
        raise InputError(
            f"Nothing is named '{unused[0]}' in either model.", f"Names: {_abridged(names)}.", code="name-unknown"
        )
    copied = [name for name in names if not any(fnmatch.fnmatchcase(name, pattern) for pattern in skip)]
    require_same_weights(
        {name: module_state[name].shape for name in copied if name in module_state},
        {name: tensors[name] for name in copied if name in tensors},
        "The weights do not fit this network",
        "Use the same network settings as that model, or skip the tables that are meant to differ.",
    )
    with torch.no_grad():
        for name in copied:
            module_state[name].copy_(tensors[name])
    return InitialReport(tuple(copied), tuple(name for name in names if name not in copied))


def require_same_weights(
    expected: Mapping[str, Sequence[int]], tensors: Mapping[str, torch.Tensor], problem: str, remedy: str
) -> None:
    """Demand every weight of a network, in its size, and no other; no memory is taken for the comparison.

    Parameters
    ----------
    expected:
        Sizes of the network's weights by name.
    tensors:
        The weights.
    problem, remedy:
        Of the error; what does not fit is added to ``problem``.

    Raises
    ------
    InputError
        When a weight is missing, unexpected or of another size.
    """
    phrases = [f"'{name}' is missing" for name in expected if name not in tensors]
    phrases += [f"'{name}' is not expected" for name in tensors if name not in expected]
    phrases += [
        f"'{name}' has shape {tuple(tensors[name].shape)} instead of {tuple(size)}"
        for name, size in expected.items()
        if name in tensors and tuple(tensors[name].shape) != tuple(size)
    ]
    if phrases:
        raise InputError(f"{problem}: {_abridged(phrases, '; ')}.", remedy, code="weights-mismatch")


def _abridged(phrases: Sequence[str], separator: str = ", ", most: int = 8) -> str:
    """Return the first phrases of a list, and how many more there are."""
    more = f"{separator}and {len(phrases) - most} more" if len(phrases) > most else ""
    return separator.join(phrases[:most]) + more
