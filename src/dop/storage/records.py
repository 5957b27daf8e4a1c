"""Records: what a run reports while it goes, and the places where that is written.

A record is one line of `metrics.jsonl`, a flat JSON object: `kind`, `seed`, `iteration`, `env_steps`, `wall_seconds`, and metrics under
PyMARL's names (`return_mean`, `ep_length_mean`, `critic_loss` ...; `test_return_mean`, `test_battle_won_mean` ... in evaluations).

JSON has no NaN and no infinity: a metric that is not finite is written as null, and null is read back as NaN.
A line is complete once its newline is there. A last line without one is what a crash leaves behind, and counts as never written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol, TypeAlias, get_args, runtime_checkable

from dop.errors import RunError, check_names, is_finite, shown
from dop.loggers.events import EventFile
from dop.storage import files
from dop.storage.run_directory import RunConfig, RunFolder

Kind: TypeAlias = Literal["train", "evaluation"]
_COUNTS = ("seed", "iteration", "env_steps")
_HEADER = ("kind", *_COUNTS, "wall_seconds")
_MOST = 2**63
"""What counts are below."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one seed reported at one moment."""

    kind: Kind
    """Learning with exploration, or a greedy evaluation."""
    seed: int
    """Which of the run's seeds."""
    iteration: int
    """Updates of the learner so far."""
    env_steps: int
    """Environment steps collected by this seed so far; those of evaluations do not count."""
    wall_seconds: float
    """Seconds of computing since the run began; the time between a stop and its resumption does not count."""
    metrics: dict[str, float]
    """Means over the episodes or iterations since the record before."""

    def to_json(self) -> str:
        """One line, without its newline; metrics that are not finite become null."""
        clash = sorted(set(self.metrics) & set(_HEADER))
        if clash:
            raise RunError(f"A metric cannot be called {clash[0]!r}: records have a field of that name. Rename the metric.")
        header = {name: getattr(self, name) for name in _HEADER}
        check_names("metrics", self.metrics)
        metrics = {name: float(value) if math.isfinite(value) else None for name, value in self.metrics.items()}
        return json.dumps(header | metrics, allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Record:
        """The inverse of `to_json`; null becomes NaN.

        Raises:
            ValueError: this is no record; the message says why.
        """
        found = json.loads(line, parse_constant=_refuse)
        if not isinstance(found, dict):
            raise ValueError(f"expected a JSON object, found {shown(found)}")
        missing = [name for name in _HEADER if name not in found]
        if missing:
            raise ValueError(f"{missing[0]!r} is missing")
        if found["kind"] not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, found {shown(found['kind'])}")
        for name in found:
            if not name or not name.isprintable():
                raise ValueError(f"{shown(name)} is no name of a metric")
        return cls(
            kind=found["kind"],
            wall_seconds=_number("wall_seconds", found["wall_seconds"]),
            metrics={name: math.nan if value is None else _number(name, value) for name, value in found.items() if name not in _HEADER},
            **{name: _count(name, found[name]) for name in _COUNTS},
        )


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


class JsonLines:
    """Appends to `metrics.jsonl`. When `write` returns, its records are on the disk together: no crash loses them."""

    def open(self, run: LoggedRun) -> None:
        self._file = files.opened(run.folder.metrics, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        self._file.truncate(len(_complete(self._file.read())))

    def write(self, records: Sequence[Record]) -> None:
        self._file.write(_lines(records))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Event files for TensorBoard, one folder per seed, `tensorboard/seed_0`, with the same tags, `train/critic_loss`, `eval/return_mean`,
    over environment steps, and the hyper-parameters for the HParams tab. Metrics that are not finite are left out.

    Of a resumed run the files are written anew from `metrics.jsonl`: no point is there twice.
    """

    def open(self, run: LoggedRun) -> None:
        files.check_kinds(run.path, plain_files=(), folders=(run.folder.tensorboard.name,))
        train_config = run.config.train_config
        self._goal, self._steps = train_config.env_steps, dict.fromkeys(train_config.seeds, 0)
        self._files = {seed: EventFile(run.folder.tensorboard / f"seed_{seed}") for seed in train_config.seeds}
        # Without the seed, which would be that of a group's first session.
        for file in self._files.values():
            # Without the seed: of a group the tab shows the hyper-parameters of one session.
            file.session_start(settings(run.config), _group(run))
        self.write(run.history)

    def write(self, records: Sequence[Record]) -> None:
        if any(file.closed for file in self._files.values()):
            raise RunError("These event files are closed.")
        for record in records:
            self._steps[record.seed] = record.env_steps
            self._files[record.seed].scalars(record.env_steps, tagged(record))
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        for seed, file in self._files.items():
            if not file.closed:
                with contextlib.closing(file):
                    file.session_end(finished=self._steps[seed] >= self._goal)
                    file.flush()


def _group(run: LoggedRun) -> str:
    """A name for a run among others of the same log directory, which may lie in folders of the same name."""
    path = run.path.resolve()
    return f"{run.config.environment}/{run.config.algorithm}/{path.name}-{zlib.crc32(bytes(path)):08x}"


def tagged(record: Record) -> dict[str, float]:
    """The finite metrics of a record, by the names that charts of every seed have: `train/return_mean`, and `eval/return_mean` for the
    `test_return_mean` of an evaluation.
    """
    prefix, known = ("train/", "") if record.kind == "train" else ("eval/", "test_")
    return {prefix + name.removeprefix(known): value for name, value in record.metrics.items() if math.isfinite(value)}


def settings(config: RunConfig) -> dict[str, Any]:
    """What made a run, one level deep: its algorithm, its environment, its hyper-parameters, its protocol."""
    train_config = {f"protocol.{name}": value for name, value in dataclasses.asdict(config.train_config).items()}
    options = {f"environment.{name}": value for name, value in config.environment_options.items()}
    return {"algorithm": config.algorithm, "environment": config.environment, **options, **config.hyper_parameters, **train_config}


def read(path: Path) -> list[Record]:
    """Every record of a `metrics.jsonl`, in the order of the file; a half-written last line is left out.

    Raises:
        RunError: there is no such file, or another line is damaged.
    """
    if not os.path.lexists(path):
        raise RunError(
            f"{path} does not exist. Every run that has started has one; is {path.parent} a run directory? "
            "If it is, and its records are lost, an empty file of that name lets it go on without them."
        )
    return [_parse(line, number, path) for number, line in enumerate(_complete(files.read_bytes(path)).splitlines(), start=1)]


def keep_until(path: Path, iteration: int, *, evaluation: bool = True) -> None:
    """Drop records of later iterations, for a run that goes on from a checkpoint of `iteration`. Call it before opening `JsonLines`.

    `evaluation`: whether an evaluation of that very iteration is kept.

    The file is replaced in one step: a crash leaves the old one or the new one.

    Raises:
        RunError: as `read`; the file is then left as it was.
    """
    dropped = None if evaluation else ("evaluation", iteration)
    kept = _lines(record for record in read(path) if record.iteration <= iteration and (record.kind, record.iteration) != dropped)
    files.write_bytes(path, kept)


def _lines(records: Iterable[Record]) -> bytes:
    return "".join(record.to_json() + "\n" for record in records).encode()


def _complete(content: bytes) -> bytes:
    """Without a last line that lacks its newline."""
    return content[: content.rfind(b"\n") + 1]


def _parse(line: bytes, number: int, path: Path) -> Record:
    try:
        return Record.from_json(line)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}, line {number} is damaged: {error}. Repair or delete that line; nothing else needs it.") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON; null stands for what is not finite")


def _count(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number, found {shown(value)}")
    if abs(value) >= _MOST:
        raise ValueError(f"{name} must be a whole number of 64 bits, found {shown(value)}")
    return value


def _number(name: str, value: Any) -> float:
    if not is_finite(value):
        raise ValueError(f"{name} must be a finite number, found {shown(value)}")
    return float(value)
