"""`neurogen superres simulate`: what is written, where it lies, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from NeuroGenLib import cli
from NeuroGenLib.commands.superres.simulate import simulate
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import a_brain_phantom, anisotropic, oblique, reoriented, same_in_world
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.core.errors import Code


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """An oblique, left-handed scan of a head at 2 mm."""
    path = tmp_path / "sub-1_T2w.nii.gz"
    oblique(reoriented(a_brain_phantom((40, 48, 36), 2.0).image, "LSA"), 12).save(path)
    return path


def run(*words: object) -> int:
    return cli.main(["superres", "simulate", *map(str, words), "--progress=none"])


def test_slices_of_all_directions_lie_in_the_place_of_the_scan(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "thick"
    assert run(scan, "--thickness", 6, "--gap", 2, "--direction", "all", "--profile", "box", "--out", out) == 0
    image = Volume.load(scan)
    names = sorted(file.name for file in out.iterdir())
    assert names == [
        "provenance.json",
        "sub-1_T2w_axial_6mm.nii.gz",
        "sub-1_T2w_coronal_6mm.nii.gz",
        "sub-1_T2w_sagittal_6mm.nii.gz",
    ]
    for direction, axis in (("sagittal", 0), ("axial", 1), ("coronal", 2)):  # stored LSA
        thick = Volume.load(out / f"sub-1_T2w_{direction}_6mm.nii.gz")
        assert thick.spacing[axis] == pytest.approx(8.0)
        assert thick.array.dtype == np.float32
        # Every slice is the mean of three thin ones about its centre, found by its place in the world.
        index = [n // 2 for n in thick.shape]
        middle = image.world_to_voxel(thick.voxel_to_world(index))
        place = int(np.floor(middle[axis] + 0.5))
        line = [round(x) for x in middle]
        near = [image.array[(*line[:axis], n, *line[axis + 1 :])] for n in range(place - 2, place + 3)]
        assert min(near) <= thick.array[tuple(index)] <= max(near)
    record = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    assert record["parameters"]["thickness"] == 6
    assert record["parameters"]["gap"] == 2
    assert record["parameters"]["directions"] == ["axial", "coronal", "sagittal"]


def test_the_same_head_stored_otherwise_gives_the_same_slices(scan: Path, tmp_path: Path) -> None:
    reoriented(Volume.load(scan), "PIR").save(tmp_path / "other" / scan.name)
    words = ("--thickness", 5, "--direction", "coronal", "--offset", 1.2, "--noise", 0.05, "--seed", 3)
    results = []
    for name, source in (("a", scan), ("b", tmp_path / "other" / scan.name)):
        assert run(source, *words, "--out", tmp_path / name) == 0
        results.append(Volume.load(tmp_path / name / "sub-1_T2w_coronal_5mm.nii.gz"))
    assert same_in_world(*results, 1e-2)  # of about 1000
    assert np.abs(results[0].array).max() > 500


def test_noise_has_a_seed_and_the_level_asked_for(scan: Path, tmp_path: Path) -> None:
    images = {}
    for name, words in {
        "still": (),
        "one": ("--noise", 0.05),
        "same": ("--noise", 0.05, "--seed", 0),
        "other": ("--noise", 0.05, "--seed", 1),
    }.items():
        assert run(scan, "--thickness", 6, *words, "--out", tmp_path / name) == 0
        images[name] = Volume.load(tmp_path / name / "sub-1_T2w_axial_6mm.nii.gz").array
    np.testing.assert_array_equal(images["one"], images["same"])
    assert not np.array_equal(images["one"], images["other"])
    bright = images["still"] > 400
    spread = (images["one"] - images["still"])[bright].std()
    assert spread == pytest.approx(0.05 * np.percentile(images["still"], 99), rel=0.1)


def test_voxels_within_slices_can_be_larger(scan: Path, tmp_path: Path) -> None:
    assert run(scan, "--thickness", 6, "--spacing", 4, "--out", tmp_path / "out") == 0
    thick = Volume.load(tmp_path / "out" / "sub-1_T2w_axial_6mm.nii.gz")
    np.testing.assert_allclose(thick.spacing, (4, 6, 4), rtol=1e-5)


def test_the_reference_leaves_slices_out_and_keeps_the_grid(scan: Path, tmp_path: Path) -> None:
    assert run(scan, "--reference", "--factor", 4, "--direction", "axial", "--out", tmp_path / "out") == 0
    made = Volume.load(tmp_path / "out" / "sub-1_T2w_axial_LR4.nii.gz")
    image = Volume.load(scan)
    assert made.same_space(image)
    # The lowest slice is kept as it is.
    np.testing.assert_allclose(made.array[:, 0], image.array[:, 0], atol=0.5)
    assert not np.allclose(made.array[:, 17], image.array[:, 17], atol=5)


def test_a_scan_that_has_thick_slices_itself_is_said_to(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coarse = tmp_path / "coarse.nii.gz"
    anisotropic(Volume.load(scan), (2, 5, 2)).save(coarse)  # stored LSA: thick from bottom to top
    assert run(coarse, "--thickness", 8, "--out", tmp_path / "out") == 0
    assert "axial slices 5 mm apart" in capsys.readouterr().out
    assert run(coarse, "--thickness", 4, "--out", tmp_path / "other") == 2
    assert "axial voxels of 5 mm" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_what_is_written_can_be_read_by_programs(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(scan, "--thickness", 6, "--json", "--out", tmp_path / "out") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [str(tmp_path / "out" / "sub-1_T2w_axial_6mm.nii.gz"), str(tmp_path / "out" / "provenance.json")] == answer[
        "written"
    ]


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        ((), "value-missing", "--thickness"),
        (("--reference",), "value-missing", "--factor"),
        (("--thickness", 4, "--factor", 4), "value-conflict", "'factor'"),
        (("--reference", "--factor", 4, "--noise", 0.1), "value-conflict", "'noise'"),
        (("--reference", "--factor", 1), "value-invalid", "'factor' is 1"),
        (("--thickness", 4, "--direction", "oblique"), "value-invalid", "'oblique'"),
        (("--thickness", 40), "value-invalid", "40 mm apart"),
        (("--thickness", 4, "--gap", -1), "value-invalid", "'gap' is -1"),
        (("--thickness", 4, "--spacing", 1.5), "value-invalid", "1.5 mm within axial slices"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(
    scan: Path, tmp_path: Path, words: tuple[object, ...], code: Code, named: str
) -> None:
    with raises(code, named):
        simulate([str(scan), *map(str, words), "--progress=none", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
