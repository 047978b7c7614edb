"""Draws NeuroGen.png, the extension's icon, from the SVG of the module NeuroGen.

Run ``python Testing/extension/render_icon.py`` after a change of the SVG.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ICON = ROOT / "NeuroGen" / "NeuroGenHome" / "Resources" / "Icons" / "NeuroGenHome.svg"
SIZE = 128  # pixels, what the ExtensionsIndex asks for


def render(svg: Path, png: Path, size: int = SIZE) -> None:
    """Draw an SVG into a square PNG with a transparent ground; ValueError where it is not an SVG."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6.QtCore import Qt
    from PySide6.QtGui import QImage, QPainter
    from PySide6.QtSvg import QSvgRenderer

    renderer = QSvgRenderer(str(svg))
    if not renderer.isValid():
        raise ValueError(f"{svg.name} is not an SVG that Qt can draw")
    image = QImage(size, size, QImage.Format.Format_ARGB32)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    renderer.render(painter)
    painter.end()
    image.save(str(png))


if __name__ == "__main__":
    render(ICON, ROOT / "NeuroGen.png")
