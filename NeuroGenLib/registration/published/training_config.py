"""Turns ``training_config.json`` of the published registration program, SITReg, into NeuroGen's training settings."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.errors import InputError, nearest
from NeuroGenLib.core.files import staged_outputs
from NeuroGenLib.registration.config import RegistrationTrainConfig
from NeuroGenLib.registration.published.loss_config import translated_losses
from NeuroGenLib.registration.published.network_config import shape_of
from NeuroGenLib.registration.published.settings_file import CITATION, DATA, MODEL, TRAINING, Settings
from NeuroGenLib.training.published_settings import Translation, plain, reason_for, require_new_settings_file

KINDS = {"oasis": "oasis", "lpba40": "lpba40", "lung250m_4b": "lung250m", "lumir": "lumir", "nlst": "nlst"}
"""Published name of a data set -> NeuroGen's."""
FOLDERS = {
    "oasis": "oasis",
    "lpba40": "lpba40",
    "lung250m_4b": "Lung250M-4B",
    "lumir": "LUMIR",
    "nlst": "NLST/NLST",
}
"""Where the published program has a data set, below its data root."""
_STEPS = ("crop", "crop_or_pad_to", "downsampling_factor", "clip", "shift_and_normalize", "normalize")
_INFERENCE = "a choice of each registration, not of the training; both directions always come out of one run"
_METRICS = "a trained model is judged apart from its training"
_CHUNKS = "each process registers its own three pairs, so any number of devices will do"
_SOLVER = "the gradient of the inversion is exact, without a solver"
_UNREAD = "the published program never reads it for this data set"
_NO_COUNTERPART = {
    "commit": "the version of the program that wrote the file",
    "dtype": "training is in 32 bits, or as train.precision says",
    "application.training_factory": "it follows from the losses",
    "application.inference_factory": _INFERENCE,
    "application.config.inference": _INFERENCE,
    f"{MODEL}.displacement_field_inversion.backward_fixed_point_solver": _SOLVER,
    f"{MODEL}.displacement_field_inversion": "the kind of solver, its fewest steps and its small constants are fixed",
    f"{MODEL}.normalizer.args": "normalisation always learns a scale and an offset",
    f"{DATA}.metrics": _METRICS,
    f"{DATA}.n_jacobian_samples_in_evaluation": _METRICS,
    f"{DATA}.jacobian_sampling_base_seed": _METRICS,
    f"{DATA}.evaluation_prefix": _METRICS,
    f"{DATA}.training_process_chunk_size": _CHUNKS,
    f"{DATA}.file_type": _UNREAD,
    f"{DATA}.segmentation_file_type": _UNREAD,
    f"{DATA}.training_pairs_per_epoch": _UNREAD,
    f"{DATA}.n_training_items_per_epoch": _UNREAD,
    f"{DATA}.included_segmentation_class_indices": "there are no label maps to train on",
    f"{DATA}.training_segmentation_class_index_groups": "the labels are not trained on",
    f"{DATA}.iterate_inference_pairs_in_both_directions": _METRICS,
    f"{DATA}.affine_augmentation_arguments": "affine augmentation is off",
    f"{DATA}.affine_augmentation_prob": "affine augmentation is off",
    f"{TRAINING}.loss.landmark_weight": "the training has no landmarks",
    f"{TRAINING}.loss.segmentation": "the training has no label maps",
    f"{TRAINING}.loss.consistency_loss_weight_per_epoch": "only two images are registered at a time",
}


def import_config(
    config: Path,
    out: Path,
    *,
    data_root: Path | None = None,
    run_folder: Path | None = None,
    start_epoch: int = 0,
    legacy_levels: bool = True,
) -> tuple[Translation, list[Path]]:
    """Write the settings file, with its provenance beside it.

    Parameters
    ----------
    config:
        ``training_config.json``, or a settings file that comes with the published program.
    out:
        The settings file to write, ``.yaml``; one that exists is not replaced.
    data_root:
        The folder that the published program has its data sets in; ``data`` when not given.
    run_folder:
        Where the training will write; ``runs/`` and the name of ``out`` when not given.
    start_epoch:
        Epochs that an earlier run has trained already, as when the published program continues one.
    legacy_levels:
        Leave out the finest stages that the published program leaves out, and never trains, when the coarsest levels
        have no stage.

    Returns
    -------
    Translation, list of Path:
        What was translated, and the files written.

    Raises
    ------
    InputError
        When the file is missing or broken, the data set unknown, a value unusable, or ``out`` exists.
    """
    require_new_settings_file(out)
    keys = Settings.load(config)
    translation = translated(
        keys,
        data_root=data_root or Path("data"),
        run_folder=run_folder or Path("runs") / out.stem,
        start_epoch=start_epoch,
        legacy_levels=legacy_levels,
    )
    return translation, _write(translation, config, out)


def translated(
    keys: Settings, *, data_root: Path, run_folder: Path, start_epoch: int = 0, legacy_levels: bool = True
) -> Translation:
    """Return NeuroGen's settings; see :func:`import_config`."""
    remarks: list[str] = []
    shape = shape_of(keys, legacy_levels=legacy_levels)
    if shape.skipped_stages:
        remarks.append(
            f"The published program leaves out the {shape.skipped_stages} finest stages, and so does this file"
            " (network.skipped_stages); 'import-config --all-stages' trains them."
        )
    _read_solver(keys)
    module = data_set(keys)
    items, batch, epoch = items_of_a_step(keys), keys.whole(f"{DATA}.batch_size"), steps_of_an_epoch(keys)
    epochs = keys.whole(f"{TRAINING}.n_epochs")
    if not 0 <= start_epoch < epochs:
        raise InputError(
            f"A training of {epochs} epochs cannot go on after epoch {start_epoch}.",
            f"Give a start from 0 to {epochs - 1}.",
            code="value-invalid",
        )
    steps = (epochs - start_epoch) * epoch
    remarks.append(f"train.steps is {epochs - start_epoch} epoch(s) of {epoch} steps.")
    if batch > 1:
        remarks.append("data.batch is for one process: with N devices, divide it by N.")
    remarks.append(
        "Pairs are sampled again in every step; the published program goes through all before it repeats one."
    )
    if start_epoch:
        remarks.append(
            "Give the folder of the earlier run as optimiser.continue_from. The published program then keeps the"
            " learning rate of that run, whatever this file says: optimiser.rate_on_resume 'checkpoint' does so too."
        )
    losses, data_needs = translated_losses(keys, shape, items, start_epoch, epoch, remarks)
    settings: dict[str, Any] = {
        "name": f"sitreg-{KINDS[module]}",
        "attribution": [CITATION],
        "data": {
            "source": "layout",
            "items_per_step": items,
            "batch": batch,
            "layout": _layout(keys, module, data_root, data_needs),
        },
        "network": network_settings(keys, legacy_levels=legacy_levels),
        "losses": losses,
        "optimiser": _optimiser(keys),
    }
    settings |= _augmentation(keys, items, remarks)
    settings["train"] = {"out": run_folder.as_posix(), "steps": steps, "seed": _seed(keys, remarks)}
    settings = json.loads(json.dumps(settings))
    try:
        from_mapping(RegistrationTrainConfig, settings)
    except InputError as error:
        raise error.within(f"{keys.file} makes no settings", f"Correct {keys.file}: {error.remedy}") from error
    left_out = tuple((key, value, reason_for(key, _NO_COUNTERPART)) for key, value in keys.rest())
    return Translation(settings, tuple(remarks), left_out)


def data_set(keys: Settings) -> str:
    """Return the published name of the data set.

    Raises
    ------
    InputError
        When it is none of :data:`KINDS`.
    """
    module = keys.text("data.module")
    if module not in KINDS:
        raise InputError(
            f"'data.module' of {keys.file} is '{plain(module)}'.", nearest(module, KINDS), code="name-unknown"
        )
    return str(module)


def items_of_a_step(keys: Settings) -> int:
    """Return how many images a step registers with one another, 2 or 3."""
    items = keys.whole(f"{DATA}.n_training_items_per_step", 2)
    if items not in (2, 3):
        raise keys.wrong(f"{DATA}.n_training_items_per_step", "2 or 3")
    return int(items)


def steps_of_an_epoch(keys: Settings) -> int:
    """Return the steps of an epoch: its pairs (or threes), a batch at a time, the last one filled up."""
    pairs = "n_training_items_per_epoch" if items_of_a_step(keys) == 3 else "training_pairs_per_epoch"
    return -(-int(keys.whole(f"{DATA}.{pairs}")) // int(keys.whole(f"{DATA}.batch_size")))


def prepared_steps(keys: Settings) -> dict[str, Any]:
    """Return the settings of :class:`~NeuroGenLib.registration.published.datasets.config.PreparationConfig`."""
    steps: dict[str, Any] = {"downsampling": keys.wholes(f"{DATA}.downsampling_factor", 3, [1, 1, 1], least=1)}
    crop = keys.lists(f"{DATA}.crop", None)
    if crop is not None:
        if len(crop) != 3 or any(len(ends) != 2 for ends in crop):
            raise keys.wrong(f"{DATA}.crop", "three pairs of whole numbers")
        if any(end for ends in crop for end in ends):
            steps["crop"] = crop
    shape = keys.wholes(f"{DATA}.crop_or_pad_to", 3, None, least=1)
    if shape is not None:
        steps["crop_or_pad_to"] = shape
    clip = keys.get(f"{DATA}.clip", None)
    if clip is not None:
        if not isinstance(clip, list) or len(clip) != 2:
            raise keys.wrong(f"{DATA}.clip", "two numbers, or null for an open end")
        steps["clip"] = clip
    shift = keys.numbers(f"{DATA}.shift_and_normalize", 2, None)
    if shift is not None:
        steps |= {"shift": float(shift[0]), "scale": float(shift[1])}
    if keys.flag(f"{DATA}.normalize", default=False):
        steps["minmax"] = True
    return steps


def _layout(keys: Settings, module: str, data_root: Path, needs: set[str]) -> dict[str, Any]:
    layout: dict[str, Any] = {"kind": KINDS[module], "root": (data_root / FOLDERS[module]).as_posix()}
    if module in ("oasis", "lpba40"):
        layout["image"] = keys.text(f"{DATA}.file_type")
        layout["segmentation"] = keys.text(f"{DATA}.segmentation_file_type")
    if module == "oasis" and keys.flag(f"{DATA}.use_learn2reg_divisions", default=False):
        layout["learn2reg"] = True
    cases = keys.whole(f"{DATA}.n_training_cases", None)
    if cases is not None:
        layout["cases"] = cases
    if module == "lumir":
        erosion = keys.whole(f"{DATA}.use_body_mask_as_mask_with_erosion", None, least=0)
        if erosion is not None:
            layout["body_mask_erosion"] = erosion
    if keys.flag(f"{DATA}.include_segmentations_for_training", default=False) and "labels" in needs:
        layout["use_labels"] = True
        layout["labels"] = keys.wholes(f"{DATA}.included_segmentation_class_indices")
        layout["label_groups"] = keys.lists(f"{DATA}.training_segmentation_class_index_groups")
    if keys.flag(f"{DATA}.include_landmarks_in_training", default=False) and "landmarks" in needs:
        layout["use_landmarks"] = True
    return layout | {"preparation": prepared_steps(keys)}


def network_settings(keys: Settings, *, legacy_levels: bool = True) -> dict[str, Any]:
    """Return the section ``network`` of NeuroGen's settings; see :func:`import_config`."""
    sizes = asdict(shape_of(keys, legacy_levels=legacy_levels))
    del sizes["affine_inputs"]
    return sizes | {"affine": keys.flag(f"{MODEL}.predict_affine")}


def _read_solver(keys: Settings) -> None:
    """Mark what :func:`shape_of` takes from the solver as read."""
    solver = f"{MODEL}.displacement_field_inversion.forward_fixed_point_solver"
    keys.number(f"{solver}.stop_criterion.args.threshold", 1e-2)
    keys.whole(f"{solver}.stop_criterion.args.max_iterations", 50)
    keys.whole(f"{solver}.arguments.memory_length", 4)


def _optimiser(keys: Settings) -> dict[str, Any]:
    betas = keys.numbers(f"{TRAINING}.optimizer.betas", 2, [0.9, 0.999])
    return {"rate": keys.number(f"{TRAINING}.optimizer.learning_rate"), "betas": betas}


def _augmentation(keys: Settings, items: int, remarks: list[str]) -> dict[str, Any]:
    probability = keys.number(f"{DATA}.affine_augmentation_prob", None)
    if not probability or keys.peek(f"{DATA}.affine_augmentation_arguments") is None:
        return {}
    if items == 3:
        remarks.append("As in the published program, affine augmentation is off with three images a step.")
        return {}
    names = ("translation_stds", "rotation_stds", "logscale_stds", "logshear_stds")
    deviations = {name: keys.numbers(f"{DATA}.affine_augmentation_arguments.{name}", 3) for name in names}
    return {"augmentation": {"probability": probability, **deviations}}


def _seed(keys: Settings, remarks: list[str]) -> int:
    seed = keys.whole(f"{DATA}.seed", 0, least=0)
    remarks.append("train.seed decides the first weights too; the published program draws them without a seed.")
    return int(np.uint32(seed % 2**32))


def _write(translation: Translation, config: Path, out: Path) -> list[Path]:
    head = [
        f"Made by 'neurogen registration import-config' from {plain(config.name)}:",
        "trains a registration network as the published program does.",
        "Start it with: neurogen registration train --config THIS_FILE",
    ]
    with staged_outputs(out.parent) as staging:
        parameters = {"settings": translation.settings}
        translation.write(staging / out.name, head, "registration import-config", parameters, [config])
        return [out.parent / path.name for path in sorted(staging.iterdir())]
