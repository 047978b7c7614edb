"""Turns the published weights, BABY-AI's ``pretrained_weights.pth``, into a NeuroGen model, an eighth as large."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.provenance import RESEARCH_USE, software_versions
from NeuroGenLib.models.folder import write_model
from NeuroGenLib.models.unpickle import load_foreign_checkpoint
from NeuroGenLib.spatial.volume import Volume, require_3d
from NeuroGenLib.superres.published.reference import WINDOW, preparation_record
from NeuroGenLib.training.initial_weights import require_same_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

    from NeuroGenLib.superres.published.unet import PublishedUNetConfig

log = logging.getLogger(__name__)

ATLAS = "infant_atlas.nii.gz"
"""Infant atlas of the published repository, to which images are registered; beside the checkpoint and in the model."""

CITATION = "Lennartsson, A., master's thesis, Lund University, LUP record 9222513"
NOTICE = "Images must look like those it was trained on: T1w and T2w of infants' heads, 1 mm, in the pose of its atlas."
_REMEDY = "Give pretrained_weights.pth, or weights that the published training program wrote."
_FIRST_WEIGHTS_TOLERANCE = 1e-3


def import_checkpoint(checkpoint: Path, destination: Path, *, half: bool = False) -> None:
    """Turn ``pretrained_weights.pth`` into a model folder of kind ``superres``.

    The weights are folded to what windows of 32 voxels a side reach, tensor by tensor, so that memory is needed for
    the file once. The infant atlas, when it lies beside the checkpoint, becomes part of the model.

    Parameters
    ----------
    checkpoint:
        The file the program wrote, a state dictionary; nothing in it is executed.
    destination:
        The model folder to make.
    half:
        Store the weights in half precision: half the size, results differ by some 1e-4.

    Raises
    ------
    InputError
        When the file is missing, damaged or something else, or the atlas beside it is not a volume.
    """
    from NeuroGenLib.superres.published.unet import fold, reached_taps, sizes_of

    state = _state(checkpoint)
    shape = config_of_state(state, checkpoint)
    require_same_weights(sizes_of(shape), state, f"{checkpoint} does not fit BABY-AI's network", _REMEDY)
    taps = reached_taps(shape, WINDOW)
    trained: list[str] = []
    folded = fold(_one_by_one(state, taps, trained, checkpoint), shape, WINDOW)
    if trained:
        log.warning(
            "%d kernels of %s changed where windows of 32 voxels do not reach: it may have been trained on larger"
            " windows, and what it would do with these is not in the model.",
            len(trained),
            checkpoint.name,
        )
    atlas = _atlas_beside(checkpoint)
    manifest = _manifest(shape, checkpoint, with_atlas=atlas is not None, larger_windows=bool(trained))
    tensors = {name: tensor.half() for name, tensor in folded.items()} if half else folded
    extra = {ATLAS: atlas} if atlas is not None else {}
    write_model(destination, "superres", tensors, manifest, _card(manifest), extra_files=extra)


def _state(checkpoint: Path) -> dict[str, Tensor]:
    """Read the state of the network.

    Raises
    ------
    InputError
        When the file holds anything but named weights.
    """
    import torch

    content = load_foreign_checkpoint(checkpoint)
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor) or not value.is_floating_point():
            raise InputError(
                f"{checkpoint} holds something other than weights ('{name}').", _REMEDY, code="weights-mismatch"
            )
    return dict(content)


def config_of_state(state: Mapping[str, Tensor], checkpoint: Path) -> PublishedUNetConfig:
    """Return the sizes of the network that a state is of, by the first kernel of each level.

    Raises
    ------
    InputError
        When it is of another network, or of one that windows of 32 voxels are too small for.
    """
    from NeuroGenLib.superres.published.unet import PublishedUNetConfig

    firsts = []
    prefix = "model."
    while (name := f"{prefix}0.conv.unit0.conv.weight") in state:
        firsts.append(state[name])
        prefix += "1.submodule."
    deepest = state.get(f"{prefix}conv.unit0.conv.weight")
    last = state.get("model.2.0.conv.weight")
    units = 0
    while f"model.0.conv.unit{units}.conv.weight" in state:
        units += 1
    if not firsts or deepest is None or last is None or {first.ndim for first in (*firsts, deepest, last)} != {5}:
        raise InputError(
            f"{checkpoint} holds weights, but not those of BABY-AI's network.", _REMEDY, code="weights-mismatch"
        )
    channels = tuple(int(first.shape[0]) for first in (*firsts, deepest))
    try:
        shape = PublishedUNetConfig(channels, units, inputs=int(firsts[0].shape[1]), outputs=int(last.shape[1]))
    except ValueError as error:
        raise InputError(
            f"{checkpoint} holds weights of an impossible network ({error}).", _REMEDY, code="weights-mismatch"
        ) from error
    if WINDOW % shape.multiple:
        raise InputError(
            f"{checkpoint} is of a network with {len(channels)} levels; windows have {WINDOW} voxels.",
            _REMEDY,
            code="weights-mismatch",
        )
    return shape


def _one_by_one(
    state: dict[str, Tensor], taps: Mapping[str, tuple[slice, ...]], trained: list[str], checkpoint: Path
) -> Iterator[tuple[str, Tensor]]:
    """Empty ``state``, weight by weight; kernels that were trained outside of ``taps`` are added to ``trained``.

    Raises
    ------
    InputError
        When a weight is not finite.
    """
    import torch

    for name in list(state):
        tensor = state.pop(name).float()
        if not torch.isfinite(tensor).all():
            raise InputError(
                f"'{name}' in {checkpoint} is not finite: the training had failed.",
                "Give other weights, or train again.",
                code="training-diverged",
            )
        if name in taps and _trained_outside(tensor, taps[name]):
            trained.append(name)
        yield name, tensor


def _trained_outside(kernel: Tensor, taps: tuple[slice, ...]) -> bool:
    """Whether weights outside of ``taps`` are larger than the first ones of a training can be."""
    bound = (1 + _FIRST_WEIGHTS_TOLERANCE) / math.sqrt(math.prod(kernel.shape[1:]))
    return int((kernel.abs() > bound).sum()) > int((kernel[taps].abs() > bound).sum())


def _atlas_beside(checkpoint: Path) -> Path | None:
    """Return the infant atlas beside the checkpoint, or None.

    Raises
    ------
    InputError
        When it is not a volume.
    """
    path = checkpoint.with_name(ATLAS)
    if not path.is_file():
        return None
    require_3d(Volume.load(path), str(path))
    return path


def _manifest(
    shape: PublishedUNetConfig, checkpoint: Path, *, with_atlas: bool, larger_windows: bool
) -> dict[str, Any]:
    from NeuroGenLib.superres.published.unet import network_record

    warned = " Its weights may have been trained on larger windows than it is used with." if larger_windows else ""
    return {
        "name": "baby-ai",
        "description": f"Imported weights of BABY-AI: isotropic T2w of infants from thick slices and a T1w.{warned}",
        "notice": NOTICE,
        "license": "unknown",
        "citation": [CITATION],
        "modalities": ["T1w", "T2w"],
        "network": network_record(shape, WINDOW),
        "preparation": preparation_record() | {"atlas": ATLAS if with_atlas else None},
        "training": {
            "data": "infants of the BOB repository, thick slices by decimation (2 to 5 mm, three directions)",
            "checkpoint": checkpoint.name,
            "larger_windows": larger_windows,
        },
        "versions": software_versions(),
    }


def _card(manifest: Mapping[str, Any]) -> str:
    """Return the card in Markdown, with the front matter that model hubs read."""
    network, preparation = manifest["network"], manifest["preparation"]
    rows = [
        ("Inputs", "T1w and thick-slice T2w of the same head, both needed"),
        ("Voxels", f"{preparation['spacing'][0]:g} mm, {' x '.join(str(size) for size in preparation['grid'])}"),
        ("Atlas", f"`{preparation['atlas']}`" if preparation["atlas"] else "not in this model"),
        ("Windows", f"{network['window']} voxels a side, no other"),
        ("Network", f"residual U-Net, {', '.join(str(width) for width in network['channels'])} channels, folded"),
        ("Training", manifest["training"]["data"]),
        ("Licence of the weights", manifest["license"]),
    ]
    parts = [
        "---\nlicense: unknown\nlibrary_name: neurogen\ntags: [neuroimaging, super-resolution]\n---",
        f"# {manifest['name']}",
        manifest["description"],
        f"**{manifest['notice']}**",
        f"**{RESEARCH_USE}**",
        "NeuroGen compared its network and pipeline with runs of the published program on invented images, not with"
        " the authors' results on these weights.",
        "## What it is\n\n| | |\n|---|---|\n" + "\n".join(f"| {name} | {text} |" for name, text in rows),
        "## Cite\n\n" + "\n".join(f"- {entry}" for entry in manifest["citation"]),
    ]
    return "\n\n".join(parts) + "\n"
