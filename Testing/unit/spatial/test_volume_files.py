"""Files of volumes: NIfTI, NRRD and MetaImage, whole and broken."""

from __future__ import annotations

import gzip
import hashlib
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
import SimpleITK

from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import SWEEP, reoriented, rotation, same_in_world
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = (".nii", ".nii.gz", ".nrrd")
SHEARED = np.array([[2.0, 0.5, 0, -10], [0, 2, 0.3, -20], [0, 0, 3, 5], [0, 0, 0, 1]])


@pytest.fixture
def scan() -> Volume:
    """Oblique, anisotropic, left-handed, of int16 with negative values."""
    array = (np.arange(4 * 5 * 6).reshape(4, 5, 6) * 37 - 2000).astype(np.int16)
    affine = rotation(25, (10, 5, -3)) @ np.array([[-0.9, 0, 0, 60], [0, 0, 1.1, -80], [0, 3, 0, 20], [0, 0, 0, 1]])
    return Volume(array, affine)


def ras_of_itk(image: SimpleITK.Image, ijk: tuple[int, int, int]) -> np.ndarray:
    return np.array(image.TransformIndexToPhysicalPoint(ijk)) * (-1, -1, 1)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- NIfTI, NRRD, MetaImage ---


@pytest.mark.parametrize("suffix", [*FORMATS, ".NII.GZ"])
@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "uint16", "int32", "int64", "uint64", "float32", "float64"]
)
def test_a_volume_survives_its_file(tmp_path: Path, scan: Volume, suffix: str, dtype: str) -> None:
    volume = scan.with_array((scan.array % 200).astype(dtype))
    path = tmp_path / f"volume{suffix}"
    volume.save(path)
    back = Volume.load(path)
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-5)
    assert back.array.dtype == ("uint8" if np.dtype(dtype).kind in "biu" else dtype)
    assert back.array.flags.c_contiguous
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("axcodes", SWEEP)
def test_itk_sees_every_voxel_where_the_volume_says(tmp_path: Path, scan: Volume, suffix: str, axcodes: str) -> None:
    volume = reoriented(scan, axcodes)
    path = tmp_path / f"volume{suffix}"
    volume.save(path)
    image = SimpleITK.ReadImage(str(path))
    assert image.GetSize() == volume.shape
    for ijk in ((0, 0, 0), (1, 2, 3), tuple(n - 1 for n in volume.shape)):
        assert ras_of_itk(image, ijk) == pytest.approx(volume.voxel_to_world(ijk), abs=1e-3)
        assert image[ijk] == volume.array[ijk]


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr"])
def test_what_itk_writes_is_read_in_its_place(tmp_path: Path, scan: Volume, suffix: str) -> None:
    image = SimpleITK.GetImageFromArray(np.arange(120, dtype=np.float32).reshape(6, 5, 4))
    image.SetSpacing((0.9, 3.0, 1.1))
    image.SetOrigin((11, -22, 33))
    image.SetDirection((rotation(35, (0, 0, 0))[:3, :3] @ np.diag([1, 1, -1])).ravel().tolist())
    path = tmp_path / f"volume{suffix}"
    SimpleITK.WriteImage(image, str(path))
    volume = Volume.load(path)
    for ijk in ((0, 0, 0), (1, 2, 3), (3, 4, 5)):
        assert volume.voxel_to_world(ijk) == pytest.approx(ras_of_itk(image, ijk), abs=1e-5)
        assert volume.array[ijk] == image[ijk]


@pytest.mark.parametrize("suffix", [*FORMATS, ".mha"])
def test_channels_come_first(tmp_path: Path, scan: Volume, suffix: str) -> None:
    field = scan.with_array(np.stack([scan.array, scan.array + 1, -scan.array]).astype(np.float32))
    path = tmp_path / f"field{suffix}"
    if suffix == ".mha":
        field.save(tmp_path / "field.nrrd")
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(tmp_path / "field.nrrd")), str(path))
    else:
        field.save(path)
    back = Volume.load(path)
    assert back.channels == 3
    np.testing.assert_array_equal(back.array, field.array)
    assert back.same_space(scan)


def test_itk_images_with_two_and_four_axes_are_read(tmp_path: Path, scan: Volume) -> None:
    scan.save(tmp_path / "a.nrrd")
    image = SimpleITK.ReadImage(str(tmp_path / "a.nrrd"))
    SimpleITK.WriteImage(SimpleITK.JoinSeries([image, image + 1, image + 2]), str(tmp_path / "frames.nrrd"))
    frames = Volume.load(tmp_path / "frames.nrrd")
    assert frames.same_space(scan)
    np.testing.assert_array_equal(frames.array, [scan.array, scan.array + 1, scan.array + 2])
    flat = SimpleITK.GetImageFromArray(np.arange(20, dtype=np.int16).reshape(5, 4))
    flat.SetOrigin((10, 20))
    SimpleITK.WriteImage(flat, str(tmp_path / "flat.mha"))
    slice_ = Volume.load(tmp_path / "flat.mha")
    np.testing.assert_array_equal(slice_.array, np.arange(20).reshape(5, 4).T[:, :, None])
    assert slice_.voxel_to_world((1, 2, 0)) == pytest.approx([-11, -22, 0])


def test_a_4d_nifti_keeps_the_frame_step(tmp_path: Path, scan: Volume) -> None:
    series = scan.with_array(np.stack([scan.array] * 7))
    series.save(tmp_path / "bold.nii.gz", frame_spacing=2.5, frame_unit="sec")
    header = nibabel.load(tmp_path / "bold.nii.gz").header
    assert header.get_data_shape() == (4, 5, 6, 7)
    assert header.get_zooms() == pytest.approx((0.9, 3.0, 1.1, 2.5))
    assert header.get_xyzt_units() == ("mm", "sec")


def test_a_nifti_says_its_place_twice(tmp_path: Path, scan: Volume) -> None:
    scan.save(tmp_path / "a.nii")
    image = nibabel.load(tmp_path / "a.nii")
    for matrix, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(matrix, scan.affine, atol=1e-4)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_a_sheared_affine_is_kept_by_nifti_and_refused_by_nrrd(tmp_path: Path) -> None:
    volume = Volume(np.zeros((4, 5, 6), np.uint8), SHEARED)
    volume.save(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(Volume.load(tmp_path / "a.nii.gz").affine, SHEARED, atol=1e-6)
    with raises("geometry-invalid", tmp_path / "a.nrrd", ".nii.gz"):
        volume.save(tmp_path / "a.nrrd")
    assert not (tmp_path / "a.nrrd").exists()


def test_the_sform_goes_before_the_qform(tmp_path: Path, scan: Volume) -> None:
    image = nibabel.Nifti1Image(scan.array, scan.affine)
    image.set_sform(scan.affine, 2)
    image.set_qform(np.diag([3.0, 3, 3, 1]), 1)
    nibabel.save(image, tmp_path / "both.nii")
    np.testing.assert_allclose(Volume.load(tmp_path / "both.nii").affine, scan.affine, atol=1e-5)
    image.header["sform_code"] = 0
    nibabel.save(nibabel.Nifti1Image(scan.array, None, image.header), tmp_path / "q.nii")
    np.testing.assert_allclose(Volume.load(tmp_path / "q.nii").affine, np.diag([3.0, 3, 3, 1]), atol=1e-5)


def test_a_nifti_without_orientation_is_read_with_a_warning(
    tmp_path: Path, scan: Volume, caplog: pytest.LogCaptureFixture
) -> None:
    image = nibabel.Nifti1Image(scan.array, scan.affine)
    image.header["sform_code"] = image.header["qform_code"] = 0
    path = tmp_path / "lost.nii"
    path.write_bytes(image.header.binaryblock + bytes(4) + scan.array.tobytes(order="F"))
    assert Volume.load(path).shape == scan.shape
    assert "lost.nii" in caplog.text


def test_scaling_is_applied_and_integers_stay_integers(tmp_path: Path, scan: Volume) -> None:
    header = nibabel.Nifti1Image(scan.array, scan.affine).header
    header["scl_slope"], header["scl_inter"] = 0.5, 10
    header["vox_offset"] = 352
    path = tmp_path / "scaled.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4) + scan.array.tobytes(order="F")))
    np.testing.assert_allclose(Volume.load(path).array, scan.array * 0.5 + 10)
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nibabel.save(nibabel.Nifti1Image(scan.array, scan.affine, header), tmp_path / "sparc.nii")
    assert (tmp_path / "sparc.nii").read_bytes()[:4] == b"\x00\x00\x01\x5c"
    back = Volume.load(tmp_path / "sparc.nii")
    assert back.array.dtype == np.dtype("int16")
    assert back.array.dtype.isnative
    np.testing.assert_array_equal(back.array, scan.array)


@pytest.mark.parametrize(
    ("stored", "loaded"),
    [
        ((4, 5), (4, 5, 1)),
        ((4, 5, 1), (4, 5, 1)),
        ((4, 5, 6, 1), (4, 5, 6)),
        ((4, 5, 6, 1, 1), (4, 5, 6)),
        ((4, 5, 6, 3), (3, 4, 5, 6)),
        ((4, 5, 6, 1, 3), (3, 4, 5, 6)),
    ],
)
def test_axes_of_nifti_become_axes_of_a_volume(tmp_path: Path, stored: tuple, loaded: tuple) -> None:
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(np.arange(np.prod(stored), dtype=np.int32).reshape(stored), np.eye(4)), path)
    before = digest(path)
    assert Volume.load(path).array.shape == loaded
    assert digest(path) == before


def test_nifti2_and_gzip_without_its_suffix_are_read(tmp_path: Path, scan: Volume) -> None:
    nibabel.save(nibabel.Nifti2Image(scan.array, scan.affine), tmp_path / "two.nii")
    assert same_in_world(Volume.load(tmp_path / "two.nii"), scan)
    scan.save(tmp_path / "a.nii.gz")
    (tmp_path / "a.nii.gz").rename(tmp_path / "packed.nii")
    assert same_in_world(Volume.load(tmp_path / "packed.nii"), scan)


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_same_volume_gives_the_same_bytes_under_any_name(tmp_path: Path, scan: Volume, suffix: str) -> None:
    scan.save(tmp_path / f"one{suffix}")
    Volume(scan.array.copy(), scan.affine).save(tmp_path / f"other{suffix}")
    assert digest(tmp_path / f"one{suffix}") == digest(tmp_path / f"other{suffix}")
    if suffix == ".nii.gz":
        assert (tmp_path / "one.nii.gz").read_bytes()[4:8] == bytes(4)


def test_a_loaded_volume_does_not_hold_its_file(tmp_path: Path, scan: Volume) -> None:
    path = tmp_path / "a.nii"
    scan.save(path)
    volume = Volume.load(path)
    scan.with_array(scan.array * 0).save(path)
    np.testing.assert_array_equal(volume.array, scan.array)
    assert not Volume.load(path).array.any()


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (0, 255, "uint8"),
        (0, 256, "uint16"),
        (-1, 127, "int8"),
        (-1, 128, "int16"),
        (0, 70000, "uint32"),
        (-1, 2**62, "int64"),
    ],
)
def test_whole_numbers_take_the_smallest_type(tmp_path: Path, low: int, high: int, dtype: str) -> None:
    array = np.zeros((2, 2, 2), np.int64)
    array[0, 0] = low, high
    Volume(array, np.eye(4)).save(tmp_path / "a.nii")
    assert nibabel.load(tmp_path / "a.nii").get_data_dtype() == dtype
    np.testing.assert_array_equal(Volume.load(tmp_path / "a.nii").array, array)


def test_a_type_on_request_must_hold_the_values(tmp_path: Path, scan: Volume) -> None:
    path = tmp_path / "a.nrrd"
    scan.with_array(scan.array / 4.0).save(path, dtype=np.float32)
    assert Volume.load(path).array.dtype == np.float32
    kept = digest(path)
    for array, dtype, count in (
        (scan.array / 4.0, np.int16, (scan.array % 4 != 0).sum()),
        (scan.array, np.uint8, ((scan.array < 0) | (scan.array > 255)).sum()),
        (np.full(scan.shape, 1e300), np.float32, scan.array.size),
        (np.full(scan.shape, np.nan), np.int16, scan.array.size),
        (np.full(scan.shape, 2**24 + 1), np.float32, scan.array.size),
    ):
        with raises("value-invalid", f"{count} voxels", np.dtype(dtype)):
            scan.with_array(array).save(path, dtype=dtype)
    with raises("value-invalid", "complex64"):
        scan.save(path, dtype=np.complex64)
    assert digest(path) == kept


# --- broken and foreign files ---


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("fraction", [0, 0.1, 0.5, 0.98])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, fraction: float) -> None:
    path = tmp_path / f"cut{suffix}"
    noise = np.random.default_rng(0).integers(0, 9, (10, 10, 10)).astype(np.float32)
    Volume(noise, np.eye(4)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with raises("file-damaged", path):
        Volume.load(path)


def test_a_truncated_metaimage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.mha"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((9, 9, 9), np.float32)), str(path))
    path.write_bytes(path.read_bytes()[:-500])
    with raises("file-damaged", path, "MetaImage"):
        Volume.load(path)


def test_a_flipped_bit_in_a_gzip_is_noticed(tmp_path: Path, scan: Volume) -> None:
    path = tmp_path / "bad.nii.gz"
    scan.save(path)
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # in the checksum: the voxels themselves still unpack
    path.write_bytes(content)
    with raises("file-damaged", path, "CRC"):
        Volume.load(path)


def test_damaged_headers_give_a_plain_error_or_a_volume(tmp_path: Path, scan: Volume) -> None:
    path = tmp_path / "fuzzed.nii"
    scan.save(path)
    content = path.read_bytes()
    random = np.random.default_rng(1)
    refused = unnamed = 0
    for _ in range(150):
        damaged = bytearray(content)
        for place in random.integers(0, 348, 3):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            Volume.load(path)
        except InputError as error:
            refused += "fuzzed.nii" in error.problem
            unnamed += "fuzzed.nii" not in error.problem
    assert refused > 10
    assert unnamed == 0


@pytest.mark.parametrize("name", ["notes.nii", "notes.nii.gz", "notes.nrrd", "notes.mha"])
def test_foreign_content_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("subject\tage\n" * 100, encoding="utf-8")
    with raises("file-damaged", path):
        Volume.load(path)


def test_an_impossible_volume_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.tsv").write_text("a\tb\n", encoding="utf-8")
    with raises("file-type", tmp_path / "table.tsv", ".nii.gz"):
        Volume.load(tmp_path / "table.tsv")
    with raises("file-missing", tmp_path / "nothing.nii"):
        Volume.load(tmp_path / "nothing.nii")
    with raises("series-ambiguous", tmp_path):
        Volume.load(tmp_path)
    colours = np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "rgb.nii")
    with raises("value-invalid", tmp_path / "rgb.nii", "colours"):
        Volume.load(tmp_path / "rgb.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2, 2, 2)), np.eye(4)), tmp_path / "five.nii")
    with raises("image-dimensions", tmp_path / "five.nii", 5):
        Volume.load(tmp_path / "five.nii")


def test_a_flat_affine_in_a_file_is_named(tmp_path: Path, scan: Volume) -> None:
    image = nibabel.Nifti1Image(scan.array, scan.affine)
    image.header["srow_z"] = 0
    path = tmp_path / "flat.nii"
    path.write_bytes(image.header.binaryblock + bytes(4) + scan.array.tobytes(order="F"))
    with raises("geometry-invalid", path, "flat"):
        Volume.load(path)


@pytest.mark.parametrize("name", ["a.mgz", "a.mha", "a", "a.nii.bz2"])
def test_only_nifti_and_nrrd_are_written(tmp_path: Path, scan: Volume, name: str) -> None:
    with raises("file-type", tmp_path / name):
        scan.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_invalid_frames_are_refused(tmp_path: Path, scan: Volume) -> None:
    with raises("name-unknown", "'secs'", "'sec'"):
        scan.save(tmp_path / "a.nii", frame_unit="secs")
    with raises("value-invalid", "frame spacing 0"):
        scan.save(tmp_path / "a.nii", frame_spacing=0)
    with raises("image-too-large", 32767):
        Volume(np.zeros((32768, 1, 1), np.uint8), np.eye(4)).save(tmp_path / "a.nii")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, scan: Volume, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    scan.save(path)
    kept = digest(path)

    def full_disk(*args: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    def itk_fails(*args: object, **more: object) -> None:
        raise RuntimeError("ITK ERROR: could not write")

    monkeypatch.setattr(nibabel.Nifti1Image, "to_stream", full_disk)
    monkeypatch.setattr(SimpleITK, "WriteImage", itk_fails)
    with raises("file-unwritable", path, kind=NeuroGenError) as caught:
        scan.with_array(scan.array * 2).save(path)
    assert caught.value.exit_code == 1
    assert digest(path) == kept
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


# --- real volumes ---


def test_real_label_maps_load(shared_data: Path) -> None:
    path = shared_data / "adult_labels" / "label_01.nii.gz"
    before = digest(path)
    labels = Volume.load(path)
    assert labels.axcodes == ("L", "I", "A")
    assert labels.shape == (256, 256, 256)
    assert labels.array.dtype == np.float32
    assert labels.reorient("RAS").voxel_to_world((0, 0, 0)) == pytest.approx(labels.world_bounds[0] + 0.5)
    assert digest(path) == before


def test_real_fetal_volumes_load(shared_data: Path) -> None:
    anat = shared_data / "fetal" / "sub-nt22" / "anat"
    image = Volume.load(anat / "sub-nt22_T2w.nii.gz")
    labels = Volume.load(anat / "sub-nt22_dseg.nii.gz")
    assert image.same_space(labels)
    assert image.axcodes == ("R", "A", "S")
    assert (image.array.dtype, labels.array.dtype) == (np.int16, np.uint8)
    raw = gzip.decompress((anat / "sub-nt22_dseg.nii.gz").read_bytes())
    offset = int(np.frombuffer(raw, "<f4", 1, 108)[0])
    np.testing.assert_array_equal(labels.array.ravel(order="F"), np.frombuffer(raw, np.uint8, -1, offset))
