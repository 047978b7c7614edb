"""What the panel keeps in the scene: nothing of its own, since models and packages belong to the computer."""

from slicer.parameterNodeWrapper import parameterNodeWrapper


@parameterNodeWrapper
class HomeParameters:
    """Which sections are of interest is Slicer's own business."""

    lastModel: str = ""
