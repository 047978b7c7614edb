"""`neurogen registration apply`: geometry that ITK cannot hold, voxels that are not finite, results that are empty."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
import SimpleITK

from NeuroGenLib.cli import main
from NeuroGenLib.mask.infer import MaskModel
from NeuroGenLib.registration.infer import RegistrationModel
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import ORIENTATIONS, a_brain_phantom, anisotropic, oblique, reoriented
from Testing.registration_pairs import a_tiny_model

if TYPE_CHECKING:
    from pathlib import Path

HEAD = a_brain_phantom((20, 24, 18), 4.0).image


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """A transform that moves nothing."""
    path = tmp_path / "identity.tfm"
    SimpleITK.WriteTransform(SimpleITK.AffineTransform(3), str(path))
    return path


def written(path: Path, volume: Volume) -> Path:
    """Write a file by nibabel, so that nothing rests on the code under test."""
    nibabel.save(nibabel.Nifti1Image(volume.array, volume.affine), path)
    return path


def moved(volume: Volume, millimetres: float) -> Volume:
    affine = volume.affine.copy()
    affine[0, 3] += millimetres
    return Volume(volume.array, affine)


def sheared(volume: Volume, shear: float) -> Volume:
    affine = volume.affine.copy()
    affine[:3, :3] @= np.array([[1, shear, 0], [0, 1, 0], [0, 0, 1]])
    return Volume(volume.array, affine)


def apply(identity: Path, image: Volume, like: Volume, *options: str, out: str = "out.nii.gz") -> int:
    folder = identity.parent
    files = [str(written(folder / f"{name}.nii", volume)) for name, volume in (("image", image), ("like", like))]
    line = ["registration", "apply", str(identity), files[0], "--like", files[1], "--out", str(folder / out)]
    return main([*line, "--progress", "none", *options])


def record_of(identity: Path) -> dict:
    return json.loads((identity.parent / "out_provenance.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("axcodes", ORIENTATIONS)
@pytest.mark.parametrize("shear", [2e-4, 0.1])
def test_images_that_registration_takes_are_resampled(
    identity: Path, capsys: pytest.CaptureFixture[str], axcodes: str, shear: float
) -> None:
    image = reoriented(sheared(oblique(HEAD, 15), shear), axcodes)
    like = oblique(anisotropic(HEAD), 10)
    for volume, grid in ((image, like), (like, image)):
        assert apply(identity, volume, grid) == 0, capsys.readouterr().err
        result = Volume.load(identity.parent / "out.nii.gz")
        assert result.same_space(grid, tolerance=1e-2)
        inside = volume.resample(like=(grid.shape, grid.affine), fill=-1).array
        close = np.abs(result.array - inside)[inside > 0] < 0.15 * HEAD.array.max()
        assert close.mean() > 0.9


@pytest.mark.parametrize("order", ["1", "3"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_not_finite_are_refused(
    identity: Path, capsys: pytest.CaptureFixture[str], order: str, value: float
) -> None:
    array = HEAD.array.copy()
    array[3, 4, 5] = value
    assert apply(identity, Volume(array, HEAD.affine), HEAD, "--order", order) == 2
    said = capsys.readouterr().err
    assert "image.nii has 1 voxel" in said
    assert not (identity.parent / "out.nii.gz").exists()


def test_a_grid_somewhere_else_is_refused(identity: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert apply(identity, HEAD, moved(HEAD, 900)) == 2
    assert "image.nii does not overlap" in capsys.readouterr().err
    assert not (identity.parent / "out.nii.gz").exists()


def test_little_overlap_is_told(identity: Path, capsys: pytest.CaptureFixture[str]) -> None:
    width = HEAD.shape[0] * HEAD.spacing[0]
    assert apply(identity, HEAD, moved(HEAD, 0.95 * width)) == 0
    warnings = [text for text in record_of(identity)["warnings"] if "5 % only" in text]
    assert len(warnings) == 1
    assert f"Note: {warnings[0]}" in capsys.readouterr().out
    assert apply(identity, HEAD, moved(HEAD, 0.5 * width)) == 0
    assert record_of(identity)["warnings"] == []


def test_a_small_piece_on_a_large_grid_is_no_lack_of_overlap(identity: Path) -> None:
    piece = HEAD.crop([(8, 12), (8, 12), (8, 12)])
    assert apply(identity, piece, HEAD) == 0
    assert record_of(identity)["warnings"] == []


def test_a_result_without_contrast_is_told(identity: Path) -> None:
    assert apply(identity, HEAD.with_array(np.zeros(HEAD.shape, np.float32)), HEAD) == 0
    assert record_of(identity)["warnings"] == ["The result out.nii.gz has the same value everywhere (0)."]


def test_a_format_that_cannot_hold_the_grid_is_refused_by_its_own_name(
    identity: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def resample(*_arguments: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(SimpleITK, "Resample", resample)
    assert apply(identity, HEAD, sheared(HEAD, 0.01), out="out.nrrd") == 2
    said = capsys.readouterr().err
    assert f"{identity.parent / 'out.nrrd'} has a sheared affine" in said


def test_other_commands_refuse_the_format_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = written(tmp_path / "scan.nii", sheared(HEAD, 0.01))
    a_tiny_model(tmp_path / "model")

    def work(*_arguments: object, **_options: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(MaskModel, "find", work)
    monkeypatch.setattr(RegistrationModel, "register", work)
    assert main(["mask", str(scan), "--out", str(tmp_path / "brain.nrrd"), "--progress", "none"]) == 2
    assert f"{tmp_path / 'brain.nrrd'} has a sheared affine" in capsys.readouterr().err
    line = ["registration", "run", str(scan), str(scan), "--model", str(tmp_path / "model"), "--format", "nii.gz"]
    assert main([*line, "--out", str(tmp_path / "out"), "--progress", "none"]) == 2
    assert f"fixed image {scan} has a sheared grid" in capsys.readouterr().err
