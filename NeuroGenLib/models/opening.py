"""Model opening: from a reference to its folder to the object to work with."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, overload

from NeuroGenLib.core.device import choose_device
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.core.resources import resources_folder
from NeuroGenLib.models.dotted import load_object
from NeuroGenLib.models.folder import MANIFEST, ModelFolder
from NeuroGenLib.models.hub import cached_model, download_model, require_online
from NeuroGenLib.models.model import Model
from NeuroGenLib.models.published import find_listed, find_published, import_published
from NeuroGenLib.models.reference import BUNDLED, HUB, HubReference

Opened = TypeVar("Opened", bound=Model)

CAPABILITIES = {
    "atlas": "NeuroGenLib.atlas.infer:AtlasModel",
    "mask": "NeuroGenLib.mask.infer:MaskModel",
    "registration": "NeuroGenLib.registration.infer:RegistrationModel",
    "superres": "NeuroGenLib.superres.infer:SuperresModel",
}
"""Kind of model -> class that opens it with ``from_folder(folder, device)``."""


@overload
def open_model(
    reference: str | os.PathLike[str], *, offline: bool = False, progress: Progress = SILENT, device: str = "auto"
) -> Model: ...


@overload
def open_model(
    reference: str | os.PathLike[str],
    expected: type[Opened],
    *,
    offline: bool = False,
    progress: Progress = SILENT,
    device: str = "auto",
) -> Opened: ...


def open_model(
    reference: str | os.PathLike[str],
    expected: type[Model] = Model,
    *,
    offline: bool = False,
    progress: Progress = SILENT,
    device: str = "auto",
) -> Model:
    """Open a model.

    Parameters
    ----------
    reference:
        A folder, ``bundled:NAME``, or ``hf:org/repo[@revision][/subfolder]``.
    expected:
        The class of models that can be used, such as ``AtlasModel``; any when not given. With it, editors and type
        checkers know the methods of the model.
    offline:
        Make no request; also by the environment variable ``NEUROGEN_OFFLINE=1``.
    progress:
        Progress callback of a download.
    device:
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Returns
    -------
    Model
        Of the class that its kind has, such as an ``AtlasModel``.

    Raises
    ------
    InputError
        When there is no such model, it is damaged, or its kind is unknown or not the expected one.
    NeuroGenError
        When it cannot be fetched, or was made by a newer NeuroGen.

    Examples
    --------
    >>> from NeuroGenLib.atlas.infer import AtlasModel
    >>> open_model("bundled:fetal-sba", AtlasModel, device="cpu").modalities
    ('T2w',)
    >>> open_model("bundled:brain-mask", device="cpu")
    MaskModel(bundled:brain-mask on cpu, 4 mm)
    """
    place = choose_device(device)
    folder = resolve(reference, offline=offline, progress=progress)
    if folder.kind not in CAPABILITIES:
        raise InputError(
            f"{folder.reference} is a model of kind '{folder.kind}', which this version of NeuroGen cannot open.",
            nearest(folder.kind, CAPABILITIES),
            code="model-kind",
        )
    kind: type[Model] = load_object(CAPABILITIES[folder.kind])
    if not issubclass(kind, expected):
        require_kind(folder, expected)
    return kind.from_folder(folder, place)


def require_kind(folder: ModelFolder, expected: type[Model]) -> ModelFolder:
    """Return the folder when it is of the kind that a class opens.

    Raises
    ------
    InputError
        When it is of another kind.
    """
    if folder.kind != expected.kind:
        raise InputError(
            f"{folder.reference} is not {expected.title} but a model of kind '{folder.kind}'.",
            "'neurogen models list' shows the models there are.",
            code="model-kind",
        )
    return folder


def resolve(reference: str | os.PathLike[str], *, offline: bool = False, progress: Progress = SILENT) -> ModelFolder:
    """Return the checked folder of a model, fetched into the cache when it is not there yet.

    A model of the hub that is in the cache is used as it is, without a request; ``neurogen models download``
    looks for a newer commit. Parameters and errors are those of :func:`open_model`.
    """
    text = os.fspath(reference)
    if text.startswith(BUNDLED):
        return _bundled(text)
    if text.startswith(HUB):
        return _from_hub(HubReference.parse(text), progress, offline=offline)
    hint = None if Path(text).exists() else _meant(text)
    if hint:
        raise InputError(f"There is no model '{text}'.", hint, code="model-missing")
    return ModelFolder.read(text)


def _meant(name: str) -> str | None:
    """Return how to name the model that was probably meant; None when the name looks like a path."""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).parent.is_dir():
        return f"For a model on the hub write '{HUB}{name}'."
    if not re.fullmatch(r"[\w-]+", name):
        return None
    with suppress(ModuleNotFoundError):  # a fresh Slicer lacks PyYAML
        entry = find_listed(name)
        if entry:
            return f"Did you mean '{entry.reference}'?" if entry.reference else entry.problem
    folders = [item.parent.name for item in Path().glob(f"*/{MANIFEST}")]
    return nearest(name, [*(f"{BUNDLED}{known}" for known in bundled_models()), *folders])


def bundled_models() -> list[str]:
    """Return the names of the models that come with NeuroGen."""
    folder = resources_folder() / "models"
    return sorted(item.name for item in folder.iterdir() if (item / MANIFEST).is_file())


def _bundled(reference: str) -> ModelFolder:
    name = reference.removeprefix(BUNDLED)
    known = bundled_models()
    if name not in known:
        raise InputError(f"There is no bundled model '{name}'.", nearest(name, known), code="model-missing")
    return ModelFolder.read(resources_folder() / "models" / name, reference=reference)


def _from_hub(reference: HubReference, progress: Progress, *, offline: bool) -> ModelFolder:
    cached = cached_model(reference)
    if cached is not None:
        return cached
    require_online(reference, offline=offline)
    entry = find_published(reference)
    return import_published(entry, reference, progress) if entry else download_model(reference, progress)
