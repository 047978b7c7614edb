"""Base of all panels: loads the .ui file, binds the parameter node, follows the scene, ends the processes."""

from __future__ import annotations

from typing import Any, ClassVar

import slicer
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from NeuroGenPanels.worker_service import WorkerService


class PanelWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Base of the panels.

    A panel sets :attr:`parameters_class` and overrides :meth:`build`, :meth:`parameters_bound`,
    :meth:`parameters_changed` and :meth:`scene_closing`.
    """

    parameters_class: ClassVar[Any]
    """Its ``@parameterNodeWrapper`` class."""
    path_fields: ClassVar[tuple[str, ...]] = ()
    """Text parameters that path editors of the same names show.

    Slicer's own connector knows ``pathlib.Path`` alone, which an empty field turns into Slicer's working folder.
    """

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Any = None
        self.ui: Any = None
        self.parameters: Any = None
        self.services: list[WorkerService] = []
        self._gui_tag: Any = None

    def build(self) -> None:
        """Make logic and parts; ``self.ui`` holds the widgets of the .ui file."""
        raise NotImplementedError

    def parameters_bound(self) -> None:
        """Show a parameter node that was just bound: that of a new scene, or of one that was loaded."""

    def parameters_changed(self) -> None:
        """React to a changed parameter."""

    def scene_closing(self) -> None:
        """Release nodes and jobs: the scene is closing."""

    def new_service(self, title: str) -> WorkerService:
        """Return a new worker that belongs to this panel."""
        service = WorkerService(title)
        self.services.append(service)
        return service

    def setup(self) -> None:
        """Build the panel (Slicer calls it once)."""
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath(f"UI/{self.moduleName}.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        for name in self.path_fields:
            getattr(self.ui, name).currentPathChanged.connect(lambda path, name=name: self._path_chosen(name, path))
        self.build()
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._scene_closes)
        self.addObserver(scene, scene.EndCloseEvent, self._scene_closed)
        self.addObserver(scene, scene.EndImportEvent, self._scene_closed)
        self._bind_again()

    def cleanup(self) -> None:
        """End everything: Slicer closes, or the module is reloaded."""
        self.scene_closing()
        self._bind(None)
        for service in self.services:
            service.retire()
        self.removeObservers()

    def enter(self) -> None:
        """Show the parameters (Slicer calls it whenever the module is opened)."""
        if self.parameters is None:
            self._bind_again()

    def exit(self) -> None:
        """Leave everything as it is: jobs go on while another module is open."""

    def _scene_closes(self, _caller: Any = None, _event: Any = None) -> None:
        self.scene_closing()
        self._bind(None)

    def _scene_closed(self, _caller: Any = None, _event: Any = None) -> None:
        self._bind_again()

    def _bind_again(self) -> None:
        self._bind(self.parameters_class(self.logic.getParameterNode()))
        self.parameters_bound()
        self.parameters_changed()

    def _bind(self, parameters: Any) -> None:
        if self.parameters is not None:
            self.parameters.disconnectGui(self._gui_tag)
            self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self._modified)
        self.parameters = parameters
        if parameters is not None:
            self._gui_tag = parameters.connectGui(self.ui)
            self._show_paths()
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self._modified)

    def _modified(self, _caller: Any = None, _event: Any = None) -> None:
        if self.parameters is not None:
            self._show_paths()
            self.parameters_changed()

    def _path_chosen(self, name: str, path: str) -> None:
        if self.parameters is not None:
            setattr(self.parameters, name, path.strip())

    def _show_paths(self) -> None:
        for name in self.path_fields:
            path = getattr(self.parameters, name)
            if path != getattr(self.ui, name).currentPath.strip():
                getattr(self.ui, name).currentPath = path
