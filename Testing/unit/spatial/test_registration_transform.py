"""A registration's map: images, points, files and other programs agree on it, however the images are stored."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from NeuroGenLib.spatial.files.spatial_maps import read_transform, write_displacement_field, write_transform
from NeuroGenLib.spatial.transforms.spatial_map import SpatialMap, from_voxel_displacement
from NeuroGenLib.spatial.volume import Volume
from Testing.geometry import a_brain_phantom, oblique, reoriented, rotation, same_in_world
from Testing.raising import raises

SHAPE = (22, 25, 20)
FIELD_AFFINE = np.array([[3.0, 0, 0, -32], [0, 3, 0, -36], [0, 0, 3, -28], [0, 0, 0, 1]])
LPS = np.array([-1.0, -1.0, 1.0])


def scaled_shift(*shift):
    matrix = np.diag([1.05, 0.97, 1.02, 1.0])
    matrix[0, 1] = 0.04
    matrix[:3, 3] = shift
    return matrix


@pytest.fixture(scope="module")
def voxel_field():
    """Smooth, up to 1.5 voxels, not zero at the border."""
    noise = np.random.default_rng(3).standard_normal((3, *SHAPE))
    field = np.stack([gaussian_filter(one, 4, mode="nearest") for one in noise])
    return (1.5 * field / np.abs(field).max()).astype(np.float32)


@pytest.fixture(scope="module")
def registration(voxel_field):
    return from_voxel_displacement(
        voxel_field, FIELD_AFFINE, rotation(9, (0, 0, 0), (1, 0, 2)), scaled_shift(4, -6, 3) @ rotation(-6, (5, 0, 0))
    )


@pytest.fixture(scope="module")
def head():
    return a_brain_phantom((34, 40, 30), 2.4)


def stored(image: Volume, how: str) -> Volume:
    """The head on another grid, stored another way."""
    if how == "oblique":
        return oblique(reoriented(image, "LAS"), 25)
    if how == "anisotropic":
        grid = ((50, 20, 14), image.affine @ np.diag([0.68, 2, 2.1, 1.0]))
        return oblique(image.resample(like=grid), 10)
    return reoriented(image, how)


def itk_image(volume: Volume) -> SimpleITK.Image:
    """The volume as SimpleITK's, written out here: direction column by column, x and y negated."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.array.transpose(2, 1, 0)))
    spacing = np.sqrt((volume.affine[:3, :3] ** 2).sum(axis=0))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((LPS[:, None] * volume.affine[:3, :3] / spacing[None]).ravel().tolist())
    image.SetOrigin((LPS * volume.affine[:3, 3]).tolist())
    return image


def resampled_by_itk(transform, moving: Volume, fixed: Volume, interpolator=SimpleITK.sitkLinear, fill=-1e6):
    result = SimpleITK.Resample(itk_image(moving), itk_image(fixed), transform, interpolator, float(fill))
    return SimpleITK.GetArrayFromImage(result).transpose(2, 1, 0)


def gap(transform, moving: Volume, fixed: Volume, expected: np.ndarray) -> float:
    """Largest difference as a part of the intensity range, where both are within the field of view."""
    by_itk = resampled_by_itk(transform, moving, fixed)
    inside = (by_itk > -1e5) & (expected > -1e5)
    assert inside.mean() > 0.4
    return float(np.abs(by_itk - expected)[inside].max() / np.ptp(moving.array))


@pytest.mark.parametrize("how", ["RAS", "LPS", "LAS", "oblique", "anisotropic"])
@pytest.mark.parametrize("suffix", [".h5", ".tfm"])
def test_itk_resamples_by_the_file_as_we_do(registration, head, how, suffix, tmp_path):
    fixed, moving = stored(head.image, how), stored(head.image, "PIR")
    write_transform(registration, tmp_path / f"forward{suffix}")
    pulled = registration.pull(moving, fixed, fill=-1e6)
    assert pulled.same_space(fixed)
    itk = SimpleITK.ReadTransform(str(tmp_path / f"forward{suffix}"))
    assert gap(itk, moving, fixed, pulled.array) < 1e-4
    outside = resampled_by_itk(itk, moving, fixed) < -1e5
    assert (outside != (pulled.array < -1e5)).mean() < 1e-3
    through_file = read_transform(tmp_path / f"forward{suffix}").pull(moving, fixed, fill=-1e6)
    assert gap(itk, moving, fixed, through_file.array) < 1e-6


def wrong_variants(registration):
    field, before, after = registration.field, registration.before, registration.after
    yield "negated", SpatialMap(before, field.with_array(-field.array), after)
    yield "channels reversed", SpatialMap(before, field.with_array(field.array[::-1]), after)
    yield (
        "x and y of the vectors not turned",
        SpatialMap(before, field.with_array(field.array * np.float32([-1, -1, 1]).reshape(3, 1, 1, 1)), after),
    )
    yield "order of the matrices", SpatialMap(after, field, before)
    yield "no field", SpatialMap(before, None, after)


def test_the_comparison_with_itk_discriminates(registration, head, tmp_path):
    write_transform(registration, tmp_path / "forward.h5")
    itk = SimpleITK.ReadTransform(str(tmp_path / "forward.h5"))
    fixed = stored(head.image, "oblique")
    for name, wrong in wrong_variants(registration):
        assert gap(itk, head.image, fixed, wrong.pull(head.image, fixed, fill=-1e6).array) > 0.02, name


def test_points_go_where_the_definition_says(registration, voxel_field):
    """At a voxel centre of the network's grid, without any interpolation."""
    voxel = np.array([7, 12, 9])
    centre = FIELD_AFFINE[:3, :3] @ voxel + FIELD_AFFINE[:3, 3]
    fixed = np.linalg.solve(registration.before, [*centre, 1])[:3]
    halfway = FIELD_AFFINE @ [*(voxel + voxel_field[:, 7, 12, 9].astype(float)), 1]
    assert np.allclose(registration.points(fixed[None])[0], (registration.after @ halfway)[:3], atol=1e-5)


@pytest.mark.parametrize("suffix", [".h5", ".tfm"])
def test_points_through_a_file(registration, suffix, tmp_path):
    write_transform(registration, tmp_path / f"forward{suffix}")
    xyz = np.random.default_rng(0).uniform(-90, 90, (300, 3))  # also outside the field
    itk = SimpleITK.ReadTransform(str(tmp_path / f"forward{suffix}"))
    by_itk = np.array([itk.TransformPoint((p * LPS).tolist()) for p in xyz]) * LPS
    assert np.allclose(registration.points(xyz), by_itk, rtol=0, atol=1e-5)
    assert np.allclose(read_transform(tmp_path / f"forward{suffix}").points(xyz), by_itk, rtol=0, atol=1e-9)


def test_an_empty_list_of_points_is_accepted(registration):
    assert registration.points(np.empty((0, 3))).shape == (0, 3)


@given(
    st.floats(-170, 170),
    st.tuples(*[st.floats(-200, 200)] * 3),
    st.lists(st.tuples(*[st.floats(-500, 500)] * 3), min_size=1, max_size=5),
)
@settings(max_examples=30, deadline=None)
def test_without_a_field_it_is_the_product_of_its_matrices(degrees, shift, xyz):
    before, after = rotation(degrees, shift), scaled_shift(*shift)
    expected = [(after @ before @ np.array([*point, 1.0]))[:3] for point in xyz]
    assert np.allclose(SpatialMap(before, None, after).points(xyz), expected, atol=1e-6)


def test_an_affine_map_is_written_as_one_affine(tmp_path):
    registration = SpatialMap(rotation(30, (1, 2, 3)), None, scaled_shift(1, 2, 3))
    write_transform(registration, tmp_path / "start.tfm")
    assert "AffineTransform" in (tmp_path / "start.tfm").read_text()
    xyz = np.random.default_rng(1).uniform(-90, 90, (20, 3))
    assert np.allclose(read_transform(tmp_path / "start.tfm").points(xyz), registration.points(xyz), atol=1e-9)


@pytest.mark.parametrize("how", ["RAS", "LAS", "anisotropic"])
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".nii"])
def test_displacement_fields_go_round_and_itk_reads_them(registration, head, how, suffix, tmp_path):
    fixed = stored(head.image, how)
    path = tmp_path / f"field{suffix}"
    write_displacement_field(registration.displacement(fixed), path)
    voxels = np.random.default_rng(2).integers(1, np.array(fixed.shape) - 1, (100, 3))
    xyz = fixed.voxel_to_world(voxels)
    assert np.allclose(read_transform(path).points(xyz), registration.points(xyz), rtol=0, atol=1e-4)
    itk = SimpleITK.DisplacementFieldTransform(SimpleITK.ReadImage(str(path), SimpleITK.sitkVectorFloat64))
    by_itk = np.array([itk.TransformPoint((p * LPS).tolist()) for p in xyz]) * LPS
    assert np.allclose(by_itk, registration.points(xyz), rtol=0, atol=1e-4)


def test_the_headers_of_displacement_fields(registration, head, tmp_path):
    field = registration.displacement(head.image)
    write_displacement_field(field, tmp_path / "field.nii.gz")
    image = nibabel.load(tmp_path / "field.nii.gz")
    assert image.shape == (*head.image.shape, 1, 3)
    assert int(image.header["intent_code"]) == 1006
    assert np.allclose(image.get_fdata()[5, 6, 7, 0], field.array[:, 5, 6, 7])
    write_displacement_field(field, tmp_path / "field.nrrd")
    header = (tmp_path / "field.nrrd").read_bytes()[:1500]
    assert b"displacement field type:=resampling" in header
    assert b"left-posterior-superior" in header
    # What SimpleITK writes as NIfTI has intent 1007 and holds LPS vectors.
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(tmp_path / "field.nrrd")), str(tmp_path / "raw.nii.gz"))
    assert int(nibabel.load(tmp_path / "raw.nii.gz").header["intent_code"]) == 1007
    xyz = head.image.voxel_to_world([[9, 10, 11], [20, 8, 15]])
    assert np.allclose(read_transform(tmp_path / "raw.nii.gz").points(xyz), registration.points(xyz), atol=1e-4)


@pytest.mark.parametrize("how", ["RAS", "LAS", "anisotropic"])
@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".nrrd", ".nii.gz"])
def test_slicer_reads_the_files_as_the_same_map(registration, head, how, suffix, tmp_path):
    """Slicer makes left-handed grids right-handed; a transform file is *from parent*."""
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    fixed = stored(head.image, how)
    path = tmp_path / f"forward{suffix}"
    if suffix in (".h5", ".tfm"):
        write_transform(registration, path)
    else:
        write_displacement_field(registration.displacement(fixed), path)
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    storage = scene.AddNewNodeByClass("vtkMRMLTransformStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    xyz = fixed.voxel_to_world(np.array([[5, 6, 7], [20, 9, 8], [14, 13, 5]]))
    by_slicer = [node.GetTransformFromParent().TransformPoint(point) for point in xyz.tolist()]
    # Slicer interpolates fields by cubes, between their voxel centres it differs from ITK.
    tolerance = 0.1 if suffix in (".h5", ".tfm") else 1e-3
    assert np.linalg.norm(registration.points(xyz) - registration.after[:3, 3] - xyz, axis=1).max() > 1
    assert np.allclose(by_slicer, registration.points(xyz), rtol=0, atol=tolerance)


def test_images_do_not_depend_on_how_they_are_stored(registration, head):
    expected = registration.pull(head.labels, head.image, order=0)
    assert expected.array.dtype == np.uint8
    for codes in ("LPS", "LAS", "PIR"):
        moving, fixed = reoriented(head.labels, codes), reoriented(head.image, codes[::-1])
        assert same_in_world(registration.pull(moving, fixed, order=0), expected)


def test_labels_through_a_file_are_nearest_voxels(registration, head, tmp_path):
    write_transform(registration, tmp_path / "forward.h5")
    ours = registration.pull(head.labels, head.image, order=0)
    theirs = read_transform(tmp_path / "forward.h5").pull(head.labels, head.image, order=0)
    assert theirs.array.dtype == np.uint8
    assert (ours.array != theirs.array).mean() < 1e-3  # ties
    mask = head.labels.with_array(head.labels.array > 0)
    assert read_transform(tmp_path / "forward.h5").pull(mask, head.image, order=0).array.dtype == bool


def test_the_spline_and_channels(registration, head, tmp_path):
    both = Volume(np.stack([head.image.array, 2 * head.image.array]), head.image.affine)
    pulled = registration.pull(both, head.image, order=3)
    assert pulled.channels == 2
    assert np.allclose(pulled.array[1], 2 * pulled.array[0], atol=1e-2)
    write_transform(registration, tmp_path / "forward.h5")
    itk = SimpleITK.ReadTransform(str(tmp_path / "forward.h5"))
    expected = resampled_by_itk(itk, head.image, head.image, SimpleITK.sitkBSpline, fill=0)
    assert np.abs(pulled.array[0] - expected)[5:-5, 5:-5, 5:-5].max() < 1e-3 * np.ptp(head.image.array)
    assert read_transform(tmp_path / "forward.h5").pull(both, head.image).channels == 2


def test_slabs_do_not_show(registration, head, monkeypatch):
    whole = registration.pull(head.image, head.image), registration.jacobian(head.image)
    monkeypatch.setattr("NeuroGenLib.spatial.transforms.spatial_map._POINTS_AT_ONCE", 2500)
    assert np.array_equal(registration.pull(head.image, head.image).array, whole[0].array)
    assert np.array_equal(registration.jacobian(head.image).array, whole[1].array)


def test_the_field_ends_without_a_jump(voxel_field):
    registration = from_voxel_displacement(voxel_field, FIELD_AFFINE)
    field = registration.field
    faces = [field.array.take(side, axis=axis) for axis in (1, 2, 3) for side in (0, -1)]
    assert all(not face.any() for face in faces)
    # Inside the network's grid nothing has changed.
    start = np.round(field.world_to_voxel(FIELD_AFFINE[:3, 3])).astype(int)
    inner = field.array[(slice(None), *(slice(a, a + n) for a, n in zip(start, SHAPE, strict=True)))]
    assert np.allclose(inner, 3 * voxel_field, atol=1e-5)
    # Along a line that leaves it, no step is larger than the taper allows (0.5 voxels a voxel, 0.1 voxels a step).
    line = np.linspace((-32, 0, 0), (-90, 5, 4), 600)
    steps = np.diff(registration.points(line) - line, axis=0)
    assert np.abs(steps).max() < 0.5 * np.linalg.norm(line[1] - line[0])
    assert np.allclose(registration.points(line[-1:]), line[-1:])


def test_the_taper_does_not_fold():
    pushed = np.zeros((3, *SHAPE))
    pushed[0] = -6  # all of the grid, out of its low face and away from its high one
    jacobian = from_voxel_displacement(pushed, FIELD_AFFINE).jacobian(
        ((60, 27, 22), FIELD_AFFINE @ rotation(0, (0, 0, 0)) - np.array([[0, 0, 0, 50]] + [[0, 0, 0, 0]] * 3))
    )
    assert jacobian.array.min() > 0.3


@pytest.mark.parametrize("how", ["RAS", "LAS", "oblique", "anisotropic"])
def test_the_jacobian_of_a_known_map(head, how):
    """phi(p) = p + (0.1 x, 0, 0.05 x): 1.1 times the volume of the affine parts."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")) * 3.0
    x = grid[0] - 32
    field = Volume(np.stack([0.1 * x, 0 * x, 0.05 * x]).astype(np.float32), FIELD_AFFINE)
    before, after = rotation(20, (0, 0, 0)), scaled_shift(3, 2, 1)
    jacobian = SpatialMap(before, field, after).jacobian(stored(head.image, how))
    centre = jacobian.array[tuple(slice(n // 2 - 1, n // 2 + 1) for n in jacobian.shape)]
    assert np.allclose(centre, 1.1 * np.linalg.det(after[:3, :3]), rtol=1e-4)


def test_the_jacobian_on_a_single_slice(registration, head):
    slice_grid = ((34, 40, 1), head.image.affine)
    assert np.allclose(
        registration.jacobian(slice_grid).array[..., 0], registration.jacobian(head.image).array[..., 0], atol=1e-5
    )


# --- what cannot be used ---------------------------------------------------------------------------------------------


def broken_transforms(folder):
    (folder / "text.h5").write_text("no transform")
    yield folder / "text.h5", "file-damaged", ()
    (folder / "half.tfm").write_text("#Insight Transform File V1.0\n#Transform 0\nTransform: Nonsense\n")
    yield folder / "half.tfm", "file-damaged", ()
    SimpleITK.WriteTransform(SimpleITK.AffineTransform(2), str(folder / "flat.tfm"))
    yield folder / "flat.tfm", "transform-invalid", ("2-D",)
    Volume(np.zeros((4, 4, 4), np.float32), np.eye(4)).save(folder / "image.nii.gz")
    yield folder / "image.nii.gz", "image-dimensions", (1,)
    Volume(np.zeros((3, 4, 4, 4), np.float32), np.eye(4)).save(folder / "vague.nii.gz")
    yield folder / "vague.nii.gz", "transform-invalid", ("RAS", "LPS", 1006, 1007)
    Volume(np.full((3, 4, 4, 4), np.nan, np.float32), np.eye(4)).save(folder / "nan.nrrd")
    yield folder / "nan.nrrd", "image-not-finite", (192,)
    image = SimpleITK.GetImageFromArray(np.zeros((4, 4, 4, 3), np.float32), isVector=True)
    image.SetMetaData("displacement field type", "modeling")
    SimpleITK.WriteImage(image, str(folder / "modeling.nrrd"))
    yield folder / "modeling.nrrd", "transform-invalid", ("'modeling'",)
    (folder / "table.csv").write_text("x")
    yield folder / "table.csv", "file-type", (".h5",)
    yield folder / "absent.h5", "file-missing", ()
    yield folder, "file-missing", ()


def test_unusable_files_are_named(tmp_path):
    for path, code, named in broken_transforms(tmp_path):
        with raises(code, path, *named) as raised:
            read_transform(path)
        assert raised.value.remedy


@pytest.mark.parametrize("name", ["forward.nrrd", "forward.mat", "forward"])
def test_a_transform_needs_its_suffix(registration, name, tmp_path):
    with raises("file-type", name):
        write_transform(registration, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_sheared_grid_is_refused(registration, head, tmp_path):
    sheared = head.image.affine.copy()
    sheared[0, 1] = 1.0
    field = registration.displacement(((6, 6, 6), sheared))  # the map itself has no trouble with it
    for name in ("field.nrrd", "field.nii.gz"):
        with raises("geometry-invalid"):
            write_displacement_field(field, tmp_path / name)
    with raises("geometry-invalid"):
        write_transform(SpatialMap(np.eye(4), field, np.eye(4)), tmp_path / "forward.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", [0, 1])
def test_sheared_images_are_pulled_from_and_onto(registration, head, tmp_path, order):
    affine = head.image.affine.copy()
    affine[0, 1] = 0.3
    sheared = reoriented(Volume(head.image.array, affine), "LPS")
    write_transform(registration, tmp_path / "forward.h5")
    transform = read_transform(tmp_path / "forward.h5")
    for volume, like in ((sheared, head.image), (head.image, sheared)):
        expected = registration.pull(volume, like, order).array
        pulled = transform.pull(volume, like, order).array
        assert np.mean(np.abs(pulled - expected) > 1e-2 * expected.max()) < 1e-3
        assert transform.coverage(volume, like).array.mean() > 0.5


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((np.zeros((2, 4, 4, 4)), np.eye(4)), ("image-dimensions", "(2, 4, 4, 4)")),
        ((np.full((3, 4, 4, 4), np.inf), np.eye(4)), ("image-not-finite", "displacement field")),
        ((np.zeros((3, 4, 4, 4)), np.zeros((4, 4))), ("geometry-invalid", "grid")),
        ((np.zeros((3, 4, 4, 4)), np.eye(4), np.full((4, 4), np.nan)), ("geometry-invalid", "before")),
        ((np.zeros((3, 4, 4, 4)), np.eye(4), np.eye(4), np.diag([1, 1, 0, 1])), ("geometry-invalid", "after")),
        ((np.zeros((3, 4, 4, 4)), np.eye(4), None, None, 0), ("value-invalid", 0)),
    ],
)
def test_unusable_fields_are_refused(arguments, error):
    with raises(*error):
        from_voxel_displacement(*arguments)


def test_unusable_requests_are_refused(registration, head):
    with raises("value-invalid", 2):
        registration.pull(head.image, head.image, order=2)
    with raises("value-invalid", -1, "uint8"):
        registration.pull(head.labels, head.image, order=0, fill=-1)
    with raises("value-invalid"):
        registration.points([1, 2, 3])
    with raises("value-invalid"):
        registration.points([[1, 2, np.nan]])
    with raises("image-dimensions", 2):
        SpatialMap(np.eye(4), Volume(np.zeros((2, 3, 3, 3)), np.eye(4)), np.eye(4))
