"""SimpleITK: an affine start by mutual information, then symmetric-forces demons on three resolutions."""

from __future__ import annotations

import SimpleITK
from job import Job, run_step

LEVELS = {4: 200, 2: 100, 1: 50}
"""Iterations by shrink factor; SimpleITK leaves them to its user."""
SMOOTHING = 1.0
"""SD of the Gaussian over the field, in voxels: the filter's default."""


def register(job: Job) -> None:
    """Register, write the transforms, warp the labels."""
    fixed, moving = (SimpleITK.ReadImage(str(path), SimpleITK.sitkFloat32) for path in (job.fixed, job.moving))
    affine = affine_start(fixed, moving)
    start = SimpleITK.Resample(moving, fixed, affine, SimpleITK.sitkLinear)
    field = SimpleITK.DisplacementFieldTransform(demons(fixed, start))
    transform = SimpleITK.CompositeTransform([affine, field])  # the last is applied first
    SimpleITK.WriteTransform(transform, str(job.out / "transform.h5"))
    labels = SimpleITK.ReadImage(str(job.moving_labels))
    warped = SimpleITK.Resample(labels, fixed, transform, SimpleITK.sitkNearestNeighbor)
    SimpleITK.WriteImage(warped, str(job.warped_labels))


def affine_start(fixed: SimpleITK.Image, moving: SimpleITK.Image) -> SimpleITK.Transform:
    """Return the affine transform of fixed to moving points (LPS mm) with the largest mutual information."""
    start = SimpleITK.CenteredTransformInitializer(
        fixed, moving, SimpleITK.AffineTransform(3), SimpleITK.CenteredTransformInitializerFilter.MOMENTS
    )
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.2, seed=1)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsGradientDescent(1.0, numberOfIterations=200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(list(LEVELS))
    method.SetSmoothingSigmasPerLevel([2.0, 1.0, 0.0])
    method.SetInitialTransform(start)
    return method.Execute(fixed, moving)


def demons(fixed: SimpleITK.Image, moving: SimpleITK.Image) -> SimpleITK.Image:
    """Return the displacement field (LPS mm, fixed to moving points) between images on one grid."""
    moving = SimpleITK.HistogramMatching(moving, fixed, 1024, 7, thresholdAtMeanIntensity=True)
    field = None
    for factor, iterations in LEVELS.items():
        level_fixed, level_moving = (_shrunk(image, factor) for image in (fixed, moving))
        start = () if field is None else (_on_grid(field, level_fixed),)
        method = SimpleITK.FastSymmetricForcesDemonsRegistrationFilter()
        method.SetNumberOfIterations(iterations)
        method.SetStandardDeviations(SMOOTHING)
        field = method.Execute(level_fixed, level_moving, *start)
    return field


def displacement(job: Job) -> None:
    """Write the composed transform as a field on the fixed grid."""
    fixed = SimpleITK.ReadImage(str(job.fixed))
    write_displacement(SimpleITK.ReadTransform(str(job.out / "transform.h5")), fixed, job)


def write_displacement(transform: SimpleITK.Transform, fixed: SimpleITK.Image, job: Job) -> None:
    """Write any transform of fixed to moving points as a field on the fixed grid."""
    field = SimpleITK.TransformToDisplacementField(
        transform,
        SimpleITK.sitkVectorFloat32,
        fixed.GetSize(),
        fixed.GetOrigin(),
        fixed.GetSpacing(),
        fixed.GetDirection(),
    )
    SimpleITK.WriteImage(field, str(job.displacement))


def _on_grid(field: SimpleITK.Image, grid: SimpleITK.Image) -> SimpleITK.Image:
    """Return a field on a finer grid, which reaches further out by half a coarse voxel: there it goes on unchanged."""
    method = SimpleITK.ResampleImageFilter()
    method.SetReferenceImage(grid)
    method.UseNearestNeighborExtrapolatorOn()
    return method.Execute(field)


def _shrunk(image: SimpleITK.Image, factor: int) -> SimpleITK.Image:
    """Return a smoothed image with every ``factor``-th voxel."""
    if factor == 1:
        return image
    sigmas = [0.5 * factor * spacing for spacing in image.GetSpacing()]
    return SimpleITK.Shrink(SimpleITK.SmoothingRecursiveGaussian(image, sigmas), [factor] * 3)


if __name__ == "__main__":
    run_step(register, displacement)
