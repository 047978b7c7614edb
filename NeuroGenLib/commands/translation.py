"""What the import-config commands say of translated settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from NeuroGenLib.commands.shared import print_written
from NeuroGenLib.core.provenance import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from NeuroGenLib.training.published_settings import Translation


def report_translation(
    translation: Translation,
    out: str,
    files: Sequence[Path],
    capability: str,
    started: float,
    *,
    as_json: bool,
) -> None:
    """Print what was translated into the settings file ``out`` and which files were written."""
    if as_json:
        print_written(out, files, started, warnings=translation.remarks, left_out=translation.reasons)
        return
    for remark in translation.remarks:
        print(f"Note: {remark}")
    print("Without a counterpart:")
    for reason in dict.fromkeys(reason for _, _, reason in translation.left_out):
        print(f"  {', '.join(key for key, _, why in translation.left_out if why == reason)}: {reason}")
    print("Written:")
    for file in files:
        print(f"  {file}")
    print(f"Train with: neurogen {capability} train --config {out}\n{RESEARCH_USE}")
