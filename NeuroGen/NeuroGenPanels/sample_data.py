"""NeuroGen's entries in Slicer's module "Sample Data"."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import slicer

from NeuroGenPanels import dependencies
from NeuroGenPanels.messages import errors_shown
from NeuroGenPanels.metadata import CATEGORY
from NeuroGenPanels.worker_service import WorkerService

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


TITLE = "NeuroGen sample data"
SAMPLES = (
    *("fetal-brain-30w", "fetal-brain-thick", "fetal-brain-25w-tilted", "fetal-brain-4mm"),
    *("cinema-atlases", "baby-ai-demo"),
)
"""Names of the registry, which cannot be read before its packages are installed."""

PAUSE = 0.02
STATUS_MS = 3000
PERCENT = 100

_running: set[str] = set()


def register() -> None:
    """Add the samples to Slicer's module; nothing where Slicer comes without it."""
    try:
        from SampleData import SampleDataLogic
    except ImportError:
        return
    for name in SAMPLES:
        # Slicer wants an address and a file for every sample, and does not use them where there is a downloader.
        SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=name,
            uris=f"neurogen:{name}",
            fileNames=name,
            nodeNames=name,
            customDownloader=bring,
        )
    if not hasattr(SampleDataLogic.downloadFromSource, "for_neurogen"):
        SampleDataLogic.downloadFromSource = _with_neurogen(SampleDataLogic.downloadFromSource)


def _with_neurogen(download: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """``downloadFromSource`` that brings NeuroGen's samples, and does what Slicer's own does with all others.

    Slicer asks for ``customDownloader`` behind its buttons alone: ``SampleData.downloadSample(name)``, as tutorials and
    tests call it, would try to download the placeholder of an address.
    """

    def download_from_source(logic: Any, source: Any, *arguments: Any, **options: Any) -> list[Any]:
        if source.customDownloader is bring:
            return bring(source)
        return download(logic, source, *arguments, **options)

    download_from_source.for_neurogen = True  # type: ignore[attr-defined]
    return download_from_source


def bring(source: Any) -> list[Any]:
    """Render or download the sample of a button, and load it; the window stays responsive meanwhile.

    Parameters
    ----------
    source:
        Slicer's ``SampleDataSource``.

    Returns
    -------
    list
        The nodes that were added; none where the person declined, or on an error, which is shown.
    """
    name = source.sampleName
    if name in _running:  # the button was clicked once more
        slicer.util.showStatusMessage(f"{name} is being fetched", STATUS_MS)
        return []
    _running.add(name)
    try:
        with errors_shown("sample data"):
            return _bring(name)
    finally:
        _running.discard(name)
    return []


def _bring(name: str) -> list[Any]:
    dependencies.ensure(TITLE)
    from NeuroGenLib.core.provenance import RECORD
    from NeuroGenLib.samples import find_sample, samples_folder
    from NeuroGenLib.samples.registry import DRAWN, HUB

    sample = find_sample(name)
    folder = samples_folder() / name
    # What was downloaded once is there: its record appears with the last of its files.
    is_there = sample.kind != DRAWN and (folder / RECORD).is_file()
    if not is_there and not _fetch(name, folder):
        return []
    if sample.kind == DRAWN:
        return _load(folder, sample.title, sorted(path.name for path in folder.glob("*.nii.gz")))
    if sample.kind == HUB:
        nodes = _load(folder, sample.title, sample.files)
        slicer.util.infoDisplay(sample.description, windowTitle=TITLE)
        return nodes
    slicer.util.infoDisplay(
        f"'{sample.title}' is in {folder}. To view it, go to the module NeuroGen Atlas, section 'Open a published"
        " atlas', and choose one of its 4-D files.",
        windowTitle=TITLE,
    )
    return []


def _fetch(name: str, folder: Path) -> bool:
    """Fetch a sample in a child process; return False when its licence is not accepted."""
    jobs = WorkerService(TITLE)
    try:
        offer = _run(jobs, ["samples", "info", name, "--json"])
        accepted = []
        if offer["needs_acceptance"]:
            if not _accepts(offer):
                return False
            accepted = ["--accept-licence", offer["licence"]]
        _run(jobs, ["samples", "get", name, "--out", str(folder), *accepted, "--json", "--progress", "json"])
    finally:
        jobs.retire()
    return True


def _run(jobs: WorkerService, words: list[str]) -> dict[str, Any]:
    """Run a command in the child process and return its JSON output; Slicer stays responsive meanwhile."""
    handle = jobs.submit("run", {"words": words}, on_progress=_show_progress)
    while not handle.done:
        slicer.app.processEvents()
        time.sleep(PAUSE)
    if handle.error is not None:
        raise handle.error
    return handle.result["json"]


def _show_progress(fraction: float, message: str) -> None:
    slicer.util.showStatusMessage(f"{PERCENT * fraction:.0f} %  {message}", STATUS_MS)


def _accepts(offer: dict[str, Any]) -> bool:
    by = f" by {'; '.join(offer['creators'])}" if offer["creators"] else ""
    return slicer.util.confirmYesNoDisplay(
        f"'{offer['title']}'{by} is {offer['size_text']} in {len(offer['files'])} files, with the licence"
        f" '{offer['licence']}', which may not allow every use. Read it at {offer['page']}. Do you accept it and"
        " want to download the data?",
        f"{TITLE}: licence",
    )


def _load(folder: Path, title: str, files: Sequence[str]) -> list[Any]:
    """Add images, and the label map of a rendered sample, to the scene, in a folder, with their provenance."""
    from NeuroGenLib.core.files import read_json
    from NeuroGenLib.core.provenance import RECORD
    from NeuroGenLib.mrml.folders import add_folder, put_into_folder
    from NeuroGenLib.mrml.provenance import set_provenance
    from NeuroGenLib.mrml.segmentations import add_segmentation
    from NeuroGenLib.mrml.views import show_in_slices
    from NeuroGenLib.mrml.volumes import add_volume
    from NeuroGenLib.spatial.labels import LabelTable
    from NeuroGenLib.spatial.volume import Volume

    scene = slicer.mrmlScene
    record = read_json(folder / RECORD)
    name = folder.name
    images = {file.rpartition("/")[2].removesuffix(".nii.gz"): Volume.load(folder / file) for file in files}
    labels = images.pop("labels", None)
    nodes = [add_volume(scene, volume, f"{name} {image}") for image, volume in images.items()]
    if labels is not None:
        table = LabelTable.from_tsv(folder / "labels.tsv")
        nodes.append(add_segmentation(scene, labels, table, f"{name} labels"))
    for node in nodes:
        set_provenance(node, record)
    put_into_folder(scene, add_folder(scene, title), nodes)
    show_in_slices(scene, nodes[0])
    return nodes
