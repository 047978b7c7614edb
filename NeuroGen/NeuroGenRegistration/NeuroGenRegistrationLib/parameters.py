"""What the panel keeps in the scene."""

# The wrapper reads the annotations themselves: no postponed evaluation here.
from typing import Annotated, Union

from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Choice, Decimals, SingleStep, WithinRange, parameterNodeWrapper

from NeuroGenLib.registration.config import RegisterConfig
from NeuroGenPanels.parameter_fields import with_fields_of

Share = Annotated[float, WithinRange(0.0, 1.0), Decimals(2), SingleStep(0.05)]
Millimetres = Annotated[float, WithinRange(2.0, 60.0), Decimals(0), SingleStep(1.0)]
Labelled = Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]  # noqa: UP007 (not every Slicer reads X | Y)


FIELDS = {"refine": "steps", "start": "start"}
"""Settings of RegisterConfig, by their fields here."""


@parameterNodeWrapper
@with_fields_of(RegisterConfig, refine=FIELDS["refine"])
class RegistrationParameters:
    """Every choice of the panel; a saved scene opens with them."""

    model: str = "bundled:registration"
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"

    fixed: vtkMRMLScalarVolumeNode
    moving: vtkMRMLScalarVolumeNode
    fixedLabels: Labelled
    movingLabels: Labelled
    fixedMask: Labelled
    movingMask: Labelled

    adjust: bool = True
    start: str = RegisterConfig.start  # a parameter node cannot hold a Literal

    view: str = "fade"
    opacity: Share = 0.5
    tile: Millimetres = 15.0
    leastChange: Share = 0.1
