"""Look-up of loggers: by name, as `my_module:MyLogger`, by an entry point in the group `dop.loggers`, or as objects.

A logger that fails during training does not stop the run; `metrics.jsonl` has all records.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dop import plugins
from dop.errors import ConfigError, MissingExtraError, check_flags, shown
from dop.loggers.mlflow import MLflow
from dop.loggers.protocol import LoggedRun, Logger
from dop.loggers.wandb import WandB
from dop.storage.records import Record

GROUP = "dop.loggers"
ALWAYS = "tensorboard"
"""A logger of every run, like `metrics.jsonl`."""


def chosen(given: Any, *, online: bool) -> list[Logger]:
    """The loggers given by name or as objects, constructed but not opened.

    Raises:
        UnknownNameError: no such logger.
        MissingExtraError: its package is not installed.
        ConfigError: it is not a logger or cannot be constructed; or online without a logger that supports it.
    """
    check_flags(logger_online=online)
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ConfigError(f"loggers must be a list of names or objects, for example ['wandb'], or empty; got {shown(given)}.")
    if online and not any(isinstance(logger, str) and logger in LOGGERS for logger in given):
        raise ConfigError("Online logging needs a logger that supports it: add --logger wandb or --logger mlflow.")
    named = list(dict.fromkeys(logger for logger in given if isinstance(logger, str) and logger != ALWAYS))
    objects = [_checked(logger, type(logger).__name__) for logger in given if not isinstance(logger, str)]
    return [GuardedLogger(logger, name) for name, logger in [*((name, _made(name, online)) for name in named), *objects]]


def _made(name: str, online: bool) -> Logger:
    """The logger of this name."""
    if name in LOGGERS:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(name, name, f"--logger {name}")
        return LOGGERS[name](online)
    return _checked(plugins.construct("logger", name, GROUP, (*LOGGERS, ALWAYS)), name)[1]


def _checked(logger: Any, name: str) -> tuple[str, Logger]:
    """A logger and its name.

    Raises:
        ConfigError: it is not a logger.
    """
    if isinstance(logger, type):
        raise ConfigError(f"loggers has the class {logger.__name__}; pass an object of it: {logger.__name__}().")
    lacking = [method for method in ("open", "write", "close") if not callable(getattr(logger, method, None))]
    if lacking:
        raise ConfigError(f"{name} is not a logger: it has no {', '.join(lacking)}. See dop.Logger, and docs/own-logger.md.")
    return name, logger


class GuardedLogger:
    """A logger whose failure during training does not stop the run: it becomes one warning, and the logger gets no more records."""

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
        except (Exception, SystemExit) as error:  # foreign code, or a service that is not reachable
            if not self._failed:
                text = "The logger %s failed and gets no more of this run's records; metrics.jsonl has them all. %s"
                logging.getLogger("dop").warning(text, self._name, plugins.explain(error))
            self._failed = True


LOGGERS: Mapping[str, Callable[[bool], Logger]] = {"wandb": WandB, "mlflow": MLflow}
"""Loggers by their name for `--logger`, which is also that of the package and the extra."""
