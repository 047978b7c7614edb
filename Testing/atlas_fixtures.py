"""A cohort of phantoms on disk and the tiny atlas trained on it, for the tests of the atlas.

The heads grow with age and are stored as different scanners would. Five millimetres, thirty-two sine waves and a few
seconds are enough for an atlas that has a brain in the right place.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import a_brain_phantom, oblique, reoriented
from Testing.kept import kept

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from NeuroGenLib.atlas.config import AtlasTrainConfig
    from NeuroGenLib.atlas.infer import AtlasModel

MODALITIES = ("T2w", "T1w")
SPACING_MM = 5.0
STEPS = 150
TABLE = "participants.tsv"


@dataclass(frozen=True)
class Person:
    """One row of the table; a head of ``size`` times the phantom's, in a grid of ``shape``, stored as ``axcodes``."""

    id: str
    age: float
    size: float
    ventricles: float
    sex: str
    shape: tuple[int, int, int]
    axcodes: str = "RAS"
    degrees: float = 0.0
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def head(self) -> tuple[dict[str, Volume], Volume]:
        """Return the images by modality and the label map, in the person's own space."""
        drawn = a_brain_phantom(self.shape, SPACING_MM / self.size)
        image, labels = (self._placed(volume) for volume in drawn)
        inverted = np.where(labels.array > 0, 1000 - image.array, 0).astype(np.float32)
        return {"T2w": image, "T1w": image.with_array(inverted)}, labels

    def _placed(self, volume: Volume) -> Volume:
        affine = np.diag([self.size, self.size, self.size, 1.0]) @ volume.affine
        affine[:3, 3] += self.origin
        return oblique(reoriented(Volume(volume.array, affine), self.axcodes), self.degrees)


PEOPLE = (
    Person("sub-01", 24.0, 0.86, 0.2, "F", (16, 19, 14)),
    Person("sub-02", 26.5, 0.92, 0.8, "M", (15, 18, 15), axcodes="LAS", degrees=15, origin=(20, -35, 12)),
    Person("sub-03", 29.0, 0.98, 0.4, "F", (17, 20, 15), axcodes="PIR", origin=(-9, 4, 55)),
    Person("sub-04", 32.0, 1.05, 0.6, "M", (16, 20, 16), axcodes="LPS"),
)


@dataclass(frozen=True)
class AtlasCohort:
    """The people, and the table that lists their files."""

    people: tuple[Person, ...]
    table: Path

    def config(self, out: Path, **changes: dict[str, Any]) -> AtlasTrainConfig:
        """Return a training job; ``changes`` are by section, such as ``optimiser={"rate": 1e-3}``."""
        from NeuroGenLib.atlas.config import AtlasTrainConfig
        from NeuroGenLib.core.config import from_mapping
        from NeuroGenLib.core.resources import resource

        sections: dict[str, dict[str, Any]] = {
            "data": {
                "table": str(self.table),
                "modalities": list(MODALITIES),
                "labels": str(resource("labels/fetal-tissues.tsv")),
                "halo": 8.0,
                "conditions": {
                    "ventricles": {"minimum": 0.0, "maximum": 1.0, "unit": "ml"},
                    "sex": {"kind": "categoric"},
                },
            },
            "train": {"out": str(out), "steps": STEPS, "device": "cpu", "threads": 1, "log_every": 10, "seed": 3},
            "network": {"latent_channels": 8, "hidden": 32, "layers": 2, "modulated": [1], "omega": [12.0, 12.0]},
            "optimiser": {"points": 1600, "rate": 5e-3, "latent_rate": 1e-2, "transform_rate": 2e-3},
        }
        top = changes.pop("top", {})
        for section, values in changes.items():
            sections[section] = sections[section] | values
        return from_mapping(AtlasTrainConfig, sections | top)


def write_cohort(folder: Path, people: tuple[Person, ...] = PEOPLE) -> AtlasCohort:
    """Write the people's files and their table into a folder."""
    rows = []
    for person in people:
        images, labels = person.head()
        names = {}
        for column, volume in {**images, "Seg": labels}.items():
            names[column] = f"{person.id}_{column}.nii"
            volume.save(folder / names[column])
        rows.append(
            {
                "participant_id": person.id,
                "scan_age": person.age,
                "ventricles": person.ventricles,
                "sex": person.sex,
                **names,
            }
        )
    table = folder / TABLE
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return AtlasCohort(people, table)


ATLAS_SOURCES = (
    *(f"NeuroGenLib/{folder}" for folder in ("core", "cohort", "spatial", "models", "training", "atlas")),
    "NeuroGenLib/version.py",
    "Resources/labels",
    "Testing/atlas_fixtures.py",
    "Testing/geometry.py",
)
"""What the cohort and the tiny atlas depend on."""


@pytest.fixture(scope="session")
def kept_atlas(pytestconfig: pytest.Config) -> Path:
    """A folder with the cohort and the run of the tiny atlas, shared and kept."""

    def make(folder: Path) -> None:
        from NeuroGenLib.atlas.train import train

        train(write_cohort(folder).config(folder / "run", top={"store_ids": True}))

    return kept(pytestconfig, "atlas", ATLAS_SOURCES, make)


@pytest.fixture(scope="session")
def atlas_cohort(kept_atlas: Path) -> AtlasCohort:
    """Four heads on disk, each in its own way."""
    return AtlasCohort(PEOPLE, kept_atlas / TABLE)


@pytest.fixture(scope="session")
def atlas_run(kept_atlas: Path) -> Path:
    """The run folder of the tiny atlas trained on that cohort."""
    return kept_atlas / "run"


@pytest.fixture
def atlas(atlas_run: Path) -> AtlasModel:
    """The tiny atlas, opened."""
    from NeuroGenLib.models import open_model

    return open_model(str(atlas_run / "model"), device="cpu")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch on one thread, so that the same work gives the same bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
