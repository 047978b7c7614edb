"""Commands whose result is a folder of brains: sequences over age, published atlases, export."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.provenance import RECORD

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenAtlasLib.browser import View
    from NeuroGenPanels.run_bar import RunBar

JSON_PROGRESS = ("--progress", "json")


def make_sequence(
    run_bar: RunBar, view: View, ages: tuple[float, float, float], *, growth: bool, on_shown: Callable[[], object]
) -> bool:
    """Render brains from one age to another and load them as a sequence; return whether it began."""
    first, last, step = ages
    if last <= first:
        raise InputError(
            "The last age of the sequence is not after the first.", "Set From and To.", code="value-invalid"
        )
    words = ["atlas", "generate", *model_words(view), "--ages", f"{first:g}:{last:g}:{step:g}"]
    words += ["--spacing", spacing_word(view), *(["--growth"] if growth else [])]
    return _into_scene(run_bar, "Making the sequence", words, on_shown)


def open_published(
    run_bar: RunBar,
    file: str,
    *,
    ages: str,
    segmentation: str,
    labels: str,
    fix_origin: bool,
    on_shown: Callable[[], object],
) -> bool:
    """Load a published atlas that is a 4-D NIfTI file as a sequence; return whether it began."""
    if not file:
        raise InputError("No file is chosen.", "Choose the 4-D NIfTI file of the atlas.", code="value-missing")
    words = ["atlas", "open", file]
    if ages.strip():
        words += ["--ages", ages.strip()]
    if segmentation:
        words += ["--segmentation", segmentation]
    if labels:
        words += ["--labels", labels]
    if fix_origin:
        words.append("--fix-origin")
    return _into_scene(run_bar, f"Opening {Path(file).name}", words, on_shown)


def export(run_bar: RunBar, view: View, folder: str, *, certainty: bool, growth: bool, scene: bool) -> bool:
    """Write the brain of a view into a folder; return whether it began."""
    if not folder:
        raise InputError("No folder is chosen.", "Choose the folder to export to.", code="value-missing")
    earlier = (Path(folder) / RECORD).is_file()
    if earlier and not slicer.util.confirmOkCancelDisplay(f"{folder} holds an earlier result. Replace it?"):
        return False
    words = ["atlas", "generate", *model_words(view), "--age", f"{view.brain.age:g}", "--spacing", spacing_word(view)]
    words += ["--out", folder, *(["--certainty"] if certainty else []), *(["--growth"] if growth else [])]
    words += ["--scene", str(Path(folder) / "atlas.mrb")] if scene else []
    words += ["--overwrite"] if earlier else []

    def written(_result: dict[str, Any]) -> None:
        run_bar.say(f"Written to {folder}.")
        run_bar.log(f"Written to {folder}")

    return run_bar.run("Exporting", "run", {"words": [*words, *JSON_PROGRESS]}, written)


def model_words(view: View) -> list[str]:
    """Return the options of the command line that say which model, device and conditions."""
    words = ["--model", view.model, "--device", view.device]
    for name, value in view.brain.conditions.items():
        words += ["--set", f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"]
    return words


def spacing_word(view: View) -> str:
    """Return the spacing of a view as the command line takes it."""
    return ",".join(f"{step:g}" for step in view.brain.steps)


def _into_scene(run_bar: RunBar, title: str, words: list[str], on_shown: Callable[[], object]) -> bool:
    """Run a command that writes a folder of brains, load the folder, remove it."""
    folder = Path(tempfile.mkdtemp(prefix="neurogen-sequence-", dir=slicer.app.temporaryPath))

    def load(_result: dict[str, Any]) -> None:
        from NeuroGenLib.mrml.views import show_in_slices
        from NeuroGenLib.scenes.atlas import Generated, add_generated

        try:
            nodes = add_generated(slicer.mrmlScene, Generated.read(folder / "brains"))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        on_shown()
        show_in_slices(slicer.mrmlScene, next(iter(nodes.images.values())))
        if nodes.growth is not None:
            show_plot(nodes.growth.plot)

    def clean(_error: Exception) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    words = [*words, "--out", str(folder / "brains"), *JSON_PROGRESS]
    began = run_bar.run(title, "run", {"words": words}, load, clean)
    if not began:
        shutil.rmtree(folder, ignore_errors=True)
    return began


def show_plot(plot: Any) -> None:
    """Show a plot beside the slices, where there are views."""
    if slicer.app.layoutManager() is not None:
        slicer.modules.plots.logic().ShowChartInLayout(plot)
