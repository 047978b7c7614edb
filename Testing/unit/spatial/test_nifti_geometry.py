"""Geometry of NIfTI files: two affines that differ, units, damaged headers, and files that every program reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
import SimpleITK

from NeuroGenLib.spatial.files import nifti
from NeuroGenLib.spatial.files.reading import ReadingConfig, reading_session
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import ORIENTATIONS, oblique, reoriented, same_in_world
from Testing.raising import raises

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Edit = Callable[[nibabel.Nifti1Header], None]

GOOD_AFFINE = np.array([[2.0, 0, 0, -10], [0, 1.5, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])
SHAPE = (20, 24, 16)


def a_scan(axcodes: str = "RAS", degrees: float = 0.0) -> Volume:
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    return reoriented(oblique(Volume(array, GOOD_AFFINE), degrees), axcodes)


def write_edited(path: Path, scan: Volume, edit: Edit, version: type = nibabel.Nifti1Image) -> None:
    """Write a file with equal sform and qform by nibabel, and change header fields in its bytes."""
    image = version(scan.array, scan.affine)
    image.set_qform(scan.affine, 1)
    image.set_sform(scan.affine, 1)
    nibabel.save(image, path)
    content = path.read_bytes()
    size = image.header.template_dtype.itemsize
    header = type(image.header)(content[:size], check=False)
    edit(header)
    path.write_bytes(header.binaryblock + content[size:])


def fields(**values: object) -> Edit:
    def edit(header: nibabel.Nifti1Header) -> None:
        for name, value in values.items():
            header[name] = value

    return edit


def shift_sform(header: nibabel.Nifti1Header) -> None:
    header["sform_code"] = 2
    header["srow_x"][3] += 25


def in_metres(header: nibabel.Nifti1Header) -> None:
    header["xyzt_units"] = 1
    header["pixdim"][1:4] /= 1000
    for name in ("srow_x", "srow_y", "srow_z", "qoffset_x", "qoffset_y", "qoffset_z"):
        header[name] /= 1000


def itk_affine(path: Path) -> np.ndarray:
    image = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1, 1, 1]) @ affine


@pytest.mark.parametrize("axcodes", ORIENTATIONS)
@pytest.mark.parametrize("degrees", [0, 17])
def test_two_geometries_are_told_and_one_is_chosen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, axcodes: str, degrees: float
) -> None:
    scan, path = a_scan(axcodes, degrees), tmp_path / "two.nii"
    write_edited(path, scan, shift_sform)
    shifted = scan.affine + np.array([[0, 0, 0, 25], *[[0] * 4] * 3])
    for choice, affine, used in (
        ("auto", shifted, "sform"),
        ("sform", shifted, "sform"),
        ("qform", scan.affine, "qform"),
    ):
        caplog.clear()
        with reading_session(ReadingConfig(geometry=choice)) as session:
            np.testing.assert_allclose(Volume.load(path).affine, affine, atol=1e-4)
        assert all(word in caplog.text for word in ("two.nii", "25 mm", f"the {used} was used"))
        assert session.warnings == [record.getMessage() for record in caplog.records]
    Volume.load(path).save(tmp_path / "result.nii.gz")
    np.testing.assert_allclose(itk_affine(tmp_path / "result.nii.gz"), shifted, atol=1e-4)


def test_geometries_that_agree_up_to_rounding_are_read_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def nudge(header: nibabel.Nifti1Header) -> None:
        header["srow_x"][3] += 0.1  # less than a tenth of the smallest voxel, 1.5 mm

    write_edited(tmp_path / "a.nii", a_scan("LAS", 30), nudge)
    Volume.load(tmp_path / "a.nii")
    assert not caplog.records


@pytest.mark.parametrize("offset", [0, 1, 100, 351])
@pytest.mark.parametrize(("version", "first"), [(nibabel.Nifti1Image, 352), (nibabel.Nifti2Image, 544)])
def test_voxels_never_begin_inside_the_header(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, offset: int, version: type, first: int
) -> None:
    scan = a_scan("PIR", 10)
    write_edited(tmp_path / "a.nii", scan, fields(vox_offset=offset), version)
    assert same_in_world(Volume.load(tmp_path / "a.nii"), scan)
    assert f"byte {offset}," in caplog.text
    assert f"byte {first} " in caplog.text


@pytest.mark.parametrize("code", ["qform_code", "sform_code", None])
def test_affines_in_metres_are_read_in_mm(tmp_path: Path, code: str | None) -> None:
    def edit(header: nibabel.Nifti1Header) -> None:
        in_metres(header)
        if code is not None:
            header[code] = 0

    scan = a_scan("LPS", 12)
    write_edited(tmp_path / "a.nii", scan, edit)
    assert same_in_world(Volume.load(tmp_path / "a.nii"), scan)
    np.testing.assert_allclose(itk_affine(tmp_path / "a.nii"), scan.affine, atol=1e-3)


def test_microns_are_read_in_mm(tmp_path: Path) -> None:
    write_edited(tmp_path / "a.nii", Volume(np.ones(SHAPE), np.diag([900.0, 900, 900, 1])), fields(xyzt_units=3))
    assert Volume.load(tmp_path / "a.nii").spacing == pytest.approx((0.9, 0.9, 0.9))


@pytest.mark.parametrize("axcodes", ORIENTATIONS)
def test_an_empty_sform_beside_a_good_qform_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, axcodes: str
) -> None:
    scan = a_scan(axcodes, 15)
    write_edited(tmp_path / "a.nii", scan, fields(srow_x=0, srow_y=0, srow_z=0))
    assert same_in_world(Volume.load(tmp_path / "a.nii"), scan)
    assert "sform" in caplog.text
    write_edited(tmp_path / "b.nii", scan, fields(srow_x=0, srow_y=0, srow_z=0, qform_code=0))
    with raises("geometry-invalid", tmp_path / "b.nii", "flat"):
        Volume.load(tmp_path / "b.nii")


def test_a_rounded_quaternion_is_a_rotation(tmp_path: Path) -> None:
    half_turn = fields(sform_code=0, quatern_b=0.70711, quatern_c=0.70711, quatern_d=0)
    write_edited(tmp_path / "a.nii", a_scan(), half_turn)
    np.testing.assert_allclose(Volume.load(tmp_path / "a.nii").affine, itk_affine(tmp_path / "a.nii"), atol=1e-4)


def test_a_quaternion_of_no_rotation_is_refused_unless_there_is_an_sform(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = {"quatern_b": 1.0, "quatern_c": 1.0}
    write_edited(tmp_path / "a.nii", a_scan(), fields(sform_code=0, **broken))
    with raises("geometry-invalid", tmp_path / "a.nii", "1.41"):
        Volume.load(tmp_path / "a.nii")
    write_edited(tmp_path / "b.nii", a_scan(), fields(**broken))
    assert same_in_world(Volume.load(tmp_path / "b.nii"), a_scan())
    assert "qform" in caplog.text


@pytest.mark.parametrize("size", [0, -1])
def test_an_empty_fourth_axis_is_dropped(tmp_path: Path, size: int) -> None:
    write_edited(tmp_path / "a.nii", a_scan(), fields(dim=[4, *SHAPE, size, 1, 1, 1]))
    assert same_in_world(Volume.load(tmp_path / "a.nii"), a_scan())


@pytest.mark.parametrize("axcodes", ORIENTATIONS)
@pytest.mark.parametrize("shear", [1e-3, 0.02])
def test_a_slightly_sheared_result_is_read_by_itk_in_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, axcodes: str, shear: float
) -> None:
    affine = a_scan("RAS", 15).affine.copy()
    affine[:3, :3] @= np.array([[1, shear, 0], [0, 1, 0], [0, 0, 1]])
    scan = reoriented(Volume(a_scan().array, affine), axcodes)
    scan.save(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(Volume.load(tmp_path / "a.nii.gz").affine, scan.affine, atol=1e-5)
    centre = (np.asarray(scan.shape) - 1) / 2
    seen = itk_affine(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(seen[:3] @ [*centre, 1], scan.centre, atol=1e-3)
    assert ("sheared" in caplog.text) == (shear > 0.01)


def test_more_voxels_than_there_is_memory_for_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.nii"
    a_scan().save(path)
    monkeypatch.setattr(nifti, "free_memory", lambda: 1000)
    with reading_session(), raises("image-too-large", path):
        Volume.load(path)
    with reading_session(ReadingConfig(any_size=True)):
        assert Volume.load(path).shape == SHAPE
