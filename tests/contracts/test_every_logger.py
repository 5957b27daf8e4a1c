"""What every logger owes a run: the library's, and one of a user's own."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import dop
from dop.loggers import lookup
from dop.loggers.jsonl import JsonLines
from dop.loggers.lookup import GuardedLogger
from dop.loggers.mlflow import MLflow
from dop.loggers.progress import Progress
from dop.loggers.tensorboard import TensorBoard
from dop.loggers.wandb import WandB
from dop.storage.records import Record
from logged import opened
from outside import OwnLogger

LOGGERS: dict[str, Callable[[], Any]] = {
    "jsonl": JsonLines,
    "tensorboard": TensorBoard,
    "progress": lambda: Progress(Console(file=io.StringIO())),
    "wandb": WandB,
    "mlflow": MLflow,
    "outside": OwnLogger,
    "guarded": lambda: GuardedLogger(OwnLogger(), "outside:OwnLogger"),
}


@pytest.fixture(autouse=True)
def services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages that take everything and keep nothing."""
    run = SimpleNamespace(log=lambda values, step: None, finish=lambda: None)
    entity = lambda *_: None  # noqa: E731
    client = SimpleNamespace(
        get_experiment_by_name=lambda name: SimpleNamespace(experiment_id="1"),
        search_runs=lambda *_, **__: [],
        create_run=lambda *_, **__: SimpleNamespace(info=SimpleNamespace(run_id="r")),
        log_batch=lambda *_, **__: None,
        set_terminated=lambda run: None,
    )
    made: dict[str, dict[str, Any]] = {
        "wandb": {"init": lambda **_: run, "Settings": dict},
        "mlflow": {},
        "mlflow.tracking": {"MlflowClient": lambda tracking_uri: client},
        "mlflow.entities": {"Param": entity, "Metric": entity},
    }
    for name, content in made.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)


def records(iteration: int, *, kind: Any = "train", value: float = 1.5) -> list[Record]:
    return [
        Record(kind=kind, seed=seed, iteration=iteration, env_steps=10 * iteration, wall_seconds=1.0, metrics={"x": value})
        for seed in (0, 4)
    ]


def test_all_of_the_library_are_here():
    assert LOGGERS.keys() >= {*lookup.LOGGERS, lookup.ALWAYS, "jsonl", "progress"}


@pytest.mark.parametrize("name", LOGGERS)
def test_it_takes_runs_one_after_another(name: str, tmp_path: Path):
    """A new one, a resumed one; records of both kinds, not finite ones, and none; and is closed twice."""
    logger = LOGGERS[name]()
    assert isinstance(logger, dop.Logger)
    for folder, resumed_at in (("a", None), ("b", None), ("a", 10)):
        (tmp_path / folder).mkdir(exist_ok=True)
        opened(logger, tmp_path / folder, resumed_at=resumed_at)
        logger.write(records(1))
        logger.write(records(1, kind="evaluation", value=math.nan))
        logger.write([])
        logger.close()
        logger.close()


@pytest.mark.parametrize("name", LOGGERS)
def test_it_writes_nowhere_but_into_the_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    logger = opened(LOGGERS[name](), tmp_path / "run")
    logger.write(records(1))
    logger.close()
    assert not any((tmp_path / "here").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "run"]
