"""What super-resolution trains on: slices and their interpolation, who is read, and the windows that are drawn."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from NeuroGenLib.cohort.subjects import Cohort, Subject
from NeuroGenLib.simulate.contrast import ContrastConfig
from NeuroGenLib.simulate.deformation import DeformationConfig
from NeuroGenLib.simulate.thick_slices import SliceProfile, slice_positions, thick_slices
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.config import (
    ImagesConfig,
    MapsConfig,
    NetworkConfig,
    ScansConfig,
    SlicesConfig,
    SplitConfig,
    SuperresTrainConfig,
)
from NeuroGenLib.superres.data.degradation import (
    SHARPENED,
    SliceAcquisition,
    sample_slices,
    simulated_interpolation,
    slice_record,
    spline_matrix,
)
from NeuroGenLib.superres.data.subjects import read_examples, split
from NeuroGenLib.superres.data.windows import Windows, validation_window, window
from NeuroGenLib.superres.intensity import head_range
from NeuroGenLib.superres.stacks.data_consistency import sharpened
from NeuroGenLib.superres.stacks.stack import as_stack
from NeuroGenLib.training.settings import TrainerConfig
from Testing.geometry import reoriented
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.core.errors import Code

STILL = DeformationConfig(rotation=0, log_scale=0, shear=0, translation=0, scales=(), amplitudes=())
SHARP = {
    "jitter": 0, "stripped": 0, "thick": 0, "lesions": 0, "noise": (0, 0), "blur": (0, 0), "bias": (0, 0),
    "log_gamma": 0, "background": 0, "deviation": (0, 0), "texture": (0, 0),
}  # fmt: skip
PLAIN_SLICES = SlicesConfig((4, 4), width=(1, 1), box=0, gap_chance=0, several=0, noise=(0, 0))
PLAIN_IMAGES = ImagesConfig(0, guide_dropped=0, guide_shift=0, guide_turn=0, gain=0, offset=0, log_gamma=0, bias=(0, 0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth_image(shape: tuple[int, ...] = (20, 22, 24)) -> np.ndarray:
    """Waves of three directions, 0.2 to 1.8."""
    i, j, k = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return 1 + 0.4 * np.sin(i / 3) + 0.2 * np.cos(j / 2) + 0.2 * np.sin(k / 2.5)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three heads of tissue (5) and fluid (4) on 1 mm; stored left-handed; T2w, T1w and label maps."""
    rows = ["participant_id\tT2w\tT1w\tdseg"]
    away = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(24) - 11.5] * 3, indexing="ij")), axis=0)
    for number in range(3):
        labels = np.zeros((24, 24, 24), np.int16)
        labels[away < 9 - 0.5 * number] = 4
        labels[:, 4:20, 6:18][(away < 7)[:, 4:20, 6:18]] = 5
        t2w = np.where(labels == 4, 900.0, np.where(labels == 5, 300.0, 0.0)) + 20 * smooth_image((24,) * 3)
        t1w = np.where(labels == 5, 80.0, np.where(labels == 4, 20.0, 0.0))
        for name, array in (("T2w", t2w * (labels > 0)), ("T1w", t1w), ("dseg", labels)):
            reoriented(Volume(array.astype(np.float32 if name != "dseg" else np.int16), np.eye(4)), "LIA").save(
                tmp_path / f"sub-{number}_{name}.nii.gz"
            )
        rows.append("\t".join([f"sub-{number}", *(f"sub-{number}_{name}.nii.gz" for name in ("T2w", "T1w", "dseg"))]))
    (tmp_path / "participants.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path / "participants.tsv"


def job(table: Path, **changes: object) -> SuperresTrainConfig:
    scans = changes.pop("scans", {"segmentation": "dseg"})
    settings = {
        "slices": PLAIN_SLICES, "images": PLAIN_IMAGES, "deformation": STILL,
        "target": ContrastConfig(kind="t2w", **SHARP), "guide": ContrastConfig(kind="t1w", **SHARP),
        "network": NetworkConfig(features=(4, 8)), "window": 16,
        "split": SplitConfig(kind="named", validation=("sub-2",)), **changes,
    }  # fmt: skip
    return SuperresTrainConfig(
        train=TrainerConfig(out=table.parent / "run", steps=1), scans=ScansConfig(source=table, **scans), **settings
    )


# --- slices and their interpolation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_training_sees_slices_as_a_scan_is_seen(axis: int) -> None:
    """A scan in thick slices is resampled and sharpened to the same image; away from the ends of the field of view."""
    image = np.pad(smooth_image(), [(20, 20) if one == axis else (0, 0) for one in range(3)], mode="reflect")
    profile = SliceProfile("gaussian", 3.5)
    volume = Volume(image, np.diag([0.9, 0.9, 0.9, 1]))
    thick = thick_slices(volume, axis, profile, 4.0, 0.7)
    plain = thick.resample(like=volume, order=3)
    plain = plain.with_array(plain.array.clip(thick.array.min(), thick.array.max()))
    expected = sharpened(plain, as_stack(thick, thickness=3.5, gap=0.5, axis=axis), SHARPENED).array
    found = simulated_interpolation(
        torch.from_numpy(image), [SliceAcquisition(axis, 3.5, 4.0, 3.5, offset=0.7)], 0.9, 0, generator()
    )
    inner = tuple(slice(20, -20) if one == axis else slice(None) for one in range(3))
    moved = np.abs(expected - plain.array)[inner].max()
    # The model of a stack samples the profile a little otherwise than the matrices do.
    assert np.abs(found.numpy() - expected)[inner].max() < 0.1 * moved
    assert np.abs(expected - image)[inner].mean() < 0.7 * np.abs(plain.array - image)[inner].mean()


@given(st.integers(12, 40), st.floats(1.5, 5), st.floats(-2, 2))
def test_a_spline_gives_slices_back_where_they_are(size: int, distance: float, offset: float) -> None:
    places = slice_positions(size, 1.0, SliceProfile("gaussian", distance), distance, offset)
    matrix = spline_matrix(size, places)
    assert np.allclose(matrix.sum(axis=1), 1, atol=1e-9)
    values = np.random.default_rng(3).random(len(places))
    for place, value in zip(places, values, strict=True):
        if len(places) > 1 and abs(place - round(place)) < 1e-9 and 0 <= place < size:
            assert (matrix @ values)[round(place)] == pytest.approx(value)


def test_one_slice_is_everywhere() -> None:
    assert np.array_equal(spline_matrix(5, np.array([2.0])), np.ones((5, 1)))


def test_a_correction_keeps_what_slices_tell(table: Path) -> None:
    """However wrong a network is, its window gives nearly the slices of the interpolation."""
    config = job(table)
    (example,) = read_examples(config).validation
    batch = validation_window(example, config, 3.0, 1, 0)
    wrong = batch.low + 0.3  # which slices show
    kept = batch.consistent(wrong)
    inner = (0, 0, slice(None), slice(3, -3), slice(None))
    assert float((kept - batch.low)[inner].abs().max()) < 0.02
    ripple = batch.low + 0.3 * (-1.0) ** torch.arange(batch.low.shape[3])[:, None]  # which they do not
    assert torch.allclose((batch.consistent(ripple) - batch.low)[inner], (ripple - batch.low)[inner], atol=0.06)


def test_interpolation_is_not_darker_or_brighter_than_the_slices() -> None:
    image = torch.zeros(8, 8, 32, dtype=torch.float64)
    image[..., 16:] = 1
    found = simulated_interpolation(image, [SliceAcquisition(2, 4, 4, 4)], 1.0, 0, generator())
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1


def test_several_stacks_tell_more_than_one() -> None:
    image = torch.from_numpy(np.random.default_rng(0).random((24, 24, 24)))
    image = torch.nn.functional.avg_pool3d(image[None, None], 3, 1, 1)[0, 0]
    stacks = [SliceAcquisition(axis, 4, 4, 4) for axis in range(3)]
    errors = [
        float((simulated_interpolation(image, stacks[:count], 1.0, 0, generator()) - image).square().mean())
        for count in (1, 3)
    ]
    assert errors[1] < 0.6 * errors[0]


def test_noise_grows_what_was_dark_and_is_a_function_of_the_generator() -> None:
    image = torch.zeros(16, 16, 16)
    stack = [SliceAcquisition(0, 2, 2, 2)]
    one, again = (simulated_interpolation(image, stack, 1.0, 0.1, generator(5)) for _ in range(2))
    assert torch.equal(one, again)
    assert float(one.mean()) == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.05)  # the mean of a Rayleigh variable


def test_drawn_slices_lie_in_their_intervals_and_say_what_they_are() -> None:
    config = SlicesConfig((2, 6), width=(0.9, 1.1), gap_chance=0.5, gap=(0.1, 0.2), several=0.5)
    counts = set()
    for seed in range(40):
        stacks = sample_slices(generator(seed), config)
        counts.add(len(stacks))
        assert len({one.axis for one in stacks}) == len(stacks)
        for one in stacks:
            assert 2 <= one.thickness <= 6
            assert 0.9 <= one.width / one.thickness <= 1.1
            assert 1 <= one.distance / one.thickness <= 1.2
            assert abs(one.offset) <= one.distance / 2
        thickness, distance = slice_record(stacks, 0.5)
        first = stacks[0]
        assert thickness[first.axis] == pytest.approx(first.thickness / 0.5)
        assert distance[first.axis] == pytest.approx(first.distance / 0.5)
        assert sum(value > 0 for value in thickness) == len(stacks)
    assert counts == {1, 2, 3}
    assert sample_slices(generator(), config, axis=1)[0].axis == 1


# --- intensities ----------------------------------------------------------------------------------------------------


def test_the_range_of_a_head_is_that_of_its_percentiles() -> None:
    values = np.arange(1010.0).reshape(10, 101, 1)
    head = values < 1001
    assert head_range(values, head) == pytest.approx((10, 990))


def test_a_head_without_voxels_or_contrast_is_named() -> None:
    with raises("image-empty", "scan.nii"):
        head_range(np.ones((2, 2, 2)), np.zeros((2, 2, 2), bool), "scan.nii")
    with raises("image-empty"):
        head_range(np.ones((2, 2, 2)), np.ones((2, 2, 2), bool))


# --- who is read ----------------------------------------------------------------------------------------------------


def cohort(*ids: str) -> Cohort:
    return Cohort(tuple(Subject(one, {}, session=str(n)) for n, one in enumerate(ids)), (), "the table", ())


def test_sessions_of_a_person_stay_together() -> None:
    everybody = cohort(*(f"sub-{n // 2}" for n in range(40)))
    parts = split(everybody, SplitConfig(seed=3))
    people = [{one.id for one in part} for part in parts.values()]
    assert sum(len(part) for part in parts.values()) == 40
    assert not people[0] & people[1]
    assert not people[0] & people[2]
    assert not people[1] & people[2]
    assert [len(one) for one in people] == [14, 3, 3]
    again, other = (split(everybody, SplitConfig(seed=seed)) for seed in (3, 4))
    assert again == parts
    assert other != parts


def test_the_published_split_cuts_in_order() -> None:
    parts = split(cohort(*"abcdefg"), SplitConfig(kind="order"))
    assert ["".join(one.id for one in part) for part in parts.values()] == ["abcd", "e", "fg"]


@pytest.mark.parametrize(
    ("ids", "settings", "code", "named"),
    [
        ("ab", SplitConfig(kind="order"), "table-empty", "validate"),
        ("a", SplitConfig(), "table-empty", "train"),
        ("ab", SplitConfig(kind="named", validation=("c",)), "name-unknown", "'c'"),
        ("ab", SplitConfig(kind="named", validation=("*",)), "table-empty", "train"),
    ],
)
def test_an_empty_part_of_a_split_is_refused(ids: str, settings: SplitConfig, code: Code, named: str) -> None:
    with raises(code, named):
        split(cohort(*ids), settings)


def test_scans_are_upright_scaled_and_cut_around_the_head(table: Path) -> None:
    examples = read_examples(job(table))
    assert examples.sizes == (2, 1, 0)
    assert [one.id for one in examples.validation] == ["sub-2"]
    first = examples.scans[0]
    assert first.spacing == pytest.approx(1)
    stored = Volume.load(table.parent / "sub-0_T2w.nii.gz").reorient("RAS").array
    inside = Volume.load(table.parent / "sub-0_dseg.nii.gz").reorient("RAS").array > 0
    low, high = np.percentile(stored[inside], (1, 99))
    assert np.allclose(first.image.float().numpy(), (stored - low) / (high - low), atol=2e-3)
    assert first.air == pytest.approx(-low / (high - low))
    assert np.array_equal(first.head.numpy(), inside)
    assert first.head.numpy()[tuple(first.centres.T)].all()


def test_scans_without_label_maps_are_scaled_by_a_head_that_is_found(table: Path) -> None:
    examples = read_examples(job(table, scans={"guide": "T1w"}))
    first = examples.scans[0]
    inside = Volume.load(table.parent / "sub-0_dseg.nii.gz").reorient("RAS").array > 0
    found = first.head.numpy()
    assert 2 * (found & inside).sum() / (found.sum() + inside.sum()) > 0.85
    assert first.guide is not None
    assert first.labels is None


def test_anisotropic_scans_are_refused(table: Path) -> None:
    for name in ("T2w", "dseg"):
        path = table.parent / f"sub-1_{name}.nii.gz"
        volume = Volume.load(path)
        Volume(volume.array, volume.affine @ np.diag([1, 1, 2.0, 1])).save(path)
    with raises("geometry-invalid", "sub-1_T2w.nii.gz", "1 x 1 x 2 mm"):
        read_examples(job(table))


def test_an_empty_label_map_is_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Volume(np.zeros((9, 9, 9), np.int16), np.eye(4)).save(tmp_path / "maps" / f"{name}.nii.gz")
    config = SuperresTrainConfig(
        train=TrainerConfig(out=tmp_path / "run", steps=1), maps=MapsConfig(source=tmp_path / "maps")
    )
    with raises("labels-invalid", ".nii.gz"):
        read_examples(config)


# --- windows --------------------------------------------------------------------------------------------------------


def middle_box(head: torch.Tensor, side: int) -> tuple[slice, ...]:
    """Return the cube about the middle of a head's box."""
    filled = torch.nonzero(head)
    starts = ((filled.amin(0) + filled.amax(0)) // 2 - side // 2).tolist()
    return tuple(slice(start, start + side) for start in starts)


def nearest_slices(
    low: torch.Tensor, image: torch.Tensor, box: tuple[slice, ...], axis: int, thickness: float
) -> float:
    """Return the mean difference from slices of the image at the best of all offsets, which are drawn at random."""
    gaps = []
    for offset in np.arange(-thickness / 2, thickness / 2, 0.02):
        stack = [SliceAcquisition(axis, thickness, thickness, thickness, offset=float(offset))]
        gaps.append(float((simulated_interpolation(image, stack, 1.0, 0, generator())[box] - low).abs().mean()))
    return min(gaps)


def test_a_window_shows_the_scan_and_its_slices(table: Path) -> None:
    """Without anything random: the target is the scan, the input the slices of the whole scan, interpolated."""
    config = job(table)
    (example,) = read_examples(config).validation
    batch = validation_window(example, config, 4.0, 2, 0)
    box = middle_box(example.head, 16)
    scan = example.image.float()
    assert torch.allclose(batch.target[0, 0], scan[box], atol=1e-3)
    assert nearest_slices(batch.low[0, 0] - example.air, scan - example.air, box, 2, 4.0) < 0.003
    assert nearest_slices(batch.low[0, 0] - example.air, scan - example.air, box, 1, 4.0) > 0.02
    assert batch.slices.tolist() == [[[0, 0, 4], [0, 0, 4]]]
    assert torch.equal(batch.head[0, 0] > 0, example.head[box])


def test_slices_see_what_is_around_a_window(table: Path) -> None:
    config = job(table, window=8)
    (example,) = read_examples(config).validation
    batch = validation_window(example, config, 3.0, 1, 1)
    low, scan = batch.low[0, 0] - example.air, example.image.float() - example.air
    box = middle_box(example.head, 8)
    whole = (slice(None),) * 3
    with_margins, alone = nearest_slices(low, scan, box, 1, 3.0), nearest_slices(low, scan[box], whole, 1, 3.0)
    assert with_margins < 0.2 * alone


def test_a_generated_guide_lies_on_the_scan_and_has_another_contrast(table: Path) -> None:
    config = job(table)
    (example,) = read_examples(config).validation
    batch = validation_window(example, config, 3.0, 0, 0)
    inside = batch.head[0, 0] > 0
    tissue = (batch.target[0, 0] < 0.5) & inside
    assert float(batch.guide[0, 0][tissue].mean()) > float(batch.guide[0, 0][inside & ~tissue].mean()) + 0.5


def test_a_scan_of_the_table_is_the_guide_when_it_is_named(table: Path) -> None:
    config = job(table, scans={"guide": "T1w"})
    (example,) = read_examples(config).validation
    batch = validation_window(example, config, 3.0, 0, 0)
    expected = example.guide[middle_box(example.head, 16)].float()
    assert torch.allclose(batch.guide[0, 0], expected, atol=1e-3)


@pytest.mark.parametrize("scans", [{"segmentation": "dseg", "generated": 1.0}, {"segmentation": "dseg"}, {}])
def test_draws_are_a_function_of_the_generator(table: Path, scans: dict[str, object]) -> None:
    config = job(
        table,
        scans=scans,
        slices=SlicesConfig((2, 4)),
        images=ImagesConfig(turned=1.0),
        deformation=DeformationConfig(),
    )
    windows = Windows(config, read_examples(config))
    one, again, other = (windows.sample(generator(seed), 2) for seed in (3, 3, 4))
    for name in ("low", "guide", "target", "head", "slices"):
        assert torch.equal(getattr(one, name), getattr(again, name))
    assert not torch.equal(one.target, other.target)
    assert one.low.shape == (2, 1, 16, 16, 16)
    for value in (one.low, one.target, one.guide):
        assert torch.isfinite(value).all()
    assert {*one.head.unique().tolist()} <= {0.0, 1.0}


def test_without_guides_there_are_none(table: Path) -> None:
    config = job(table, images=dataclasses.replace(PLAIN_IMAGES, guide_dropped=1))
    assert not Windows(config, read_examples(config)).sample(generator(), 2).guide.any()


def test_a_turned_window_is_the_same_window(table: Path) -> None:
    """Axes move together: image, head, guide and the record of the slices."""
    config = job(table, images=dataclasses.replace(PLAIN_IMAGES, turned=1))
    (example,) = read_examples(config).validation
    middle = [size // 2 for size in example.head.shape]
    upright = window(example, generator(), job(table, scans={"segmentation": "dseg", "generated": 0}), middle)
    seen = 0
    for seed in range(6):
        batch = window(example, generator(seed), config, middle)
        if (batch.target.min() - upright.target.min()).abs() > 1e-4:
            continue  # a generated image
        seen += 1
        assert torch.allclose(batch.target.flatten().sort()[0], upright.target.flatten().sort()[0], atol=1e-5)
        assert float(batch.head.sum()) == float(upright.head.sum())
        axis = int(batch.slices[0, 0].argmax())
        errors = (batch.low - batch.target)[0, 0]
        # What slices blur, they blur along their own axis.
        rough = [float(errors.diff(dim=other).square().mean()) for other in range(3)]
        assert rough.index(max(rough)) == axis
    assert seen


def test_a_small_head_is_surrounded_by_air(tmp_path: Path) -> None:
    labels = np.zeros((12, 12, 12), np.int16)
    labels[4:8, 4:8, 4:8] = 2
    for name in ("a", "b"):
        Volume(labels, np.eye(4)).save(tmp_path / "maps" / f"{name}.nii.gz")
    config = SuperresTrainConfig(
        train=TrainerConfig(out=tmp_path / "run", steps=1), maps=MapsConfig(source=tmp_path / "maps"), window=32,
        target=ContrastConfig(kind="t2w", **SHARP), guide=ContrastConfig(kind="t1w", **SHARP), deformation=STILL,
        images=PLAIN_IMAGES, slices=PLAIN_SLICES,
    )  # fmt: skip
    examples = read_examples(config)
    assert examples.maps[0].head.shape == (32, 32, 32)
    batch = Windows(config, examples).sample(generator(1), 1)
    assert float(batch.head.sum()) == 64
