"""What a logger is, and the names under which loggers show records."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from dop.hyper_parameters import flat
from dop.storage.records import Record, read
from dop.storage.run_directory import RunConfig, RunFolder


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """What a logger is told of the run whose records it gets."""

    path: Path
    """Its directory. A logger that writes files into it has a folder of its own there."""
    config: RunConfig
    """Algorithm, hyper-parameters, environment, seeds and protocol."""
    resumed_at: int | None = None
    """Environment steps that a resumed run starts from; None at the beginning."""

    @property
    def folder(self) -> RunFolder:
        """Where its files are."""
        return RunFolder(self.path)

    @property
    def history(self) -> list[Record]:
        """What counts of what the run has reported so far: on a resume, up to its checkpoint. Later records are reported again."""
        return read(self.folder.metrics) if self.folder.metrics.is_file() else []


@runtime_checkable
class Logger(Protocol):
    """A place for records. One object may serve several runs, one after another."""

    def open(self, run: LoggedRun) -> None:
        """A run starts, or goes on. Nothing has been computed yet: what is raised here refuses the run."""
        ...

    def write(self, records: Sequence[Record]) -> None:
        """Take records in the order in which they were made: those of all seeds at one moment."""
        ...

    def close(self) -> None:
        """The run has ended, in whatever way: finish what is open. Closing twice is allowed."""
        ...


def tagged(record: Record) -> dict[str, float]:
    """The finite metrics of a record, by the names that charts of every seed have: `train/return_mean`, and `eval/return_mean` for the
    `test_return_mean` of an evaluation.
    """
    prefix, known = ("train/", "") if record.kind == "train" else ("eval/", "test_")
    return {prefix + name.removeprefix(known): value for name, value in record.metrics.items() if math.isfinite(value)}


def settings(config: RunConfig) -> dict[str, Any]:
    """What made a run, one level deep: its algorithm, its environment, its hyper-parameters, its protocol."""
    train_config = {f"train_config.{name}": value for name, value in dataclasses.asdict(config.train_config).items()}
    options = {f"environment.{name}": value for name, value in config.environment_options.items()}
    return {"algorithm": config.algorithm, "environment": config.environment, **options, **flat(config.hyper_parameters), **train_config}
