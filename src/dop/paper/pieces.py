"""Shared code of the figures: pieces of work with one data file each, training of all seeds in parallel, and tables.

A piece with a data file is finished and never repeated. Files are written atomically, so work may be interrupted at any time.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dop.analysis import statistics
from dop.devices import compilation
from dop.errors import ConfigError, RunError, UnknownNameError
from dop.storage import files
from dop.storage.records import Record
from dop.storage.surroundings import surroundings
from dop.training import compiled
from dop.training.program import Program, RunState

Log = Callable[[str], None]


def check_names(kind: str, chosen: Sequence[str], known: Iterable[str]) -> None:
    """Raise UnknownNameError for a name that is not in `known`, ConfigError for a name given twice."""
    known = tuple(known)
    for name in chosen:
        if name not in known:
            raise UnknownNameError(kind, name, known)
        if chosen.count(name) > 1:
            raise ConfigError(f"The {kind} {name} is given {chosen.count(name)} times: give it once.")


# --------------------------------------------------------------------------------------------------------------- data files


def finish(path: Path, name: str, log: Log, about: Mapping[str, Any], work: Callable[[], Mapping[str, Any]]) -> None:
    """Run `work` and write its result to `path`, unless that file exists. `about` records the options.

    Raises:
        RunError: the file exists, but is damaged or was made with other options.
    """
    if (found := read(path)) is not None:
        _check_options(path, found, about)
        return
    log(f"== {name}")
    compiled.clear()
    # Recorded before the work, which may take hours: the installed packages may change meanwhile.
    made_by = {**about, **surroundings()}
    write(path, made_by, work())


def _check_options(path: Path, found: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Raise RunError for a piece made with other options. Hyper-parameters are not compared, as old files may use old names."""
    old = found.get("about", {})
    for name, value in about.items():
        if not isinstance(value, Mapping) and old.get(name, value) != value:
            raise RunError(f"{path} was made with {name} {old[name]}, not {value}: choose another --out or delete the file.")


def write(path: Path, about: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Write a data file: the results, the date and `about`."""
    made_by = {**about, "date": datetime.date.today().isoformat()}
    files.write_text(path, json.dumps({"about": made_by, **rounded(dict(found))}) + "\n")


def read(path: Path) -> dict[str, Any] | None:
    """A finished piece, or None.

    Raises:
        RunError: the file is damaged.
    """
    if not os.path.lexists(path):
        return None
    try:
        found = json.loads(files.read_text(path))
    except ValueError as error:
        raise _damaged(path, error) from error
    if not isinstance(found, dict):
        raise _damaged(path, f"it holds {type(found).__name__}, not an object")
    return found


def _damaged(path: Path, why: object) -> RunError:
    return RunError(f"{path} is damaged: {why}. Delete it to make it again.")


def evaluations(path: Path) -> list[Record]:
    """The evaluations of a finished piece; empty if it is not finished.

    Raises:
        RunError: the file is damaged.
    """
    if (found := read(path)) is None:
        return []
    try:
        return [Record.from_json(json.dumps(kept)) for kept in found["evaluations"]]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def rounded(found: Any) -> Any:
    """Numbers rounded to six digits, for small files."""
    if isinstance(found, dict):
        return {name: rounded(value) for name, value in found.items()}
    if isinstance(found, list):
        return [rounded(value) for value in found]
    return float(f"{found:.6g}") if isinstance(found, float) else found


# ----------------------------------------------------------------------------------------------------------------- training


def train_seeds(
    program: Program,
    begin: Callable[[Any], RunState],
    measure: Callable[[RunState], Mapping[str, Any]],
    *,
    seeds: int,
    episodes: int,
    points: int,
) -> tuple[RunState, dict[str, Any]]:
    """Train all seeds in parallel for about `episodes` episodes each; measure before training and at `points` evenly spaced points.

    Args:
        begin: one seed's initial state from its key; jitted and vmapped here.
        measure: one seed's measurements, arrays by name; jitted and vmapped here.

    Returns:
        All seeds' final states (leading axis), and lists: `episodes` at each point, and the measurements by seed and point.
        `exploring_return` is the mean return since the previous point, so it has one point fewer.
    """
    each = program.algorithm.episodes_per_iteration
    iterations = max(1, episodes // (points * each))
    state = jax.jit(jax.vmap(begin), compiler_options=compilation.options(compilation.ONCE))(jax.random.split(jax.random.key(0), seeds))
    chunk = jax.jit(jax.vmap(lambda s: program.chunk(s, iterations)), donate_argnums=0)
    measure_all = jax.jit(jax.vmap(measure), compiler_options=compilation.options(compilation.ONCE))
    measured, exploring = [measure_all(state)], []
    for _ in range(points):
        state, metrics = chunk(state)
        measured.append(measure_all(state))
        exploring.append(metrics["return_mean"])
    found = {name: np.stack([at_point[name] for at_point in measured], axis=1).tolist() for name in measured[0]}
    at = [point * iterations * each for point in range(points + 1)]
    return state, {"episodes": at, **found, "exploring_return": np.stack(exploring, axis=1).tolist()}


# ------------------------------------------------------------------------------------------------------------------- tables


def table(header: str, rows: Iterable[str]) -> list[str]:
    """The lines of a Markdown table; header and rows contain the bars."""
    return [header, "|---" * (header.count("|") - 1) + "|", *rows]


def interval(values: np.ndarray, show: Callable[[float], str]) -> str:
    """Mean over seeds, with its 95% interval if there are several seeds."""
    found = statistics.mean_interval(values)
    low, mean, high = (show(float(x)) for x in (found.low, found.mean, found.high))
    return mean if len(values) == 1 else f"{mean} [{low}, {high}]"


def percentage(x: float) -> str:
    """A win rate as a percentage, clipped to [0, 1] as interval bounds may exceed it."""
    return f"{min(max(x, 0), 1):.0%}"


def minutes(kept: Sequence[Record]) -> str:
    """Training minutes of the records' seeds: one number, or the range over several seeds."""
    ends = {record.seed: record.wall_seconds / 60 for record in sorted(kept, key=lambda record: record.wall_seconds)}
    low, high = min(ends.values()), max(ends.values())
    return f"{low:.1f}" if len(ends) == 1 else f"{low:.1f}-{high:.1f}"
