"""Loggers: how they are found, and those that others show, Weights & Biases and MLflow. These are offline unless asked: what they write
stays in the run directory, and no call leaves this machine. Records themselves are in `metrics.jsonl` in any case.

    wandb     RUN/wandb/     later `wandb sync` the newest RUN/wandb/offline-run-*
    mlflow    RUN/mlruns/    look with `mlflow ui --backend-store-uri RUN/mlruns`

Online, wandb logs in as it always does (WANDB_API_KEY, WANDB_BASE_URL ...), and mlflow goes where MLFLOW_TRACKING_URI says. RUN/logger-id
names the run there.

A run that crashed continues from its checkpoint and reports what came after a second time. Neither package can take numbers back, and one
seed would have two curves. Therefore, when a run is resumed, `metrics.jsonl` is what counts, which ends at the checkpoint:

    mlflow             continues in the same run if that has the same records; else the run is deleted, and a new one gets all records
    wandb, offline     gets all records in a run of its own, of the same group: the newest has everything, the older ones can go
    wandb, online      continues in the same run; what it had reported after its checkpoint stays there

Loggers of a user's own are named `my_module:MyLogger`, or by an entry point in the group `dop.loggers`, or given as objects (`Logger`). One
that fails while a run goes cannot end it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import math
import os
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dop import plugins
from dop.errors import ConfigError, MissingExtraError, RunError, UnknownNameError, check_flags, shown
from dop.storage import files
from dop.storage.records import LoggedRun, Logger, Record
from dop.storage.run_directory import RunConfig, RunFolder

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
    place = name if plugins.is_import_path(name) else points.get(name)
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


def _values(record: Record) -> dict[str, float]:
    """What can be shown, by the names that TensorBoard's tags have too."""
    return {f"seed_{record.seed}/{name}": value for name, value in record.metrics.items() if math.isfinite(value)}


def _flat(config: RunConfig) -> dict[str, Any]:
    """What made the run, one level deep."""
    train_config = {f"protocol.{name}": value for name, value in dataclasses.asdict(config.train_config).items()}
    options = {f"environment.{name}": value for name, value in config.environment_options.items()}
    return {"algorithm": config.algorithm, "environment": config.environment, **options, **config.hyper_parameters, **train_config}


def _identity(folder: RunFolder) -> str:
    """Which run this is, wherever its directory is: a path would be that of another run on another machine, or once this one is deleted."""
    path = folder.path / "logger-id"
    if not os.path.lexists(path):
        files.write_text(path, uuid.uuid4().hex)
    identity = files.read_text(path).strip()
    if not re.fullmatch("[0-9a-f]{32}", identity):
        raise RunError(f"{path} is damaged: it must hold 32 hexadecimal digits. Delete it, and the run gets a new identity.")
    return identity


def _name(folder: RunFolder, config: RunConfig) -> str:
    return f"{config.environment} {config.algorithm} {folder.path.name}"


class WandB:
    """Weights & Biases: charts `seed_0/return_mean` over `seed_0/env_steps`."""

    def __init__(self, online: bool = False) -> None:
        self._online = online

    def open(self, run: LoggedRun) -> None:
        folder, config, online = run.folder, run.config, self._online
        files.check_inside(folder.path / "wandb")
        # Reports of its own errors would be sent even by an offline run.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb: Any = importlib.import_module("wandb")
        before = 0 if online else len(list((folder.path / "wandb").glob("offline-run-*")))
        self._run = wandb.init(
            project=PROJECT,
            name=_name(folder, config) + (f", start {before + 1}" if before else ""),
            id=_identity(folder) + (f"-{before + 1}" if before else ""),
            group=_identity(folder),
            resume="allow" if online else None,
            dir=str(folder.path.resolve()),
            mode="online" if online else "offline",
            config=_flat(config),
            settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True),
        )
        for seed in config.train_config.seeds:
            self._run.define_metric(f"seed_{seed}/*", step_metric=f"seed_{seed}/env_steps")
        if not online:
            self.write(run.history)

    def write(self, records: Sequence[Record]) -> None:
        for record in records:
            self._run.log(_values(record) | {f"seed_{record.seed}/env_steps": record.env_steps})

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """MLflow: metrics `seed_0/return_mean` at steps that are environment steps."""

    def __init__(self, online: bool = False) -> None:
        self._online = online

    def open(self, run: LoggedRun) -> None:
        folder, config, online = run.folder, run.config, self._online
        files.check_inside(folder.path / "mlruns")
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # it would count its users
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        tracking: Any = importlib.import_module("mlflow.tracking")
        self._entities: Any = importlib.import_module("mlflow.entities")
        uri = None if online else (folder.path.resolve() / "mlruns").as_uri()
        self._client = tracking.MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(PROJECT)
        experiment = self._client.create_experiment(PROJECT) if found is None else found.experiment_id
        same = self._client.search_runs([experiment], filter_string=f"tags.dop_id = '{_identity(folder)}'")
        history = run.history
        if same and self._steps(same[0]) == _steps_of(history):
            self._run = same[0].info.run_id
            return
        for other in same:
            self._client.delete_run(other.info.run_id)
        self._run = self._new_run(experiment, folder, config)
        self.write(history)

    def _steps(self, run: Any) -> dict[str, list[int]]:
        """By metric: the environment steps at which it has been reported."""
        found = {name: self._client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        return {name: sorted(metric.step for metric in metrics) for name, metrics in found.items()}

    def _new_run(self, experiment: str, folder: RunFolder, config: RunConfig) -> str:
        tags = {"dop_id": _identity(folder), "dop.run_dir": str(folder.path.resolve())}
        run = self._client.create_run(experiment, run_name=_name(folder, config), tags=tags)
        parameters = [self._entities.Param(name, json.dumps(value)) for name, value in _flat(config).items()]
        self._client.log_batch(run.info.run_id, params=parameters)
        return run.info.run_id

    def write(self, records: Sequence[Record]) -> None:
        now = int(1000 * time.time())
        for record in records:
            metrics = [self._entities.Metric(name, value, now, record.env_steps) for name, value in _values(record).items()]
            self._client.log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        self._client.set_terminated(self._run)


def _steps_of(history: Sequence[Record]) -> dict[str, list[int]]:
    """What `MLflow` would have of these records."""
    found: dict[str, list[int]] = {}
    for record in history:
        for name in _values(record):
            found.setdefault(name, []).append(record.env_steps)
    return {name: sorted(steps) for name, steps in found.items()}


LOGGERS: Mapping[str, Callable[[bool], Logger]] = {"wandb": WandB, "mlflow": MLflow}
"""By the name of `--logger`, which is also that of the package and of the extra."""
