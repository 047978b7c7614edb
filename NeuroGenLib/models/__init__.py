"""Models: folders on disk, bundled ones, ones from a Hugging Face hub, and ones that others published."""

from NeuroGenLib.models.folder import ModelFolder, load_tensors, write_model
from NeuroGenLib.models.opening import CAPABILITIES, bundled_models, open_model, resolve

__all__ = ["CAPABILITIES", "ModelFolder", "bundled_models", "load_tensors", "open_model", "resolve", "write_model"]
