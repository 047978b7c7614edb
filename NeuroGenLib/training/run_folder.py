"""The folder of a training run: which settings it belongs to, where it stands, what is written at its start."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from NeuroGenLib.core import provenance
from NeuroGenLib.core.config import Config, from_mapping, to_mapping
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.core.files import read_json, write_json, write_text
from NeuroGenLib.core.job import release_input
from NeuroGenLib.training.checkpoint import list_checkpoints, newest_checkpoint, tidy_checkpoints

if TYPE_CHECKING:
    from pathlib import Path

    from NeuroGenLib.training.settings import TrainerConfig

log = logging.getLogger(__name__)

_REMEDY = "Give the settings it was started with, or choose another folder."


@dataclass(frozen=True)
class Start:
    """Where a run starts: after ``step`` steps, with the ``state`` of the checkpoint ``path``, if there is one."""

    step: int = 0
    path: Path | None = None
    state: dict[str, Any] | None = None


def checkpoints_folder(out: Path) -> Path:
    """Return the folder of the checkpoints inside a run folder."""
    return out / "checkpoints"


def find_start(config: TrainerConfig, job: Config | None = None) -> Start:
    """Say where a run with these settings starts in its folder; nothing is written.

    Raises
    ------
    InputError
        When the folder holds a run of other settings, a run that ``resume: false`` would overwrite, more steps than
        are asked for, or checkpoints of unknown origin.
    NeuroGenError
        When there are checkpoints and none can be read.
    """
    out = config.out
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, not a folder.", "Choose another run folder.", code="file-unwritable")
    if not (out / "run.json").exists():
        if list_checkpoints(checkpoints_folder(out)):
            raise InputError(
                f"{out} holds checkpoints but no run.json.",
                "Restore that file or choose another folder.",
                code="run-conflict",
            )
        return Start()
    if not config.resume:
        raise InputError(
            f"{out} already holds a run.", "Choose another folder, or let it go on (resume true).", code="run-conflict"
        )
    _require_same_settings(out, config, job)
    newest = newest_checkpoint(checkpoints_folder(out))
    if newest is None:
        return Start()
    start = Start(*newest)
    if start.step > config.steps:
        raise InputError(
            f"The run in {out} already has {start.step} steps, more than the {config.steps} asked for.",
            f"Ask for at least {start.step} steps, or choose another folder.",
            code="run-conflict",
        )
    return start


def open_run(config: TrainerConfig, job: Config | None, step: int, processes: int, device: str) -> None:
    """Write ``config.yaml`` and ``run.json``, and clear away what a killed process left.

    ``run.json`` keeps the record of the first start and gets one entry in ``starts`` for each start.

    Raises
    ------
    NeuroGenError
        When the folder cannot be written.
    """
    import yaml

    tidy_checkpoints(checkpoints_folder(config.out), step)
    settings = run_parameters(config, job)
    path = config.out / "run.json"
    run = read_json(path) if path.exists() else provenance.record("train", parameters=settings, starts=[])
    run["parameters"] = settings
    run["starts"].append(
        {
            "made": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "step": step,
            "device": device,
            "processes": processes,
            "software": provenance.software_versions(),
        }
    )
    if path.exists():
        release_input(config.out / "config.yaml")  # the run's own, given as settings to go on with
    write_text(config.out / "config.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    write_json(path, run)


def run_parameters(config: TrainerConfig, job: Config | None) -> dict[str, Any]:
    """Return all settings of the run as nested mappings, those of the trainer under ``train``."""
    return {**({} if job is None else to_mapping(job)), "train": to_mapping(config)}


def _require_same_settings(out: Path, config: TrainerConfig, job: Config | None) -> None:
    run = read_json(out / "run.json")
    if not (isinstance(run, dict) and isinstance(run.get("starts"), list) and isinstance(run.get("parameters"), dict)):
        raise InputError(
            f"{out / 'run.json'} is not the record of a training run.", "Choose another folder.", code="file-damaged"
        )
    before, now = _flat(_completed(run["parameters"], config, job)), _flat(run_parameters(config, job))
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    fixed = [name for name in changed if name.partition(".")[0] != "train" or name in ("train.seed", "train.init_from")]
    if fixed:
        listed = "; ".join(f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in fixed[:5])
        more = f"; and {len(fixed) - 5} more" if len(fixed) > 5 else ""
        raise InputError(
            f"The run in {out} was started with other settings: {listed}{more}.", _REMEDY, code="run-conflict"
        )
    # What a mapping names first may be the first input of the network.
    places = zip((name for name in before if name in now), (name for name in now if name in before), strict=True)
    moved = next((first for first, second in places if first != second), None)
    if moved is not None:
        raise InputError(
            f"The run in {out} was started with its settings in another order, from {moved} on.",
            _REMEDY,
            code="run-conflict",
        )
    if any(name in ("train.devices", "train.nodes", "train.precision") for name in changed):
        log.warning("The run in %s goes on with other devices or precision: it does not repeat the first one.", out)


def _completed(recorded: Mapping[str, Any], config: TrainerConfig, job: Config | None) -> Mapping[str, Any]:
    """Return recorded settings with the defaults of those that are newer than the record."""
    try:
        if job is None:
            return {"train": to_mapping(from_mapping(type(config), recorded["train"]))}
        return to_mapping(from_mapping(type(job), recorded))
    except (InputError, KeyError):
        return recorded  # another job's: the comparison names what differs


def _flat(settings: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return dotted names and values; lists stay whole."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{where}{name}.")
        else:
            flat[f"{where}{name}"] = value
    return flat
