"""Records: the metrics that a run reports during training.

A record is one line of `metrics.jsonl`, a flat JSON object: `kind`, `seed`, `iteration`, `env_steps`, `wall_seconds`, `processor_seconds`
(not in records of version 0.1), and metrics under PyMARL's names (`return_mean`, `ep_length_mean`, `critic_loss` ...; `test_return_mean`,
`test_battle_won_mean` ... in evaluations).

JSON has neither NaN nor infinity: a metric that is not finite is written as null, and null is read as NaN.
A line is complete with its newline. A last line without one, the result of a crash, is ignored.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias, get_args

from dop.errors import RunError, check_names, is_finite, shown
from dop.storage import files

Kind: TypeAlias = Literal["train", "evaluation"]
_COUNTS = ("seed", "iteration", "env_steps")
_HEADER = ("kind", *_COUNTS, "wall_seconds")
_OPTIONAL = "processor_seconds"
_FIELDS = (*_HEADER, _OPTIONAL)
_MOST = 2**63
"""Upper bound of counts, exclusive."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The metrics of one seed at one iteration."""

    kind: Kind
    """Learning with exploration, or a greedy evaluation."""
    seed: int
    """One of the run's seeds."""
    iteration: int
    """Updates of the learner so far."""
    env_steps: int
    """Environment steps of this seed so far, without those of evaluations."""
    wall_seconds: float
    """Seconds of computing since the start of the run, without interruptions."""
    processor_seconds: float | None = field(default=None, compare=False)
    """Processor seconds of training since the start of the run: of all threads of the training process, for all seeds of the run together,
    without compilation, evaluations and worker processes. None if unknown: version 0.1 did not measure them. Not compared by `==`."""
    metrics: dict[str, float]
    """Means over the episodes or iterations since the previous record."""

    def to_json(self) -> str:
        """One line, without its newline; metrics that are not finite become null."""
        clash = sorted(set(self.metrics) & set(_FIELDS))
        if clash:
            raise RunError(f"A metric cannot be called {clash[0]!r}, which is a field of every record. Rename the metric.")
        header = {name: getattr(self, name) for name in _HEADER}
        if self.processor_seconds is not None:
            header[_OPTIONAL] = self.processor_seconds
        check_names("metrics", self.metrics)
        metrics = {name: float(value) if math.isfinite(value) else None for name, value in self.metrics.items()}
        return json.dumps(header | metrics, allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Record:
        """The inverse of `to_json`; null becomes NaN.

        Raises:
            ValueError: this is not a record; the message says why.
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
                raise ValueError(f"{shown(name)} is not a valid name of a metric")
        return cls(
            kind=found["kind"],
            wall_seconds=_number("wall_seconds", found["wall_seconds"]),
            processor_seconds=_number(_OPTIONAL, found[_OPTIONAL]) if _OPTIONAL in found else None,
            metrics={name: math.nan if value is None else _number(name, value) for name, value in found.items() if name not in _FIELDS},
            **{name: _count(name, found[name]) for name in _COUNTS},
        )


def read(path: Path) -> list[Record]:
    """Every record of a `metrics.jsonl`, in the order of the file; an incomplete last line is left out.

    Raises:
        RunError: there is no such file, or another line is damaged.
    """
    if not os.path.lexists(path):
        raise RunError(
            f"{path} does not exist. Every run that has started has one; is {path.parent} a run directory? "
            "If it is and its records are lost, create an empty file of that name to resume without them."
        )
    return [_parse(line, number, path) for number, line in enumerate(complete(files.read_bytes(path)).splitlines(), start=1)]


def keep_until(path: Path, iteration: int, *, evaluation: bool = True) -> None:
    """Drop records of later iterations, for a run that resumes from the checkpoint of `iteration`. Call it before opening `JsonLines`.

    `evaluation`: whether the evaluation of that iteration itself is kept.

    The file is replaced atomically: a crash leaves the old or the new one.

    Raises:
        RunError: as `read`; the file is then unchanged.
    """
    dropped = None if evaluation else ("evaluation", iteration)
    kept = as_lines(record for record in read(path) if record.iteration <= iteration and (record.kind, record.iteration) != dropped)
    files.write_bytes(path, kept)


def as_lines(records: Iterable[Record]) -> bytes:
    return "".join(record.to_json() + "\n" for record in records).encode()


def complete(content: bytes) -> bytes:
    """`content` without an incomplete last line."""
    return content[: content.rfind(b"\n") + 1]


def _parse(line: bytes, number: int, path: Path) -> Record:
    try:
        return Record.from_json(line)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}, line {number} is damaged: {error}. Repair or delete that line; nothing else depends on it.") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON; numbers that are not finite are written as null")


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
