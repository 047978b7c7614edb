"""Published data sets: cases, pairs and what is done to every voxel, from folders laid out like the real ones."""

from __future__ import annotations

import json
from itertools import combinations
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
import torch

from NeuroGenLib.core.config import from_mapping
from NeuroGenLib.models.folder import ModelFolder
from NeuroGenLib.registration.config import RegistrationTrainConfig
from NeuroGenLib.registration.published.datasets.config import LayoutConfig
from NeuroGenLib.registration.published.datasets.lumir import body_mask
from NeuroGenLib.registration.published.datasets.opening import find_cases, layout_pairs, structures
from NeuroGenLib.registration.train import train
from Testing.layout_folders import OBLIQUE, SHAPE, random_image, world_of, write
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")


def layout(kind: str, root: Path, **settings: Any) -> LayoutConfig:
    return from_mapping(LayoutConfig, {"kind": kind, "root": str(root), **settings})


def ids(config: LayoutConfig) -> list[str]:
    return [scan.id for scan in find_cases(config).scans]


def named(config: LayoutConfig) -> list[tuple[str, str]]:
    cases = find_cases(config)
    assert cases.pairs is not None
    return [(cases.scans[one].id, cases.scans[other].id) for one, other in cases.pairs.tolist()]


# --- OASIS ----------------------------------------------------------------------------------------------------------

CROP = {"crop": [[1, 2], [0, 0], [3, 1]]}


@pytest.fixture
def oasis(tmp_path: Path) -> Path:
    """The list of 414 cases, and files of few of them."""
    numbers = [n for n in range(1, 458) if n not in range(100, 143)]
    assert len(numbers) == 414
    names = [f"OASIS_OAS1_{n:04d}_MR1" for n in numbers]
    root = tmp_path / "oasis"
    for seed, name in enumerate(names[:3]):
        write(root / name / "aligned_norm.nii.gz", random_image(seed))
        write(root / name / "aligned_seg35.nii.gz", (random_image(seed) * 4).astype(np.int16))
        write(root / name / "norm.nii.gz", random_image(seed, (12, 12, 12)))
    (root / "subjects.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def whole_oasis(oasis: Path) -> Path:
    """The same with a file for every case; only their names are looked at."""
    for name in (oasis / "subjects.txt").read_text(encoding="utf-8").split():
        (oasis / name).mkdir(exist_ok=True)
        (oasis / name / "aligned_norm.nii.gz").touch()
    return oasis


def test_oasis_is_split_by_the_order_of_its_list(whole_oasis):
    listed = (whole_oasis / "subjects.txt").read_text(encoding="utf-8").split()
    assert ids(layout("oasis", whole_oasis)) == listed[:255]
    assert find_cases(layout("oasis", whole_oasis)).pairs is None
    assert ids(layout("oasis", whole_oasis, split="validation")) == listed[255:275]
    assert ids(layout("oasis", whole_oasis, split="test")) == listed[275:]
    assert named(layout("oasis", whole_oasis, split="validation")) == list(combinations(listed[255:275], 2))
    both = named(layout("oasis", whole_oasis, split="validation", both_directions=True))
    assert len(both) == 380
    assert {(other, one) for one, other in both} == set(both)


def test_oasis_validates_the_pairs_of_learn2reg(whole_oasis):
    pairs = named(layout("oasis", whole_oasis, split="validation", learn2reg=True))
    assert len(pairs) == 19
    assert pairs[0] == ("OASIS_OAS1_0438_MR1", "OASIS_OAS1_0439_MR1")
    assert pairs[-1] == ("OASIS_OAS1_0456_MR1", "OASIS_OAS1_0457_MR1")
    trained = ids(layout("oasis", whole_oasis, learn2reg=True))
    assert len(trained) == 394
    assert not set(trained) & {name for pair in pairs for name in pair}
    with raises("name-unknown", "test"):
        find_cases(layout("oasis", whole_oasis, split="test", learn2reg=True))


def test_oasis_trains_on_as_many_cases_as_asked(oasis):
    assert len(ids(layout("oasis", oasis, cases=3))) == 3
    with raises("value-invalid", 255, 300):
        find_cases(layout("oasis", oasis, cases=300))


def test_oasis_is_cropped_and_nothing_else(oasis):
    pairs = layout_pairs(layout("oasis", oasis, cases=3, preparation=CROP))
    prepared = pairs.prepared(1)
    expected = random_image(1)[1:-2, :, 3:-1]
    assert prepared.image.shape == (1, *expected.shape)
    assert np.allclose(prepared.image[0], expected, atol=1e-3)  # kept in half precision
    assert np.allclose(prepared.affine[:3, 3], world_of(OBLIQUE, (1, 0, 3)))
    assert prepared.mask is None
    raw = layout_pairs(layout("oasis", oasis, cases=3, image="norm", segmentation="seg35"))
    assert raw.prepared(0).image.shape == (1, 12, 12, 12)


def test_oasis_gives_its_structures_to_training(oasis):
    groups = [[1, 2], [3]]
    config = layout(
        "oasis", oasis, cases=3, use_labels=True, labels=[0, 1, 2, 3], label_groups=groups, preparation=CROP
    )
    pairs = layout_pairs(config)
    batch = pairs.sample(torch.Generator().manual_seed(0), 2)
    assert len(batch.items) == 2
    assert batch.items[0].image.shape == (2, 1, 6, 10, 4)
    images = [random_image(seed)[1:-2, :, 3:-1] for seed in range(3)]
    for item in batch.items:
        for image, labels in zip(item.image.numpy(), item.labels.numpy(), strict=True):
            source = min(images, key=lambda one: np.abs(one - image[0]).max())
            values = (source * 4).astype(int)
            assert np.array_equal(labels[0], (values == 1) | (values == 2))
            assert np.array_equal(labels[1], values == 3)
    assert np.allclose(batch.spacing, np.linalg.norm(OBLIQUE[:3, :3], axis=0))


def test_every_label_but_0_is_a_structure_without_groups(oasis):
    assert structures(layout("oasis", oasis, use_labels=True, labels=[0, 3, 1])) == ((3,), (1,))


def test_labels_stay_unread_where_no_loss_wants_them(oasis):
    batch = layout_pairs(layout("oasis", oasis, cases=3), most_labels=5).sample(torch.Generator(), 1)
    assert batch.items[0].labels is None


def test_threes_are_three_different_scans(oasis):
    batch = layout_pairs(layout("oasis", oasis, cases=3), items=3).sample(torch.Generator().manual_seed(1), 1)
    first = [float(item.image[0, 0, 0, 0, 0]) for item in batch.items]
    expected = [float(np.float16(random_image(seed)[0, 0, 0])) for seed in range(3)]
    assert sorted(first) == sorted(expected)


def test_what_a_model_must_know_of_its_data(oasis):
    record = layout_pairs(layout("oasis", oasis, cases=3, preparation=CROP)).record
    assert record["grid"] == [6, 10, 4]
    assert np.allclose(record["spacing"], np.linalg.norm(OBLIQUE[:3, :3], axis=0))
    assert record["orientation"] == "".join(nibabel.aff2axcodes(OBLIQUE))
    assert record["normalisation"] == "percentile"
    json.dumps(record)


# --- LPBA40 ---------------------------------------------------------------------------------------------------------

TRAINED = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 18, 20, 21, 22, 23, 25, 27, 30, 31, 33, 35, 36, 37, 40)


@pytest.fixture
def lpba40(tmp_path: Path) -> Path:
    """Names of all 40 subjects, with volumes of the first two."""
    root = tmp_path / "lpba40"
    for number in range(1, 41):
        folder = root / f"S{number:02d}"
        folder.mkdir(parents=True)
        (folder / f"S{number:02d}.delineation.brain.bfc.nii.gz").touch()
    for number in (1, 2):
        case = root / f"S{number:02d}" / f"S{number:02d}.delineation"
        write(case.with_name(f"{case.name}.brain.bfc.nii.gz"), 100 + 100 * random_image(number))
        write(case.with_name(f"{case.name}.structure.label.nii.gz"), (random_image(number) * 60).astype(np.uint8))
        write(case.with_name(f"{case.name}.tissue.nii.gz"), (random_image(number + 9) * 4).astype(np.uint8))
    return root


def test_lpba40_has_fixed_lists(lpba40):
    assert ids(layout("lpba40", lpba40)) == [f"S{number:02d}" for number in TRAINED]
    assert ids(layout("lpba40", lpba40, split="validation")) == ["S14", "S16", "S19", "S26", "S39"]
    tested = ids(layout("lpba40", lpba40, split="test"))
    assert tested == ["S11", "S12", "S13", "S15", "S24", "S28", "S29", "S32", "S34", "S38"]
    assert len(named(layout("lpba40", lpba40, split="test"))) == 45


def test_lpba40_is_divided_by_its_white_matter(lpba40):
    pairs = layout_pairs(layout("lpba40", lpba40, cases=2, white_matter=True))
    image, tissue = 100 + 100 * random_image(2), (random_image(11) * 4).astype(int)
    expected = np.where(tissue > 0, image / image[tissue == 3].mean(), 0)
    assert np.allclose(pairs.prepared(1).image[0], expected, atol=2e-3)
    plain = layout_pairs(layout("lpba40", lpba40, cases=2))
    assert np.allclose(plain.prepared(1).image[0], image, rtol=1e-3)


def test_a_brain_without_tissues_is_named(lpba40):
    with raises("file-missing", "S03.delineation.tissue.nii.gz"):
        find_cases(layout("lpba40", lpba40, cases=3, white_matter=True))


def test_tissues_without_white_matter_are_refused(lpba40):
    write(lpba40 / "S02" / "S02.delineation.tissue.nii.gz", np.ones(SHAPE, np.uint8))
    with raises("labels-invalid", "S02"):
        layout_pairs(layout("lpba40", lpba40, cases=2, white_matter=True)).prepared(1)


# --- LUMIR ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def lumir(tmp_path: Path) -> Path:
    """Three images that train, two that validate, two label maps."""
    root = tmp_path / "LUMIR"
    for number in range(5):
        folder = "imagesTr" if number < 3 else "imagesVal"
        image = np.round(255 * random_image(number)).astype(np.uint8)
        image[:2] = 0
        write(root / folder / f"LUMIRMRI_{number:04d}_0000.nii.gz", image)
    for number in (1, 2):
        write(root / "labelsTr" / f"LUMIRMRI_{number:04d}_0000.nii.gz", np.ones(SHAPE, np.uint8))
    content = {
        "training": [{"image": f"./imagesTr/LUMIRMRI_{n:04d}_0000.nii.gz"} for n in range(3)],
        "validation": [
            {"fixed": "./imagesVal/LUMIRMRI_0004_0000.nii.gz", "moving": "./imagesVal/LUMIRMRI_0003_0000.nii.gz"}
        ],
    }
    (root / "LUMIR_dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return root


def test_lumir_is_split_by_its_json(lumir):
    assert ids(layout("lumir", lumir)) == [f"LUMIRMRI_{n:04d}_0000" for n in range(3)]
    assert named(layout("lumir", lumir, split="validation")) == [("LUMIRMRI_0003_0000", "LUMIRMRI_0004_0000")]
    assert named(layout("lumir", lumir, split="sanity_check")) == [("LUMIRMRI_0001_0000", "LUMIRMRI_0002_0000")]
    with raises("name-unknown", "LUMIR", "test"):
        find_cases(layout("lumir", lumir, split="test"))


def test_lumir_is_divided_by_255_and_masked(lumir):
    pairs = layout_pairs(layout("lumir", lumir, body_mask_erosion=0, preparation={"scale": 255.0}))
    stored = np.round(255 * random_image(2))
    stored[:2] = 0
    prepared = pairs.prepared(2)
    assert np.allclose(prepared.image[0], stored / 255, atol=1e-3)
    assert np.array_equal(prepared.mask, stored > 0)
    assert layout_pairs(layout("lumir", lumir)).prepared(0).mask is None


def test_the_body_loses_as_many_layers_as_asked():
    body = np.zeros((9, 9, 9))
    body[2:7, 2:7, 2:7] = 3
    assert body_mask(body, 0).sum() == 125
    assert body_mask(body, 1).sum() == 27
    assert body_mask(body, 2).sum() == 1


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("[]", ("file-type",)),
        ("{}", ("value-missing", "'validation'")),
        ('{"validation": [{"moving": "a"}]}', ("value-missing", 0, "'validation'")),
        ("{", ("file-type",)),
    ],
)
def test_a_broken_list_of_lumir_is_named(lumir, content, error):
    (lumir / "LUMIR_dataset.json").write_text(content, encoding="utf-8")
    with raises(*error, "LUMIR_dataset.json"):
        find_cases(layout("lumir", lumir))


# --- CT of lungs ----------------------------------------------------------------------------------------------------

CT = {"crop_or_pad_to": [12, 8, 8], "downsampling": [2, 2, 2], "clip": [0.0, 1024.0], "scale": 1024.0}


def write_lungs(images: Path, masks: Path, name: str, seed: int) -> None:
    hounsfield = (np.random.default_rng(seed).uniform(-1100, 400, SHAPE)).astype(np.int16)
    write(images / name, hounsfield)
    write(masks / name, (random_image(seed + 50) > 0.3).astype(np.uint8), np.eye(4))


@pytest.fixture
def lung250m(tmp_path: Path) -> Path:
    """Two cases that train; files of all that validate, of which the first has voxels."""
    root = tmp_path / "Lung250M-4B"
    for case in (3, 17):
        for place in (1, 2):
            write_lungs(root / "imagesTr", root / "masksTr", f"case_{case:03d}_{place}.nii.gz", 10 * case + place)
    for case in (54, 55, 56, 94, 97, *range(114, 124)):
        for place in (1, 2):
            for folder in ("imagesTs", "masksTs"):
                (root / folder).mkdir(exist_ok=True)
                (root / folder / f"case_{case:03d}_{place}.nii.gz").touch()
    for place in (1, 2):
        write_lungs(root / "imagesTs", root / "masksTs", f"case_054_{place}.nii.gz", place)
    torch.save({"54": torch.tensor([[2.5, 3.5, 4.5, 3.0, 4.0, 5.0]])}, root / "lms_validation.pth")
    return root


def test_both_scans_of_a_case_form_a_pair(lung250m):
    assert named(layout("lung250m", lung250m)) == [("case_003_1", "case_003_2"), ("case_017_1", "case_017_2")]
    validated = named(layout("lung250m", lung250m, split="validation"))
    assert [one for one, _ in validated[:5]] == [f"case_{n}_1" for n in ("054", "055", "056", "094", "097")]
    assert validated[-1] == ("case_123_1", "case_123_2")
    assert len(validated) == 15
    with raises("file-missing", "case_104_1") as caught:
        find_cases(layout("lung250m", lung250m, split="test"))
    assert "40 files are missing" in caught.value.problem


def test_lungs_above_air_are_padded_averaged_clipped_and_divided(lung250m):
    pairs = layout_pairs(layout("lung250m", lung250m, preparation=CT))
    prepared = pairs.prepared(3)  # case_017_2
    stored = nibabel.load(lung250m / "imagesTr" / "case_017_2.nii.gz").get_fdata()
    mask = nibabel.load(lung250m / "masksTr" / "case_017_2.nii.gz").get_fdata()
    grid = [np.zeros((12, 8, 8)), np.zeros((12, 8, 8))]
    for whole, source in zip(grid, ((stored + 1024) * mask, mask), strict=True):
        whole[1:10] = source[:, 1:9]  # 9 voxels padded to 12, 10 cropped to 8
    halved = [whole.reshape(6, 2, 4, 2, 4, 2).mean(axis=(1, 3, 5)) for whole in grid]
    assert np.allclose(prepared.image[0], np.clip(halved[0], 0, 1024) / 1024, atol=1e-3)
    assert np.array_equal(prepared.mask, halved[1] == 1)
    assert np.allclose(prepared.affine[:3, :3], 2 * OBLIQUE[:3, :3])
    assert np.allclose(world_of(prepared.affine, (0, 0, 0)), world_of(OBLIQUE, (-0.5, 1.5, 0.5)))
    batch = pairs.sample(torch.Generator().manual_seed(3), 1)
    assert batch.items[0].mask.shape == (1, 1, 6, 4, 4)
    record = pairs.record
    assert (record["normalisation"], record["clip"], record["shift"], record["scale"]) == (
        "fixed",
        [-1024.0, 0.0],
        -1024.0,
        1024.0,
    )


def test_landmarks_of_lungs_lie_where_the_file_says(lung250m):
    config = layout("lung250m", lung250m, split="validation", use_landmarks=True, preparation=CT)
    pairs = layout_pairs(config)
    # In the file the centre of the first voxel is at 0.5; one voxel is padded along i and one cropped along j.
    raw = np.array([[2.0, 3.0, 4.0], [2.5, 3.5, 4.5]])
    expected = (raw + [1, -1, 0] + 0.5) / 2 - 0.5
    for place in (0, 1):
        found = pairs.prepared(place).landmarks
        assert np.allclose(found, [expected[place]])


def test_a_case_without_landmarks_is_named(lung250m):
    pairs = layout_pairs(layout("lung250m", lung250m, use_landmarks=True))
    with raises("value-missing", "case_003"):
        pairs.prepared(0)


def test_landmarks_that_hold_code_are_refused(lung250m):
    torch.save({"3": torch.nn.Linear(2, 2)}, lung250m / "lms_validation.pth")
    with raises("checkpoint-unsafe", "lms_validation.pth", "Linear"):
        layout_pairs(layout("lung250m", lung250m, use_landmarks=True)).prepared(0)


def test_a_mask_of_another_size_is_refused(lung250m):
    write(lung250m / "masksTr" / "case_003_1.nii.gz", np.ones((3, 3, 3), np.uint8))
    with raises("geometry-mismatch", "case_003_1", "(3, 3, 3)", "(9, 10, 8)"):
        layout_pairs(layout("lung250m", lung250m)).prepared(0)


@pytest.fixture
def nlst(tmp_path: Path) -> Path:
    """Two cases that train, one that validates."""
    root = tmp_path / "NLST"
    for case in (1, 2, 101):
        for place in (0, 1):
            name = f"NLST_{case:04d}_{place:04d}"
            write_lungs(root / "imagesTr", root / "masksTr", f"{name}.nii.gz", case + place)
            (root / "keypointsTr").mkdir(exist_ok=True)
            (root / "keypointsTr" / f"{name}.csv").write_text(f"1.0,2.0,{place}.5\n5,6,7\n", encoding="utf-8")

    def entry(case: int) -> dict[str, str]:
        name = f"./imagesTr/NLST_{case:04d}"
        return {"fixed": f"{name}_0000.nii.gz", "moving": f"{name}_0001.nii.gz"}

    content = {"training_paired_images": [entry(1), entry(2)], "registration_val": [entry(101)]}
    (root / "NLST_dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return root


def test_nlst_pairs_the_scans_of_a_case(nlst):
    assert named(layout("nlst", nlst)) == [("NLST_0001_0000", "NLST_0001_0001"), ("NLST_0002_0000", "NLST_0002_0001")]
    assert named(layout("nlst", nlst, split="validation")) == [("NLST_0101_0000", "NLST_0101_0001")]


def test_nlst_gives_its_key_points_to_training(nlst):
    config = layout("nlst", nlst, use_landmarks=True, preparation={"crop": [[1, 0], [0, 0], [0, 0]]})
    batch = layout_pairs(config).sample(torch.Generator().manual_seed(0), 1)
    assert batch.items[0].landmarks.tolist() == [[[0, 2, 0.5], [4, 6, 7]]]
    assert batch.items[1].landmarks.tolist() == [[[0, 2, 1.5], [4, 6, 7]]]


@pytest.mark.parametrize("text", ["", "x,y,z\n", "1,2\n", "1,2,nan\n"])
def test_broken_key_points_are_named(nlst, text):
    (nlst / "keypointsTr" / "NLST_0001_0000.csv").write_text(text, encoding="utf-8")
    with raises("table-invalid", "NLST_0001_0000.csv"):
        layout_pairs(layout("nlst", nlst, use_landmarks=True)).prepared(0)


def test_key_points_outside_the_image_are_refused(nlst):
    config = layout("nlst", nlst, use_landmarks=True, preparation={"crop": [[3, 0], [0, 0], [0, 0]]})
    with raises("geometry-mismatch", 1, 2):
        layout_pairs(config).prepared(0)


# --- training -------------------------------------------------------------------------------------------------------


def test_a_network_is_trained_on_a_data_set(lung250m, tmp_path):
    settings = {
        "data": {
            "source": "layout",
            "layout": {"kind": "lung250m", "root": str(lung250m), "preparation": {"crop_or_pad_to": [12, 8, 8]}},
        },
        "network": {
            "features": [2, 4],
            "feature_convolutions": [1, 1],
            "stage_features": [None, 4],
            "stage_convolutions": [None, 1],
            "groups": 2,
        },
        "train": {"out": str(tmp_path / "run"), "steps": 2, "device": "cpu"},
    }
    folder = train(from_mapping(RegistrationTrainConfig, settings))
    prepared = ModelFolder.read(folder).manifest["preparation"]
    assert (prepared["grid"], prepared["normalisation"]) == ([12, 8, 8], "fixed")


# --- what is missing or broken --------------------------------------------------------------------------------------


def test_the_first_missing_image_is_named(oasis):
    with raises("file-missing", "OASIS_OAS1_0004_MR1", "aligned_norm.nii.gz") as caught:
        find_cases(layout("oasis", oasis))
    assert "252 files" in caught.value.problem
    assert "layout.root" in caught.value.remedy


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("oasis", "subjects.txt"),
        ("lpba40", "S01"),
        ("lumir", "LUMIR_dataset.json"),
        ("lung250m", "imagesTr"),
        ("nlst", "NLST_dataset.json"),
    ],
)
def test_an_empty_folder_is_refused(tmp_path, kind, missing):
    with raises("file-missing", missing):
        find_cases(layout(kind, tmp_path))


def test_an_image_with_nan_is_refused(oasis):
    broken = random_image(0)
    broken[1, 2, 3] = np.nan
    name = (oasis / "subjects.txt").read_text(encoding="utf-8").split()[0]
    write(oasis / name / "aligned_norm.nii.gz", broken)
    with raises("image-not-finite", name, "1 voxel"):
        layout_pairs(layout("oasis", oasis, cases=2)).prepared(0)


def test_a_list_with_too_few_cases_is_refused(oasis):
    (oasis / "subjects.txt").write_text("one\ntwo\n", encoding="utf-8")
    with raises("table-empty", "validation"):
        find_cases(layout("oasis", oasis, split="validation"))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "lumir", "learn2reg": True}, ("value-conflict", "learn2reg")),
        ({"kind": "oasis", "body_mask_erosion": 0}, ("value-conflict", "body_mask_erosion")),
        ({"kind": "nlst", "white_matter": True}, ("value-conflict", "white_matter")),
        ({"kind": "nlst", "use_labels": True, "labels": [1]}, ("value-conflict", "use_labels")),
        ({"kind": "oasis", "use_labels": True}, ("value-missing", "use_labels")),
        ({"kind": "abdomen"}, ("value-invalid", "abdomen")),
        ({"preparation": {"clip": [3, 3]}}, ("value-invalid",)),
        ({"preparation": {"scale": 0}}, ("value-invalid", "scale")),
        ({"preparation": {"downsampling": [2, 0, 1]}}, ("value-invalid", "downsampling")),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, says):
    with raises(*says):
        from_mapping(LayoutConfig, settings)
