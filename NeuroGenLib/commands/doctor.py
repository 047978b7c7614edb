"""`neurogen doctor`: what is installed, what computes, and where files go."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from typing import Any

from NeuroGenLib.commands.options import add_json_option, make_parser, print_json
from NeuroGenLib.core.device import machine_memory
from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.core.files import require_folder_place
from NeuroGenLib.models import bundled_models
from NeuroGenLib.models.reference import models_folder, must_stay_offline
from NeuroGenLib.version import __version__

INFERENCE = ("torch", "numpy", "scipy", "nibabel", "SimpleITK", "pydicom", "safetensors", "huggingface_hub", "monai")
COMMAND_LINE = ("PyYAML", "matplotlib")
TRAINING = ("lightning", "tensorboard", "pandas", "scikit-image")
SCENES = ("slicer-core",)


def doctor(arguments: list[str]) -> None:
    """Print the report; it never fails because something is missing, it says so."""
    parser = make_parser(
        "doctor",
        "Show versions, packages, GPU, memory, disk and models: what to send with a question. It needs no network.",
        ("neurogen doctor", "neurogen doctor --json"),
    )
    add_json_option(parser)
    options = parser.parse(arguments)
    report = examine()
    if options.json:
        print_json(report)
        return
    for title, entries in report.items():
        print(title)
        width = max((len(name) for name in entries), default=0)
        for name, value in entries.items():
            print(f"  {name.ljust(width)}  {value}")


def examine() -> dict[str, dict[str, str]]:
    """Return the report: titles with entries by name."""
    return {
        "NeuroGen": {
            "version": __version__,
            "python": f"{platform.python_version()} ({sys.executable})",
            "system": platform.platform(),
        },
        "Needed to run models": _versions(INFERENCE),
        "Needed for the command line": _versions(COMMAND_LINE),
        "Needed to train": _versions(TRAINING),
        "Needed for scenes outside 3D Slicer": _versions(SCENES),
        "Devices": _devices(),
        "Models": _models(),
    }


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "missing"
    return versions


def _devices() -> dict[str, str]:
    memory = machine_memory()
    entries = {
        "cpu": f"{os.cpu_count()} cores",
        "memory": "unknown" if memory is None else f"{memory / 2**30:.1f} GiB",
    }
    try:
        import torch
    except (ImportError, OSError):  # OSError: a library that PyTorch needs is not there (Windows)
        return entries | {"gpu": "unknown: PyTorch is missing"}
    entries["threads"] = str(torch.get_num_threads())
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            entries[f"cuda:{index}"] = f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    else:
        build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        entries["gpu"] = f"no CUDA device that this PyTorch build can use ({build})"
    mps = torch.backends.mps.is_available()
    entries["mps"] = "available, experimental: only with --device mps" if mps else "not available"
    return entries


def _models() -> dict[str, str]:
    entries: dict[str, Any] = {}
    try:
        entries["bundled"] = ", ".join(bundled_models()) or "none"
    except NeuroGenError as error:
        entries["bundled"] = str(error)
    folder = models_folder()
    entries["folder"] = str(folder)
    try:
        require_folder_place(folder)
        entries["downloads"] = "can be stored there"
    except NeuroGenError as error:
        entries["downloads"] = f"cannot be stored there: {error.problem}"
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    entries["room there"] = f"{shutil.disk_usage(existing).free / 2**30:.1f} GiB free"
    entries["network"] = "not used (offline)" if must_stay_offline() else "used when a model is downloaded"
    return entries
