"""Measure a trained brain mask on heads that it was not trained on, and put it into Resources/models.

python training/bundle_mask.py --model runs/mask/model --maps data/adult_labels \
    --ids label_13 label_14 label_15 label_16 --name brain-mask \
    --command "python training/train_mask.py --config ..." --config-file training/configs/mask/bundled.yaml

The images are generated from the label maps at the maps' own resolution, then stored, turned, cropped and sliced in
several ways; the masks are compared with the maps on each image's own voxels.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from bundling import bundle, bundle_parser

from NeuroGenLib.cli import run_safely
from NeuroGenLib.cohort.scans import read_cohort
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.progress import TerminalProgress
from NeuroGenLib.core.reports import markdown_table
from NeuroGenLib.mask.card import model_card
from NeuroGenLib.mask.data import brain_of
from NeuroGenLib.mask.infer import MaskModel
from NeuroGenLib.models import ModelFolder
from NeuroGenLib.registration.evaluation.measures import hausdorff95
from NeuroGenLib.simulate.contrast import ContrastConfig, random_image
from NeuroGenLib.simulate.tissues import freesurfer_tissues
from NeuroGenLib.spatial.labels import as_label_map
from NeuroGenLib.spatial.metrics import mean_dice
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.training.random_streams import step_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KINDS = ("t1w", "t2w", "random")
TURN_DEGREES = 25.0


def main() -> None:
    """Read the model and the maps, measure, write the bundled model."""
    parser = bundle_parser(__doc__ or "")
    parser.add_argument("--maps", required=True, metavar="DIR", help="label maps of heads")
    parser.add_argument("--ids", required=True, nargs="+", help="maps that it was not trained on")
    parser.add_argument("--remark", default="", help="what else the card must say of the numbers")
    options = parser.parse(sys.argv[1:])
    folder = ModelFolder.read(options.model)
    model = MaskModel.from_folder(folder, torch.device("cpu"))
    rows, seconds = measured(model, Path(options.maps), options.ids)
    text = (
        f"Generated images of {len(options.ids)} held-out heads, means. A mask of a scan of 256 x 256 x 256"
        f" voxels took {seconds:.1f} s with {torch.get_num_threads()} thread(s) of a CPU. {options.remark}"
    )
    bundle(folder, options, {"left_out": {"text": text.rstrip(), "table": markdown_table(rows)}}, model_card)


def measured(model: MaskModel, maps: Path, ids: Sequence[str]) -> tuple[list[dict[str, Any]], float]:
    """Return a row for each contrast and way of scanning, and the seconds that an image as it is took."""
    cohort = read_cohort(maps, None, None, ids, ())
    scores: dict[tuple[str, str], list[tuple[float, float]]] = {}
    times = []
    progress = TerminalProgress()
    jobs = [(number, subject, kind) for number, subject in enumerate(cohort.subjects) for kind in KINDS]
    for number, subject, kind in progress.track(jobs, "measuring"):
        (path,) = subject.paths.values()
        labels = as_label_map(Volume.load(path), str(path)).reorient("RAS")
        truth = labels.with_array(brain_of(labels, str(path)).astype(np.uint8))
        image = _image(labels, kind, 3 * number + KINDS.index(kind))
        for name, change in SCANS.items():
            scan, truth_mask = change(image, 1), change(truth, 0)
            started = time.perf_counter()
            mask = _mask(model, scan)
            if name == "1 mm":
                times.append(time.perf_counter() - started)
            pair = (
                mean_dice(mask.array, truth_mask.array) if mask.array.any() else 0.0,
                hausdorff95(mask.array, truth_mask.array, mask.spacing),
            )
            scores.setdefault((kind, name), []).append(pair)
    rows: list[dict[str, Any]] = []
    for (kind, name), pairs in scores.items():
        dice, distance = np.mean(pairs, axis=0)
        least = min(score for score, _ in pairs)
        rows.append(
            {
                "contrast": kind,
                "scan": name,
                "Dice": f"{dice:.3f}",
                "lowest Dice": f"{least:.3f}",
                "HD95 (mm)": f"{distance:.1f}",
            }
        )
    progress.close()
    return rows, float(np.median(times))


def _mask(model: MaskModel, scan: Volume) -> Volume:
    """Return the mask, empty where no brain is found."""
    try:
        return model.find(scan).mask
    except InputError:
        return scan.with_array(np.zeros(scan.shape, np.uint8))


def _image(labels: Volume, kind: Any, seed: int) -> Volume:
    # Air is dark on T1w and T2w.
    background = 0.1 if kind == "random" else 0.0
    config = ContrastConfig(kind=kind, stripped=0.0, thick=0.0, blur=(0.5, 1.2), background=background)
    values = torch.from_numpy(labels.array.astype(np.int32))
    image = random_image(values, step_generator(seed, 0, purpose="card"), config, freesurfer_tissues())
    return labels.with_array(image[0].numpy())


def _turned(volume: Volume, order: int) -> Volume:
    """Return the same head in the same place, on a grid turned about the axis (1, 1, 1)."""
    angle = np.deg2rad(TURN_DEGREES)
    axis = np.full(3, 3**-0.5)
    cross = np.cross(np.eye(3), axis)
    turn = np.eye(4)
    turn[:3, :3] = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
    turn[:3, 3] = volume.centre - turn[:3, :3] @ volume.centre
    return volume.resample(like=(volume.shape, turn @ volume.affine), order=order)


SCANS: dict[str, Callable[[Volume, int], Volume]] = {
    "1 mm": lambda volume, order: volume,  # noqa: ARG005
    "1 mm, stored as PIL": lambda volume, order: volume.reorient("PIL"),  # noqa: ARG005
    f"1 mm, turned by {TURN_DEGREES:g} degrees": _turned,
    "slices of 5 mm": lambda volume, order: volume.resample(spacing=(1, 1, 5), order=order),
}

if __name__ == "__main__":
    sys.exit(run_safely(main))
