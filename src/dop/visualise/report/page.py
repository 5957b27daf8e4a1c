"""The report: one self-contained HTML file with curves, comparison, differences, films and per-agent credit.

Made of a template, `page.css`, `page.js` and SVG. It is readable in light and dark, on a phone, by keyboard and by a screen reader:
headings in order, every figure with a description and its numbers in a table, no motion without a click.

Run directories are not trusted: every text is escaped (`dop.visualise.report.html`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, TypeAlias

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dop.analysis import statistics
from dop.analysis.compare import SCORE, Comparison, Line, Task
from dop.analysis.playback import Trajectory
from dop.analysis.statistics import FEWEST_SEEDS
from dop.errors import ConfigError, is_finite, plain, shown
from dop.loggers.progress import clock
from dop.storage.records import Record
from dop.visualise import credit_figures, film
from dop.visualise.curves import PANELS, Panel, metric_words, panel_figure, style
from dop.visualise.report import html, provenance
from dop.visualise.report.numbers import LIMITLESS, count, estimate, number, over_seeds, span

_INK = "#333333"
Bounds: TypeAlias = tuple[float, float]
"""The values of a metric that count as 0 and as 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RunRollouts:
    """Episodes of one line of one task."""

    task: str
    label: str
    run: str
    environment: Any
    examples: Mapping[str, Trajectory]
    """By name: best, worst."""
    many: Sequence[Trajectory]
    training: Mapping[int, Sequence[Trajectory]]


def build(
    comparison: Comparison,
    all_rollouts: Sequence[RunRollouts],
    missing: Sequence[str],
    *,
    made: str,
    bounds: Mapping[str, Bounds] | None = None,
) -> str:
    """The whole page.

    Args:
        comparison: of the runs.
        all_rollouts: episodes to show.
        missing: remarks on missing episodes.
        made: date and time, as text.
        bounds: by title of a task.
    """
    bounds = bounds or {}
    title = ", ".join(dict.fromkeys(task.environment for task in comparison.tasks))
    parts = [
        *(_task(comparison, task, bounds.get(task.title)) for task in comparison.tasks),
        _all_tasks(comparison, bounds),
        provenance.hyper_parameters(comparison),
        *(_rollouts(rollouts) for rollouts in all_rollouts),
        provenance.origin(comparison),
    ]
    whole = html.piece(
        "page",
        title=title,
        count=_count(comparison),
        made=made,
        version=metadata.version("dop-marl"),
        style=html.own_file("page.css"),
        script=html.own_file("page.js"),
        remarks=[*comparison.remarks, *missing],
        parts=parts,
    )
    return str(whole)


def _count(comparison: Comparison) -> str:
    kinds = (("run", comparison.entries), ("method", comparison.labels), ("task", comparison.tasks))
    return ", ".join(count(len(found), word) for word, found in kinds)


# -------------------------------------------------------------------------------------------------------------------- tasks


def _task(comparison: Comparison, task: Task, bounds: Bounds | None) -> Markup:
    """Curves and a table of one task."""
    by_label = _in_order(comparison, task)
    panels = [Panel(metric=task.metric, axis="env_steps", title=metric_words(task.metric), fraction=True)] if task.fraction else []
    panels += [panel for panel in PANELS[1:] if any(statistics.curves(kept, panel.metric) for kept in by_label.values())]
    drawn = [html.figure(panel_figure(panel, by_label), title=panel.title, description=_describe(task, panel.metric)) for panel in panels]
    legend = [(_look(comparison, line.label), line.label) for line in task.lines]
    limits = _return_limits(task, bounds)
    rows = [_row(comparison, task, line, limits) for line in task.lines]
    score = [f"{metric_words(task.metric)} at the end"] if task.fraction else []
    header = ("method", "seeds", *score, "Greedy return at the end", "environment steps", "time per seed")
    ends = html.table(f"{task.title}: {_ends_words(task, limits)}", header, rows)
    return html.piece("task", title=task.title, legend=legend, bands=_line_words(task), figures=drawn, ends=ends)


def _line_words(task: Task) -> str:
    """Describe the kinds of lines in the curves."""
    most = max(len(line.seeds) for line in task.lines)
    if most == 1:
        return "One line: one seed."
    band = f"; band, from {FEWEST_SEEDS} seeds on: 95% confidence interval of the mean (Student's t)"
    return f"Bold: mean over seeds; thin: single seeds{band if most >= FEWEST_SEEDS else ''}."


def _return_limits(task: Task, bounds: Bounds | None) -> Bounds:
    """The range of returns, if known: the bounds of the task, unless a seed is beyond them."""
    ends = [line.scores("test_return_mean") for line in task.lines]
    if bounds is None or task.fraction or any(((own < bounds[0]) | (own > bounds[1])).any() for own in ends):
        return LIMITLESS
    return bounds


def _ends_words(task: Task, limits: Bounds) -> str:
    """Describe the numbers of a task's table."""
    seeds = [len(line.seeds) for line in task.lines]
    words = [f"at the end is {SCORE}"]
    if max(seeds) >= FEWEST_SEEDS:
        cut = [f"a {metric_words(task.metric).lower()} to 0% and 100%"] if task.fraction else []
        cut += [f"returns to {limits[0]:g} and {limits[1]:g}"] if limits != LIMITLESS else []
        words.append(f"Mean over seeds [95% interval by Student's t{', cut: ' + ', '.join(cut) if cut else ''}]")
    if min(seeds) < FEWEST_SEEDS:
        values = ": their own values are in round brackets" if any(1 < count < FEWEST_SEEDS for count in seeds) else ""
        words.append(f"Fewer than {FEWEST_SEEDS} seeds have no interval{values}")
    return ". ".join(words) + "."


def _in_order(comparison: Comparison, task: Task) -> dict[str, list[Record]]:
    """Records by label, in the comparison's order, which gives colours."""
    own = {line.label: line.records for line in task.lines}
    return {label: own.get(label, []) for label in comparison.labels}


def _describe(task: Task, metric: str) -> str:
    ends = [f"{line.label} ends at {number(float(np.mean(line.scores(metric))))}" for line in task.lines if len(line.scores(metric))]
    return f"{task.title}. " + "; ".join(ends or ["nothing finite since learning began"]) + "."


def _row(comparison: Comparison, task: Task, line: Line, limits: Bounds) -> list[str]:
    last = [max((r for r in line.records if r.seed == seed), key=lambda r: r.env_steps) for seed in line.seeds]
    steps, seconds = [r.env_steps for r in last], [r.wall_seconds for r in last]
    return [
        _named(comparison, line.label),
        str(len(line.seeds)),
        *([over_seeds(line.scores(task.metric), fraction=True, limits=(0, 1))] if task.fraction else []),
        over_seeds(line.scores("test_return_mean"), limits=limits),
        span(f"{min(steps):,}", f"{max(steps):,}"),
        span(clock(min(seconds)), clock(max(seconds))),
    ]


def _look(comparison: Comparison, label: str) -> str:
    return html.line_look(comparison.labels.index(label))


def _named(comparison: Comparison, label: str) -> Markup:
    return html.piece("named", look=_look(comparison, label), name=label)


# ---------------------------------------------------------------------------------------------------------------- all tasks


def _all_tasks(comparison: Comparison, bounds: Mapping[str, Bounds]) -> Markup:
    """Statistics over tasks, with one block for each set of methods with runs on the same tasks."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for label in comparison.labels:
        played = tuple(
            task.title for task in comparison.tasks for line in task.lines if line.label == label and line.scores(task.metric).size
        )
        groups.setdefault(played, []).append(label)
    blocks = [_block(comparison, titles, labels, bounds) for titles, labels in groups.items() if titles]
    words = [
        f"A seed's score is {SCORE}. It does not depend on the other methods of this page. Intervals: 95%, bootstrap stratified by task "
        f"(Agarwal et al. 2021); none where a task has fewer than {FEWEST_SEEDS} seeds."
    ]
    if any(block["ends"] for block in blocks):
        words.append(
            "The IQM is the mean of the middle half of all scores. Mean and median are over tasks, of each task's mean over seeds. The "
            "optimality gap is the mean shortfall of scores from 1: less is better. It needs scores from 0 to 1."
        )
    return html.piece("all_tasks", words=words, blocks=blocks)


def _block(comparison: Comparison, titles: Sequence[str], labels: Sequence[str], bounds: Mapping[str, Bounds]) -> dict[str, Any]:
    """Statistics of methods with runs on the same tasks."""
    tasks = [task for task in comparison.tasks if task.title in titles]
    scores = scores_of(tasks, labels, bounds)
    words = [_score_words(tasks, scores, bounds)]
    unbounded = [task.title for task in tasks if not (task.fraction or task.title in bounds)]
    ends, figures = [], []
    if unbounded and len(tasks) > 1:
        advice = " ".join(f"--bounds '{title}=LOW:HIGH'" for title in unbounded)
        words.append(f"Scores in different units have no common mean. To have one, say which returns count as 0 and as 1: {advice}.")
    else:
        ends.append(_aggregates(comparison, scores, scaled=not unbounded))
        figures += [_profiles(labels, scores, "return" if unbounded else "score")] if len(labels) > 1 else []
    if len(labels) > 1:
        figures.append(_improvement(comparison, labels, scores))
    return {"words": words, "ends": ends, "figures": figures}


def _aggregates(comparison: Comparison, scores: Mapping[str, list[np.ndarray]], *, scaled: bool) -> Markup:
    """The statistics of `rliable` for each method; the optimality gap only of `scaled` scores."""
    kinds = {"IQM": statistics.interquartile_mean, "mean": statistics.mean_score, "median": statistics.median_score}
    kinds |= {"optimality gap": statistics.optimality_gap} if scaled else {}
    rows = []
    for label, own in scores.items():
        seeds = [len(of_task) for of_task in own]
        found = [estimate(statistic(own)) for statistic in kinds.values()]
        rows.append([_named(comparison, label), *found, span(str(min(seeds)), str(max(seeds))), str(len(own))])
    return html.table("The scores of all tasks together", ("method", *kinds, "seeds per task", "tasks"), rows)


def scores_of(tasks: Sequence[Task], labels: Sequence[str], bounds: Mapping[str, Bounds] | None = None) -> dict[str, list[np.ndarray]]:
    """The score of every seed, by method and then by task, independent of the other methods.

    `bounds`, by title of a task, scale scores to 0 and 1; a score beyond them is below 0 or above 1.
    """
    found: dict[str, list[np.ndarray]] = {label: [] for label in labels}
    for task in tasks:
        low, high = (bounds or {}).get(task.title, (0.0, 1.0))
        for line in task.lines:
            if line.label in found:
                found[line.label].append((line.scores(task.metric) - low) / (high - low))
    return found


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and all(_is_number(plain(number)) for number in pair)


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or is_finite(value)


def check_bounds(bounds: Mapping[str, Bounds], comparison: Comparison) -> None:
    """Raise ConfigError for invalid bounds."""
    if not isinstance(bounds, Mapping) or not all(_is_pair(pair) for pair in bounds.values()):
        raise ConfigError(f"bounds must be a dict from tasks to two numbers each, for example {{'mill': (0, 20)}}; got {shown(bounds)}.")
    tasks = {task.title: task for task in comparison.tasks}
    for title, (low, high) in bounds.items():
        if title not in tasks:
            raise ConfigError(f"There is no task {title!r} to give bounds for. There are: {', '.join(tasks)}.")
        if not (abs(low) <= statistics.LARGEST and abs(high) <= statistics.LARGEST and high - low > 1 / statistics.LARGEST):
            raise ConfigError(f"Bounds must be two finite numbers, the lower one first; {title} has {low:g}:{high:g}.")
        if tasks[title].fraction and not 0 <= low < high <= 1:
            metric = metric_words(tasks[title].metric).lower()
            raise ConfigError(
                f"The score of {title} is the {metric}, a fraction from 0 to 1, so that bounds {low:g}:{high:g} do not fit. Leave them out."
            )


def _score_words(tasks: Sequence[Task], scores: Mapping[str, list[np.ndarray]], bounds: Mapping[str, Bounds]) -> str:
    """Describe the scores and their scaling."""
    kinds: dict[str, list[str]] = {}
    for task in tasks:
        if task.title in bounds:
            low, high = bounds[task.title]
            what = f"{metric_words(task.metric).lower()}, scaled so that {low:g} is 0 and {high:g} is 1"
        else:
            what = f"{metric_words(task.metric).lower()}, {'from 0 to 1' if task.fraction else 'not scaled'}"
        kinds.setdefault(what, []).append(task.title)
    each = " ".join(f"On {', '.join(titles)}: {what}." for what, titles in kinds.items())
    values = np.concatenate([own for of_tasks in scores.values() for own in of_tasks])
    outside = " Some scores are beyond the bounds." if bounds and (values.min() < 0 or values.max() > 1) else ""
    return f"{each}{outside}"


def _profiles(labels: Sequence[str], scores: Mapping[str, list[np.ndarray]], what: str) -> Markup:
    """Performance profiles over scores, at least from 0 to 1, or over returns; `what` names the axis."""
    picture, axes = _small_figure()
    values = np.concatenate([own for of_tasks in scores.values() for own in of_tasks])
    ends = (values.min(), values.max()) if what == "return" else (min(0.0, values.min()), max(1.0, values.max()))
    levels = np.linspace(*ends, 41)
    for place, label in enumerate(labels):
        found = statistics.performance_profile(scores[label], levels)
        axes.plot(levels, found.mean, **style(place))
        axes.fill_between(levels, found.low, found.high, color=style(place)["color"], alpha=0.15, linewidth=0)
    axes.set(ylim=(-0.02, 1.02))
    axes.set_xlabel(what, fontsize=9, color=_INK)
    axes.set_ylabel("fraction of seeds above it", fontsize=9, color=_INK)
    means = [f"the mean {what} of {label} is {number(float(np.mean(np.concatenate(scores[label]))))}" for label in labels]
    return html.figure(picture, title="Performance profiles", description=f"Fraction of seeds above each {what}; {'; '.join(means)}.")


def _improvement(comparison: Comparison, labels: Sequence[str], scores: Mapping[str, list[np.ndarray]]) -> Markup:
    rows = []
    for place, x in enumerate(labels):
        for y in labels[place + 1 :]:
            found = statistics.probability_of_improvement(scores[x], scores[y])
            pair = html.piece("pair", looks=[_look(comparison, x), _look(comparison, y)], names=[x, y])
            rows.append([pair, estimate(found)])
    shown = html.table("How likely a seed of the first beats one of the second, on a task drawn at random", ("pair", "probability"), rows)
    return html.piece("figure", title="Probability of improvement", drawn=shown)


def _small_figure() -> tuple[Figure, Axes]:
    picture = Figure(figsize=(4.8, 3.2), layout="constrained", facecolor="white")
    axes = picture.subplots()
    credit_figures.style_axes(axes, "")
    return picture, axes


# -------------------------------------------------------------------------------------------------------------------- films

_LEFT, _RIGHT = 0.09, 0.985
"""Extent of a time line's axes, as fractions of its width; the page's cursor moves within."""


def _rollouts(rollouts: RunRollouts) -> Markup:
    """Films and credit of one line."""
    films = [
        {
            "title": f"{name.capitalize()} of {len(rollouts.many)} episodes: return {trajectory.undiscounted_return:.2f}",
            "player": _player(rollouts, trajectory),
        }
        for name, trajectory in rollouts.examples.items()
    ]
    credit = html.piece("no_credit") if rollouts.many[0].credit_estimate is None else _credit(rollouts)
    return html.piece("rollouts", task=rollouts.task, label=rollouts.label, run=rollouts.run, films=films, credit=credit)


def _credit(rollouts: RunRollouts) -> Markup:
    """Per-agent credit, as text and as a figure."""
    credit_estimate = credit_figures.credit_estimate(rollouts.many[0])
    whole = (
        "The team's value is the sum of k Q over the agents, plus b."
        if credit_estimate.b is not None
        else "Each agent's Q is the value of the whole team."
    )
    picture = credit_figures.summary_figure(rollouts.many, rollouts.training, title=rollouts.label)
    found = credit_figures.by_agent(rollouts.many)
    means = "; ".join(
        f"{agent} {credit_figures.number(mean)}" for agent, mean in zip(rollouts.many[0].spec.agents, found.mean, strict=True)
    )
    words = f"Mean credit of a step by agent: {means}. Also by action, and over training."
    return html.piece("credit", whole=whole, words=words, image=html.png(film.pixels(picture), colours=128))


def _player(rollouts: RunRollouts, trajectory: Trajectory) -> Markup:
    spec = trajectory.spec
    frames, still = [], Figure(figsize=(3.6, 3.6), dpi=100, layout="constrained", facecolor="white")
    scene = still.subplots()
    for t in range(trajectory.length + 1):
        film.draw_scene(scene, rollouts.environment, trajectory, t)
        frames.append(html.png(film.pixels(still)))
        scene.clear()
    fields = ["action", *(field for field, _ in credit_figures.ROWS if trajectory.credit_estimate is not None)]
    steps = {"action": [[film.action_text(trajectory, t, i) for i in range(spec.n_agents)] for t in range(trajectory.length)]}
    steps |= {
        field: np.vectorize(credit_figures.number, otypes=[object])(getattr(trajectory.credit_estimate, field)).tolist()
        for field in fields[1:]
    }
    returns = [f"{x:.2f}" for x in np.cumsum(trajectory.steps.reward)]
    speed = min(max(trajectory.length / 8, 1.5), 10)
    data = {"frames": frames, "returns": returns, "fields": fields, "steps": steps, "speed": speed, "left": _LEFT, "right": _RIGHT}
    looks = [html.colour_look(colour) for colour in film.colours_of(spec.n_agents)]
    rows = [[html.piece("named", look=look, name=name), *("" for _ in fields)] for name, look in zip(spec.agents, looks, strict=True)]
    shown = html.table("Each agent's action at this step, and its credit", ("agent", *fields), rows)
    alt = f"{rollouts.task} as a film; the table has the same in numbers"
    return html.piece("player", alt=alt, length=trajectory.length, steps=shown, timeline=_timeline(trajectory), data=data)


def _timeline(trajectory: Trajectory) -> Markup:
    if trajectory.credit_estimate is None or trajectory.length == 1:  # the table is enough for a single step
        return Markup()
    picture = credit_figures.timeline_figure(trajectory, left=_LEFT, right=_RIGHT)
    total = np.nansum(trajectory.credit_estimate.credit, axis=0)
    words = "; ".join(f"{name} {x:.3g}" for name, x in zip(trajectory.spec.agents, total, strict=True))
    title, description = "Weight, value, advantage and credit of each agent over the episode", f"Credit in all: {words}."
    return html.piece("timeline", drawn=html.svg(picture, title=title, description=description), left=100 * _LEFT)
