"""Parameter node of the panel."""

# The wrapper reads the annotations themselves: no postponed evaluation here.
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import Choice, Decimals, SingleStep, WithinRange, parameterNodeWrapper

from NeuroGenLib.core.config import parameters
from NeuroGenLib.superres.run_config import BUNDLED, SuperresConfig
from NeuroGenPanels.parameter_fields import with_fields_of

Share = Annotated[float, WithinRange(0.0, 1.0), Decimals(2), SingleStep(0.05)]
SmallShare = Annotated[float, WithinRange(0.0, 0.25), Decimals(2), SingleStep(0.01)]
LIMITS = {parameter.name: parameter.range for parameter in parameters(SuperresConfig) if parameter.range is not None}
"""Ranges of the settings by name, mm."""

VoxelSize = Annotated[float, WithinRange(0.0, LIMITS["spacing"].high), Decimals(2), SingleStep(0.1)]
Thickness = Annotated[float, WithinRange(0.0, LIMITS["thickness"].high), Decimals(2), SingleStep(0.5)]
Gap = Annotated[float, WithinRange(LIMITS["gap"].low, LIMITS["gap"].high), Decimals(2), SingleStep(0.5)]

FIELDS = {"align": "align", "back_projection": "corrections"}
"""Settings of SuperresConfig, by their fields here; those with an automatic value are 0 for it."""


@parameterNodeWrapper
@with_fields_of(SuperresConfig, **FIELDS)
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
