"""The atlas jobs of the worker, in a real child process: the same bits as the library's."""

from __future__ import annotations

import math
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from NeuroGenLib.atlas.config import FitConfig
from NeuroGenLib.atlas.fit.output import summary
from NeuroGenLib.core.errors import Cancelled, InputError
from NeuroGenLib.core.files import read_json
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.worker import Worker
from Testing.atlas_fixtures import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from NeuroGenLib.atlas.infer import AtlasModel
    from Testing.atlas_fixtures import AtlasCohort

CONDITIONS = {"ventricles": 0.4, "sex": "F"}
QUICK = {"steps": 4, "points": 300}
SECONDS = 60

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(environment={**os.environ, "OMP_NUM_THREADS": "1"}) as worker:
        yield worker


@pytest.fixture(scope="module")
def model_folder(atlas_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny atlas in a folder with a name as people have them."""
    return shutil.copytree(atlas_run / "model", tmp_path_factory.mktemp("models") / "fötaler Atlas (2)")


@pytest.fixture
def asked(model_folder: Path) -> dict[str, Any]:
    """What every question about the tiny atlas holds."""
    return {"model": str(model_folder), "device": "cpu"}


@pytest.fixture
def scan(atlas_cohort: AtlasCohort, tmp_path: Path) -> dict[str, str]:
    """Paths of a left-handed, oblique person's images and brain mask."""
    folder = tmp_path / "Patient Ø"
    folder.mkdir()
    images, labels = atlas_cohort.people[1].head()
    volumes = {**images, "mask": labels.with_array((labels.array > 0).astype(np.uint8))}
    for name, volume in volumes.items():
        volume.save(folder / f"{name}.nii.gz")
    return {name: str(folder / f"{name}.nii.gz") for name in volumes}


def ask(worker: Worker, job: str, arguments: dict[str, Any], **more: Any) -> Any:
    return worker.wait(worker.submit(job, {**arguments, **more}), SECONDS)


def assert_same(came: Volume, expected: Volume) -> None:
    assert isinstance(came, Volume)
    assert came.array.dtype == expected.array.dtype
    np.testing.assert_array_equal(came.array, expected.array)
    np.testing.assert_array_equal(came.affine, expected.affine)


def test_opening_tells_what_a_panel_shows(worker: Worker, asked: dict[str, Any], model_folder: Path) -> None:
    facts = ask(worker, "model.open", asked)
    manifest = read_json(model_folder / "neurogen.json")
    assert facts["kind"] == "atlas"
    assert facts["reference"] == facts["path"] == str(model_folder)
    assert facts["licence"] == manifest["license"]
    assert facts["card"] == (model_folder / "README.md").read_text(encoding="utf-8")
    assert facts["size_bytes"] == sum(
        item.stat().st_size for item in model_folder.iterdir() if item.name not in ("neurogen.json", "README.md")
    )
    assert "research use" in facts["research_use"]
    atlas = facts["atlas"]
    assert atlas["age"] == {"name": "scan_age", "unit": "weeks", "minimum": 24.0, "maximum": 32.0}
    assert atlas["modalities"] == ["T2w", "T1w"]
    ventricles, sex = atlas["conditions"]
    assert (ventricles["kind"], ventricles["unit"], ventricles["minimum"], ventricles["maximum"]) == (
        "numeric", "ml", 0.0, 1.0,
    )  # fmt: skip
    assert ventricles["middle"] == 0.5
    assert (sex["kind"], sex["values"]) == ("categoric", ["F", "M"])
    assert atlas["labels"][0]["background"]
    assert {entry["name"]: entry["value"] for entry in atlas["labels"]}["ventricles"] > 0
    assert all(len(entry["colour"]) == 3 for entry in atlas["labels"])
    assert [subject["age"] for subject in atlas["subjects"]] == [24.0, 26.5, 29.0, 32.0]


def test_planes_are_the_librarys(worker: Worker, asked: dict[str, Any], atlas: AtlasModel) -> None:
    point = (3.0, -8.0, 11.0)
    came = ask(
        worker, "atlas.slices", asked, age=27.3, conditions=CONDITIONS, spacing=2.5, point=point, certainty="ventricles"
    )
    expected = atlas.slices(point, 27.3, CONDITIONS, 2.5)
    assert came.keys() == expected.keys()
    class_ = atlas.labels.names.index("ventricles")
    for name, plane in came.items():
        assert_same(plane.labels["labels"], expected[name].labels)
        assert_same(plane.volumes["T1w"], expected[name].images["T1w"])
        np.testing.assert_array_equal(plane.volumes["certainty"].array, expected[name].probabilities.array[class_])
        assert plane.facts["brain"]["age"] == 27.3
        assert plane.facts["brain"]["effective_n"] == expected["axial"].weights.effective_n


def test_a_brain_and_its_growth_are_the_librarys(worker: Worker, asked: dict[str, Any], atlas: AtlasModel) -> None:
    options: dict[str, Any] = {"box": (-30, 40, -30, 35, -20, 30), "masked": False, "bandwidth": 2.0}
    came = ask(
        worker, "atlas.generate", asked, age=27.3, conditions=CONDITIONS, spacing=(5, 6, 7), growth=True,
        probabilities=True, certainty="cerebellum", **options,
    )  # fmt: skip
    brain = atlas.generate(27.3, CONDITIONS, (5, 6, 7), **options)
    growth = atlas.growth(27.3, CONDITIONS, (5, 6, 7), **options)
    class_ = atlas.labels.names.index("cerebellum")
    assert_same(came.labels["labels"], brain.labels)
    for prefix, rendered in (("", brain), ("growth_", growth)):
        for name in MODALITIES:
            assert_same(came.volumes[f"{prefix}{name}"], rendered.images[name])
        probabilities = rendered.probabilities
        assert_same(came.volumes[f"{prefix}probabilities"], probabilities)
        assert_same(came.volumes[f"{prefix}certainty"], probabilities.with_array(probabilities.array[class_]))
    assert came.facts["brain"]["growth_unit"] == growth.unit
    assert came.facts["brain"]["conditions"] == CONDITIONS
    assert came.record["parameters"]["age"] == 27.3
    assert came.record["parameters"]["spacing"] == [5, 6, 7]
    assert came.record["model"]["weights"]["model.safetensors"]["sha256"]
    voxels = int((brain.labels.array == atlas.labels.values[class_]).sum())
    (row,) = came.tables["growth"]
    assert row["cerebellum_ml"] == pytest.approx(voxels * 5 * 6 * 7 / 1000, abs=1e-3)
    assert any(name.endswith("_ml_per_week") for name in row)


def test_only_what_is_asked_for_comes(worker: Worker, asked: dict[str, Any]) -> None:
    came = ask(worker, "atlas.generate", asked, age=27.3, conditions=CONDITIONS, spacing=6)
    assert list(came.volumes) == list(MODALITIES)
    assert came.facts["brain"]["growth_unit"] is None


def test_a_sequence_is_one_brain_after_another(worker: Worker, asked: dict[str, Any], atlas: AtlasModel) -> None:
    said: list[tuple[float, str]] = []
    job = worker.submit(
        "atlas.sequence",
        {**asked, "ages": [25, 30.5], "conditions": CONDITIONS, "spacing": 6},
        on_progress=lambda fraction, message: said.append((fraction, message)),
    )
    came = worker.wait(job, SECONDS)
    for frame, age in zip(came, (25, 30.5), strict=True):
        brain = atlas.generate(age, CONDITIONS, 6)
        facts = frame.facts["brain"]
        assert (facts["age"], facts["age_name"], facts["age_unit"]) == (age, "scan_age", "weeks")
        assert_same(frame.labels["labels"], brain.labels)
        assert_same(frame.volumes["T2w"], brain.image)
    assert said[-1][0] == 1
    assert "30.5 weeks" in said[-1][1]


@pytest.mark.slow
def test_a_fit_is_the_librarys_for_paths_and_for_volumes(
    worker: Worker, asked: dict[str, Any], scan: dict[str, str], atlas: AtlasModel
) -> None:
    volumes = {name: Volume.load(path) for name, path in scan.items()}
    known = {"age": 27.0, "conditions": {"sex": "M"}}
    images = {name: volumes[name] for name in ("T2w", "T1w")}
    expected = atlas.fit(images, mask=volumes["mask"], settings=FitConfig(**QUICK), **known)
    for sent in (scan, volumes):
        given: dict[str, Any] = {"images": {name: sent[name] for name in images}, "mask": sent["mask"]}
        came = ask(worker, "atlas.fit", asked, **given, **known, settings=QUICK)
        assert_same(came.labels["labels"], expected.labels)
        for name in images:
            for part in ("reconstruction", "atlas", "deviation"):
                assert_same(came.volumes[f"{part}_{name}"], getattr(expected, part)[name])
        np.testing.assert_array_equal(came.maps["to_atlas"].before, expected.to_atlas)
        assert came.facts["fit"] == summary(atlas, expected)
        kept = came.record["parameters"]
        assert (kept["images"]["T1w"], kept["mask"]) == (
            (scan["T1w"], scan["mask"]) if sent is scan else ("sent", "sent")
        )
        assert kept["settings"]["steps"] == QUICK["steps"]


def test_time_and_memory_are_estimated(worker: Worker, asked: dict[str, Any]) -> None:
    question = {**asked, "age": 28, "spacing": 1.5}
    ask(worker, "atlas.generate", question)
    estimate = ask(worker, "estimate", {"job": "atlas.generate", "arguments": question})
    started = time.monotonic()
    brain = ask(worker, "atlas.generate", question)
    seconds = time.monotonic() - started
    assert estimate["measured"]
    assert seconds / 8 < estimate["seconds"] < 8 * seconds
    volumes = [*brain.volumes.values(), *brain.labels.values()]
    assert estimate["scratch_bytes"] == sum(volume.array.nbytes for volume in volumes)
    assert estimate["memory_bytes"] > estimate["scratch_bytes"]
    one, two = (
        ask(worker, "estimate", {"job": "atlas.sequence", "arguments": {**asked, "ages": ages, "spacing": 1.5}})
        for ages in ([26], [26, 27])
    )
    assert two["seconds"] == pytest.approx(2 * one["seconds"])
    assert two["scratch_bytes"] == 2 * one["scratch_bytes"] == 2 * estimate["scratch_bytes"]
    fit = ask(worker, "estimate", {"job": "atlas.fit", "arguments": {**asked, "settings": QUICK}})
    assert fit["seconds"] > 0


@pytest.mark.parametrize(
    ("job", "arguments", "code", "named"),
    [
        ("atlas.generate", {"age": 28, "agee": 3}, "name-unknown", "agee"),
        ("atlas.generate", {}, "value-missing", "age"),
        ("atlas.generate", {"age": "old"}, "value-invalid", "age"),
        ("atlas.generate", {"age": math.nan}, "value-invalid", "nan"),
        ("atlas.generate", {"age": 28, "spacing": 0}, "value-invalid", "spacing"),
        ("atlas.generate", {"age": 28, "spacing": [1, 1]}, "value-invalid", "spacing"),
        ("atlas.generate", {"age": 28, "spacing": [1, -1, 1]}, "value-invalid", "spacing"),
        ("atlas.generate", {"age": 28, "spacing": 1e-4}, "image-too-large", "voxels"),
        ("atlas.generate", {"age": 28, "conditions": {"sexe": "F"}}, "name-unknown", "'sexe'"),
        ("atlas.generate", {"age": 28, "certainty": "ventricle"}, None, "ventricle"),
        ("atlas.generate", {"age": 28, "growth": True, "reference_compat": True}, "value-conflict", "growth"),
        ("atlas.generate", {"age": 28, "device": "gpu"}, None, "gpu"),
        ("atlas.generate", {"age": 28, "model": "nowhere/to/be/found"}, None, "nowhere"),
        ("atlas.slices", {"age": 28, "point": [1, 2]}, "value-invalid", "point"),
        ("atlas.slices", {"age": 28, "growth": True}, "value-conflict", "growth"),
        ("atlas.sequence", {"ages": []}, "value-missing", "age"),
        ("atlas.sequence", {"ages": [28, 300]}, "model-range", "300"),
        ("atlas.fit", {}, "value-missing", "image"),
        ("atlas.fit", {"images": "scan.nii"}, "value-invalid", "scan.nii"),
        ("atlas.fit", {"images": {"T2w": "nicht da.nii"}}, None, "nicht da.nii"),
        ("atlas.fit", {"images": {"T2w": 3}}, None, "images.T2w"),
        ("atlas.fit", {"images": {"T2w": Volume(np.zeros((4, 4, 4), np.float32), np.eye(4))}}, "image-empty", ""),
        ("estimate", {"job": "atlas.paint", "arguments": {}}, "name-unknown", "atlas.paint"),
        ("run", {}, None, "words"),
        ("run", {"words": "atlas info"}, None, "words"),
        ("run", {"words": ["atlas", "generat"]}, None, "generat"),
        ("run", {"words": ["atlas", "generate", "--age", "30", "--agee", "3"]}, "name-unknown", "--agee"),
    ],
)
def test_an_impossible_job_is_refused_by_name(
    job: str, arguments: dict[str, Any], code: str | None, named: str, worker: Worker, asked: dict[str, Any]
) -> None:
    given = arguments if job in ("estimate", "run") else {**asked, **arguments}
    with pytest.raises(InputError) as raised:
        ask(worker, job, given)
    assert named in raised.value.problem
    assert raised.value.remedy
    assert code in (None, raised.value.code), "None: the other layers' codes are tested there"


def test_a_command_runs_with_its_progress(worker: Worker, asked: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "zwei Köpfe"
    said: list[float] = []
    words = ["atlas", "generate", "--model", asked["model"], "--ages", "25:26:1", "--spacing", "6", "--out", str(out)]
    job = worker.submit(
        "run",
        {"words": [*words, "--progress", "json", "--json"]},
        on_progress=lambda fraction, _: said.append(fraction),
    )
    came = worker.wait(job, SECONDS)
    assert came["json"]["out"] == str(out)
    assert (out / "labels.nii.gz").is_file()
    assert len(said) >= 2
    assert said == sorted(said)
    assert ask(worker, "run", {"words": ["--version"]})["output"].startswith("neurogen ")


def test_a_cancelled_command_leaves_nothing(worker: Worker, asked: dict[str, Any], tmp_path: Path) -> None:
    words = ["atlas", "generate", "--model", asked["model"], "--ages", "24:32:0.1", "--spacing", "3"]
    job = worker.submit("run", {"words": [*words, "--progress", "json", "--out", str(tmp_path / "out")]})
    end = time.monotonic() + SECONDS
    while job.progress < 0.03 and time.monotonic() < end:
        worker.poll(0.02)
    assert 0 < job.progress < 1
    process = worker.hello
    job.cancel()
    with pytest.raises(Cancelled):
        worker.wait(job, 1)
    assert ask(worker, "run", {"words": ["--version"]})["output"]
    assert worker.hello is process
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_generation_keeps_the_model_open(worker: Worker, asked: dict[str, Any]) -> None:
    ask(worker, "model.open", asked)
    job = worker.submit("atlas.sequence", {**asked, "ages": list(np.linspace(24, 32, 200)), "spacing": 3})
    while not job.progress:
        worker.poll(0.02)
    process = worker.hello
    job.cancel()
    with pytest.raises(Cancelled):
        worker.wait(job, 1)
    assert ask(worker, "atlas.slices", asked, age=28, spacing=6)
    assert worker.hello is process
