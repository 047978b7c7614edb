"""NRRD and MetaImage files that leave out their geometry are read with a warning, others without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK

from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import ORIENTATIONS, oblique, reoriented

if TYPE_CHECKING:
    from pathlib import Path

SCAN = Volume(np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6), np.diag([2.0, 2.0, 3.0, 1.0]))
LPS_FIELDS = ("space: left-posterior-superior", "space directions: (2,0,0) (0,2,0) (0,0,3)", "space origin: (1,2,3)")


def write_nrrd(path: Path, *fields: str) -> None:
    header = ["NRRD0004", "type: uint8", "dimension: 3", "sizes: 4 5 6", "encoding: raw", *fields]
    path.write_bytes("\n".join([*header, "", ""]).encode() + SCAN.array.tobytes(order="F"))


def write_metaimage(path: Path, *fields: str) -> None:
    header = ["ObjectType = Image", "NDims = 3", "DimSize = 4 5 6", *fields]
    header += ["ElementType = MET_UCHAR", "ElementDataFile = LOCAL", ""]
    path.write_bytes("\n".join(header).encode() + SCAN.array.tobytes(order="F"))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (LPS_FIELDS, ()),
        (("space: RAS", *LPS_FIELDS[1:]), ()),
        (("spacings: 2 2 3",), ("LPS", "0, 0, 0")),
        (("space dimension: 3", *LPS_FIELDS[1:]), ("LPS",)),
        (("space: scanner-xyz", *LPS_FIELDS[1:]), ("LPS",)),
        ((), ("LPS", "1 mm", "0, 0, 0")),
        ((LPS_FIELDS[0],), ("1 mm", "0, 0, 0")),
    ],
)
def test_nrrd_says_what_it_leaves_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fields: tuple[str, ...], says: tuple[str, ...]
) -> None:
    write_nrrd(tmp_path / "scan.nrrd", *fields)
    np.testing.assert_array_equal(Volume.load(tmp_path / "scan.nrrd").array, SCAN.array)
    assert len(caplog.records) == bool(says)
    assert all(word in caplog.text for word in (*says, *(["scan.nrrd"] if says else [])))
    assert all(word not in caplog.text for word in {"LPS", "1 mm", "0, 0, 0"} - set(says))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (("TransformMatrix = 1 0 0 0 1 0 0 0 1", "Offset = 1 2 3", "ElementSpacing = 2 2 3"), ()),
        (("ElementSpacing = 2 2 3",), ("LPS", "0, 0, 0")),
        ((), ("LPS", "1 mm", "0, 0, 0")),
    ],
)
def test_metaimage_says_what_it_leaves_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fields: tuple[str, ...], says: tuple[str, ...]
) -> None:
    write_metaimage(tmp_path / "scan.mha", *fields)
    np.testing.assert_array_equal(Volume.load(tmp_path / "scan.mha").array, SCAN.array)
    assert len(caplog.records) == bool(says)
    assert all(word in caplog.text for word in says)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("axcodes", ORIENTATIONS)
def test_files_with_a_whole_geometry_are_read_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, axcodes: str
) -> None:
    reoriented(oblique(SCAN), axcodes).save(tmp_path / "a.nrrd")
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(tmp_path / "a.nrrd")), str(tmp_path / f"scan{suffix}"))
    Volume.load(tmp_path / f"scan{suffix}")
    assert not caplog.records
