"""What atlas training reads: points in the right place, normalised, with a rim of background."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from NeuroGenLib.atlas.config import ConditionConfig, DataConfig
from NeuroGenLib.atlas.data.dataset import BOX_MARGIN_MM, build_dataset, classes_of, load_subject, select_cohort
from NeuroGenLib.atlas.data.points import OUTSIDE_POINTS, PointTable, SubjectPoints, intensity_scaling, prepare
from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.core.resources import resource
from NeuroGenLib.spatial.labels import LabelTable, label_volumes_ml
from NeuroGenLib.spatial.volume import Volume
from Testing.atlas_fixtures import MODALITIES, PEOPLE, AtlasCohort
from Testing.geometry import SWEEP, a_brain_phantom, anisotropic, oblique, reoriented
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.geometry import Phantom

KINDS = ["percentile", "minmax", "zscore"]


@pytest.fixture(scope="module")
def head() -> Phantom:
    """A coarse head, off the world's origin."""
    affine = np.array([[4.0, 0, 0, -20], [0, 4, 0, -60], [0, 0, 4, 5], [0, 0, 0, 1]])
    affine[:3, 3] -= (10, -15, 25)
    return a_brain_phantom((18, 22, 17), affine=affine)


@pytest.fixture
def cohort(atlas_cohort: AtlasCohort, tmp_path: Path) -> AtlasCohort:
    """A copy of the cohort whose files may be spoilt."""
    shutil.copytree(atlas_cohort.table.parent, tmp_path, dirs_exist_ok=True)
    return AtlasCohort(atlas_cohort.people, tmp_path / atlas_cohort.table.name)


def prepared(head: Phantom, **options: Any) -> SubjectPoints:
    return prepare(head.image.array[None], head.labels.array, head.labels.affine, **options)


def sorted_by_place(points: SubjectPoints, turn: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return world places (turned by a matrix) and (intensity, class), both in the order of the places."""
    places = points.world(points.index)
    places = places if turn is None else places @ turn.T
    order = np.lexsort(np.round(places, 3).T)
    return places[order], np.column_stack([points.intensities, points.classes])[order]


# --- one subject ----------------------------------------------------------------------------------------------------


@given(st.tuples(*[st.floats(0.8, 4)] * 3), st.floats(0.1, 9))
def test_the_rim_is_as_wide_in_mm_whatever_the_voxels(spacing, halo):
    steps = halo / np.array(spacing)
    assume((np.abs(steps - np.rint(steps)) > 1e-6).all())
    labels = np.zeros((15, 15, 15), np.uint8)
    labels[7:9, 7, 7] = 1, 2
    points = prepare(labels[None].astype(np.float32), labels, np.diag([*spacing, 1]), halo_mm=halo, background=3,
                     normalisation="zscore")  # fmt: skip
    rim = points.index[points.classes == 3]
    apart = [np.linalg.norm((rim - voxel) * spacing, axis=1) for voxel in ((7, 7, 7), (8, 7, 7))]
    neighbours = [np.abs(rim - voxel).sum(1) == 1 for voxel in ((7, 7, 7), (8, 7, 7))]
    assert ((np.minimum(*apart) <= halo) | np.logical_or(*neighbours)).all()
    for axis, count in enumerate(np.maximum(np.floor(steps).astype(int), 1)):
        line = rim[(np.delete(rim, axis, 1) == 7).all(1)]
        assert len(line) == min(count, 7) + min(count, 7 if axis else 6)


def test_classes_of_brain_rim_and_outside(head):
    points = prepared(head, background=7, halo_mm=5)
    brain = head.labels.array > 0
    values = np.zeros(brain.shape, int)
    values[tuple(points.index.T)] = points.classes
    assert np.array_equal(values[brain], head.labels.array[brain])
    assert set(np.unique(values[~brain])) == {0, 7}
    assert not brain[tuple(points.outside.T)].any()
    assert not set(map(tuple, points.outside)) & set(map(tuple, points.index))
    assert len(points.outside) == min(OUTSIDE_POINTS, brain.size - len(points.index))


def test_outside_the_labels_the_image_is_zero(head):
    points = prepared(head, normalisation="minmax", halo_mm=8)
    rim = points.classes == 0
    np.testing.assert_allclose(points.intensities[rim], 0, atol=1e-6)
    bright = Volume(head.image.array + 1e6 * (head.labels.array == 0), head.image.affine)
    again = prepare(bright.array[None].astype(np.float32), head.labels.array, bright.affine, normalisation="minmax",
                    halo_mm=8)  # fmt: skip
    np.testing.assert_allclose(again.intensities, points.intensities, atol=1e-6)


def test_without_a_mask_only_labelled_voxels_count(head):
    points = prepared(head, mask=False)
    assert len(points.index) == (head.labels.array > 0).sum()
    assert len(points.outside) == 0


def test_the_centre_is_the_mean_of_the_points(head):
    points = prepared(head)
    np.testing.assert_allclose(head.labels.voxel_to_world(points.index).mean(0), points.centre, atol=1e-9)
    np.testing.assert_allclose(points.world(points.index).mean(0), 0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_scaling_gives_the_raw_values_back(head, kind):
    points = prepared(head, normalisation=kind)
    raw = points.scaling[:, 0] + points.scaling[:, 1] * points.intensities
    masked = head.image.array * (head.labels.array > 0)
    np.testing.assert_allclose(raw[:, 0], masked[tuple(points.index.T)].clip(min=0), atol=1e-2)


@given(arrays.arrays(np.float64, (40, 2), elements=st.floats(0, 4000, width=32), unique=True))
def test_scaling_of_each_kind(values):
    low, high = values.min(0), values.max(0)
    np.testing.assert_allclose(intensity_scaling(values, "minmax"), np.stack([low, high - low], 1))
    deviation = np.sqrt(((values - values.mean(0)) ** 2).mean(0)) + 1e-5
    np.testing.assert_allclose(intensity_scaling(values, "zscore"), np.stack([values.mean(0), deviation], 1))
    offset, factor = intensity_scaling(values, "percentile").T
    assert ((low <= offset) & (offset + factor <= high)).all()


def test_one_hot_voxel_does_not_dim_the_brain(head):
    hot = head.image.array.copy()
    hot[9, 11, 8] = 1e6
    spoilt = prepare(hot[None], head.labels.array, head.labels.affine)
    assert np.median(spoilt.intensities) == pytest.approx(float(np.median(prepared(head).intensities)), abs=0.02)


def test_an_empty_label_map_is_refused(head):
    with raises("image-empty"):
        prepare(head.image.array[None], np.zeros(head.labels.shape, np.uint8), head.labels.affine)


@pytest.mark.parametrize("kind", ["percentile", "minmax"])
def test_a_constant_image_is_refused(head, kind):
    with raises("image-empty"):
        prepare(
            np.full((1, *head.labels.shape), 7.0), head.labels.array, head.labels.affine, normalisation=kind, mask=False
        )


def test_outside_points_depend_on_the_seed_alone(head):
    assert np.array_equal(prepared(head, seed=4).outside, prepared(head, seed=4).outside)


# --- geometry -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axcodes", SWEEP)
def test_every_stored_orientation_gives_the_same_points(head, axcodes):
    turned = type(head)(reoriented(head.image, axcodes), reoriented(head.labels, axcodes))
    expected, points = prepared(head), prepared(turned)
    np.testing.assert_allclose(points.centre, expected.centre, atol=1e-5)
    np.testing.assert_allclose(points.scaling, expected.scaling, rtol=1e-6)
    for one, other in zip(sorted_by_place(points), sorted_by_place(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_rotated_affine_gives_rotated_points(head):
    turned = type(head)(oblique(head.image, 30), oblique(head.labels, 30))
    rotation = turned.labels.affine[:3, :3] @ np.linalg.inv(head.labels.affine[:3, :3])
    expected, points = prepared(head), prepared(turned)
    np.testing.assert_allclose(points.world(points.index), expected.world(expected.index) @ rotation.T, atol=1e-5)
    np.testing.assert_array_equal(points.intensities, expected.intensities)


def test_thick_slices_give_the_same_head(head):
    thick = type(head)(anisotropic(head.image, (3, 3, 6)), anisotropic(head.labels, (3, 3, 6), order=0))
    expected, points = prepared(head, halo_mm=6), prepared(thick, halo_mm=6)
    np.testing.assert_allclose(points.centre, expected.centre, atol=1)
    reach, expected_reach = (np.abs(one.world(one.index)).max(0) for one in (points, expected))
    np.testing.assert_allclose(reach, expected_reach, atol=6)


# --- the table of points --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three(head: Phantom) -> list[SubjectPoints]:
    """Subjects with different numbers of points, stored differently."""
    second = type(head)(oblique(reoriented(head.image, "PIR")), oblique(reoriented(head.labels, "PIR")))
    third = a_brain_phantom((14, 17, 13), 6.0)
    return [prepared(head), prepared(second, halo_mm=9), prepared(third)]


def test_drawn_points_are_voxels_of_their_subject(head, three):
    table = PointTable(three[:1], background=9)
    batch = table.sample(500, None, 0.2, torch.Generator().manual_seed(0))
    assert batch.points.shape == (1, 500, 3)
    world = batch.points[0].double().numpy() + three[0].centre
    voxels = head.labels.world_to_voxel(world)
    index = np.rint(voxels).astype(int)
    np.testing.assert_allclose(head.labels.voxel_to_world(index), world, atol=1e-4)
    far = batch.classes[0].numpy() == 9
    assert far.sum() == 100
    labels = head.labels.array[tuple(index.T)]
    assert np.array_equal(labels[~far], batch.classes[0].numpy()[~far])
    raw = three[0].scaling[0, 0] + three[0].scaling[0, 1] * batch.intensities[0, :, 0].double().numpy()
    masked = (head.image.array * (head.labels.array > 0))[tuple(index.T)]
    np.testing.assert_allclose(raw, masked, atol=1e-2)


def test_each_subject_gets_as_many_points(three):
    batch = PointTable(three, 0).sample(301, None, 0.1, torch.Generator().manual_seed(1))
    assert batch.subjects.tolist() == [0, 1, 2]
    assert batch.points.shape == (3, 100, 3)
    assert batch.intensities.shape == (3, 100, 1)
    for row, subject in enumerate(three):
        known = {tuple(place) for place in np.round(subject.world(np.vstack([subject.index, subject.outside])), 2)}
        assert {tuple(place) for place in np.round(batch.points[row].double().numpy(), 2)} <= known


def test_points_are_drawn_evenly(head):
    points = prepared(head)
    few = points.kept(np.arange(20), np.arange(0))
    table = PointTable([few], 0)
    places = table.sample(20_000, None, 0.0, torch.Generator().manual_seed(2)).points[0]
    _, counts = torch.unique(places, dim=0, return_counts=True)
    assert len(counts) == 20
    assert (counts - 1000).abs().max() < 150  # five standard deviations of a fair draw


def test_a_part_of_the_subjects_is_drawn_without_repeats(three):
    table = PointTable(three, 0)
    seen = np.zeros(3, int)
    for step in range(60):
        batch = table.sample(8, 2, 0.0, torch.Generator().manual_seed(step))
        assert len(set(batch.subjects.tolist())) == 2
        assert batch.points.shape == (2, 4, 3)
        seen[batch.subjects.numpy()] += 1
    assert (seen > 25).all()


def test_a_generator_decides_the_draw(three):
    table = PointTable(three, 0)
    one, same, other = (table.sample(60, 2, 0.1, torch.Generator().manual_seed(seed)) for seed in (9, 9, 10))
    for name in ("subjects", "points", "intensities", "classes"):
        assert torch.equal(getattr(one, name), getattr(same, name))
    assert not torch.equal(one.points, other.points)


def test_without_outside_points_all_are_near(head):
    batch = PointTable([prepared(head, mask=False)], 0).sample(50, None, 0.5, torch.Generator())
    assert batch.points.shape == (1, 50, 3)
    assert (batch.classes > 0).all()


# --- a cohort -------------------------------------------------------------------------------------------------------


def test_the_data_set_of_a_cohort(atlas_cohort, tmp_path):
    dataset = build_dataset(atlas_cohort.config(tmp_path).data)
    assert dataset.cohort.ids == tuple(person.id for person in PEOPLE)
    assert dataset.ages.tolist() == [person.age for person in PEOPLE]
    assert [one.name for one in dataset.conditions] == ["ventricles", "sex"]
    assert dataset.values[1] == {"ventricles": 0.8, "sex": "M"}
    for person, points, volumes in zip(PEOPLE, dataset.subjects, dataset.volumes_ml, strict=True):
        images, labels = person.head()
        assert volumes == pytest.approx(label_volumes_ml(labels, dataset.labels), rel=1e-6)
        brain = points.classes > 0
        assert brain.sum() == (labels.array > 0).sum()
        for channel, name in enumerate(MODALITIES):
            raw = points.scaling[channel, 0] + points.scaling[channel, 1] * points.intensities[brain, channel]
            np.testing.assert_allclose(raw, images[name].array[tuple(points.index[brain].T)], atol=0.1)
    reach = max(np.abs(points.world(points.index)).max() for points in dataset.subjects)
    assert dataset.box.max() == np.ceil(2 * (reach + BOX_MARGIN_MM))


def test_points_outside_a_small_box_are_left_out_and_said(atlas_cohort, tmp_path, caplog):
    dataset = build_dataset(
        atlas_cohort.config(tmp_path, data={**data_section(atlas_cohort), "box": [40, 50, 60]}).data
    )
    for points in dataset.subjects:
        assert (np.abs(points.world(points.index)) <= [20, 25, 30]).all()
        assert (np.abs(points.world(points.outside)) <= [20, 25, 30]).all()
    assert "points of sub-01 lie outside the box" in caplog.text


def test_a_box_that_holds_nothing_is_refused(atlas_cohort, tmp_path):
    with raises("value-invalid", "0", "data.box"):
        build_dataset(atlas_cohort.config(tmp_path, data={**data_section(atlas_cohort), "box": [1, 1, 1]}).data)


def data_section(cohort: AtlasCohort) -> dict[str, Any]:
    return {"table": str(cohort.table), "modalities": list(MODALITIES)}


def data_config(cohort: AtlasCohort, **changes: Any) -> DataConfig:
    config = DataConfig(cohort.table, modalities=MODALITIES, labels=resource("labels/fetal-tissues.tsv"))
    return dataclasses.replace(config, **changes)


@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        ({"include": ("sub-0[12]",)}, ("sub-01", "sub-02")),
        ({"exclude": ("*3",)}, ("sub-01", "sub-02", "sub-04")),
        ({"include": ("sub-0*",), "exclude": ("sub-01", "sub-04")}, ("sub-02", "sub-03")),
    ],
)
def test_subjects_are_chosen_by_pattern(atlas_cohort, changes, ids):
    assert select_cohort(data_config(atlas_cohort, **changes)).ids == ids


@pytest.mark.parametrize("field", ["include", "exclude"])
def test_an_unknown_subject_is_refused(atlas_cohort, field):
    with raises("name-unknown", "sub-1*", "sub-01"):
        select_cohort(data_config(atlas_cohort, **{field: ("sub-1*",)}))


def test_a_split_is_kept(atlas_cohort, tmp_path):
    splits = tmp_path / "splits.yaml"
    splits.write_text("train: [sub-01, sub-03]\nval: [sub-02]\n")
    assert select_cohort(data_config(atlas_cohort, splits=splits)).ids == ("sub-01", "sub-03")
    with raises("name-unknown", "vall", "val"):
        select_cohort(data_config(atlas_cohort, splits=splits, split="vall"))


def test_missing_files_are_counted(cohort):
    (cohort.table.parent / "sub-02_T1w.nii").unlink()
    with raises("file-missing", "1", "12", "sub-02", "T1w"):
        select_cohort(data_config(cohort))


def test_label_values_that_the_table_lacks_are_refused(cohort):
    path = cohort.table.parent / "sub-03_Seg.nii"
    labels = Volume.load(path)
    spoilt = labels.array.copy()
    spoilt[0, 0, 0] = 77
    labels.with_array(spoilt).save(path)
    with raises("labels-invalid", "Seg", "sub-03", "77", "data.labels"):
        build_dataset(data_config(cohort))


def test_images_on_another_grid_are_refused(cohort):
    path = cohort.table.parent / "sub-02_T1w.nii"
    Volume.load(path).crop([(0, 14), (0, 18), (0, 15)]).save(path)
    with raises("geometry-mismatch", "T2w", "sub-02", "T1w"):
        build_dataset(data_config(cohort))


def test_images_in_another_place_are_refused(cohort):
    path = cohort.table.parent / "sub-02_Seg.nii"
    labels = Volume.load(path)
    affine = labels.affine.copy()
    affine[0, 3] += 2
    Volume(labels.array, affine).save(path)
    with raises("geometry-mismatch", "T2w", "sub-02", "Seg"):
        build_dataset(data_config(cohort))


def test_images_with_nan_are_refused(cohort):
    path = cohort.table.parent / "sub-04_T2w.nii"
    image = Volume.load(path)
    spoilt = image.array.astype(np.float32)
    spoilt[3, 3, 3] = np.nan
    image.with_array(spoilt).save(path)
    with raises("image-not-finite", "T2w", "sub-04", "1"):
        build_dataset(data_config(cohort))


def test_images_with_frames_are_refused(cohort):
    path = cohort.table.parent / "sub-01_T2w.nii"
    image = Volume.load(path)
    Volume(np.stack([image.array, image.array]), image.affine).save(path)
    (subject, *_) = select_cohort(data_config(cohort))
    with raises("image-dimensions", "T2w", "sub-01", "2"):
        load_subject(subject, MODALITIES, "Seg")


def test_an_empty_segmentation_names_its_subject(cohort):
    path = cohort.table.parent / "sub-02_Seg.nii"
    labels = Volume.load(path)
    labels.with_array(np.zeros(labels.shape, np.uint8)).save(path)
    with raises("image-empty", "sub-02"):
        build_dataset(data_config(cohort))


def test_the_order_of_the_label_table_does_not_matter(atlas_cohort, tmp_path):
    """Class 0 is what lies outside, wherever the table lists the value 0."""
    table = LabelTable.from_tsv(resource("labels/fetal-tissues.tsv"))
    LabelTable(tuple(reversed(table.entries))).to_tsv(tmp_path / "reversed.tsv")
    expected = build_dataset(data_config(atlas_cohort))
    dataset = build_dataset(data_config(atlas_cohort, labels=tmp_path / "reversed.tsv"))
    assert dataset.labels == expected.labels
    assert np.array_equal(dataset.subjects[0].classes, expected.subjects[0].classes)


def test_a_label_table_without_outside_is_refused(atlas_cohort, tmp_path):
    table = LabelTable.from_tsv(resource("labels/fetal-tissues.tsv"))
    LabelTable(table.entries[1:]).to_tsv(tmp_path / "tissues.tsv")
    with raises("labels-invalid", "0", "data.background"):
        build_dataset(data_config(atlas_cohort, labels=tmp_path / "tissues.tsv"))


def test_a_huge_label_table_is_refused(atlas_cohort, tmp_path):
    rows = [f"{value}\tregion{value}\t#0000{value % 256:02x}" for value in range(257)]
    (tmp_path / "huge.tsv").write_text("\n".join(["index\tname\tcolor", *rows]))
    with raises("labels-invalid", "257", "256"):
        build_dataset(data_config(atlas_cohort, labels=tmp_path / "huge.tsv"))


def test_without_a_label_table_the_values_are_the_names(atlas_cohort, caplog):
    dataset = build_dataset(data_config(atlas_cohort, labels=None))
    assert dataset.labels.names == ("background", *(f"label_{value}" for value in range(1, 9)))
    assert "No label table" in caplog.text


def test_the_rim_can_have_a_label_of_its_own(atlas_cohort, tmp_path):
    path = tmp_path / "labels.tsv"
    names = [*LabelTable.from_tsv(resource("labels/fetal-tissues.tsv")).names, "rim"]
    LabelTable.from_names(names).to_tsv(path)
    dataset = build_dataset(data_config(atlas_cohort, labels=path, background="rim", halo=8.0))
    assert dataset.background == len(names) - 1
    assert (dataset.subjects[0].classes == len(names) - 1).sum() > 100
    with raises("name-unknown", "rin", "rim"):
        build_dataset(data_config(atlas_cohort, labels=path, background="rin"))


def test_values_become_classes_by_position():
    table = LabelTable.from_mapping({"0": "outside", "4": "grey", "1000": "white"})
    labels = Volume(np.array([[[0, 4, 1000, 4]]]), np.eye(4))
    assert classes_of(labels, table, "It").ravel().tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize(
    ("conditions", "error"),
    [
        ({"ventricle": ConditionConfig()}, ("name-unknown", "'ventricle'", "'ventricles'")),
        ({"sexx": ConditionConfig("categoric")}, ("name-unknown", "'sexx'", "'sex'")),
        ({"sex": ConditionConfig()}, ("table-invalid", "sex", "sub-01", "'F'")),
        ({"sex": ConditionConfig("categoric", values=("F", "X"))}, ("name-unknown", "'sex'", "'M'")),
    ],
)
def test_unusable_conditions_are_refused(atlas_cohort, conditions, error):
    with raises(*error):
        build_dataset(data_config(atlas_cohort, conditions=conditions))


@pytest.mark.parametrize("kind", ["numeric", "categoric"])
def test_a_condition_that_is_the_same_for_all_is_refused(atlas_cohort, kind):
    config = data_config(atlas_cohort, include=("sub-01",), conditions={"sex" if kind == "categoric" else "ventricles":
                                                                        ConditionConfig(kind)})  # fmt: skip
    with raises("value-invalid"):
        build_dataset(config)


def test_a_range_the_wrong_way_is_refused():
    with raises("value-invalid", "3", "2"):
        from_mapping(ConditionConfig, {"minimum": 3, "maximum": 2})


def test_the_range_of_a_condition_comes_from_the_cohort(atlas_cohort):
    dataset = build_dataset(data_config(atlas_cohort, conditions={"ventricles": ConditionConfig(unit="ml")}))
    (condition,) = dataset.conditions
    assert (condition.minimum, condition.maximum) == (0.2, 0.8)
