"""`neurogen atlas open`: an atlas that another program published as files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from NeuroGenLib.atlas.output import parse_ages
from NeuroGenLib.atlas.precomputed import FILES, PrecomputedAtlas, export
from NeuroGenLib.commands.options import add_report_options, make_parser, make_progress
from NeuroGenLib.commands.shared import (
    add_overwrite_option,
    add_scene_option,
    out_folder,
    print_files,
    print_written,
    scene_path,
)
from NeuroGenLib.core.config_command_line import add_options, options_of
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import staged_outputs
from NeuroGenLib.core.provenance import RESEARCH_USE
from NeuroGenLib.core.reports import PictureConfig

if TYPE_CHECKING:
    from NeuroGenLib.core.progress import Progress


def open_(arguments: list[str]) -> None:
    """`neurogen atlas open`: an atlas that another program published as files."""
    parser = make_parser(
        "atlas open",
        "Open a published atlas that is a 4-D NIfTI file with a frame for each age, such as CINeMA's: say what it\n"
        "holds, or, with --out, write it as 'neurogen atlas generate' writes one, with its header put right.",
        (
            "neurogen atlas open T2w_ga=21-37_cond=0_ep=9.nii.gz",
            "neurogen atlas open t2w.nii.gz --ages 21:37:1 --segmentation seg.nii.gz --labels tissues.tsv \\\n"
            "      --fix-origin --out atlas --scene atlas/atlas.mrb",
        ),
    )
    parser.add_argument("image", metavar="FILE", help="4-D NIfTI")
    parser.add_argument(
        "--ages",
        metavar="A:B:STEP",
        help="ages of the frames in weeks, or A,B,C (default: from the name, a provenance.json beside, or the header)",
    )
    parser.add_argument("--segmentation", metavar="FILE", help="4-D label maps on the same grid")
    parser.add_argument(
        "--labels", metavar="TABLE", help="names of the labels (default: labels.tsv beside the segmentation)"
    )
    parser.add_argument(
        "--certainty", nargs="+", default=[], metavar="FILE", help="4-D probabilities, one file a label, named after it"
    )
    parser.add_argument(
        "--fix-origin", action="store_true", help="put the centre of the box at (0, 0, 0), where the origin is 0"
    )
    parser.add_argument("--out", metavar="DIR", help="folder to write into (default: write nothing)")
    add_overwrite_option(parser)
    add_scene_option(parser)
    add_options(parser, PictureConfig)
    add_report_options(parser)
    options = parser.parse(arguments)

    if options.labels and not options.segmentation:
        raise InputError(
            f"The label table {options.labels} has no label maps.", "Give them as --segmentation.", code="value-missing"
        )
    if options.scene and not options.out:
        raise InputError(
            f"The scene {options.scene} needs the atlas's files.",
            "Give a folder for them as --out.",
            code="value-missing",
        )
    out = None if options.out is None else out_folder(options.out, FILES, overwrite=options.overwrite)
    scene = scene_path(options.scene)
    started = time.monotonic()
    progress = make_progress(options.progress)
    atlas = PrecomputedAtlas.open(
        Path(options.image),
        ages=None if options.ages is None else parse_ages(options.ages),
        segmentation=None if options.segmentation is None else Path(options.segmentation),
        labels=None if options.labels is None else Path(options.labels),
        fix_origin=options.fix_origin,
        certainty=[Path(file) for file in options.certainty],
    )
    facts = atlas.summary(progress.part(0, 0.5))
    files = [] if out is None else _write(atlas, out, scene, progress.part(0.5, 1), options_of(options, PictureConfig))
    progress.close()
    if options.json:
        print_written(out, files, started, **facts, corrections=atlas.corrections)
        return
    print_facts(facts)
    for text in (*atlas.warnings, *atlas.corrections):
        print(f"Note: {text}")
    if out is not None:
        print(f"Written to {out}:")
        print_files(files, out)
    print(RESEARCH_USE)


def _write(
    atlas: PrecomputedAtlas, out: Path, scene: Path | None, progress: Progress, picture: PictureConfig
) -> list[Path]:
    """Write the atlas, and the scene where one is asked for, all or nothing."""
    if scene is None:
        return export(atlas, out, progress, picture)
    from NeuroGenLib.scenes.atlas import write_generated_scene

    with staged_outputs(scene.parent) as beside, staged_outputs(out) as folder:
        files = export(atlas, folder, progress.part(0, 0.7), picture)
        write_generated_scene([folder], beside / scene.name, progress=progress.part(0.7, 1))
    return [*(out / file.relative_to(folder) for file in files), scene]


def print_facts(facts: dict[str, Any]) -> None:
    """Print what :meth:`~NeuroGenLib.atlas.precomputed.PrecomputedAtlas.summary` found, a line each."""
    unit = facts["age_unit"]
    low, high = facts["range"]
    print(f"image    {facts['image']}, values from {low:g} to {high:g}")
    print(f"ages     {', '.join(f'{age:g}' for age in facts['ages'])} {unit} ({facts['frames']} frames)")
    print(f"grid     {' x '.join(map(str, facts['voxels']))} voxels of {_joined(facts['spacing_mm'])} mm")
    print(f"origin   {_joined(facts['origin_mm'])} mm")
    if facts["certainty"]:
        print(f"certainty of {', '.join(facts['certainty'])}")
    for name, (first, last) in facts.get("volumes_ml", {}).items():
        print(f"  {name}: {first:g} ml at the first age, {last:g} ml at the last")


def _joined(numbers: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in numbers)
