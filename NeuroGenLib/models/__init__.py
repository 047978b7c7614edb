"""Models: folders on disk, bundled ones, ones from a Hugging Face hub, and ones that others published."""

from NeuroGenLib.models.folder import ModelFolder, load_tensors, write_model
from NeuroGenLib.models.model import Model
from NeuroGenLib.models.opening import CAPABILITIES, bundled_models, open_model, require_kind, resolve

__all__ = [
    "CAPABILITIES",
    "Model",
    "ModelFolder",
    "bundled_models",
    "load_tensors",
    "open_model",
    "require_kind",
    "resolve",
    "write_model",
]
