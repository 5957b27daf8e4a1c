"""Comparison of runs on disk: grouped by task and by method, with a remark on everything that limits the comparison.

Seeds are merged into one line only if algorithm, hyper-parameters and evaluation settings are the same; lines share a figure only if
environment, version and options are the same. Every omission and every separation has a remark.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dop.analysis.statistics import LARGEST, curves, finite_mean, known
from dop.errors import ConfigError, RunError, check_names
from dop.hyper_parameters import flat
from dop.storage import files, records
from dop.storage.config import RunConfig
from dop.storage.records import Record
from dop.storage.run_directory import RunFolder
from dop.types import LABELS

MEASURING = ("env_steps", "eval_interval", "eval_episodes", "precision")
"""Fields of `TrainConfig` that the numbers depend on."""
LAST = 3
"""Evaluations in a score, at most; the one before learning never counts."""
SCORE = f"the mean of the last {LAST} evaluations after learning began, or of all if there are fewer"
"""The same, as pages and remarks say it."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One run on disk."""

    folder: RunFolder
    config: RunConfig
    made_by: dict[str, Any]
    """`library_version`, `versions`, `device` and `machine` of its config.json."""
    records: list[Record]

    @property
    def measured(self) -> dict[str, Any]:
        """The evaluation settings."""
        return {name: getattr(self.config.train_config, name) for name in MEASURING}

    @property
    def name(self) -> str:
        return str(self.folder.path)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a figure: seeds of the same method with the same evaluation settings."""

    label: str
    entries: tuple[Entry, ...]
    records: list[Record]
    """Of all entries; every seed once."""

    @property
    def seeds(self) -> list[int]:
        return sorted({record.seed for record in self.records})

    def by_seed(self, metric: str) -> dict[int, float]:
        """The mean of the last `LAST` evaluations after learning began, of every seed that has one; NaN if none of them is finite."""
        learned = [record for record in self.records if record.iteration > 0]
        return {seed: finite_mean(curve.y[-LAST:]) for seed, curve in curves(learned, metric).items()}

    @property
    def evaluations(self) -> dict[int, int]:
        """The number of evaluations after learning began, by seed."""
        made = [record.seed for record in self.records if record.kind == "evaluation" and record.iteration > 0]
        return {seed: made.count(seed) for seed in self.seeds}

    def scores(self, metric: str) -> np.ndarray:
        """The finite values of `by_seed`."""
        values = np.array(list(self.by_seed(metric).values()))
        return values[np.isfinite(values)]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One figure: lines that may be compared."""

    title: str
    environment: str
    """`EnvSpec.name`."""
    lines: tuple[Line, ...]

    @property
    def metric(self) -> str:
        """The metric of scores: the environment's own metric if it is a fraction in all records (battles won, say), else the return."""
        spec = self.lines[0].entries[0].config.environment_spec if self.lines[0].entries else {"metrics": ()}
        for name in (f"test_{metric}_mean" for metric in spec["metrics"]):
            values = known([record.metrics[name] for line in self.lines for record in line.records if name in record.metrics])
            values = values[np.isfinite(values)]
            if values.size and values.min() >= 0 and values.max() <= 1:
                return name
        return "test_return_mean"

    @property
    def fraction(self) -> bool:
        """Whether the score is a fraction in [0, 1]."""
        return self.metric != "test_return_mean"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All tasks and remarks of a comparison."""

    tasks: tuple[Task, ...]
    remarks: list[str] = field(default_factory=list)

    @property
    def labels(self) -> list[str]:
        """The labels of all lines, in the order of their first appearance, so that a label has the same colour everywhere."""
        return list(dict.fromkeys(line.label for task in self.tasks for line in task.lines))

    @property
    def entries(self) -> list[Entry]:
        return [entry for task in self.tasks for line in task.lines for entry in line.entries]


# ------------------------------------------------------------------------------------------------------------------ reading


def read(path: Path) -> Entry:
    """One run.

    Raises:
        RunError: the path is not a run, it is damaged, or it has no evaluation yet.
    """
    folder = RunFolder(path)
    folder.check_is_run("it has no records to compare. Compare runs; `dop evaluate` evaluates a model.")
    config = folder.read_config()
    found = json.loads(files.read_text(folder.config))
    evaluations = records.read(folder.metrics)
    made_by = {name: found.get(name) for name in ("library_version", "versions", "device", "machine")}
    _check(folder, config.environment_spec, made_by)
    if not any(record.kind == "evaluation" for record in evaluations):
        raise RunError(f"{path} has no evaluation yet. The first comes when training has started: wait, or `dop resume` it.")
    return Entry(folder=folder, config=config, made_by=made_by, records=evaluations)


def _check(folder: RunFolder, spec: dict[str, Any], made_by: dict[str, Any]) -> None:
    """Raise RunError for invalid fields of a config.json that only comparisons read."""
    try:
        names = [spec["name"], str(spec["version"]), *spec["metrics"], *dict(spec.get("options", ())), *(made_by["versions"] or {}).keys()]
        check_names("those of its environment", names)
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise RunError(f"{folder.config} is damaged: {type(error).__name__}: {error}") from error


def gather(paths: Sequence[Path]) -> Comparison:
    """Read runs, or all runs (no models) inside folders, and compare them. An unreadable run inside a folder gets a remark.

    Raises:
        RunError: there is no path, a path neither is nor contains a run, or a named run cannot be read.
    """
    if not paths:
        raise RunError("There is nothing to compare: name run directories, or folders that contain some.")
    entries, remarks = [], []
    for path in paths:
        if os.path.lexists(path / "config.json"):
            entries.append(read(path))
            continue
        folders = sorted(config.parent for config in path.rglob("config.json"))
        inside = [folder for folder in folders if not RunFolder(folder).is_model]
        if not inside:
            raise RunError(f"{path} is not a run directory and contains none: there is no config.json. Runs are under runs/<environment>/.")
        for run in inside:
            try:
                entries.append(read(run))
            except RunError as error:
                remarks.append(f"Left out: {error}")
    if not entries:
        raise RunError(f"None of the runs can be used. {' '.join(remarks)}")
    return compare(entries, remarks)


# ---------------------------------------------------------------------------------------------------------------- comparing


def compare(entries: Sequence[Entry], remarks: Iterable[str] = ()) -> Comparison:
    """Group runs into tasks and lines."""
    notes = list(remarks)
    entries = _without_duplicates(entries, notes)
    labels = _labels(entries, notes)
    tasks = []
    for title, own in _tasks(entries, notes):
        lines = []
        for label in dict.fromkeys(labels[id(entry)] for entry in own):
            lines.append(_line(label, [entry for entry in own if labels[id(entry)] == label], notes))
        notes += _differences(title, lines)
        tasks.append(Task(title=title, environment=own[0].config.environment_spec["name"], lines=tuple(lines)))
    return Comparison(tasks=tuple(tasks), remarks=notes)


def _without_duplicates(entries: Sequence[Entry], notes: list[str]) -> list[Entry]:
    kept: dict[Path, Entry] = {}
    for entry in entries:
        place = entry.folder.path.resolve()
        if place in kept:
            notes.append(f"{entry.name} was given twice and counts once.")
        kept.setdefault(place, entry)
    return list(kept.values())


def _tasks(entries: Sequence[Entry], notes: list[str]) -> Iterator[tuple[str, list[Entry]]]:
    """Entries by environment and by its whole spec."""
    by_name: dict[str, dict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        spec = entry.config.environment_spec
        by_name[spec["name"]][_spec(entry)].append(entry)
    for name, specs in by_name.items():
        if len(specs) == 1:
            yield name, next(iter(specs.values()))
            continue
        differ = _differing([_flat(json.loads(spec)) for spec in specs])
        titles = [f"{name} ({_described(_flat(json.loads(spec)), differ)})" for spec in specs]
        notes.append(f"{name} differs between runs and is shown separately: {'; '.join(titles)}.")
        yield from zip(titles, specs.values(), strict=True)


def _spec(entry: Entry) -> str:
    """The spec of an environment without labels, for comparison."""
    return json.dumps({name: value for name, value in entry.config.environment_spec.items() if name not in LABELS}, sort_keys=True)


def _flat(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec's fields and options in one dict."""
    return {**{k: v for k, v in spec.items() if k != "options"}, **dict(spec.get("options", ()))}


def _labels(entries: Sequence[Entry], notes: list[str]) -> dict[int, str]:
    """A line's name for every entry: its algorithm, and what distinguishes it from other runs of that algorithm."""
    named: dict[int, str] = {}
    explained: set[str] = set()
    by_algorithm: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_algorithm[entry.config.algorithm].append(entry)
    for algorithm, own in by_algorithm.items():
        hyper = [flat(entry.config.hyper_parameters) for entry in own]
        settings = [found | entry.measured for found, entry in zip(hyper, own, strict=True)]
        # Evaluation settings may differ between tasks; only within a task do they make another line.
        by_task = [[e.measured for e in own if _spec(e) == spec] for spec in dict.fromkeys(map(_spec, own))]
        measured = [name for found in by_task for name in _differing(found)]
        differ = list(dict.fromkeys(_differing(hyper) + measured))
        distinct = list(dict.fromkeys(_key(setting, differ) for setting in settings))
        for entry, setting in zip(own, settings, strict=True):
            number = distinct.index(_key(setting, differ)) + 1
            words = _described(setting, differ) if len(differ) <= 3 else f"setting {number}"
            named[id(entry)] = f"{algorithm} ({words})" if differ else algorithm
            if len(differ) > 3 and named[id(entry)] not in explained:
                explained.add(named[id(entry)])
                notes.append(f"{named[id(entry)]} is {entry.name}: {_described(setting, differ)}.")
    return named


def _key(setting: dict[str, Any], names: Sequence[str]) -> str:
    return json.dumps([setting.get(name) for name in names])


def _differing(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Names with more than one value."""
    names = dict.fromkeys(name for setting in settings for name in setting)
    return [name for name in names if len({json.dumps(setting.get(name), sort_keys=True) for setting in settings}) > 1]


def _described(setting: dict[str, Any], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {setting.get(name)}" for name in names)


def _line(label: str, entries: Sequence[Entry], notes: list[str]) -> Line:
    """One line. Where several runs have the same seed, the first counts."""
    owner: dict[int, Entry] = {}
    kept: list[Record] = []
    for entry in entries:
        duplicates = sorted({record.seed for record in entry.records} & owner.keys())
        for seed in duplicates:
            notes.append(f"{label}: seed {seed} is in {owner[seed].name} and in {entry.name}; only the first counts.")
        kept += [record for record in entry.records if record.seed not in duplicates]
        owner |= {record.seed: entry for record in entry.records if record.seed not in duplicates}
    used = tuple(entry for entry in entries if entry in owner.values())
    return Line(label=label, entries=used, records=kept)


def _differences(title: str, lines: Sequence[Line]) -> list[str]:
    """Remarks on differences within one task."""
    notes = []
    entries = [entry for line in lines for entry in line.entries]
    for name in _differing([entry.measured for entry in entries]):
        found = "; ".join(f"{line.label}: {line.entries[0].measured[name]}" for line in lines)
        notes.append(f"{title}: {name} differs, so these lines were not evaluated alike. {found}.")
    for name, meaning in (("library_version", "versions of this library"), ("machine", "machines"), ("device", "devices")):
        found = sorted({str(entry.made_by[name]) for entry in entries})
        if len(found) > 1:
            what = "numbers may differ for that reason" if name == "library_version" else "wall-clock times are not comparable"
            notes.append(f"{title}: runs of different {meaning} ({'; '.join(found)}): {what}.")
    for line in lines:
        notes += [f"{title}, {line.label}: {words}" for words in _not_finite(line)]
        steps = {seed: max(r.env_steps for r in line.records if r.seed == seed) for seed in line.seeds}
        goal = line.entries[0].config.train_config.env_steps
        early = [f"seed {seed} at {reached:,}" for seed, reached in steps.items() if reached < goal]
        if early:
            notes.append(f"{title}, {line.label}: not finished ({', '.join(early)} of {goal:,} environment steps).")
        few = [f"seed {seed} has {_evaluation_count(made)}" for seed, made in line.evaluations.items() if made < LAST]
        if few:
            notes.append(f"{title}, {line.label}: a score is {SCORE}; {', '.join(few)}.")
    return notes


def _evaluation_count(evaluations: int) -> str:
    return {0: "none, and no score", 1: "only one"}.get(evaluations, f"only {evaluations}")


def _not_finite(line: Line) -> Iterator[str]:
    """Remarks on evaluations that are not finite."""
    lost: dict[str, set[int]] = defaultdict(set)
    for record in line.records:
        for name, value in record.metrics.items() if record.kind == "evaluation" else ():
            if not abs(value) <= LARGEST:
                lost[name].add(record.seed)
    for name, seeds in lost.items():
        of = f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, sorted(seeds)))}"
        yield f"{name} is not finite, or beyond {LARGEST:g}, in evaluations of {of}, which are left out."


def hyper_parameters(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """By label: the fields, `TrainConfig`'s included, that differ between the lines that have them."""
    settings = {}
    for task in comparison.tasks:
        for line in task.lines:
            config = line.entries[0].config
            origin = {"init_from": (config.init_from or {}).get("run")}
            settings.setdefault(line.label, asdict(config.train_config) | flat(config.hyper_parameters) | origin)
    shared = [
        {k: v for k, v in setting.items() if k not in ("seeds", "chunk_iterations", "checkpoint_interval", "threads")}
        for setting in settings.values()
    ]
    names = dict.fromkeys(name for setting in shared for name in setting)
    differ = [n for n in names if len({json.dumps(setting[n]) for setting in shared if n in setting}) > 1]
    return {label: {name: setting.get(name) for name in differ} for label, setting in zip(settings, shared, strict=True)}
