"""What is unusual but right must work: odd headers, odd names, ages at the edge; and what is odd is said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from Testing.geometry import a_brain_phantom
from Testing.hostile.commands import USAGES, Usage
from Testing.hostile.workspace import ROWS, SPACING_MM, Workspace, rewrite, write_subject

if TYPE_CHECKING:
    from pathlib import Path

    from Testing.hostile.conftest import Caller

ODD_NAME = "Schädel & Söhne 脳 (v 2) 'x'"


def usage_of(words: str) -> Usage:
    return next(usage for usage in USAGES if usage.words == words)


def stored_as(path: Path, axcodes: str) -> None:
    """Store a file's axes in another order and direction; its content stays where it is in the world."""
    image = nibabel.load(path)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(axcodes))
    nibabel.save(image.as_reoriented(turn), path)


def rotated(degrees: float) -> np.ndarray:
    """A rotation about the axis (1, 2, 3), and a shift: what an oblique scan has."""
    from scipy.spatial.transform import Rotation

    axis = np.array([1.0, 2.0, 3.0])
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec(np.deg2rad(degrees) * axis / np.linalg.norm(axis)).as_matrix()
    affine[:3, 3] = (30, -20, 55)
    return affine


def trained_subjects(made: Workspace, call: Caller) -> list[dict[str, object]]:
    """What one step of training found out about every subject, in mm and ml."""
    line = [word for word in usage_of("atlas train").arguments(made) if "init_from" not in word]
    answer = call([*line, "--train.steps=1"])
    assert answer.code == 0, answer.err
    return json.loads((made.out / "model" / "neurogen.json").read_text(encoding="utf-8"))["subjects"]


@pytest.fixture(scope="module")
def plain(good_inputs: Workspace) -> list[dict[str, object]]:
    """What the tiny atlas knows of its subjects, which were stored as RAS."""
    return json.loads((good_inputs.model / "neurogen.json").read_text(encoding="utf-8"))["subjects"]


def test_left_handed_and_sagittal_files_are_where_they_were(
    workspace: Workspace, call: Caller, plain: list[dict[str, object]]
) -> None:
    for (subject, *_), axcodes in zip(ROWS, ("LAS", "PIR", "LPS", "SAL"), strict=True):
        for column in ("T2w", "Seg"):
            stored_as(workspace.image(subject, column), axcodes)
    for found, expected in zip(trained_subjects(workspace, call), plain, strict=True):
        np.testing.assert_allclose(found["centre"], expected["centre"], atol=1e-3)
        assert found["volumes_ml"] == expected["volumes_ml"]


def test_oblique_files_are_turned_as_their_header_says(
    workspace: Workspace, call: Caller, plain: list[dict[str, object]]
) -> None:
    for number, (subject, *_) in enumerate(ROWS):
        for column in ("T2w", "Seg"):
            image = nibabel.load(workspace.image(subject, column))
            rewrite(workspace.image(subject, column), np.asarray(image.dataobj), rotated(25 * number) @ image.affine)
    for number, (found, expected) in enumerate(zip(trained_subjects(workspace, call), plain, strict=True)):
        np.testing.assert_allclose(found["centre"], (rotated(25 * number) @ [*expected["centre"], 1])[:3], atol=1e-2)
        np.testing.assert_allclose(
            list(found["volumes_ml"].values()), list(expected["volumes_ml"].values()), rtol=1e-4, atol=2e-3
        )


def test_thick_slices_have_the_same_head(workspace: Workspace, call: Caller) -> None:
    """The same head on 2.5 x 5 x 10 mm voxels has the same place and, to the voxels' coarseness, the same volume."""
    affine = np.diag([SPACING_MM / 2, SPACING_MM, 2 * SPACING_MM, 1])
    shape = (32, 18, 8)
    affine[:3, 3] = -np.diag(affine)[:3] * (np.array(shape) - 1) / 2
    thick = a_brain_phantom(shape, affine=affine)
    write_subject(workspace, "sub-01", thick)
    write_subject(workspace, "sub-02", a_brain_phantom((16, 18, 14), SPACING_MM))
    found, expected = trained_subjects(workspace, call)[:2]
    np.testing.assert_allclose(found["centre"], expected["centre"], atol=1.0)
    assert sum(found["volumes_ml"].values()) == pytest.approx(sum(expected["volumes_ml"].values()), rel=0.05)


@pytest.mark.slow
def test_evaluation_does_not_depend_on_how_a_subject_is_stored(workspace: Workspace, call: Caller) -> None:
    def dice() -> float:
        answer = call([*usage_of("atlas evaluate").arguments(workspace), "--json", "--overwrite"])
        assert answer.code == 0, answer.err
        return json.loads(answer.out)["rows"][0]["dice_before_alignment"]

    before = dice()
    for column in ("T2w", "Seg"):
        stored_as(workspace.image("sub-02", column), "LIP")
    assert dice() == pytest.approx(before, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["atlas generate", "atlas evaluate", "models import"])
def test_spaces_and_letters_of_the_world_in_paths(
    words: str, good_inputs: Workspace, call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = good_inputs.copied(tmp_path / ODD_NAME)
    monkeypatch.chdir(made.folder)
    monkeypatch.setattr("NeuroGenLib.commands.atlas.demo.BUNDLED", str(made.model))
    answer = call(usage_of(words).arguments(made, out=made.folder / ODD_NAME / ODD_NAME))
    assert answer.code == 0, answer.err
    assert any((made.folder / ODD_NAME / ODD_NAME).iterdir())


def test_an_age_outside_the_trained_range_is_drawn_with_a_warning(workspace: Workspace, call: Caller) -> None:
    answer = call(usage_of("atlas generate").arguments(workspace, age="23.5"))
    assert answer.code == 0, answer.err
    assert "scan_age 23.5 is outside the trained range 24 to 33 weeks" in answer.out
    record = json.loads((workspace.out / "provenance.json").read_text(encoding="utf-8"))
    assert any("outside the trained range 24 to 33 weeks" in text for text in record["warnings"])


def test_a_condition_outside_the_trained_range_is_drawn_with_a_warning(workspace: Workspace, call: Caller) -> None:
    answer = call(usage_of("atlas generate").arguments(workspace, condition="lv_volume_normed=0.25"))
    assert answer.code == 0, answer.err
    assert "lv_volume_normed=0.25 is outside the trained range 0.1 to 0.23 ventricles / brain" in answer.out


def test_an_age_that_no_subject_supports_is_refused_before_anything_is_drawn(
    workspace: Workspace, call: Caller
) -> None:
    usage = next(usage for usage in USAGES if "ages" in usage.slots)
    answer = call(usage.arguments(workspace, ages="30:60:15"))
    assert answer.code == 2
    assert "between 24 and 33" in answer.sentences[1]
    assert "%" not in answer.err, "no brain was drawn before"


def test_a_damaged_model_in_the_cache_is_listed_with_its_problem(workspace: Workspace, call: Caller) -> None:
    damaged = workspace.cache / "hub" / f"lab--tiny@{'0' * 40}"
    damaged.mkdir(parents=True)
    answer = call(["models", "list", "--json"])
    assert answer.code == 0, answer.err
    (row,) = [row for row in json.loads(answer.out)["models"] if row["reference"].startswith("hf:lab/tiny@0")]
    assert "neurogen.json" in row["problem"]


@pytest.mark.parametrize("name", ["../../outside", "con/aux", "C:\\T2w"])
def test_names_in_a_model_never_become_paths(name: str, workspace: Workspace, call: Caller) -> None:
    manifest = json.loads((workspace.model / "neurogen.json").read_text(encoding="utf-8"))
    manifest["modalities"] = [name, "T1w"]
    manifest["preparation"]["fill"] = [0.0, 0.0]
    manifest["labels"].popitem()  # two images and eight labels have as many outputs as one and nine
    manifest["network"] |= {"intensities": 2, "classes": 8}
    (workspace.model / "neurogen.json").write_text(json.dumps(manifest), encoding="utf-8")
    before = workspace.snapshot()
    answer = call(usage_of("atlas generate").arguments(workspace))
    after = workspace.snapshot()
    assert {key: after[key] for key in before} == before
    assert all(key.split("/")[0] == "out" and key.count("/") < 2 for key in after.keys() - before.keys())
    assert answer.code == 0, answer.err
