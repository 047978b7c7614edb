"""A stand-in for desktop Slicer's Qt layer: the module files that Slicer loads run, are clicked and photographed here.

Scenes, nodes and logics are Slicer's own (slicer-core); ``qt``, ``ctk``, the qMRML widgets and ``slicer.app`` are made
over PySide6, offscreen. Panels see PythonQt's habits (``w.text`` without call, ``connect("clicked()", f)``), and
what does not run in desktop Slicer, on Qt 5 and on Qt 6, is refused with a sentence that says what to write instead.

>>> with Desktop() as desktop:  # doctest: +SKIP
...     panel = desktop.load_module("NeuroGen/NeuroGenAtlas/NeuroGenAtlas.py")
...     desktop.click(panel.ui.applyButton)
...     desktop.photograph(panel.parent, "panel.png")

The environment variable ``SLICER_PYTHON_DIR`` may name Slicer's ``Base/Python`` folder (or ``slicer`` in it): then
Slicer's own ScriptedLoadableModule, parameterNodeWrapper and i18n are used in place of ours. ``slicer.packaging`` is
always ours, so that no test installs anything.
"""

from Testing.slicer_desktop.availability import missing_parts
from Testing.slicer_desktop.desktop import Desktop, Panel

__all__ = ["Desktop", "Panel", "missing_parts"]
