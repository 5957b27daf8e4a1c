"""The report: one HTML file that needs nothing else. Curves, comparison, what differs, films with who earned what.

Made of plain HTML, two small files beside this one (`page.css`, `page.js`) and SVG. It reads in light and dark, on a phone, by keyboard and
by a screen reader: headings in order, every picture with a description and its numbers in a table, nothing that moves unasked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dop.engine.progress import clock
from dop.engine.records import Record
from dop.report import credit_view, film, html, statistics
from dop.report.compare import Comparison, Entry, Line, Task, hyper_parameters
from dop.report.curves import COLOURS, PANELS, Panel, metric_words, panel_figure, style
from dop.report.html import text
from dop.report.playback import Take
from dop.report.statistics import Estimate

_INK = "#333333"


@dataclass(frozen=True, kw_only=True, eq=False)
class Showing:
    """What can be watched of one line of one task."""

    task: str
    label: str
    run: str
    environment: Any
    examples: Mapping[str, Take]
    """By name: best, worst."""
    many: Sequence[Take]
    training: Mapping[int, Sequence[Take]]


def build(comparison: Comparison, showings: Sequence[Showing], missing: Sequence[str], *, made: str) -> str:
    """The whole page.

    Args:
        comparison: of the runs.
        showings: what can be watched.
        missing: why something cannot, in words.
        made: date and time, in words.
    """
    files = resources.files("dop.report")
    style, script = (files.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    title = ", ".join(dict.fromkeys(task.environment for task in comparison.tasks))
    parts = [
        f"<h1>{text(title)}</h1>",
        f'<p class="soft">{_count(comparison)}. Made {text(made)} by dop {text(metadata.version("dop-marl"))}.</p>',
        _remarks([*comparison.remarks, *missing]),
        *(_task(comparison, task) for task in comparison.tasks),
        _together(comparison),
        _hyper_parameters(comparison),
        *(_showing(showing) for showing in showings),
        _origin(comparison),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}: dop report</title><style>{style}</style></head>"
        f'<body><a class="skip" href="#content">To the content</a><main id="content">{"".join(parts)}</main>'
        f"<script>{script}</script></body></html>\n"
    )


def _count(comparison: Comparison) -> str:
    def of(number: int, word: str) -> str:
        return f"{number} {word}{'' if number == 1 else 's'}"

    return f"{of(len(comparison.entries), 'run')}, {of(len(comparison.labels), 'method')}, {of(len(comparison.tasks), 'task')}"


def _remarks(remarks: Sequence[str]) -> str:
    if not remarks:
        return ""
    items = "".join(f"<li>{text(remark)}</li>" for remark in remarks)
    return f'<section class="remarks" aria-label="Remarks"><h2>Before you compare</h2><ul>{items}</ul></section>'


# -------------------------------------------------------------------------------------------------------------------- tasks


def _task(comparison: Comparison, task: Task) -> str:
    """Curves and a table of one task."""
    by_label = _in_order(comparison, task)
    panels = [Panel(metric=task.metric, axis="env_steps", title=metric_words(task.metric), share=True)] if task.share else []
    panels += [panel for panel in PANELS[1:] if any(statistics.curves(kept, panel.metric) for kept in by_label.values())]
    drawn = [html.figure(panel_figure(panel, by_label), title=panel.title, description=_describe(task, panel.metric)) for panel in panels]
    legend = "".join(f"<li>{_swatch(comparison, line.label)}{text(line.label)}</li>" for line in task.lines)
    bands = "Bold: mean over seeds; thin: single seeds; band, from three seeds on: 95% confidence interval of the mean (Student's t)."
    rows = [_row(comparison, task, line) for line in task.lines]
    header = ("method", "seeds", f"{metric_words(task.metric)} at the end", "return at the end", "environment steps", "time a seed")
    caption = f"{task.title}: means of the last three evaluations, with 95% intervals over seeds"
    return (
        f'<section><h2>{text(task.title)}</h2><ul class="legend">{legend}</ul><p class="soft">{bands}</p>'
        f'<div class="grid">{"".join(drawn)}</div>{html.table(caption, header, rows)}</section>'
    )


def _in_order(comparison: Comparison, task: Task) -> dict[str, list[Record]]:
    """A label's place gives its colour, here and everywhere."""
    own = {line.label: line.records for line in task.lines}
    return {label: own.get(label, []) for label in comparison.labels}


def _describe(task: Task, metric: str) -> str:
    ends = [f"{line.label} ends at {_number(float(np.mean(line.scores(metric))))}" for line in task.lines if len(line.scores(metric))]
    return f"{task.title}. " + "; ".join(ends or ["no evaluation has this"]) + "."


def _row(comparison: Comparison, task: Task, line: Line) -> list[str]:
    last = [max((r for r in line.records if r.seed == seed), key=lambda r: r.env_steps) for seed in line.seeds]
    steps, seconds = [r.env_steps for r in last], [r.wall_seconds for r in last]
    return [
        f"{_swatch(comparison, line.label)}{text(line.label)}",
        str(len(line.seeds)),
        _interval(line.scores(task.metric), share=task.share),
        _interval(line.scores("test_return_mean")),
        _range(f"{min(steps):,}", f"{max(steps):,}"),
        _range(clock(min(seconds)), clock(max(seconds))),
    ]


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _interval(scores: np.ndarray, *, share: bool = False) -> str:
    found = statistics.mean_interval(scores)
    if len(scores) < 2:
        return _number(float(found.mean), share)
    low, high = (np.clip(x, 0, 1) if share else x for x in (found.low, found.high))
    return f"{_number(float(found.mean), share)} [{_number(float(low), share)}, {_number(float(high), share)}]"


def _number(value: float, share: bool = False) -> str:
    return "-" if not np.isfinite(value) else f"{value:.0%}" if share else f"{value:.3g}"


def _swatch(comparison: Comparison, label: str) -> str:
    return html.swatch(comparison.labels.index(label))


# ----------------------------------------------------------------------------------------------------------------- together


def _together(comparison: Comparison) -> str:
    """Statistics over all tasks that every method has played."""
    labels = comparison.labels
    shared = [task for task in comparison.tasks if {line.label for line in task.lines} == set(labels)]
    if not shared:
        return (
            "<section><h2>All tasks together</h2><p>There is no task that every method here has played, so that nothing can be said of all."
            "</p></section>"
        )
    scores = scores_of(shared, labels)
    means = {label: statistics.interquartile_mean(own) for label, own in scores.items()}
    rows = [[f"{_swatch(comparison, label)}{text(label)}", _estimate(means[label])] for label in labels]
    tasks = ", ".join(task.title for task in shared)
    words = (
        f"Over {text(tasks)}. A score is the mean of a seed's last three evaluations: of the share that is won, where the task has one, "
        "else of the return, scaled so that the lowest return of any evaluation here is 0 and the highest is 1. Intervals: 95%, bootstrap "
        "stratified by task (Agarwal et al. 2021); none where a task has one seed only."
    )
    parts = [f"<section><h2>All tasks together</h2><p>{words}</p>", html.table("Interquartile mean of the scores", ("method", "IQM"), rows)]
    if len(labels) > 1:
        parts.append(f'<div class="grid">{_profiles(labels, scores)}{_improvement(comparison, labels, scores)}</div>')
    return "".join([*parts, "</section>"])


def scores_of(tasks: Sequence[Task], labels: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """By method, then by task: a score of every seed, from 0 to 1."""
    found: dict[str, list[np.ndarray]] = {label: [] for label in labels}
    for task in tasks:
        values = np.array([r.metrics[task.metric] for line in task.lines for r in line.records if task.metric in r.metrics])
        low, high = (0.0, 1.0) if task.share else (np.nanmin(values), np.nanmax(values))
        for line in task.lines:
            found[line.label].append((line.scores(task.metric) - low) / (high - low if high > low else 1.0))
    return found


def _estimate(found: Estimate) -> str:
    return f"{found.value:.3f}" if np.isnan(found.low) else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _profiles(labels: Sequence[str], scores: Mapping[str, list[np.ndarray]]) -> str:
    picture, axes = _small_figure()
    levels = np.linspace(0, 1, 41)
    for place, label in enumerate(labels):
        found = statistics.performance_profile(scores[label], levels)
        axes.plot(levels, found.mean, **style(place))
        axes.fill_between(levels, found.low, found.high, color=style(place)["color"], alpha=0.15, linewidth=0)
    axes.set(ylim=(-0.02, 1.02))
    axes.set_xlabel("score", fontsize=9, color=_INK)
    axes.set_ylabel("share of seeds above it", fontsize=9, color=_INK)
    areas = [f"{label} has an area of {np.mean(np.concatenate(scores[label])):.2f}" for label in labels]
    return html.figure(picture, title="Performance profiles", description="Share of seeds above each score. " + "; ".join(areas) + ".")


def _improvement(comparison: Comparison, labels: Sequence[str], scores: Mapping[str, list[np.ndarray]]) -> str:
    rows = []
    for place, x in enumerate(labels):
        for y in labels[place + 1 :]:
            found = statistics.probability_of_improvement(scores[x], scores[y])
            rows.append([f"{_swatch(comparison, x)}{text(x)} over {_swatch(comparison, y)}{text(y)}", _estimate(found)])
    shown = html.table("How likely a seed of the first beats one of the second, on a task drawn at random", ("pair", "probability"), rows)
    return f"<figure><h3>Probability of improvement</h3>{shown}</figure>"


def _small_figure() -> tuple[Figure, Axes]:
    picture = Figure(figsize=(4.8, 3.2), layout="constrained", facecolor="white")
    axes = picture.subplots()
    credit_view.dress(axes, "")
    return picture, axes


# ------------------------------------------------------------------------------------------------------------------- tables


def _hyper_parameters(comparison: Comparison) -> str:
    found = hyper_parameters(comparison)
    names = list(next(iter(found.values())))
    if len(found) < 2 or not names:
        return ""
    rows = [[text(name), *("-" if own[name] is None else text(own[name]) for own in found.values())] for name in names]
    shown = html.table("Hyper-parameters and ways of measuring that are not the same everywhere", ("field", *map(text, found)), rows)
    return f"<section><h2>What differs</h2><details><summary>{len(names)} hyper-parameters</summary>{shown}</details></section>"


def _origin(comparison: Comparison) -> str:
    rows = [[text(entry.name), *_made_by(entry)] for entry in comparison.entries]
    header = ("run", "algorithm", "environment, version", "seeds", "dop", "versions", "machine")
    return f"<section><h2>Runs, versions, machines</h2>{html.table('Where the numbers are from', header, rows, wrap=True)}</section>"


def _made_by(entry: Entry) -> list[str]:
    spec, made_by = entry.config.environment_spec, entry.made_by
    versions = ", ".join(f"{name} {version}" for name, version in (made_by["versions"] or {}).items())
    seeds = ", ".join(map(str, entry.config.protocol.seeds))
    machine = f"{made_by['device']}; {made_by['machine']}"
    cells = (entry.config.algorithm, f"{spec['name']}, {spec['version']}", seeds, made_by["library_version"], versions, machine)
    return [text(cell) for cell in cells]


# -------------------------------------------------------------------------------------------------------------------- films

_LEFT, _RIGHT = 0.09, 0.985
"""Where the axes of a time line begin and end, as shares of its width: the page's cursor moves between them."""


def _showing(showing: Showing) -> str:
    """Films and credit of one line."""
    parts = [
        f"<section><h2>{text(showing.task)}: {text(showing.label)}, played</h2><p class='soft'>Greedy episodes of {text(showing.run)}.</p>"
    ]
    for name, take in showing.examples.items():
        parts.append(f"<h3>{text(name.capitalize())} of {len(showing.many)} episodes: return {take.undiscounted_return:.2f}</h3>")
        parts.append(_player(showing, take))
    if showing.many[0].judged is None:
        parts.append("<p>This algorithm does not say who earned what.</p>")
    else:
        parts.append(_credit_words(showing.many))
        picture = credit_view.summary_figure(showing.many, showing.training, title=showing.label)
        found = credit_view.by_agent(showing.many)
        means = "; ".join(f"{agent} {mean:.3g}" for agent, mean in zip(showing.many[0].spec.agents, found.mean, strict=True))
        image = html.png(film.pixels(picture), colours=128)
        words = text(f"Mean credit of a step by agent: {means}. Also by action, and over training.")
        parts.append(
            '<figure class="summary"><div class="scroll" tabindex="0" role="region" aria-label="Credit by agent, by action, over training">'
            f'<img alt="{words}" src="data:image/png;base64,{image}"></div><figcaption>{words}</figcaption></figure>'
        )
    return "".join([*parts, "</section>"])


def _credit_words(many: Sequence[Take]) -> str:
    judged = credit_view.judged(many[0])
    whole = (
        "The team's value is the sum of k Q over the agents plus b."
        if judged.b is not None
        else "Each agent's Q is the team's whole value."
    )
    return (
        "<h3>Who earned what</h3><p><b>credit</b> = k (Q(a) - mean of Q over all actions): what doing this and not just anything adds. "
        f"<b>advantage</b> compares with the agent's own policy instead. {whole} "
        "All of it is what the critic has learned, right or wrong.</p>"
    )


def _player(showing: Showing, take: Take) -> str:
    spec = take.spec
    frames, still = [], Figure(figsize=(3.6, 3.6), dpi=100, layout="constrained", facecolor="white")
    scene = still.subplots()
    for t in range(take.length + 1):
        film.draw_scene(scene, showing.environment, take, t)
        frames.append(html.png(film.pixels(still)))
        scene.clear()
    fields = ["action", *(field for field, _ in credit_view.ROWS if take.judged is not None)]
    steps = {"action": [[film.words(spec, action[i], i) for i in range(spec.n_agents)] for action in take.actions]}
    steps |= {field: np.vectorize(lambda x: f"{x:.3g}")(getattr(take.judged, field)).tolist() for field in fields[1:]}
    earned = [f"{x:.2f}" for x in np.cumsum(take.steps.reward)]
    speed = min(max(take.length / 8, 1.5), 10)
    data = {"frames": frames, "earned": earned, "fields": fields, "steps": steps, "speed": speed, "left": _LEFT, "right": _RIGHT}
    colours = film.colours_of(spec.n_agents)
    rows = [[_agent(name, colour), *("" for _ in fields)] for name, colour in zip(spec.agents, colours, strict=True)]
    shown = html.table("What each agent does at this step, and what the critic says of it", ("agent", *fields), rows)
    alt = f"{showing.task} as a film; the table beside it says the same in numbers"
    return (
        f'<div class="player"><div><img alt="{text(alt)}" src="data:image/png;base64,{frames[0]}" width="360" height="360">'
        f'<div class="controls"><button type="button">Play</button>'
        f'<input type="range" min="0" max="{take.length}" value="0" aria-label="Step of the episode"></div>'
        f'<p class="said soft" role="status">step 0 of {take.length}</p></div><div>{shown}{_timeline(take)}</div>'
        f'<script type="application/json">{html.json_inside(data)}</script></div>'
    )


def _agent(name: str, colour: str) -> str:
    index = COLOURS.index(colour) if colour in COLOURS else None
    look = f"var(--c{index})" if index is not None else colour
    return f'<span class="swatch" style="background: {look}" aria-hidden="true"></span>{text(name)}'


def _timeline(take: Take) -> str:
    if take.judged is None or take.length == 1:  # the table says all of a single step
        return ""
    picture = credit_view.timeline_figure(take, left=_LEFT, right=_RIGHT)
    total = np.sum(take.judged.credit, axis=0)
    words = "; ".join(f"{name} {x:.3g}" for name, x in zip(take.spec.agents, total, strict=True))
    drawn = html.svg(
        picture, title="Weight, value, advantage and credit of each agent over the episode", description=f"Credit in all: {words}."
    )
    return f'<figure class="timeline">{drawn}<div class="cursor" style="left: {100 * _LEFT}%"></div></figure>'
