"""The comparison of registration programs: its lists, its scores, and one program on a small pair."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from NeuroGenLib import Volume
from NeuroGenLib.core.files import read_json
from Testing.raising import raises

if TYPE_CHECKING:
    from Testing.geometry import Phantom

BENCH = Path(__file__).parents[2] / "bench"
TURN_DEGREES, SHIFT_MM = 12.0, (9.0, -6.0, 5.0)


@pytest.fixture(autouse=True)
def bench_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bench is made of scripts: their folder is on the path, as when they are run."""
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.fixture
def data(tmp_path: Path, phantom: Phantom) -> Path:
    """Two subjects: the phantom, and the same one turned and shifted."""
    moved = np.eye(4)
    moved[:3, :3] = Rotation.from_euler("z", TURN_DEGREES, degrees=True).as_matrix()
    moved[:3, 3] = SHIFT_MM
    for subject, matrix in (("sub-a", np.eye(4)), ("sub-b", moved)):
        anat = tmp_path / "data" / subject / "anat"
        anat.mkdir(parents=True)
        for volume, name in ((phantom.image, "T1w"), (phantom.labels, "dseg")):
            Volume(volume.array, matrix @ volume.affine).save(anat / f"{subject}_{name}.nii.gz")
    return tmp_path / "data"


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    """A list of one pair."""
    path = tmp_path / "pairs.tsv"
    path.write_text("kind\tfixed\tmoving\nphantom\tsub-a\tsub-b\n", encoding="utf-8")
    return path


def arguments(data: Path, pairs_file: Path, programs: str) -> list[str]:
    out = pairs_file.parent / "out"
    return [f"--data={data}", f"--pairs={pairs_file}", f"--programs={programs}", f"--out={out}"]


def test_demons_find_the_turn_and_the_results_are_written(data: Path, pairs_file: Path) -> None:
    from bench_peers import main

    main(arguments(data, pairs_file, "demons"))
    rows = read_json(pairs_file.parent / "out" / "results.json")["rows"]
    assert [(row["fixed"], row["moving"], row["program"]) for row in rows] == [("sub-a", "sub-b", "demons")]
    row = rows[0]
    assert row["dice_before"] < 0.6
    assert row["dice"] > 0.9
    assert row["dice_of_field"] == pytest.approx(row["dice"], abs=0.005)
    assert row["folded_voxels"] == 0
    assert row["cpu_s"] is None or row["cpu_s"] > 0.1
    table = (pairs_file.parent / "out" / "results.md").read_text(encoding="utf-8")
    assert f"| phantom | sub-a | sub-b | demons | {row['dice_before']:.3f} | {row['dice']:.3f} | 0 |" in table


def test_a_program_that_fails_becomes_a_row_with_its_reason(data: Path, pairs_file: Path) -> None:
    from bench_peers import main

    image = data / "sub-b" / "anat" / "sub-b_T1w.nii.gz"
    image.write_bytes(b"not an image")
    main(arguments(data, pairs_file, "demons"))
    row = read_json(pairs_file.parent / "out" / "results.json")["rows"][0]
    assert "register" in row["error"]
    assert "dice" not in row
    table = (pairs_file.parent / "out" / "results.md").read_text(encoding="utf-8")
    assert f"demons, sub-a, sub-b: {row['error']}" in table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"programs": "demon"}, "Did you mean 'demons'"),
        ({"programs": "ANTs SyN"}, "make peers"),
        ({"pairs": "fixed\tmoving\nsub-a\tsub-b\n"}, "kind"),
        ({"pairs": "kind\tfixed\tmoving\n"}, "no pairs"),
        ({"pairs": "kind\tfixed\tmoving\nx\tsub-a\n"}, "Line 2"),
        ({"pairs": "kind\tfixed\tmoving\nx\tsub-a\tsub-b\ty\n"}, "Line 2"),
        ({"pairs": "kind\tfixed\tmoving\nx\tsub-a\tsub-c\n"}, "sub-c"),
    ],
)
def test_bad_lists_are_named_before_anything_runs(
    data: Path, pairs_file: Path, change: dict[str, str], message: str
) -> None:
    from bench_peers import main

    if "pairs" in change:
        pairs_file.write_text(change["pairs"], encoding="utf-8")
    missing = f"--peers-python={pairs_file.parent / 'python'}"
    with pytest.raises(SystemExit, match=message):
        main([*arguments(data, pairs_file, change.get("programs", "demons")), missing])
    assert not (pairs_file.parent / "out").exists()


def test_the_list_of_pairs_names_scans_once_each_way() -> None:
    from peers.pairs import read_pairs

    pairs = read_pairs(BENCH / "registration_pairs.tsv")
    assert len(set(pairs)) == len(pairs) == 10
    assert all(pair.fixed != pair.moving for pair in pairs)
    assert {pair.kind for pair in pairs} == {"fetal", "fetal-hard"}


@given(st.lists(st.floats(-3.0, 3.0), min_size=9, max_size=9))
def test_a_linear_map_folds_everywhere_or_nowhere(entries: list[float]) -> None:
    from peers.scores import folded_voxels

    matrix = np.reshape(entries, (3, 3))
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in (5, 6, 7)), indexing="ij"))
    displacement = np.einsum("cd,dijk->cijk", matrix, grid)
    determinant = np.linalg.det(np.eye(3) + matrix)
    if abs(determinant) > 1e-6:
        assert folded_voxels(displacement) == (3 * 4 * 5 if determinant < 0 else 0)


def test_only_the_voxels_that_turn_over_are_counted() -> None:
    from peers.scores import folded_voxels

    place = np.arange(12.0)
    place[6], place[7] = (
        7,
        6,
    )  # two neighbours change places: differences 6.5-5, 7-4 ... are negative between them alone
    displacement = np.zeros((3, 12, 5, 5))
    displacement[0] = (place - np.arange(12))[:, None, None]
    slopes = (place[2:] - place[:-2]) / 2
    assert folded_voxels(displacement) == int((slopes <= 0).sum()) * 9


def test_a_field_in_mm_is_read_on_oblique_left_handed_grids() -> None:
    from peers.scores import grid_displacement

    rng = np.random.default_rng(1)
    field = SimpleITK.GetImageFromArray(rng.normal(size=(4, 5, 6, 3)), isVector=True)
    field.SetSpacing((0.7, 1.3, 2.0))
    turn = Rotation.from_euler("xyz", (20, -30, 40), degrees=True).as_matrix() @ np.diag((1.0, -1.0, 1.0))
    field.SetDirection(turn.ravel().tolist())
    displacement = grid_displacement(field)
    assert displacement.shape == (3, 6, 5, 4)
    for index in ((0, 0, 0), (5, 1, 3), (2, 4, 1)):
        end = np.array(field.TransformIndexToPhysicalPoint(index)) + field.GetPixel(*index)
        expected = np.array(field.TransformPhysicalPointToContinuousIndex(end.tolist())) - index
        np.testing.assert_allclose(displacement[:, *index], expected, atol=1e-5)


def test_the_table_has_means_by_kind_without_failures() -> None:
    from peers.table import markdown

    def row(moving: str, program: str, **numbers: object) -> dict[str, object]:
        return {
            "kind": "k",
            "fixed": "f",
            "moving": moving,
            "program": program,
            "load": None,
            "dice_before": 0.5,
        } | numbers

    done = {"folded_voxels": 4, "wall_s": 3.0, "cpu_s": None}
    rows = [
        row("m1", "b", dice=0.75, **done),
        row("m2", "b", dice=0.25, **done),
        row("m1", "a", error="step register ended with 1: out of luck"),
    ]
    table = markdown(rows, ["a", "b"])
    assert "| k | b | 2 | 0.500 | 0.500 | 4 |  | 3 |" in table
    assert "| k | a |" not in table
    assert table.index("| m1 | a |") < table.index("| m1 | b |") < table.index("| m2 | b |")
    assert "a, f, m1: step register ended with 1: out of luck" in table


def test_scan_files_must_be_unambiguous(data: Path) -> None:
    from peers.pairs import scan_files

    image, labels = scan_files(data, "sub-a")
    assert (image.name, labels.name) == ("sub-a_T1w.nii.gz", "sub-a_dseg.nii.gz")
    image.with_name("sub-a_T2w.nii.gz").write_bytes(b"")
    with raises("table-invalid", "2 files"):
        scan_files(data, "sub-a")
