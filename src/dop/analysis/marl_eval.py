"""Results in marl-eval's JSON layout (Gorsane et al. 2022), written and read, for comparison with BenchMARL's and Mava's.

    {environment: {task: {algorithm: {run: {"step_0": {"step_count": 400, "elapsed_time": 1.5, "return": [9.5], "win_rate": [0.5]}, ...
                                            "absolute_metrics": {"return": [9.5], ...}}}}}}

Steps are environment steps, times are seconds, every metric is a list: here of one number, the mean over an evaluation's episodes. A
list that is read is reduced to its mean. `absolute_metrics`, in their protocol those of a separate, longer evaluation of the best policy,
are those of each run's last evaluation.

marl-eval (id-marl-eval 0.0.4) makes arrays of what it reads: all tasks of an environment must have the same algorithms, with runs of the
same names, evaluations and metrics. It turns names to lower case and joins those of two algorithms with a comma. The data are
therefore cut to what all runs have, runs are numbered, and names are made `safe`; a remark names every omission and change.

Names differ between libraries (`NAMES`), and so do units: the layout has no unit of a win rate. Mava writes percentages, this library
fractions, BenchMARL no win rates, and 0.78 may be either. The scale is an argument of `read`, never guessed; without it values stay
unchanged.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from dop.analysis.compare import Comparison, Line, Task
from dop.analysis.statistics import LARGEST
from dop.errors import RunError, is_finite, printable, shown
from dop.storage import files
from dop.storage.records import Record

Results: TypeAlias = dict[str, dict[str, list[Record]]]
"""By task (`EnvSpec.name`), then by method."""
Scale: TypeAlias = Literal["fraction", "percent"]
"""Whether a win rate of 1 means all games or one in a hundred."""
NAMES: Mapping[str, tuple[str, ...]] = {
    "test_return_mean": ("return", "episode_return", "mean_episode_return", "mean_return"),
    "test_ep_length_mean": ("episode_length", "mean_episode_length"),
    "test_battle_won_mean": ("win_rate",),
}
"""This library's names, and those of others; the first is written."""
_OURS = {theirs: ours for ours, names in NAMES.items() for theirs in names}
FRACTIONS = ("test_battle_won_mean",)
"""Metrics that are fractions in this library, whatever they are elsewhere."""
_LEFT_OUT = "marl-eval needs the same of all"


def as_json(comparison: Comparison, remarks: list[str]) -> dict[str, Any]:
    """All evaluations of a comparison; omissions and changes of names are added to `remarks`.

    Raises:
        RunError: the tasks of an environment have no method or no metric in common.
    """
    by_environment: dict[str, list[Task]] = {}
    for task in comparison.tasks:
        by_environment.setdefault(_environment(task), []).append(task)
    names = safe({name: name for name in by_environment}, remarks)
    methods = safe({label: label for label in comparison.labels}, remarks)
    return {names[name]: _of_environment(name, tasks, methods, remarks) for name, tasks in by_environment.items()}


def _of_environment(environment: str, tasks: Sequence[Task], names: Mapping[str, str], remarks: list[str]) -> dict[str, Any]:
    """One environment: by task, method and run, cut to what all of them have."""
    lines = _common_lines(environment, tasks, remarks)
    runs = {(task, label): _runs(line) for task, own in lines.items() for label, line in own.items()}
    count = _same_number(environment, runs, remarks)
    kept = {where: list(own.values())[:count] for where, own in runs.items()}
    for (title, label), own in kept.items():
        if any(run[-1].iteration == 0 for run in own):
            raise RunError(f"{label} on {title} has a run without an evaluation after learning began: leave that run out, or resume it.")
    fewest = _fewest_evaluations(environment, [run for own in kept.values() for run in own], remarks)
    kept = {where: [[*run[:fewest], run[-1]] for run in own] for where, own in kept.items()}
    _note_other_steps(environment, kept, remarks)
    theirs = safe({metric: _theirs(metric) for metric in _common_metrics(environment, kept, remarks)}, remarks)
    titles = safe({task.title: _task_name(task) for task in tasks}, remarks)
    return {
        titles[task.title]: {
            names[label]: {f"seed_{place}": _run(run, theirs) for place, run in enumerate(kept[task.title, label])}
            for label in lines[task.title]
        }
        for task in tasks
    }


def _common_lines(environment: str, tasks: Sequence[Task], remarks: list[str]) -> dict[str, dict[str, Line]]:
    """By task: the lines of the methods with runs on all tasks."""
    by_task = {task.title: {line.label: line for line in task.lines} for task in tasks}
    everywhere = [label for label in by_task[tasks[0].title] if all(label in own for own in by_task.values())]
    some = list(dict.fromkeys(label for own in by_task.values() for label in own if label not in everywhere))
    if not everywhere:
        each = "; ".join(f"{title}: {', '.join(own)}" for title, own in by_task.items())
        raise RunError(
            f"No method has runs on all tasks of {environment} ({each}), and {_LEFT_OUT}. Write each task's runs to a file of its own."
        )
    if some:
        remarks.append(f"{environment}: the data lack {', '.join(some)}, which have no runs on some of its tasks; {_LEFT_OUT}.")
    return {title: {label: own[label] for label in everywhere} for title, own in by_task.items()}


def _runs(line: Line) -> dict[int, list[Record]]:
    """The evaluations of every seed, in order."""
    runs: dict[int, list[Record]] = {}
    for record in sorted((r for r in line.records if r.kind == "evaluation"), key=lambda r: (r.seed, r.env_steps)):
        runs.setdefault(record.seed, []).append(record)
    return runs


def _same_number(environment: str, runs: Mapping[tuple[str, str], Mapping[int, Any]], remarks: list[str]) -> int:
    """The number of runs that every method has on every task."""
    count = min(len(own) for own in runs.values())
    for (title, label), own in runs.items():
        seeds = list(own)
        if seeds[count:]:
            remarks.append(
                f"{environment}: the data lack {label}'s seeds {', '.join(map(str, seeds[count:]))} on {title}; "
                f"another method or task has only {count}, and {_LEFT_OUT}."
            )
        if seeds[:count] != list(range(count)):
            remarks.append(
                f"{environment}: in the data, seed_0 and so on are {label}'s seeds {', '.join(map(str, seeds[:count]))} on {title}."
            )
    return count


def _fewest_evaluations(environment: str, runs: Sequence[Sequence[Record]], remarks: list[str]) -> int:
    fewest, most = min(map(len, runs)), max(map(len, runs))
    if fewest < most:
        remarks.append(f"{environment}: the data have only the first {fewest} evaluations of each run; some runs have {most}.")
    return fewest


def _note_other_steps(environment: str, runs: Mapping[tuple[str, str], Sequence[Sequence[Record]]], remarks: list[str]) -> None:
    """Note methods evaluated at steps more than half an interval apart: marl-eval draws all of them at the first's steps."""
    steps = {label: np.mean([[record.env_steps for record in run[:-1]] for run in own], axis=0) for (_, label), own in runs.items()}
    first, reference = next(iter(steps.items()))
    if len(reference) < 2:
        return
    interval = (reference[-1] - reference[0]) / (len(reference) - 1)
    others = [label for label, own in steps.items() if np.abs(own - reference).max() > interval / 2]
    if others:
        remarks.append(
            f"{environment}: {', '.join(others)} and {first} were not evaluated after the same environment steps, and marl-eval draws all "
            "of them at one interval. Compare them with `dop plot`, or give them the same --eval-interval."
        )


def _common_metrics(environment: str, runs: Mapping[tuple[str, str], Sequence[Sequence[Record]]], remarks: list[str]) -> list[str]:
    """Metrics that are finite in every evaluation; a remark names a run that lacks another one."""
    lacking: dict[str, str] = {}
    records = [(record, label, title) for (title, label), own in runs.items() for run in own for record in run]
    names = dict.fromkeys(name for record, _, _ in records for name in record.metrics if name.endswith("_mean"))
    for record, label, title in records:
        for name in names:
            if not abs(record.metrics.get(name, math.nan)) <= LARGEST:
                lacking.setdefault(
                    name, f"{label}, seed {record.seed}, has none that is finite after {record.env_steps:,} steps of {title}"
                )
    reasons = [f"{environment}: the data lack {name}: {why}." for name, why in lacking.items()]
    remarks += reasons
    common = sorted(name for name in names if name not in lacking)
    if not common:
        raise RunError(f"No metric is a finite number in all evaluations of {environment}. {' '.join(reasons)} Leave such runs out.")
    return common


def _run(run: Sequence[Record], theirs: Mapping[str, str]) -> dict[str, Any]:
    """One run in marl-eval's layout and names: its evaluations, then its last one."""

    def values(record: Record) -> dict[str, list[float]]:
        return {name: [record.metrics[metric]] for metric, name in theirs.items()}

    *evaluations, last = run
    steps = [{"step_count": record.env_steps, "elapsed_time": record.wall_seconds, **values(record)} for record in evaluations]
    return {**{f"step_{place}": step for place, step in enumerate(steps)}, "absolute_metrics": values(last)}


def safe(names: Mapping[str, str], remarks: list[str]) -> dict[str, str]:
    """Distinct names that marl-eval can use: in lower case, without the characters by which it joins or splits names.

    Letters, digits and `. : + -` stay, all else becomes an underscore. Equal names get numbers. `extra` and `step_count` are reserved by
    marl-eval.
    """
    found: dict[str, str] = {}
    for key, name in names.items():
        wanted = re.sub(r"[^\w.:+-]+", "_", name.lower()).strip("_") or "unnamed"
        wanted = f"{wanted}_" if wanted == "extra" else wanted.replace("step_count", "steps_count")
        taken = set(found.values())
        found[key] = next(x for x in (wanted, *(f"{wanted}_{n}" for n in range(2, len(taken) + 3))) if x not in taken)
        renamed = f"{name} is called {found[key]} in the data."
        if found[key] != name.lower() and renamed not in remarks:
            remarks.append(renamed)
    return found


def _environment(task: Task) -> str:
    """The part of a title that names the environment: `smax:3m` is task 3m of smax, `mill` task mill of mill."""
    return task.title.lower().partition(":")[0]


def _task_name(task: Task) -> str:
    environment, _, name = task.title.partition(":")
    return name or environment


def _theirs(name: str) -> str:
    return NAMES[name][0] if name in NAMES else name.removeprefix("test_").removesuffix("_mean")


# --------------------------------------------------------------------------------------------------------------------- in


def read(path: Path, scale: Scale | None = None, fractions: Collection[str] = FRACTIONS) -> Results:
    """The results of a file in this layout.

    Args:
        path: the file.
        scale: of its win rates. Percentages become fractions; without a scale values stay unchanged (see `check_scale`).
        fractions: this library's names of the metrics with this scale.

    Raises:
        RunError: the file does not exist, is not JSON, has another layout, or has win rates beyond its scale.
    """
    try:
        found = json.loads(files.read_named(path))
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not JSON: {error}.") from error
    results: Results = {}
    for environment, tasks in _items(found, path, "environments"):
        for task, methods in _items(tasks, path, f"{environment}: tasks"):
            title = environment if task == environment else f"{environment}:{task}"
            for method, runs in _items(methods, path, f"{title}: algorithms"):
                for place, (run, steps) in enumerate(_items(runs, path, f"{title}, {method}: runs")):
                    records = _records(steps, place, _Place(path, f"{title}, {method}", run), scale, fractions)
                    results.setdefault(title, {}).setdefault(method, []).extend(records)
    return results


def _items(found: Any, path: Path, what: str) -> Iterable[tuple[str, Any]]:
    if not isinstance(found, dict) or not found:
        raise RunError(f"{path} is not in marl-eval's layout: expected an object of {what}, found {shown(found, 60)}.")
    return [(printable(name), inner) for name, inner in found.items()]


class _Place(NamedTuple):
    """The source of a run."""

    path: Path
    line: str
    """Its task and method."""
    run: str


def _records(steps: Any, seed: int, place: _Place, scale: Scale | None, fractions: Collection[str]) -> list[Record]:
    """The evaluations of one run, whose index is its seed."""
    records = []
    where = f"{place.line}, {place.run}"
    for name, step in _items(steps, place.path, f"{where}: steps"):
        if name == "absolute_metrics":
            continue
        if not isinstance(step, dict) or not is_finite(step.get("step_count")) or abs(step["step_count"]) >= 2**63:
            raise RunError(f"{place.path} is not in marl-eval's layout: {where}, {name} has no number step_count of at most 64 bits.")
        lists = {_OURS.get(key, f"test_{printable(key)}_mean"): values for key, values in step.items() if isinstance(values, list)}
        try:
            known = {metric: _numbers(values) for metric, values in lists.items() if values}
        except (TypeError, ValueError, OverflowError) as error:
            raise RunError(
                f"{place.path} is not in marl-eval's layout: {where}, {name} has a list with items that are not numbers."
            ) from error
        if scale is not None:
            known |= {metric: _as_fractions(known[metric], metric, place, scale) for metric in fractions if metric in known}
        metrics = {metric: float(np.mean(values)) for metric, values in known.items()}
        seconds = float(step["elapsed_time"]) if is_finite(step.get("elapsed_time")) else math.nan
        at = {"seed": seed, "iteration": len(records), "env_steps": int(step["step_count"]), "wall_seconds": seconds}
        records.append(Record(kind="evaluation", metrics=metrics, **at))
    return sorted(records, key=lambda record: record.env_steps)


def _numbers(values: list[Any]) -> Float[np.ndarray, " value"]:
    """The list as an array, with NaN for null.

    Raises:
        TypeError: an item is neither a number nor null.
    """
    if not all(value is None or is_finite(value) for value in values):
        raise TypeError("not a number")
    return np.asarray(values, dtype=float)


def _as_fractions(values: Float[np.ndarray, " value"], metric: str, place: _Place, scale: Scale) -> Float[np.ndarray, " value"]:
    """Values as fractions.

    Raises:
        RunError: one of them is beyond the scale.
    """
    whole = {"fraction": 1.0, "percent": 100.0}[scale]
    beyond = values[(values < 0) | (values > whole * (1 + 1e-6))]
    if beyond.size:
        value = beyond[0]
        other = " They may be percentages: --others-scale percent." if scale == "fraction" and 1 < value <= 100 else ""
        raise RunError(
            f"{place.path}: {place.run} has {_theirs(metric)} {value:g} in {place.line}, which is beyond 0 to {whole:g}, "
            f"a {scale}'s range.{other}"
        )
    return values / whole


def check_scale(results: Results, path: Path, metric: str) -> None:
    """Raise RunError if the scale of `metric` in this file is unknown and matters: it does not if all values are 0."""
    values = [record.metrics[metric] for record, _ in _all(results) if record.metrics.get(metric)]
    if values:
        raise RunError(
            f"{path} does not say whether its {_theirs(metric)}, up to {max(values):g}, is a fraction or a percentage (Mava "
            "writes percentages, dop fractions). Add --others-scale percent, or --others-scale fraction."
        )


def _all(results: Results) -> Iterable[tuple[Record, str]]:
    """Every record and its source."""
    for task, methods in results.items():
        for method, records in methods.items():
            for record in records:
                yield record, f"{task}, {method}"


def merged(comparison: Comparison, others: Mapping[str, Results]) -> Results:
    """The comparison's lines and those of other files (by name), on all tasks."""
    found: Results = {task.title: {line.label: line.records for line in task.lines} for task in comparison.tasks}
    by_lower = {title.lower(): title for title in found}
    for source, results in others.items():
        for task, methods in results.items():
            own = found.setdefault(by_lower.get(task.lower(), task), {})
            for method, records in methods.items():
                own[_label(method, source)] = records
    labels = list(dict.fromkeys(label for methods in found.values() for label in methods))
    return {task: {label: methods.get(label, []) for label in labels} for task, methods in found.items()}


def algorithms(comparison: Comparison, others: Mapping[str, Results]) -> dict[str, str]:
    """The algorithm of each line of `merged`, by label."""
    own = {line.label: line.entries[0].config.algorithm for task in comparison.tasks for line in task.lines}
    theirs = ((source, method) for source, results in others.items() for methods in results.values() for method in methods)
    return own | {_label(method, source): method for source, method in theirs}


def _label(method: str, source: str) -> str:
    return f"{method} ({source})"
