"""Planes of figures: radiological, the same however a volume is stored, to scale and labelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from NeuroGenLib.spatial.figures.drawing import (
    WIDEST_CHANGE,
    change_colours,
    draw_change_bar,
    draw_outlines,
    draw_tissue_legend,
    edge_field,
    log_change,
    paint,
    scale_bar_mm,
    show_section,
)
from NeuroGenLib.spatial.figures.planes import MARGIN_MM, PLANES, HeadWindow, PlaneName
from NeuroGenLib.spatial.labels import Label, LabelTable
from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import SWEEP, a_brain_phantom, anisotropic, reoriented, rotated_copy

LIBRARY = Path(__file__).parents[3] / "NeuroGenLib"
PHANTOM = a_brain_phantom()
TABLE = LabelTable(
    (Label(0, "background", (0, 0, 0)), Label(4, "grey_matter", (255, 0, 0)), Label(7, "stem", (0, 255, 0)))
)


@pytest.fixture
def marked() -> Volume:
    """A head with bright markers on its left, at the front and at the top."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -29, -39, -29
    array = np.full((30, 40, 30), 1.0, np.float32)
    array[:8] = 100  # left: RAS runs to the right
    array[:, 32:] += 10  # anterior
    array[:, :, 24:] += 1000  # superior
    return Volume(array, affine)


def sides(section: np.ndarray) -> tuple[float, float, float, float]:
    """Means of the left, right, upper and lower edge of a picture."""
    return section[:, 0].mean(), section[:, -1].mean(), section[0].mean(), section[-1].mean()


# --- left and right -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", SWEEP)
def test_what_is_on_the_patients_left_is_on_the_right(marked: Volume, codes: str) -> None:
    stored = reoriented(marked, codes)
    window = HeadWindow.of(stored)
    for name in ("axial", "coronal"):
        plane = window.plane(name)
        left, right, *_ = sides(plane.cut(stored))
        assert right > left + 50
        assert plane.letters[:2] == ("R", "L")


@pytest.mark.parametrize("codes", SWEEP)
def test_front_and_top_are_where_slicer_shows_them(marked: Volume, codes: str) -> None:
    window = HeadWindow.of(reoriented(marked, codes))
    axial, coronal, sagittal = (sides(window.plane(name).cut(marked)) for name in PLANES)
    assert axial[2] == axial[3] + 10
    assert coronal[2] == coronal[3] + 1000
    assert sagittal[0] == sagittal[1] + 10
    assert sagittal[2] == sagittal[3] + 1000
    assert [window.plane(name).letters[2] for name in PLANES] == ["A", "S", "S"]
    assert window.plane("sagittal").letters[:2] == ("A", "P")


@pytest.mark.parametrize("codes", SWEEP)
@pytest.mark.parametrize("name", PLANES)
def test_sections_are_equal_however_the_volume_is_stored(codes: str, name: PlaneName) -> None:
    image, labels = (anisotropic(volume, order=order) for volume, order in zip(PHANTOM, (1, 0), strict=True))
    plane = HeadWindow.of(image, labels).plane(name)
    stored = HeadWindow.of(reoriented(image, codes), reoriented(labels, codes)).plane(name)
    np.testing.assert_allclose(stored.affine, plane.affine, atol=1e-9)
    np.testing.assert_allclose(stored.cut(reoriented(image, codes)), plane.cut(image), atol=1e-3)
    np.testing.assert_array_equal(stored.cut(reoriented(labels, codes), order=0), plane.cut(labels, order=0))


@pytest.mark.parametrize("name", PLANES)
def test_an_oblique_scan_shows_the_same_head(name: PlaneName) -> None:
    turned = rotated_copy(PHANTOM.image)
    plane = HeadWindow.of(PHANTOM.image, PHANTOM.labels).plane(name)
    straight, oblique = plane.cut(PHANTOM.image), plane.cut(turned)
    assert np.corrcoef(straight.ravel(), oblique.ravel())[0, 1] > 0.98
    own = HeadWindow.of(turned, rotated_copy(PHANTOM.labels, order=0)).plane(name)
    np.testing.assert_allclose(own.size_mm, plane.size_mm, atol=7)
    assert np.count_nonzero(own.affine[:3, :3]) == 3, "along the axes of the world"


def test_no_capability_draws_planes_in_its_own_way() -> None:
    drawing = [
        path.relative_to(LIBRARY).as_posix()
        for path in sorted(LIBRARY.rglob("*.py"))
        if "imshow(" in path.read_text("utf-8")
    ]
    assert drawing == ["spatial/figures/drawing.py"]


# --- the window -----------------------------------------------------------------------------------------------------


def test_the_window_holds_the_head_and_a_margin() -> None:
    window = HeadWindow.of(PHANTOM.image, PHANTOM.labels)
    inside = PHANTOM.labels.voxel_to_world(np.argwhere(PHANTOM.labels.array))
    ends = np.abs(PHANTOM.image.affine[:3, 3]) + 1  # of the field of view: outer voxel faces
    np.testing.assert_allclose(window.low, np.maximum(inside.min(axis=0) - MARGIN_MM, -ends))
    np.testing.assert_allclose(window.high, np.minimum(inside.max(axis=0) + MARGIN_MM, ends))
    np.testing.assert_allclose(window.centre, inside.mean(axis=0), atol=1.01)
    for axis, name in ((2, "axial"), (1, "coronal"), (0, "sagittal")):
        plane = window.plane(name)
        assert plane.shape[axis] == 1
        assert plane.affine[axis, 3] == pytest.approx(window.centre[axis])


def test_without_a_head_it_is_the_whole_volume_voxel_by_voxel(marked: Volume) -> None:
    empty = marked.with_array(np.zeros(marked.shape, np.uint8))
    for inside in (None, empty):
        section = HeadWindow.of(marked, inside).plane("axial").cut(marked)
        np.testing.assert_array_equal(section, marked.array[::-1, ::-1, 14].T)


def test_a_fine_scan_is_thinned() -> None:
    fine = Volume(np.zeros((1000, 40, 3), np.uint8), np.diag([0.1, 0.1, 0.1, 1.0]))
    plane = HeadWindow.of(fine).plane("axial")
    assert plane.shape[0] == 334
    assert plane.size_mm == pytest.approx((100.2, 4.0))


def test_a_plane_is_cut_through_a_map_of_space(marked: Volume) -> None:
    shift = np.eye(4)
    shift[0, 3] = 8
    plane = HeadWindow.of(marked).plane("axial")
    moved = plane.cut(marked, through=SpatialMap(shift, None, np.eye(4)), fill=-1)
    np.testing.assert_array_equal(moved[:, 4:], plane.cut(marked)[:, :-4])
    assert (moved[:, :4] == -1).all()


# --- what is drawn --------------------------------------------------------------------------------------------------


def test_a_section_has_letters_and_a_scale_bar_in_mm(marked: Volume) -> None:
    axis = Figure().subplots()
    plane = HeadWindow.of(marked).plane("axial")
    show_section(axis, plane, plane.cut(marked), scale_bar=True)
    texts = {text.get_text(): text.get_position() for text in axis.texts}
    assert set(texts) == {"R", "L", "A", "20 mm"}
    assert texts["R"][0] < 0.1
    assert texts["L"][0] > 0.9
    bar = axis.lines[0].get_xdata()
    assert bar[1] - bar[0] == pytest.approx(20)
    assert axis.get_xlim() == (0, 60)
    assert axis.get_ylim() == (0, 80)


@pytest.mark.parametrize(("width", "length"), [(1.0, 1), (60, 20), (170, 50), (900, 100)])
def test_the_scale_bar_is_a_round_number(width: float, length: int) -> None:
    assert scale_bar_mm(width) == length


def test_labels_have_the_colours_of_their_table_and_a_legend() -> None:
    section = np.array([[0, 4], [7, 9]])
    np.testing.assert_array_equal(paint(section, TABLE)[0], [[0, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(paint(section, TABLE)[1], [[0, 1, 0], [0, 0, 0]])
    figure = Figure(layout="constrained")
    draw_tissue_legend(figure, TABLE, [0, 4, 9])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["grey matter"]
    assert figure.legends[0].get_patches()[0].get_facecolor() == (1, 0, 0, 1)


def test_outlines_lie_around_their_label(marked: Volume) -> None:
    axis = Figure().subplots()
    plane = HeadWindow.of(marked).plane("axial")
    section = np.zeros((40, 30), np.uint8)
    section[30:, 20:] = 7  # lower right
    draw_outlines(axis, plane, section, TABLE)
    (outline,) = axis.collections
    vertices = outline.get_paths()[0].vertices
    assert vertices[:, 0].min() > 35
    assert vertices[:, 1].max() < 25


def test_edges_are_where_the_intensity_changes() -> None:
    section = np.zeros((30, 40))
    section[:, 20:] = 1
    field = edge_field(section)
    assert np.isfinite(field[15, 18:22]).all()
    assert np.isnan(field[15, :10]).all()
    assert field[15, 19] > 0 > field[15, 20]
    np.testing.assert_allclose(edge_field(1 - section), -field, atol=1e-3)  # whatever the contrast
    assert np.isnan(edge_field(np.zeros((8, 8)))).all()


# --- change of volume -----------------------------------------------------------------------------------------------


def test_growth_is_red_shrinkage_blue_and_a_fold_magenta() -> None:
    colours, change = change_colours()
    shown = log_change(np.array([2.0, 0.5, 1.0, 1e6, 1e-6, 0.0, -2.0]))
    np.testing.assert_allclose(shown[:5], [1, -1, 0, WIDEST_CHANGE, -WIDEST_CHANGE])
    growth, shrinkage, same, *_, zero, fold = colours(change(shown))
    assert growth[0] > growth[2] + 0.3
    assert shrinkage[2] > shrinkage[0] + 0.3
    assert min(same[:3]) > 0.9
    assert tuple(fold) == tuple(zero) == (1, 0, 1, 1)
    assert not np.allclose(colours(change(shown[4])), fold), "an extreme shrinkage is not a fold"


def test_the_colour_bar_names_folds() -> None:
    figure = Figure(layout="constrained")
    bar = draw_change_bar(figure, [figure.subplots()], "volume")
    assert "folded" in [text.get_text() for text in bar.ax.texts]
    assert bar.extend == "min"
