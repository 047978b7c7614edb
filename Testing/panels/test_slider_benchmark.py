"""The benchmark of the slider runs on the panel as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from Testing.bench import bench_slider
from Testing.slicer_desktop import missing_parts

if TYPE_CHECKING:
    from Testing.slicer_desktop import Desktop, Panel


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_parts()), reason=missing_parts())
def test_it_times_a_release_of_the_slider(
    desktop: Desktop, atlas_panel: Panel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_slider, "AGES", (bench_slider.AGES[0],))
    bench_slider.measure(desktop, atlas_panel.widget, atlas_panel.ui)
    assert "median of three slices" in capsys.readouterr().out
