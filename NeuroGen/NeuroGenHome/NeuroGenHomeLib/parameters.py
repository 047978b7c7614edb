"""Parameter node of the panel: empty, since models and packages belong to the computer."""

from slicer.parameterNodeWrapper import parameterNodeWrapper


@parameterNodeWrapper
class HomeParameters:
    """It has no fields; every panel has a parameter node."""
