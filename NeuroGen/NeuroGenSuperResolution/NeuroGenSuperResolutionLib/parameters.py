"""What the panel keeps in the scene."""

# The wrapper reads the annotations themselves: no postponed evaluation here.
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import Choice, Decimals, SingleStep, WithinRange, parameterNodeWrapper

from NeuroGenLib.superres.run_config import BUNDLED, SuperresConfig
from NeuroGenPanels.parameter_fields import with_fields_of

Share = Annotated[float, WithinRange(0.0, 1.0), Decimals(2), SingleStep(0.05)]
SmallShare = Annotated[float, WithinRange(0.0, 0.25), Decimals(2), SingleStep(0.01)]
VoxelSize = Annotated[float, WithinRange(0.0, 5.0), Decimals(2), SingleStep(0.1)]
Thickness = Annotated[float, WithinRange(0.0, 50.0), Decimals(2), SingleStep(0.5)]
Gap = Annotated[float, WithinRange(-20.0, 50.0), Decimals(2), SingleStep(0.5)]


@parameterNodeWrapper
@with_fields_of(SuperresConfig, align="align", back_projection="corrections")
class SuperResolutionParameters:
    """Every choice of the panel; a saved scene opens with them. Lengths of 0 stand for what the panel calls auto."""

    model: str = BUNDLED
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"

    scan: vtkMRMLScalarVolumeNode
    secondScan: vtkMRMLScalarVolumeNode
    thirdScan: vtkMRMLScalarVolumeNode
    guide: vtkMRMLScalarVolumeNode

    spacing: VoxelSize = 0.0
    thickness: Thickness = 0.0
    gapIsKnown: bool = False
    gap: Gap = 0.0
    direction: str = "auto"
    keepResidual: bool = True

    view: str = "result"
    before: str = "interpolated"
    opacity: Share = 1.0
    least: SmallShare = 0.03
