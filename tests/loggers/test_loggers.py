"""Loggers: what they are told, that nothing leaves the machine unasked, and, where they are installed, what they leave on the disk."""

from __future__ import annotations

import importlib.util
import itertools
import math
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import dop
from dop.loggers import identity, lookup
from dop.loggers.jsonl import JsonLines
from dop.storage.records import Record, keep_until
from dop.storage.run_directory import RunFolder
from logged import opened


def records(step: int) -> list[Record]:
    metrics = {"return_mean": 1.5, "q_max": math.inf}
    return [Record(kind="train", seed=seed, iteration=1, env_steps=step, wall_seconds=1.0, metrics=metrics) for seed in (0, 4)]


class Service:
    """What wandb keeps: by id, the steps and values of a run. One that is there already continues after its last step if it is online."""

    Settings = dict

    def __init__(self) -> None:
        self.starts: list[dict[str, Any]] = []
        self.runs: dict[str, dict[int, dict[str, float]]] = {}
        self.finished: list[str] = []

    def init(self, **how: Any) -> Any:
        name, online = how["id"], how["mode"] == "online"
        self.starts.append(how)
        rows = self.runs[name] = self.runs.get(name, {}) if online else {}
        log = lambda values, step: rows.setdefault(step, {}).update(values)  # noqa: E731
        finish = lambda: self.finished.append(name)  # noqa: E731
        return SimpleNamespace(step=max(rows, default=-1) + 1, log=log, finish=finish)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    kept = Service()
    module: Any = ModuleType("wandb")
    module.Settings, module.init = kept.Settings, kept.init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return kept


@pytest.mark.parametrize("online", [False, True])
def test_wandb_has_a_run_for_each_seed_in_the_group_of_the_run_directory(tmp_path: Path, service: Service, online: bool):
    run = tmp_path / "first"
    run.mkdir()
    report("wandb", run, 100, online=online)
    identity = (run / "logger-id").read_text()
    assert [(how["group"], how["name"], how["id"]) for how in service.starts] == [
        ("first", "first-seed-0", f"{identity}-seed-0"),
        ("first", "first-seed-4", f"{identity}-seed-4"),
    ]
    for how, seed in zip(service.starts, (0, 4), strict=True):
        assert (how["mode"], how["dir"], how["reinit"]) == ("online" if online else "offline", str(run), "create_new")
        made = {
            "seed": seed,
            "algorithm": "vdn",
            "gamma": 0.9,
            "environment": "mill",
            "environment.n_agents": 2,
            "train_config.seeds": (0, 4),
        }
        assert how["config"] | made == how["config"]
    assert list(service.runs.values()) == [{100: {"train/return_mean": 1.5}}] * 2
    assert sorted(service.finished) == sorted(service.runs)
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"


@pytest.mark.parametrize("online", [False, True])
def test_wandb_has_one_unbroken_curve_for_each_seed_after_a_crash(tmp_path: Path, service: Service, online: bool):
    """The run had reported 200 and 300 when it crashed, and continues from its checkpoint at 100, which gives the same numbers again."""
    report("wandb", tmp_path, 100, 200, 300, online=online)
    first = service.runs[service.starts[0]["id"]]
    report("wandb", tmp_path, 200, 300, 400, kept=100, online=online)
    assert [how["id"] for how in service.starts[:2]] == [how["id"] for how in service.starts[2:]]
    assert {how["resume"] for how in service.starts} == {"allow" if online else None}
    assert all(list(rows) == [100, 200, 300, 400] for rows in service.runs.values())
    assert (first is service.runs[service.starts[0]["id"]]) is online  # offline, the newest folder has everything


def test_a_run_keeps_its_identity_where_it_is_moved_and_a_new_one_in_its_place_is_another(tmp_path: Path):
    (tmp_path / "here").mkdir()
    first = identity.run_identity(RunFolder(tmp_path / "here"))
    assert identity.run_identity(RunFolder((tmp_path / "here").rename(tmp_path / "there"))) == first
    (tmp_path / "here").mkdir()
    assert identity.run_identity(RunFolder(tmp_path / "here")) != first


class Store:
    """What MLflow's client keeps: runs with tags, and metrics that are never taken back."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self.uris: list[str | None] = []
        self.runs: list[Any] = []
        self.parameters: dict[str, dict[str, str]] = {}

    def client(self, tracking_uri: str | None) -> Any:
        self.uris.append(tracking_uri)
        return self

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id="7")

    def search_runs(self, experiments: list[str], filter_string: str) -> list[Any]:
        return [run for run in self.runs if filter_string == f"tags.dop_id = '{run.data.tags['dop_id']}'"]

    def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> Any:
        data = SimpleNamespace(name=run_name, tags=tags, metrics={})
        self.runs.append(SimpleNamespace(info=SimpleNamespace(run_id=f"r{next(self._numbers)}"), data=data))
        return self.runs[-1]

    def delete_run(self, run_id: str) -> None:
        self.runs.remove(self._run(run_id))

    def get_metric_history(self, run_id: str, name: str) -> list[Any]:
        return self._run(run_id).data.metrics[name]

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        self.parameters.setdefault(run_id, {}).update(params)
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


def children(store: Store) -> list[Any]:
    """The runs of the seeds: those under the one parent."""
    (parent,) = [run for run in store.runs if "mlflow.parentRunId" not in run.data.tags]
    found = [run for run in store.runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in found} == {parent.info.run_id}
    return found


def steps(run: Any) -> list[int]:
    return [metric.step for metric in run.data.metrics["train/return_mean"]]


def test_mlflow_has_a_child_run_for_each_seed_under_one_of_the_run_directory(tmp_path: Path, store: Store):
    run = tmp_path / "first"
    run.mkdir()
    report("mlflow", run, 100)
    assert [kept.data.name for kept in store.runs] == ["first", "first-seed-0", "first-seed-4"]
    assert len(children(store)) == 2
    for kept, seed in zip(store.runs, (None, "0", "4"), strict=True):
        made = store.parameters[kept.info.run_id]
        assert made | {"algorithm": '"vdn"', "gamma": "0.9", "environment.n_agents": "2"} == made
        assert made.get("seed") == seed


@pytest.mark.parametrize("online", [False, True])
def test_mlflow_writes_into_the_run_unless_asked_and_goes_on_where_it_was(tmp_path: Path, store: Store, online: bool):
    report("mlflow", tmp_path, 100, online=online)
    report("mlflow", tmp_path, 200, kept=100, online=online)
    assert store.uris == ([None] * 2 if online else [(tmp_path / "mlruns").as_uri()] * 2)
    assert [run.info.run_id for run in store.runs] == ["r0", "r1", "r2"]
    for run in children(store):
        assert [(metric.value, metric.step) for metric in run.data.metrics["train/return_mean"]] == [(1.5, 100), (1.5, 200)]
        assert run.data.metrics.keys() == {"train/return_mean"}
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_mlflow_has_one_curve_a_seed_after_a_crash(tmp_path: Path, store: Store):
    """The run had reported 200 and 300 when it crashed, and continues from its checkpoint at 100."""
    report("mlflow", tmp_path, 100, 200, 300)
    report("mlflow", tmp_path, 200, 300, 400, kept=100)
    assert [steps(run) for run in children(store)] == [[100, 200, 300, 400]] * 2


def test_mlflow_gets_what_was_recorded_before_it_was_asked_for(tmp_path: Path, store: Store):
    file = opened(JsonLines(), tmp_path)
    file.write(records(100))
    file.close()
    report("mlflow", tmp_path, 200, kept=100)
    assert [steps(run) for run in children(store)] == [[100, 200]] * 2


def test_names_and_extras_are_checked_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for logger, error, words in (
        (["wandb"], dop.MissingExtraError, r"pip install 'dop-marl\[wandb\]'"),
        (["wanbd"], dop.UnknownNameError, "Did you mean 'wandb'"),
    ):
        with pytest.raises(error, match=words):
            dop.train(dop.VDN(), "two-step", run_dir=tmp_path / "run", loggers=logger)
    with pytest.raises(dop.ConfigError, match="Online logging needs a logger"):
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
@pytest.mark.parametrize(("name", "left"), [("wandb", "wandb/offline-run-*/*.wandb"), ("mlflow", "mlruns/*/*/metrics/train/return_mean")])
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
        ] * 2
    else:
        newest = {path.stem.removeprefix("run-"): path for path in sorted(found, key=lambda path: path.stat().st_mtime_ns)}
        assert len(found) == 6
        assert [stored(path) for path in newest.values()] == [[100, 200, 300, 400]] * 2


def stored(path: Path) -> list[int]:
    """The steps of the rows in a small file of wandb. A header has 7 bytes, each record a checksum (4), a length (2), a kind (1)."""
    proto: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    rest, found = path.read_bytes()[7:], []
    while rest:
        (length,) = struct.unpack("<H", rest[4:6])
        record = proto.Record.FromString(rest[7 : 7 + length])
        found += [record.history.step.num] if record.WhichOneof("record_type") == "history" else []
        rest = rest[7 + length :]
    return found
