"""Logging to Weights & Biases, with a stand-in for its package."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
from ddp_script import TinyModule, settings, weights

from NeuroGenLib.core.errors import Cancelled, NeuroGenError
from NeuroGenLib.core.progress import Progress
from NeuroGenLib.training.metrics_log import read_metrics, wandb_run_id
from NeuroGenLib.training.run import fit
from Testing.raising import raises

if TYPE_CHECKING:
    from pathlib import Path


class Run:
    """What ``wandb.init`` returns: keeps what it is given."""

    def __init__(self, service: Service, **options: Any) -> None:
        self.service, self.options = service, options
        self.rows: list[dict[str, float]] = []
        self.metrics: list[str] = []
        self.exit_codes: list[int] = []

    def define_metric(self, name: str, **_: Any) -> None:
        self.metrics.append(name)

    def log(self, row: dict[str, float]) -> None:
        if self.service.away:
            raise ConnectionError("the service is away")
        self.rows.append(row)

    def finish(self, exit_code: int = 0) -> None:
        self.exit_codes.append(exit_code)
        self.service.run = None


class Service(types.ModuleType):
    """The package ``wandb``: starts runs and remembers them."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
        self.run: Run | None = None
        self.runs: list[Run] = []
        self.away = False
        self.refusal: Exception | None = None

    def init(self, **options: Any) -> Run:
        if self.refusal is not None:
            raise self.refusal
        self.run = Run(self, **options)
        self.runs.append(self.run)
        return self.run


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Service:
    """The stand-in, installed."""
    service = Service()
    library, run = types.ModuleType("wandb.sdk.lib"), types.ModuleType("wandb.wandb_run")
    library.RunDisabled = type("RunDisabled", (), {})
    run.Run = Run
    modules = {"wandb": service, "wandb.sdk": types.ModuleType("wandb.sdk"), "wandb.sdk.lib": library,
               "wandb.wandb_run": run}  # fmt: skip
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", True)
    return service


class StopAfter(Progress):
    """Asks to stop when a step is reached."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def show(self, step: float, total: float, message: str) -> None:  # noqa: ARG002
        if step == self.step:
            self.cancel()


def as_table(run: Run) -> list[dict[str, float]]:
    """Return the rows that arrived, as ``metrics.csv`` names them."""
    return [
        {"step" if name == "trainer/global_step" else name: value for name, value in row.items()} for row in run.rows
    ]


def test_every_row_of_the_table_arrives_with_its_step(tmp_path, wandb):
    fit(TinyModule(), settings(tmp_path / "night", 7, wandb="brains", log_every=3))
    (run,) = wandb.runs
    assert run.options["project"] == "brains"
    assert run.options["name"] == "night"
    assert run.options["dir"] == str(tmp_path / "night")
    assert run.options["resume"] == "allow"
    rows = as_table(run)
    assert [row["step"] for row in rows] == [1, 3, 6, 7]
    assert rows == read_metrics(tmp_path / "night" / "metrics.csv")
    assert "trainer/global_step" in run.metrics
    assert run.exit_codes == [0]
    assert (tmp_path / "night" / "tensorboard").is_dir()


def test_the_numbers_do_not_depend_on_it(tmp_path, wandb):
    logged, plain = TinyModule(), TinyModule()
    fit(logged, settings(tmp_path / "logged", 5, wandb="brains"))
    fit(plain, settings(tmp_path / "plain", 5))
    assert weights(logged) == weights(plain)
    assert len(wandb.runs) == 1
    assert not (tmp_path / "plain" / "wandb.json").exists()


def test_a_run_goes_on_under_its_id(tmp_path, wandb):
    with pytest.raises(Cancelled):
        fit(TinyModule(), settings(tmp_path, 9, wandb="brains"), StopAfter(4))
    fit(TinyModule(), settings(tmp_path, 9, wandb="brains"))
    first, second = wandb.runs
    assert first.options["id"] == second.options["id"]
    steps = [row["step"] for row in as_table(first) + as_table(second)]
    assert steps == list(range(1, 10))
    other = tmp_path / "other"
    fit(TinyModule(), settings(other, 2, wandb="brains"))
    assert wandb.runs[2].options["id"] != first.options["id"]


def test_changing_the_project_does_not_make_it_another_run(tmp_path, wandb):
    for steps, project in ((2, None), (3, "brains"), (4, "heads"), (5, "brains"), (6, None)):
        fit(TinyModule(), settings(tmp_path, steps, wandb=project))
    ids = {run.options["project"]: run.options["id"] for run in wandb.runs}
    assert [run.options["id"] for run in wandb.runs] == [ids["brains"], ids["heads"], ids["brains"]]
    assert ids["brains"] != ids["heads"]
    assert json.loads((tmp_path / "wandb.json").read_text(encoding="utf-8")) == ids
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.csv")] == [1, 2, 3, 4, 5, 6]


def test_only_the_first_process_logs(tmp_path, wandb, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.utilities.rank_zero_only.rank", 1)
    from NeuroGenLib.training.loop import RunKeeper
    from NeuroGenLib.training.stop import StopSignals

    keeper = RunKeeper(settings(tmp_path, 2, wandb="brains"), None, 0, Progress(), StopSignals())
    assert len(keeper.loggers) == 1
    assert wandb.runs == []
    assert not (tmp_path / "wandb.json").exists()


def test_a_service_that_goes_away_does_not_stop_the_training(tmp_path, wandb, caplog):
    wandb.away = True
    fit(TinyModule(), settings(tmp_path, 4, wandb="brains"))
    assert len(read_metrics(tmp_path / "metrics.csv")) == 4
    assert caplog.text.count("Weights & Biases does not take the metrics any more: the service is away") == 1


def test_a_training_that_fails_ends_its_run_as_failed(tmp_path, wandb):
    class Failing(TinyModule):
        def step_loss(self, step: int) -> Any:
            if step == 2:
                raise ValueError("no")
            return super().step_loss(step)

    with pytest.raises(ValueError, match="no"):
        fit(Failing(), settings(tmp_path, 4, wandb="brains"))
    assert wandb.runs[0].exit_codes[0] == 1
    assert wandb.run is None, "the next training gets a run of its own"


def test_a_refused_login_is_said_before_the_first_step(tmp_path, wandb):
    wandb.refusal = RuntimeError("api_key not configured")
    with raises("network-failed", "brains", "api_key", "WANDB_MODE=offline", kind=NeuroGenError):
        fit(TinyModule(), settings(tmp_path, 4, wandb="brains"))
    assert not (tmp_path / "metrics.csv").exists()
    assert not (tmp_path / "run.json").exists()


def test_a_missing_package_is_said_before_a_folder_is_made(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "wandb" else find(name))
    with raises("package-missing", "wandb", kind=NeuroGenError):
        fit(TinyModule(), settings(tmp_path / "run", 4, wandb="brains"))
    assert not (tmp_path / "run").exists()
    fit(TinyModule(), settings(tmp_path / "run", 1))


def test_a_project_without_a_name_is_refused(tmp_path):
    with raises("value-invalid"):
        settings(tmp_path, 4, wandb=" ")


@pytest.mark.parametrize(
    ("content", "code"), [("[]", "file-damaged"), ('{"brains": 3}', "file-damaged"), ("{", "file-type")]
)
def test_a_damaged_record_of_the_id_is_refused(tmp_path: Path, content: str, code: Any):
    (tmp_path / "wandb.json").write_text(content, encoding="utf-8")
    with raises(code, "wandb.json"):
        wandb_run_id(tmp_path, "brains")
