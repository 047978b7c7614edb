"""Turns the errors of the hub's library and of its transport into sentences for people."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from NeuroGenLib.core.errors import Cancelled, InputError, NeuroGenError
from NeuroGenLib.models.connection import connection_failure, disk_failure
from NeuroGenLib.models.reference import models_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from NeuroGenLib.models.reference import HubReference

_LOGIN = "log in with 'hf auth login'"


@contextlib.contextmanager
def explained(reference: HubReference) -> Iterator[None]:
    """Raise what goes wrong in the block as a :class:`~NeuroGenLib.core.errors.NeuroGenError` about ``reference``."""
    try:
        yield
    except (NeuroGenError, Cancelled):
        raise
    except Exception as error:
        known = _refusal(error, reference) or _failure(error, reference)
        if known is None:
            raise
        raise known from error


def how_to_bring_it_here(reference: HubReference) -> str:
    """Return the sentence that helps a machine without network."""
    return (
        f"On a connected machine run 'neurogen models download {reference}', then copy its models folder to "
        f"{models_folder()} here, or to any folder that the environment variable NEUROGEN_MODELS names."
    )


def _refusal(error: Exception, reference: HubReference) -> NeuroGenError | None:
    """What the hub answered when it does not give the files."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return NeuroGenError(
            f"{reference} is behind an agreement or a permission you do not have.",
            f"Accept its terms on its page on the hub and {_LOGIN}, then try again.",
            code="access-denied",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(
            f"The repository {reference.repository} has no revision '{reference.effective_revision}'.",
            "Look up its branches, tags and commits on its page on the hub.",
            code="model-missing",
        )
    if isinstance(error, errors.EntryNotFoundError):
        return NeuroGenError(
            f"A file of {reference} is gone from the hub.",
            "Try again, or ask for another revision.",
            code="model-missing",
        )
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 404):
        return InputError(
            f"The hub has no repository {reference.repository}, or it is private.",
            f"Check the spelling; for a private one {_LOGIN}.",
            code="model-missing",
        )
    if isinstance(error, errors.HFValidationError):
        return InputError(
            f"{reference} is not a name the hub accepts.",
            "Write hf:org/repo as on the hub's page.",
            code="value-invalid",
        )
    return None


def _failure(error: Exception, reference: HubReference) -> NeuroGenError | None:
    """What stopped the transfer: the network or the disk."""
    server = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    known = connection_failure(error, str(reference), server, how_to_bring_it_here(reference))
    if known is not None or not isinstance(error, OSError):
        return known
    if error.errno is None:  # the library's own check of the length that arrived
        return NeuroGenError(
            f"A file of {reference} did not arrive whole.",
            "Try again; it goes on where it stopped.",
            code="network-failed",
        )
    return disk_failure(error, str(reference), models_folder())
