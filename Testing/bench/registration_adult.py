"""Makes test images of adults that the bundled registration model has never seen, and the tables of pairs.

``python Testing/bench/registration_adult.py --out runs/adult`` reads four label maps of heads, which
``training/configs/registration/bundled.yaml`` leaves out, and draws a T1w and a T2w image of each. Every image is
turned, shifted, scaled and sheared on its own, without skull, 1 mm. In ``--out`` are then

- ``adult/NAME/anat``: image and label map, as ``bench_peers.py --data`` reads them;
- ``bench_pairs.tsv``: the pairs for ``bench_peers.py --pairs``, of the kinds ``adult`` (one contrast) and
  ``adult-cross`` (T1w with T2w);
- ``pairs.tsv``: these and the fetal ones of ``registration_pairs.tsv`` for ``neurogen registration evaluate``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from peers.pairs import Pair, read_pairs, scan_files

from NeuroGenLib.cohort.scans import read_cohort
from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.core.reports import write_table
from NeuroGenLib.mask.data import brain_of
from NeuroGenLib.simulate.contrast import ContrastConfig, random_image
from NeuroGenLib.simulate.tissues import CSF, freesurfer_tissues
from NeuroGenLib.spatial.labels import as_label_map
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.training.random_streams import step_generator, step_rng

if TYPE_CHECKING:
    from collections.abc import Sequence

REPOSITORY = Path(__file__).resolve().parents[2]
IDS = ("label_13", "label_14", "label_15", "label_16")
CONTRASTS = ("t1w", "t2w")
ROTATION, LOG_SCALE, SHEAR, SHIFT_MM = 15.0, 0.08, 0.03, 15.0
MARGIN_MM = 8.0
SEED = 7
UNSTEADY = {CSF, "lesion", "vessel", "choroid_plexus", "optic_chiasm"}
"""Tissues that differ from head to head, or in how they were drawn: their overlap would say nothing."""
OPTIONAL = {72}
"""The fifth ventricle, which few have."""


def main(arguments: list[str] | None = None) -> None:
    """Read the maps, draw the images, write the tables."""
    options = parser().parse_args(arguments)
    try:
        write_scans(options.maps, options.ids, options.out)
        pairs = adult_pairs(options.ids)
        rows = [vars(pair) for pair in pairs]
        write_table(options.out / "bench_pairs.tsv", rows)
        others = read_pairs(options.pairs) if options.data.is_dir() else []
        table = [row_of(pair, options.out, options.out) for pair in pairs]
        write_table(options.out / "pairs.tsv", table + [row_of(pair, options.data, options.out) for pair in others])
    except NeuroGenError as error:
        raise SystemExit(str(error)) from error
    print(f"{len(pairs)} pairs of adults and {len(others)} others are in {options.out / 'pairs.tsv'}")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    data = REPOSITORY.parent / "shared" / "data"
    parser = argparse.ArgumentParser(description="Make test images of adults.", allow_abbrev=False)
    parser.add_argument("--maps", type=Path, default=data / "adult_labels", help="folder of the label maps")
    parser.add_argument("--ids", nargs="+", default=IDS, help="maps that no model was trained on")
    parser.add_argument("--data", type=Path, default=data, help="data folder of the other pairs")
    parser.add_argument("--pairs", type=Path, default=Path(__file__).with_name("registration_pairs.tsv"))
    parser.add_argument("--out", type=Path, default=REPOSITORY / "runs" / "adult", help="folder to write into")
    return parser


def adult_pairs(ids: Sequence[str]) -> list[Pair]:
    """Return every map with the next one: in one contrast by turns, and across contrasts."""
    pairs = []
    for number, (fixed, moving) in enumerate(zip(ids, [*ids[1:], ids[0]], strict=True)):
        one, other = CONTRASTS[number % 2], CONTRASTS[(number + 1) % 2]
        pairs.append(Pair("adult", f"adult/{fixed}-{one}", f"adult/{moving}-{one}"))
        pairs.append(Pair("adult-cross", f"adult/{fixed}-{one}", f"adult/{moving}-{other}"))
    return sorted(pairs, key=lambda pair: pair.kind)


def write_scans(maps: Path, ids: Sequence[str], out: Path) -> None:
    """Draw both contrasts of every map."""
    for number, subject in enumerate(read_cohort(maps, None, None, ids, ())):
        (path,) = subject.paths.values()
        head = as_label_map(Volume.load(path), str(path)).reorient("RAS")
        for kind in CONTRASTS:
            name = f"{subject.id}-{kind}"
            step = 2 * number + CONTRASTS.index(kind)
            moved = placed(head, step_rng(SEED, step, purpose="place"))
            image, labels = drawn(moved, kind, step_generator(SEED, step, purpose="image"), str(path))
            anat = out / "adult" / name / "anat"
            image.save(anat / f"{name}_{kind[:2].upper()}w.nii.gz")
            labels.save(anat / f"{name}_dseg.nii.gz")
            print(f"{name}: {image.shape}", flush=True)


def drawn(head: Volume, kind: Any, generator: torch.Generator, name: str) -> tuple[Volume, Volume]:
    """Return image and label map of a head without skull; labels are those structures that every brain has."""
    brain = head.with_array(brain_of(head, name).astype(np.uint8))
    head, brain = head.crop_to(brain, MARGIN_MM), brain.crop_to(brain, MARGIN_MM)
    table = freesurfer_tissues()
    config = ContrastConfig(kind=kind, stripped=1.0, thick=0.0, lesions=0.0, blur=(0.5, 0.9))
    image = random_image(torch.from_numpy(head.array.astype(np.int32)), generator, config, table)[0].numpy()
    values = [int(value) for value in np.unique(head.array)]
    counted = [
        value
        for value in values
        if table.is_brain(value) and value not in OPTIONAL and table.tissue(value) not in UNSTEADY
    ]
    labels = np.where((brain.array > 0) & np.isin(head.array, counted), head.array, 0)
    return head.with_array(image * (brain.array > 0)), head.with_array(labels.astype(np.int16))


def placed(head: Volume, rng: np.random.Generator) -> Volume:
    """Return a head turned, shifted, scaled and sheared about its middle, on its own grid."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("xyz", rng.uniform(-ROTATION, ROTATION, 3), degrees=True).as_matrix()
    shape = np.diag(np.exp(rng.uniform(-LOG_SCALE, LOG_SCALE, 3)))
    shape[np.triu_indices(3, 1)] = rng.uniform(-SHEAR, SHEAR, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ shape
    matrix[:3, 3] = head.centre - matrix[:3, :3] @ head.centre + rng.uniform(-SHIFT_MM, SHIFT_MM, 3)
    return Volume(head.array, matrix @ head.affine).resample(like=head, order=0)


def row_of(pair: Pair, data: Path, out: Path) -> dict[str, str]:
    """Return a row for ``neurogen registration evaluate``, with names relative to ``out``."""
    fixed, fixed_labels = scan_files(data, pair.fixed)
    moving, moving_labels = scan_files(data, pair.moving)
    files = {"fixed": fixed, "moving": moving, "fixed_labels": fixed_labels, "moving_labels": moving_labels}
    names = {column: Path(os.path.relpath(file, out)).as_posix() for column, file in files.items()}
    return {"kind": pair.kind, **names}


if __name__ == "__main__":
    main()
