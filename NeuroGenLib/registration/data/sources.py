"""From the settings of a training to where its pairs come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.registration.data.generated import GeneratedPairs
from NeuroGenLib.registration.data.table import TablePairs
from NeuroGenLib.registration.published.datasets.opening import layout_pairs

if TYPE_CHECKING:
    from NeuroGenLib.registration.config import DataConfig, RegistrationTrainConfig
    from NeuroGenLib.registration.data.pairs import PairSource, ScanPairs


def pair_source(config: RegistrationTrainConfig, progress: Progress = SILENT) -> PairSource:
    """Return what draws the pairs of a training; label maps, and the scans that memory holds, are read.

    Raises
    ------
    InputError
        When a table, folder or file is missing or unusable.
    """
    data = config.data
    most = data.labels_per_step if config.losses.segmentation else 0
    if data.source == "generated":
        return GeneratedPairs(data.generated, most, progress)
    source = _scans(data, most)
    source.preload(progress)
    return source


def _scans(data: DataConfig, most: int | None) -> ScanPairs:
    if data.source == "layout":
        return layout_pairs(data.layout, items=data.items_per_step, most_labels=most, cache_gib=data.cache_gib)

    return TablePairs(data.table, items=data.items_per_step, most_labels=most, cache_gib=data.cache_gib)
