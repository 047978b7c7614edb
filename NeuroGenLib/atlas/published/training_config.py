"""Turns the two YAML files of the published atlas program, CINeMA, into NeuroGen's training settings."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.atlas.config import AtlasTrainConfig, OptimiserConfig
from NeuroGenLib.atlas.published.checkpoint import (
    AGE,
    BACKGROUND,
    CITATION,
    TRANSFORM_KINDS,
    data_section,
    read_published,
    shape_from_config,
)
from NeuroGenLib.atlas.published.rendering import halo_as_published
from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import staged_outputs, write_text
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.spatial.labels import LabelTable, as_label_map
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.training.published_settings import (
    Translation,
    as_yaml,
    beside,
    plain,
    reason_for,
    require_new_settings_file,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

USUAL_POINTS = 2_000_000
"""Training points of a subject where they cannot be measured: 250 ml of brain and margin in voxels of 0.5 mm."""
MEASURED_SUBJECTS = 4
"""Subjects, spread over the cohort, whose volumes are read to count training points."""

_AFTER = "rendered after the training, by 'neurogen atlas generate --ages ... --spacing ... --set ...'"
_LOGGED = "every run writes metrics.csv and TensorBoard events into its folder; train.wandb adds Weights & Biases"
_UNREAD = "the published program never reads it"
_NO_COUNTERPART = {
    "root_dir": _UNREAD,
    "device_dataset": _UNREAD,
    "logging": _LOGGED,
    "wandb_entity": "the entity is your account's own, or that of the environment variable WANDB_ENTITY",
    "project_name": _LOGGED,
    "device": "chosen when a run starts, by train.device; a GPU when there is one",
    "amp": "give train.precision, which is for CUDA and the convolution over the latents; sine layers stay in 32 bits",
    "generate_cond_atlas": _AFTER,
    "atlas_gen.spacing": _AFTER,
    "atlas_gen.temporal_values": _AFTER,
    "atlas_gen.conditions": _AFTER,
    "save_certainty_maps": "'neurogen atlas generate --certainty' writes a file of probabilities for each label",
    "compute_metrics": "validation and 'neurogen atlas evaluate' always compute PSNR, SSIM and Dice",
    "save_imgs.train": "validation.trained says how many training subjects are reconstructed",
    "save_imgs": "validation.volumes keeps the volumes",
    "n_subjects.val": "give validation.most, a whole number from 1",
    "epochs.val": "each fit has its own points: give its gradient steps as validation.steps",
    "validate_every": "give validation.every, in steps",
    "save_model": "the model is always written, to the folder 'model' of the run",
    "load_model": "import the checkpoint with 'neurogen models import cinema' and name the model as train.init_from",
    "data_augmentation": "choose it under augmentation",
    "data_augmentation.augment_noise": (
        "it is in units of the file's intensities: give augmentation.noise.size, a share of their range,"
        " and augmentation.noise.probability"
    ),
    "optimizer.re_init_latents": "latents are sampled once, at the start",
    "inr_decoder.in_dim": "an atlas has three dimensions",
    "inr_decoder.out_dim": "it follows from the modalities and labels of the data set",
    "latent_anaylsis": "'neurogen atlas latents', after the training",
    "num_workers": "volumes are read once, into memory",
}
_AUGMENTATION = {
    "deformation": {"probability": "p", "control_points": "num_control_points", "displacement": "max_displacement"},
    "motion": {"probability": "p", "rotation": "degrees", "translation": "translation", "moves": "num_transforms"},
    "bias": {"probability": "p", "coefficient": "coeff"},
    "gamma": {"probability": "p", "log_gamma": "log_gamma"},
}
"""Settings by ours, theirs; the published group of ``bias`` is ``augment_biasfield``, of others ``augment_NAME``."""
_OWN_DEFAULTS = dict.fromkeys(
    (
        *("optimizer", "inr_decoder", "atlas_gen.gaussian_span", "atlas_gen.cond_scale", "n_samples", "batch_size"),
        *("class_weights", "world_bbox", "normalize_values", "data_augmentation"),
    ),
    "NeuroGen's own default is used",
)
_NEEDED = object()


@dataclass(frozen=True)
class AtlasTranslation(Translation):
    """NeuroGen's settings for a training of the published program.

    Attributes
    ----------
    dataset:
        Name of the data set's block.
    labels:
        The label table; a label's value is its position in ``label_names``.
    splits:
        Subject ids by split where the published file lists them itself, as those in its run folders do.
    """

    dataset: str
    labels: LabelTable
    splits: dict[str, list[str]] | None


def import_config(
    config_data: Path,
    config_atlas: Path,
    out: Path,
    *,
    dataset: str | None = None,
    recommended: bool = False,
    root: Path | None = None,
    points_per_subject: int | None = None,
    progress: Progress = SILENT,
) -> tuple[AtlasTranslation, list[Path]]:
    """Write the settings file, with its label table, provenance and, where needed, subject ids beside it.

    The length of the run is ``epochs`` times all points of all subjects, in steps of ``n_samples`` points. A
    subject's points are ``points_per_subject``; else the mean over up to four subjects' label maps, where the table
    and its files are there; else :data:`USUAL_POINTS`.

    Parameters
    ----------
    config_data, config_atlas:
        The published program's two files.
    out:
        The settings file to write, ``.yaml``; one that exists is not replaced.
    dataset:
        Which block of ``config_data``; the one that ``config_atlas`` names when not given.
    recommended:
        Train with NeuroGen's own defaults on the same data; otherwise as the published program does.
    root:
        The folder that the published program ran in, where its relative paths start; the current one when not given.
    points_per_subject:
        Voxels of brain and margin of a subject.

    Returns
    -------
    AtlasTranslation, list of Path:
        What was translated, and the files written.

    Raises
    ------
    InputError
        When a file is missing or broken, the data set unknown, a value unusable, or ``out`` exists.
    """
    require_new_settings_file(out)
    atlas = _Keys(config_atlas.name, read_published(config_atlas))
    name, block = data_section(read_published(config_data), atlas.content, dataset)
    data = _Keys(config_data.name, block)
    atlas.read("config_data", default=None)
    start = Path() if root is None else root
    remarks = [_PATHS] if root is None else []
    settings: dict[str, Any] = {"name": str(name), "reference_compat": not recommended, "attribution": [CITATION]}
    settings["data"] = _volumes(data, start, out, remarks)
    settings["data"] |= {"subjects": atlas.whole("n_subjects", "train"), "mask": atlas.read("mask_reconstruction")}
    settings["data"]["conditions"] = _conditions(data, remarks)
    if not recommended:
        _add_published_recipe(settings, data, atlas, remarks)
    folder = start / atlas.text("output_dir") / str(name)
    settings["train"] = {"out": folder.as_posix(), "steps": 1, "seed": atlas.read("seed")} | _logging(atlas, remarks)
    settings |= _validation(atlas)
    try:
        config = from_mapping(AtlasTrainConfig, settings)
        labels = LabelTable.from_names(data.words("label_names"))
    except InputError as error:
        problem = f"{data.file} and {atlas.file} make no settings: {error.problem}"
        raise InputError(problem, "Correct the published files.", code="value-invalid") from error
    ids = block["subject_ids"]
    splits = {split: data.words("subject_ids", split) for split in ids} if isinstance(ids, dict) else None
    if splits is not None:  # their file is not written yet
        config = replace(config, data=replace(config.data, splits=None, include=tuple(splits.get("train", ()))))
    points = OptimiserConfig().points if recommended else atlas.whole("n_samples")
    epochs = atlas.whole("epochs", "train")
    steps = _steps(config, epochs, points, points_per_subject, remarks, progress)
    settings["train"]["steps"] = steps
    _tell_interval(atlas, steps // epochs, remarks)
    reasons = _NO_COUNTERPART | (_OWN_DEFAULTS if recommended else {})
    left_out = tuple((key, value, reason_for(key, reasons)) for keys in (data, atlas) for key, value in keys.rest())
    translation = AtlasTranslation(settings, tuple(remarks), left_out, str(name), labels, splits)
    return translation, _write(translation, out, (config_data, config_atlas), recommended=recommended)


_PATHS = "Relative paths start in the current folder, so train in the folder that the published program ran in."


class _Keys:
    """The settings of one published file; remembers which were read."""

    def __init__(self, file: str, content: Mapping[str, Any]) -> None:
        self.file = file
        self.content = content
        self._read: set[tuple[str, ...]] = set()

    def read(self, *key: str, default: Any = _NEEDED) -> Any:
        value: Any = self.content
        for name in key:
            if not isinstance(value, dict) or name not in value:
                if default is not _NEEDED:
                    return default
                raise InputError(
                    f"{self.file} has no '{'.'.join(key)}'.",
                    "Give the published program's own file.",
                    code="value-missing",
                )
            value = value[name]
        self._read.add(key)
        return value

    def number(self, *key: str) -> float:
        value = self.read(*key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.wrong(key, "a number")
        return float(value)

    def whole(self, *key: str) -> int:
        value = self.read(*key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.wrong(key, "a whole number from 1")
        return value

    def offered(self, kind: type, *key: str) -> Any:
        """Return a setting that is there and of a kind (float: any number); else None, and it counts as unread."""
        value: Any = self.content
        for name in key:
            value = value.get(name) if isinstance(value, dict) else None
        if type(value) not in ((int, float) if kind is float else (kind,)):
            return None
        self._read.add(key)
        return value

    def text(self, *key: str) -> str:
        value = self.read(*key)
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "text")
        return value

    def words(self, *key: str) -> list[str]:
        value = self.read(*key)
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise self.wrong(key, "a list of names")
        return value

    def group(self, *key: str) -> Mapping[str, Any]:
        """Return the settings below a key, without marking them as read."""
        value = self.content
        for name in key:
            value = value.get(name) or {}
            if not isinstance(value, dict) or not all(isinstance(inner, str) for inner in value):
                raise self.wrong(key, "a group of settings by name")
        return value

    def wrong(self, key: Sequence[str], expected: str) -> InputError:
        value: Any = self.content
        for name in key:
            value = value.get(name) if isinstance(value, dict) else None
        return InputError(
            f"'{'.'.join(key)}' of {self.file} is {shown(value)}; it must be {expected}.",
            "Correct it in that file.",
            code="value-invalid",
        )

    def rest(self) -> Iterator[tuple[str, Any]]:
        """Yield what was not read, as dotted key and value."""
        waiting: list[tuple[tuple[str, ...], Any]] = [((), self.content)]
        while waiting:
            key, value = waiting.pop(0)
            if key in self._read:
                continue
            if isinstance(value, dict) and value:
                waiting[:0] = [((*key, str(name)), inner) for name, inner in value.items()]
            else:
                yield ".".join(key), value


def _volumes(data: _Keys, start: Path, out: Path, remarks: list[str]) -> dict[str, Any]:
    """Return what is the same however it is trained: which volumes of which subjects."""
    *modalities, segmentation = data.words("modalities") or [""]
    if not modalities or "Seg" not in segmentation:
        raise data.wrong(("modalities",), "images and, last, a segmentation with 'Seg' in its name")
    section: dict[str, Any] = {
        "table": (start / data.text("tsv_file")).as_posix(),
        "root": start.as_posix(),
        "modalities": modalities,
        "segmentation": segmentation,
        "labels": beside(out, "labels.tsv").as_posix(),
        "splits": beside(out, "subject_ids.yaml").as_posix(),
        "split": "train",
        "constraints": _constraints(data, remarks),
        "age": AGE,
        "age_unit": "weeks",
    }
    dataset = data.text("dataset_name")
    if not isinstance(data.read("subject_ids"), dict):
        section["splits"] = f"{(start / data.text('subject_ids')).as_posix()}#{dataset}"
    if BACKGROUND in data.words("label_names"):
        section["background"] = BACKGROUND
    return section


def _constraints(data: _Keys, remarks: list[str]) -> dict[str, Any]:
    constraints = {}
    for column in data.group("constraints"):
        constraint = dict(data.group("constraints", column))
        data.read("constraints", column)
        spread = constraint.get("distribution")
        if spread is not None and not (isinstance(spread, dict) and "priority" in spread):
            del constraint["distribution"]
            remarks.append(f"The distribution of {plain(column)} has no priority, so the published program ignores it.")
        constraints[column] = constraint
    return constraints


def _conditions(data: _Keys, remarks: list[str]) -> dict[str, Any]:
    conditions: dict[str, Any] = {}
    for name in data.group("conditions"):
        used = data.read("conditions", name)
        if not isinstance(used, bool):
            raise data.wrong(("conditions", name), "true or false")
        if used and name == AGE:
            remarks.append(f"{AGE} is true, but no condition here: the age of an atlas lies in the latents alone.")
        elif used:
            constraint = data.group("constraints", name)
            if not constraint:
                raise data.wrong(("constraints", name), "given, because a condition takes its range from there")
            if constraint.get("type") == "categoric":
                conditions[name] = {"kind": "categoric", "values": data.words("constraints", name, "values")}
            else:
                low, high = (data.number("constraints", name, end) for end in ("min", "max"))
                conditions[name] = {"minimum": low, "maximum": high}
    return conditions


def _add_published_recipe(settings: dict[str, Any], data: _Keys, atlas: _Keys, remarks: list[str]) -> None:
    """Add network, optimiser and preparation as the published program has them."""
    settings["data"] |= {"normalisation": data.read("normalize_values"), "box": data.read("world_bbox")}
    scale = atlas.number("atlas_gen", "cond_scale")
    for condition in settings["data"]["conditions"].values():
        condition["scale"] = scale
    settings["network"] = _network(data, atlas)
    settings["optimiser"] = _optimiser(data, atlas, remarks)
    settings |= _augmentation(atlas, remarks)
    settings["bandwidth"] = atlas.number("atlas_gen", "gaussian_span") / 2
    remarks.append("A step samples as many points of each subject; the published one samples more of a larger brain.")


def _network(data: _Keys, atlas: _Keys) -> dict[str, Any]:
    try:
        shape = shape_from_config(atlas.content, {"conditions": data.group("conditions")})
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        problem = f"'inr_decoder' of {atlas.file} describes no network ({type(error).__name__}: {error})."
        raise InputError(problem, "Give the published program's own file.", code="file-type") from error
    for name in ("latent_dim", "cnn_kernel_size", "hidden_size", "num_hidden_layers", "modulated_layers", "omega"):
        atlas.read("inr_decoder", name)
    if atlas.read("inr_decoder", "in_dim", default=3) != 3:
        raise atlas.wrong(("inr_decoder", "in_dim"), "3, because an atlas has three dimensions")
    return {
        "latent_channels": shape.latent_channels,
        "latent_grid": list(shape.latent_grid),
        "latent_kernel": shape.latent_kernel,
        "hidden": shape.hidden,
        "layers": shape.layers,
        "modulated": list(shape.modulated),
        "omega": list(shape.omega),
        "centred": False,
    }


def _optimiser(data: _Keys, atlas: _Keys, remarks: list[str]) -> dict[str, Any]:
    columns = atlas.read("inr_decoder", "tf_dim")
    # The program makes up to six parameters into six.
    kinds = {0: "none", **dict.fromkeys(range(1, 6), "rigid"), **TRANSFORM_KINDS}
    if isinstance(columns, bool) or not isinstance(columns, int) or columns not in kinds:
        raise atlas.wrong(("inr_decoder", "tf_dim"), "0, 6, 9 or 12")
    loss = atlas.read("optimizer", "loss_metric")
    section: dict[str, Any] = {
        "points": atlas.whole("n_samples"),
        "subjects_per_step": atlas.whole("batch_size"),
        "outside": 0.0,
        "rate": atlas.number("optimizer", "lr_inr"),
        "latent_rate": atlas.number("optimizer", "lr_latent"),
        "transform_rate": atlas.number("optimizer", "lr_tf"),
        "weight_decay": atlas.number("optimizer", "inr_weight_decay"),
        "latent_decay": atlas.number("optimizer", "latent_weight_decay"),
        "transform_decay": atlas.number("optimizer", "tf_weight_decay"),
        "loss": "mse" if loss == "mse" else "l1",
        "segmentation_weight": atlas.number("optimizer", "seg_weight"),
        "transform_weight": atlas.number("optimizer", "tf_weight"),
        "transform": kinds[columns],
    }
    return section | _schedule(atlas, remarks) | _class_weights(data)


def _schedule(atlas: _Keys, remarks: list[str]) -> dict[str, Any]:
    kind = atlas.read("optimizer", "scheduler", "type")
    last = atlas.read("optimizer", "scheduler", "eta_min", default=0.0)
    if kind != "cosine":
        return {"schedule": "constant"}
    if atlas.whole("epochs", "train") == 1:
        remarks.append("With one epoch the published rates never fall: they change from epoch to epoch only.")
        return {"schedule": "constant"}
    last = 0.0 if last == 0 else atlas.number("optimizer", "scheduler", "eta_min")
    first = atlas.number("optimizer", "lr_latent")
    remarks.append("All rates fall to one share of their start, that of the latents, and at every step, not epoch.")
    return {"schedule": "cosine", "floor": min(1.0, round(last / first, 6)) if first > 0 else 1.0}


def _class_weights(data: _Keys) -> dict[str, Any]:
    """Return the weights that are not 1, by the name of the label."""
    weights, names = data.read("class_weights", default=None), data.words("label_names")
    if weights is None:
        return {}
    if not isinstance(weights, list) or len(weights) != len(names):
        raise data.wrong(("class_weights",), f"a list of {len(names)} numbers, one for each of label_names")
    return {"class_weights": {name: weight for name, weight in zip(names, weights, strict=True) if weight != 1}}


def _augmentation(atlas: _Keys, remarks: list[str]) -> dict[str, Any]:
    """Return the section of what is changed at random; empty where the published program changes nothing."""
    if atlas.offered(bool, "data_augmentation", "activate") is not True:
        if isinstance(atlas.content.get("data_augmentation"), dict):
            atlas.read("data_augmentation")  # off, as here
        return {}
    section: dict[str, Any] = {}
    for kind, names in _AUGMENTATION.items():
        group = "augment_biasfield" if kind == "bias" else f"augment_{kind}"
        settings = {ours: atlas.offered(float, "data_augmentation", group, theirs) for ours, theirs in names.items()}
        section[kind] = {ours: value for ours, value in settings.items() if value is not None}
    remarks.append("Augmentation changes the points of a step, not volumes; noise is off until its size is given.")
    return {"augmentation": section}


def _validation(atlas: _Keys) -> dict[str, Any]:
    """Return how much a validation does; when it is due is left to the person, who knows whom to leave out."""
    section: dict[str, Any] = {}
    if (atlas.offered(int, "n_subjects", "val") or 0) > 0:
        section["most"] = atlas.read("n_subjects", "val")
    if (volumes := atlas.offered(bool, "save_imgs", "val")) is not None:
        section["volumes"] = volumes
    return {"validation": section} if section else {}


def _tell_interval(atlas: _Keys, epoch: int, remarks: list[str]) -> None:
    """Say how many steps lie between two published validations; ``epoch`` is the steps of one."""
    every = atlas.offered(int, "validate_every") or 0
    if every > 0:
        remarks.append(
            f"Nothing is validated until you give validation.every, and data.splits has a split val: every {every}"
            f" epoch(s), as published, is {every * epoch} steps."
        )


def _logging(atlas: _Keys, remarks: list[str]) -> dict[str, Any]:
    """Return the Weights & Biases project as the trainer has it; empty where the published program logs nothing."""
    if not atlas.offered(bool, "logging"):
        return {}
    project = atlas.offered(str, "project_name")
    if not project or not project.strip():
        return {}
    remarks.append(f"Metrics go to the Weights & Biases project {plain(project)} too: pip install neurogen[wandb].")
    return {"wandb": project}


def _steps(
    config: AtlasTrainConfig, epochs: int, points: int, each: int | None, remarks: list[str], progress: Progress
) -> int:
    """Return the length of the run, and add a remark on how it was found."""
    count, how = config.data.subjects or 1, "as given"
    if each is None:
        try:
            count, each = measured_points(config, progress)
            how = "measured"
        except InputError as error:
            each = USUAL_POINTS
            how = f"an estimate, 250 ml in voxels of 0.5 mm, because they could not be measured: {plain(error.problem)}"
    steps = epochs * math.ceil(count * each / points)
    remarks.append(
        f"train.steps is {epochs} epoch(s) x {count} subjects x {each} points each / {points} points of a step; "
        f"the points of a subject are {how.rstrip('.')}."
    )
    return steps


def measured_points(config: AtlasTrainConfig, progress: Progress = SILENT) -> tuple[int, int]:
    """Return how many subjects would be trained on, and the mean points of up to four of them.

    Raises
    ------
    InputError
        When the table, an id or a file is missing, or a label map unusable.
    """
    from NeuroGenLib.atlas.data.dataset import select_cohort

    data = config.data
    cohort = select_cohort(data, reference_compat=config.reference_compat)
    chosen = np.unique(np.linspace(0, len(cohort) - 1, MEASURED_SUBJECTS).round().astype(int))
    counts = []
    for index in progress.track(chosen.tolist(), "counting points"):
        subject = cohort.subjects[index]
        named = f"The {data.segmentation} of {subject.key}"
        brain = as_label_map(Volume.load(subject.paths[data.segmentation]), named).array > 0
        counts.append(int((halo_as_published(brain) if data.mask else brain).sum()))
    return len(cohort), max(1, round(sum(counts) / len(counts)))


def _write(translation: AtlasTranslation, out: Path, sources: tuple[Path, Path], *, recommended: bool) -> list[Path]:
    what = "on its data with NeuroGen's own defaults" if recommended else "as the published program does"
    head = [
        f"Made by 'neurogen atlas import-config' from {' and '.join(plain(path.name) for path in sources)},",
        f"data set {plain(translation.dataset)}: trains an atlas {what}.",
        "Start it with: neurogen atlas train --config THIS_FILE",
    ]
    with staged_outputs(out.parent) as staging:
        parameters = {"dataset": translation.dataset, "recommended": recommended}
        translation.write(staging / out.name, head, "atlas import-config", parameters, sources)
        translation.labels.to_tsv(staging / beside(out, "labels.tsv").name)
        if translation.splits is not None:
            write_text(staging / beside(out, "subject_ids.yaml").name, as_yaml(translation.splits))
        return [out.parent / path.name for path in sorted(staging.iterdir())]
