"""ctk's collapsible section, slider with spin box, and range: same names, properties and signals."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Property, QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QDoubleSpinBox,
    QHBoxLayout,
    QSizePolicy,
    QSlider,
    QStyle,
    QStyleOptionButton,
    QWidget,
)

from Testing.slicer_desktop.ui_files import custom_widget

SLIDER_STEPS = 10_000
"""Positions of the slider's handle."""
HEADER_HEIGHT = 24
"""Pixels of the title of a section."""


@custom_widget
class ctkCollapsibleButton(QAbstractButton):
    """A titled section that folds; checked means unfolded. Children are laid out below the title."""

    contentsCollapsed = Signal(bool)

    def __init__(self, text: Any = "", parent: QWidget | None = None) -> None:
        title, parent = (text, parent) if isinstance(text, str) else ("", text)
        super().__init__(parent)
        self._hidden_by_folding: list[QWidget] = []
        self.setText(title)
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, HEADER_HEIGHT, 0, 0)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.toggled.connect(self._fold)

    def _collapsed(self) -> bool:
        return not self.isChecked()

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = Property(bool, _collapsed, _set_collapsed)

    def _fold(self, unfolded: bool) -> None:
        if unfolded:
            for child in self._hidden_by_folding:
                child.show()
            self._hidden_by_folding = []
        else:
            children = [child for child in self.children() if isinstance(child, QWidget)]
            self._hidden_by_folding = [child for child in children if not child.isHidden()]
            for child in self._hidden_by_folding:
                child.hide()
        self.setMaximumHeight(16_777_215 if unfolded else HEADER_HEIGHT)
        self.updateGeometry()
        self.contentsCollapsed.emit(not unfolded)

    def sizeHint(self) -> QSize:
        """Title plus contents."""
        layout = self.layout()
        if layout is None or not self.isChecked():
            return QSize(120, HEADER_HEIGHT)
        return layout.totalSizeHint().expandedTo(QSize(120, HEADER_HEIGHT))  # with the margin that the title is in

    def minimumSizeHint(self) -> QSize:
        """Title plus contents at their smallest."""
        layout = self.layout()
        return layout.totalMinimumSize() if layout is not None and self.isChecked() else QSize(120, HEADER_HEIGHT)

    def hitButton(self, position: QPoint) -> bool:
        """Only the title folds."""
        return 0 <= position.y() < HEADER_HEIGHT

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the title with its arrow."""
        option = QStyleOptionButton()
        option.initFrom(self)
        option.rect = QRect(0, 0, self.width, HEADER_HEIGHT)
        option.state |= QStyle.StateFlag.State_Raised
        painter = QPainter(self)
        style = self.style()
        style.drawControl(QStyle.ControlElement.CE_PushButtonBevel, option, painter, self)
        option.rect = QRect(8, 6, 12, 12)
        arrow = QStyle.PrimitiveElement.PE_IndicatorArrowDown
        style.drawPrimitive(
            arrow if self.isChecked() else QStyle.PrimitiveElement.PE_IndicatorArrowRight, option, painter, self
        )
        painter.drawText(
            QRect(26, 0, self.width - 26, HEADER_HEIGHT),
            int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft),
            self.text,
        )
        painter.end()


@custom_widget
class ctkSliderWidget(QWidget):
    """A slider with a spin box, for numbers with decimals.

    With ``tracking`` (the default) a drag emits ``valueChanged`` at every move; without, ``valueIsChanging`` while
    dragging and ``valueChanged`` once at the release.
    """

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._value, self._announced = 0.0, 0.0
        self._tracking, self._syncing = True, False
        self._slider = QSlider(Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, SLIDER_STEPS)
        self._box = QDoubleSpinBox(self)
        self._box.setRange(0.0, 99.0)
        self._box.setDecimals(2)
        self._box.setSingleStep(1.0)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self.setFocusProxy(self._slider)
        self._slider.valueChanged.connect(self._slider_moved)
        self._slider.sliderReleased.connect(self._announce)
        self._box.valueChanged.connect(self._box_changed)

    def _get_value(self) -> float:
        return self._announced if self._slider.isSliderDown() and not self._tracking else self._value

    def setValue(self, value: float) -> None:
        """Set the value, clipped to the range and rounded to the decimals."""
        bounded = min(max(float(value), self._box.minimum), self._box.maximum)
        self._take(round(bounded, self._box.decimals))

    value = Property(float, _get_value, setValue)

    def _set_minimum(self, minimum: float) -> None:
        self._box.setMinimum(minimum)
        self.setValue(self._value)
        self._show()

    def _set_maximum(self, maximum: float) -> None:
        self._box.setMaximum(maximum)
        self.setValue(self._value)
        self._show()

    def setDecimals(self, decimals: int) -> None:
        """Set how many digits the spin box shows and keeps."""
        self._box.setDecimals(decimals)

    def _set_single_step(self, step: float) -> None:
        self._box.setSingleStep(step)

    def _set_suffix(self, suffix: str) -> None:
        self._box.setSuffix(suffix)

    def _set_prefix(self, prefix: str) -> None:
        self._box.setPrefix(prefix)

    def _set_tracking(self, tracking: bool) -> None:
        self._tracking = tracking

    def setSpinBoxVisible(self, visible: bool) -> None:
        """Show or hide the spin box."""
        self._box.setVisible(visible)

    minimum = Property(float, lambda self: self._box.minimum, _set_minimum)
    maximum = Property(float, lambda self: self._box.maximum, _set_maximum)
    decimals = Property(int, lambda self: self._box.decimals, setDecimals)
    singleStep = Property(float, lambda self: self._box.singleStep, _set_single_step)
    pageStep = Property(float, lambda self: self._page, lambda self, step: setattr(self, "_page", step))
    suffix = Property(str, lambda self: self._box.suffix, _set_suffix)
    prefix = Property(str, lambda self: self._box.prefix, _set_prefix)
    tracking = Property(bool, lambda self: self._tracking, _set_tracking)
    spinBoxVisible = Property(bool, lambda self: not self._box.isHidden(), setSpinBoxVisible)

    _page = 10.0

    def _take(self, value: float) -> None:
        changed, self._value = value != self._value, value
        self._show()
        if not changed:
            return
        if self._slider.isSliderDown() and not self._tracking:
            self.valueIsChanging.emit(value)
        else:
            self._announce()

    def _announce(self) -> None:
        if self._announced != self._value:
            self._announced = self._value
            self.valueChanged.emit(self._value)

    def _show(self) -> None:
        self._syncing = True
        width = self._box.maximum - self._box.minimum
        if not self._slider.isSliderDown() and width > 0:
            self._slider.setValue(round((self._value - self._box.minimum) / width * SLIDER_STEPS))
        self._box.setValue(self._value)
        self._syncing = False

    def _slider_moved(self, position: int) -> None:
        if not self._syncing:
            self.setValue(self._box.minimum + position / SLIDER_STEPS * (self._box.maximum - self._box.minimum))

    def _box_changed(self, value: float) -> None:
        if not self._syncing:
            self.setValue(value)


@custom_widget
class ctkRangeWidget(QWidget):
    """Two numbers, the lower never above the upper; drawn as two spin boxes."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._low, self._high = QDoubleSpinBox(self), QDoubleSpinBox(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for box, value in ((self._low, 0.0), (self._high, 99.0)):
            box.setRange(0.0, 99.0)
            box.setValue(value)
            layout.addWidget(box)
        self._low.valueChanged.connect(lambda value: self.setValues(value, max(value, self._high.value)))
        self._high.valueChanged.connect(lambda value: self.setValues(min(value, self._low.value), value))
        self._announced = self._values()

    def _values(self) -> tuple[float, float]:
        return self._low.value, self._high.value

    def setValues(self, minimum: float, maximum: float) -> None:
        """Set both numbers, in one signal."""
        for box, value in ((self._low, min(minimum, maximum)), (self._high, max(minimum, maximum))):
            box.blockSignals(True)
            box.setValue(value)
            box.blockSignals(False)
        before, self._announced = self._announced, self._values()
        if before[0] != self._announced[0]:
            self.minimumValueChanged.emit(self._announced[0])
        if before[1] != self._announced[1]:
            self.maximumValueChanged.emit(self._announced[1])
        if before != self._announced:
            self.valuesChanged.emit(*self._announced)

    def setRange(self, minimum: float, maximum: float) -> None:
        """Set the ends that both numbers stay within."""
        low, high = self._values()
        for box in (self._low, self._high):
            box.blockSignals(True)
            box.setRange(minimum, maximum)
            box.blockSignals(False)
        self.setValues(low, high)

    def _set_decimals(self, decimals: int) -> None:
        self._low.setDecimals(decimals)
        self._high.setDecimals(decimals)

    def _set_step(self, step: float) -> None:
        self._low.setSingleStep(step)
        self._high.setSingleStep(step)

    minimum = Property(float, lambda self: self._low.minimum, lambda self, end: self.setRange(end, self._low.maximum))
    maximum = Property(float, lambda self: self._low.maximum, lambda self, end: self.setRange(self._low.minimum, end))
    minimumValue = Property(
        float, lambda self: self._low.value, lambda self, value: self.setValues(value, self._high.value)
    )
    maximumValue = Property(
        float, lambda self: self._high.value, lambda self, value: self.setValues(self._low.value, value)
    )
    decimals = Property(int, lambda self: self._low.decimals, _set_decimals)
    singleStep = Property(float, lambda self: self._low.singleStep, _set_step)
