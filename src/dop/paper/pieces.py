"""What the figures' programs share: pieces of work that each leave a data file, all seeds of a piece trained side by side, tables, figures.

A piece whose data file is there is never worked on again; a file is there whole or not at all, so that work may be stopped at any time.
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
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dop.analysis import statistics
from dop.errors import ConfigError, RunError, UnknownNameError
from dop.storage import files
from dop.storage.records import Record
from dop.storage.run_directory import surroundings
from dop.training.program import Program, RunState
from dop.visualise import curves

Say = Callable[[str], None]
COMPILE_FAST: dict[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_llvm_disable_expensive_passes": True,
}
"""For what runs once or is tiny: code that is slower and there four times sooner."""


def check_names(kind: str, chosen: Sequence[str], known: Iterable[str]) -> None:
    """Raise UnknownNameError for a chosen name that is none of the known, ConfigError for one chosen twice, which would count twice."""
    known = tuple(known)
    for name in chosen:
        if name not in known:
            raise UnknownNameError(kind, name, known)
        if chosen.count(name) > 1:
            raise ConfigError(f"The {kind} {name} is named {chosen.count(name)} times: name it once.")


# --------------------------------------------------------------------------------------------------------------- data files


def finish(path: Path, name: str, say: Say, about: Mapping[str, Any], work: Callable[[], Mapping[str, Any]]) -> None:
    """Do the piece called `name` and write what `work` found to `path`, unless that is there. `about` says what made it.

    Raises:
        RunError: it is there, but damaged, or made by other options.
    """
    if (found := read(path)) is not None:
        _check_options(path, found, about)
        return
    say(f"== {name}")
    jax.clear_caches()
    # Before the work, which may take hours, and in which an installation can change under it.
    made_by = {**about, **surroundings()}
    write(path, made_by, work())


def _check_options(path: Path, found: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Raise RunError for a finished piece that answers another question. Changes to hyper-parameters may have had other names once."""
    was = found.get("about", {})
    for name, value in about.items():
        if not isinstance(value, Mapping) and was.get(name, value) != value:
            raise RunError(f"{path} was made with {name} {was[name]}, not {value}: choose another --out, or delete it.")


def write(path: Path, about: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """A data file with what was found, the date, and `about`: what made it."""
    made_by = {**about, "date": datetime.date.today().isoformat()}
    files.write_text(path, json.dumps({"about": made_by, **_rounded(dict(found))}) + "\n")


def read(path: Path) -> dict[str, Any] | None:
    """A finished piece; None if it is not there.

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
    return RunError(f"{path} is damaged: {why}. Delete it to have it made anew.")


def evaluations(path: Path) -> list[Record]:
    """Those that a finished piece keeps under that name; none if it is not there.

    Raises:
        RunError: the file is damaged.
    """
    if (found := read(path)) is None:
        return []
    try:
        return [Record.from_json(json.dumps(kept)) for kept in found["evaluations"]]
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error


def _rounded(found: Any) -> Any:
    """Numbers to six figures: the files stay small."""
    if isinstance(found, dict):
        return {name: _rounded(value) for name, value in found.items()}
    if isinstance(found, list):
        return [_rounded(value) for value in found]
    return float(f"{found:.6g}") if isinstance(found, float) else found


# ----------------------------------------------------------------------------------------------------------------- training


def follow(
    program: Program,
    begin: Callable[[Any], RunState],
    measure: Callable[[RunState], Mapping[str, Any]],
    *,
    seeds: int,
    episodes: int,
    points: int,
) -> tuple[RunState, dict[str, Any]]:
    """Train all seeds side by side for about `episodes` episodes each; look at them before, and at `points` moments on the way.

    Args:
        begin: one seed's start, from its key; jitted and vmapped here, as is
        measure: one seed's figures at a moment, arrays by name.

    Returns:
        All seeds' states at the end (leading axis), and lists: `episodes` of every moment, and by seed and moment what was measured;
        `exploring_return`, the mean return on the way to each moment but the first, has one moment less.
    """
    each = program.algorithm.episodes_per_iteration
    iterations = max(1, episodes // (points * each))
    state = jax.jit(jax.vmap(begin), compiler_options=COMPILE_FAST)(jax.random.split(jax.random.key(0), seeds))
    chunk = jax.jit(jax.vmap(lambda s: program.chunk(s, iterations)), donate_argnums=0)
    look = jax.jit(jax.vmap(measure), compiler_options=COMPILE_FAST)
    measured, exploring = [look(state)], []
    for _ in range(points):
        state, metrics = chunk(state)
        measured.append(look(state))
        exploring.append(metrics["return_mean"])
    found = {name: np.stack([moment[name] for moment in measured], axis=1).tolist() for name in measured[0]}
    at = [point * iterations * each for point in range(points + 1)]
    return state, {"episodes": at, **found, "exploring_return": np.stack(exploring, axis=1).tolist()}


# ------------------------------------------------------------------------------------------------------- tables and figures


def publish(out: Path, name: str, lines: list[str], picture: Figure, say: Say) -> None:
    """Say and write the table, and write the figure, in `out`."""
    table = "\n".join(lines)
    say(table)
    files.write_text(out / "table.md", table + "\n")
    curves.save(picture, out / f"{name}.png")
    say(f"figure: {out / name}.png")


def table(header: str, rows: Iterable[str]) -> list[str]:
    """The lines of a table in Markdown; header and rows have their bars."""
    return [header, "|---" * (header.count("|") - 1) + "|", *rows]


def interval(values: np.ndarray, show: Callable[[float], str]) -> str:
    """Mean over seeds with its 95% interval, where there is more than one seed."""
    found = statistics.mean_interval(values)
    low, mean, high = (show(float(x)) for x in (found.low, found.mean, found.high))
    return mean if len(values) == 1 else f"{mean} [{low}, {high}]"


def share_of(x: float) -> str:
    """A win rate; the bounds of an interval may lie outside of what there is."""
    return f"{min(max(x, 0), 1):.0%}"


def minutes(kept: Sequence[Record]) -> str:
    """How long the seeds of these records took: the least and the most, if there are several."""
    ends = {record.seed: record.wall_seconds / 60 for record in sorted(kept, key=lambda record: record.wall_seconds)}
    least, most = min(ends.values()), max(ends.values())
    return f"{least:.1f}" if len(ends) == 1 else f"{least:.1f}-{most:.1f}"


def draw_mean(axes: Axes, x: Any, values: np.ndarray, label: str, style: Mapping[str, Any]) -> None:
    """Mean over seeds, and its 95% interval where there are several; axes: seed, moment."""
    found = statistics.mean_interval(values)
    axes.plot(x, found.mean, label=label, **style)
    if len(values) > 1:
        axes.fill_between(x, found.low, found.high, color=style["color"], alpha=0.15, linewidth=0)


def dress(axes: Axes) -> None:
    """A faint grid, two spines, and a word where nothing has been drawn."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if not any(len(np.atleast_1d(line.get_xdata())) for line in axes.lines) and not axes.patches:
        axes.text(0.5, 0.5, "not run yet", ha="center", transform=axes.transAxes, color="#777777")
