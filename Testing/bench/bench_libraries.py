"""Numbers and CPU seconds of parts that NeuroGen has itself, against those of a library, in one run.

``python Testing/bench/bench_libraries.py`` prints the tables of ``docs/libraries.md`` and takes about a minute;
``--quick`` uses small images and only shows that it runs. A part is the library's when its numbers agree to the
tolerances of the parity tests and it is at most a tenth slower. A difference is the largest one, as a part of the
largest number; a loss is compared together with its gradient.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import math
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from monai import losses, metrics
from monai.inferers.utils import sliding_window_inference as monai_windows
from monai.networks.blocks.warp import Warp
from monai.networks.layers.simplelayers import GaussianFilter
from monai.networks.utils import one_hot
from monai.transforms.intensity.array import ScaleIntensityRangePercentiles
from scipy.ndimage import binary_dilation, gaussian_filter
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from NeuroGenLib.alignment.mutual_information import ScanLevel, information_alignment
from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.mask.intensity import rescaled
from NeuroGenLib.mask.losses import mask_loss
from NeuroGenLib.models.hub import HubFile, fetch_files
from NeuroGenLib.models.reference import HubReference
from NeuroGenLib.registration.evaluation.measures import hausdorff95
from NeuroGenLib.registration.losses import gradient_loss, mutual_information_loss, ncc_loss
from NeuroGenLib.spatial.metrics import dice_by_label, psnr, ssim
from NeuroGenLib.spatial.sliding_window import sliding_window_inference
from NeuroGenLib.spatial.transforms.displacement import warp
from NeuroGenLib.spatial.volume import Volume
from NeuroGenLib.training.run import cosine_schedule
from Testing.hub_server import HubServer, Repository

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATS = 5
LABELS = 20


@dataclass(frozen=True)
class Part:
    """What is compared: both return what must be equal."""

    name: str
    library: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Own parts against a library's.", allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="small images: shows that it runs")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    size = 24 if options.quick else 96
    names = ("torch", "monai", "lightning", "scipy", "scikit-image")
    print(f"{platform.machine()}, one thread, images of {size} voxels a side; ", end="")
    print(", ".join(f"{name} {version(name)}" for name in names) + "\n")
    print("| part | library | difference | CPU s here | CPU s library | library / here |")
    print("|---|---|--:|--:|--:|--:|", flush=True)
    for part in parts(size):
        here, result = measured(part.ours)
        there, expected = measured(part.theirs)
        values, wanted = np.asarray(result, float), np.asarray(expected, float)
        difference = float(np.abs(values - wanted).max() / np.abs(values).max())
        print(
            f"| {part.name} | {part.library} | {difference:.1g} | {here:.3f} | {there:.3f} | {there / here:.2f} |",
            flush=True,
        )
    print("\n| what | measured |\n|---|---|")
    for name, sentence in promises(size):
        print(f"| {name} | {sentence} |", flush=True)


def measured(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the least CPU seconds of a few calls, and the result."""
    result = work()
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def parts(size: int) -> list[Part]:
    """Return all comparisons on images of ``size`` voxels a side."""
    generator = torch.Generator().manual_seed(1)
    image, other = (smooth(size, generator) for _ in range(2))
    labels = (image * LABELS).clamp(0, LABELS - 1).round()
    warped = (0.8 * image + 0.2 * other).mul(LABELS).clamp(0, LABELS - 1).round()
    return [*windows(image, size), *overlaps(labels, warped), *qualities(image, other), *similarities(image, other)]


def windows(image: torch.Tensor, size: int) -> list[Part]:
    """Return sliding windows over a head that fills about half of the image."""
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(8, 1, 3))
    network[2].padding = (1, 1, 1)
    side = min(32, size // 2)
    axis = torch.linspace(-1, 1, size)
    head = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < 1
    volume = image[0, 0]

    def ours() -> torch.Tensor:
        return sliding_window_inference(network, [volume], side, 3 / 8, inside=head, batch=4)[head]

    def theirs() -> torch.Tensor:
        with torch.inference_mode():
            found = monai_windows(image, (side,) * 3, 4, network, overlap=3 / 8, mode="gaussian", sigma_scale=1 / 8)
        return found[0, 0][head]

    return [Part("sliding window in a head", "MONAI", ours, theirs)]


def overlaps(labels: torch.Tensor, warped: torch.Tensor) -> list[Part]:
    """Return Dice and Hausdorff distances of two label maps."""
    first, second = labels[0, 0].numpy().astype(np.int16), warped[0, 0].numpy().astype(np.int16)
    present = [int(label) for label in np.intersect1d(first, second) if label]
    one, two = first == present[len(present) // 2], second == present[len(present) // 2]
    spacing = (1.0, 1.5, 2.0)

    def dice_ours() -> list[float]:
        found = dice_by_label(first, second)
        return [found[label] for label in present]

    def dice_monai() -> torch.Tensor:
        maps = [one_hot(value, LABELS) for value in (labels, warped)]
        return metrics.compute_dice(*maps, include_background=False)[0, [label - 1 for label in present]]

    def distance_monai() -> torch.Tensor:
        masks = [torch.from_numpy(mask)[None, None].float() for mask in (one, two)]
        return metrics.compute_hausdorff_distance(
            *masks, include_background=True, percentile=95, spacing=spacing
        ).flatten()

    return [
        Part("Dice of 20 labels", "MONAI", dice_ours, dice_monai),
        Part("95 % Hausdorff distance, mm", "MONAI", lambda: [hausdorff95(one, two, spacing)], distance_monai),
    ]


def qualities(image: torch.Tensor, other: torch.Tensor) -> list[Part]:
    """Return PSNR, SSIM, smoothing and scaling of intensities."""
    near = 0.9 * image + 0.1 * other
    first, second = near[0, 0].numpy(), image[0, 0].numpy()
    peak = metrics.PSNRMetric(max_val=1.0)
    similarity = metrics.SSIMMetric(spatial_dims=3, kernel_type="uniform", win_size=7, data_range=1.0)
    smoothing = GaussianFilter(3, 1.5, approx="sampled")
    scaling = ScaleIntensityRangePercentiles(1, 99, 0, 1, clip=True)

    def smoothed_inside() -> torch.Tensor:
        return smoothing(image)[0, 0, 8:-8, 8:-8, 8:-8]

    return [
        Part("PSNR, dB", "MONAI", lambda: psnr(first, second), lambda: float(peak(near, image))),
        Part("SSIM, cubes of 7", "MONAI", lambda: ssim(first, second), lambda: float(similarity(near, image))),
        Part(
            "Gaussian smoothing, scipy",
            "MONAI",
            lambda: gaussian_filter(second, 1.5)[8:-8, 8:-8, 8:-8],
            smoothed_inside,
        ),
        Part("intensities from 0 to 1", "MONAI", lambda: rescaled(image)[0, 0], lambda: scaling(image[0, 0])),
    ]


def similarities(image: torch.Tensor, other: torch.Tensor) -> list[Part]:
    """Return losses with their gradients."""
    size = image.shape[-1]
    correlation = losses.LocalNormalizedCrossCorrelationLoss(kernel_size=7)
    information = losses.GlobalMutualInformationLoss(num_bins=23, sigma_ratio=0.5)
    both = losses.DiceCELoss(sigmoid=True, squared_pred=True, smooth_nr=1, smooth_dr=1)
    slope = losses.DiffusionLoss()
    move = Warp(mode="bilinear", padding_mode="border")
    generator = torch.Generator().manual_seed(2)
    field = torch.cat([8 * smooth(size, generator) - 4 for _ in range(3)], dim=1)
    brain = (other > other.mean()).float()
    logits = 8 * image - 4

    def both_ways(loss: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor) -> Callable[[], np.ndarray]:
        def run() -> np.ndarray:
            value = start.clone().requires_grad_()
            result = loss(value)
            (gradient,) = torch.autograd.grad(result, value)
            return np.append(gradient.flatten().numpy() * gradient.numel(), float(result.detach()))

        return run

    def pair(name: str, start: torch.Tensor, ours: Callable, theirs: Callable) -> Part:
        return Part(f"{name} with gradient", "MONAI", both_ways(ours, start), both_ways(theirs, start))

    return [
        pair("local correlation", image, lambda x: ncc_loss(x, other), lambda x: correlation(x, other)),
        pair("mutual information", image, lambda x: mutual_information_loss(x, other), lambda x: information(x, other)),
        pair("Dice and entropy", logits, lambda x: mask_loss(x, brain, 1.0)["loss"], lambda x: both(x, brain)),
        pair("slope of a displacement", field, gradient_loss, slope),
        Part("warp", "MONAI", lambda: warp(image, field), lambda: move(image, field)),
    ]


def promises(size: int) -> list[tuple[str, str]]:
    """Return what a library does where a number of its result is not the point."""
    return [
        (
            "`import monai` beside torch",
            f"{import_seconds('monai.inferers.utils') - import_seconds('torch'):.1f} CPU s",
        ),
        ("SequentialLR(LinearLR, CosineAnnealingLR)", schedules()),
        ("CSVLogger of a run that goes on", csv_logger()),
        ("rigid alignment across contrasts", alignments(size)),
        ("a download that is cancelled half-way and asked for again", downloads()),
    ]


def import_seconds(module: str) -> float:
    """Return the least CPU seconds of a new Python that imports a module."""
    code = f"import time; import {module}; print(time.process_time())"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in "123"]
    return min(float(run.stdout.split()[-1]) for run in runs)


def schedules() -> str:
    """Compare the rates of a run of 20 steps, and of one that was to have 10 and got 20 when it went on at step 5."""

    def optimiser() -> torch.optim.Optimizer:
        return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)

    def ours(optimizer: torch.optim.Optimizer, total: int) -> Any:
        return cosine_schedule(optimizer, total, 3, floors=0.1)["scheduler"]

    def theirs(optimizer: torch.optim.Optimizer, total: int) -> Any:
        rise = LinearLR(optimizer, 1 / 4, total_iters=3)
        fall = CosineAnnealingLR(optimizer, total - 3, eta_min=0.1)
        return SequentialLR(optimizer, [rise, fall], milestones=[3])

    def rates(make: Callable, planned: int) -> np.ndarray:
        optimizer = optimiser()
        schedule, found = make(optimizer, planned), []
        for step in range(20):
            if step == 5 and planned != 20:
                states = optimizer.state_dict(), schedule.state_dict()
                optimizer = optimiser()
                schedule = make(optimizer, 20)
                optimizer.load_state_dict(states[0])
                schedule.load_state_dict(states[1])
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return np.array(found)

    whole = np.abs(rates(ours, 20) - rates(theirs, 20)).max()
    grown = [float(rates(make, 10)[-1]) for make in (ours, theirs)]
    return (
        f"rates differ by {whole:.0e}; a run of 10 steps that gets 20 at step 5 ends at {grown[0]:.3f} of its rate "
        f"here, at {grown[1]:.3f} with torch's; one floor for all parameter groups"
    )


def csv_logger() -> str:
    """Let Lightning's logger write four rows, go on after the second as a run does, and count what is there."""
    from lightning.pytorch.loggers import CSVLogger

    with tempfile.TemporaryDirectory() as folder:
        for first, last in ((1, 4), (3, 4)):
            logger = CSVLogger(folder, name="", version="")
            for step in range(first, last + 1):
                logger.log_metrics({"loss": math.sqrt(step)}, step)
            logger.save()
        with next(Path(folder).rglob("metrics.csv")).open(newline="", encoding="utf-8") as file:
            steps = [row["step"] for row in csv.DictReader(file)]
    return f"holds the steps {', '.join(steps)} of 1, 2, 3, 4"


def downloads() -> str:
    """Cancel a download of a file half-way, ask for it again, and count what a hub sent in all."""
    import huggingface_hub
    from tqdm import tqdm

    content = np.random.default_rng(1).bytes(16 * 2**16)
    file = HubFile("model.safetensors", len(content), hashlib.sha256(content).hexdigest())

    class HalfWay(Progress):
        def show(self, step: float, total: float, message: str) -> None:  # noqa: ARG002
            if step >= total / 2:
                self.cancel()

    class HalfBar(tqdm):
        def update(self, n: float | None = 1) -> bool | None:
            result = super().update(n)
            if self.n >= len(content) / 2:
                raise Cancelled("Half-way.")
            return result

    sent = []
    with tempfile.TemporaryDirectory() as folder, HubServer() as server, pytest.MonkeyPatch.context() as patch:
        repository = server.repositories["lab/model"] = Repository()
        pinned = HubReference("lab/model", repository.commit({file.name: content}))
        patch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 2**16)
        patch.setenv("HF_ENDPOINT", server.endpoint)
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("NEUROGEN_MODELS", str(Path(folder) / "cache"))

        def ours(*, whole: bool) -> None:
            fetch_files(pinned, [file], SILENT if whole else HalfWay())

        def theirs(*, whole: bool) -> None:
            huggingface_hub.hf_hub_download(
                "lab/model",
                file.name,
                revision=pinned.revision,
                local_dir=Path(folder) / "library",
                endpoint=server.endpoint,
                tqdm_class=None if whole else HalfBar,
            )

        for download in (ours, theirs):
            server.bytes_sent.clear()
            with contextlib.suppress(Cancelled):
                download(whole=False)
            download(whole=True)
            sent.append(server.bytes_sent[file.name] / len(content))
    hub = f"huggingface_hub {version('huggingface_hub')}"
    return f"the file is sent {sent[0]:.2f} times here, {sent[1]:.2f} times by {hub}"


def alignments(size: int) -> str:
    """Place a head on itself, moved and with its contrast inverted: one way, the other way, and one after the other."""
    generator = torch.Generator().manual_seed(3)
    axis = np.linspace(-1.4, 1.4, size)
    radius = np.sqrt(axis[:, None, None] ** 2 / 0.8 + axis[:, None] ** 2 + axis**2 / 1.2)
    inside = radius < 1
    values = np.where(inside, 0.2 + 0.6 * smooth(size, generator)[0, 0].numpy(), 0).astype(np.float32)
    spacing = 192 / size
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -96
    angle = np.radians(8)
    truth = np.eye(4)  # fixed to moving points
    truth[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    truth[:3, 3] = 4, -3, 5
    fixed = Volume(values, affine)
    inverted = np.where(inside, 1 - values, 0).astype(np.float32)
    moving = Volume(inverted, truth @ affine).resample(like=fixed)
    scans = [scan_of(volume) for volume in (fixed, moving)]
    corners = np.array([[x, y, z, 1] for x in (-70, 70) for y in (-70, 70) for z in (-70, 70)], float).T

    def error(matrix: np.ndarray) -> float:
        return float(np.linalg.norm(((matrix - np.eye(4)) @ corners)[:3], axis=0).mean())

    def ours(first: int, second: int) -> np.ndarray:
        return information_alignment(scans[first], scans[second], np.eye(4), affine=False)

    def theirs(first: int, second: int) -> np.ndarray:
        return mattes((fixed, moving)[first], (fixed, moving)[second])

    sentences = []
    for name, work in (("here", ours), ("SimpleITK (Mattes)", theirs)):
        start = time.process_time()
        there = work(0, 1)
        seconds = time.process_time() - start
        back = work(1, 0)
        sentences.append(
            f"{name} {error(np.linalg.inv(truth) @ there):.2f} mm off in {seconds:.1f} CPU s,"
            f" both ways {error(back @ there):.2f} mm apart"
        )
    return "; ".join(sentences)


def scan_of(volume: Volume) -> ScanLevel:
    """Return what the alignment takes; the foreground and room of four voxels around it."""
    inside = volume.array > 0.05
    points = volume.voxel_to_world(np.argwhere(inside))
    volume_mm3 = float(inside.sum()) * float(np.prod(volume.spacing))
    return ScanLevel(volume, volume.with_array(binary_dilation(inside, iterations=4)), points, volume_mm3 ** (1 / 3))


def mattes(fixed: Volume, moving: Volume) -> np.ndarray:
    """Return SimpleITK's rigid alignment by Mattes' mutual information, (4, 4) RAS mm of fixed to moving points."""
    import SimpleITK

    lps = np.diag([-1.0, -1, 1, 1])
    images = []
    for volume in (fixed, moving):
        image = SimpleITK.GetImageFromArray(volume.array.transpose(2, 1, 0))
        spacing, matrix = volume.spacing, lps @ volume.affine
        image.SetSpacing(tuple(map(float, spacing)))
        image.SetOrigin(matrix[:3, 3].tolist())
        image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
        images.append(image)
    transform = SimpleITK.Euler3DTransform()
    transform.SetCenter((0.0, 0.0, 0.0))
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(min(1.0, 25_000 / fixed.array.size), seed=1)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsConjugateGradientLineSearch(1.0, 100, 1e-6, 8, 0.0, 2.0, 0.01, 10)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    method.SetGlobalDefaultNumberOfThreads(1)
    method.Execute(*images)
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    matrix[:3, 3] = transform.GetTranslation()
    return lps @ matrix @ lps


def smooth(size: int, generator: torch.Generator) -> torch.Tensor:
    """Return an image (1, 1, I, J, K) of soft blobs from 0 to 1."""
    coarse = torch.rand((1, 1, *[max(3, size // 8)] * 3), generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(size,) * 3, mode="trilinear", align_corners=True)
    return (fine - fine.min()) / (fine.max() - fine.min())


if __name__ == "__main__":
    main()
