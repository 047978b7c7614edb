"""How a model is named (``hf:org/repo@revision/subfolder``) and where downloaded models are kept."""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from NeuroGenLib.core.errors import InputError

log = logging.getLogger(__name__)

BUNDLED = "bundled:"
HUB = "hf:"
DEFAULT_REVISION = "main"

_HUB_REFERENCE = re.compile(
    r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.+-]+))?(?:/(?P<subfolder>[\w.-]+(?:/[\w.-]+)*))?/?",
    re.ASCII,
)
_YES = ("1", "true", "yes", "on")


@dataclass(frozen=True)
class HubReference:
    """A model on a Hugging Face hub.

    Attributes
    ----------
    repository:
        ``org/repo``.
    revision:
        Branch, tag or commit; None means the newest of ``main``.
    subfolder:
        Folder of the model inside the repository, ``""`` for its root.
    """

    repository: str
    revision: str | None = None
    subfolder: str = ""

    @classmethod
    def parse(cls, text: str) -> HubReference:
        """Read ``hf:org/repo[@revision][/subfolder]``.

        Raises
        ------
        InputError
            When it has another form.
        """
        match = _HUB_REFERENCE.fullmatch(text.removeprefix(HUB))
        parts = re.split(r"[/@]", text.removeprefix(HUB))
        if not match or any(part.strip(".") == "" for part in parts if part):
            raise InputError(
                f"'{text}' does not name a model on the hub.",
                "Write hf:org/repo, hf:org/repo@revision or a subfolder.",
                code="value-invalid",
            )
        return cls(match["repository"], match["revision"], match["subfolder"] or "")

    def at(self, commit: str) -> HubReference:
        """Return the same model pinned to a commit."""
        return HubReference(self.repository, commit, self.subfolder)

    @property
    def effective_revision(self) -> str:
        """The revision to ask for."""
        return self.revision or DEFAULT_REVISION

    @property
    def folder_name(self) -> str:
        """Name of the cached folder of a pinned reference, usable on every system: ``org--repo+sub@commit``."""
        place = "+".join([self.repository.replace("/", "--"), *filter(None, self.subfolder.split("/"))])
        return f"{place}@{self.effective_revision}"

    @classmethod
    def from_folder_name(cls, name: str) -> HubReference:
        """Read back :attr:`folder_name`."""
        place, _, revision = name.rpartition("@")
        repository, *subfolder = place.split("+")
        return cls(repository.replace("--", "/", 1), revision, "/".join(subfolder))

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        subfolder = f"/{self.subfolder}" if self.subfolder else ""
        return f"{HUB}{self.repository}{revision}{subfolder}"


def models_folder() -> Path:
    """Return the folder of downloaded and imported models (it may not exist yet).

    The environment variable ``NEUROGEN_MODELS`` comes first, then the user's cache folder of the platform, then, for a
    user without a home folder, the folder for temporary files, with a warning.
    """
    chosen = os.environ.get("NEUROGEN_MODELS")
    if chosen:
        return Path(os.path.expanduser(chosen))  # noqa: PTH111 (where there is no home folder, it leaves ~ as it is)
    if sys.platform == "win32":
        cache: str | Path = os.environ.get("LOCALAPPDATA") or _in_home("AppData/Local")
    elif sys.platform == "darwin":
        cache = _in_home("Library/Caches")
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or _in_home(".cache")
    return Path(cache, "neurogen", "models")


def _in_home(name: str) -> Path:
    """Return a folder in the home folder; one for temporary files where a user, as of a container, has no home."""
    try:
        return Path.home() / name
    except RuntimeError:
        number = os.getuid() if hasattr(os, "getuid") else 0
        folder = Path(tempfile.gettempdir(), f"cache-{number}")
        _note_missing_home(folder)
        return folder


@functools.cache
def _note_missing_home(folder: Path) -> None:
    log.warning(
        "This user has no home folder, so that downloaded models go to %s, which may be emptied: let the environment"
        " variable NEUROGEN_MODELS name a folder that stays.",
        folder,
    )


def must_stay_offline(*, offline: bool = False) -> bool:
    """Whether no request may be made: asked for, or by ``NEUROGEN_OFFLINE`` or ``HF_HUB_OFFLINE``."""
    return offline or any(os.environ.get(name, "").lower() in _YES for name in ("NEUROGEN_OFFLINE", "HF_HUB_OFFLINE"))
