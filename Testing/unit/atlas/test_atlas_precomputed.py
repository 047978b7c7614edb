"""Published atlases that are plain 4-D files: their ages, labels and place in space."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.atlas.precomputed import FrameFile, PrecomputedAtlas, centred, export
from NeuroGenLib.commands.atlas.open import open_
from NeuroGenLib.spatial.labels import LabelTable
from NeuroGenLib.spatial.volume import Volume
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (6, 7, 5)
AGES = (21.0, 23.0, 25.0)
SPACING = (1.5, 2.0, 2.5)
NAMES = ("nothing", "csf", "BG", "white_matter")


def affine_of(origin: tuple[float, float, float] = (0, 0, 0), turned: bool = False) -> np.ndarray:
    """Spacing and origin; ``turned`` swaps two axes and flips one, as a left-handed file has them."""
    affine = np.diag([*SPACING, 1.0])
    if turned:
        affine[:3, :3] = np.array([[0, -2.0, 0], [1.5, 0, 0], [0, 0, 2.5]]) @ np.diag([1, -1, 1])
    affine[:3, 3] = origin
    return affine


def images() -> np.ndarray:
    """(i, j, k, age): float32 in [0, 1], every frame of its own."""
    return np.random.default_rng(1).random((*SHAPE, len(AGES)), dtype=np.float32)


def label_maps() -> np.ndarray:
    """(i, j, k, age): float32 whole values: a csf block that grows by a slice a frame, in a rim of value 2."""
    maps = np.zeros((*SHAPE, len(AGES)), np.float32)
    for frame in range(len(AGES)):
        maps[1:5, 1:6, 1:4, frame] = 2
        maps[2:4, 2 : 3 + frame, 2, frame] = 1
        maps[2, 2, 3, frame] = 3
    return maps


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """Write it as the published program does: no qform, fourth zoom 1, no units."""
    nibabel.save(nibabel.Nifti1Image(array, affine_of() if affine is None else affine), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Image, label maps and certainty maps of one atlas, under the published program's names, and a label table."""
    where = tmp_path / "published"
    where.mkdir()
    end = "ga=21-25_cond=0_ep=9.nii.gz"
    save(where / f"T2w_{end}", images())
    save(where / f"SegEM9_{end}", label_maps())
    for value, name in ((3, "white_matter"), (1, "csf")):
        save(where / f"{name}_{end}", (label_maps() == value).astype(np.float32) * np.float32(0.8))
    LabelTable.from_names(NAMES).to_tsv(where / "tissues.tsv")
    return where


def files(folder: Path) -> dict[str, Any]:
    """What :meth:`PrecomputedAtlas.open` takes to open all of it."""
    return {
        "path": next(folder.glob("T2w*")),
        "segmentation": next(folder.glob("SegEM9*")),
        "labels": folder / "tissues.tsv",
        "certainty": sorted(folder.glob("white*")) + sorted(folder.glob("csf*")),
    }


# ---- ages ----


def test_ages_come_from_the_name(folder: Path) -> None:
    atlas = PrecomputedAtlas.open(files(folder)["path"])
    assert (atlas.ages, atlas.age_unit, atlas.name) == (AGES, "weeks", "T2w")
    assert any("evenly" in text for text in atlas.warnings)


@pytest.mark.parametrize(
    ("name", "frames", "ages"),
    [
        ("T1w_ga=37-45_cond=2_ep=10.nii.gz", 5, (37, 39, 41, 43, 45)),
        ("T2w_ga=21.5-22.5_cond=0_ep=1.nii", 3, (21.5, 22, 22.5)),
        ("T2w_ga=30-30_cond=0_ep=1.nii.gz", 1, (30,)),
        ("T2w_ga=21-37.nii.gz", 17, tuple(range(21, 38))),
    ],
)
def test_names_of_the_published_form(tmp_path: Path, name: str, frames: int, ages: tuple[float, ...]) -> None:
    path = save(tmp_path / name, np.zeros((2, 2, 2, frames), np.float32))
    assert PrecomputedAtlas.open(path).ages == ages


def test_given_ages_come_first(folder: Path) -> None:
    atlas = PrecomputedAtlas.open(files(folder)["path"], ages=(30, 31, 36.5))
    assert atlas.ages == (30, 31, 36.5)
    assert not any("evenly" in text for text in atlas.warnings)


def test_ages_of_neurogens_own_record(tmp_path: Path) -> None:
    path = save(tmp_path / "image.nii.gz", images())
    record = {"action": "atlas generate", "parameters": {"ages": [1, 2, 4], "age": {"name": "age", "unit": "years"}}}
    (tmp_path / "provenance.json").write_text(json.dumps(record), encoding="utf-8")
    atlas = PrecomputedAtlas.open(path)
    assert (atlas.ages, atlas.age_name, atlas.age_unit) == ((1, 2, 4), "age", "years")
    for other in ("[]", "{}", '{"action": "fit"}', '{"action": "atlas open", "parameters": {"ages": 5}}'):
        (tmp_path / "provenance.json").write_text(other, encoding="utf-8")
        with raises("value-missing"):
            PrecomputedAtlas.open(path)


def test_ages_of_a_header_with_a_start_and_a_unit(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(images(), affine_of())
    week = 7 * 24 * 3600
    image.header.set_zooms((*SPACING, 0.5 * week))
    image.header["toffset"] = 20 * week
    nibabel.save(image, tmp_path / "a.nii.gz")
    with raises("value-missing", "--ages"):
        PrecomputedAtlas.open(tmp_path / "a.nii.gz")
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert PrecomputedAtlas.open(tmp_path / "a.nii.gz").ages == (20, 20.5, 21)
    image.header["toffset"] = 0  # what many programs write without meaning it
    nibabel.save(image, tmp_path / "a.nii.gz")
    with raises("value-missing", "--ages"):
        PrecomputedAtlas.open(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("ages", "error"),
    [
        ((21, 22), ("value-conflict", "2 ages", "3 frames")),
        ((21, 22, 23, 24), ("value-conflict", "4 ages", "3 frames")),
        ((21, 23, 22), ("value-invalid", "21, 23, 22")),
        ((21, 21, 22), ("value-invalid", "21, 21, 22")),
        ((21, 22, float("nan")), ("value-invalid", "21, 22, nan")),
        ((21, 22, float("inf")), ("value-invalid", "21, 22, inf")),
    ],
)
def test_ages_must_fit_the_frames(folder: Path, ages: tuple[float, ...], error: tuple[Any, ...]) -> None:
    with raises(*error):
        PrecomputedAtlas.open(files(folder)["path"], ages=ages)


def test_one_frame_has_one_age(tmp_path: Path) -> None:
    path = save(tmp_path / "T2w_ga=21-25_cond=0_ep=1.nii.gz", images()[..., :1])
    with raises("value-missing", "21", "25"):
        PrecomputedAtlas.open(path)


@given(ages=st.lists(st.floats(20, 40), min_size=3, max_size=3, unique=True).map(sorted), share=st.floats(0, 1))
def test_the_nearest_stored_age_is_shown(folder: Path, ages: list[float], share: float) -> None:
    atlas = PrecomputedAtlas.open(files(folder)["path"], ages=ages)
    age = min(ages[0] + share * (ages[2] - ages[0]), ages[2])
    frame = int(np.argmin(np.abs(np.array(ages) - age)))
    np.testing.assert_array_equal(atlas.image(age).array, images()[..., frame])


@pytest.mark.parametrize("age", [20.99, 25.01, float("nan"), float("inf")])
def test_no_age_outside_is_shown(folder: Path, age: float) -> None:
    atlas = PrecomputedAtlas.open(**files(folder))
    for draw in (atlas.image, atlas.labels, atlas.probabilities):
        with raises("model-range", "21", "25"):
            draw(age)


# ---- labels ----


def test_labels_are_integers_without_the_rim(folder: Path) -> None:
    atlas = PrecomputedAtlas.open(**files(folder))
    assert atlas.table is not None
    assert dict(zip(atlas.table.values, atlas.table.names, strict=True)) == {0: "nothing", 1: "csf", 3: "white_matter"}
    for frame, age in enumerate(AGES):
        expected = label_maps()[..., frame]
        expected[expected == 2] = 0
        shown = atlas.labels(age)
        assert shown.array.dtype == np.uint8
        np.testing.assert_array_equal(shown.array, expected)
    assert any("BG" in text for text in atlas.corrections)
    assert any("float32" in text for text in atlas.corrections)
    assert not any("label_" in text for text in atlas.warnings)


def test_values_without_a_name_are_named_by_number(folder: Path) -> None:
    given_files = files(folder)
    LabelTable.from_mapping({"0": "background", "2": "Background rim", "1": "csf"}).to_tsv(folder / "tissues.tsv")
    atlas = PrecomputedAtlas.open(**given_files | {"certainty": []})
    assert atlas.table is not None
    assert atlas.table.lookup(3).name == "label_3"
    assert atlas.table.lookup(2).name == "Background rim", "only the rim's own names are taken away"
    assert any("values 3 are named label_N" in text for text in atlas.warnings)
    plain = PrecomputedAtlas.open(**given_files | {"certainty": [], "labels": None})
    assert plain.table is not None
    assert plain.table.names == ("background", "label_1", "label_2", "label_3")


def test_a_table_beside_the_label_maps_is_used(folder: Path) -> None:
    (folder / "tissues.tsv").rename(folder / "labels.tsv")
    atlas = PrecomputedAtlas.open(**files(folder) | {"labels": None})
    assert atlas.table is not None
    assert atlas.table.lookup(1).name == "csf"


def test_growth_is_counted_in_ml(folder: Path) -> None:
    atlas = PrecomputedAtlas.open(**files(folder))
    voxel = np.prod(SPACING) / 1000
    for frame, row in enumerate(atlas.growth()):
        assert row["scan_age"] == AGES[frame]
        assert row["csf_ml"] == pytest.approx(2 * (frame + 1) * voxel, abs=1e-3)
        assert row["white_matter_ml"] == pytest.approx(voxel, abs=1e-3)
        assert row["total_ml"] == pytest.approx((2 * (frame + 1) + 1) * voxel, abs=2e-3)
        assert "BG_ml" not in row


def test_certainty_maps_are_in_the_order_of_the_table(folder: Path) -> None:
    atlas = PrecomputedAtlas.open(**files(folder))
    assert atlas.classes == ("csf", "white_matter")
    maps = atlas.probabilities(23).array
    for channel, value in enumerate((1, 3)):
        np.testing.assert_allclose(maps[channel], 0.8 * (label_maps()[..., 1] == value))


@pytest.mark.parametrize("what", ["labels", "certainty"])
def test_what_was_not_opened_is_refused(folder: Path, what: str) -> None:
    atlas = PrecomputedAtlas.open(files(folder)["path"])
    with raises("value-missing", "T2w_ga=21-25_cond=0_ep=9.nii.gz", "segmentation" if what == "labels" else what):
        (atlas.labels if what == "labels" else atlas.probabilities)(23)


# ---- place ----


@pytest.mark.parametrize("turned", [False, True])
def test_the_centre_of_the_box_goes_to_the_origin(tmp_path: Path, turned: bool) -> None:
    path = save(tmp_path / "T2w_ga=21-25_.nii.gz", images(), affine_of(turned=turned))
    atlas = PrecomputedAtlas.open(path, fix_origin=True)
    volume = atlas.image(21)
    np.testing.assert_allclose(volume.affine[:3, :3], affine_of(turned=turned)[:3, :3], atol=1e-6)
    corners = np.array([[0, 0, 0], np.array(SHAPE) - 1])
    placed = corners @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    np.testing.assert_allclose(placed.sum(axis=0), 0, atol=1e-5)
    if not turned:
        np.testing.assert_allclose(
            volume.affine[:3, 3], [-(n - 1) / 2 * mm for n, mm in zip(SHAPE, SPACING, strict=True)]
        )
    assert any("origin was moved from (0, 0, 0)" in text for text in atlas.corrections)
    again = save(tmp_path / "again_ga=21-25_.nii.gz", images(), volume.affine)
    assert PrecomputedAtlas.open(again, fix_origin=True).corrections == [], "already there"


def test_an_origin_that_is_somewhere_is_not_fixed(tmp_path: Path) -> None:
    path = save(tmp_path / "T2w_ga=21-25_.nii.gz", images(), affine_of((3, 0, 0)))
    with raises("value-conflict", "3", "0", "--fix-origin"):
        centred(FrameFile.open(path))
    atlas = PrecomputedAtlas.open(path)
    np.testing.assert_array_equal(atlas.image(21).affine, affine_of((3, 0, 0)))
    assert not any("origin" in text for text in atlas.warnings)


def test_an_origin_of_zero_is_mentioned(folder: Path) -> None:
    assert any("--fix-origin" in text for text in PrecomputedAtlas.open(files(folder)["path"]).warnings)


def test_a_header_without_orientation_is_mentioned(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(images(), affine_of())
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "T2w_ga=21-25_.nii.gz")
    atlas = PrecomputedAtlas.open(tmp_path / "T2w_ga=21-25_.nii.gz")
    assert any("left and right are a guess" in text for text in atlas.warnings)


# ---- writing ----


def test_what_is_written_is_an_atlas_like_a_generated_one(folder: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    atlas = PrecomputedAtlas.open(**files(folder), fix_origin=True)
    out = tmp_path / "out"
    written = export(atlas, out)
    assert {path.name for path in written} == {path.name for path in out.iterdir()}
    assert {path.name for path in written} == {
        *("image.nii.gz", "labels.nii.gz", "labels.tsv", "probabilities.nii.gz", "growth.tsv", "growth.png"),
        "provenance.json",
    }
    image = nibabel.load(out / "image.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), images())
    np.testing.assert_allclose(image.affine[:3, 3], [-3.75, -6, -5])
    assert image.header.get_zooms()[3] == 2
    labels = nibabel.load(out / "labels.nii.gz")
    assert labels.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(labels.dataobj), np.where(label_maps() == 2, 0, label_maps()))
    maps = np.asarray(nibabel.load(out / "probabilities.nii.gz").dataobj)
    assert maps.shape == (*SHAPE, 3, 2)
    np.testing.assert_allclose(maps[..., 1], 0.8 * (label_maps() == 3), atol=1 / 255)
    rows = [line.split("\t") for line in (out / "growth.tsv").read_text(encoding="utf-8").splitlines()]
    assert rows[0] == ["scan_age", "csf_ml", "white_matter_ml", "total_ml"]
    assert [float(row[0]) for row in rows[1:]] == list(AGES)
    record = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    shas = {entry["name"]: entry["sha256"] for entry in record["inputs"]}
    assert shas == {name: hashlib.sha256(before[name]).hexdigest() for name in before if name.endswith(".gz")}
    assert {entry["role"] for entry in record["inputs"]} == {"image", "segmentation", "certainty"}
    assert len(record["corrections"]) == 3
    assert record["probabilities"] == ["csf", "white_matter"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    # It can be opened again: the ages are those of its own record, the table lies beside.
    again = PrecomputedAtlas.open(out / "image.nii.gz", segmentation=out / "labels.nii.gz")
    assert again.ages == AGES
    assert again.table == atlas.table
    assert again.corrections == []


def test_a_single_age_stays_four_dimensional(tmp_path: Path) -> None:
    path = save(tmp_path / "T2w_ga=30-30_.nii.gz", images()[..., :1])
    export(PrecomputedAtlas.open(path), tmp_path / "out")
    assert nibabel.load(tmp_path / "out" / "image.nii.gz").shape == (*SHAPE, 1)
    assert PrecomputedAtlas.open(tmp_path / "out" / "image.nii.gz").ages == (30,)


@given(
    array=st.sampled_from([np.int16, np.uint8, np.float64, np.float32]),
    slope=st.sampled_from([None, 0.5, 2.0]),
)
def test_stored_types_and_scalings_are_read_as_nibabel_reads_them(
    folder: Path, array: type, slope: float | None
) -> None:
    values = (images() * 100).astype(array)
    image = nibabel.Nifti1Image(values, affine_of())
    if slope is not None and np.dtype(array).kind in "iu":
        image.header.set_slope_inter(slope, 1.0)
    path = folder / "scaled_ga=21-25_.nii"
    nibabel.save(image, path)
    expected = nibabel.load(path).get_fdata()
    atlas = PrecomputedAtlas.open(path)
    for frame, age in enumerate(AGES):
        np.testing.assert_allclose(atlas.image(age).array, expected[..., frame], rtol=1e-6)


# ---- the command ----


def test_the_command_says_what_a_file_holds(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given_files = files(folder)
    line = [
        str(given_files["path"]),
        f"--segmentation={given_files['segmentation']}",
        f"--labels={given_files['labels']}",
    ]
    open_([*line, "--progress=none"])
    said = capsys.readouterr().out
    assert "ages     21, 23, 25 weeks (3 frames)" in said
    assert "6 x 7 x 5 voxels of 1.5, 2, 2.5 mm" in said
    assert "csf: 0.015 ml at the first age, 0.045 ml at the last" in said
    assert "research use" in said
    assert {path.name for path in tmp_path.iterdir()} == {"published"}
    open_([*line, "--ages=30,31,32", "--fix-origin", f"--out={tmp_path / 'out'}", "--json", "--progress=none",
           "--certainty", *map(str, given_files["certainty"])])  # fmt: skip
    facts = json.loads(capsys.readouterr().out)
    assert facts["ages"] == [30, 31, 32]
    assert facts["origin_mm"] == [-3.75, -6, -5]
    assert facts["range"] == [pytest.approx(images().min()), pytest.approx(images().max())]
    assert facts["certainty"] == ["csf", "white_matter"]
    assert sorted(facts["written"]) == sorted(str(path) for path in (tmp_path / "out").iterdir())
    with raises("value-missing", "--segmentation"):
        open_([str(given_files["path"]), f"--labels={given_files['labels']}"])


# ---- broken files ----


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def packed_text(path: Path) -> None:
    path.write_bytes(gzip.compress(b"this is not an image, but long enough to be one " * 20))


def three_axes(path: Path) -> None:
    save(path, images()[..., 0])


def five_axes(path: Path) -> None:
    save(path, images()[..., None])


def nan(path: Path) -> None:
    array = images()
    array[1, 2, 3, 2] = np.nan
    save(path, array)


def colours(path: Path) -> None:
    array = np.zeros((*SHAPE, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    save(path, array)


def claims(path: Path) -> None:
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[40:56] = np.array([4, 30000, 30000, 30000, 3, 1, 1, 1], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))


def no_frames(path: Path) -> None:
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[40:56] = np.array([4, 6, 7, 5, 0, 1, 1, 1], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (cut, "file-damaged"),
        (packed_text, "file-damaged"),
        (three_axes, "image-dimensions"),
        (five_axes, "image-dimensions"),
        (nan, "image-not-finite"),
        (colours, "value-invalid"),
        (claims, "file-damaged"),
        (no_frames, "file-damaged"),
    ],
)
def test_a_broken_image_is_named(folder: Path, tmp_path: Path, spoil: Any, code: Any) -> None:
    path = files(folder)["path"]
    spoil(path)
    with raises(code, path):
        export(PrecomputedAtlas.open(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("array", "affine", "error"),
    [
        (label_maps()[:-1], affine_of(), ("geometry-mismatch", "(6, 7, 5, 3)", "(5, 7, 5, 3)")),
        (label_maps()[..., :2], affine_of(), ("geometry-mismatch", "(6, 7, 5, 3)", "(6, 7, 5, 2)")),
        (label_maps(), affine_of((0, 0, 1)), ("geometry-mismatch", "(0, 0, 0)", "(0, 0, 1)")),
        (label_maps() + 0.5, affine_of(), ("labels-invalid", "age 21")),
        (label_maps() - 1, affine_of(), ("labels-invalid", "age 21")),
        (np.where(label_maps() == 1, np.nan, label_maps()), affine_of(), ("labels-invalid", "age 21")),
    ],
)
def test_label_maps_that_do_not_fit_are_refused(
    folder: Path, array: np.ndarray, affine: np.ndarray, error: tuple[Any, ...]
) -> None:
    given_files = files(folder)
    save(given_files["segmentation"], array.astype(np.float32), affine)
    with raises(*error, "SegEM9"):
        PrecomputedAtlas.open(**given_files)


def test_certainty_maps_that_do_not_fit_are_refused(folder: Path) -> None:
    given_files = files(folder)
    end = "ga=21-25_cond=0_ep=9.nii.gz"
    other = save(folder / f"whitematter_{end}", images())
    with raises("name-unknown", "whitematter", "white_matter"):
        PrecomputedAtlas.open(**given_files | {"certainty": [other]})
    twice = save(folder / f"csf_{end}.copy.nii.gz", images())
    with raises("value-duplicate"):
        PrecomputedAtlas.open(**given_files | {"certainty": [*given_files["certainty"], twice]})
    save(folder / f"csf_{end}", images() * 3)
    with raises("value-invalid", f"csf_{end}"):
        PrecomputedAtlas.open(**given_files).probabilities(21)


def test_missing_files_are_named(folder: Path) -> None:
    given_files = files(folder)
    for role in ("path", "segmentation", "labels"):
        with raises("file-missing", "gone"):
            PrecomputedAtlas.open(**given_files | {role: folder / "gone.nii.gz"})


def test_volumes_are_volumes(folder: Path) -> None:
    atlas = PrecomputedAtlas.open(**files(folder))
    assert all(isinstance(one, Volume) for one in (atlas.image(22), atlas.labels(22), atlas.probabilities(22)))
    assert atlas.probabilities(22).channels == 2
