"""The panel's parameter node."""

# The wrapper reads the annotations themselves: no postponed evaluation here.
from typing import Annotated, Union

from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Choice, Decimals, SingleStep, WithinRange, parameterNodeWrapper

from NeuroGenLib.atlas.config import FitConfig, GenerateConfig
from NeuroGenPanels.parameter_fields import with_fields_of

FIT_FIELDS = {"steps": "fitSteps", "seed": "fitSeed"}
GENERATE_FIELDS = {"growth": "growth"}
"""Age and spacing have ranges of their own in the panel: those that its sliders can be used with."""

Age = Annotated[float, WithinRange(0.0, 150.0), Decimals(1), SingleStep(0.1)]
"""In the unit of the model; its own range is set once it is open."""

Step = Annotated[float, WithinRange(0.05, 20.0), Decimals(2), SingleStep(0.5)]
Share = Annotated[float, WithinRange(0.0, 1.0), Decimals(2), SingleStep(0.05)]
Millimetres = Annotated[float, WithinRange(0.3, 5.0), Decimals(2), SingleStep(0.1)]
Labelled = Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]  # noqa: UP007 (not every Slicer reads X | Y)


@parameterNodeWrapper
@with_fields_of(GenerateConfig, **GENERATE_FIELDS)
@with_fields_of(FitConfig, **FIT_FIELDS)
class AtlasParameters:
    """Every choice of the panel; a saved scene opens with them."""

    model: str = "bundled:fetal-sba"
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    age: Age = 28.0
    conditions: dict[str, str]
    spacing: Millimetres = 1.0
    image: str = ""
    labelOpacity: Share = 0.35
    certainty: str = ""
    overlayOpacity: Share = 0.6
    surfaces: bool = False

    sequenceFrom: Age = 22.0
    sequenceTo: Age = 34.0
    sequenceStep: Step = 1.0
    sequenceGrowth: bool = False

    scan: vtkMRMLScalarVolumeNode
    mask: Labelled
    labels: Labelled
    ageKnown: bool = False
    scanAge: Age = 28.0
    conditionsKnown: bool = False

    openFile: str = ""
    openAges: str = ""
    openSegmentation: str = ""
    openLabels: str = ""
    openFixOrigin: bool = False

    exportFolder: str = ""
    exportCertainty: bool = False
    exportGrowth: bool = False
    exportScene: bool = False
