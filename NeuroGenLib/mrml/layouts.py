"""View layout with two slice views side by side above a plot, in addition to Slicer's own layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from NeuroGenLib.mrml.views import composite_of

if TYPE_CHECKING:
    from NeuroGenLib.mrml.core import Node, Scene

BEFORE_AFTER: Final = 62710
"""Layout number, far above those of Slicer's own layouts."""
BEFORE, AFTER, PLOT = "NeuroGenBefore", "NeuroGenAfter", "NeuroGenProfile"
"""Views of this layout only, so that the content of the usual views is unchanged."""

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

    Scenes without a layout, as outside Slicer's window, are unchanged.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    orientation:
        Orientation of both slice views: ``Axial``, ``Coronal`` or ``Sagittal``.
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
    """Show a volume on the left, another one on the right, with an overlay.

    Parameters
    ----------
    scene:
        ``vtkMRMLScene``.
    before, after, over:
        Volume nodes; the overlay may be None.
    opacity:
        Opacity of the overlay, 0 to 1.
    """
    for view, below, above in ((BEFORE, before, None), (AFTER, after, over)):
        node = composite_of(scene, view)
        node.SetBackgroundVolumeID(below.GetID())
        node.SetForegroundVolumeID(None if above is None else above.GetID())
        node.SetForegroundOpacity(opacity)
        node.SetLinkedControl(True)


def show_plot(scene: Scene, chart: Node) -> None:
    """Show a chart in the plot view of this layout, where there is one."""
    node = scene.GetSingletonNode(PLOT, "vtkMRMLPlotViewNode")
    if node is not None:
        node.SetPlotChartNodeID(chart.GetID())
