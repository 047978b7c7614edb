"""What a user draws from an atlas: in the right place, the same however it is cut, and said when it is a guess."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from NeuroGenLib.atlas.conditions import encode_all
from NeuroGenLib.atlas.network import decoder_from_tensors
from NeuroGenLib.atlas.rendering.render import Renderer
from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.models import open_model
from NeuroGenLib.models.folder import ModelFolder, load_tensors, write_model
from Testing.atlas_fixtures import MODALITIES, PEOPLE
from Testing.geometry import dice
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.atlas.brain import AtlasBrain
    from NeuroGenLib.atlas.infer import AtlasModel
    from NeuroGenLib.spatial.volume import Volume

pytestmark = pytest.mark.usefixtures("one_thread")

AGE = 27.0
VALUES = {"ventricles": 0.5, "sex": "F"}
ROUNDING = 2e-6
"""Of intensities (about 0 to 1): a matrix product may add up a point in another order at another row, or among more
points. Seen: 2.4e-7 on AVX-512."""


def whole(labels: Volume) -> Volume:
    return labels.with_array((labels.array > 0).astype(np.uint8))


@pytest.fixture
def brain(atlas: AtlasModel) -> AtlasBrain:
    return atlas.generate(AGE, VALUES, 4.0)


# --- where it is ----------------------------------------------------------------------------------------------------


def test_the_grid_is_ras_about_the_atlas_centre(atlas, brain):
    for volume in (brain.labels, brain.probabilities, *brain.images.values()):
        assert volume.axcodes == ("R", "A", "S")
        assert volume.spacing == (4, 4, 4)
        np.testing.assert_allclose(volume.centre, 0, atol=1e-9)
        low, high = volume.world_bounds
        assert (low <= -atlas.box / 2).all()
        assert (high >= atlas.box / 2).all()
        assert (high - low < atlas.box + 8).all()


def test_the_brain_is_a_head_about_the_centre(brain):
    where = np.argwhere(brain.labels.array)
    assert len(where) * brain.labels.voxel_volume_ml == pytest.approx(122 * 0.95**3, rel=0.3)  # ellipsoid 58 x 74 x 54
    np.testing.assert_allclose(brain.labels.voxel_to_world(where.mean(0)), 0, atol=4)
    extent = np.ptp(where, axis=0) * 4
    assert extent[1] > extent[0] > 35


@pytest.mark.parametrize("row", range(len(PEOPLE)), ids=[person.id for person in PEOPLE])
def test_a_subject_is_reconstructed_in_its_own_space(atlas, row):
    """Off centre, oblique, left-handed: the drawn head lies on the subject's own."""
    _, labels = PEOPLE[row].head()
    drawn = atlas.reconstruct(row, 2.5).labels.resample(like=labels, order=0)
    assert dice(whole(drawn), whole(labels)) > 0.9
    assert dice(drawn.with_array(drawn.array == 1), labels.with_array(labels.array == 1)) > 0.6


def test_a_reconstruction_has_the_subjects_intensities(atlas):
    images, labels = PEOPLE[1].head()
    brain, inside = atlas.reconstruct(1, 2.5), labels.array > 0
    assert tuple(brain.images) == MODALITIES
    scaling = atlas.subjects[1]["scaling"]
    for (name, image), (offset, factor) in zip(brain.images.items(), scaling, strict=True):
        raw = image.resample(like=labels).array[inside] * factor + offset
        truth = images[name].array[inside]
        assert raw.mean() == pytest.approx(truth.mean(), rel=0.15)
        if name == "T2w":  # T1w, its negative, shows hardly more than the head's outline so early
            assert np.corrcoef(raw, truth)[0, 1] > 0.6


def test_a_reconstruction_follows_the_subjects_transform(atlas_run, tmp_path):
    folder = ModelFolder.read(atlas_run / "model")
    tensors, manifest = load_tensors(folder), folder.manifest
    tensors["transforms"][2] = torch.tensor([0.0, 0.0, 0.4, 0.1, 0.0, -0.05])
    write_model(tmp_path / "model", "atlas", tensors, manifest, "A card")
    model = open_model(str(tmp_path / "model"), device="cpu")
    image = model.reconstruct(2, 7.0, masked=False).image
    subject_mm = image.voxel_to_world(np.moveaxis(np.indices(image.shape), 0, -1)) - manifest["subjects"][2]["centre"]
    turn = Rotation.from_euler("z", 0.4).as_matrix()
    atlas_mm = subject_mm @ turn.T + np.array([0.1, 0, -0.05]) * model.box.max() / 2
    decoder = decoder_from_tensors(manifest["network"], tensors)
    conditions = encode_all(model.conditions, manifest["subjects"][2]["conditions"])
    tables = decoder.fold(tensors["latents"][2][None], torch.from_numpy(conditions)[None])
    points = torch.tensor(atlas_mm / (model.box / 2), dtype=torch.float32)
    expected = decoder(points.view(1, -1, 3), tables)[0, :, 0].view(image.shape).numpy()
    inside = (np.abs(subject_mm) <= model.box / 2).all(-1)
    np.testing.assert_allclose(image.array[inside], expected[inside], atol=1e-4)


def test_older_brains_are_larger(atlas):
    young, old = (np.count_nonzero(atlas.generate(age, VALUES, 4.0).labels.array) for age in (25, 31))
    assert old > 1.15 * young


def test_anisotropic_voxels_show_the_same_brain(atlas, brain):
    thick = atlas.generate(AGE, VALUES, (2.0, 3.0, 6.0))
    assert thick.labels.spacing == (2, 3, 6)
    np.testing.assert_allclose(thick.labels.centre, 0, atol=1e-9)
    volumes = [np.count_nonzero(one.labels.array) * one.labels.voxel_volume_ml for one in (thick, brain)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.08)


# --- the same, however it is cut ------------------------------------------------------------------------------------


def test_every_voxel_is_what_the_decoder_says(atlas):
    brain = atlas.generate(AGE, VALUES, 5.0, masked=False)
    recipe = atlas.recipe(AGE, VALUES)
    outputs = atlas.decode(recipe, atlas.grid((5.0, 5.0, 5.0)))
    inside = (np.abs(np.moveaxis(np.indices(brain.labels.shape), 0, -1) * 5 + brain.labels.affine[:3, 3])
              <= atlas.box / 2 + 1e-6).all(-1)  # fmt: skip
    classes = outputs[:, 2:].argmax(1).reshape(brain.labels.shape)
    assert np.array_equal(brain.labels.array[inside], classes[inside])
    for channel, image in enumerate(brain.images.values()):
        expected = outputs[:, channel].reshape(inside.shape)[inside]
        np.testing.assert_allclose(image.array[inside], expected, rtol=0, atol=ROUNDING)


def test_probabilities_sum_to_one_and_their_largest_is_the_label(atlas):
    for masked in (True, False):
        brain = atlas.generate(AGE, VALUES, 4.0, masked=masked)
        np.testing.assert_allclose(brain.probabilities.array.sum(0), 1, atol=1e-5)
        assert np.array_equal(brain.probabilities.array.argmax(0), brain.labels.array)


def test_the_mask_only_takes_away(atlas, brain):
    free = atlas.generate(AGE, VALUES, 4.0, masked=False)
    kept = brain.labels.array > 0
    assert np.array_equal(brain.labels.array[kept], free.labels.array[kept])
    np.testing.assert_allclose(brain.image.array[kept], free.image.array[kept], rtol=0, atol=ROUNDING)
    assert not brain.labels.array[[0, -1]].any()
    fill = atlas.folder.manifest["preparation"]["fill"]
    for image, value in zip(brain.images.values(), fill, strict=True):
        assert image.array[0, 0, 0] == np.float32(value)


def test_a_box_is_cut_out_of_the_whole(atlas, brain):
    """A box whose faces lie on those of the grid's voxels."""
    bounds = brain.labels.world_bounds
    first, stop = np.array([4, 5, 3]), np.array(brain.labels.shape) - [3, 6, 5]
    low, high = bounds[0] + 4 * first, bounds[0] + 4 * stop
    part = atlas.generate(AGE, VALUES, 4.0, box=np.ravel([low, high], order="F"))
    cut = brain.labels.crop(list(zip(first.tolist(), stop.tolist(), strict=True)))
    assert part.labels.same_space(cut)
    assert (part.labels.array == cut.array).mean() >= 0.999
    inside = (part.labels.array > 0) & (cut.array > 0)
    image = brain.image.crop(list(zip(first.tolist(), stop.tolist(), strict=True)))
    np.testing.assert_allclose(part.image.array[inside], image.array[inside], atol=1e-5)


@pytest.mark.parametrize("point", [(0, 0, 0), (9, -14, 6), (1e4, -1e4, 3)])
def test_slices_are_planes_of_the_volume(atlas, brain, point):
    planes = atlas.slices(point, AGE, VALUES, 4.0)
    assert list(planes) == ["sagittal", "coronal", "axial"]
    for axis, plane in enumerate(planes.values()):
        place = brain.labels.world_to_voxel(plane.labels.voxel_to_world((0, 0, 0)))[axis]
        voxel = round(place)
        assert abs(place - voxel) < 1e-6
        nearest = np.clip(round(brain.labels.world_to_voxel(point)[axis]), 0, brain.labels.shape[axis] - 1)
        assert voxel == nearest
        expected = brain.labels.array.take([voxel], axis)
        assert plane.labels.shape == expected.shape
        assert (plane.labels.array == expected).mean() >= 0.999
        both = (plane.labels.array > 0) & (expected > 0)
        np.testing.assert_allclose(plane.image.array[both], brain.image.array.take([voxel], axis)[both], atol=1e-5)


def test_a_box_beside_the_atlas_is_background(atlas):
    brain = atlas.generate(AGE, VALUES, 4.0, box=(500, 520, 0, 20, 0, 20))
    assert not brain.labels.array.any()
    assert (brain.probabilities.array[0] == 1).all()


def test_the_same_call_gives_the_same_bits(atlas, brain):
    again = atlas.generate(AGE, VALUES, 4.0)
    assert np.array_equal(brain.labels.array, again.labels.array)
    assert np.array_equal(brain.image.array, again.image.array)


# --- what is asked for ----------------------------------------------------------------------------------------------


def test_the_weights_are_reported(atlas, brain):
    assert brain.weights.realised_age == pytest.approx(AGE)
    assert brain.weights.weights.shape == (len(PEOPLE),)
    assert brain.age == AGE
    assert brain.conditions == {"ventricles": 0.5, "sex": "F"}
    assert atlas.age_range == (24, 32)
    assert (atlas.age_name, atlas.age_unit) == ("scan_age", "weeks")


def test_gaussian_weights_say_what_age_they_realise(atlas):
    brain = atlas.generate(24, VALUES, 6.0, regression="gaussian")
    assert any("weighted mean age" in warning and "24 asked for" in warning for warning in brain.warnings)


def test_warnings_of_what_was_guessed(atlas):
    old = atlas.generate(32.3, {"ventricles": 0.6, "sex": "M"}, 6.0).warnings
    assert any("scan_age 32.3 is outside the trained range 24 to 32 weeks" in warning for warning in old)
    large = atlas.generate(AGE, {"ventricles": 1.05}, 6.0, bandwidth=6).warnings
    assert any("ventricles=1.05 is outside the trained range 0 to 1 ml" in warning for warning in large)
    assert any("'sex' was not given: '" in warning for warning in large)


@pytest.mark.parametrize("age", [2, 90])
def test_an_age_without_support_is_refused(atlas, age):
    with raises("model-range", age, 24, 32):
        atlas.generate(age, VALUES, 6.0)


def test_an_age_that_is_not_a_number_is_refused(atlas):
    with raises("value-invalid", "age", "nan"):
        atlas.generate(float("nan"), VALUES, 6.0)


def test_an_unknown_condition_is_refused(atlas):
    with raises("name-unknown", "'ventricle'", "'ventricles'"):
        atlas.generate(AGE, {"ventricle": 0.5}, 6.0)


@pytest.mark.parametrize("spacing", [0, -1, float("nan"), float("inf"), (1, 2), (1, 0, 2), ()])
def test_a_senseless_spacing_is_refused(atlas, spacing):
    with raises("value-invalid", "spacing"):
        atlas.generate(AGE, VALUES, spacing)


@pytest.mark.parametrize(
    "box", [(0, 10, 0, 10), (10, 0, 0, 10, 0, 10), (0, 0, 0, 10, 0, 10), (0, float("nan"), 0, 10, 0, 10)]
)
def test_a_senseless_box_is_refused(atlas, box):
    with raises("value-invalid", "box"):
        atlas.generate(AGE, VALUES, 4.0, box=box)


def test_more_voxels_than_anybody_can_use_are_refused(atlas):
    with raises("image-too-large", "spacing"):
        atlas.generate(AGE, VALUES, 0.01)


@pytest.mark.parametrize("row", [-1, len(PEOPLE)])
def test_an_unknown_row_is_refused(atlas, row):
    with raises("name-unknown", row, 3):
        atlas.reconstruct(row, 6.0)


def test_the_published_grid_takes_no_box(atlas):
    with raises("value-conflict", "--box", "--reference-compat"):
        atlas.generate(AGE, VALUES, 3.0, box=(0, 9, 0, 9, 0, 9), reference_compat=True)


def test_unknown_options_of_slices_are_refused(atlas):
    with pytest.raises(TypeError, match="maskd"):
        atlas.slices((0, 0, 0), AGE, VALUES, maskd=False)


# --- long work ------------------------------------------------------------------------------------------------------


def test_memory_that_runs_out_gives_the_same_brain_and_says_so(atlas, brain, monkeypatch):
    evaluate = Renderer.__call__
    failures = iter([torch.OutOfMemoryError("CUDA out of memory")])

    def short_of_memory(self: Renderer, *arguments: object) -> torch.Tensor:
        for failure in failures:
            raise failure
        return evaluate(self, *arguments)

    monkeypatch.setattr(Renderer, "__call__", short_of_memory)
    again = atlas.generate(AGE, VALUES, 4.0)
    assert np.array_equal(again.labels.array, brain.labels.array)
    np.testing.assert_allclose(again.image.array, brain.image.array, atol=1e-5)
    assert any("Memory ran out" in warning for warning in again.warnings)
    assert not any("Memory ran out" in warning for warning in brain.warnings)


def test_progress_is_reported_and_can_stop(atlas):
    class Bar(Progress):
        def __init__(self) -> None:
            super().__init__()
            self.shown: list[float] = []

        def show(self, step: float, total: float, message: str) -> None:  # noqa: ARG002
            self.shown.append(step / total)

    bar = Bar()
    atlas.generate(AGE, VALUES, 2.5, progress=bar)
    assert len(bar.shown) > 1
    assert bar.shown == sorted(bar.shown)
    assert bar.shown[-1] == 1
    bar.cancel()
    with pytest.raises(Cancelled):
        atlas.generate(AGE, VALUES, 2.5, progress=bar)


# --- the model folder -----------------------------------------------------------------------------------------------


def test_background_classes_become_zero(atlas):
    atlas.background = (0, 4)
    assert atlas.label_values(np.arange(len(atlas.labels))).tolist() == [0, 1, 2, 3, 0, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest["network"].update(hidden=33), "size mismatch"),
        (lambda manifest: manifest["network"].update(depth=3), "depth"),
        (lambda manifest: manifest.pop("preparation"), "preparation"),
        (lambda manifest: manifest["preparation"].update(background=["nothing"]), "not in tuple"),
    ],
)
def test_a_spoilt_model_is_refused(atlas_run, tmp_path, change, message):
    folder = tmp_path / "model"
    shutil.copytree(atlas_run / "model", folder)
    manifest = json.loads((folder / "neurogen.json").read_text())
    change(manifest)
    (folder / "neurogen.json").write_text(json.dumps(manifest))
    with raises("model-damaged", folder, message):
        open_model(str(folder), device="cpu")


def test_the_card_says_what_the_model_is(atlas_run: Path):
    card = (atlas_run / "model" / "README.md").read_text()
    for text in ("24 to 32 weeks", "`ventricles`", "F | M", "T2w, T1w", "research use only"):
        assert text in card
