"""Base class of opened models: files, device, notice and provenance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from NeuroGenLib.core import provenance
from NeuroGenLib.core.errors import InputError
from NeuroGenLib.models.folder import ModelFolder, load_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch


class Model:
    """A trained model, opened by :func:`NeuroGenLib.models.open_model`.

    Attributes
    ----------
    kind:
        The kind of model folder that the class opens.
    title:
        What such a model is, with its article, as errors say it.
    folder:
        The model's files.
    device:
        Where it computes.
    """

    kind: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, folder: ModelFolder, device: torch.device) -> None:
        self.folder = folder
        self.device = device

    @classmethod
    def build(cls, folder: ModelFolder, tensors: Mapping[str, torch.Tensor], device: torch.device) -> Self:
        """Make the model from its manifest and its weights, which are on the CPU; subclasses override it."""
        raise NotImplementedError

    @classmethod
    def from_folder(cls, folder: ModelFolder, device: torch.device) -> Self:
        """Open a model folder of this kind.

        Raises
        ------
        InputError
            When the weights do not fit what the manifest says.
        """
        tensors = load_tensors(folder)
        try:
            return cls.build(folder, tensors, device)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError, IndexError) as error:
            raise InputError(
                f"The model {folder.reference} is not a complete {cls.kind} model ({error}).",
                "Download or train it again.",
                code="model-damaged",
            ) from error

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join([f'{self.folder.reference} on {self.device}', *self.traits])})"

    @property
    def traits(self) -> list[str]:
        """What a person should know of the model at a glance, a phrase each; subclasses override it."""
        return []

    @property
    def notice(self) -> str:
        """What every result of this model must say."""
        return self.folder.about.notice

    @property
    def citation(self) -> list[str]:
        """Papers and data sets to cite with a result."""
        return list(self.folder.about.citation)

    def provenance(
        self, job: str, parameters: Mapping[str, Any], warnings: Sequence[str] = (), **more: Any
    ) -> dict[str, Any]:
        """Return the record of a result of this model; see :func:`NeuroGenLib.core.provenance.record`.

        Parameters
        ----------
        job:
            The command's words.
        parameters, warnings:
            What was asked for, and what a person should know about the result.
        more:
            Further entries.
        """
        entries = {"device": str(self.device), **more, "warnings": list(warnings), "shows": self.notice}
        return provenance.record(job, model=self.record, parameters=dict(parameters), **entries, citation=self.citation)

    @property
    def record(self) -> dict[str, Any]:
        """What identifies the model in the provenance of a result."""
        return {
            "reference": self.folder.reference,
            "revision": self.folder.revision,
            "name": self.folder.about.name or None,
            "license": self.folder.about.license or None,
            "weights": self.folder.manifest["files"],
        }
