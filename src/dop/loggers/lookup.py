"""Loggers: how they are found, and those that others show, Weights & Biases and MLflow. These are offline unless asked: what they write
stays in the run directory, and no call leaves this machine. Records themselves are in `metrics.jsonl` in any case.

    wandb     RUN/wandb/     later `wandb sync` the newest RUN/wandb/offline-run-* of each seed
    mlflow    RUN/mlruns/    look with `mlflow ui --backend-store-uri RUN/mlruns`

Each seed is a run of its own there, in a group, with the same names of metrics: their own tools then average over seeds. RUN/logger-id and
the seed name the run there. Online, wandb logs in as it always does (WANDB_API_KEY, WANDB_BASE_URL ...), and mlflow goes where
MLFLOW_TRACKING_URI says.

A run that crashed continues from its checkpoint and reports what came after a second time. Neither package can take numbers back, and one
seed would have two curves. Therefore, when a run is resumed, `metrics.jsonl` is what counts, which ends at the checkpoint:

    mlflow             continues in the same run if that has the same records; else the run is deleted, and a new one gets all records
    wandb, offline     gets all records in a folder of its own, of the same run: the newest has everything, the older ones can go
    wandb, online      continues in the same run after the last step that it has; it gets again neither this one nor earlier ones

Loggers of a user's own are named `my_module:MyLogger`, or by an entry point in the group `dop.loggers`, or given as objects (`Logger`). One
that fails while a run goes cannot end it.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dop import plugins
from dop.errors import ConfigError, MissingExtraError, RunError, UnknownNameError, check_flags, shown
from dop.storage import files
from dop.storage.records import LoggedRun, Logger, Record, settings, tagged
from dop.storage.run_directory import RunFolder

GROUP = "dop.loggers"
ALWAYS = "tensorboard"
"""A logger that every run has, whether it is named or not, like `metrics.jsonl`."""
PROJECT = "dop"
"""What the runs are filed under: wandb's project, mlflow's experiment."""


def chosen(given: Any, *, online: bool) -> list[Logger]:
    """The loggers that were named, or given as objects, made but not opened.

    Raises:
        UnknownNameError: there is no such logger.
        MissingExtraError: it is not installed.
        ConfigError: it is no logger or cannot be made; or online without one that can be.
    """
    check_flags(logger_online=online)
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ConfigError(f"loggers must be a list of names or objects, for example ['wandb'], or empty; got {shown(given)}.")
    if online and not any(isinstance(logger, str) and logger in LOGGERS for logger in given):
        raise ConfigError("Nothing is logged online without a logger that can be: add --logger wandb or --logger mlflow.")
    named = list(dict.fromkeys(logger for logger in given if isinstance(logger, str) and logger != ALWAYS))
    objects = [_checked(logger, type(logger).__name__) for logger in given if not isinstance(logger, str)]
    return [Guarded(logger, name) for name, logger in [*((name, _made(name, online)) for name in named), *objects]]


def _made(name: str, online: bool) -> Logger:
    """The logger of this name."""
    if name in LOGGERS:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(name, name, f"--logger {name}")
        return LOGGERS[name](online)
    points = plugins.entry_points(GROUP)
    place = name if plugins.is_place(name) else points.get(name)
    if place is None:
        raise UnknownNameError("logger", name, (*LOGGERS, ALWAYS, *points))
    make = plugins.load("logger", place)
    if not callable(make):
        raise ConfigError(f"The logger {name} is {shown(make)}; it must be a class, or a function that makes a logger.")
    with plugins.named(f"The logger {name} cannot be made"):
        made = make()
    return _checked(made, name)[1]


def _checked(logger: Any, name: str) -> tuple[str, Logger]:
    """A logger and its name.

    Raises:
        ConfigError: it is none.
    """
    if isinstance(logger, type):
        raise ConfigError(f"loggers has the class {logger.__name__}; it must have an object of it: {logger.__name__}().")
    lacking = [method for method in ("open", "write", "close") if not callable(getattr(logger, method, None))]
    if lacking:
        raise ConfigError(f"{name} is not a logger: it has no {', '.join(lacking)}. See dop.Logger, and docs/own-logger.md.")
    return name, logger


class Guarded:
    """A logger that cannot end a run that goes: what it raises then is a warning, once, and it gets no more records."""

    def __init__(self, logger: Logger, name: str) -> None:
        self._logger, self._name, self._failed = logger, name, False

    def open(self, run: LoggedRun) -> None:
        self._failed = False
        with plugins.named(f"The logger {self._name} cannot be opened"):
            self._logger.open(run)

    def write(self, records: Sequence[Record]) -> None:
        if not self._failed:
            self._try(lambda: self._logger.write(records))

    def close(self) -> None:
        self._try(self._logger.close)

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except (Exception, SystemExit) as error:  # it is somebody else's code, or a service that is away
            if not self._failed:
                text = "The logger %s failed and gets no more of this run's records; metrics.jsonl has them all. %s"
                logging.getLogger("dop").warning(text, self._name, plugins.explain(error))
            self._failed = True


def _identity(folder: RunFolder) -> str:
    """Which run this is, wherever its directory is: a path would be that of another run on another machine, or once this one is deleted."""
    path = folder.path / "logger-id"
    if not os.path.lexists(path):
        files.write_text(path, uuid.uuid4().hex)
    identity = files.read_text(path).strip()
    if not re.fullmatch("[0-9a-f]{32}", identity):
        raise RunError(f"{path} is damaged: it must hold 32 hexadecimal digits. Delete it, and the run gets a new identity.")
    return identity


class WandB:
    """Weights & Biases: one run per seed, named `first-seed-0` after the run directory, in the group `first`, over environment steps."""

    def __init__(self, online: bool = False) -> None:
        self._online = online

    def open(self, run: LoggedRun) -> None:
        # Not the folders of older starts, which are not written again: wandb puts a link into each, to a log in its cache.
        files.check_inside(run.path / "wandb", below=False)
        # Reports of its own errors would be sent even by an offline run.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._wandb: Any = importlib.import_module("wandb")
        self._runs: dict[int, Any] = {}
        for seed in run.config.train_config.seeds:
            self._runs[seed] = self._started(run, seed)
        # What an online run has of an earlier start. It cannot be taken back, and resuming gives the same numbers again.
        self._reported = {seed: kept.step if self._online else 0 for seed, kept in self._runs.items()}
        self.write(run.history)

    def _started(self, run: LoggedRun, seed: int) -> Any:
        group = _group(run)
        return self._wandb.init(
            project=PROJECT,
            group=group,
            name=f"{group}-seed-{seed}",
            id=f"{_identity(run.folder)}-seed-{seed}",
            resume="allow" if self._online else None,
            reinit="create_new",  # several at once
            dir=str(run.path.resolve()),
            mode="online" if self._online else "offline",
            config=settings(run.config) | {"seed": seed},
            settings=self._wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True),
        )

    def write(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.env_steps >= self._reported[record.seed]:
                self._runs[record.seed].log(tagged(record), step=record.env_steps)

    def close(self) -> None:
        for run in self._runs.values():
            run.finish()


class MLflow:
    """MLflow: a parent run named after the run directory, and one child run per seed, over environment steps."""

    def __init__(self, online: bool = False) -> None:
        self._online = online

    def open(self, run: LoggedRun) -> None:
        files.check_inside(run.path / "mlruns")
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # it would count its users
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        tracking: Any = importlib.import_module("mlflow.tracking")
        self._entities: Any = importlib.import_module("mlflow.entities")
        uri = None if self._online else (run.path.resolve() / "mlruns").as_uri()
        self._client = tracking.MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(PROJECT)
        self._experiment = self._client.create_experiment(PROJECT) if found is None else found.experiment_id
        identity, described, history = _identity(run.folder), settings(run.config), run.history
        parent = self._found(identity)
        self._parent = parent[0].info.run_id if parent else self._new_run(run, _group(run), {"dop_id": identity}, described)
        self._children: dict[int, str] = {}
        for seed in run.config.train_config.seeds:
            own, known = f"{identity}-seed-{seed}", [record for record in history if record.seed == seed]
            child = self._as_left(own, known)
            tags = {"dop_id": own, "mlflow.parentRunId": self._parent}
            self._children[seed] = child or self._new_run(run, f"{_group(run)}-seed-{seed}", tags, described | {"seed": seed})
            self.write([] if child else known)

    def _as_left(self, identity: str, history: Sequence[Record]) -> str | None:
        """The run of a seed, if it is there and has the records that count; one that has others is deleted."""
        same = self._found(identity)
        if same and self._steps(same[0]) == _steps_of(history):
            return same[0].info.run_id
        for other in same:
            self._client.delete_run(other.info.run_id)
        return None

    def _found(self, identity: str) -> list[Any]:
        return self._client.search_runs([self._experiment], filter_string=f"tags.dop_id = '{identity}'")

    def _steps(self, run: Any) -> dict[str, list[int]]:
        """By metric: the environment steps at which it has been reported."""
        found = {name: self._client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        return {name: sorted(metric.step for metric in metrics) for name, metrics in found.items()}

    def _new_run(self, run: LoggedRun, name: str, tags: dict[str, str], described: Mapping[str, Any]) -> str:
        made = self._client.create_run(self._experiment, run_name=name, tags=tags | {"dop.run_dir": str(run.path.resolve())})
        parameters = [self._entities.Param(key, json.dumps(value)) for key, value in described.items()]
        self._client.log_batch(made.info.run_id, params=parameters)
        return made.info.run_id

    def write(self, records: Sequence[Record]) -> None:
        now = int(1000 * time.time())
        for record in records:
            metrics = [self._entities.Metric(name, value, now, record.env_steps) for name, value in tagged(record).items()]
            self._client.log_batch(self._children[record.seed], metrics=metrics)

    def close(self) -> None:
        for run in (*self._children.values(), self._parent):
            self._client.set_terminated(run)


def _group(run: LoggedRun) -> str:
    """What the runs of all seeds are found under: the name of the run directory."""
    return run.path.resolve().name


def _steps_of(history: Sequence[Record]) -> dict[str, list[int]]:
    """What `MLflow` would have of these records."""
    found: dict[str, list[int]] = {}
    for record in history:
        for name in tagged(record):
            found.setdefault(name, []).append(record.env_steps)
    return {name: sorted(steps) for name, steps in found.items()}


LOGGERS: Mapping[str, Callable[[bool], Logger]] = {"wandb": WandB, "mlflow": MLflow}
"""By the name of `--logger`, which is also that of the package and of the extra."""
