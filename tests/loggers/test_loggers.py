"""Loggers: what they are told, that nothing leaves the machine unasked, and, where they are installed, what they leave on the disk."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import dop
from dop.loggers import lookup
from dop.storage.records import JsonLines, Record, keep_until
from dop.storage.run_directory import RunFolder
from logged import opened


def records(step: int) -> list[Record]:
    metrics = {"return_mean": 1.5, "q_max": math.inf}
    return [Record(kind="train", seed=seed, iteration=1, env_steps=step, wall_seconds=1.0, metrics=metrics) for seed in (0, 4)]


@pytest.mark.parametrize("online", [False, True])
def test_wandb_is_offline_unless_asked_and_gets_what_tensorboard_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, online: bool):
    told: list[tuple[str, Any]] = []
    run = SimpleNamespace(
        define_metric=lambda name, step_metric: told.append((name, step_metric)),
        log=lambda values: told.append(("log", values)),
        finish=lambda: told.append(("finish", None)),
    )
    module: Any = ModuleType("wandb")
    module.Settings = dict
    module.init = lambda **how: told.append(("init", how)) or run
    monkeypatch.setitem(sys.modules, "wandb", module)
    sink = opened(lookup.WandB(online), tmp_path)
    sink.write(records(100))
    sink.close()
    how = told[0][1]
    assert (how["mode"], how["dir"]) == ("online" if online else "offline", str(tmp_path))
    assert how["config"] | {"gamma": 0.9, "environment.n_agents": 2, "protocol.seeds": (0, 4)} == how["config"]
    assert told[1:3] == [("seed_0/*", "seed_0/env_steps"), ("seed_4/*", "seed_4/env_steps")]
    assert told[4] == ("log", {"seed_4/return_mean": 1.5, "seed_4/env_steps": 100})
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"


def test_a_run_keeps_its_identity_where_it_is_moved_and_a_new_one_in_its_place_is_another(tmp_path: Path):
    (tmp_path / "here").mkdir()
    first = lookup._identity(RunFolder(tmp_path / "here"))
    assert lookup._identity(RunFolder((tmp_path / "here").rename(tmp_path / "there"))) == first
    (tmp_path / "here").mkdir()
    assert lookup._identity(RunFolder(tmp_path / "here")) != first


class Store:
    """What MLflow's client keeps: runs with tags, and metrics that are never taken back."""

    def __init__(self) -> None:
        self.uris: list[str | None] = []
        self.runs: list[Any] = []
        self.parameters: list[tuple[str, str]] = []

    def client(self, tracking_uri: str | None) -> Any:
        self.uris.append(tracking_uri)
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="7")

    def search_runs(self, experiments: list[str], filter_string: str) -> list[Any]:
        return [run for run in self.runs if filter_string == f"tags.dop_id = '{run.data.tags['dop_id']}'"]

    def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> Any:
        data = SimpleNamespace(tags=tags, metrics={})
        self.runs.append(SimpleNamespace(info=SimpleNamespace(run_id=f"r{len(self.runs)}"), data=data))
        return self.runs[-1]

    def delete_run(self, run_id: str) -> None:
        self.runs.remove(self._run(run_id))

    def get_metric_history(self, run_id: str, name: str) -> list[Any]:
        return self._run(run_id).data.metrics[name]

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        self.parameters += params
        for metric in metrics:
            self._run(run_id).data.metrics.setdefault(metric.name, []).append(metric)

    def set_terminated(self, run_id: str) -> None:
        self._run(run_id)

    def _run(self, run_id: str) -> Any:
        return next(run for run in self.runs if run.info.run_id == run_id)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    kept = Store()
    tracking: Any = ModuleType("mlflow.tracking")
    entities: Any = ModuleType("mlflow.entities")
    tracking.MlflowClient = kept.client
    entities.Param = lambda *x: x
    entities.Metric = lambda name, value, _, step: SimpleNamespace(name=name, value=value, step=step)
    for name, module in {"mlflow": ModuleType("mlflow"), "mlflow.tracking": tracking, "mlflow.entities": entities}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return kept


def report(name: Any, folder: Path, *steps: int, kept: int = 0, online: bool = False) -> None:
    """Records at these steps, to a logger and to `metrics.jsonl`; that ends at `kept` when the logger is opened, as on a resume."""
    run = RunFolder(folder)
    if run.metrics.exists():
        keep_until(run.metrics, kept)
    file = opened(JsonLines(), folder)
    sink = opened(lookup.LOGGERS[name](online), folder)
    for step in steps:
        made = [replace(record, iteration=step) for record in records(step)]
        file.write(made)
        sink.write(made)
    sink.close()
    file.close()


@pytest.mark.parametrize("online", [False, True])
def test_mlflow_writes_into_the_run_unless_asked_and_goes_on_where_it_was(tmp_path: Path, store: Store, online: bool):
    report("mlflow", tmp_path, 100, online=online)
    report("mlflow", tmp_path, 200, kept=100, online=online)
    assert store.uris == ([None] * 2 if online else [(tmp_path / "mlruns").as_uri()] * 2)
    (run,) = store.runs
    assert run.info.run_id == "r0"
    assert ("gamma", "0.9") in store.parameters
    assert [(metric.value, metric.step) for metric in run.data.metrics["seed_4/return_mean"]] == [(1.5, 100), (1.5, 200)]
    assert not any("q_max" in name for name in run.data.metrics)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_mlflow_has_one_curve_a_seed_after_a_crash(tmp_path: Path, store: Store):
    """The run had reported 200 and 300 when it crashed, and continues from its checkpoint at 100."""
    report("mlflow", tmp_path, 100, 200, 300)
    report("mlflow", tmp_path, 200, 300, 400, kept=100)
    (run,) = store.runs
    for seed in (0, 4):
        assert [metric.step for metric in run.data.metrics[f"seed_{seed}/return_mean"]] == [100, 200, 300, 400]


def test_mlflow_gets_what_was_recorded_before_it_was_asked_for(tmp_path: Path, store: Store):
    file = opened(JsonLines(), tmp_path)
    file.write(records(100))
    file.close()
    report("mlflow", tmp_path, 200, kept=100)
    (run,) = store.runs
    assert [metric.step for metric in run.data.metrics["seed_0/return_mean"]] == [100, 200]


def test_wandbs_newest_offline_run_has_one_whole_curve_a_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: dict[str, list[int]] = {}

    def init(**how: Any) -> Any:
        told[how["id"]] = []
        (tmp_path / "wandb" / f"offline-run-{len(told)}").mkdir(parents=True)
        groups.add(how["group"])
        log = lambda values: told[how["id"]].extend(value for name, value in values.items() if name == "seed_4/env_steps")  # noqa: E731
        return SimpleNamespace(define_metric=lambda *_, **__: None, log=log, finish=lambda: None)

    groups: set[str] = set()
    module: Any = ModuleType("wandb")
    module.Settings, module.init = dict, init
    monkeypatch.setitem(sys.modules, "wandb", module)
    report("wandb", tmp_path, 100, 200, 300)
    report("wandb", tmp_path, 200, 300, 400, kept=100)
    assert list(told.values()) == [[100, 200, 300], [100, 200, 300, 400]]
    assert groups == {lookup._identity(RunFolder(tmp_path))}


def test_names_and_extras_are_checked_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for logger, error, words in (
        (["wandb"], dop.MissingExtraError, r"pip install 'dop-marl\[wandb\]'"),
        (["wanbd"], dop.UnknownNameError, "Did you mean 'wandb'"),
    ):
        with pytest.raises(error, match=words):
            dop.train(dop.VDN(), "two-step", run_dir=tmp_path / "run", loggers=logger)
    with pytest.raises(dop.ConfigError, match="online without a logger"):
        lookup.chosen([], online=True)
    assert not (tmp_path / "run").exists()


REAL = """
import socket, sys
from pathlib import Path
def refuse(self, address):
    if self.family != socket.AF_UNIX:
        raise SystemExit(f"a network call to {address}")
    return connect(self, address)
connect, socket.socket.connect = socket.socket.connect, refuse
sys.path.insert(0, sys.argv[3])
from test_loggers import report
report(sys.argv[1], Path(sys.argv[2]), 100)
report(sys.argv[1], Path(sys.argv[2]), 200, 300, kept=100)
report(sys.argv[1], Path(sys.argv[2]), 300, 400, kept=200)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "left"), [("wandb", "wandb/offline-run-*/*.wandb"), ("mlflow", "mlruns/*/*/metrics/seed_4/return_mean")])
def test_the_real_ones_work_without_a_network(name: str, left: str, tmp_path: Path):
    """Stopped and resumed, then crashed and resumed."""
    pytest.importorskip(name)
    done = subprocess.run([sys.executable, "-c", REAL, name, tmp_path, Path(__file__).parent], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = list(tmp_path.glob(left))
    if name == "mlflow":
        alive = [path for path in found if "lifecycle_stage: active" in (path.parents[2] / "meta.yaml").read_text()]
        assert [[line.split()[1:] for line in path.read_text().splitlines()] for path in alive] == [
            [["1.5", "100"], ["1.5", "200"], ["1.5", "300"], ["1.5", "400"]]
        ]
    else:
        assert len(found) == 3
