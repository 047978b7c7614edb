"""Turns a checkpoint of the published registration program, SITReg, into a NeuroGen model."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.provenance import software_versions
from NeuroGenLib.models.folder import write_model
from NeuroGenLib.models.unpickle import load_foreign_checkpoint
from NeuroGenLib.registration.card import model_card
from NeuroGenLib.registration.published.checkpoint import own_state
from NeuroGenLib.registration.published.datasets.config import PreparationConfig
from NeuroGenLib.registration.published.datasets.opening import preparation_record
from NeuroGenLib.registration.published.network_config import shape_of
from NeuroGenLib.registration.published.settings_file import CITATION, DATA, FILE, MODEL, Settings
from NeuroGenLib.registration.published.training_config import KINDS, data_set, prepared_steps, steps_of_an_epoch
from NeuroGenLib.training.initial_weights import require_same_weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from NeuroGenLib.registration.network.sizes import SITRegConfig

NETWORK = "registration_network"
OPTIMISER = "optimizer"
ORIENTATIONS = {"oasis": "LIA", "lpba40": "LPS"}
"""How the files of a data set are stored, which the program never looks at; of the others it is not known here."""


def import_checkpoint(
    checkpoint: Path,
    destination: Path,
    *,
    config: Path | None = None,
    orientation: str | None = None,
    legacy_levels: bool = True,
) -> None:
    """Turn ``model_epoch_NNN.pt`` into a model folder of kind ``registration``.

    Parameters
    ----------
    checkpoint:
        The file the program wrote; not ``optimizer_epoch_NNN.pt``.
    destination:
        The model folder to make.
    config:
        The run's ``training_config.json``; the one beside the checkpoint when not given.
    orientation:
        Directions in which i, j and k of the training images grow, such as ``"LIA"``. The program does not record
        them; when not given, those of its data set's files, else RAS.
    legacy_levels:
        Leave out the finest stages that the program leaves out, and never trains, when the coarsest levels have no
        stage. Without it these stages run with their initial weights.

    Raises
    ------
    InputError
        When a file is missing, damaged or something else, or the config does not describe these weights.
    """
    settings = Settings.load(checkpoint.with_name(FILE) if config is None else config)
    shape = shape_of(settings, legacy_levels=legacy_levels)
    axes = _orientation(settings, orientation)
    tensors = own_state(_weights(checkpoint), shape)
    _require_fitting(tensors, shape, f"{checkpoint} and {settings.file}")
    manifest = _manifest(settings, shape, axes, checkpoint)
    write_model(destination, "registration", tensors, manifest, model_card(manifest))


def _weights(checkpoint: Path) -> dict[str, Tensor]:
    """Read the state of the network.

    Raises
    ------
    InputError
        When the file holds something else, or weights that are not numbers.
    """
    import torch

    content = load_foreign_checkpoint(checkpoint)
    if OPTIMISER in content and NETWORK not in content:
        raise InputError(
            f"{checkpoint} holds the state of the optimiser, not the network.",
            "Give model_epoch_NNN.pt, which lies beside it.",
            code="file-type",
        )
    state = content.get(NETWORK)
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise InputError(
            f"{checkpoint} is not a SITReg checkpoint: it has no '{NETWORK}'.",
            "Give model_epoch_NNN.pt.",
            code="file-type",
        )
    spoiled = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if spoiled:
        raise InputError(
            f"'{spoiled[0]}' in {checkpoint} is not finite: the training had failed by then.",
            "Give an earlier epoch.",
            code="file-damaged",
        )
    return {name: value.float() for name, value in state.items()}


def _require_fitting(tensors: Mapping[str, Tensor], shape: SITRegConfig, where: str) -> None:
    """Demand every weight of the network, in its size, and no other; no memory is taken for the comparison."""
    import torch

    from NeuroGenLib.registration.network.sitreg import SITReg

    remedy = f"Give the {FILE} of the run that wrote the checkpoint."
    try:
        with torch.device("meta"):
            expected = {name: tuple(value.shape) for name, value in SITReg(shape).state_dict().items()}
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise InputError(
            f"{where}: there is no such network ({str(error).splitlines()[0]}).", remedy, code="value-invalid"
        ) from error
    require_same_weights(expected, tensors, f"{where} do not fit together", remedy)


def _orientation(settings: Settings, orientation: str | None) -> str:
    """Return where the array axes grow to.

    Raises
    ------
    InputError
        When these are not three different anatomical directions.
    """
    codes = (orientation or ORIENTATIONS.get(str(settings.get("data.module", "")), "RAS")).upper()
    pairs = ("LR", "PA", "IS")
    if len(codes) != 3 or not all(sum(letter in pair for letter in codes) == 1 for pair in pairs):
        raise InputError(
            f"'{orientation}' is not an orientation.",
            "Take one letter each of R or L, A or P, S or I, such as RAS.",
            code="value-invalid",
        )
    return codes


def preparation_of(settings: Settings, orientation: str) -> dict[str, Any]:
    """Return how images get ready for the network, for the manifest.

    See :func:`~NeuroGenLib.registration.published.datasets.opening.preparation_record`; ``grid`` and ``spacing`` are
    those that the program tells its network.
    """
    steps = from_mapping(PreparationConfig, prepared_steps(settings), DATA)
    grid = settings.wholes(f"{MODEL}.input_shape", 3)
    spacing = settings.numbers(f"{MODEL}.voxel_size", 3)
    return preparation_record(KINDS[data_set(settings)], grid, spacing, orientation, steps)


def _manifest(settings: Settings, shape: SITRegConfig, orientation: str, checkpoint: Path) -> dict[str, Any]:
    kind = KINDS[data_set(settings)]
    epoch = re.search(r"epoch_(\d+)", checkpoint.name)
    per_epoch = steps_of_an_epoch(settings)
    left_out = [level for level in shape.stages if level not in shape.used_stages]
    coarse = f" As in that program, its finest stages ({len(left_out)}) are skipped." if left_out else ""
    return {
        "name": f"sitreg-{kind}",
        "description": f"Imported from a SITReg checkpoint that was trained on {kind}.{coarse}",
        "notice": "Images must look like those it was trained on: same organ, contrast, voxel size and orientation.",
        "license": "unknown",
        "citation": [CITATION],
        "network": dataclasses.asdict(shape),
        "preparation": preparation_of(settings, orientation),
        "training": {
            "steps": int(epoch[1]) * per_epoch if epoch else "an unknown number of",
            "epochs": int(epoch[1]) if epoch else None,
            "data": kind,
            "config": {"data": {"source": "layout"}},
            "published_config": settings.content,
        },
        "versions": software_versions(),
    }
