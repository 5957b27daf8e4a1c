"""`plot`: learning curves, as a figure or as data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from dop.analysis import compare, marl_eval
from dop.analysis.statistics import Axis
from dop.errors import ConfigError, check_flags, checked_integer, printable, shown
from dop.storage import files
from dop.visualise import curves, tables


def plot(
    runs: Sequence[Path | str],
    *,
    out: Path | str | None = None,
    data: Path | str | None = None,
    csv: Path | str | None = None,
    latex: Path | str | None = None,
    others: Sequence[Path | str] = (),
    others_scale: Sequence[marl_eval.Scale] = (),
    metric: str | None = None,
    axes: Sequence[Axis] = ("env_steps",),
    seed_lines: bool = False,
    smooth: int = 0,
    title: str = "",
) -> tuple[dict[str, Path], list[str]]:
    """Learning curves for a paper, their data, and results in the format of other libraries (`dop.analysis.marl_eval`).

    Args:
        runs: run directories, or folders of run directories; may be empty if there are `others`.
        out: the figure; its suffix is its format: pdf, svg or png.
        data: all evaluations of the runs, as JSON.
        csv: the unsmoothed data of the figure: a row per seed and record with label, algorithm, environment, seed, env_steps, metric and
            value.
        latex: a table of final values, means over seeds with 95% intervals, for LaTeX with the package booktabs.
        others: files in the format of marl-eval, drawn on the same axes; labels have the file's name (or path, if ambiguous) in brackets.
        others_scale: the scale of win rates in these files, `fraction` or `percent`: one for all, or one for each. Required if win rates
            are drawn.
        metric: the metric to draw, for example `test_return_mean`. Default: the win rate, if all tasks have one, else the return.
        axes: horizontal axes; one row of the figure for each.
        seed_lines: also draw a thin line per seed; always drawn for two seeds, which have no interval.
        smooth: window of a trailing mean in environment steps, per seed; 0: no smoothing. Only the figure is smoothed.
        title: title of the figure.

    Returns:
        The written files, by name, and remarks on limits of the comparison.

    Raises:
        ConfigError: there is no output, a format is unknown, or `smooth` is negative or not a whole number.
        RunError: a run or a file cannot be read, there is nothing to draw, or an output cannot be written.
    """
    runs, others = files.checked_paths("runs", runs), files.checked_paths("others", others)
    places = _places({"out": out, "data": data, "csv": csv, "latex": latex}, runs, others)
    if not isinstance(axes, list | tuple) or not axes or not all(axis in get_args(Axis) for axis in axes):
        raise ConfigError(f"axes must have env_steps, wall_seconds or processor_seconds, in a list; got {shown(axes)}.")
    if not isinstance(title, str) or not isinstance(metric, str | None):
        raise ConfigError(f"title and metric must be texts; got {shown(title)} and {shown(metric)}.")
    check_flags(seed_lines=seed_lines)
    window = checked_integer("smooth", smooth, least=0, below=2**63)
    comparison = compare.gather(runs) if runs else compare.Comparison(tasks=())
    chosen = metric or _common_metric(comparison, bool(others))
    of_others = _read_others(others, others_scale, chosen, comparison)
    found = marl_eval.merged(comparison, of_others)
    if places.keys() - {"data"}:
        curves.check_measured(chosen, found)
    remarks = list(comparison.remarks)
    fractions = _fractions(comparison)
    if "out" in places:
        look = curves.Look(seed_lines=seed_lines, smooth=window, fractions=fractions)
        timed = _with_times(found, axes, remarks)
        curves.draw_grid(timed, places["out"], metric=chosen, title=printable(title), axes_of=axes, look=look)
    elif seed_lines or window:
        options = " and ".join(name for name, given in (("--seed-lines", seed_lines), ("--smooth", window)) if given)
        remarks.append(f"{options} had no effect: only figures are drawn with these, and there is none without --out.")
    if "data" in places:
        files.write_text(places["data"], json.dumps(marl_eval.as_json(comparison, remarks), indent=1, allow_nan=False) + "\n")
    if "csv" in places:
        files.write_text(places["csv"], tables.as_csv(found, marl_eval.algorithms(comparison, of_others), chosen))
    if "latex" in places:
        files.write_text(places["latex"], tables.as_latex(found, chosen, fractions=fractions))
    return {"figure" if name == "out" else name: place for name, place in places.items()}, remarks


def _places(asked: Mapping[str, Path | str | None], runs: Sequence[Path], others: Sequence[Path]) -> dict[str, Path]:
    """The paths of the outputs, by the names of their options.

    Raises:
        ConfigError: there are no outputs or no inputs, or two paths are the same file.
        RunError: a path cannot be written to.
    """
    named = {name: files.checked_path(name, value) for name, value in asked.items() if value is not None}
    if not named:
        raise ConfigError("There is nothing to write: name a figure (out), a data file (data), or a table (csv, latex).")
    out = named.get("out")
    if out is not None and out.suffix.lower() not in (".pdf", ".svg", ".png"):
        raise ConfigError(f"Figures are written as .pdf, .svg or .png, but {out} ends otherwise.")
    if not runs and not others:
        raise ConfigError("There is nothing to draw: name run directories, or files of others (others).")
    if "data" in named and not runs:
        raise ConfigError("A data file needs runs: name run directories.")
    places = {name: files.check_place(place, option=f"--{name}") for name, place in named.items()}
    _check_distinct(list(places.values()), others)
    return places


def _check_distinct(places: Sequence[Path], others: Sequence[Path]) -> None:
    """Raise ConfigError if two outputs are the same file, or one is an input."""
    written = [place.resolve() for place in places]
    clashes = [place for place in written if written.count(place) > 1 or place in {other.resolve() for other in others}]
    if clashes:
        raise ConfigError(f"{clashes[0]} would be overwritten: figure, data, tables and files of others must be different files.")


def _fractions(comparison: compare.Comparison) -> set[str]:
    """Metrics that are fractions in this comparison."""
    return {*marl_eval.FRACTIONS, *(task.metric for task in comparison.tasks if task.fraction)}


def _read_others(
    others: Sequence[Path], scales: Sequence[marl_eval.Scale], metric: str, comparison: compare.Comparison
) -> dict[str, marl_eval.Results]:
    """The results of each file, by its name in labels."""
    known = get_args(marl_eval.Scale)
    if not isinstance(scales, list | tuple) or not all(isinstance(scale, str) and scale in known for scale in scales):
        raise ConfigError(f"others_scale must be a list of {' or '.join(known)}; got {shown(scales)}.")
    if len(scales) not in ((0, 1, len(others)) if others else (0,)):
        raise ConfigError(
            f"There are {len(others)} files of others and {len(scales)} scales: give one scale for all files, or one for each."
        )
    fractions = _fractions(comparison)
    each = list(scales) if len(scales) == len(others) else list(scales) * len(others)
    scale_of = dict(zip(others, each, strict=False))
    found = {}
    for name, path in _named(others):
        found[name] = marl_eval.read(path, scale_of.get(path), fractions)
        if metric in fractions and path not in scale_of:
            marl_eval.check_scale(found[name], path, metric)
    return found


def _named(others: Sequence[Path]) -> list[tuple[str, Path]]:
    """Every file once, with its name in labels."""
    each = list(dict.fromkeys(others))
    stems = [path.stem for path in each]
    return [(stem if stems.count(stem) == 1 else str(path), path) for stem, path in zip(stems, each, strict=True)]


def _common_metric(comparison: compare.Comparison, others: bool) -> str:
    """The score of the tasks if all have the same and there are no other files, else the return."""
    metrics = {task.metric for task in comparison.tasks}
    return metrics.pop() if len(metrics) == 1 and not others else "test_return_mean"


def _with_times(found: marl_eval.Results, axes: Sequence[Axis], remarks: list[str]) -> marl_eval.Results:
    """The results without lines whose times are unknown, if there is an axis of time."""
    lines = [(label, kept) for own in found.values() for label, kept in own.items()]
    timeless: set[str] = set()
    if "wall_seconds" in axes:
        without = {label for label, kept in lines if any(math.isnan(record.wall_seconds) for record in kept)}
        remarks += [f"{label} is left out: it has no elapsed_time." for label in sorted(without)]
        timeless |= without
    if "processor_seconds" in axes:
        without = {label for label, kept in lines if any(record.processor_seconds is None for record in kept)}
        remarks += [f"{label} is left out: it has no processor_seconds." for label in sorted(without - timeless)]
        timeless |= without
    return {task: {label: [] if label in timeless else kept for label, kept in own.items()} for task, own in found.items()}
