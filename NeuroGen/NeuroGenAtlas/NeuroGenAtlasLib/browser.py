"""Follows the sliders: a coarse brain while they move, the fine one when they rest."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import qt

from NeuroGenLib.core.config import to_mapping
from NeuroGenLib.core.errors import Cancelled, NeuroGenError

if TYPE_CHECKING:
    from collections.abc import Callable

    from NeuroGenLib.atlas.config import GenerateConfig
    from NeuroGenLib.spatial.result import Result
    from NeuroGenLib.worker import JobHandle
    from NeuroGenPanels.worker_service import WorkerService

REST_MS = 300
"""The sliders rest when nothing has changed for this long."""

FRAME_SECONDS = 0.25
"""Time that a coarse brain may take: four a second follow a slider."""

COARSEST, FINEST = 4.0, 2.0
"""Voxel size of coarse brains, mm."""

FIRST_GUESS = 3.0


@dataclass(frozen=True)
class View:
    """A brain of an atlas as the panel shows it.

    Attributes
    ----------
    model, device:
        As :func:`NeuroGenLib.open_model` takes them.
    brain:
        Age, conditions and spacing of the brain at rest, and whether the growth map lies over the image.
    image:
        The one of the model's images that is shown.
    certainty:
        Label whose probability lies over the image; None for none.
    """

    model: str
    device: str
    brain: GenerateConfig
    image: str
    certainty: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the job ``atlas.generate``."""
        return {
            "model": self.model,
            "device": self.device,
            "certainty": self.certainty,
            **to_mapping(self.brain),
        }


class Browser:
    """Renders the newest view; never two at a time, and none that is older than the one shown.

    Parameters
    ----------
    service:
        Renders the brains.
    on_brain:
        Called with the view, the result of ``atlas.generate``, and whether it is the coarse one.
    on_error:
        Called with the error.
    """

    def __init__(
        self,
        service: WorkerService,
        on_brain: Callable[[View, Result, bool], object],
        on_error: Callable[[NeuroGenError], object],
    ) -> None:
        self._service = service
        self._on_brain = on_brain
        self._on_error = on_error
        self._newest: View | None = None
        self._coarse: JobHandle | None = None
        self._fine: JobHandle | None = None
        self._generation = 0
        self._seconds_per_mm3: float | None = None
        self._rest = qt.QTimer()
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._draw_fine)

    @property
    def working(self) -> bool:
        """Whether a brain is being rendered, or will be once the sliders rest."""
        return self._rest.active or any(job is not None and not job.done for job in (self._coarse, self._fine))

    def show(self, view: View) -> None:
        """Render a view, instead of any that was asked for before."""
        self._newest = view
        self._rest.start()
        if self._coarse is None or self._coarse.done:
            self._draw_coarse()

    def stop(self) -> None:
        """Stop; a brain that is still being rendered is discarded."""
        self._newest = None
        self._generation += 1
        self._rest.stop()
        for handle in (self._coarse, self._fine):
            if handle is not None:
                handle.cancel()
        self._coarse = self._fine = None

    def _draw_coarse(self) -> None:
        view = self._newest
        if view is None:
            return
        brain = replace(view.brain, spacing=max(self._coarse_spacing(), *view.brain.steps), growth=False)
        # One slot: a coarse brain need not wait for the fine one of an earlier view.
        self._coarse = self._submit(replace(view, brain=brain), view, coarse=True)

    def _draw_fine(self) -> None:
        if self._newest is None:
            return
        if self._coarse is not None and not self._coarse.done:
            self._rest.start()
            return
        self._fine = self._submit(self._newest, self._newest, coarse=False)

    def _submit(self, drawn: View, view: View, *, coarse: bool) -> JobHandle:
        generation, started = self._generation, time.monotonic()

        def arrived(result: Result) -> None:
            if generation != self._generation:
                return
            if coarse:
                self._seconds_per_mm3 = (time.monotonic() - started) * drawn.brain.steps[0] ** 3
            if coarse or view == self._newest:
                self._on_brain(view, result, coarse)
            if coarse and view != self._newest:
                self._draw_coarse()

        def failed(error: NeuroGenError) -> None:
            if generation == self._generation and not isinstance(error, Cancelled):
                self._rest.stop()
                self._on_error(error)

        return self._service.submit(
            "atlas.generate", drawn.arguments(), slot="brain", replaces=True, on_result=arrived, on_error=failed
        )

    def _coarse_spacing(self) -> float:
        if self._seconds_per_mm3 is None:
            return FIRST_GUESS
        return min(max((self._seconds_per_mm3 / FRAME_SECONDS) ** (1 / 3), FINEST), COARSEST)
