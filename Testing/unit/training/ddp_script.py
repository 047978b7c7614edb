"""A tiny training for the tests: imported by them, and run as a child process, or as two that train together."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from NeuroGenLib.core.errors import Cancelled
from NeuroGenLib.training.loop import StepModule
from NeuroGenLib.training.random_streams import seeded_weights
from NeuroGenLib.training.run import fit
from NeuroGenLib.training.schedules import cosine_schedule
from NeuroGenLib.training.settings import TrainerConfig


class TinyModule(StepModule):
    """Fits a plane with a few weights; the batch and the dropout are sampled again in every step."""

    def __init__(self, pause: float = 0.0, width: int = 4) -> None:
        super().__init__()
        self.pause = pause
        self.losses: list[float] = []
        self.batches: list[float] = []
        with seeded_weights(7):
            self.network = torch.nn.Sequential(
                torch.nn.Linear(3, width), torch.nn.Tanh(), torch.nn.Dropout(0.2), torch.nn.Linear(width, 1)
            )

    def step_loss(self, step: int) -> torch.Tensor | dict[str, torch.Tensor]:
        time.sleep(self.pause)
        points = torch.randn(8, 3, generator=self.generator(step, "points"))
        shift = float(self.rng(step, "shift").normal())
        loss = torch.nn.functional.mse_loss(self.network(points), points.sum(1, keepdim=True) + shift)
        self.batches.append(float(points[0, 0]))
        self.losses.append(loss.item())
        return {"loss": loss, "shift": torch.tensor(shift)}

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), 0.02)
        return {"optimizer": optimizer, "lr_scheduler": cosine_schedule(optimizer, 200, warmup=5, floors=0.1)}


class SelfTerminating(TinyModule):
    """Sends SIGTERM to one process, rank 1, in the fourth step."""

    def step_loss(self, step: int) -> torch.Tensor | dict[str, torch.Tensor]:
        if step == 3 and self.global_rank == 1:
            signal.raise_signal(signal.SIGTERM)
        return super().step_loss(step)


def settings(out: Path, steps: int, **more: Any) -> TrainerConfig:
    return TrainerConfig(out=out, steps=steps, device="cpu", threads=1, **{"log_every": 1, "seed": 5, **more})


def weights(module: StepModule) -> list[Any]:
    return [tensor.tolist() for tensor in module.state_dict().values()]


def stall_in_write_of(out: Path, count: int) -> None:
    """Make the ``count``-th checkpoint hang half-written, and say so by a file."""
    save, calls = torch.save, []

    def stalling(state: Any, path: Path) -> None:
        calls.append(path)
        save(state, path)
        if len(calls) == count:
            path.write_bytes(path.read_bytes()[:500])
            (out / "stalled").touch()
            time.sleep(600)

    torch.save = stalling


def train_alone(out: Path, steps: int, stall_at: int) -> None:
    if stall_at:
        stall_in_write_of(out, stall_at)
    try:
        fit(TinyModule(pause=0.01), settings(out, steps, checkpoint_steps=10))
    except Cancelled as stop:
        print(stop)
        raise SystemExit(stop.exit_code) from None


def train_together(out: Path) -> None:
    """Train uninterrupted, in two parts, and with a signal to one process; each process notes what it saw."""
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    if rank == 1:
        forbid_writing()
    whole, first, second, ended = TinyModule(), TinyModule(), TinyModule(), SelfTerminating()
    fit(whole, settings(out / "whole", 9, devices=2))
    fit(first, settings(out / "parts", 4, devices=2))
    fit(second, settings(out / "parts", 9, devices=2))
    outcome = ""
    try:
        fit(ended, settings(out / "ended", 9, devices=2))
    except Cancelled as stop:
        outcome = str(stop)
    except SystemExit as leave:
        outcome = f"left with {leave.code}"
    seen = {
        "whole": weights(whole),
        "parts": weights(second),
        "batches": whole.batches,
        "losses": whole.losses,
        "ended_steps": len(ended.losses),
        "outcome": outcome,
    }
    (out / f"rank{rank}.json").write_text(json.dumps(seen), encoding="utf-8")


def forbid_writing() -> None:
    from NeuroGenLib.core import files
    from NeuroGenLib.training import checkpoint as training_checkpoint
    from NeuroGenLib.training import metrics_log as training_log

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a process other than rank 0 writes")

    files.atomic_file = training_checkpoint.atomic_file = training_log.MetricsTable.add = refuse  # type: ignore[assignment]


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    if sys.argv[1] == "alone":
        train_alone(folder, int(sys.argv[3]), int(sys.argv[4]))
    else:
        train_together(folder)
