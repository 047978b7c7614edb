"""Why a training run stops early, and the signals that ask for it."""

from __future__ import annotations

import enum
import logging
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)


class Stop(enum.IntEnum):
    """Reasons to stop after the step in progress; the greater one counts when processes differ."""

    NONE = 0
    ENOUGH = 1
    BUDGET = 2
    CANCELLED = 3
    INTERRUPTED = 4
    TERMINATED = 5
    REQUEUED = 6


class StopSignals:
    """Turns Ctrl-C, SIGTERM and SLURM's requeue signal into a wish to stop at the end of a step.

    A second Ctrl-C interrupts at once. Outside the main thread (a panel's worker) signals are left alone.
    """

    def __init__(self) -> None:
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        self.wish = Stop.NONE
        self._meaning = {signal.SIGINT: Stop.INTERRUPTED, signal.SIGTERM: Stop.TERMINATED}
        if SLURMEnvironment.job_id() is not None and hasattr(signal, "SIGUSR1"):
            self._meaning[signal.SIGUSR1] = Stop.REQUEUED
        self._before = {number: signal.getsignal(number) for number in self._meaning}

    def install(self) -> None:
        """Start to listen."""
        for number in self._meaning:
            self._set(number, self._receive)

    def restore(self) -> None:
        """Put back the handlers that were there when this object was made."""
        for number, handler in self._before.items():
            if handler is not None:
                self._set(number, handler)

    def _receive(self, number: int, _frame: Any) -> None:
        if number == signal.SIGINT and self.wish is Stop.INTERRUPTED:
            raise KeyboardInterrupt
        self.wish = max(self.wish, self._meaning[signal.Signals(number)])
        if number == signal.SIGINT:
            log.warning("Stopping after this step; press Ctrl-C again to stop at once.")

    @staticmethod
    def _set(number: signal.Signals, handler: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(number, handler)


def requeue(environment: Mapping[str, str]) -> None:
    """Ask SLURM to start this job again later; say so in the log when that fails."""
    job = environment["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in environment:
        job = f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)  # noqa: S607 (SLURM is where the cluster has it)
    except (OSError, subprocess.CalledProcessError) as error:
        log.warning("SLURM did not queue job %s again (%s); submit it again yourself.", job, error)
