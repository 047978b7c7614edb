"""Make a small cohort to try the training with: eighteen heads drawn from the bundled atlas.

python training/example_cohort.py --out runs/tutorial/cohort

The heads have several ages and ventricle sizes and are stored the way different scanners store them: turned, in other
orders of the axes, with other voxel sizes and gains. Beside the volumes lie what a training needs: participants.tsv,
labels.tsv and splits.yaml. docs/tutorial_atlas.md goes on from here.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from NeuroGenLib.cli import run_safely
from NeuroGenLib.commands.options import add_report_options, make_parser, make_progress
from NeuroGenLib.commands.shared import print_written
from NeuroGenLib.core.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.spatial.volume import Volume

SOURCE = "bundled:fetal-sba"
DRAWN_MM = 2.0
MARGIN_MM = 8.0
NOISE = 0.01
"""Standard deviation of the noise in the brain, as a share of the scanner's gain."""


@dataclass(frozen=True)
class Scanner:
    """How a scanner stores a head.

    Attributes
    ----------
    name:
        As it stands in the table.
    axcodes:
        Where i, j, k grow to.
    spacing:
        Voxel size in mm along world x, y, z of the untilted head.
    tilt:
        Rotation vector of the head, in degrees about world x, y, z; the slices are tilted with it.
    gain:
        Stored value of the model's intensity 1.
    """

    name: str
    axcodes: str
    spacing: tuple[float, float, float]
    tilt: tuple[float, float, float]
    gain: float


@dataclass(frozen=True)
class Head:
    """One subject: age in weeks, ventricles as a share of the brain, how it is stored, and its split."""

    id: str
    age: float
    ventricles: float
    scanner: Scanner
    split: str


SCANNERS = (
    Scanner("north", "LPS", (2.0, 2.0, 2.0), (0, 0, 0), 900),
    Scanner("east", "RAS", (2.0, 2.0, 3.0), (8, -4, 6), 1400),
    Scanner("south", "ASL", (3.0, 2.2, 2.2), (-6, 5, -10), 400),
)
_AGES_AND_VENTRICLES = (
    *((22.2, 0.15), (22.9, 0.19), (24.2, 0.21), (25.1, 0.17), (26.3, 0.14), (27.2, 0.18), (28.3, 0.11), (29.1, 0.15)),
    *((30.2, 0.15), (30.6, 0.11), (31.0, 0.13), (31.5, 0.16), (32.4, 0.12), (33.3, 0.15)),
    *((25.6, 0.19), (31.8, 0.14), (27.6, 0.13), (29.6, 0.12)),
)
_SPLITS = ("train",) * 14 + ("val",) * 3 + ("test",)
HEADS = tuple(
    Head(f"sub-{number:02d}", age, ventricles, SCANNERS[number % len(SCANNERS)], split)
    for number, ((age, ventricles), split) in enumerate(zip(_AGES_AND_VENTRICLES, _SPLITS, strict=True), start=1)
)


def main() -> None:
    """Read the options, write the cohort, say what is there."""
    parser = make_parser(
        "example cohort", __doc__ or "", ("python training/example_cohort.py --out runs/tutorial/cohort",)
    )
    parser.prog = "example_cohort.py"
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write into")
    add_report_options(parser)
    options = parser.parse(sys.argv[1:])

    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.core.provenance import RESEARCH_USE
    from NeuroGenLib.models import open_model

    started = time.monotonic()
    progress = make_progress(options.progress)
    model = open_model(SOURCE, AtlasModel, device="cpu")
    files = write_cohort(model, HEADS, Path(options.out), progress)
    progress.close()
    if options.json:
        print_written(options.out, files, started, notice=model.notice)
        return
    print(
        f"{len(HEADS)} heads, {len(files)} files, in {options.out}: participants.tsv lists them, cohort.png shows them."
    )
    print(f"Drawn from {SOURCE}. {model.notice} {RESEARCH_USE}")


def write_cohort(model: AtlasModel, heads: Sequence[Head], out: Path, progress: Progress = SILENT) -> list[Path]:
    """Draw the heads and write them, with table, label table, splits, picture and provenance, all or nothing.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    InputError
        When ``out`` is a file.
    Cancelled
        When it was cancelled; nothing is written.
    """
    from NeuroGenLib.core import provenance
    from NeuroGenLib.core.files import staged_outputs, write_json, write_text
    from NeuroGenLib.core.reports import save_figure, write_table

    with staged_outputs(out) as staging:
        images, rows = [], []
        for number, head in enumerate(progress.track(heads, "drawing heads")):
            image, labels = stored_head(model, head, seed=number)
            names = {"T2w": f"{head.id}_T2w.nii.gz", "Seg": f"{head.id}_Seg.nii.gz"}
            image.save(staging / names["T2w"])
            labels.save(staging / names["Seg"])
            images.append(image)
            values = {"scan_age": head.age, "lv_volume_normed": head.ventricles, "scanner": head.scanner.name}
            rows.append({"participant_id": head.id, **values, **names})
        write_table(staging / "participants.tsv", rows)
        write_json(staging / "participants.json", {"scan_age": {"Description": "gestational age", "Units": "weeks"}})
        model.labels.to_tsv(staging / "labels.tsv")
        write_text(staging / "splits.yaml", splits_text(heads))
        save_figure(staging / "cohort", cohort_figure(heads, images))
        folder = model.folder
        record = provenance.record(
            "example cohort",
            model={"reference": folder.reference, "weights": folder.manifest["files"]},
            parameters={"drawn_mm": DRAWN_MM, "noise": NOISE, "seeds": [0, len(heads) - 1]},
            shows=model.notice,
            citation=folder.manifest.get("citation", []),
        )
        write_json(staging / "provenance.json", record)
        return [out / path.name for path in sorted(staging.iterdir())]


def stored_head(model: AtlasModel, head: Head, seed: int) -> tuple[Volume, Volume]:
    """Return a head's image (int16) and label map as its scanner stores them, zero outside the brain.

    Both lie on one grid, 8 mm wider than the brain on every side, in RAS mm around the atlas centre. ``seed`` draws
    the noise.
    """
    from scipy.spatial.transform import Rotation

    from NeuroGenLib.spatial.volume import Volume

    scanner = head.scanner
    brain = model.generate(head.age, {"lv_volume_normed": head.ventricles}, DRAWN_MM)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec(scanner.tilt, degrees=True).as_matrix()

    def stored(volume: Volume, order: int) -> Volume:
        turned = Volume(volume.array, turn @ volume.affine)
        return turned.resample(scanner.spacing, order=order).reorient(scanner.axcodes)

    labels = stored(brain.labels, 0)
    image = stored(brain.image, 1)
    noise = np.random.default_rng(seed).normal(0, NOISE, image.shape)
    values = np.where(labels.array > 0, scanner.gain * (image.array + noise).clip(0), 0)
    image = image.with_array(np.rint(values).astype(np.int16))
    return image.crop_to(labels, MARGIN_MM), labels.crop_to(labels, MARGIN_MM)


def splits_text(heads: Sequence[Head]) -> str:
    """Return the YAML text that lists the ids of every split."""
    lines = [
        f"{split}: [{', '.join(head.id for head in heads if head.split == split)}]"
        for split in dict.fromkeys(head.split for head in heads)
    ]
    return "\n".join(lines) + "\n"


def cohort_figure(heads: Sequence[Head], images: Sequence[Volume]) -> Figure:
    """Draw the middle slice (along k) of every volume as it is stored, whatever way up, all to one scale."""
    from matplotlib.figure import Figure

    across = min(len(heads), 9)
    down = -(-len(heads) // across)
    figure = Figure(figsize=(1.25 * across, 1.85 * down), facecolor="black", layout="constrained")
    axes = np.atleast_1d(figure.subplots(down, across)).ravel()
    reach = max(max(np.multiply(image.shape, image.spacing)[:2]) for image in images) / 2
    for axis, head, image in zip(axes, heads, images, strict=False):
        right, top = np.multiply(image.shape, image.spacing)[:2] / 2
        stored = image.array[:, :, image.shape[2] // 2].T
        axis.imshow(stored, origin="lower", cmap="gray", extent=(-right, right, -top, top))
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
        axis.set_title(f"{head.id}\n{head.age:g} weeks", color="white", fontsize=7)
        axis.set_xlabel(f"{head.scanner.name}, {head.split}", color="0.7", fontsize=7)
        axis.set_facecolor("black")
        axis.spines[:].set_visible(False)
    for axis in axes[len(heads) :]:
        axis.set_axis_off()
    return figure


if __name__ == "__main__":
    sys.exit(run_safely(main))
