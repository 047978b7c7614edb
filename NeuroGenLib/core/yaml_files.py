"""Reads YAML files safely, by the rules of YAML 1.2."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import read_text

if TYPE_CHECKING:
    import os


def read_yaml(path: str | os.PathLike[str], *, as_text: bool = False) -> Any:
    """Read a YAML file safely, by the rules of YAML 1.2.

    Unlike YAML 1.1, ``1e-4`` is a number, ``yes`` and ``no`` are text, and so are dates and ``007``.

    Parameters
    ----------
    path:
        The file.
    as_text:
        Leave every scalar as text (subject ids that look like numbers).

    Raises
    ------
    InputError
        When it is missing, not YAML (the line is named), or names a key twice.
    """
    import yaml

    text = read_text(path)
    try:
        return _parse_yaml(text, as_text=as_text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" in line {mark.line + 1}" if mark else ""
        raise InputError(
            f"{path} is not valid YAML{line}: {error.problem or error.context}.", "Correct it.", code="file-damaged"
        ) from error
    except yaml.YAMLError as error:
        raise InputError(
            f"{path} is not a YAML text file ({error}).", "Save it as UTF-8 text.", code="file-damaged"
        ) from error


def read_flow(text: str) -> Any:
    """Read ``[1, 2]``, ``{a: 1}``, ``true`` or ``1e-4`` by the rules of :func:`read_yaml`; else return the text."""
    import yaml

    try:
        return _parse_yaml(text, as_text=False)
    except yaml.YAMLError:
        return text


def _parse_yaml(text: str, *, as_text: bool) -> Any:
    loader = _yaml_loader(as_text=as_text)(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


@functools.cache
def _yaml_loader(*, as_text: bool) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Safe loader with the scalars of YAML 1.2 that refuses duplicate keys."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 (PyYAML calls it so)
            keys = [key for key, _ in node.value if isinstance(key.value, str)]
            for index, key in enumerate(keys):
                if key.value in [earlier.value for earlier in keys[:index]]:
                    problem = f"the key '{key.value}' stands there twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            return super().construct_mapping(node, deep)

    Loader.yaml_implicit_resolvers = {}
    scalars = {
        "merge": r"<<",
        "null": r"~|null|Null|NULL|",
        "bool": r"true|True|TRUE|false|False|FALSE",
        "int": r"[-+]?(?:0|[1-9][0-9]*)",
        "float": r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    }
    for name in ("merge",) if as_text else tuple(scalars):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(f"^(?:{scalars[name]})$"), None)
    return Loader
