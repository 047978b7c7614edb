"""Images from label maps: intensity, order of tissues, what is shared, what is removed, and hostile maps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from NeuroGenLib.core.config_command_line import load_config
from NeuroGenLib.simulate.contrast import ContrastConfig, random_image
from NeuroGenLib.simulate.tissues import LESION, WHITE_MATTER, fetal_tissues, freesurfer_tissues
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAIN = ContrastConfig(
    deviation=(0, 0), texture=(0, 0), background=0, lesions=0, stripped=0, blur=(0, 0), thick=0, bias=(0, 0),
    noise=(0, 0), log_gamma=0, same_tissue=0, same_sides=0, jitter=0,
)  # fmt: skip
"""Every label has one intensity, and nothing else happens."""

RADII = ((17, 511), (15, 515), (14, 24), (12, 3), (9, 2), (4, 4))
RIGHT = {3: 42, 2: 41, 4: 43}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def onion(radii: tuple[tuple[float, int], ...], right: Mapping[int, int]) -> torch.Tensor:
    """Nested balls, outermost first, in 38 x 38 x 38 voxels; some have another value on the right."""
    away = np.linalg.norm(np.indices((38, 38, 38)) - 18.5, axis=0)
    labels = np.zeros(away.shape, np.int32)
    for radius, value in radii:
        labels[away < radius] = value
    half = labels[19:]
    for left, other in right.items():
        half[half == left] = other
    return torch.from_numpy(labels)


@pytest.fixture(scope="module")
def head() -> torch.Tensor:
    """Skin, bone, fluid, and of both sides cortex, white matter and ventricle, in FreeSurfer's values."""
    return onion(RADII, RIGHT)


@pytest.fixture(scope="module")
def fetal_head() -> torch.Tensor:
    """Fluid, cortex, white matter and ventricles in the fetal values."""
    return onion(((16, 4), (13, 5), (10, 1), (5, 2)), {})


def means(image: torch.Tensor, labels: torch.Tensor) -> dict[int, float]:
    return {int(value): float(image[0][labels == value].mean()) for value in labels.unique()}


def test_noise_is_that_of_magnitude_images(head: torch.Tensor) -> None:
    """Where there is no signal, the magnitude of complex Gaussian noise follows Rayleigh's distribution."""
    size = 0.05
    image = random_image(head, seeded(1), replace(PLAIN, noise=(size, size)))
    air = image[0][head == 0].double()
    assert len(air) > 20_000
    assert float(air.mean()) == pytest.approx(size * np.sqrt(np.pi / 2), rel=0.02)
    assert float(air.square().mean()) == pytest.approx(2 * size**2, rel=0.03)
    assert float(air.median()) == pytest.approx(size * np.sqrt(2 * np.log(2)), rel=0.02)


def test_the_same_seed_makes_the_same_image(head: torch.Tensor) -> None:
    one, same, other = (random_image(head, seeded(seed), tissues=freesurfer_tissues()) for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert (one - other).abs().mean() > 0.01


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**31),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=6),
    st.sampled_from(["random", "t1w", "t2w", "mixed"]),
)
def test_every_map_gives_a_finite_image_from_0_to_1(
    seed: int, shape: tuple[int, int, int], values: list[int], kind: str
) -> None:
    labels = torch.tensor(values)[torch.randint(len(values), shape, generator=seeded(seed))]
    config = load_config(ContrastConfig, overrides={"kind": kind, "lesions": 0.5, "thick": 0.5})
    image = random_image(labels, seeded(seed), config, freesurfer_tissues())
    assert image.shape == (1, *shape)
    assert image.dtype == torch.float32
    assert torch.isfinite(image).all()
    assert 0 <= image.min() <= image.max() <= 1


@pytest.mark.parametrize("value", [0, 2])
def test_a_map_of_one_value_is_an_image(value: int) -> None:
    labels = torch.full((7, 6, 5), value)
    image = random_image(labels, seeded(0), PLAIN, freesurfer_tissues())
    assert (image == (1 if value else 0)).all()
    assert torch.isfinite(random_image(labels, seeded(0))).all()


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int64, torch.uint16])
def test_all_integer_types_are_labels(kind: torch.dtype) -> None:
    labels = torch.tensor([0, 1, 2, 3], dtype=kind).reshape(1, 2, 2)
    assert random_image(labels, seeded(0)).shape == (1, 1, 2, 2)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_tissues_keep_their_order_in_t1w_and_t2w(seed: int) -> None:
    labels = onion(RADII, RIGHT)
    config = ContrastConfig(lesions=0, stripped=0, thick=0)
    t1w, t2w = (
        means(random_image(labels, seeded(seed), replace(config, kind=kind), freesurfer_tissues()), labels)
        for kind in ("t1w", "t2w")
    )
    for white, cortex in ((2, 3), (41, 42)):
        assert t1w[white] > t1w[cortex] > t1w[24]
        assert t2w[white] < t2w[cortex] < t2w[24]


def test_a_fetus_has_bright_white_matter_on_t2w(fetal_head: torch.Tensor) -> None:
    for seed in range(4):
        image = random_image(fetal_head, seeded(seed), replace(PLAIN, kind="t2w", jitter=0.05), fetal_tissues())
        found = means(image, fetal_head)
        assert found[2] > found[1] > found[5]


def test_realistic_intensity_is_that_of_the_table(head: torch.Tensor) -> None:
    found = means(random_image(head, seeded(0), replace(PLAIN, kind="t1w"), freesurfer_tissues()), head)
    # Skin, the brightest at 0.85, becomes 1.
    assert found[511] == pytest.approx(1)
    assert found[2] == pytest.approx(0.8 / 0.85, abs=1e-4)
    assert found[3] == pytest.approx(0.54 / 0.85, abs=1e-4)
    assert found[0] == 0


def test_every_tissue_differs_between_draws(head: torch.Tensor) -> None:
    table = np.array([list(means(random_image(head, seeded(seed), PLAIN), head).values()) for seed in range(24)])
    assert (table[:, 0] == 0).all()
    assert (table[:, 1:].std(axis=0) > 0.15).all()
    # Any order of two tissues happens: white matter, and cortex.
    brighter = table[:, 1] > table[:, 2]
    assert 4 < brighter.sum() < 20


def test_mixed_contrasts_are_realistic_half_the_time(head: torch.Tensor) -> None:
    kinds = [
        means(random_image(head, seeded(seed), replace(PLAIN, kind="mixed"), freesurfer_tissues()), head)[2]
        for seed in range(40)
    ]
    # Bone, skin and all others are as in the tables only by chance.
    t1w = np.isclose(kinds, 0.8 / 0.85, atol=1e-4).sum()
    t2w = np.isclose(kinds, 0.3 / 0.95, atol=1e-4).sum()
    assert 3 <= t1w <= 18
    assert 3 <= t2w <= 18
    assert t1w + t2w < 32


def test_sides_and_tissues_share_their_intensity(head: torch.Tensor) -> None:
    table = freesurfer_tissues()
    apart = means(random_image(head, seeded(1), PLAIN, table), head)
    sides = means(random_image(head, seeded(1), replace(PLAIN, same_sides=1), table), head)
    assert apart[2] != pytest.approx(apart[41], abs=1e-3)
    assert sides[2] == pytest.approx(sides[41], abs=1e-6)
    labels = head.clone()
    labels[labels == 4] = 14  # another ventricle, and no partner
    parts = means(random_image(labels, seeded(1), replace(PLAIN, same_sides=1), table), labels)
    whole = means(random_image(labels, seeded(1), replace(PLAIN, same_tissue=1), table), labels)
    assert parts[14] != pytest.approx(parts[43], abs=1e-3)
    assert whole[14] == pytest.approx(whole[43], abs=1e-6)


def test_stripping_leaves_the_brain(head: torch.Tensor) -> None:
    config = replace(PLAIN, stripped=1, stripped_csf=0, noise=(0.05, 0.05), mean=(0.3, 1))
    with_csf = random_image(head, seeded(0), config, freesurfer_tissues())[0]
    without = random_image(head, seeded(0), replace(config, stripped_csf=1), freesurfer_tissues())[0]
    away = np.linalg.norm(np.indices(head.shape) - 18.5, axis=0)
    # The mask's surface may be off by a voxel.
    assert (with_csf[torch.from_numpy(away > 15.5)] == 0).all()
    assert (with_csf[torch.from_numpy(away < 12.5)] > 0).all()
    assert (without[torch.from_numpy(away > 13.5)] == 0).all()
    assert (without[torch.from_numpy(away < 10.5)] > 0).all()


def test_the_background_can_be_bright(head: torch.Tensor) -> None:
    dark, bright = (random_image(head, seeded(0), replace(PLAIN, background=chance)) for chance in (0, 1))
    assert means(dark, head)[0] == 0
    assert means(bright, head)[0] > 0.04


def test_a_fifth_of_the_white_matter_shows_through_lesions(head: torch.Tensor) -> None:
    tissues = freesurfer_tissues()
    image = random_image(head, seeded(2), replace(PLAIN, lesions=1, kind="t2w"), tissues)[0]
    white = image[(head == 2) | (head == 41)]
    healthy, lesion = tissues.t2w[WHITE_MATTER], tissues.t2w[LESION]
    assert lesion > healthy
    assert float(white.max() / white.min()) == pytest.approx((0.8 * lesion + 0.2 * healthy) / healthy, rel=1e-4)


def test_brain_masks_are_a_little_too_large_or_too_small(head: torch.Tensor) -> None:
    """Of a ball of radius 12, a rim of half a voxel at most."""
    config = replace(PLAIN, stripped=1, stripped_csf=1, mean=(0.5, 1))
    brain = torch.isin(head, torch.tensor([2, 3, 4, 41, 42, 43]))
    sizes = [
        int((random_image(head, seeded(seed), config, freesurfer_tissues())[0] > 0).sum()) / int(brain.sum())
        for seed in range(12)
    ]
    assert min(sizes) < 0.97
    assert max(sizes) > 1.03
    assert 0.85 < min(sizes) < max(sizes) < 1.15


def test_lesions_lie_in_the_white_matter(head: torch.Tensor) -> None:
    image = random_image(head, seeded(2), replace(PLAIN, lesions=1, kind="t2w"), freesurfer_tissues())[0]
    for value in head.unique().tolist():
        spread = float(image[head == value].max() - image[head == value].min())
        assert (spread > 0.1) if value in (2, 41) else (spread < 1e-6)
    # On T2w they are brighter than the white matter around.
    white = image[(head == 2) | (head == 41)]
    assert 0.5 < (white == white.min()).float().mean() < 0.995


@pytest.mark.parametrize(
    "change",
    [{"bias": (0.3, 0.3)}, {"texture": (0.05, 0.05)}, {"deviation": (0.05, 0.05)}, {"noise": (0.05, 0.05)}],
    ids=lambda change: next(iter(change)),
)
def test_each_effect_varies_intensity_inside_a_label(
    head: torch.Tensor, change: dict[str, tuple[float, float]]
) -> None:
    config = replace(PLAIN, kind="t1w", **change)
    image = random_image(head, seeded(0), config, freesurfer_tissues())[0]
    assert 0.02 < image[head == 3].std() < 0.4
    both = (head[:, :, 1:] == 3) & (head[:, :, :-1] == 3)
    smooth = "bias" in change or "texture" in change
    assert bool(image.diff(dim=2)[both].std() < image[head == 3].std()) is smooth


@pytest.mark.parametrize("change", [{"blur": (1.5, 1.5)}, {"thick": 1.0, "thickness": (4.0, 4.0)}], ids=str)
def test_limited_resolution_softens_edges(head: torch.Tensor, change: dict[str, object]) -> None:
    config = replace(PLAIN, kind="t1w")
    sharp = random_image(head, seeded(0), config, freesurfer_tissues())[0]
    soft = random_image(head, seeded(0), replace(config, **change), freesurfer_tissues())[0]
    steepness = [sum(float(image.diff(dim=axis).square().mean()) for axis in range(3)) for image in (sharp, soft)]
    assert steepness[1] < 0.75 * steepness[0]


def test_gamma_changes_the_middle_and_keeps_the_order(head: torch.Tensor) -> None:
    config = replace(PLAIN, kind="t1w")
    before = random_image(head, seeded(0), config, freesurfer_tissues())
    after = random_image(head, seeded(0), replace(config, log_gamma=1), freesurfer_tissues())
    middle = before[(before > 0.01) & (before < 0.99)]
    powers = after[(before > 0.01) & (before < 0.99)].log() / middle.log()
    assert powers.std() < 1e-3
    assert abs(float(powers.mean().log())) < 1
    assert abs(float(powers.mean().log())) > 1e-3


@pytest.mark.parametrize(
    "labels", [torch.zeros(3, 3), torch.zeros(3, 3, 3), torch.zeros(0, 3, 3, dtype=torch.int32)], ids=str
)
def test_labels_that_are_not_a_label_map_are_refused(labels: torch.Tensor) -> None:
    with raises("labels-invalid", tuple(labels.shape), labels.dtype):
        random_image(labels, seeded(0))


@pytest.mark.parametrize("kind", ["t1w", "t2w", "mixed"])
def test_realistic_contrasts_need_tissues(kind: str) -> None:
    config = load_config(ContrastConfig, overrides={"kind": kind})
    with raises("value-missing", f"'{kind}'", "freesurfer_tissues"):
        random_image(torch.zeros(3, 3, 3, dtype=torch.int32), seeded(0), config)


def test_an_interval_the_wrong_way_round_is_refused() -> None:
    with raises("value-invalid", "blur", 2, 1):
        ContrastConfig(blur=(2, 1))
