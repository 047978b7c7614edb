"""Bad inputs of `neurogen registration run` and `neurogen registration apply`."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import SimpleITK

from Testing.hostile.inputs import HOSTILE, Hostile, hostile, values
from Testing.hostile.workspace import rewrite, voxels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from Testing.hostile.workspace import Workspace

    Change = Callable[[np.ndarray], np.ndarray]

SCANS = {"fixed_scan": "sub-02", "moving_scan": "sub-03"}


def spoilt(made: Workspace, change: Change, column: str = "T2w", subject: str = "sub-02") -> Path:
    """Write a changed copy of a scan or its label map as ``bad.nii.gz``."""
    path = made.folder / "bad.nii.gz"
    source = nibabel.load(made.image(subject, column))
    nibabel.save(nibabel.Nifti1Image(change(np.asarray(source.dataobj)), source.affine), path)
    return path


def spoilt_scans(name: str, change: Change, *says: str) -> None:
    """Add a bad copy of the fixed and of the moving scan; ``ROLE`` in what is said is which of them."""
    for kind, subject in SCANS.items():
        role = kind.removesuffix("_scan")
        HOSTILE.append(
            Hostile(
                f"a-{role}-scan-{name}",
                (kind,),
                lambda made, subject=subject: spoilt(made, change, subject=subject),
                tuple(one.replace("ROLE", role) for one in says),
            )
        )


# Scans


spoilt_scans(
    "with-nan", lambda image: np.where(image == image.max(), np.nan, image).astype(np.float32), "ROLE image", "NaN"
)
spoilt_scans("that-is-constant", lambda image: np.full_like(image, 7), "same value everywhere")
spoilt_scans("of-one-dimension-less", lambda image: image[..., 7], "ROLE image", "flat")
spoilt_scans("of-one-slice", lambda image: image[..., 7:8], "ROLE image", "flat")
spoilt_scans("with-time-points", lambda image: np.stack([image] * 3, axis=-1), "ROLE image", "3 image(s)")


@hostile(*SCANS, "carried", "like", says="no-such-scan.nii.gz")
def a_scan_that_is_not_there(made: Workspace) -> Path:
    return made.folder / "no-such-scan.nii.gz"


@hostile(*SCANS, "carried", "like", says="bad.nii.gz")
def a_scan_that_is_truncated(made: Workspace) -> Path:
    path = spoilt(made, lambda image: image)
    path.write_bytes(path.read_bytes()[:2000])
    return path


@hostile(*SCANS, "carried", says="participants.tsv")
def a_scan_that_is_a_table(made: Workspace) -> Path:
    return made.table


@hostile(*SCANS, "carried", says="huge.nii")
def a_header_that_claims_a_huge_scan(made: Workspace) -> Path:
    path = made.folder / "huge.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([32000] * 3, "<i2").tobytes()  # dim[1..3]
    path.write_bytes(content)
    return path


@hostile("still_scan", says=("do not overlap", "rigid"))
def a_scan_at_another_place(made: Workspace) -> None:
    path = made.image("sub-03")
    affine = nibabel.load(path).affine.copy()
    affine[:3, 3] += 1000
    for column in ("T2w", "Seg"):
        rewrite(made.image("sub-03", column), voxels(made.image("sub-03", column)), affine)


# Labels and masks


@hostile("fixed_label_map", "moving_label_map", "fixed_mask", "moving_mask", says="no-such-map.nii.gz")
def a_map_that_is_not_there(made: Workspace) -> Path:
    return made.folder / "no-such-map.nii.gz"


@hostile("fixed_label_map", "fixed_mask", says=("fixed", "same space"))
def a_map_on_another_grid(made: Workspace) -> Path:
    return spoilt(made, lambda labels: labels[1:], "Seg")


@hostile("fixed_label_map", says=("fixed label map", "whole numbers"))
def fixed_labels_that_are_fractions(made: Workspace) -> Path:
    return spoilt(made, lambda labels: labels + np.float32(0.5), "Seg")


@hostile("carried", says=("sub-02_T2w.nii.gz", "NaN"))
def a_carried_image_with_nan(made: Workspace) -> None:
    image = voxels(made.image()).copy()
    image[3, 4, 5] = np.nan
    rewrite(made.image(), image)


@hostile("like", says=("does not overlap", "direction"))
def a_grid_somewhere_else(made: Workspace) -> None:
    path = made.image("sub-03")
    affine = nibabel.load(path).affine
    affine[0, 3] += 900
    rewrite(path, voxels(path), affine)


@hostile("carried_labels", says=("sub-02_Seg.nii.gz", "whole numbers"))
def carried_labels_that_are_fractions(made: Workspace) -> None:
    path = made.image(column="Seg")
    rewrite(path, voxels(path) + np.float32(0.5))


@hostile("fixed_mask", says="The fixed mask is empty")
def a_fixed_mask_that_is_empty(made: Workspace) -> Path:
    return spoilt(made, np.zeros_like, "Seg")


@hostile("moving_mask", says="The moving mask is empty")
def a_moving_mask_that_is_empty(made: Workspace) -> None:
    path = made.image("sub-03", "Seg")
    rewrite(path, np.zeros_like(voxels(path)))


# Models and numbers


@hostile("register_model", says="no-such-model")
def a_registration_model_that_is_not_there(made: Workspace) -> Path:
    return made.folder / "no-such-model"


@hostile("register_model", says="not a registration network")
def a_model_that_registers_nothing(made: Workspace) -> Path:
    return made.model


@hostile("register_model", says=("bad-registration", "model.safetensors"))
def a_registration_model_that_is_truncated(made: Workspace) -> Path:
    bad = shutil.copytree(made.registration, made.folder / "bad-registration")
    weights = bad / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:4000])
    return bad


values("refine", ("-1", "'refine' is -1"), ("many", "'many'"), ("2.5", "'refine' is 2.5"), ("99999", "refine"))
values("start_kind", ("elastic", "elastic"), ("Affine", "Affine"))
values("transform_format", ("mat", "mat"))
values("order", ("2", "2"), ("linear", "linear"))


# Points


@hostile("moving_points", "carried_points", says="no-such-points.fcsv")
def points_that_are_not_there(made: Workspace) -> Path:
    return made.folder / "no-such-points.fcsv"


@hostile("moving_points", "carried_points", says="sub-02_T2w.nii.gz")
def points_that_are_an_image(made: Workspace) -> Path:
    return made.image()


@hostile("moving_points", "carried_points", says=("points.tsv", "'z'"))
def points_without_a_third_coordinate(made: Workspace) -> None:
    made.points.write_text("x\ty\n3\t4\n", encoding="utf-8")


@hostile("moving_points", "carried_points", says=("points.tsv", "Row 2"))
def a_point_that_is_nowhere(made: Workspace) -> None:
    made.points.write_text("x\ty\tz\n3\t4\t5\n1\tn/a\t2\n", encoding="utf-8")


@hostile("moving_points", "carried_points", says=("bad.fcsv", "CoordinateSystem"))
def points_in_unknown_coordinates(made: Workspace) -> Path:
    path = made.folder / "bad.fcsv"
    path.write_text("# columns = id,x,y,z\na,1,2,3\n", encoding="utf-8")
    return path


# Transforms


@hostile("transform", "point_transform", says="no-such-transform.h5")
def a_transform_that_is_not_there(made: Workspace) -> Path:
    return made.folder / "no-such-transform.h5"


@hostile("transform", "point_transform", says="forward.h5")
def a_transform_that_is_truncated(made: Workspace) -> None:
    made.transform.write_bytes(made.transform.read_bytes()[:3000])


@hostile("transform", says=("sub-02_T2w.nii.gz", "no displacement field"))
def a_transform_that_is_an_image(made: Workspace) -> Path:
    return made.image()


@hostile("transform", says="participants.tsv")
def a_transform_that_is_a_table(made: Workspace) -> Path:
    return made.table


@hostile("transform", "point_transform", says=("flat.tfm", "2-D"))
def a_transform_of_the_plane(made: Workspace) -> Path:
    path = made.folder / "flat.tfm"
    SimpleITK.WriteTransform(SimpleITK.Euler2DTransform(), str(path))
    return path


@hostile("point_transform", says=("forward.h5", "--inverse"))
def a_transform_without_its_inverse(made: Workspace) -> None:
    made.transform.with_name("inverse.h5").unlink()


@hostile("point_transform", says="inverse.h5")
def an_inverse_that_is_truncated(made: Workspace) -> None:
    path = made.transform.with_name("inverse.h5")
    path.write_bytes(path.read_bytes()[:3000])
