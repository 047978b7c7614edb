"""Training: its draws, schedule, tables, checkpoints, run folder, and the errors when it cannot go on."""

from __future__ import annotations

import json
import math
import pickle
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import lightning.pytorch as lightning
import numpy as np
import pytest
import torch
from ddp_script import TinyModule, settings, weights
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from NeuroGenLib.core.config import Config, Range
from NeuroGenLib.core.config_command_line import load_config
from NeuroGenLib.core.errors import InputError, NeuroGenError
from NeuroGenLib.core.processes import machine
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.training import stop as training_stop
from NeuroGenLib.training.checkpoint import (
    checkpoint_path,
    keep_newest,
    list_checkpoints,
    newest_checkpoint,
    read_checkpoint,
    tidy_checkpoints,
    write_checkpoint,
)
from NeuroGenLib.training.initial_weights import load_initial
from NeuroGenLib.training.loop import StepLoader
from NeuroGenLib.training.metrics_log import MetricsTable, read_metrics
from NeuroGenLib.training.random_streams import seeded_weights, step_generator, step_rng, step_seed
from NeuroGenLib.training.run import fit
from NeuroGenLib.training.schedules import cosine_factor, cosine_schedule
from NeuroGenLib.training.settings import TrainerConfig
from Testing.raising import raises

numbers = st.integers(0, 2**32 - 1)


# --- draws ------------------------------------------------------------------------------------------------------------


@given(numbers, st.integers(0, 10**7), st.integers(0, 999), st.text(max_size=8))
def test_a_step_draws_the_same_every_time(seed, step, rank, purpose):
    torch_draws = [torch.rand(3, generator=step_generator(seed, step, rank, purpose)).tolist() for _ in range(2)]
    numpy_draws = [step_rng(seed, step, rank, purpose).random(3).tolist() for _ in range(2)]
    assert torch_draws[0] == torch_draws[1]
    assert numpy_draws[0] == numpy_draws[1]
    assert 0 <= step_seed(seed, step, rank, purpose) < 2**63


def test_seeds_steps_ranks_and_purposes_have_nothing_in_common():
    keys = [(a, b, c, d) for a in range(6) for b in range(30) for c in range(4) for d in ("", "1", "noise")]
    assert len({step_seed(*key) for key in keys}) == len(keys)
    assert len({float(torch.rand((), generator=step_generator(*key))) for key in keys}) > 0.999 * len(keys)
    first = np.array([[step_rng(0, step, rank).normal() for step in range(1000)] for rank in range(2)])
    assert abs(np.corrcoef(first)[0, 1]) < 0.12
    assert abs(first.mean()) < 0.08
    assert abs(first.std() - 1) < 0.06


def test_fields_of_a_draw_do_not_run_into_each_other():
    assert len({step_seed(1, 11), step_seed(11, 1), step_seed(1, 1, 1), step_seed(1, 1, 0, "1")}) == 4


def test_initial_weights_depend_on_the_seed_alone():
    state = torch.get_rng_state()
    networks = []
    for seed in (1, 1, 2):
        torch.rand(3)
        with seeded_weights(seed):
            networks.append(torch.nn.Linear(4, 4).weight)
    assert torch.equal(networks[0], networks[1])
    assert not torch.equal(networks[0], networks[2])
    torch.set_rng_state(state)
    with seeded_weights(1):
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), state)


# --- schedule ---------------------------------------------------------------------------------------------------------


@given(st.integers(2, 5000), st.data())
def test_cosine_rises_then_falls_to_its_floor(total, data):
    warmup = data.draw(st.integers(0, total - 1))
    floor = data.draw(st.floats(0, 1))
    factors = [
        cosine_factor(step, total, warmup, floor) for step in {0, warmup // 2, warmup, total - 1, total, total + 9}
    ]
    assert all(0 < factor <= 1 or factor == pytest.approx(floor, abs=1e-9) for factor in factors)
    assert cosine_factor(warmup, total, warmup, floor) == pytest.approx(1)
    assert cosine_factor(total, total, warmup, floor) == pytest.approx(floor, abs=1e-12)
    assert cosine_factor(total + 9, total, warmup, floor) == pytest.approx(floor, abs=1e-12)
    middle = warmup + (total - warmup) / 2
    if middle.is_integer():
        assert cosine_factor(int(middle), total, warmup, floor) == pytest.approx((1 + floor) / 2)


def test_cosine_is_the_one_of_pytorch_for_each_group():
    def optimizer() -> torch.optim.Optimizer:
        tensors = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
        return torch.optim.SGD([{"params": tensors[:1], "lr": 0.5}, {"params": tensors[1:], "lr": 0.5}])

    ours, theirs = optimizer(), optimizer()
    schedule = cosine_schedule(ours, 40, floors=(0.1, 0.1))["scheduler"]
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 40, eta_min=0.05)
    for _ in range(40):
        assert [group["lr"] for group in ours.param_groups] == pytest.approx([g["lr"] for g in theirs.param_groups])
        for stepped in (ours, theirs, schedule, reference):
            stepped.step()
    different = optimizer()
    schedule = cosine_schedule(different, 10, warmup=3, floors=(0.0, 0.2))["scheduler"]
    for _ in range(10):
        different.step()
        schedule.step()
    assert [group["lr"] for group in different.param_groups] == pytest.approx([0.0, 0.1])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [((0, 10, 10), ("value-conflict", "10 steps")), ((0, 10, 0, 1.5), ("value-invalid", 1.5))],
)
def test_an_impossible_schedule_is_refused(arguments, error):
    with raises(*error):
        cosine_factor(*arguments)


def test_floors_must_match_the_groups():
    with raises("value-conflict"):
        cosine_schedule(torch.optim.SGD([torch.zeros(1)]), 10, floors=[0.1, 0.2])


# --- starting from a model --------------------------------------------------------------------------------------------


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return {"net.weight": torch.zeros(2, 3), "net.bias": torch.zeros(2), "codes.weight": torch.zeros(5, 4)}


def test_initial_weights_are_copied_by_name(state):
    tensors = {name: torch.full_like(tensor, 3) for name, tensor in state.items()}
    report = load_initial(state, tensors)
    assert report.loaded == ("codes.weight", "net.bias", "net.weight")
    assert report.skipped == ()
    assert all(bool((tensor == 3).all()) for tensor in state.values())


def test_a_table_of_other_subjects_is_skipped_on_demand(state):
    tensors = {"net.weight": torch.ones(2, 3), "net.bias": torch.ones(2), "codes.weight": torch.ones(99, 4)}
    report = load_initial(state, tensors, skip=["codes.*"])
    assert report.skipped == ("codes.weight",)
    assert float(state["codes.weight"].sum()) == 0
    assert float(state["net.weight"].sum()) == 6


def test_misfits_are_all_listed_and_nothing_is_changed(state):
    tensors = {"net.weight": torch.ones(2, 4), "codes.weight": torch.ones(5, 4), "head": torch.ones(1)}
    with pytest.raises(InputError) as error:
        load_initial(state, tensors)
    for phrase in ("'net.bias' is missing", "'head' is not expected", "shape (2, 4) instead of (2, 3)"):
        assert phrase in error.value.problem
    assert "skip" in error.value.remedy
    assert all(float(tensor.sum()) == 0 for tensor in state.values())


def test_a_skip_that_fits_nothing_is_refused(state):
    with raises("name-unknown", "code.weight"):
        load_initial(state, state, skip=["code.weight"])


# --- the table --------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=5), st.integers(0, 6))
def test_a_table_gives_back_the_same_bits_and_is_cut_where_the_run_goes_on(tmp_path_factory, values, start):
    path = tmp_path_factory.mktemp("table") / "metrics.csv"
    table = MetricsTable(path)
    table.open(0)
    for step, value in enumerate(values, 1):
        table.add(step, {"loss": value})
    assert [row["loss"] for row in read_metrics(path)] == values
    again = MetricsTable(path)
    again.open(start)
    assert [row["loss"] for row in read_metrics(path)] == values[:start]
    again.add(start + 1, {"loss": 0.5})
    assert [row["step"] for row in read_metrics(path)] == [*range(1, min(start, len(values)) + 1), start + 1]


def test_a_table_takes_new_columns_later(tmp_path):
    table = MetricsTable(tmp_path / "metrics.csv")
    table.add(1, {"loss": 2.0})
    table.add(2, {"loss": 1.0, "val, dice": 0.8})
    table.add(3, {"loss": math.nan})
    rows = read_metrics(tmp_path / "metrics.csv")
    assert rows[:2] == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "val, dice": 0.8}]
    assert math.isnan(rows[2]["loss"])


def test_a_row_cut_short_by_a_power_cut_is_dropped(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"step,loss,dice\n1,2.5,0.5\n2,2.25,0.5\n3,2.125")
    table = MetricsTable(path)
    table.open(9)
    table.add(3, {"loss": 2.125, "dice": 0.5})
    assert [row["loss"] for row in read_metrics(path)] == [2.5, 2.25, 2.125]


def test_a_table_that_a_spreadsheet_holds_open_does_not_stop_the_run(tmp_path, monkeypatch, caplog):
    table = MetricsTable(tmp_path / "metrics.csv")
    table.add(1, {"loss": 3.0})
    with monkeypatch.context() as locked:
        locked.setattr(Path, "open", lambda *_args, **_kwargs: (_ for _ in ()).throw(PermissionError(13, "in use")))
        table.add(2, {"loss": 2.0})
        table.add(3, {"loss": 1.0, "new": 4.0})
    assert caplog.text.count("cannot be written now") == 1
    table.add(4, {"loss": 0.0, "new": 5.0})
    assert [row["loss"] for row in read_metrics(tmp_path / "metrics.csv")] == [3.0, 2.0, 1.0, 0.0]
    assert [row.get("new") for row in read_metrics(tmp_path / "metrics.csv")] == [None, None, 4.0, 5.0]


# --- checkpoint files -------------------------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    content = {"weights": torch.arange(5.0), "nested": [1, 2.5, "text", None, (True, {"a": torch.ones(2)})]}
    write_checkpoint(content, checkpoint_path(tmp_path, 12))
    assert [path.name for path in tmp_path.iterdir()] == ["step=000012.ckpt"]
    again = read_checkpoint(tmp_path / "step=000012.ckpt")
    assert torch.equal(again["weights"], content["weights"])
    assert again["nested"][:4] == content["nested"][:4]


@pytest.mark.parametrize("unsafe", [Path("x"), np.float64(1), object(), StepLoader])
def test_a_value_that_needs_code_to_be_read_is_refused_by_name(tmp_path, unsafe):
    path = checkpoint_path(tmp_path, 1)
    with raises("value-invalid", "callbacks", "best", kind=NeuroGenError):
        write_checkpoint({"callbacks": [{"best": unsafe}]}, path)
    assert not path.exists()


def test_a_checkpoint_with_code_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    path = checkpoint_path(tmp_path, 1)
    torch.save({"weights": Trap()}, path)
    with raises("file-damaged", "step=000001.ckpt", kind=NeuroGenError):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Trap()))
    with raises("file-damaged", kind=NeuroGenError):
        read_checkpoint(path)
    assert not (tmp_path / "sprung").exists()


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = checkpoint_path(tmp_path, 1)
    write_checkpoint({"step": 1}, path)
    monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(RuntimeError("file write failed")))
    with raises("file-unwritable", kind=NeuroGenError) as error:
        write_checkpoint({"step": 2}, path)
    assert "Free some space" in error.value.remedy
    assert read_checkpoint(path) == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_checkpoints_are_ordered_by_number_and_the_newest_two_stay(tmp_path):
    for step in (5, 999_999, 1_000_000, 10_000_000):
        write_checkpoint({"step": step}, checkpoint_path(tmp_path, step))
    half = f".writing-{2**30}-{machine()}-a1b2c3d4-step=000008.ckpt"  # of a process that no system has
    for other in ("step=7.ckpt.damaged", half, "last.ckpt"):
        (tmp_path / other).touch()
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    assert newest[0] == newest[2]["step"] == 10_000_000
    keep_newest(tmp_path)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [1_000_000, 10_000_000]
    tidy_checkpoints(tmp_path, 1_000_000)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [1_000_000]
    assert not (tmp_path / half).exists()
    assert (tmp_path / "last.ckpt").exists()


def test_no_folder_has_no_checkpoint(tmp_path):
    assert newest_checkpoint(tmp_path / "absent") is None


# --- runs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainJob(Config):
    train: TrainerConfig
    width: Annotated[int, Range(1)] = 4


class Silent(Progress):
    def __init__(self) -> None:
        super().__init__()
        self.shown: list[tuple[float, float, str]] = []

    def show(self, step: float, total: float, message: str) -> None:
        self.shown.append((step, total, message))


def test_a_run_fills_its_folder_quietly(tmp_path, capfd, recwarn):
    progress = Silent()
    module = TinyModule()
    folder = fit(module, settings(tmp_path / "run", 7, log_every=3), progress)
    assert folder == tmp_path / "run"
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoints", "config.yaml", "metrics.csv", "run.json", "tensorboard",
    ]  # fmt: skip
    rows = read_metrics(folder / "metrics.csv")
    assert [row["step"] for row in rows] == [1, 3, 6, 7]
    assert [row["loss"] for row in rows] == [module.losses[index] for index in (0, 2, 5, 6)]
    assert rows[0]["lr"] == pytest.approx(0.02 / 6)
    assert [shown[:2] for shown in progress.shown] == [(step, 7) for step in range(1, 8)]
    assert f"loss {module.losses[6]:.4g}" in progress.shown[-1][2]
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert run["starts"][0]["software"]["torch"] == torch.__version__
    assert load_config(TrainJob, folder / "config.yaml").train == settings(tmp_path / "run", 7, log_every=3)
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in recwarn] == []


def test_a_finished_run_gives_its_weights_and_trains_no_more(tmp_path):
    trained, again = TinyModule(), TinyModule()
    fit(trained, settings(tmp_path, 5))
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    fit(again, settings(tmp_path, 5))
    assert again.losses == []
    assert weights(again) == weights(trained)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == written


def test_the_seed_decides(tmp_path):
    losses = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        module = TinyModule()
        fit(module, settings(tmp_path / name, 4, seed=seed))
        losses.append(module.losses)
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 6}, ("train.seed", 5, 6)),
        ({"init_from": "bundled:x"}, ("train.init_from", None, "'bundled:x'")),
        ({"steps": 3}, ("6 steps", 3)),
        ({"resume": False}, ("resume",)),
    ],
)
def test_a_run_goes_on_only_as_it_was_started(tmp_path, change, named):
    fit(TinyModule(), settings(tmp_path, 6))
    before = (tmp_path / "run.json").read_bytes()
    with raises("run-conflict", tmp_path, *named):
        fit(TinyModule(), settings(tmp_path, **{"steps": 9, **change}))
    assert (tmp_path / "run.json").read_bytes() == before


def test_what_does_not_change_the_numbers_may_change(tmp_path, caplog):
    fit(TinyModule(), settings(tmp_path / "old", 3))
    moved = (tmp_path / "old").rename(tmp_path / "new")
    module = TinyModule()
    fit(module, settings(moved, 6, log_every=2, checkpoint_minutes=1.0, checkpoint_steps=2, max_minutes=30.0))
    assert len(module.losses) == 3
    assert caplog.text == ""


def test_a_folder_of_another_job_is_refused(tmp_path):
    config = settings(tmp_path, 3)
    fit(TinyModule(), config, job=TrainJob(config))
    assert load_config(TrainJob, tmp_path / "config.yaml") == TrainJob(config)
    longer = settings(tmp_path, 4)
    with raises("run-conflict"):
        fit(TinyModule(width=8), longer, job=TrainJob(longer, width=8))
    with raises("weights-mismatch", "network.0.weight"):
        fit(TinyModule(width=8), longer, job=TrainJob(longer))
    fit(TinyModule(), longer, job=TrainJob(longer))


@pytest.mark.parametrize(
    ("record", "code"),
    [("", "file-type"), ("[]", "file-damaged"), ('{"parameters": {}}', "file-damaged"), ("{", "file-type")],
)
def test_a_broken_record_is_named(tmp_path, record, code):
    fit(TinyModule(), settings(tmp_path, 2))
    (tmp_path / "run.json").write_text(record, encoding="utf-8")
    with raises(code, "run.json"):
        fit(TinyModule(), settings(tmp_path, 4))


def test_checkpoints_of_unknown_origin_are_not_taken(tmp_path):
    fit(TinyModule(), settings(tmp_path, 2))
    (tmp_path / "run.json").unlink()
    with raises("run-conflict", "run.json"):
        fit(TinyModule(), settings(tmp_path, 4))


def test_a_file_is_not_a_run_folder(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "inside"):
        with raises("file-unwritable"):
            fit(TinyModule(), settings(out, 2))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"precision": "16-mixed"}, ("value-conflict", "16-mixed", "cpu")),
        ({"device": "tpu"}, ("value-invalid", "'tpu'")),
        ({"steps": 0}, ("value-invalid", "'steps'", 0)),
    ],
)
def test_impossible_settings_are_refused(tmp_path, change, error):
    with raises(*error):
        fit(TinyModule(), TrainerConfig(**{"out": tmp_path, "steps": 2, "device": "cpu", **change}))


class Diverging(TinyModule):
    def __init__(self, step: int, *, weights_only: bool = False) -> None:
        super().__init__()
        self.bad, self.weights_only = step, weights_only

    def step_loss(self, step: int) -> Any:
        result = super().step_loss(step)
        return {"loss": result["loss"] * math.inf} if step == self.bad and not self.weights_only else result

    @override
    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if self.weights_only and self.global_step == self.bad:
            self.network[0].weight.grad.fill_(math.nan)


@pytest.mark.parametrize("log_every", [1, 50])
def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_step(tmp_path, log_every):
    with raises("training-diverged", "14", kind=NeuroGenError) as error:
        fit(Diverging(13), settings(tmp_path, 30, checkpoint_steps=5, log_every=log_every))
    assert error.value.exit_code == 1
    assert "Lower the learning rate" in error.value.remedy
    assert [step for step, _ in list_checkpoints(tmp_path / "checkpoints")] == [5, 10]


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    with raises("training-diverged", "10", kind=NeuroGenError):
        fit(Diverging(9, weights_only=True), settings(tmp_path, 30, checkpoint_steps=5, log_every=50))
    assert [step for step, _ in list_checkpoints(tmp_path / "checkpoints")] == [5]


def test_a_checkpoint_that_cannot_be_written_ends_the_run(tmp_path, monkeypatch):
    save, calls = torch.save, []

    def full(state: Any, path: Path) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        save(state, path)

    monkeypatch.setattr(torch, "save", full)
    with raises("file-unwritable", kind=NeuroGenError):
        fit(TinyModule(), settings(tmp_path, 30, checkpoint_steps=5))
    assert [step for step, _ in list_checkpoints(tmp_path / "checkpoints")] == [5, 10]


class Hoarding(TinyModule):
    def step_loss(self, step: int) -> Any:
        if step == 2:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: out of memory")
        return super().step_loss(step)


def test_running_out_of_memory_is_said_plainly(tmp_path):
    with raises("memory-exhausted", kind=NeuroGenError) as error:
        fit(Hoarding(), settings(tmp_path, 5))
    assert "smaller batches" in error.value.remedy


class Validation(lightning.Callback):
    @override
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: int, batch_idx: int) -> None:
        if (batch + 1) % 4 == 0:
            pl_module.log("val/error", 100.0 + batch)


def test_a_callback_records_its_validation_in_the_row_of_the_step(tmp_path):
    fit(TinyModule(), settings(tmp_path, 4), callbacks=[Validation()])
    fit(TinyModule(), settings(tmp_path, 9, log_every=3), callbacks=[Validation()])
    recorded = {row["step"]: row.get("val/error") for row in read_metrics(tmp_path / "metrics.csv")}
    assert recorded == {1: None, 2: None, 3: None, 4: 103.0, 6: None, 8: 107.0, 9: None}


class Contented(lightning.Callback):
    @override
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: int, batch_idx: int) -> None:
        trainer.should_stop = batch == 6


def test_a_callback_may_end_the_run_with_a_checkpoint(tmp_path):
    module = TinyModule()
    assert fit(module, settings(tmp_path, 20), callbacks=[Contented()]) == tmp_path
    assert len(module.losses) == 7
    assert list_checkpoints(tmp_path / "checkpoints")[-1][0] == 7


class TwoPlayers(TinyModule):
    """Two optimizers that take turns inside one step."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        with seeded_weights(8):
            self.judge = torch.nn.Linear(1, 1)

    def step_loss(self, step: int) -> Any:
        loss = super().step_loss(step)["loss"]
        verdict = (self.judge(loss.detach().reshape(1, 1)) - 1).square().mean()
        for optimizer, value in zip(self.optimizers(), (loss, verdict), strict=True):
            optimizer.zero_grad()
            self.manual_backward(value)
            optimizer.step()
        return {"loss": loss, "verdict": verdict}

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(self.network.parameters(), 0.01), torch.optim.Adam(self.judge.parameters(), 0.02)]


def test_two_optimizers_take_one_step_together_and_go_on_alike(tmp_path):
    whole, parts = TwoPlayers(), TwoPlayers()
    fit(whole, settings(tmp_path / "whole", 12))
    fit(TwoPlayers(), settings(tmp_path / "parts", 5))
    fit(parts, settings(tmp_path / "parts", 12))
    assert len(whole.losses) == 12
    assert parts.losses == whole.losses[5:]
    assert weights(parts) == weights(whole)
    rows = [read_metrics(tmp_path / name / "metrics.csv") for name in ("whole", "parts")]
    assert rows[0] == rows[1]
    assert (rows[0][0]["lr/0"], rows[0][0]["lr/1"]) == (0.01, 0.02)


def test_it_trains_outside_the_main_thread(tmp_path):
    module = TinyModule()
    thread = threading.Thread(target=fit, args=(module, settings(tmp_path, 3)))
    thread.start()
    thread.join()
    assert list_checkpoints(tmp_path / "checkpoints")[-1][0] == 3


def test_a_failing_step_shows_its_own_error_and_leaves_signals_alone(tmp_path):
    class Broken(TinyModule):
        @override
        def step_loss(self, step: int) -> Any:
            raise ValueError("own mistake")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="own mistake"):
        fit(Broken(), settings(tmp_path, 3))
    assert signal.getsignal(signal.SIGTERM) is before


def test_array_jobs_are_queued_again_by_their_own_name(monkeypatch, caplog):
    asked: list[list[str]] = []
    monkeypatch.setattr(training_stop.subprocess, "run", lambda command, **_: asked.append(command))
    job = {"SLURM_JOB_ID": "8", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}
    training_stop.requeue(job)
    assert asked == [["scontrol", "requeue", "7_3"]]
    monkeypatch.setattr(training_stop.subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError()))
    training_stop.requeue(job)
    assert "submit it again yourself" in caplog.text


def test_settings_need_neither_torch_nor_lightning():
    modules = "NeuroGenLib.training.run, NeuroGenLib.training.settings"
    code = f"import {modules}, sys; sys.exit(bool({{'torch', 'lightning', 'yaml'}} & set(sys.modules)))"
    root = Path(__file__).resolve().parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
