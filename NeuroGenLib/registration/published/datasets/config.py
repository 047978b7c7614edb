"""Parameters of the data sets that the published registration program is trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from NeuroGenLib.core.config import Config, Help, Range, Unit
from NeuroGenLib.core.errors import InputError

LayoutKind = Literal["oasis", "lpba40", "lung250m", "lumir", "nlst"]


@dataclass(frozen=True)
class PreparationConfig(Config):
    """What is done to every volume after reading, in the order of the fields."""

    crop: Annotated[
        tuple[tuple[int, int], tuple[int, int], tuple[int, int]],
        Range(0),
        Unit("voxels"),
        Help("Voxels to take away at the start and end of i, j and k"),
    ] = ((0, 0), (0, 0), (0, 0))
    crop_or_pad_to: Annotated[
        tuple[int, int, int] | None, Range(1), Unit("voxels"), Help("Shape to crop or pad with zeros to, centred")
    ] = None
    downsampling: Annotated[
        tuple[int, int, int],
        Range(1),
        Help("Average blocks of this many voxels along i, j and k; the rest is dropped"),
    ] = (1, 1, 1)
    clip: Annotated[tuple[float | None, float | None] | None, Help("Least and largest intensity")] = None
    shift: Annotated[float, Help("Subtracted from the intensities")] = 0.0
    scale: Annotated[float, Range(0, exclusive_low=True), Help("Divides the shifted intensities")] = 1.0
    minmax: Annotated[bool, Help("Stretch the intensities of each volume to 0 and 1 at last")] = False

    def check(self) -> None:
        """Refuse a clip that leaves nothing."""
        low, high = self.clip or (None, None)
        if low is not None and high is not None and low >= high:
            raise InputError(
                f"clip from {low:g} to {high:g} leaves nothing.", "Give the smaller number first.", code="value-invalid"
            )


@dataclass(frozen=True)
class LayoutConfig(Config):
    """Where a published data set lies, and what of it is used."""

    kind: Annotated[LayoutKind, Help("Which data set, and so which folders, file names and lists of cases")] = "oasis"
    root: Annotated[Path, Help("Its folder, with the files as their authors distribute them")] = Path("oasis")
    split: Annotated[
        Literal["train", "validation", "test", "sanity_check"], Help("Which cases and pairs; not all have all")
    ] = "train"
    image: Annotated[
        str | None, Help("File name of the images, without case and .nii.gz: norm or aligned_norm of OASIS")
    ] = None
    segmentation: Annotated[
        str | None, Help("File name of the label maps, likewise: seg35 or aligned_seg35 of OASIS")
    ] = None
    learn2reg: Annotated[
        bool, Help("OASIS: the pairs of the Learn2Reg challenge are validated, all others trained")
    ] = False
    cases: Annotated[int | None, Range(1), Help("Train on this many of the first cases; all when not given")] = None
    both_directions: Annotated[bool, Help("Validate and test each pair in both orders")] = False
    use_labels: Annotated[bool, Help("Read the label maps, for a loss on them")] = False
    labels: Annotated[tuple[int, ...], Help("Label values that count; all others become 0")] = ()
    label_groups: Annotated[
        tuple[tuple[int, ...], ...], Help("Label values that make one channel each; each label its own when empty")
    ] = ()
    use_landmarks: Annotated[bool, Help("Read the landmarks, for a loss on them")] = False
    body_mask_erosion: Annotated[
        int | None,
        Range(0),
        Unit("voxels"),
        Help("LUMIR: only voxels above 0 count, but the outer ones; all count when not given"),
    ] = None
    white_matter: Annotated[
        bool,
        Help("LPBA40: divide by the mean of white matter and set everything without a tissue to 0, by the tissue maps"),
    ] = False
    preparation: PreparationConfig = field(default_factory=PreparationConfig)

    def check(self) -> None:
        """Refuse what the data set has not."""
        only = {
            "learn2reg": ("oasis",),
            "body_mask_erosion": ("lumir",),
            "white_matter": ("lpba40",),
            "use_landmarks": ("lung250m", "nlst"),
            "use_labels": ("oasis", "lpba40", "lumir"),
        }
        for name, kinds in only.items():
            value = getattr(self, name)
            if value is not None and value is not False and self.kind not in kinds:  # 0 is a value
                raise InputError(
                    f"{name} has no meaning for {self.kind}.", f"It is for: {', '.join(kinds)}.", code="value-conflict"
                )
        if self.use_labels and not self.labels:
            raise InputError(
                "use_labels needs labels, the values that count.",
                "Give labels, such as [0, 1, 2].",
                code="value-missing",
            )
