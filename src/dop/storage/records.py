"""Records: what a run reports while it goes, and the places where that is written.

A record is one line of `metrics.jsonl`, a flat JSON object: `kind`, `seed`, `iteration`, `env_steps`, `wall_seconds`, and metrics under
PyMARL's names (`return_mean`, `ep_length_mean`, `critic_loss` ...; `test_return_mean`, `test_battle_won_mean` ... in evaluations).

JSON has no NaN and no infinity: a metric that is not finite is written as null, and null is read back as NaN.
A line is complete once its newline is there. A last line without one is what a crash leaves behind, and counts as never written.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol, TypeAlias, get_args, runtime_checkable

from tensorboardX.proto import event_pb2, summary_pb2
from tensorboardX.record_writer import masked_crc32c

from dop.errors import RunError, check_names, is_finite, shown
from dop.storage import files
from dop.storage.run_directory import RunConfig, RunFolder

Kind: TypeAlias = Literal["train", "evaluation"]
# Protocol buffers make their classes as they are imported.
_Event, _SessionLog, _Summary = vars(event_pb2)["Event"], vars(event_pb2)["SessionLog"], vars(summary_pb2)["Summary"]
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
    """Event files for TensorBoard: tags `seed_0/return_mean`, environment steps along x. Metrics that are not finite are left out.

    Of a resumed run TensorBoard hides what older files have beyond the checkpoint.
    """

    def open(self, run: LoggedRun) -> None:
        folder = run.folder.tensorboard
        files.make_folder(folder)
        # TensorBoard reads files in the order of their names: by the second, then numbered, since a clock may be set back. The rest is
        # for nobody to foresee, so that nothing lies there.
        number, host = len(list(folder.iterdir())), socket.gethostname()
        path = folder / f"events.out.tfevents.{int(time.time())}.{host}.{number}.{secrets.token_hex(8)}"
        self._file = files.opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        self._write(file_version="brain.Event:2")
        if run.resumed_at is not None:
            self._write(step=run.resumed_at + 1, session_log=_SessionLog(status=_SessionLog.START))
        self._flush()

    def write(self, records: Sequence[Record]) -> None:
        if self._file.closed:
            raise RunError("These event files are closed.")
        for record in records:
            values = [
                _Summary.Value(tag=f"seed_{record.seed}/{name}", simple_value=float(value))
                for name, value in record.metrics.items()
                if math.isfinite(value)
            ]
            self._write(step=record.env_steps, summary=_Summary(value=values))
        self._flush()

    def close(self) -> None:
        if not self._file.closed:
            self._flush()
            self._file.close()

    def _write(self, **content: Any) -> None:
        """One event in TensorFlow's frame: its length and its bytes, a check sum after each."""
        # In this thread: a `SummaryWriter` has another one, which dies of a full disk and leaves everybody waiting for it.
        data = _Event(wall_time=time.time(), **content).SerializeToString()
        for part in (struct.pack("<Q", len(data)), data):
            self._file.write(part + struct.pack("<I", masked_crc32c(part)))

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


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
