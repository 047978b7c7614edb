"""Model folder on disk, with ``neurogen.json``, ``model.safetensors`` and a card, ``README.md``."""

from __future__ import annotations

import fnmatch
import functools
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from NeuroGenLib.core.checksums import sha256_of
from NeuroGenLib.core.errors import InputError, NeuroGenError, nearest
from NeuroGenLib.core.files import atomic_file, atomic_folder, read_json, utf8_name, write_json, write_text
from NeuroGenLib.core.job import note_input
from NeuroGenLib.core.progress import SILENT, Progress
from NeuroGenLib.models.manifest import Manifest

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import torch

Typed = TypeVar("Typed", bound=Manifest)

FORMAT = "neurogen-model"
SCHEMA = 1
MANIFEST = "neurogen.json"
TENSORS = "model.safetensors"
CARD = "README.md"

ALLOWED_FILES = (MANIFEST, "*.safetensors", CARD, "*.tsv", "*.json", "*.yaml", "*.nii.gz", "LICENSE*")
"""What a model folder may hold and what is fetched of a repository; never code."""

HASHED_ON_OPENING = 256 * 2**20
"""Files up to this many bytes are hashed at every opening, larger ones when they are downloaded or imported."""

_FIELDS_OF_CAPABILITIES: dict[str, type | tuple[type, ...]] = {
    "labels": (list, dict),
    "conditions": (list, dict),
    "age": dict,
    "network": dict,
    "preparation": dict,
}
_WRITTEN_HERE = ("format", "schema", "kind", "files")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ModelFolder:
    """A model folder whose manifest was checked.

    Attributes
    ----------
    path:
        The folder.
    manifest:
        The content of ``neurogen.json``, see below.
    reference:
        How the person named it: a path, ``bundled:NAME`` or ``hf:org/repo``.
    revision:
        The commit it was downloaded at (40 hexadecimal digits); None for a folder that has none.

    Notes
    -----
    The manifest's fields; the first four are written by :func:`write_model`, all others are optional:

    ``format``, ``schema``
        ``"neurogen-model"`` and the version of this list, an integer.
    ``kind``
        Which capability reads it, such as ``"atlas"``.
    ``files``
        ``{name: {"sha256": hexadecimal, "size": bytes}}`` of every file but the manifest and the card. Names are
        relative to the folder and have ``/`` between their parts.
    ``name``, ``description``, ``notice``
        Title, one paragraph, and what a user must know (text).
    ``license``
        SPDX identifier of the weights' licence.
    ``citation``
        List of the papers to cite.
    ``labels``
        The classes of a label map: value, name, colour.
    ``modalities``
        List of names such as ``"T2w"``, in channel order.
    ``conditions``
        Each with ``name``, ``unit``, ``kind`` (``numeric`` or ``categoric``) and its ``range`` or ``values``.
    ``age``
        ``{"name", "unit", "range"}``; the unit (``weeks`` or ``years``) is never guessed.
    ``network``
        The architecture's hyper-parameters.
    ``preparation``
        How inputs are prepared: spacing in mm, orientation, intensity normalisation, box.
    ``training``
        ``data``, ``command``, ``config``, ``commit``, ``steps``, ``metrics``.
    ``versions``
        Software that made it.
    """

    path: Path
    manifest: dict[str, Any]
    reference: str
    revision: str | None = None

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        reference: str | None = None,
        revision: str | None = None,
        verify: bool = True,
    ) -> ModelFolder:
        """Read and check a model folder.

        Parameters
        ----------
        path:
            The folder.
        reference, revision:
            Recorded in the result; the reference is the path when none is given.
        verify:
            Compare checksums too, of files up to :data:`HASHED_ON_OPENING` bytes; sizes are always compared.

        Raises
        ------
        InputError
            When it is not a model folder, or a file is missing, altered or outside the folder.
        NeuroGenError
            When a newer NeuroGen made it.
        """
        path = Path(path)
        _require_folder(path)
        manifest = _checked_manifest(path / MANIFEST)
        folder = cls(path, manifest, str(path) if reference is None else reference, revision)
        note_input(path / MANIFEST, recorded=False)
        for name, facts in manifest["files"].items():
            note_input(folder.file(name), recorded=False)
            _check_size(folder.file(name), facts["size"])
        if verify:
            folder.verify(largest=HASHED_ON_OPENING)
        return folder

    @functools.cached_property
    def about(self) -> Manifest:
        """The fields that models of all kinds have."""
        return _common_fields(self.manifest, self.path / MANIFEST)

    def read_as(self, typed: type[Typed]) -> Typed:
        """Return the manifest typed by the capability that reads the model.

        Raises
        ------
        InputError
            When an entry that such models need is missing or does not fit.
        """
        try:
            return typed.read(self.manifest)
        except InputError as error:
            raise InputError(
                f"The model {self.reference} is not a complete {self.kind} model ({error.problem.rstrip('.')}).",
                "Download or train it again.",
                code="model-damaged",
            ) from error

    @property
    def kind(self) -> str:
        """Which capability reads the model."""
        return str(self.manifest["kind"])

    @property
    def card(self) -> str:
        """The text of the card; empty when the folder has none."""
        path = self.path / CARD
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    @property
    def size(self) -> int:
        """Bytes of the listed files together."""
        return sum(facts["size"] for facts in self.manifest["files"].values())

    def file(self, name: str) -> Path:
        """Return the path of a file the manifest lists.

        Raises
        ------
        InputError
            When it is not listed, missing, or a link to outside the folder.
        """
        if name not in self.manifest["files"]:
            raise InputError(
                f"The model {self.path} lists no file '{name}'.",
                nearest(name, self.manifest["files"]),
                code="name-unknown",
            )
        path = self.path / name
        if not path.is_file():
            raise InputError(
                f"The model {self.path} lacks its file '{name}'.",
                "Download or copy the model again.",
                code="model-damaged",
            )
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise InputError(
                f"'{name}' in the model {self.path} is a link to outside the folder.",
                "Copy the model with its links followed (cp -rL), so that it holds its own files.",
                code="path-unsafe",
            )
        return path

    def verify(self, largest: int | None = None, progress: Progress = SILENT) -> None:
        """Compare the checksum of every listed file, or of those up to ``largest`` bytes.

        Raises
        ------
        InputError
            When a file's content is not what the manifest says.
        """
        for name, facts in progress.track(list(self.manifest["files"].items()), "checking the model's files"):
            if largest is not None and facts["size"] > largest:
                continue
            if sha256_of(self.file(name)) != facts["sha256"]:
                raise InputError(
                    f"The content of '{name}' in the model {self.path} is not what {MANIFEST} says.",
                    "The file is damaged or was edited: download or copy the model again.",
                    code="model-damaged",
                )


def write_model(
    path: str | os.PathLike[str],
    kind: str,
    tensors: Mapping[str, torch.Tensor],
    manifest: Mapping[str, Any],
    card: str,
    *,
    extra_files: Mapping[str, str | bytes | Path] | None = None,
) -> ModelFolder:
    """Write a model folder, whole or not at all; a folder at ``path`` is replaced.

    Parameters
    ----------
    path:
        The folder to make.
    kind:
        Which capability reads it.
    tensors:
        Named weights; stored as they are, on the CPU and contiguous.
    manifest:
        The fields of :class:`ModelFolder`; ``format``, ``schema``, ``kind`` and ``files`` are set here.
    card:
        Markdown for ``README.md``.
    extra_files:
        Further files by relative name: text, bytes, or the path of a file to copy.

    Returns
    -------
    ModelFolder
        The folder as read back.

    Raises
    ------
    InputError
        When the manifest cannot be JSON, a file's name is not usable or a source is missing, or ``path`` is a folder
        of something else.
    NeuroGenError
        When the folder cannot be written.
    """
    path = Path(path)
    _require_replaceable(path)
    extra_files = extra_files or {}
    for name in extra_files:
        require_relative_name(name, f"the files of the model {path}")
        if name in (MANIFEST, TENSORS, CARD):
            raise InputError(
                f"'{name}' is written by NeuroGen itself.", "Give the extra file another name.", code="value-conflict"
            )
        if not may_be_in_a_model(name):
            raise InputError(
                f"'{name}' may not be in a model folder.", f"Allowed are: {', '.join(ALLOWED_FILES)}.", code="file-type"
            )
    with atomic_folder(path) as temporary:
        with atomic_file(temporary / TENSORS) as file:
            _save_tensors(tensors, file, path)
        for name, content in extra_files.items():
            with atomic_file(temporary / name) as file:
                file.write_bytes(_as_bytes(content))
        write_text(temporary / CARD, card)
        listed = {
            name: {"sha256": sha256_of(temporary / name), "size": (temporary / name).stat().st_size}
            for name in (TENSORS, *extra_files)
        }
        fields = {key: value for key, value in manifest.items() if key not in _WRITTEN_HERE}
        try:
            write_json(
                temporary / MANIFEST, {"format": FORMAT, "schema": SCHEMA, "kind": kind, **fields, "files": listed}
            )
        except (TypeError, ValueError) as error:
            raise InputError(
                f"The manifest of the model {path} cannot be written as JSON ({error}).",
                "Use text, finite numbers, lists and dictionaries only.",
                code="value-invalid",
            ) from error
        _checked_manifest(temporary / MANIFEST)
    return ModelFolder.read(path)


def _require_replaceable(out: Path) -> None:
    """Refuse a folder with other files: a model folder is written as a whole and replaces what was there."""
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise InputError(
            f"{out} holds other files, and a model would replace them.", "Choose a new folder.", code="file-occupied"
        )


def _save_tensors(tensors: Mapping[str, torch.Tensor], file: Path, model: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        # A clone each: safetensors refuses tensors that share memory.
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, file)
    except SafetensorError as error:  # its writer reports a full disk so
        raise NeuroGenError(
            f"The weights of {model} could not be written ({error}).",
            "Free some space or choose another folder.",
            code="file-unwritable",
        ) from error


def load_tensors(folder: ModelFolder, device: str | torch.device = "cpu") -> dict[str, torch.Tensor]:
    """Read the weights of a model onto a device.

    Raises
    ------
    InputError
        When ``model.safetensors`` is truncated or something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder.file(TENSORS)
    try:
        return load_file(utf8_name(path), device=str(device))
    except SafetensorError as error:
        raise InputError(
            f"{path} is truncated or not a safetensors file ({error}).",
            "Download or copy the model again.",
            code="model-damaged",
        ) from error


def may_be_in_a_model(name: str) -> bool:
    """Whether a file of this name belongs into a model folder, see :data:`ALLOWED_FILES`."""
    return any(fnmatch.fnmatchcase(PurePosixPath(name).name, pattern) for pattern in ALLOWED_FILES)


def require_relative_name(name: str, where: str) -> str:
    """Return ``name`` when it is a plain relative path with ``/`` that stays inside its folder on every system.

    Raises
    ------
    InputError
        When it is absolute, climbs with ``..``, or has a drive, a backslash, a colon or a control character.
    """
    parts = name.split("/")
    plain = all(part and part == part.strip(" ") and not part.endswith(".") for part in parts)
    if not plain or re.search(r'[\\:*?"<>|\x00-\x1f]', name) or PurePosixPath(name).is_absolute():
        raise InputError(
            f"'{name}' in {where} is not a relative path inside the folder.",
            "This may be an attempt to reach other files; do not use this model unless you trust its source.",
            code="path-unsafe",
        )
    return name


def _require_folder(path: Path) -> None:
    if path.is_file():
        raise InputError(
            f"{path} is a file, not a model folder.",
            f"Give the folder that holds {MANIFEST}; other programs' checkpoints go through 'neurogen models import'.",
            code="model-damaged",
        )
    if not path.is_dir():
        beside = [item.parent.name for item in path.parent.glob(f"*/{MANIFEST}")]
        hint = nearest(path.name, beside) if beside else "Check the name and the folder you started from."
        raise InputError(f"There is no model folder {path}.", hint, code="model-missing")
    if not (path / MANIFEST).is_file():
        raise InputError(
            f"{path} is not a NeuroGen model: it has no {MANIFEST}.",
            "Give the folder that holds it; other programs' checkpoints go through 'neurogen models import'.",
            code="model-damaged",
        )


def _checked_manifest(path: Path) -> dict[str, Any]:
    manifest = read_json(path)
    remedy = "Download or copy the model again."
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(
            f'{path} does not say "format": "{FORMAT}".', "Give the folder of a NeuroGen model.", code="model-damaged"
        )
    schema = manifest.get("schema")
    if type(schema) is not int or schema < 1:
        raise InputError(f"'schema' in {path} is not a whole number from 1 on.", remedy, code="model-damaged")
    if schema > SCHEMA:
        raise NeuroGenError(
            f"The model {path.parent} was made by a newer NeuroGen (its schema is {schema}, this one reads {SCHEMA}).",
            "Update NeuroGen.",
            code="model-newer",
        )
    if not isinstance(manifest.get("kind"), str) or not manifest["kind"]:
        raise InputError(f"'kind' in {path} is not a text.", remedy, code="model-damaged")
    _common_fields(manifest, path)
    for field, expected in _FIELDS_OF_CAPABILITIES.items():
        if manifest.get(field) is not None and not isinstance(manifest[field], expected):
            names = " or ".join(kind.__name__ for kind in (expected if isinstance(expected, tuple) else (expected,)))
            raise InputError(f"'{field}' in {path} is not of type {names}.", remedy, code="model-damaged")
    _check_file_list(manifest.get("files"), path)
    return manifest


def _common_fields(manifest: Mapping[str, Any], path: Path) -> Manifest:
    try:
        return Manifest.read(manifest)
    except InputError as error:
        raise InputError(
            f"{path}: {error.problem}", "Download or copy the model again.", code="model-damaged"
        ) from error


def _check_file_list(files: object, path: Path) -> None:
    if not isinstance(files, dict) or TENSORS not in files:
        raise InputError(
            f"'files' in {path} does not list {TENSORS}.", "Download or copy the model again.", code="model-damaged"
        )
    for name, facts in files.items():
        require_relative_name(name, str(path))
        complete = (
            isinstance(facts, dict)
            and type(facts.get("size")) is int
            and isinstance(facts.get("sha256"), str)
            and _SHA256.fullmatch(facts["sha256"])
        )
        if not complete:
            raise InputError(
                f"'{name}' in {path} has no usable 'size' and 'sha256'.",
                "Download or copy the model again.",
                code="model-damaged",
            )


def _check_size(path: Path, size: int) -> None:
    actual = path.stat().st_size
    if actual != size:
        raise InputError(
            f"{path} has {actual} bytes instead of {size}: it is incomplete or was altered.",
            "Download or copy the model again.",
            code="model-damaged",
        )


def _as_bytes(content: str | bytes | Path) -> bytes:
    if isinstance(content, Path):
        if not content.is_file():
            raise InputError(
                f"The file {content} does not exist.", "Check the extra files of the model.", code="file-missing"
            )
        return content.read_bytes()
    return content.encode("utf-8") if isinstance(content, str) else content
