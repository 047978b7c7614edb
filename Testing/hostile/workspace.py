"""A folder of good inputs for every command: a tiny cohort, its settings, a trained atlas, a foreign checkpoint."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np

from NeuroGenLib.core.resources import resource
from Testing.drawn_head import write_coarse_head
from Testing.geometry import Phantom, a_brain_phantom
from Testing.kept import kept
from Testing.registration_pairs import a_tiny_model
from Testing.sitreg_run import write_sitreg_run
from Testing.superres_models import write_residual_model

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ROWS = (
    ("sub-01", 24.0, 0.11, "F"),
    ("sub-02", 27.0, 0.20, "M"),
    ("sub-03", 30.0, 0.14, "M"),
    ("sub-04", 33.0, 0.17, "F"),
)
"""Id, weeks, relative ventricle volume, sex."""

SPACING_MM = 5.0

SETTINGS = """\
name: tiny
notice: It shows ellipsoids.
license: CC0-1.0
store_ids: true
attribution: ["Doe J. A tiny atlas. 2024."]
data:
  age: scan_age
  conditions:
    lv_volume_normed: {unit: ventricles / brain, minimum: 0.10, maximum: 0.23}
    sex: {kind: categoric}
network: {latent_channels: 4, latent_grid: [2, 2, 2], hidden: 24, layers: 2, modulated: [1], omega: [10, 10]}
optimiser: {points: 1200, rate: 0.005, latent_rate: 0.01}
train: {steps: 80, seed: 1, threads: 1, log_every: 1, checkpoint_steps: 20, device: cpu}
"""

PUBLISHED_ATLAS = """\
config_data: tiny
inr_decoder:
  latent_dim: [4, 2, 2, 2]
  out_dim: [1, 3]
  cnn_kernel_size: 0
  hidden_size: 8
  num_hidden_layers: 2
  modulated_layers: [1]
  omega: [30, 30]
  tf_dim: 6
atlas_gen: {cond_scale: 0.5, gaussian_span: 2.0}
mask_reconstruction: true
"""

PUBLISHED_DATA = """\
tiny:
  dataset_name: tiny
  label_names: [BG, brain, csf]
  modalities: [T2w, Seg]
  normalize_values: percentile
  world_bbox: [60.0, 70.0, 50.0]
  conditions: {scan_age: false, lv_volume_normed: true}
  constraints:
    lv_volume_normed: {min: 0.1, max: 0.23}
"""


RECIPE_DATA = """\
tiny:
  dataset_name: tiny
  subject_ids: ./configs/subject_ids.yaml
  tsv_file: ./configs/people.tsv
  modalities: [T2w, Seg]
  conditions: {scan_age: false, lv_volume_normed: true}
  constraints:
    scan_age: {type: numeric, min: 20, max: 40, distribution: {type: uniform_fillup, priority: 1}}
    lv_volume_normed: {type: numeric, min: 0.1, max: 0.23}
  label_names: [Clear, brain, BG]
  class_weights: [0.0, 1.0, 1.0]
  world_bbox: [60, 70, 50]
  normalize_values: minmax
"""

RECIPE_ATLAS = """\
config_data: tiny
output_dir: ./tmp
device: cuda
seed: 42
mask_reconstruction: True
optimizer:
  lr_inr: 1.0e-4
  inr_weight_decay: 0.0
  lr_latent: 5.0e-4
  latent_weight_decay: 0.0
  lr_tf: 7.5e-3
  tf_weight_decay: 0.0
  tf_weight: 0.0
  loss_metric: l1
  seg_weight: 1.0
  scheduler: {type: cosine, eta_min: 2.5e-5}
inr_decoder:
  tf_dim: 6
  cnn_kernel_size: 0
  latent_dim: [4, 2, 2, 2]
  in_dim: 3
  out_dim: [1, 3]
  hidden_size: 8
  num_hidden_layers: 2
  modulated_layers: [1]
  omega: [30, 30]
atlas_gen: {gaussian_span: 1.0, cond_scale: 0.1}
n_subjects: {train: 4, val: 2}
epochs: {train: 2, val: 1}
batch_size: 250
n_samples: 500
"""

HELPERS = (
    *(
        f"Testing/{name}.py"
        for name in ("drawn_head", "geometry", "registration_pairs", "sitreg_run", "superres_models")
    ),
    "Testing/hostile/workspace.py",
)
"""The modules of the tests that make it."""

FRAMES = "ga=24-28_cond=0_ep=1.nii.gz"
"""How the names of the published atlas's 4-D files end."""


@dataclass(frozen=True)
class Workspace:
    """Where the good inputs lie; every command is run inside :attr:`folder`."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def table(self) -> Path:
        return self.folder / "cohort" / "participants.tsv"

    @property
    def labels(self) -> Path:
        return self.folder / "labels.tsv"

    @property
    def config(self) -> Path:
        return self.folder / "settings.yaml"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint_epoch_5.pth"

    @property
    def published_config(self) -> Path:
        return self.folder / "config_data.yaml"

    @property
    def published(self) -> Path:
        """What the published program reads and writes: settings, and an atlas as 4-D files."""
        return self.folder / "published"

    @property
    def sitreg(self) -> Path:
        """A run of the published registration program: settings and checkpoint."""
        return self.folder / "sitreg"

    @property
    def registration(self) -> Path:
        """A tiny registration network."""
        return self.folder / "registration"

    @property
    def superres(self) -> Path:
        """A tiny super-resolution network."""
        return self.folder / "superres"

    @property
    def pairs(self) -> Path:
        """A table of one pair to register, with label maps."""
        return self.folder / "pairs.tsv"

    @property
    def transform(self) -> Path:
        """A transform that deforms, with its inverse beside it."""
        return self.folder / "transforms" / "forward.h5"

    @property
    def head(self) -> Path:
        """A scan of a whole head."""
        return self.folder / "head.nii.gz"

    @property
    def points(self) -> Path:
        """Points of a scan."""
        return self.folder / "points.tsv"

    @property
    def brain(self) -> Path:
        """The second subject's image, zero outside the brain."""
        return self.folder / "brain.nii.gz"

    @property
    def splits(self) -> Path:
        return self.folder / "splits.yaml"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def image(self, subject: str = "sub-02", column: str = "T2w") -> Path:
        return self.table.parent / f"{subject}_{column}.nii.gz"

    def copied(self, folder: Path) -> Workspace:
        """Return a copy that may be spoiled."""
        shutil.copytree(self.folder, folder)
        return Workspace(folder)

    def snapshot(self) -> dict[str, tuple[str, int]]:
        """Return content and time of change of every file, and the name of every folder."""
        return {
            path.relative_to(self.folder).as_posix(): (
                (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) if path.is_file() else ("", 0)
            )
            for path in self.folder.rglob("*")
        }


def write_good_inputs(folder: Path) -> Workspace:
    """Write everything but the trained model."""
    made = Workspace(folder)
    made.table.parent.mkdir(parents=True)
    write_coarse_head(made.head)
    phantom = a_brain_phantom((16, 18, 14), SPACING_MM)
    for number, (subject, *_) in enumerate(ROWS):
        write_subject(made, subject, grown(phantom, 0.85 + 0.05 * number))
    brain = voxels(made.image()) * (voxels(made.image(column="Seg")) > 0)
    nibabel.save(nibabel.Nifti1Image(brain, nibabel.load(made.image()).affine), made.brain)
    made.splits.write_text("train: [sub-01, sub-03, sub-04]\nval: [sub-02]\n", encoding="utf-8")
    header = "participant_id\tT2w\tSeg\tscan_age\tlv_volume_normed\tsex\n"
    rows = [f"{name}\t{name}_T2w.nii.gz\t{name}_Seg.nii.gz\t{age}\t{lv}\t{sex}\n" for name, age, lv, sex in ROWS]
    made.table.write_text(header + "".join(rows), encoding="utf-8")
    shutil.copyfile(resource("labels/fetal-tissues.tsv"), made.labels)
    made.config.write_text(SETTINGS, encoding="utf-8")
    made.published_config.write_text(PUBLISHED_DATA, encoding="utf-8")
    write_published_checkpoint(made.checkpoint)
    write_published_files(made.published)
    write_sitreg_run(made.sitreg)
    a_tiny_model(made.registration)
    write_residual_model(made.superres)
    files = [made.image(name, column).relative_to(folder) for column in ("T2w", "Seg") for name in ("sub-02", "sub-03")]
    cells = "\t".join(file.as_posix() for file in files)
    made.pairs.write_text(f"fixed\tmoving\tfixed_labels\tmoving_labels\n{cells}\n", encoding="utf-8")
    write_transforms(made.transform.parent)
    made.points.write_text("name\tx\ty\tz\nfz\t3\t14\t20\noz\t-2\t-31\t4\n", encoding="utf-8")
    return made


def trained(made: Workspace) -> Workspace:
    """Train the tiny atlas with the workspace's settings and put it where the commands expect it."""
    from NeuroGenLib.atlas.config import AtlasTrainConfig
    from NeuroGenLib.atlas.train import train
    from NeuroGenLib.core.config_command_line import load_config

    run = made.folder / "run"
    overrides = {"data.table": str(made.table), "data.labels": str(made.labels), "train.out": str(run)}
    train(load_config(AtlasTrainConfig, made.config, overrides))
    (run / "model").replace(made.model)
    shutil.rmtree(run)
    return made


def kept_workspace(config: pytest.Config) -> Workspace:
    """Return the good inputs with the trained atlas, shared and kept; to be copied, not changed."""
    sources = ("NeuroGenLib", "Resources/labels", *HELPERS)
    return Workspace(
        kept(config, "workspace", sources, lambda folder: trained(write_good_inputs(folder / "inputs"))) / "inputs"
    )


def grown(phantom: Phantom, factor: float) -> Phantom:
    """Return the phantom with its voxels, and so its head, scaled."""
    affine = phantom.image.affine.copy()
    affine[:3] *= factor
    return Phantom(*(type(one)(one.array, affine) for one in phantom))


def write_subject(made: Workspace, subject: str, phantom: Phantom) -> None:
    """Write image and label map; with nibabel, so that nothing rests on the code under test."""
    for column, volume in (("T2w", phantom.image), ("Seg", phantom.labels)):
        nibabel.save(nibabel.Nifti1Image(volume.array, volume.affine), made.image(subject, column))


def write_transforms(folder: Path) -> None:
    """Write a shift by some mm that is a displacement field, forward.h5, and its inverse; with SimpleITK."""
    import SimpleITK

    folder.mkdir()
    for name, sign in (("forward", 1.0), ("inverse", -1.0)):
        vectors = np.zeros((12, 12, 12, 3))
        vectors[..., 0] = 4 * sign
        field = SimpleITK.GetImageFromArray(vectors, isVector=True)
        field.SetSpacing([20.0] * 3)
        field.SetOrigin([-110.0] * 3)
        transform = SimpleITK.DisplacementFieldTransform(field)
        SimpleITK.WriteTransform(transform, str(folder / f"{name}.h5"))


def rewrite(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    """Replace the voxels (and the affine) of a NIfTI file."""
    nibabel.save(nibabel.Nifti1Image(array, nibabel.load(path).affine if affine is None else affine), path)


def voxels(path: Path) -> np.ndarray:
    """Return the voxels of a NIfTI file."""
    return np.asarray(nibabel.load(path).dataobj)


def write_published_files(folder: Path) -> None:
    """Write the published program's settings, and three frames of a head."""
    folder.mkdir()
    (folder / "data.yaml").write_text(RECIPE_DATA, encoding="utf-8")
    (folder / "atlas.yaml").write_text(RECIPE_ATLAS, encoding="utf-8")
    head = a_brain_phantom((16, 18, 14), SPACING_MM)
    frames = {
        "T2w": head.image.array / head.image.array.max(),
        "Seg": head.labels.array.astype(np.float32),
        "ventricles": (head.labels.array == 2).astype(np.float32),
    }
    for name, frame in frames.items():
        array = np.stack([frame * (0.9 if name == "T2w" else 1), frame, frame], axis=-1).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(array, np.diag([SPACING_MM] * 3 + [1.0])), folder / f"{name}_{FRAMES}")


def write_published_checkpoint(path: Path, **replaced: Any) -> None:
    """Write what the published program's ``torch.save`` writes, with ``replaced`` entries; None leaves one out."""
    import pandas as pd
    import torch
    import yaml

    from NeuroGenLib.atlas.network import AtlasDecoder, DecoderConfig

    shape = DecoderConfig(1, 3, 1, 4, (2, 2, 2), 0, 8, 2, (1,))
    names = (("layers.", "sr_net.net."), ("output.", "sr_net.final_linear."), ("modulation.", "linear_lats."))
    state = {}
    for name, value in AtlasDecoder(shape, torch.Generator().manual_seed(3)).state_dict().items():
        published = name
        for ours, theirs in names:
            published = published.replace(ours, theirs)
        state[published] = value
    frame = pd.DataFrame(ROWS, columns=["subject_id", "scan_age", "lv_volume_normed", "sex"])
    settings = yaml.safe_load(PUBLISHED_ATLAS) | {"dataset": yaml.safe_load(PUBLISHED_DATA)["tiny"]}
    content = {
        "latents": torch.zeros(len(ROWS), 4, 2, 2, 2),
        "transformations": torch.zeros(len(ROWS), 6),
        "inr_decoder": state,
        "dataset_df": frame[["subject_id", "scan_age", "lv_volume_normed"]],
        "args": settings,
        "epoch": 5,
    } | replaced
    torch.save({name: value for name, value in content.items() if value is not None}, path)
