"""Atlases that the published program generates after a training: the section ``atlas_gen`` of its settings."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class PublishedAtlases:
    """The atlases that the program generates.

    Attributes
    ----------
    ages:
        Weeks.
    spacing:
        Voxel size along x, y and z, mm.
    combinations:
        Table values of the conditions by name, one mapping for each atlas of an age; the first condition changes
        slowest.
    """

    ages: tuple[float, ...]
    spacing: tuple[float, float, float]
    combinations: tuple[dict[str, float | str], ...]


def published_atlases(atlas: Mapping[str, Any], data: Mapping[str, Any]) -> PublishedAtlases:
    """Return the atlases that two configs of a run ask for.

    Parameters
    ----------
    atlas:
        Content of ``config_atlas.yaml``.
    data:
        The data set's block of ``config_data.yaml``.

    Raises
    ------
    InputError
        When a condition that the network reads has no values there, or no range.
    """
    try:
        section = atlas["atlas_gen"]
        x, y, z = (float(width) for width in section["spacing"])
        names = [name for name, used in data["conditions"].items() if used]
        asked = section.get("conditions") or {}
        choices = [_table_values(asked[name], data["constraints"][name]) for name in names]
        ages = tuple(float(age) for age in section["temporal_values"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"'atlas_gen' of the configs describes no atlases ({type(error).__name__}: {error}).",
            "Give the config_atlas.yaml and config_data.yaml of one run.",
            code="file-damaged",
        ) from error
    combinations = tuple(dict(zip(names, values, strict=True)) for values in itertools.product(*choices))
    return PublishedAtlases(ages, (x, y, z), combinations)


def _table_values(asked: Mapping[str, Any], constraint: Mapping[str, Any]) -> list[float | str]:
    """Return the values of a condition as they stand in the table; ``normed_values`` are -1 to 1 over its range."""
    if constraint.get("type") == "categoric":
        return [str(value) for value in asked["values"]]
    values = [float(value) for value in asked["values"]]
    if asked.get("normed_values"):
        low, high = float(constraint["min"]), float(constraint["max"])
        values = [low + (value + 1) / 2 * (high - low) for value in values]
    return list(values)
