"""NeuroGen's buttons in Slicer's module "Sample Data", with stand-ins for that module and for the child process."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from NeuroGenLib.core.errors import Cancelled, NeuroGenError
from NeuroGenLib.core.files import write_json
from NeuroGenLib.samples import list_samples
from NeuroGenLib.spatial.labels import LabelTable
from NeuroGenLib.spatial.volume import Volume
from Testing.slicer_desktop import missing_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from Testing.slicer_desktop import Desktop

pytestmark = pytest.mark.skipif(bool(missing_parts()), reason=missing_parts())

PANELS = Path(__file__).resolve().parents[2] / "NeuroGen"
PAIR = "baby-ai-demo"
LEFT_HANDED = np.array([[-1.0, 0, 0, 4], [0, 2, 0.5, 5], [0, -0.25, 3, 6], [0, 0, 0, 1]])
OFFER = {
    "title": "Tiny atlases",
    "licence": "cc-by-4.0",
    "creators": ["Doe, Jane"],
    "page": "https://example.org/1",
    "size_text": "1.0 MB",
    "files": ["a.nii.gz"],
    "needs_acceptance": True,
}


class SampleDataSource:
    """As Slicer's: every field must have one value for each address."""

    def __init__(
        self, sampleName: str, uris: str, fileNames: str, nodeNames: str, customDownloader: Callable | None
    ) -> None:
        assert all(isinstance(text, str) for text in (sampleName, uris, fileNames, nodeNames))
        self.sampleName, self.uris, self.customDownloader = sampleName, uris, customDownloader


@pytest.fixture
def buttons(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[SampleDataSource]]:
    """A stand-in for the module SampleData; the registered sources by category."""
    registered: dict[str, list[SampleDataSource]] = {}

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(category: str, **fields: Any) -> None:
            registered.setdefault(category, []).append(SampleDataSource(**fields))

        def downloadFromSource(self, source: SampleDataSource) -> list[Any]:
            """As Slicer's: the custom downloader is not asked."""
            raise ValueError(f"unknown url type: {source.uris}")

        def downloadSample(self, name: str) -> Any:
            """As Slicer's."""
            everything = [source for sources in registered.values() for source in sources]
            return self.downloadFromSource(next(source for source in everything if source.sampleName == name))[0]

    module = ModuleType("SampleData")
    module.SampleDataLogic = SampleDataLogic  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "SampleData", module)
    return registered


class Handle:
    """A job that needs some polls."""

    def __init__(self, finish: Callable[[Handle], None]) -> None:
        self.done, self.result, self.error, self.polls = False, None, None, 0
        self.finish = finish

    def cancel(self) -> None:
        self.error, self.done = Cancelled(), True


class FakeWorker:
    """Stands for NeuroGenLib.worker.Worker: answers the words of a command, after five polls."""

    def __init__(self) -> None:
        self.words: list[list[str]] = []
        self.offer: dict[str, Any] = OFFER
        self.fails: NeuroGenError | None = None
        self.meanwhile: Callable[[Handle], object] = lambda _: None
        self.closed = 0
        self._open: list[Handle] = []

    @property
    def busy(self) -> list[Handle]:
        return [handle for handle in self._open if not handle.done]

    def submit(self, job: str, arguments: dict[str, Any], on_progress: Callable[[float, str], None]) -> Handle:
        assert job == "run"
        words = arguments["words"]
        self.words.append(words)

        def finish(handle: Handle) -> None:
            on_progress(0.5, "halfway")
            if words[:2] == ["samples", "info"]:
                handle.result = {"json": self.offer}
            elif self.fails:
                handle.error = self.fails
            else:
                write_sample(Path(words[words.index("--out") + 1]))
                handle.result = {"json": {}}

        self._open.append(Handle(finish))
        return self._open[-1]

    def poll(self, seconds: float = 0.0) -> None:  # noqa: ARG002
        for handle in self.busy:
            handle.polls += 1
            self.meanwhile(handle)
            if handle.polls >= 5 and not handle.done:
                handle.finish(handle)
                handle.done = True

    def close(self) -> None:
        self.closed += 1


def write_sample(folder: Path) -> None:
    """Write what `neurogen samples get` writes, small."""
    folder.mkdir(parents=True, exist_ok=True)
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    if folder.name == PAIR:
        Volume(values, LEFT_HANDED).save(folder / "demo_t1w_input.nii.gz")
        Volume(values + 1, LEFT_HANDED).save(folder / "demo_t2w_input.nii.gz")
        write_json(folder / "provenance.json", {"action": "samples get", "licence": "not-stated"})
        return
    Volume(values, LEFT_HANDED).save(folder / "T2w.nii.gz")
    Volume((values > 30).astype(np.uint8), LEFT_HANDED).save(folder / "labels.nii.gz")
    LabelTable.from_names(["background", "brain"]).to_tsv(folder / "labels.tsv")
    write_json(folder / "provenance.json", {"action": "samples get", "licence": "CC0-1.0"})


@pytest.fixture
def worker() -> FakeWorker:
    return FakeWorker()


@pytest.fixture
def sample_data(desktop: Desktop, worker: FakeWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module under test, with an empty cache, all packages, and the fake worker."""
    monkeypatch.syspath_prepend(str(PANELS))
    monkeypatch.setenv("NEUROGEN_MODELS", str(tmp_path / "cache"))
    from NeuroGenPanels import sample_data as module
    from NeuroGenPanels import worker_service

    monkeypatch.setattr(worker_service, "_new_worker", lambda: worker)
    monkeypatch.setattr(module, "PAUSE", 0.001)
    return module


def click(buttons: dict[str, list[SampleDataSource]], name: str) -> list[Any]:
    source = next(source for source in buttons["NeuroGen"] if source.sampleName == name)
    return source.customDownloader(source)


def place(tmp_path: Path, name: str) -> Path:
    return tmp_path / "cache" / "samples" / name


def test_without_slicers_module_nothing_happens(sample_data: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SampleData", None)
    sample_data.register()


def test_every_sample_has_a_button(sample_data: ModuleType, buttons: dict) -> None:
    sample_data.register()
    assert [source.sampleName for source in buttons["NeuroGen"]] == [sample.name for sample in list_samples()]


def test_a_script_gets_a_sample_by_name(
    sample_data: ModuleType, buttons: dict, worker: FakeWorker, desktop: Desktop, tmp_path: Path
) -> None:
    import SampleData

    worker.offer = {"needs_acceptance": False}
    sample_data.register()
    sample_data.register()  # a reloaded module
    logic = SampleData.SampleDataLogic()
    assert logic.downloadSample("fetal-brain-thick").IsA("vtkMRMLScalarVolumeNode")
    others = SampleDataSource("MRHead", "https://example.org/MRHead.nrrd", "MRHead.nrrd", "MRHead", None)
    with pytest.raises(ValueError, match="unknown url type"):
        logic.downloadFromSource(others)


def test_a_drawn_head_is_loaded_in_its_place(
    sample_data: ModuleType, buttons: dict, worker: FakeWorker, desktop: Desktop, tmp_path: Path
) -> None:
    from NeuroGenLib.mrml.provenance import provenance_of
    from NeuroGenLib.mrml.volumes import volume_of
    from Testing.mrml.nodes import folder_of

    worker.offer = {"needs_acceptance": False}
    sample_data.register()
    image, segmentation = click(buttons, "fetal-brain-thick")
    out = str(place(tmp_path, "fetal-brain-thick"))
    assert worker.words[-1] == [
        *("samples", "get", "fetal-brain-thick", "--out", out),
        *("--json", "--progress", "json"),
    ]
    assert worker.closed == 1
    loaded = volume_of(image)
    expected = LEFT_HANDED @ (2, 3, 4, 1)  # where the last voxel of the file, of value 59, lies
    index = np.argwhere(loaded.array == 59)[0]
    np.testing.assert_allclose(loaded.voxel_to_world(index), expected[:3], atol=1e-4)
    assert segmentation.GetSegmentation().GetSegment("label_1").GetName() == "brain"
    for node in (image, segmentation):
        assert provenance_of(node)["licence"] == "CC0-1.0"
        assert folder_of(desktop.scene, node) == "The same brain in thick, tilted slices"
    red = desktop.scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode")
    assert red.GetBackgroundVolumeID() == image.GetID()
    assert [message.kind for message in desktop.messages] == [], "a rendered brain asks nothing"


def test_the_window_stays_alive_and_shows_progress(
    sample_data: ModuleType, buttons: dict, worker: FakeWorker, desktop: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qt
    import slicer

    said: list[str] = []
    monkeypatch.setattr(slicer.util, "showStatusMessage", lambda text, *_: said.append(text))
    ticks: list[int] = []
    timer = qt.QTimer()
    timer.setInterval(5)
    timer.timeout.connect(lambda: ticks.append(1))
    timer.start()
    sample_data.register()
    worker.offer = {"needs_acceptance": False}
    click(buttons, "fetal-brain-30w")
    timer.stop()
    assert len(ticks) > 5
    assert "50 %  halfway" in said


def test_a_second_click_does_not_start_it_twice(
    sample_data: ModuleType, buttons: dict, worker: FakeWorker, desktop: Desktop
) -> None:
    again: list[Any] = []
    worker.offer = {"needs_acceptance": False}
    worker.meanwhile = lambda _: again.append(click(buttons, "fetal-brain-30w"))
    sample_data.register()
    assert len(click(buttons, "fetal-brain-30w")) == 2
    assert again
    assert not any(again)
    assert [words[1] for words in worker.words] == ["info", "get"]
    worker.meanwhile = lambda _: None
    assert len(click(buttons, "fetal-brain-30w")) == 2, "afterwards it may be clicked again"


def test_the_licence_is_asked_for_and_passed_on(
    sample_data: ModuleType, buttons: dict, worker: FakeWorker, desktop: Desktop, tmp_path: Path
) -> None:
    sample_data.register()
    desktop.answer(True)
    assert click(buttons, "cinema-atlases") == []
    question, message = desktop.messages
    assert all(text in question.text for text in ("Tiny atlases", "Doe, Jane", "cc-by-4.0", "1.0 MB", OFFER["page"]))
    words = worker.words[-1]
    assert words[words.index("--accept-licence") + 1] == "cc-by-4.0"
    assert message.kind == "info"
    assert str(place(tmp_path, "cinema-atlases")) in message.text
    assert "NeuroGen Atlas" in message.text
    assert "Open a published atlas" in message.text

    assert click(buttons, "cinema-atlases") == []
    assert len(worker.words) == 2, "what is there is not downloaded again"
    assert [message.kind for message in desktop.messages[2:]] == ["info"]


def test_a_licence_that_is_declined_downloads_nothing(
    sample_data: ModuleType, buttons: dict, worker: FakeWorker, desktop: Desktop
) -> None:
    sample_data.register()
    desktop.answer(False)
    assert click(buttons, "cinema-atlases") == []
    assert [words[1] for words in worker.words] == ["info"]
    assert [message.kind for message in desktop.messages] == ["question"]
    assert worker.closed == 1


def test_a_pair_of_the_hub_is_loaded_and_explained(
    sample_data: ModuleType, buttons: dict, worker: FakeWorker, desktop: Desktop, tmp_path: Path
) -> None:
    from NeuroGenLib.mrml.provenance import provenance_of
    from NeuroGenLib.mrml.volumes import volume_of
    from Testing.mrml.nodes import folder_of

    worker.offer = {**OFFER, "licence": "not-stated", "files": ["demo_t1w_input.nii.gz", "demo_t2w_input.nii.gz"]}
    sample_data.register()
    desktop.answer(True)
    nodes = click(buttons, PAIR)
    question, message = desktop.messages
    assert "'not-stated'" in question.text
    assert worker.words[-1][-5:] == ["--accept-licence", "not-stated", "--json", "--progress", "json"]
    assert str(place(tmp_path, PAIR)) in worker.words[-1]
    assert [node.GetName() for node in nodes] == [f"{PAIR} demo_t1w_input", f"{PAIR} demo_t2w_input"]
    last = np.argwhere(volume_of(nodes[1]).array == 60)[0]  # the T2w's largest value
    np.testing.assert_allclose(volume_of(nodes[1]).voxel_to_world(last), (LEFT_HANDED @ (2, 3, 4, 1))[:3], atol=1e-4)
    for node in nodes:
        assert provenance_of(node)["licence"] == "not-stated"
        assert folder_of(desktop.scene, node) == "T1w and T2w published with BABY-AI"
    assert message.kind == "info"
    assert all(text in message.text for text in ("4 mm", "axial", "guide")), "its header does not say so"

    assert len(click(buttons, PAIR)) == 2
    assert [words[1] for words in worker.words] == ["info", "get"], "what is there is not downloaded again"


def test_a_failure_is_shown_and_the_process_ends(
    sample_data: ModuleType, buttons: dict, worker: FakeWorker, desktop: Desktop
) -> None:
    from NeuroGenPanels.worker_service import WorkerService

    sample_data.register()
    worker.offer = {"needs_acceptance": False}
    worker.fails = NeuroGenError("The disk is full.", "Free some space.", code="unexpected")
    assert click(buttons, "fetal-brain-30w") == []
    (message,) = desktop.messages
    assert (message.kind, message.text) == ("error", "The disk is full. Free some space.")
    assert desktop.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert worker.closed == 1
    assert not [service for service in WorkerService.running if service.title == sample_data.TITLE]


def test_a_cancel_from_the_list_of_jobs_is_not_an_error(
    sample_data: ModuleType, buttons: dict, worker: FakeWorker, desktop: Desktop
) -> None:
    sample_data.register()
    worker.meanwhile = lambda handle: handle.cancel()
    assert click(buttons, "fetal-brain-30w") == []
    assert desktop.messages == []


def test_missing_packages_are_asked_for_first(
    sample_data: ModuleType, buttons: dict, worker: FakeWorker, desktop: Desktop
) -> None:
    sample_data.register()
    desktop.missing_packages.add("torch")
    desktop.answer(False)
    assert click(buttons, "fetal-brain-30w") == []
    assert "torch" in desktop.messages[0].text
    assert worker.words == []


def test_a_source_is_all_that_is_needed(sample_data: ModuleType, worker: FakeWorker, desktop: Desktop) -> None:
    worker.offer = {"needs_acceptance": False}
    assert len(sample_data.bring(SimpleNamespace(sampleName="fetal-brain-30w"))) == 2
