"""DICOM: series of files, files with many frames, and what lies beside them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian

from NeuroGenLib.spatial.files.dicom import slice_thickness
from NeuroGenLib.spatial.volume import Volume
from Testing.dicom_files import write_dicom, write_frames, write_object
from Testing.geometry import oblique, same_in_world
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def stack() -> Volume:
    """Six thick oblique slices, right-handed in their order as the DICOM normal asks."""
    array = np.random.default_rng(0).integers(-500, 2000, (8, 9, 6)).astype(np.int16)
    return oblique(Volume(array, np.diag([-0.8, -0.9, 4.5, 1.0])), 30)


@pytest.mark.parametrize("flipped", [False, True])
def test_an_oblique_dicom_series_lies_where_its_slices_say(tmp_path: Path, stack: Volume, flipped: bool) -> None:
    stored = Volume(stack.array, stack.affine @ np.diag([1.0, 1, -1, 1])) if flipped else stack
    write_dicom(tmp_path / "T2", stored)
    loaded = Volume.load(tmp_path / "T2")
    assert loaded.array.dtype.kind == "i"
    assert same_in_world(loaded, stored)


def test_a_tilted_gantry_gives_a_sheared_affine(tmp_path: Path, stack: Volume) -> None:
    affine = np.array(stack.affine)
    affine[:3, 2] += 0.4 * affine[:3, 1]
    tilted = Volume(stack.array, affine)
    write_dicom(tmp_path / "CT", tilted)
    assert same_in_world(Volume.load(tmp_path / "CT"), tilted)


def test_one_dicom_file_is_a_volume_of_one_slice(tmp_path: Path, stack: Volume) -> None:
    named = write_dicom(tmp_path / "T2", stack)[2]
    unnamed = shutil.copy(named, tmp_path / "IM0002")
    for path in (named, unnamed):
        loaded = Volume.load(path)
        np.testing.assert_array_equal(loaded.array, stack.array[:, :, 2:3])
        assert loaded.voxel_to_world((1, 2, 0)) == pytest.approx(stack.voxel_to_world((1, 2, 2)), abs=1e-3)


def test_several_series_are_listed_and_one_is_chosen(tmp_path: Path, stack: Volume) -> None:
    uids = "1.2.826.0.1.3680043.2.1125.1", "1.2.826.0.1.3680043.2.1125.25", "1.2.826.0.1.3680043.2.1125.26"
    brighter = stack.with_array(stack.array + 1).crop([(0, 8), (0, 9), (0, 4)])
    write_dicom(tmp_path / "scans", stack, uids[0], "T2 HASTE", number=3)
    write_dicom(tmp_path / "scans", brighter, uids[1], "T1 MPRAGE", number=12)
    with raises("series-ambiguous", "3 'T2 HASTE' (6 slices of 8 x 9, 0.8 x 0.9 x 4.5 mm)", "12 'T1 MPRAGE' (4 slices"):
        Volume.load(tmp_path / "scans")
    for series in (uids[1], "12", uids[1][:-1]):
        np.testing.assert_array_equal(Volume.load(tmp_path / "scans", series=series).array, stack.array[:, :, :4] + 1)
    with raises("name-unknown", "'9.9'", "T1 MPRAGE"):
        Volume.load(tmp_path / "scans", series="9.9")
    with raises("series-ambiguous", "'1.2.826' fits 2", "T2 HASTE", "T1 MPRAGE"):
        Volume.load(tmp_path / "scans", series="1.2.826")
    write_dicom(tmp_path / "scans", brighter, uids[2], "T1 MPRAGE", number=12)
    with raises("series-ambiguous", "'12' fits 2", uids[1], uids[2]):
        Volume.load(tmp_path / "scans", series="12")
    stack.save(tmp_path / "a.nii")
    with raises("value-conflict", tmp_path / "a.nii"):
        Volume.load(tmp_path / "a.nii", series=uids[0])


def test_a_missing_slice_is_named(tmp_path: Path, stack: Volume) -> None:
    write_dicom(tmp_path / "T2", stack)[3].unlink()
    with raises("geometry-invalid", "1 slice(s)", "4.50 mm"):
        Volume.load(tmp_path / "T2")


def test_two_volumes_in_one_series_are_refused(tmp_path: Path, stack: Volume) -> None:
    files = write_dicom(tmp_path / "T2", stack)
    shutil.copy(files[2], tmp_path / "T2" / "again.dcm")
    with raises("series-ambiguous", tmp_path / "T2"):
        Volume.load(tmp_path / "T2")


def test_uneven_and_mixed_slices_are_refused(tmp_path: Path, stack: Volume) -> None:
    nudged = np.array(stack.affine)
    nudged[:3, 3] += 0.2 * nudged[:3, 2]
    write_dicom(tmp_path / "T2", stack)
    write_dicom(tmp_path / "nudged", Volume(stack.array, nudged))
    names = sorted(file.name for file in (tmp_path / "T2").iterdir())
    shutil.copy(tmp_path / "nudged" / names[2], tmp_path / "T2" / names[2])
    with raises("geometry-invalid", tmp_path / "T2", "4.50 mm"):
        Volume.load(tmp_path / "T2")
    write_dicom(tmp_path / "turned", oblique(stack, 10))
    shutil.copy(tmp_path / "turned" / names[2], tmp_path / "T2" / names[2])
    with raises("geometry-mismatch", tmp_path / "T2"):
        Volume.load(tmp_path / "T2")


def test_a_broken_dicom_file_is_named(tmp_path: Path, stack: Volume) -> None:
    last = write_dicom(tmp_path / "T2", stack)[-1]
    (tmp_path / "T2" / "notes.txt").write_text("fine", encoding="utf-8")
    last.write_bytes(last.read_bytes()[:-60])
    with raises("file-damaged", "1 DICOM", last.name):
        Volume.load(tmp_path / "T2")


# --- files with many frames ---


@pytest.fixture
def frames(stack: Volume) -> list[tuple[np.ndarray, np.ndarray]]:
    """Slices of the oblique stack with their affines, interleaved: 0, 2, 4, 1, 3, 5."""
    slices = []
    for k in (0, 2, 4, 1, 3, 5):
        affine = np.array(stack.affine)
        affine[:3, 3] += k * affine[:3, 2]
        slices.append(((stack.array[:, :, k] + 500).astype(np.uint16), affine))
    return slices


def write(path: Path, frames: list[tuple[np.ndarray, np.ndarray]], **more: Any) -> pydicom.Dataset:
    return write_frames(path, [array for array, _ in frames], [affine for _, affine in frames], **more)


@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_interleaved_frames_lie_where_they_say(tmp_path: Path, stack: Volume, frames: Any, syntax: str) -> None:
    data = write(tmp_path / "enhanced.dcm", frames)
    if syntax == "implicit":
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        data.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    shared = stack.with_array(stack.array + 500)
    for place in (tmp_path, tmp_path / "enhanced.dcm"):
        assert same_in_world(Volume.load(place), shared)
    assert slice_thickness(tmp_path / "enhanced.dcm") == pytest.approx(4.5)


def test_groups_that_all_frames_share_count(tmp_path: Path, stack: Volume, frames: Any) -> None:
    data = write(tmp_path / "enhanced.dcm", frames)
    (shared,) = data.SharedFunctionalGroupsSequence
    for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        setattr(shared, name, data.PerFrameFunctionalGroupsSequence[0][name].value)
        for item in data.PerFrameFunctionalGroupsSequence:
            delattr(item, name)
    data.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    assert same_in_world(Volume.load(tmp_path), stack.with_array(stack.array + 500))


def test_every_frame_has_its_own_scale(tmp_path: Path, stack: Volume, frames: Any) -> None:
    slopes, intercepts = [1.0, 2, 3, 4, 5, 6], [10.0, 20, 30, 40, 50, 60]
    write(tmp_path / "enhanced.dcm", frames, RescaleSlope=slopes, RescaleIntercept=intercepts)
    order = [0, 3, 1, 4, 2, 5]
    scaled = (stack.array + 500) * np.array(slopes)[order] + np.array(intercepts)[order]
    assert same_in_world(Volume.load(tmp_path), stack.with_array(scaled.astype(np.float32)))


@pytest.mark.parametrize(
    ("varied", "named"),
    [
        ({"EffectiveEchoTime": [30.0, 90.0]}, "2 echo times"),
        ({"TemporalPositionIndex": [1, 2]}, "2 time points"),
        ({"DiffusionGradientOrientation": [[1.0, 0, 0], [0, 1.0, 0]]}, "2 diffusion directions"),
        ({}, "copies"),
    ],
)
def test_several_images_of_a_slice_are_named(tmp_path: Path, frames: Any, varied: dict[str, Any], named: str) -> None:
    repeated = {name: [value for value in values for _ in frames] for name, values in varied.items()}
    write(tmp_path / "enhanced.dcm", [*frames, *frames], **repeated)
    with raises("series-ambiguous", "12 slices at 6 positions", named):
        Volume.load(tmp_path)


def test_frames_of_several_directions_are_refused(tmp_path: Path, stack: Volume, frames: Any) -> None:
    turned = oblique(stack, 10).affine
    write(tmp_path / "enhanced.dcm", [*frames[:-1], (frames[-1][0], turned)])
    with raises("geometry-mismatch", tmp_path):
        Volume.load(tmp_path)


def test_frames_without_positions_are_refused(tmp_path: Path, frames: Any) -> None:
    data = write(tmp_path / "cine.dcm", frames, Modality="US")
    del data.PerFrameFunctionalGroupsSequence
    data.save_as(tmp_path / "cine.dcm", enforce_file_format=True)
    with raises("geometry-invalid", "6 frames (US)"):
        Volume.load(tmp_path)


def test_frames_that_contradict_their_number_are_refused(tmp_path: Path, frames: Any) -> None:
    data = write(tmp_path / "enhanced.dcm", frames)
    data.NumberOfFrames = 5
    data.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    with raises("file-damaged", "5 frames", "positions of 6"):
        Volume.load(tmp_path / "enhanced.dcm")


def test_a_mosaic_is_refused(tmp_path: Path, stack: Volume) -> None:
    path = write_dicom(tmp_path, stack)[0]
    data = pydicom.dcmread(path)
    data.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    data.save_as(path)
    with raises("file-type", path):
        Volume.load(path)


# --- objects beside the slices ---


OBJECTS = {
    "SR": "1.2.840.10008.5.1.4.1.1.88.22",
    "PR": "1.2.840.10008.5.1.4.1.1.11.1",
    "KO": "1.2.840.10008.5.1.4.1.1.88.59",
    "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
    "DOC": "1.2.840.10008.5.1.4.1.1.104.1",
    "RAW": "1.2.840.10008.5.1.4.1.1.66",
    "DIR": "1.2.840.10008.1.3.10",
}


def test_objects_without_pixels_are_passed_over(tmp_path: Path, stack: Volume) -> None:
    write_dicom(tmp_path, stack)
    for modality, sop_class in OBJECTS.items():
        write_object(tmp_path / ("DICOMDIR" if modality == "DIR" else modality), sop_class, modality)
    assert same_in_world(Volume.load(tmp_path), stack)


def test_a_folder_of_such_objects_has_no_image(tmp_path: Path) -> None:
    write_object(tmp_path / "report", OBJECTS["SR"], "SR")
    write_object(tmp_path / "state", OBJECTS["PR"], "PR")
    with raises("series-ambiguous", tmp_path, "PR, SR"):
        Volume.load(tmp_path)
    with raises("file-type", tmp_path / "report", "SR"):
        Volume.load(tmp_path / "report")


@pytest.mark.parametrize("kept", [140, 300, 500, 700])
def test_a_cut_header_is_damaged(tmp_path: Path, stack: Volume, kept: int, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_dicom(tmp_path, stack)[0]
    path.write_bytes(path.read_bytes()[:kept])
    with raises("file-damaged", "1 DICOM", path.name):
        Volume.load(tmp_path)
    assert capfd.readouterr().err == ""


def test_a_file_without_a_preamble_is_read(tmp_path: Path, stack: Volume) -> None:
    for path in write_dicom(tmp_path, stack):
        path.write_bytes(path.read_bytes()[132:])
    assert same_in_world(Volume.load(tmp_path), stack)
