"""Results in the JSON layout that marl-eval reads (Gorsane et al. 2022), out and in, so that they stand beside BenchMARL's and Mava's.

    {environment: {task: {algorithm: {run: {"step_0": {"step_count": 400, "elapsed_time": 1.5, "return": [9.5], "win_rate": [0.5]}, ...
                                            "absolute_metrics": {"return": [9.5], ...}}}}}}

Steps count environment steps, times are seconds, every metric is a list: here of one number, the mean over an evaluation's episodes; on
reading, the mean of the list is taken. `absolute_metrics`, which their protocol has from a separate, longer evaluation of the best policy,
hold the last evaluation's numbers. marl-eval wants as many evaluations of every run of an environment: all are cut to the fewest.

Names differ between libraries; `NAMES` has ours and theirs. A file with a win rate above 1 has percentages, as Mava writes them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from dop.engine import files
from dop.engine.records import Record
from dop.errors import RunError, is_finite, printable, shown
from dop.report.compare import Comparison, Task

Results: TypeAlias = dict[str, dict[str, list[Record]]]
"""By task, as `EnvSpec.name` calls it, then by method."""
NAMES: Mapping[str, tuple[str, ...]] = {
    "test_return_mean": ("return", "episode_return", "mean_episode_return", "mean_return"),
    "test_ep_length_mean": ("episode_length", "mean_episode_length"),
    "test_battle_won_mean": ("win_rate",),
}
"""Our names, and those of others; the first is the one that is written."""
_OURS = {theirs: ours for ours, names in NAMES.items() for theirs in names}
_SHARES = ("test_battle_won_mean",)


def as_json(comparison: Comparison, said: list[str]) -> dict[str, Any]:
    """All evaluations of a comparison; what had to be left out is added to `said`, in words."""
    found: dict[str, Any] = {}
    for task in comparison.tasks:
        environment, name = _names(task.title)
        found.setdefault(environment, {})[name] = _task(task)
    for environment, tasks in found.items():
        runs = [run for methods in tasks.values() for seeds in methods.values() for run in seeds.values()]
        fewest, most = min(map(len, runs)), max(map(len, runs))
        if fewest < most:
            said.append(
                f"{environment}: the data have only the first {fewest} evaluations of each run, as many as all have; some have {most}."
            )
        for run in runs:
            steps = list(run.values())[:fewest]
            run.clear()
            run |= {f"step_{place}": step for place, step in enumerate(steps)}
            run["absolute_metrics"] = {name: value for name, value in steps[-1].items() if isinstance(value, list)}
    return found


def _task(task: Task) -> dict[str, Any]:
    """By method, run and evaluation, of those metrics that all of them have."""
    evaluations = {line.label: [r for r in line.records if r.kind == "evaluation"] for line in task.lines}
    shared = set.intersection(*(_finite(record) for records in evaluations.values() for record in records))
    methods: dict[str, Any] = {}
    for label, records in evaluations.items():
        for record in sorted(records, key=lambda r: r.env_steps):
            values = {_theirs(name): [record.metrics[name]] for name in sorted(shared)}
            run = methods.setdefault(label, {}).setdefault(f"seed_{record.seed}", {})
            run[f"step_{len(run)}"] = {"step_count": record.env_steps, "elapsed_time": record.wall_seconds, **values}
    return methods


def _finite(record: Record) -> set[str]:
    return {name for name, value in record.metrics.items() if math.isfinite(value)}


def _names(title: str) -> tuple[str, str]:
    """Of environment and task, in lower case, which marl-eval asks for: `smax:3m` is task 3m of smax, `mill` task mill of mill."""
    environment, _, task = title.lower().partition(":")
    return environment, task or environment


def _theirs(name: str) -> str:
    return NAMES[name][0] if name in NAMES else name.removeprefix("test_").removesuffix("_mean")


# --------------------------------------------------------------------------------------------------------------------- in


def read(path: Path) -> Results:
    """The results of a file in this layout.

    Raises:
        RunError: there is no such file, it is not JSON, or not of this layout; the message says where.
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
                    where = f"{title}, {method}, {run}"
                    results.setdefault(title, {}).setdefault(method, []).extend(_records(steps, place, path, where))
    _make_shares([record for methods in results.values() for records in methods.values() for record in records])
    return results


def _items(found: Any, path: Path, what: str) -> Iterable[tuple[str, Any]]:
    if not isinstance(found, dict) or not found:
        raise RunError(f"{path} is not in marl-eval's layout: expected an object of {what}, found {shown(found, 60)}.")
    return [(printable(name), inner) for name, inner in found.items()]


def _records(steps: Any, seed: int, path: Path, where: str) -> list[Record]:
    """The evaluations of one run; its place stands for its seed."""
    records = []
    for name, step in _items(steps, path, f"{where}: steps"):
        if name == "absolute_metrics":
            continue
        if not isinstance(step, dict) or not is_finite(step.get("step_count")) or abs(step["step_count"]) >= 2**63:
            raise RunError(f"{path} is not in marl-eval's layout: {where}, {name} has no number step_count of at most 64 bits.")
        try:
            metrics = {
                _OURS.get(key, f"test_{printable(key)}_mean"): _mean(values)
                for key, values in step.items()
                if isinstance(values, list) and values
            }
        except (TypeError, ValueError, OverflowError) as error:
            raise RunError(f"{path} is not in marl-eval's layout: {where}, {name} has a list of other things than numbers.") from error
        seconds = float(step["elapsed_time"]) if is_finite(step.get("elapsed_time")) else math.nan
        at = {"seed": seed, "iteration": len(records), "env_steps": int(step["step_count"]), "wall_seconds": seconds}
        records.append(Record(kind="evaluation", metrics=metrics, **at))
    return sorted(records, key=lambda record: record.env_steps)


def _mean(values: list[Any]) -> float:
    return float(np.mean(np.asarray(values, dtype=float)))


def _make_shares(records: list[Record]) -> None:
    """Percentages made shares, where any value of a file is above 1: a run that wins once in 200 games is not one that wins half."""
    for name in _SHARES:
        having = [record.metrics for record in records if name in record.metrics]
        if any(metrics[name] > 1 for metrics in having):
            for metrics in having:
                metrics[name] /= 100


def merged(comparison: Comparison, others: Mapping[str, Results]) -> Results:
    """Our lines and those of other files (by a name for each), on the tasks that they share or that only one has."""
    found: Results = {task.title: {line.label: line.records for line in task.lines} for task in comparison.tasks}
    by_lower = {title.lower(): title for title in found}
    for source, results in others.items():
        for task, methods in results.items():
            own = found.setdefault(by_lower.get(task.lower(), task), {})
            for method, records in methods.items():
                own[f"{method} ({source})"] = records
    labels = list(dict.fromkeys(label for methods in found.values() for label in methods))
    return {task: {label: methods.get(label, []) for label in labels} for task, methods in found.items()}
