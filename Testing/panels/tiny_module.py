"""A module file as panels write them, small: every kind of widget that is bound to a parameter, and a button."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = '''
import enum
import pathlib
from typing import Annotated, Optional

import qt
import vtk

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import (
    Choice, Decimals, Default, FloatRange, GuiConnector, Minimum, RangeBounds, WithinRange,
    parameterNodeGuiConnector, parameterNodeWrapper, parameterPack, unannotatedType,
)
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

import ctk


class Shown(enum.Enum):
    image = "T2w"
    labels = "tissues"
    certainty = "certainty"

    def label(self):
        return self.value


@parameterPack
class Overlay:
    opacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    outline: bool = False


@parameterPack
class View:
    overlay: Overlay
    title: str = "slices"


@parameterNodeGuiConnector
class SectionConnector(GuiConnector):
    """Folded or not, as a parameter: Slicer has no connector for it."""

    @staticmethod
    def canRepresent(widget, datatype):
        return type(widget) == ctk.ctkCollapsibleButton and unannotatedType(datatype) == bool

    @staticmethod
    def create(widget, datatype):
        return SectionConnector(widget)

    def __init__(self, widget):
        super().__init__()
        self._widget = widget

    def _connect(self):
        self._widget.connect("toggled(bool)", self._toggled)

    def _disconnect(self):
        self._widget.disconnect("toggled(bool)", self._toggled)

    def _toggled(self, _checked):
        self.changed()

    def widget(self):
        return self._widget

    def read(self):
        return not self._widget.collapsed

    def write(self, value):
        self._widget.collapsed = not value


@parameterNodeWrapper
class TinyAtlasParameterNode:
    volume: slicer.vtkMRMLScalarVolumeNode
    other: Optional[slicer.vtkMRMLScalarVolumeNode]
    age: Annotated[float, WithinRange(21.0, 37.0), Decimals(1), Default(30.0)]
    weight: Annotated[float, Minimum(0.0)] = 1.5
    steps: Annotated[int, WithinRange(1, 9)] = 3
    level: Annotated[int, WithinRange(0, 10)] = 2
    shown: Shown = Shown.labels
    sex: Annotated[str, Choice(["female", "male"])] = "male"
    smooth: bool = True
    note: str = "a note"
    folder: pathlib.Path = pathlib.Path("out")
    ages: Annotated[FloatRange, RangeBounds(21.0, 37.0), Default(FloatRange(24.0, 30.0))]
    unfolded: bool = True
    view: View
    names: list[str]
    tissues: dict[str, tuple[int, float]]
    limit: Optional[float]


class TinyAtlas(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Tiny atlas")
        self.parent.categories = ["NeuroGen"]
        self.parent.dependencies = []
        self.parent.contributors = ["NeuroGen contributors"]
        self.parent.helpText = _("A test.")
        slicer.app.connect("startupCompleted()", self.started)
        self.was_started = False

    def started(self):
        self.was_started = True


class TinyAtlasWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self.clicks = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/TinyAtlas.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = TinyAtlasLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneReady)
        # References of a loaded scene come back late, and without a ModifiedEvent of the parameter node.
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneReady)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.ui.breakButton.clicked.connect(self.onBreak)
        self.initializeParameterNode()

    def cleanup(self):
        self.removeObservers()
        self.setParameterNode(None)

    def enter(self):
        self.initializeParameterNode()

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)

    def onSceneReady(self, caller, event):
        self.initializeParameterNode()

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, node):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
        self._parameterNode = node
        if node:
            self._parameterNodeGuiTag = node.connectGui(self.ui)

    def onApply(self, checked):
        self.clicks.append(self.logic.brighten(self._parameterNode.volume))

    def onBreak(self):
        raise ZeroDivisionError("the atlas has no voxels")


class TinyAtlasLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return TinyAtlasParameterNode(super().getParameterNode())

    def brighten(self, volume):
        array = slicer.util.arrayFromVolume(volume)
        array += 1
        slicer.util.arrayFromVolumeModified(volume)
        return float(array.mean())
'''

BOUND = (
    ("volumeSelector", "qMRMLNodeComboBox", "volume"),
    ("ageSlider", "ctkSliderWidget", "age"),
    ("weightBox", "QDoubleSpinBox", "weight"),
    ("stepsBox", "QSpinBox", "steps"),
    ("levelSlider", "QSlider", "level"),
    ("shownBox", "QComboBox", "shown"),
    ("sexBox", "QComboBox", "sex"),
    ("smoothBox", "QCheckBox", "smooth"),
    ("noteEdit", "QLineEdit", "note"),
    ("folderEdit", "ctkPathLineEdit", "folder"),
    ("agesRange", "ctkRangeWidget", "ages"),
    ("opacitySlider", "ctkSliderWidget", "view.overlay.opacity"),
)
"""Name, class and parameter of the widgets in the section."""

PROPERTIES = {
    "volumeSelector": (
        '<property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>'
        '<property name="noneEnabled"><bool>true</bool></property>'
        '<property name="addEnabled"><bool>false</bool></property>'
    ),
    "ageSlider": '<property name="suffix"><string> weeks</string></property>',
    "levelSlider": '<property name="orientation"><enum>Qt::Horizontal</enum></property>',
    "smoothBox": '<property name="text"><string>Smooth</string></property>',
    "folderEdit": '<property name="filters"><set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Writable</set></property>',
}


def ui_text(extra: str = "") -> str:
    """Return the module's .ui file; ``extra`` is put before the last button."""
    rows = "".join(_item(index, *bound) for index, bound in enumerate(BOUND))
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>TinyAtlas</class>
<widget class="qMRMLWidget" name="TinyAtlas"><layout class="QVBoxLayout" name="verticalLayout">
<item><widget class="ctkCollapsibleButton" name="inputsButton">
 <property name="text"><string>Inputs</string></property>
 <property name="SlicerParameterName" stdset="0"><string notr="true">unfolded</string></property>
 <layout class="QFormLayout" name="formLayout">{rows}</layout></widget></item>
<item><widget class="QPushButton" name="applyButton">
 <property name="text"><string>Apply</string></property></widget></item>
{extra}
<item><widget class="QPushButton" name="breakButton">
 <property name="text"><string>Break</string></property></widget></item>
</layout></widget>
<customwidgets>
 <customwidget><class>qMRMLWidget</class><extends>QWidget</extends><header>qMRMLWidget.h</header>
  <container>1</container></customwidget>
</customwidgets>
<connections><connection><sender>TinyAtlas</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>volumeSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""


def _item(row: int, name: str, kind: str, parameter: str) -> str:
    return (
        f'<item row="{row}" column="0"><widget class="QLabel" name="{name}Label">'
        f'<property name="text"><string>{parameter}:</string></property></widget></item>'
        f'<item row="{row}" column="1"><widget class="{kind}" name="{name}">{PROPERTIES.get(name, "")}'
        f'<property name="SlicerParameterName" stdset="0"><string notr="true">{parameter}</string></property>'
        "</widget></item>"
    )


def write_tiny_module(folder: Path, source: str = SOURCE, ui: str = "") -> Path:
    """Write TinyAtlas.py and its .ui file below ``folder``; returns the module file."""
    path = folder / "TinyAtlas" / "TinyAtlas.py"
    (path.parent / "Resources" / "UI").mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    (path.parent / "Resources" / "UI" / "TinyAtlas.ui").write_text(ui or ui_text(), encoding="utf-8")
    return path
