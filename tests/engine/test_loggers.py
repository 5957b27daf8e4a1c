"""Loggers: what they are told, that nothing leaves the machine unasked, and, where they are installed, what they leave on the disk."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import dop
from dop.engine import loggers
from dop.engine.records import Record
from dop.engine.runs import Protocol, RunConfig, RunFolder

CONFIG = RunConfig(
    algorithm="vdn",
    hyper_parameters={"gamma": 0.9},
    environment="mill",
    environment_options={"n_agents": 2},
    environment_spec={},
    protocol=Protocol(seeds=(0, 4)),
)


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
    (sink,) = loggers.open_all(["wandb"], RunFolder(tmp_path), CONFIG, online=online)
    sink.write(*records(100))
    sink.close()
    how = told[0][1]
    assert (how["mode"], how["dir"]) == ("online" if online else "offline", str(tmp_path))
    assert how["config"] | {"gamma": 0.9, "environment.n_agents": 2, "protocol.seeds": (0, 4)} == how["config"]
    assert told[1:3] == [("seed_0/*", "seed_0/env_steps"), ("seed_4/*", "seed_4/env_steps")]
    assert told[4] == ("log", {"seed_4/return_mean": 1.5, "seed_4/env_steps": 100})
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"


def test_a_run_keeps_its_identity_where_it_is_moved_and_a_new_one_in_its_place_is_another(tmp_path: Path):
    (tmp_path / "here").mkdir()
    first = loggers._identity(RunFolder(tmp_path / "here"))
    assert loggers._identity(RunFolder((tmp_path / "here").rename(tmp_path / "there"))) == first
    (tmp_path / "here").mkdir()
    assert loggers._identity(RunFolder(tmp_path / "here")) != first


@pytest.mark.parametrize("online", [False, True])
def test_mlflow_writes_into_the_run_unless_asked_and_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, online: bool):
    uris, batches, runs = [], [], []

    class Client:
        def __init__(self, tracking_uri: str | None) -> None:
            uris.append(tracking_uri)

        def get_experiment_by_name(self, name: str) -> Any:
            return SimpleNamespace(experiment_id="7")

        def search_runs(self, experiments: list[str], filter_string: str) -> list[Any]:
            return [run for run in runs if filter_string == f"tags.dop_id = '{run.data.tags['dop_id']}'"]

        def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> Any:
            runs.append(SimpleNamespace(info=SimpleNamespace(run_id="r"), data=SimpleNamespace(tags=tags)))
            return runs[-1]

        def log_batch(self, run: str, metrics: Any = (), params: Any = ()) -> None:
            batches.extend([*metrics, *params])

        def set_terminated(self, run: str) -> None:
            batches.append("terminated")

    tracking: Any = ModuleType("mlflow.tracking")
    entities: Any = ModuleType("mlflow.entities")
    tracking.MlflowClient = Client
    entities.Param, entities.Metric = (lambda *x: ("param", *x)), (lambda name, value, _, step: (name, value, step))
    for name, module in {"mlflow": ModuleType("mlflow"), "mlflow.tracking": tracking, "mlflow.entities": entities}.items():
        monkeypatch.setitem(sys.modules, name, module)
    for _ in range(2):
        (sink,) = loggers.open_all(["mlflow"], RunFolder(tmp_path), CONFIG, online=online)
        sink.write(*records(100))
        sink.close()
    assert uris == ([None] * 2 if online else [(tmp_path / "mlruns").as_uri()] * 2)
    assert len(runs) == 1
    assert ("param", "gamma", "0.9") in batches
    assert [batch for batch in batches if batch[0] == "seed_4/return_mean"] == [("seed_4/return_mean", 1.5, 100)] * 2
    assert not any("q_max" in str(batch) for batch in batches)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_names_and_extras_are_checked_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for logger, error, words in (
        (["wandb"], dop.MissingExtraError, r"pip install 'dop-marl\[wandb\]'"),
        (["wanbd"], dop.UnknownNameError, "Did you mean 'wandb'"),
    ):
        with pytest.raises(error, match=words):
            dop.train(dop.VDN(), "two-step", run_dir=tmp_path / "run", logger=logger)  # pyright: ignore[reportArgumentType]
    with pytest.raises(dop.ConfigError, match="online without a logger"):
        loggers.check([], online=True)
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
from test_loggers import CONFIG, records
from dop.engine import loggers
from dop.engine.runs import RunFolder
for step in (100, 200):
    (sink,) = loggers.open_all([sys.argv[1]], RunFolder(Path(sys.argv[2])), CONFIG, online=False)
    sink.write(*records(step))
    sink.close()
    sink.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "left"), [("wandb", "wandb/offline-run-*/*.wandb"), ("mlflow", "mlruns/*/*/metrics/seed_4/return_mean")])
def test_the_real_ones_work_without_a_network(name: str, left: str, tmp_path: Path):
    pytest.importorskip(name)
    done = subprocess.run([sys.executable, "-c", REAL, name, tmp_path, Path(__file__).parent], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = list(tmp_path.glob(left))
    assert found
    if name == "mlflow":
        assert [line.split()[1:] for line in found[0].read_text().splitlines()] == [["1.5", "100"], ["1.5", "200"]]


def test_every_logger_has_the_methods_of_a_sink():
    for logger in loggers.LOGGERS.values():
        assert callable(getattr(logger, "write", None))
        assert callable(getattr(logger, "close", None))
