"""Report of the files that an atlas command wrote."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from NeuroGenLib.commands.shared import print_result, print_written

if TYPE_CHECKING:
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.atlas.output import Written
    from NeuroGenLib.core.progress import Progress


def report_written(model: AtlasModel, written: Written, progress: Progress, *, as_json: bool, **facts: Any) -> None:
    """Say what was written, where, how long it took, and what to know about it; ``facts`` stand in the JSON alone."""
    progress.close()
    if as_json:
        started = time.monotonic() - written.seconds
        print_written(written.folder, written.files, started, warnings=written.warnings, notice=model.notice, **facts)
        return
    print_result(written.folder, written.files, written.seconds, written.warnings, model.notice)
