"""The open model of the panel, as the worker describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from NeuroGenLib.core.errors import Cancelled, InputError, NeuroGenError
from NeuroGenLib.spatial.labels import Label, LabelTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenPanels.worker_service import WorkerService


def table_of(facts: dict[str, Any]) -> LabelTable:
    """Return the labels of an atlas.

    Parameters
    ----------
    facts:
        Result of the job ``model.open``.

    Raises
    ------
    InputError
        When the model is not an atlas.
    """
    if "atlas" not in facts:
        raise InputError(f"The model {facts['reference']} is not an atlas.", "Choose another model.", code="model-kind")
    return LabelTable(
        tuple(
            Label(label["value"], label["name"], tuple(label["colour"]), label["abbreviation"], label["terminology"])
            for label in facts["atlas"]["labels"]
        )
    )


class ModelSession:
    """Opens a model in the worker and keeps its facts.

    Parameters
    ----------
    service:
        The worker that renders.
    on_opened:
        Called once :attr:`facts` are there.
    on_error:
        Called with what went wrong.
    """

    def __init__(
        self, service: WorkerService, on_opened: Callable[[], object], on_error: Callable[[NeuroGenError], object]
    ) -> None:
        self._service = service
        self._on_opened = on_opened
        self._on_error = on_error
        self._opening = ""
        self.reference = ""
        self.facts: dict[str, Any] | None = None

    @property
    def model(self) -> dict[str, Any]:
        """Facts of the open model.

        Raises
        ------
        InputError
            When no model is open.
        """
        if self.facts is None:
            raise InputError("No atlas is open.", "Choose a model first.", code="value-missing")
        return self.facts

    @property
    def atlas(self) -> dict[str, Any]:
        """Facts of the atlas: ages, conditions, labels ...; an InputError when none is open."""
        return self.model["atlas"]

    @property
    def table(self) -> LabelTable:
        """The model's labels."""
        return table_of(self.model)

    def open(self, reference: str, device: str) -> None:
        """Open a model, unless it is open or being opened already."""
        if reference == self._opening or (reference == self.reference and self.facts is not None):
            return
        self._opening, self.facts, self.reference = reference, None, ""

        def opened(facts: dict[str, Any]) -> None:
            if self._opening != reference:  # another one was chosen meanwhile
                return
            self._opening = ""
            if "atlas" not in facts:
                self._on_error(
                    InputError(f"The model {reference} is not an atlas.", "Choose another model.", code="model-kind")
                )
                return
            self.reference, self.facts = reference, facts
            self._on_opened()

        def failed(error: NeuroGenError) -> None:
            if self._opening == reference and not isinstance(error, Cancelled):
                self._opening = ""
                self._on_error(error)

        arguments = {"model": reference, "device": device}
        self._service.submit("model.open", arguments, slot="open", replaces=True, on_result=opened, on_error=failed)

    def forget(self) -> None:
        """Close it: another scene, or none."""
        self._opening, self.reference, self.facts = "", "", None
