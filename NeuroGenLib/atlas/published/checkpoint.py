"""The published atlas system, CINeMA: its checkpoints, and its behaviour where NeuroGen's differs.

Dannecker et al., IEEE Transactions on Medical Imaging 2025, doi 10.1109/TMI.2025.3605194. The functions that end in
``_as_published`` keep what the program does, defects included; they serve ``--reference-compat`` and comparisons.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from NeuroGenLib.atlas.card import model_card
from NeuroGenLib.atlas.conditions import Condition
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.provenance import software_versions
from NeuroGenLib.core.yaml_files import read_yaml
from NeuroGenLib.models.folder import write_model
from NeuroGenLib.models.pickled_frame import frame_columns
from NeuroGenLib.models.unpickle import load_foreign_checkpoint
from NeuroGenLib.spatial.labels import LabelTable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from NeuroGenLib.atlas.network import DecoderConfig

CITATION = (
    "Dannecker M, et al. CINeMA: Conditional Implicit Neural Multi-Modal Atlas for a spatio-temporal representation of"
    " the perinatal brain. IEEE Transactions on Medical Imaging 2025. doi:10.1109/TMI.2025.3605194"
)
AGE = "scan_age"
BACKGROUND = "BG"
TRANSFORM_KINDS = {6: "rigid", 9: "rigid+scale", 12: "affine"}
"""Kind of transform by its number of parameters."""
MOST_SETTINGS = 100_000
"""A settings file with more values is refused: a limit on the work of reading it."""
_TENSOR_NAMES = (
    ("modulator.conv.", "latent_conv."),
    ("sr_net.net.", "layers."),
    ("sr_net.final_linear.", "output."),
    ("linear_lats.", "modulation."),
)


def import_checkpoint(
    checkpoint: Path,
    destination: Path,
    *,
    config_atlas: Path | None = None,
    config_data: Path | None = None,
    store_ids: bool = False,
) -> None:
    """Turn ``checkpoint_epoch_N.pth`` into a model folder of kind ``atlas``.

    Parameters
    ----------
    checkpoint:
        The file the program wrote.
    destination:
        The model folder to make.
    config_atlas, config_data:
        The two YAML files of its run; those recorded in the checkpoint when not given.
    store_ids:
        Write the subject ids into the model; they may identify people.

    Raises
    ------
    InputError
        When the file is not such a checkpoint, or the configs do not belong to it.
    """
    content = load_foreign_checkpoint(checkpoint)
    missing = {"latents", "transformations", "inr_decoder", "dataset_df"} - set(content)
    if missing:
        raise InputError(
            f"{checkpoint} is not a CINeMA checkpoint: it lacks {', '.join(sorted(missing))}.",
            "Give a checkpoint_epoch_N.pth file.",
            code="file-type",
        )
    recorded = content.get("args") or {}
    atlas = read_published(config_atlas) if config_atlas else recorded
    data = data_section(read_published(config_data), atlas)[1] if config_data else recorded.get("dataset", {})
    try:
        manifest, tensors = _translated(content, atlas, data, store_ids=store_ids)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{checkpoint} and its configs do not fit together ({type(error).__name__}: {error}).",
            "Give the config_atlas.yaml and config_data.yaml of the run that wrote it.",
            code="file-damaged",
        ) from error
    write_model(destination, "atlas", tensors, manifest, model_card(manifest))


def decoder_tensors(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the published decoder's weights under the names of :class:`~NeuroGenLib.atlas.network.AtlasDecoder`."""
    return {_tensor_name(name): value.detach().clone() for name, value in state.items()}


def _tensor_name(name: str) -> str:
    for old, new in _TENSOR_NAMES:
        name = name.replace(old, new)
    return name


def shape_from_config(atlas: Mapping[str, Any], data: Mapping[str, Any]) -> DecoderConfig:
    """Return the decoder's sizes from the sections of the two configs."""
    from NeuroGenLib.atlas.network import DecoderConfig

    decoder = atlas["inr_decoder"]
    channels, nz, ny, nx = decoder["latent_dim"]
    *intensities, classes = decoder["out_dim"]
    return DecoderConfig(
        intensities=int(sum(intensities)),
        classes=int(classes),
        conditions=sum(bool(used) for used in data["conditions"].values()),
        latent_channels=channels,
        latent_grid=(nx, ny, nz),
        latent_kernel=decoder["cnn_kernel_size"],
        hidden=decoder["hidden_size"],
        layers=decoder["num_hidden_layers"],
        modulated=tuple(i for i in decoder["modulated_layers"] if i <= decoder["num_hidden_layers"]),
        omega=(float(decoder["omega"][0]), float(decoder["omega"][1])),
    )


def _translated(
    content: Mapping[str, Any], atlas: Mapping[str, Any], data: Mapping[str, Any], *, store_ids: bool
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    from NeuroGenLib.atlas.network import decoder_from_tensors

    shape = shape_from_config(atlas, data)
    tensors = {f"decoder.{name}": value for name, value in decoder_tensors(content["inr_decoder"]).items()}
    network = dataclasses.asdict(shape)
    try:
        decoder_from_tensors(network, tensors)
    except RuntimeError as error:
        raise ValueError(f"the weights have other sizes than the config says: {error}") from error
    tensors["latents"] = content["latents"].detach().clone()
    if tuple(tensors["latents"].shape[1:]) != shape.latent_shape:
        raise ValueError(f"latents of shape {tuple(tensors['latents'].shape[1:])}, config {shape.latent_shape}")
    tensors["transforms"] = content["transformations"].detach().clone()
    rows = frame_columns(content["dataset_df"])
    conditions = [_condition(name, data, atlas) for name, used in data["conditions"].items() if used]
    ages = [float(age) for age in rows[AGE]]
    if len(ages) != len(tensors["latents"]):
        raise ValueError(f"{len(ages)} subjects in the table, {len(tensors['latents'])} latents")
    names = [str(name) for name in data["label_names"]]
    background = [names[names.index(BACKGROUND)], names[0]] if BACKGROUND in names else [names[0]]
    manifest = {
        "name": str(data.get("dataset_name", "cinema")),
        "description": "Imported from a CINeMA checkpoint.",
        "notice": "",
        "license": "unknown",
        "citation": [CITATION],
        "labels": LabelTable.from_names(names).to_mapping(),
        "modalities": [str(name) for name in data["modalities"][:-1]],
        "conditions": [condition.to_manifest() for condition in conditions],
        "age": {"name": AGE, "unit": "weeks", "range": [min(ages), max(ages)]},
        "network": network,
        "preparation": {
            "normalisation": data["normalize_values"],
            "mask": bool(atlas.get("mask_reconstruction", True)),
            "box": [float(side) for side in data["world_bbox"]],
            "background": list(dict.fromkeys(background)),
            "fill": [0.0] * shape.intensities,
            "orientation": "RAS, origin at the centre of the brain's mass",
        },
        "regression": {"bandwidth": float(atlas["atlas_gen"]["gaussian_span"]) / 2},
        "transform": {
            "kind": TRANSFORM_KINDS[tensors["transforms"].shape[1]] if atlas["inr_decoder"]["tf_dim"] else "none",
            "parametrisation": "euler-zxz",
        },
        "subjects": [
            ({"id": str(rows["subject_id"][row])} if store_ids else {})
            | {
                "age": ages[row],
                "conditions": {condition.name: condition.parse(rows[condition.name][row]) for condition in conditions},
            }
            for row in range(len(ages))
        ],
        "training": {"steps": None, "epochs": int(content.get("epoch", 0)), "config": None},
        "versions": software_versions(),
    }
    return manifest, tensors


def _condition(name: str, data: Mapping[str, Any], atlas: Mapping[str, Any]) -> Condition:
    constraint = data["constraints"][name]
    scale = float(atlas["atlas_gen"]["cond_scale"])
    return Condition(name, "numeric", float(constraint["min"]), float(constraint["max"]), scale=scale)


def read_published(path: Path) -> dict[str, Any]:
    """Return the content of one of the published program's YAML files.

    Raises
    ------
    InputError
        When it is missing, no YAML of names and values, or of a size that no settings have (aliases that multiply).
    """
    try:
        content = read_yaml(path)
    except RecursionError:
        raise InputError(
            f"{path} is nested too deeply.", "Give the program's own YAML file.", code="file-damaged"
        ) from None
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds no settings by name.", "Give the YAML file that the program wrote or read.", code="file-type"
        )
    waiting, counted = [content], 0
    while waiting:
        item = waiting.pop()
        inside = list(item.values()) if isinstance(item, dict) else list(item) if isinstance(item, list) else []
        waiting += inside
        counted += len(inside)
        if counted > MOST_SETTINGS:
            raise InputError(
                f"{path} holds more than {MOST_SETTINGS} values.",
                "Give the program's own YAML file.",
                code="file-damaged",
            )
    try:
        json.dumps(content, ensure_ascii=False, default=str, skipkeys=True).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{path} holds half characters, which are not text.", "Save it as UTF-8 text.", code="file-damaged"
        ) from None
    return content


def data_section(
    content: Mapping[str, Any], atlas: Mapping[str, Any], dataset: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Return name and block of the data set: ``dataset``, else the one the atlas config names, or the only one.

    Raises
    ------
    InputError
        When the data set does not exist, or its block holds no settings.
    """
    name = str(atlas.get("config_data", "")) if dataset is None else dataset
    if dataset is None and name not in content and len(content) == 1:
        name = next(iter(content))
    if name not in content:
        raise InputError(f"The data config has no data set '{name}'.", nearest(name, content), code="name-unknown")
    if not isinstance(content[name], dict):
        raise InputError(
            f"The data set '{name}' of the data config holds no settings.",
            "Give the program's config_data.yaml.",
            code="file-damaged",
        )
    return name, content[name]
