"""Figures on disk: in the format and resolution asked for, and the same bytes every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from NeuroGenLib.core.reports import PictureConfig, save_figure
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.core.reports import PictureFormat


def a_figure() -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 2])
    return figure


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_figure_is_written_in_each_format(tmp_path: Path, kind: PictureFormat, start: bytes) -> None:
    files = [save_figure(tmp_path / f"fit.{number}", a_figure(), PictureConfig(kind)) for number in range(2)]
    assert [file.name for file in files] == [f"fit.0.{kind}", f"fit.1.{kind}"]
    assert files[0].read_bytes().startswith(start)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_dots_per_inch_are_those_asked_for(tmp_path: Path) -> None:
    assert imread(save_figure(tmp_path / "a", a_figure(), PictureConfig(dpi=60))).shape[:2] == (60, 120)
    assert imread(save_figure(tmp_path / "b", a_figure())).shape[:2] == (150, 300)


def test_an_unknown_format_is_refused() -> None:
    with raises("value-invalid", "picture_format", "jpg"):
        PictureConfig(picture_format="jpg")  # type: ignore[arg-type]
