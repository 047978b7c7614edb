"""Model card (Markdown) rendered from the manifest of any kind of model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from NeuroGenLib.core.provenance import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from NeuroGenLib.models.manifest import Manifest

MAKING = ("command", "config_file", "commit", "data")
"""Entries of a manifest's training that say how the weights can be made again."""


def rendered_card(
    manifest: Manifest,
    tag: str,
    rows: Sequence[tuple[str, str]],
    *,
    purpose: str = "",
    limits: str = "",
    making: Sequence[str] = (),
) -> str:
    """Return a card in Markdown, with the front matter that model hubs read.

    Parameters
    ----------
    manifest:
        Of the model.
    tag:
        What kind of model it is, for model hubs.
    rows:
        Name and text of each line of the table; the licence follows.
    purpose, limits:
        A paragraph on what such models do, and one on what they do not.
    making:
        Entries of the training to be listed, such as :data:`MAKING`.
    """
    licence, training = manifest.license, manifest.training
    table = "\n".join(f"| {name} | {text} |" for name, text in [*rows, ("Licence of the weights", licence)])
    measured = [f"{part['text']}\n\n{part['table']}" for part in (training.get("metrics") or {}).values()]
    made = [f"- {name.replace('_', ' ').capitalize()}: `{training[name]}`" for name in making if training.get(name)]
    cited = [f"- {entry}" for entry in manifest.citation]
    parts = [
        f"---\nlicense: {licence.lower()}\nlibrary_name: neurogen\ntags: [neuroimaging, {tag}]\n---",
        f"# {manifest.name}",
        manifest.description,
        purpose,
        f"**{manifest.notice}**" if manifest.notice else "",
        limits,
        f"**{RESEARCH_USE}**",
        f"## What it is\n\n| | |\n|---|---|\n{table}",
        "## Measured\n\n" + "\n\n".join(measured) if measured else "",
        "## How it was made\n\n" + "\n".join(made) if made else "",
        "## Cite\n\n" + "\n".join(cited) if cited else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
