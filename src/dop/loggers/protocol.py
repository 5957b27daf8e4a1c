"""The protocol of loggers, and the metric names that they report."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from dop.hyper_parameters import flat
from dop.storage.config import RunConfig
from dop.storage.records import Record, read
from dop.storage.run_directory import RunFolder


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """The run whose records a logger gets."""

    path: Path
    """The run directory. A logger that writes files there uses its own folder."""
    config: RunConfig
    """Algorithm, hyper-parameters, environment and training configuration."""
    resumed_at: int | None = None
    """Environment steps at which the run resumes; None for a new run."""

    @property
    def folder(self) -> RunFolder:
        """The files of the run directory."""
        return RunFolder(self.path)

    @property
    def history(self) -> list[Record]:
        """The records so far; on a resume, up to the checkpoint. Later records are reported again."""
        return read(self.folder.metrics) if self.folder.metrics.is_file() else []


@runtime_checkable
class Logger(Protocol):
    """A destination of records. One object may serve several runs, one after another."""

    def open(self, run: LoggedRun) -> None:
        """Called when a run starts or resumes, before any computation. An exception here stops the run."""
        ...

    def write(self, records: Sequence[Record]) -> None:
        """Report records, in order; one call has those of all seeds at the same step."""
        ...

    def close(self) -> None:
        """Called when the run ends, also on failure. Closing twice is allowed."""
        ...


def tagged(record: Record) -> dict[str, float]:
    """The finite metrics of a record, by their names in charts: `train/return_mean`, and `eval/return_mean` for the
    `test_return_mean` of an evaluation.
    """
    prefix, known = ("train/", "") if record.kind == "train" else ("eval/", "test_")
    return {prefix + name.removeprefix(known): value for name, value in record.metrics.items() if math.isfinite(value)}


def settings(config: RunConfig) -> dict[str, Any]:
    """The configuration of a run as a flat dict: algorithm, environment, hyper-parameters, training configuration."""
    train_config = {f"train_config.{name}": value for name, value in dataclasses.asdict(config.train_config).items()}
    options = {f"environment.{name}": value for name, value in config.environment_options.items()}
    return {"algorithm": config.algorithm, "environment": config.environment, **options, **flat(config.hyper_parameters), **train_config}
