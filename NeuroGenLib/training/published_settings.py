"""Training settings translated from those of a published program: names of files, reasons, texts for comments."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core import provenance
from NeuroGenLib.core.checksums import sha256_of
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_UNKNOWN = "it is not a setting of the published program that NeuroGen knows"


@dataclass(frozen=True)
class Translation:
    """NeuroGen's settings for a training of a published program.

    Attributes
    ----------
    settings:
        What the settings file holds, in the words of the training's config.
    remarks:
        How some settings were translated, a sentence each.
    left_out:
        The published settings without a counterpart: dotted key, value, reason.
    """

    settings: dict[str, Any]
    remarks: tuple[str, ...]
    left_out: tuple[tuple[str, Any, str], ...]

    @property
    def reasons(self) -> dict[str, str]:
        """Why a published setting has no counterpart, by its dotted key."""
        return {key: reason for key, _, reason in self.left_out}

    def text(self, head: Sequence[str]) -> str:
        """Return the settings file: the settings, and as comments ``head``, the remarks and what has no counterpart."""
        tail = ["How it was translated:", *(f"- {remark}" for remark in self.remarks)]
        tail += ["Published settings without a counterpart:"]
        tail += [f"- {plain(key)}: {shown(value)} ({reason})" for key, value, reason in self.left_out]
        before, after = ("\n".join(f"# {line}" for line in lines) for lines in (head, tail))
        return f"{before}\n{as_yaml(self.settings)}{after}\n"

    def write(
        self, out: Path, head: Sequence[str], command: str, parameters: Mapping[str, Any], sources: Sequence[Path]
    ) -> None:
        """Write the settings file and its record, ``NAME_provenance.json`` beside it.

        Parameters
        ----------
        out:
            The settings file.
        head:
            First comments of the file, a line each.
        command, parameters:
            What was called, for the record.
        sources:
            The published program's files.
        """
        write_text(out, self.text(head))
        record = provenance.record(
            command,
            parameters=dict(parameters),
            inputs=[{"name": path.name, "sha256": sha256_of(path)} for path in sources],
            remarks=list(self.remarks),
            without_counterpart=self.reasons,
        )
        write_json(beside(out, "provenance.json"), record)


def beside(out: Path, end: str) -> Path:
    """Return the place of a file that belongs to a settings file: ``NAME_end``."""
    return out.with_name(f"{out.stem}_{end}")


def as_yaml(content: Any) -> str:
    """Return settings as YAML that reads back as they are."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes text that YAML 1.2, by whose rules settings are read, takes for a number."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (the library's signature)
            return True

    Dumper.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
    )
    return yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


def require_new_settings_file(out: Path) -> None:
    """Refuse a name that does not end in .yaml or .yml, or that exists.

    Raises
    ------
    InputError
        When it is refused.
    """
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"{out} is not the name of a settings file.", "End it in .yaml.", code="file-type")
    if out.exists():
        raise InputError(f"{out} exists already.", "Choose another name, or delete it.", code="file-occupied")


def reason_for(key: str, reasons: Mapping[str, str]) -> str:
    """Return why a dotted key has no counterpart: the reason of the key, or of the nearest section around it."""
    parts = key.split(".")
    known = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((reasons[name] for name in known if name in reasons), _UNKNOWN)


def shown(value: Any) -> str:
    """Return a value as JSON, shortened to 60 characters."""
    text = json.dumps(value, default=str, skipkeys=True)
    return text if len(text) <= 60 else f"{text[:57]}..."


def plain(text: str) -> str:
    """Return a text of another file so that it can stand in a comment and on a terminal."""
    return json.dumps(" ".join(str(text).split()), ensure_ascii=True)[1:-1].replace('\\"', '"')
