"""Thickness of slices from what scanners record: DICOM tags and the JSON files of BIDS."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from NeuroGenLib.spatial.files.reading import ReadingConfig, reading_session
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.superres.run_config import SuperresConfig
from NeuroGenLib.superres.stacks.preprocessing import thick_stacks
from NeuroGenLib.superres.stacks.slice_geometry import slice_geometry
from NeuroGenLib.superres.stacks.slice_thickness import UNKNOWN, recorded_thickness
from Testing.dicom_files import write_dicom
from Testing.geometry import oblique

if TYPE_CHECKING:
    from pathlib import Path

DISTANCE = 5.0


@pytest.fixture
def scan() -> Volume:
    """Oblique slices 5 mm apart."""
    values = np.random.default_rng(0).integers(0, 900, (60, 56, 12)).astype(np.int16)
    return oblique(Volume(values, np.diag([-1.0, 1.0, DISTANCE, 1.0])), 25)


def with_sidecar(folder: Path, scan: Volume, text: str) -> Path:
    """Write a scan with what lies beside it."""
    path = folder / "sub-1_T2w.nii.gz"
    scan.save(path)
    (folder / "sub-1_T2w.json").write_text(text, encoding="utf-8")
    return path


def test_bids_records_it(scan: Volume, tmp_path: Path) -> None:
    path = with_sidecar(tmp_path, scan, json.dumps({"SliceThickness": 4, "SpacingBetweenSlices": DISTANCE}))
    assert recorded_thickness(path) == 4


@pytest.mark.parametrize(
    "text",
    ["{", "[4]", "{}", '{"SliceThickness": null}', '{"SliceThickness": "thick"}', '{"SliceThickness": -3}',
     '{"SliceThickness": 5000}', '{"SliceThickness": NaN}', '{"SliceThickness": true}',
     '{"SliceThickness": [4]}', "\udcff"],
)  # fmt: skip
def test_a_senseless_record_is_none(scan: Volume, tmp_path: Path, text: str) -> None:
    path = with_sidecar(tmp_path, scan, "{}")
    path.with_name("sub-1_T2w.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert recorded_thickness(path) == UNKNOWN


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_changes_nothing(scan: Volume, tmp_path: Path, mark: str) -> None:
    path = with_sidecar(tmp_path, scan, "{}")
    path.with_name("sub-1_T2w.json").write_text('{"SliceThickness": 4}', encoding=mark)
    assert recorded_thickness(path) == 4


def test_an_unreadable_record_gives_a_warning(scan: Volume, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = with_sidecar(tmp_path, scan, '{"SliceThickness": 4,}')
    with reading_session() as session:
        assert recorded_thickness(path) == UNKNOWN
    assert str(tmp_path / "sub-1_T2w.json") in caplog.text
    assert str(tmp_path / "sub-1_T2w.json") in session.warnings[0]


def test_records_are_inherited(scan: Volume, tmp_path: Path) -> None:
    anat = tmp_path / "data" / "sub-1" / "ses-2" / "anat"
    path = anat / "sub-1_ses-2_acq-ax_T2w.nii.gz"
    scan.save(path)
    (tmp_path / "T2w.json").write_text('{"SliceThickness": 9}', encoding="utf-8")
    assert recorded_thickness(path) == UNKNOWN, "above the data set"
    thicknesses = {
        "T1w.json": 9.5,
        "acq-cor_T2w.json": 9.6,
        "T2w.json": 6.0,
        "acq-ax_T2w.json": 5.5,
        "sub-1/sub-1_T2w.json": 5.0,
        "sub-1/ses-2/sub-1_ses-2_T2w.json": 4.5,
        "sub-1/ses-2/anat/sub-1_ses-2_acq-ax_T2w.json": 4.0,
    }
    for name, thickness in thicknesses.items():
        (tmp_path / "data" / name).write_text(json.dumps({"SliceThickness": thickness}), encoding="utf-8")
        assert recorded_thickness(path) == (thickness if thickness < 9 else UNKNOWN), name


def test_where_nothing_lies_nothing_is_recorded(scan: Volume, tmp_path: Path) -> None:
    scan.save(tmp_path / "plain.nii.gz")
    scan.save(tmp_path / "plain.nrrd")
    for name in ("plain.nii.gz", "plain.nrrd", "missing.nii.gz", "missing.dcm", "missing"):
        assert recorded_thickness(tmp_path / name) == UNKNOWN
    (tmp_path / "empty").mkdir()
    assert recorded_thickness(tmp_path / "empty") == UNKNOWN


def test_dicom_records_it(scan: Volume, tmp_path: Path) -> None:
    files = write_dicom(tmp_path / "series", scan, thickness=3.5)
    assert recorded_thickness(tmp_path / "series") == 3.5
    assert recorded_thickness(files[0]) == 3.5


def test_the_series_that_is_read_records_it(scan: Volume, tmp_path: Path) -> None:
    for number, thickness in ((1, 3.5), (2, 4.5)):
        write_dicom(tmp_path / "two", scan, f"1.2.826.0.1.3680043.2.1125.{number}", thickness=thickness, number=number)
    assert recorded_thickness(tmp_path / "two") == UNKNOWN
    with reading_session(ReadingConfig(series="2")):
        assert recorded_thickness(tmp_path / "two") == 4.5


def test_what_is_recorded_leaves_a_gap(scan: Volume) -> None:
    (stack,), _ = thick_stacks([scan], SuperresConfig(recorded=(4.0,)))
    assert (stack.thickness, stack.gap) == (4.0, pytest.approx(1.0))
    found = slice_geometry(scan.shape, scan.affine, SuperresConfig(recorded=(4.0,)))
    assert (found.thickness_mm, found.gap_mm) == (4.0, pytest.approx(1.0))


@pytest.mark.parametrize(
    ("settings", "thickness"),
    [
        (SuperresConfig(recorded=(4.0,), thickness=3.0), 3.0),
        (SuperresConfig(recorded=(4.0,), gap=0.5), 4.5),
        (SuperresConfig(recorded=(UNKNOWN,)), DISTANCE),
        (SuperresConfig(), DISTANCE),
    ],
)
def test_what_is_given_goes_first(scan: Volume, settings: SuperresConfig, thickness: float) -> None:
    (stack,), _ = thick_stacks([scan], settings)
    assert stack.thickness == pytest.approx(thickness)


@pytest.mark.parametrize("recorded", [0.5, 50.0])
def test_an_implausible_record_is_not_used(scan: Volume, recorded: float) -> None:
    (stack,), warnings = thick_stacks([scan], SuperresConfig(recorded=(recorded,)))
    assert stack.thickness == pytest.approx(DISTANCE)
    assert "implausible" in warnings[0]


def test_each_scan_has_its_own(scan: Volume) -> None:
    stacks, _ = thick_stacks([scan, scan, scan], SuperresConfig(recorded=(4.0, UNKNOWN, 3.0)))
    assert [stack.thickness for stack in stacks] == pytest.approx([4.0, DISTANCE, 3.0])
