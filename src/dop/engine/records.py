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
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol, TypeAlias, get_args

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2, summary_pb2

from dop.engine.files import replacing
from dop.errors import RunError

Kind: TypeAlias = Literal["train", "evaluation"]
# Protocol buffers make their classes as they are imported.
_Event, _SessionLog, _Summary = vars(event_pb2)["Event"], vars(event_pb2)["SessionLog"], vars(summary_pb2)["Summary"]
_COUNTS = ("seed", "iteration", "env_steps")
_HEADER = ("kind", *_COUNTS, "wall_seconds")


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
            raise ValueError(f"expected a JSON object, found {found!r}")
        missing = [name for name in _HEADER if name not in found]
        if missing:
            raise ValueError(f"{missing[0]!r} is missing")
        if found["kind"] not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, found {found['kind']!r}")
        return cls(
            kind=found["kind"],
            wall_seconds=_number("wall_seconds", found["wall_seconds"]),
            metrics={name: math.nan if value is None else _number(name, value) for name, value in found.items() if name not in _HEADER},
            **{name: _count(name, found[name]) for name in _COUNTS},
        )


class Sink(Protocol):
    """A place for records."""

    def write(self, *records: Record) -> None:
        """Take records in the order in which they were made; those of one call (all seeds, say) become durable together."""
        ...

    def close(self) -> None:
        """Finish what is open. Closing twice is allowed."""
        ...


class JsonLines:
    """Appends to `metrics.jsonl`. When `write` returns, its records are on the disk: no crash loses them."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        self._file.truncate(len(_complete(path.read_bytes())))

    def write(self, *records: Record) -> None:
        self._file.write(_lines(records))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Event files for TensorBoard: tags `seed_0/return_mean`, environment steps along x. Metrics that are not finite are left out.

    Args:
        folder: made if it is not there.
        resumed_at: environment steps of a resumed run. TensorBoard then hides what older files in `folder` have beyond that.
    """

    def __init__(self, folder: Path, *, resumed_at: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Numbered, since files are named by the second, and a clock that is set back would name one twice.
        self._writer: EventsWriter | None = EventsWriter(str(folder / "events"), f".{len(list(folder.iterdir()))}")
        if resumed_at is not None:
            self._write(step=resumed_at + 1, session_log=_SessionLog(status=_SessionLog.START))
            self._writer.flush()

    def write(self, *records: Record) -> None:
        if self._writer is None:
            raise RunError("These event files are closed.")
        for record in records:
            values = [
                _Summary.Value(tag=f"seed_{record.seed}/{name}", simple_value=float(value))
                for name, value in record.metrics.items()
                if math.isfinite(value)
            ]
            self._write(step=record.env_steps, summary=_Summary(value=values))
        self._writer.flush()

    def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _write(self, **content: Any) -> None:
        # In this thread: a `SummaryWriter` has another one, which dies of a full disk and leaves everybody waiting for it.
        if self._writer is not None:
            self._writer.write_event(_Event(wall_time=time.time(), **content))


def read(path: Path) -> list[Record]:
    """Every record of a `metrics.jsonl`, in the order of the file; a half-written last line is left out.

    Raises:
        RunError: there is no such file, or another line is damaged.
    """
    if not path.is_file():
        raise RunError(
            f"{path} does not exist. Every run that has started has one; is {path.parent} a run directory? "
            "If it is, and its records are lost, an empty file of that name lets it go on without them."
        )
    return [_parse(line, number, path) for number, line in enumerate(_complete(path.read_bytes()).splitlines(), start=1)]


def keep_until(path: Path, iteration: int, *, evaluation: bool = True) -> None:
    """Drop records of later iterations, for a run that goes on from a checkpoint of `iteration`. Call it before opening `JsonLines`.

    `evaluation`: whether an evaluation of that very iteration is kept.

    The file is replaced in one step: a crash leaves the old one or the new one.

    Raises:
        RunError: as `read`; the file is then left as it was.
    """
    dropped = None if evaluation else ("evaluation", iteration)
    kept = _lines(record for record in read(path) if record.iteration <= iteration and (record.kind, record.iteration) != dropped)
    with replacing(path) as temporary:
        temporary.write_bytes(kept)


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
        raise ValueError(f"{name} must be a whole number, found {value!r}")
    return value


def _number(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, found {value!r}")
    return float(value)
