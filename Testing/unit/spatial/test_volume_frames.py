"""Several arrays of one grid in one NIfTI, as other programs read it."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK

from NeuroGenLib.spatial.files.volumes import write_frames
from Testing.raising import raises

AFFINE = np.array([[-2.0, 0, 0, 11], [0, 0, 3.0, -7], [0, 4.0, 0, 5], [0, 0, 0, 1]])


@pytest.fixture
def maps():
    """Three frames of two channels."""
    return [np.random.default_rng(seed).random((2, 4, 5, 6)).astype(np.float32) for seed in range(3)]


def test_frames_are_the_fourth_axis(tmp_path, maps):
    path = tmp_path / "image.nii.gz"
    write_frames(path, [one[0] for one in maps], AFFINE, frame_spacing=0.5)
    image = nibabel.load(path)
    assert image.shape == (4, 5, 6, 3)
    assert image.header.get_zooms()[3] == 0.5
    np.testing.assert_allclose(image.affine, AFFINE)
    np.testing.assert_array_equal(image.get_fdata()[..., 2], maps[2][0])


def test_channels_are_the_fifth_axis_and_bytes_are_scaled(tmp_path, maps):
    path = tmp_path / "maps.nii.gz"
    stored = [np.rint(one * 255).astype(np.uint8) for one in maps]
    write_frames(path, stored, AFFINE, slope=1 / 255)
    image = nibabel.load(path)
    assert image.shape == (4, 5, 6, 3, 2)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_allclose(image.get_fdata()[..., 1, 0], maps[1][0], atol=0.5 / 255 + 1e-6)
    assert SimpleITK.ReadImage(str(path)).GetSize() == (4, 5, 6, 3, 2)


def test_one_frame_needs_no_axis(tmp_path, maps):
    path = tmp_path / "maps.nii.gz"
    write_frames(path, maps[:1], AFFINE, squeeze=True)
    assert nibabel.load(path).shape == (4, 5, 6, 2)


def test_label_frames_share_the_smallest_type_that_holds_all(tmp_path):
    path = tmp_path / "labels.nii.gz"
    write_frames(path, [np.full((2, 2, 2), 3), np.full((2, 2, 2), 300)], AFFINE)
    image = nibabel.load(path)
    assert image.get_data_dtype() == np.uint16
    assert np.asarray(image.dataobj)[0, 0, 0].tolist() == [3, 300]


def test_another_format_is_refused(tmp_path, maps):
    with raises("file-type", tmp_path / "maps.nrrd", ".nii.gz"):
        write_frames(tmp_path / "maps.nrrd", maps, AFFINE)
    assert not list(tmp_path.iterdir())
