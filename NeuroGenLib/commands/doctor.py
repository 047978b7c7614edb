"""`neurogen doctor`: what is installed, what computes, where models lie and how much room there is."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from typing import Any

from NeuroGenLib.commands.options import add_json_option, make_parser, print_json
from NeuroGenLib.core.errors import NeuroGenError
from NeuroGenLib.models import bundled_models
from NeuroGenLib.models.reference import models_folder, must_stay_offline
from NeuroGenLib.version import __version__

INFERENCE = ("torch", "numpy", "scipy", "nibabel", "SimpleITK", "pydicom", "safetensors", "huggingface_hub", "monai")
COMMAND_LINE = ("PyYAML", "matplotlib")
TRAINING = ("lightning", "tensorboard", "pandas", "scikit-image")


def doctor(arguments: list[str]) -> None:
    """Print the report; it never fails because something is missing, it says so."""
    parser = make_parser(
        "doctor",
        "Show versions, GPU, disk and models: what to send with a question.",
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
        "Needed to draw": _versions(INFERENCE),
        "Needed for the command line": _versions(COMMAND_LINE),
        "Needed to train": _versions(TRAINING),
        "Devices": _devices(),
        "Models": _models(),
    }


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def _devices() -> dict[str, str]:
    entries = {"cpu": f"{os.cpu_count()} cores"}
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
        entries["gpu"] = "no CUDA device that this PyTorch build can use"
    if torch.backends.mps.is_available():
        entries["mps"] = "available, experimental: only with --device mps"
    return entries


def _models() -> dict[str, str]:
    entries: dict[str, Any] = {}
    try:
        entries["bundled"] = ", ".join(bundled_models()) or "none"
    except NeuroGenError as error:
        entries["bundled"] = str(error)
    folder = models_folder()
    entries["folder"] = str(folder)
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    entries["room there"] = f"{shutil.disk_usage(existing).free / 2**30:.1f} GiB free"
    entries["network"] = "not used (offline)" if must_stay_offline() else "used when a model is downloaded"
    return entries
