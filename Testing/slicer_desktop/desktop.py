"""One desktop: application, scene and loaded modules, and the hands and eyes of a test."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from Testing.slicer_desktop.exceptions import ExceptionCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    import numpy as np

    from Testing.slicer_desktop.displays import Message


class Panel(NamedTuple):
    """A loaded module file."""

    module: Any
    """Its ``Name`` object (ScriptedLoadableModule)."""
    widget: Any
    """Its ``NameWidget`` object."""
    parent: Any
    """The Qt widget that holds the panel: what is shown and photographed."""

    @property
    def ui(self) -> Any:
        """The widgets by name, as ``setup`` keeps them in ``self.ui``."""
        return self.widget.ui

    @property
    def logic(self) -> Any:
        """The ``NameLogic`` object, as ``setup`` keeps it in ``self.logic``."""
        return self.widget.logic


class Desktop:
    """Desktop Slicer for one test; use it in a ``with`` block.

    An exception in a slot, a timer or an observer is raised by the next :meth:`process`, :meth:`click`,
    :meth:`wait_until` ..., and at the latest at the end of the block.

    Attributes
    ----------
    modules:
        ``slicer.modules``: built-in modules with their logics, and the loaded ones.
    messages:
        What the panels showed by ``slicer.util.infoDisplay`` and its like, oldest first.
    """

    def __init__(self) -> None:
        self._exceptions = ExceptionCollector()
        self._parents: list[Any] = []
        self._widgets: dict[str, Any] = {}
        self._folders: list[str] = []
        self._names: list[str] = []
        self._pictures: Any = None

    def __enter__(self) -> Desktop:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        os.environ.setdefault("MPLBACKEND", "Agg")  # else matplotlib would open windows beside a QApplication
        import slicer

        from NeuroGenLib.mrml.scene import HeadlessScene
        from Testing.slicer_desktop.built_in_modules import built_in_modules
        from Testing.slicer_desktop.displays import Displays
        from Testing.slicer_desktop.installation import the_installation
        from Testing.slicer_desktop.pictures import SlicePictures

        self._installation = the_installation()
        from Testing.slicer_desktop.application import the_application  # after Qt has PythonQt's habits
        from Testing.slicer_desktop.main_window import MainWindow, ModuleSelector

        self.app = the_application()
        self._headless = HeadlessScene()
        self.app.start_session(self.scene, self._headless.application_logic)
        slicer.app, slicer.mrmlScene = self.app, self.scene
        slicer.modules, slicer.moduleNames = built_in_modules(self._headless), SimpleNamespace()
        self.modules = slicer.modules
        self._installation.install()
        self._displays = Displays()
        self._displays.install()
        self._forget_packages()
        self._pictures = SlicePictures(self.scene, self._headless.application_logic)
        self._selector = ModuleSelector(lambda name: hasattr(slicer.modules, name.lower()), self._widgets)
        self._window = MainWindow(self._selector)
        self._exceptions.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        import slicer

        try:
            self._end_panels()
        finally:
            self._pictures.close()
            self._process()
            self._displays.remove()
            self._installation.forget_connectors(self._names)
            self._installation.remove()
            self._exceptions.remove()
            for name in self._names:
                sys.modules.pop(name, None)
            sys.path[:] = [folder for folder in sys.path if folder not in self._folders]
            self.app.start_session(None, None)
            del slicer.app, slicer.mrmlScene, slicer.modules, slicer.moduleNames
            self._headless.close()
        if kind is None:
            self._exceptions.raise_collected()

    # The scene

    @property
    def scene(self) -> Any:
        """``slicer.mrmlScene``."""
        return self._headless.scene

    def close_scene(self) -> None:
        """Close the scene as File > Close does: all nodes go, but for singletons."""
        self.scene.Clear(0)
        self.process()

    def save_scene(self, path: str | Path) -> Path:
        """Save the scene as .mrb (with data) or .mrml (without)."""
        import slicer.util

        if not slicer.util.saveScene(str(path), {}):
            raise OSError(f"Slicer could not save the scene to {path}.")
        self.process()
        return Path(path)

    def load_scene(self, path: str | Path) -> None:
        """Put the scene of a .mrb or .mrml file in place of this one."""
        import slicer.util

        slicer.util.loadScene(str(path), {})
        self.process()

    # The modules

    def load_module(self, path: str | Path) -> Panel:
        """Load a module file as Slicer does: module, widget, ``setup()``, ``enter()``; the panel is shown offscreen.

        Raises
        ------
        RuntimeError
            When the source holds what does not run in desktop Slicer.
        """
        import slicer

        from Testing.slicer_desktop.installation import LoadedModule
        from Testing.slicer_desktop.portability import require_portable

        path = Path(path).resolve()
        require_portable(path)
        name = path.stem
        source = self._import(name, path)
        loaded = LoadedModule(name, path)
        module = getattr(source, name)(loaded)
        setattr(slicer.modules, name.lower(), loaded)
        setattr(slicer.modules, f"{name}Instance", module)
        setattr(slicer.moduleNames, name, name)
        self.app.moduleManager().modules[name] = loaded
        self.app.startupCompleted.emit()
        panel = Panel(module, *self._make_widget(name, loaded, getattr(source, f"{name}Widget")))
        self._widgets[name] = panel.widget
        self._selector.selectModule(name)
        self.process()
        return panel

    @property
    def selected_module(self) -> str:
        """Name of the module that is open: the last one loaded, until a panel selects another."""
        return str(self._selector.selectedModule)

    def _import(self, name: str, path: Path) -> Any:
        self._names.append(name)
        if str(path.parent) not in sys.path:
            self._folders.append(str(path.parent))
            sys.path.append(str(path.parent))
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is not a Python file.")
        source = importlib.util.module_from_spec(spec)
        sys.modules[name] = source  # the parameter node wrapper looks the fields' types up here
        spec.loader.exec_module(source)
        return source

    def _make_widget(self, name: str, loaded: Any, widget_class: Any) -> tuple[Any, Any]:
        import slicer
        from PySide6.QtWidgets import QVBoxLayout

        parent = slicer.qSlicerScriptedLoadableModuleWidget()
        self._parents.append(parent)  # taken down at the end, also when setup() fails
        parent.setObjectName(f"{name}Panel")
        parent.setLayout(QVBoxLayout())
        parent.setMRMLScene(self.scene)
        loaded.widget = parent
        widget = widget_class(parent)
        parent.python_widget = widget
        setattr(slicer.modules, f"{name}Widget", widget)
        widget.setup()
        parent.show()
        return widget, parent

    def _end_panels(self) -> None:
        from PySide6.QtWidgets import QWidget

        current = self._widgets.get(self.selected_module)
        if hasattr(current, "exit"):
            current.exit()
        for name in self._names:
            self.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
        for parent in self._parents:
            for widget in (parent, *parent.findChildren(QWidget)):
                if hasattr(widget, "setMRMLScene"):
                    widget.setMRMLScene(None)
            parent.deleteLater()
        self._window.deleteLater()
        self._process()

    # Hands

    def click(self, widget: Any) -> None:
        """Click a button with the mouse, as a person can: it must be shown and enabled."""
        from PySide6.QtCore import QPoint, Qt
        from PySide6.QtTest import QTest

        from Testing.slicer_desktop.ctk_widgets import HEADER_HEIGHT

        self.process()
        window = widget.window()
        if not widget.isVisibleTo(window):
            raise RuntimeError(f"{widget.name} is hidden: unfold its section or open its tab first.")
        if not widget.isEnabled():
            raise RuntimeError(f"{widget.name} is disabled, so that no person can click it.")
        window.show()
        # Near the left: a check box is wider than its text, a collapsible button's title is at the top.
        height = HEADER_HEIGHT if widget.className() == "ctkCollapsibleButton" else widget.height
        QTest.mouseClick(
            widget, Qt.MouseButton.LeftButton, pos=QPoint(min(widget.width // 2, 10), min(widget.height, height) // 2)
        )
        self.process()

    def drag(self, slider: Any, values: Iterable[float]) -> None:
        """Press the handle of a ctkSliderWidget or QSlider, move it over the values, and let it go."""
        from PySide6.QtWidgets import QSlider

        handle = slider if isinstance(slider, QSlider) else slider.findChild(QSlider)
        width = slider.maximum - slider.minimum
        handle.setSliderDown(True)
        for value in values:
            share = (value - slider.minimum) / width
            handle.setSliderPosition(round(handle.minimum + share * (handle.maximum - handle.minimum)))
            self.process()
        handle.setSliderDown(False)
        self.process()

    def process(self) -> None:
        """Let everything that waits happen (events, timers that are due), and raise what failed in it."""
        self._process()
        self._exceptions.raise_collected()

    def _process(self) -> None:
        from PySide6.QtCore import QEvent

        try:
            self.app.sendPostedEvents()
            self.app.processEvents()
            self.app.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)  # deleteLater waits for an event loop
        except Exception as error:  # PySide6 lets some pass through
            self._exceptions.collected.append(error)

    def wait_until(self, condition: Callable[[], Any], timeout: float = 5.0) -> None:
        """Process events until ``condition()`` is true.

        Raises
        ------
        TimeoutError
            When it is not after ``timeout`` seconds.
        """
        end = time.monotonic() + timeout
        self.process()
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"What the test waits for did not come true within {timeout:g} s.")
            time.sleep(0.005)
            self.process()

    def answer(self, *answers: bool) -> None:
        """Answer the panels' next questions (``slicer.util.confirm...Display``); unanswered ones hear yes."""
        self._displays.answers.extend(answers)

    def answer_as_in_testing_mode(self) -> None:
        """Answer every further question with no, as Slicer does with ``--testing``.

        It compares True with ``QMessageBox.Ok`` there, whatever its documentation says.
        """
        self._displays.default_answer = False

    # Eyes

    @property
    def messages(self) -> list[Message]:
        """What the panels showed, oldest first."""
        return self._displays.messages

    def photograph(self, widget: Any, path: str | Path) -> Path:
        """Save a picture of a widget as PNG; warns when there is no font, and letters are boxes."""
        from Testing.slicer_desktop.pictures import photograph

        self.process()
        return photograph(widget, Path(path))

    def slice_picture(
        self, volume_node: Any, orientation: str = "Axial", segmentation: Any = None, size: tuple[int, int] = (400, 300)
    ) -> np.ndarray:
        """Return what a slice view shows of a volume, fitted to the view: uint8, (height, width, 3), top row first.

        ``orientation`` is ``Axial``, ``Sagittal`` or ``Coronal``; ``segmentation`` is drawn over the volume.
        """
        return self._pictures.draw(volume_node, orientation, segmentation, size)

    # Packages

    @property
    def missing_packages(self) -> set[str]:
        """Packages that ``slicer.packaging`` shall call missing, by name; a test adds to it."""
        return self._packages().missing

    @property
    def installed_packages(self) -> list[str]:
        """Requirements that panels had installed, in a manner of speaking: nothing is."""
        return self._packages().installed

    @property
    def package_constraints(self) -> list[str]:
        """Lines of the constraints that pip was given."""
        return self._packages().constrained

    def _packages(self) -> Any:
        from Testing.slicer_desktop import packages

        return packages

    def _forget_packages(self) -> None:
        self._packages().missing.clear()
        self._packages().installed.clear()
        self._packages().constrained.clear()
