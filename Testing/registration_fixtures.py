"""Small scans on disk and small trainings, for the tests of the registration network's training."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.spatial.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from NeuroGenLib.registration.config import RegistrationTrainConfig

TINY_NETWORK = {
    "features": [4, 4, 8],
    "feature_convolutions": [0, 1, 1],
    "stage_features": [None, 6, 6],
    "stage_convolutions": [None, 1, 1],
    "factor": [2.0, 2.0, 2.0],
    "groups": 2,
}


def ball(shape: tuple[int, int, int], centre: Sequence[float], radius: float) -> np.ndarray:
    """Return where a ball is, (I, J, K) bool, in voxels."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return np.linalg.norm(grid - np.asarray(centre), axis=-1) <= radius


def label_map(size: float = 1.0, shape: tuple[int, int, int] = (16, 18, 14)) -> Volume:
    """Return a head of three shells: 1 outside, 2 inside, 3 a small ball to the right of the middle; 2 mm, RAS."""
    centre = (np.array(shape) - 1) / 2
    labels = np.zeros(shape, np.int16)
    labels[ball(shape, centre, 6 * size)] = 1
    labels[ball(shape, centre, 4.5 * size)] = 2
    labels[ball(shape, centre + np.array([2, 1, 0]), 2 * size)] = 3
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -2 * centre
    return Volume(labels, affine)


def write_scans(folder: Path, sizes: Sequence[float] = (0.9, 1.0, 1.1), axcodes: str = "RAS") -> Path:
    """Write heads of several sizes with labels, masks and landmarks; return the table. Age grows with the size."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, size in enumerate(sizes, start=1):
        name = f"sub-{number:02d}"
        labels = label_map(size)
        image = labels.with_array((labels.array * 100 + 5).astype(np.float32))
        image.reorient(axcodes).save(folder / f"{name}_T2w.nii")
        labels.reorient(axcodes).save(folder / f"{name}_Seg.nii")
        labels.with_array((labels.array > 0).astype(np.uint8)).reorient(axcodes).save(folder / f"{name}_mask.nii")
        points = [(4 * size, 2 * size, 0), (0, 0, 0), (0, 8 * size, -2)]
        lines = ["x\ty\tz", *("\t".join(map(str, point)) for point in points)]
        (folder / f"{name}_points.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        rows.append(
            {
                "participant_id": name,
                "age": 20 + 10 * size,
                "T2w": f"{name}_T2w.nii",
                "Seg": f"{name}_Seg.nii",
                "mask": f"{name}_mask.nii",
                "points": f"{name}_points.tsv",
            }
        )
    table = folder / "scans.tsv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return table


def table_job(table: Path, out: Path, **changes: dict[str, Any]) -> RegistrationTrainConfig:
    """Return a short training on a table; ``changes`` are by section."""
    from NeuroGenLib.core.config import from_mapping
    from NeuroGenLib.registration.config import RegistrationTrainConfig

    sections: dict[str, Any] = {
        "data": {
            "source": "table",
            "table": {"table": str(table), "placement": "world"},
        },
        "network": TINY_NETWORK,
        "losses": {"similarity": {"ncc": {"kind": "ncc", "window": 3}}},
        "optimiser": {"rate": 1e-3},
        "train": {"out": str(out), "steps": 4, "seed": 3, "device": "cpu", "threads": 1, "log_every": 1},
    }
    top = changes.pop("top", {})
    for section, values in changes.items():
        sections[section] = sections.get(section, {}) | values
    return from_mapping(RegistrationTrainConfig, sections | top)
