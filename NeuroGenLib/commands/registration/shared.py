"""What the registration commands share: the model they open."""

from __future__ import annotations

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models import open_model
from NeuroGenLib.registration.infer import RegistrationModel

BUNDLED = "bundled:registration"


def open_registration(reference: str, device: str, progress: Progress = SILENT) -> RegistrationModel:
    """Open a model and make sure that it is a registration network.

    Raises
    ------
    InputError
        When it is of another kind.
    """
    model = open_model(reference, device=device, progress=progress)
    if not isinstance(model, RegistrationModel):
        raise InputError(f"The model {reference} is no registration network.", "See 'neurogen models list'.")
    return model
