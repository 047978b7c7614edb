"""Arrangements of views: two slice views side by side above a plot, beside Slicer's own layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from NeuroGenLib.mrml.views import composite_of

if TYPE_CHECKING:
    from NeuroGenLib.mrml.core import Node, Scene

BEFORE_AFTER: Final = 62710
"""Slicer's own layouts have small numbers; nothing else uses this one."""
BEFORE, AFTER, PLOT = "NeuroGenBefore", "NeuroGenAfter", "NeuroGenProfile"
"""Views of this layout alone: what a person has in the usual ones stays."""

_SLICES = "".join(
    f'<item><view class="vtkMRMLSliceNode" singletontag="{view}">'
    '<property name="orientation" action="default">Coronal</property>'
    f'<property name="viewlabel" action="default">{label}</property>'
    f'<property name="viewcolor" action="default">{colour}</property></view></item>'
    for view, label, colour in ((BEFORE, "1", "#8FB3D9"), (AFTER, "2", "#E0912F"))
)
_DESCRIPTION = (
    '<layout type="vertical" split="true"><item splitSize="700"><layout type="horizontal">'
    f'{_SLICES}</layout></item><item splitSize="300"><view class="vtkMRMLPlotViewNode" singletontag="{PLOT}">'
    '<property name="viewlabel" action="default">P</property></view></item></layout>'
)


def arrange_before_after(scene: Scene, orientation: str) -> None:
    """Arrange the views of :func:`show_before_after`, linked, and a plot below them.

    Where the scene has no layout, as outside Slicer's window, nothing happens.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    orientation:
        ``Axial``, ``Coronal`` or ``Sagittal``, of both slice views.
    """
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if layout is None:
        return
    if not layout.IsLayoutDescription(BEFORE_AFTER):
        layout.AddLayoutDescription(BEFORE_AFTER, _DESCRIPTION)
    layout.SetViewArrangement(BEFORE_AFTER)
    for view in (BEFORE, AFTER):
        node = scene.GetSingletonNode(view, "vtkMRMLSliceNode")
        if node is not None:
            node.SetOrientation(orientation)


def show_before_after(scene: Scene, before: Node, after: Node, over: Node | None, opacity: float = 1.0) -> None:
    """Show one volume on the left; on the right another one, with a third one laid over it.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    before, after, over:
        Volume nodes.
    opacity:
        Of ``over``, 0 to 1.
    """
    for view, below, above in ((BEFORE, before, None), (AFTER, after, over)):
        node = composite_of(scene, view)
        node.SetBackgroundVolumeID(below.GetID())
        node.SetForegroundVolumeID(None if above is None else above.GetID())
        node.SetForegroundOpacity(opacity)
        node.SetLinkedControl(True)


def show_plot(scene: Scene, chart: Node) -> None:
    """Let the plot view of this layout show a chart, where there is one."""
    node = scene.GetSingletonNode(PLOT, "vtkMRMLPlotViewNode")
    if node is not None:
        node.SetPlotChartNodeID(chart.GetID())
