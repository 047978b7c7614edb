"""Report of the files that an atlas command wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from NeuroGenLib.commands.options import print_json
from NeuroGenLib.commands.shared import print_result

if TYPE_CHECKING:
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.atlas.output import Written
    from NeuroGenLib.core.progress import Progress


def report_written(model: AtlasModel, written: Written, progress: Progress, *, as_json: bool) -> None:
    """Say what was written, where, how long it took, and what to know about it."""
    progress.close()
    if as_json:
        print_json(
            {
                "out": str(written.folder),
                "written": [str(file) for file in written.files],
                "warnings": written.warnings,
                "notice": model.notice,
                "seconds": round(written.seconds, 2),
            }
        )
        return
    print_result(written.folder, written.files, written.seconds, written.warnings, model.notice)
