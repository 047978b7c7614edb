"""From the release of the age slider to three new slice pictures: `python Testing/bench/bench_slider.py`.

The panel is the real one with the bundled atlas, its worker a process of its own, the slices those of Slicer's slice
logic, drawn offscreen. Printed for each age: seconds until image and labels of that age are in the scene, seconds with
three slices drawn, and seconds until the full resolution is there.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from Testing.slicer_desktop import Desktop, missing_parts  # noqa: E402 (found through the line above)

AGES = (23.1, 30.4, 26.2, 33.0, 24.8, 28.7, 31.9, 25.5)
WANTED = 0.6
PATIENCE = 300.0
ORIENTATIONS = ("Axial", "Sagittal", "Coronal")


def main() -> None:
    """Measure, and print a row for each age."""
    reason = missing_parts()
    if reason:
        print(f"not measured: {reason}")
        return
    with Desktop() as desktop:
        panel = desktop.load_module(ROOT / "NeuroGen" / "NeuroGenAtlas" / "NeuroGenAtlas.py")
        try:
            measure(desktop, panel.widget, panel.ui)
        finally:
            panel.widget.cleanup()


def measure(desktop: Desktop, widget: Any, ui: Any) -> None:
    """Print what every release took, and the median."""
    desktop.wait_until(lambda: widget.session.facts is not None, timeout=PATIENCE)
    ui.drawButton.click()
    rest(desktop, widget)
    arrived: list[tuple[float, float]] = []
    show = widget._show_brain

    def watched(view: Any, result: dict[str, Any], coarse: bool) -> None:
        show(view, result, coarse)
        arrived.append((view.brain.age, time.monotonic()))

    widget.browser._on_brain = watched
    print(f"{os.cpu_count()} logical cores, load {os.getloadavg()[0]:.1f}, {widget.parameters.spacing:g} mm at rest")
    print(f"{'age':>6} {'in the scene':>14} {'three slices':>14} {'at rest':>10}")
    totals = []
    for age in AGES:
        arrived.clear()
        released = time.monotonic()
        desktop.drag(ui.ageSlider, [age])
        shown = widget.parameters.age
        desktop.wait_until(lambda wanted=shown: any(abs(one - wanted) < 1e-3 for one, _when in arrived), PATIENCE)
        in_scene = arrived[0][1] - released
        image, labels = widget.brain.node("image"), widget.brain.node("labels")
        for orientation in ORIENTATIONS:
            desktop.slice_picture(image, orientation, segmentation=labels)
        totals.append(time.monotonic() - released)
        rest(desktop, widget)
        print(f"{shown:6.1f} {in_scene:12.3f} s {totals[-1]:12.3f} s {arrived[-1][1] - released:8.2f} s", flush=True)
    median = statistics.median(totals)
    print(f"median of three slices: {median:.3f} s (wanted: under {WANTED} s: {'yes' if median < WANTED else 'NO'})")


def rest(desktop: Desktop, widget: Any) -> None:
    """Wait until the brain at rest is there."""
    desktop.wait_until(lambda: not widget.browser.working and not widget.live.jobs, timeout=PATIENCE)


if __name__ == "__main__":
    main()
