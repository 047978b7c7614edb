"""Expected errors by what they are about, not by their English."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from NeuroGenLib.core.errors import InputError, NeuroGenError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from NeuroGenLib.core.errors import Code


@contextmanager
def raises(
    code: Code, *named: object, kind: type[NeuroGenError] = InputError
) -> Iterator[pytest.ExceptionInfo[NeuroGenError]]:
    """Expect an error of this code whose sentences name all these values (ids, paths, numbers, options).

    Examples
    --------
    >>> with raises("file-missing", "scan.nii"):
    ...     raise InputError("There is no file scan.nii.", "Check its name.", code="file-missing")
    """
    with pytest.raises(kind) as caught:
        yield caught
    assert caught.value.code == code, f"{caught.value.code}: {caught.value}"
    for value in named:
        assert str(value) in str(caught.value), f"{value!s} is not named by: {caught.value}"
