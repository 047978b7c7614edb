"""What each capability's job of the worker is asked, for the contract that all of them keep.

The next capability joins by one entry in :data:`JOBS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from NeuroGenLib.models import open_model
from NeuroGenLib.registration import output as registration_output
from NeuroGenLib.registration.config import RegisterConfig
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres import output as superres_output
from NeuroGenLib.superres.evaluation import quality_table as superres_table
from NeuroGenLib.superres.run_config import SuperresConfig
from Testing.geometry import oblique, reoriented
from Testing.registration_pairs import a_bent_pair, a_tiny_model
from Testing.superres_models import MM, a_head, in_thick_slices, write_residual_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Refused = tuple[dict[str, Any], str]
"""Arguments that replace good ones, and what the problem must name."""


@dataclass(frozen=True)
class WorkerJob:
    """One capability's job.

    Attributes
    ----------
    name:
        Of the job.
    write_model:
        Writes a tiny model into a folder.
    inputs:
        Makes the volumes it is given, by the names of their files.
    sent:
        Puts these inputs, volumes or paths, into the arguments of the job.
    settings:
        Quick ones, under which the same work gives the same bits.
    direct:
        Calls the library with model and inputs, as the job should.
    volumes:
        The volumes of the library's result, by their names in the job's.
    summary, rows:
        The quality of the library's result, as the job tells it.
    recorded:
        The provenance of the inputs: parameter and key for the first of them.
    endless:
        Settings that take far longer than a test waits.
    estimated:
        More arguments for the estimate of the job that was run.
    longer:
        Arguments of estimates, each of which takes longer than the one before.
    refused, refused_estimates:
        Bad arguments of the job and of its estimate.
    atlas_refused:
        What is said to the model of an atlas.
    """

    name: str
    write_model: Callable[[Path], object]
    inputs: Callable[[], dict[str, Volume]]
    sent: Callable[[Mapping[str, Volume | str]], dict[str, Any]]
    settings: dict[str, Any]
    direct: Callable[[Any, dict[str, Volume]], Any]
    volumes: Callable[[Any], dict[str, Volume]]
    summary: Callable[[Any], Any]
    rows: Callable[[Any], Any]
    recorded: Callable[[dict[str, Any]], Any]
    endless: dict[str, Any]
    estimated: dict[str, Any]
    longer: tuple[dict[str, Any], ...]
    refused: tuple[Refused, ...]
    refused_estimates: tuple[Refused, ...]
    atlas_refused: str

    def arguments(self, model: str, inputs: Mapping[str, Volume | str]) -> dict[str, Any]:
        """Return the arguments of the job."""
        return {"model": model, "device": "cpu", "settings": self.settings, **self.sent(inputs)}

    def expected(self, model: str, inputs: dict[str, Volume]) -> Any:
        """Return the library's result in this process."""
        return self.direct(open_model(model, device="cpu"), inputs)


def as_in_a_file(volume: Volume) -> Volume:
    """Return the volume with the affine that a NIfTI file holds, in single precision."""
    return Volume(volume.array, volume.affine.astype(np.float32).astype(np.float64))


CONSTANT = np.ones((8, 8, 3), np.float32)

REGISTRATION = WorkerJob(
    "registration.run",
    a_tiny_model,
    lambda: a_bent_pair(2.0)._asdict(),
    dict,
    {"start": "none", "refine": 3},
    lambda model, inputs: model.register(
        inputs["fixed"],
        inputs["moving"],
        settings=RegisterConfig(start="none", refine=3),
        fixed_labels=inputs["fixed_labels"],
        moving_labels=inputs["moving_labels"],
    ),
    lambda result: {name: getattr(result, name) for name in ("warped", "jacobian", "warped_labels")},
    registration_output.summary,
    lambda result: registration_output.quality_rows(result.quality),
    lambda parameters: parameters["fixed"],
    {"refine": 10_000},
    {"settings": {"start": "none", "refine": 3}, "voxels": a_bent_pair(2.0).fixed.array.size},
    ({"settings": {"refine": 0}}, {"settings": {"refine": 200}}),
    (
        ({"moving": None}, "moving image"),
        ({"fixed": None}, "fixed image"),
        ({"fixed": 3}, "'fixed'"),
        ({"moving": "nicht da.nii"}, "nicht da.nii"),
        ({"settings": {"refine": -1}}, "refine"),
        ({"settings": {"steps": 3}}, "steps"),
        ({"settings": {"start": "afine"}}, "start"),
        ({"movin": 3}, "movin"),
        ({"model": "nowhere/to/be/found"}, "nowhere"),
        ({"moving": Volume(CONSTANT, np.eye(4))}, "moving"),
        ({"moving_labels": Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4))}, "moving label map"),
    ),
    (({"refine": 3}, "refine"), ({"voxels": 0}, "voxels")),
    "not a registration network",
)

SUPERRES = WorkerJob(
    "superres.run",
    write_residual_model,
    lambda: {
        "T2w": as_in_a_file(oblique(reoriented(in_thick_slices(a_head()), "LAS"))),
        "T1w": as_in_a_file(oblique(a_head(-0.4))),
    },
    lambda inputs: {"scans": [inputs["T2w"]], "guide": inputs["T1w"]},
    {"spacing": MM, "align": False},
    lambda model, inputs: model.super_resolve(
        inputs["T2w"], guide=inputs["T1w"], settings=SuperresConfig(spacing=MM, align=False)
    ),
    lambda result: {name: getattr(result, name) for name in ("image", "interpolated", "residual", "head")},
    superres_output.summary,
    lambda result: superres_table.quality_rows(result.quality),
    lambda parameters: parameters["scans"]["scan_1"],
    {"spacing": 0.6},
    {"voxels": 46 * 50 * 42, "placed": 1},
    ({"voxels": 10**6}, {"voxels": 10**6, "placed": 1}, {"voxels": 10**7}),
    (
        ({"scans": []}, "needs a scan"),
        ({"scans": None}, "needs a scan"),
        ({"scans": [3]}, "'scan 1'"),
        ({"scans": ["nicht da.nii"]}, "nicht da.nii"),
        ({"guide": 3}, "'guide'"),
        ({"settings": {"thicknes": 3}}, "thicknes"),
        ({"settings": {"spacing": -1}}, "spacing"),
        ({"settings": {"reference": True}}, "number for number"),
        ({"scan": 3}, "scan"),
        ({"model": "nowhere/to/be/found"}, "nowhere"),
        ({"scans": [Volume(CONSTANT, np.diag([5.0, 5, 20, 1]))], "guide": None}, "same value"),
    ),
    (({"voxels": 0}, "voxels"),),
    "not a super-resolution",
)

JOBS = (REGISTRATION, SUPERRES)
"""The capabilities that have a job: the contract is tested for each."""
