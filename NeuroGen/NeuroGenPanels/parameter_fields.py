"""Fields of a parameter node from NeuroGenLib's typed parameters, so that range and default are defined once."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

from slicer.parameterNodeWrapper import Maximum, Minimum, WithinRange

from NeuroGenLib.core.config import Range

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.core.config import Config


def with_fields_of(config: type[Config], **names: str) -> Callable[[type], type]:
    """Class decorator, put below ``@parameterNodeWrapper``: adds fields that hold settings of a Config.

    Parameters
    ----------
    config:
        Defines type, range and default of the settings.
    names:
        Setting of the Config to field of the parameter node.

    Notes
    -----
    A control has no open end: a number with ``exclusive_low`` may be set to that end, and the job then refuses it as
    out of range. Settings that are not a plain number have no range in the panel.
    """

    def add(wrapped: type) -> type:
        hints = get_type_hints(config, include_extras=True)
        defaults = {field.name: field.default for field in fields(config)}
        for setting, name in names.items():
            wrapped.__annotations__[name] = _annotation(hints[setting])
            if defaults[setting] is not MISSING:
                setattr(wrapped, name, defaults[setting])
        return wrapped

    return add


def settings_of(parameters: Any, **names: str) -> dict[str, Any]:
    """Return the settings by their names in the Config; the inverse of :func:`with_fields_of`."""
    return {setting: getattr(parameters, name) for setting, name in names.items()}


def _annotation(hint: Any) -> Any:
    if get_origin(hint) is not Annotated:
        return hint
    plain, *extras = get_args(hint)
    limits = next((extra for extra in extras if isinstance(extra, Range)), None)
    if limits is None or plain not in (int, float):
        return plain
    low, high = limits.low, limits.high
    if low is not None and limits.exclusive_low and plain is int:
        low += 1
    if low is not None and high is not None:
        return Annotated[plain, WithinRange(low, high)]
    if low is not None:
        return Annotated[plain, Minimum(low)]
    return plain if high is None else Annotated[plain, Maximum(high)]
