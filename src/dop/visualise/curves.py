"""Learning curves: greedy returns over steps and time, win rates and policy entropy in one figure.

Bold lines are means over seeds, bands their 95% confidence intervals (`dop.analysis.statistics`), thin lines single seeds. Two seeds have
no band, which would be nine standard deviations wide on each side. Bands of fractions end at 0 and 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from dop.analysis.statistics import FEWEST_SEEDS, Axis, Curve, Interval, align, curves, seeds_interval
from dop.errors import RunError
from dop.loggers.progress import compact
from dop.storage import files
from dop.storage.records import Record
from dop.visualise.report.numbers import LIMITLESS, count
from dop.visualise.texts import as_written

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which most colour-blind people can tell apart."""
DASHES = ("-", "--", ":")
"""Once all colours are used, the next style begins."""
AXIS_WORDS: Mapping[Axis, str] = {
    "env_steps": "environment steps",
    "wall_seconds": "wall-clock minutes",
    "processor_seconds": "processor minutes of training",
}
_INK, _FAINT = "#333333", "#e6e6e6"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One plot of the figure."""

    metric: str
    axis: Axis
    title: str
    fraction: bool = False
    """Whether the metric is a fraction in [0, 1]."""
    from_zero: bool = False
    """Whether the scale begins at 0, where closeness to 0 matters."""
    x_words: str = ""
    """What the x axis is a fraction of, which is then shown in percent; empty: it is `axis`."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A mean over seeds in a panel."""

    label: str
    place: int
    """Of its style; see `style`."""
    x: np.ndarray
    interval: Interval
    """At each x; bounds may be NaN."""
    seeds: Sequence[Curve] = ()
    """Drawn as thin lines."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """Options of `draw_grid`."""

    seed_lines: bool = False
    """A thin line for each seed. Two seeds, which have no band, always have theirs."""
    smooth: int = 0
    """Smooth each seed by a trailing mean over so many environment steps (`trailing_mean`); 0: no smoothing."""
    fractions: Collection[str] = ("test_battle_won_mean",)
    """Metrics from 0 to 1, drawn in percent."""


PANELS = (
    Panel(metric="test_battle_won_mean", axis="env_steps", title="Greedy win rate", fraction=True),
    Panel(metric="test_return_mean", axis="env_steps", title="Greedy return"),
    Panel(metric="test_return_mean", axis="wall_seconds", title="Greedy return over time"),
    Panel(metric="policy_entropy", axis="env_steps", title="Policy entropy (nats)", from_zero=True),
)


def draw(records_by_label: Mapping[str, Sequence[Record]], path: Path, *, title: str) -> None:
    """Write the figure to `path` atomically, in the format of its suffix.

    Args:
        records_by_label: the records of one run per label.
        path: for example `curve.png`; an existing file is replaced.
        title: usually the environment's name.

    Raises:
        RunError: there is nothing to draw.
    """
    save(figure(records_by_label, title=title), path)


def save(picture: Figure, path: Path) -> None:
    """Write a figure atomically, in the format of the suffix."""
    # Embedded fonts for printers and editors; the same file for the same data.
    how = mpl.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "dop"})
    with files.replacing(path) as file, how, as_written(picture):
        kind = path.suffix.removeprefix(".").lower() or "png"
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        picture.savefig(file, format=kind, dpi=150, metadata=dates.get(kind))


def figure(records_by_label: Mapping[str, Sequence[Record]], *, title: str) -> Figure:
    """The figure, with the panels that have records. It changes no global state of matplotlib."""
    panels = [panel for panel in PANELS if any(curves(records, panel.metric) for records in records_by_label.values())]
    if not panels:
        raise RunError(f"There is nothing to draw for {title!r}: no record of {', '.join(records_by_label) or 'no run'} has an evaluation.")
    rows = 2 if len(panels) == len(PANELS) else 1
    columns = len(panels) // rows
    captions = _counted(records_by_label)
    height = 3.1 * rows + 0.7 + _ROW * _legend_rows(4.6 * columns, captions)
    picture = Figure(figsize=(4.6 * columns, height), layout="constrained", facecolor="white")
    for panel, axes in zip(panels, picture.subplots(rows, columns, squeeze=False).ravel(), strict=True):
        _draw_panel(axes, panel, lines_of(panel, records_by_label, Look(seed_lines=True)))
    picture.suptitle(title, fontsize=13, fontweight="bold", color=_INK)
    _add_legend(picture, captions, _line_words(records_by_label, Look(seed_lines=True)))
    return picture


def draw_grid(
    records: Mapping[str, Mapping[str, Sequence[Record]]],
    path: Path,
    *,
    metric: str,
    title: str,
    axes_of: Sequence[Axis] = ("env_steps", "wall_seconds"),
    look: Look | None = None,
) -> None:
    """One metric of several tasks, one column per task: above over environment steps, below over wall-clock time.

    Up to five lines with short names are named at their ends; otherwise there is a legend.

    Args:
        records: by task, then by label. Every task has the same labels in the same order; labels without records are not drawn.
        path: as `draw`.
        metric: for example `test_battle_won_mean`.
        title: may be empty.
        axes_of: the x axis of each row.
        look: options; default: means and bands alone.

    Raises:
        RunError: there is nothing to draw.
    """
    look = look or Look()
    check_measured(metric, records)
    labels = {label: [record for by_label in records.values() for record in by_label[label]] for label in next(iter(records.values()))}
    captions = {label: label if kept else None for label, kept in labels.items()}
    named = [caption for caption in captions.values() if caption]
    direct = len(named) <= _MOST_DIRECT and max(map(len, named), default=0) <= _LONGEST_DIRECT
    width = max((5.4 if direct else 4.2) * len(records), 6.5)
    height = 0.8 + 3.2 * len(axes_of) + (0 if direct else _ROW * _legend_rows(width, captions))
    picture = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    grid = picture.subplots(len(axes_of), len(records), squeeze=False)
    for axis, row in zip(axes_of, grid, strict=True):
        for (task, by_label), axes in zip(records.items(), row, strict=True):
            panel = Panel(metric=metric, axis=axis, title=task, fraction=metric in look.fractions)
            _draw_panel(axes, panel, lines_of(panel, by_label, look), named=direct)
        row[0].set_ylabel(metric_words(metric), fontsize=9, color=_INK)
    picture.suptitle(title, fontsize=13, fontweight="bold", color=_INK)
    if direct:
        picture.supxlabel(_line_words(labels, look), fontsize=8.5, color=_INK)
    else:
        _add_legend(picture, captions, _line_words(labels, look))
    save(picture, path)


def draw_multiples(
    panels: Sequence[Sequence[tuple[Panel, Sequence[Line]]]], path: Path, *, metric: str, title: str, remark: str = ""
) -> None:
    """Small multiples: rows of panels with up to five lines each, which are named at their ends.

    Args:
        panels: rows of equal length, each panel with its lines.
        path: as `draw`.
        metric: the y axis.
        title: may be empty.
        remark: what lines and bands are.

    Raises:
        ValueError: a panel has more lines.
    """
    if (most := max(len(lines) for row in panels for _, lines in row)) > _MOST_DIRECT:
        raise ValueError(f"a panel has {most} lines, more than {_MOST_DIRECT}")
    picture = Figure(figsize=(5.4 * len(panels[0]), 0.8 + 2.7 * len(panels)), layout="constrained", facecolor="white")
    grid = picture.subplots(len(panels), len(panels[0]), squeeze=False)
    for row, all_axes in zip(panels, grid, strict=True):
        for (panel, lines), axes in zip(row, all_axes, strict=True):
            _draw_panel(axes, panel, lines, named=True)
        all_axes[0].set_ylabel(metric_words(metric), fontsize=9, color=_INK)
    picture.suptitle(title, fontsize=13, fontweight="bold", color=_INK)
    picture.supxlabel(remark, fontsize=8.5, color=_INK)
    save(picture, path)


def check_measured(metric: str, records: Mapping[str, Mapping[str, Sequence[Record]]]) -> None:
    """Raise RunError if no record has `metric`; the message lists the recorded metrics and suggests the nearest."""
    measured = {name for by_label in records.values() for kept in by_label.values() for record in kept for name in record.metrics}
    if metric not in measured:
        near = difflib.get_close_matches(metric, sorted(measured), n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        names = ", ".join(sorted(measured)) or "none"
        raise RunError(f"There is nothing to draw: no record has {metric}. There are: {names}.{hint}")


def _line_words(records_by_label: Mapping[str, Sequence[Record]], look: Look) -> str:
    """Describe the kinds of lines and bands in a figure."""
    most = max(len({record.seed for record in records}) for records in records_by_label.values())
    words = ["lines: mean over seeds"] if most > 1 else []
    if most == 2 or (most > 1 and look.seed_lines):
        words = ["bold: mean over seeds", "thin: single seeds"]
    words += ["band: 95% confidence interval of the mean"] if most >= FEWEST_SEEDS else []
    words += [f"smoothed over the last {look.smooth:,} environment steps"] if look.smooth else []
    return ", ".join(words)


def metric_words(metric: str) -> str:
    """A metric's readable name: `test_battle_won_mean` is the greedy win rate."""
    name = metric.removeprefix("test_").removesuffix("_mean").replace("_", " ")
    return f"{'Greedy ' if metric.startswith('test_') else ''}{'win rate' if name in ('battle won', 'won') else name}"


def panel_figure(panel: Panel, records_by_label: Mapping[str, Sequence[Record]]) -> Figure:
    """One panel alone, without a title or a legend; a label without records still counts for the colours."""
    picture = Figure(figsize=(4.8, 3.2), layout="constrained", facecolor="white")
    axes = picture.subplots()
    _draw_panel(axes, panel, lines_of(panel, records_by_label, Look(seed_lines=True)))
    axes.set_title("", loc="left")
    return picture


_ROW = 0.21
"""Height of a legend's row in inches."""


def _counted(records_by_label: Mapping[str, Sequence[Record]]) -> dict[str, str | None]:
    """The caption of every label, with its number of seeds; None without records."""
    seeds = {label: len({record.seed for record in records}) for label, records in records_by_label.items()}
    return {label: f"{label} ({count(n, 'seed')})" if n else None for label, n in seeds.items()}


def _legend_columns(width: float, captions: Mapping[str, str | None]) -> int:
    """The number of columns that fit into so many inches."""
    shown = [caption for caption in captions.values() if caption]
    return max(1, min(len(shown), int(width * 12) // (max(map(len, shown), default=0) + 6)))


def _legend_rows(width: float, captions: Mapping[str, str | None]) -> int:
    return -(-sum(caption is not None for caption in captions.values()) // _legend_columns(width, captions))


def _add_legend(picture: Figure, captions: Mapping[str, str | None], words: str) -> None:
    """Add a legend of the labels with captions. A label's index in `captions` gives its style."""
    handles = [Line2D([], [], label=caption, **style(place)) for place, caption in enumerate(captions.values()) if caption]
    picture.legend(
        handles=handles,
        title=words or None,
        loc="outside lower center",
        ncols=_legend_columns(picture.get_figwidth(), captions),
        frameon=False,
        fontsize=9,
        labelcolor=_INK,
        title_fontproperties={"size": 8.5},
    )


class End(NamedTuple):
    """The end of a bold line."""

    label: str
    colour: str
    x: float
    y: float


def lines_of(panel: Panel, records_by_label: Mapping[str, Sequence[Record]], look: Look) -> list[Line]:
    """The lines of a panel: of every label with records, in the style of its place."""
    lines = []
    for place, (label, records) in enumerate(records_by_label.items()):
        found = curves(records, panel.metric, panel.axis, smooth=look.smooth)
        seeds = [seed._replace(x=seed.x / _unit(panel.axis)) for seed in found.values()]
        if not seeds:
            continue
        common = align(seeds)
        interval = seeds_interval(common.y, (0.0, 1.0) if panel.fraction else LIMITLESS)
        thin = seeds if len(seeds) == 2 or (look.seed_lines and len(seeds) > 1) else ()
        lines.append(Line(label=label, place=place, x=common.x, interval=interval, seeds=thin))
    return lines


def _draw_panel(axes: Axes, panel: Panel, lines: Sequence[Line], *, named: bool = False) -> None:
    """Draw lines and bands; `named`: with the labels at the ends of the bold lines."""
    for line in lines:
        for seed in line.seeds:
            axes.plot(seed.x, seed.y, color=_colour(line.place), linewidth=0.7, alpha=0.35, zorder=2)
        dots = "o" if len(line.x) < 10 else ""  # A line of one point would be invisible.
        axes.plot(line.x, line.interval.mean, marker=dots, markersize=4, zorder=3, clip_on=not dots, **style(line.place))
    _style_axes(axes, panel)
    limits = axes.get_ylim()
    for line in lines:
        if np.isfinite(line.interval.low).any():
            axes.fill_between(line.x, line.interval.low, line.interval.high, color=_colour(line.place), alpha=0.15, linewidth=0, zorder=1)
    axes.set_ylim(limits)  # The lines set the scale: the band of a few seeds can be several times as wide.
    if named:
        _name_lines(axes, [end for line in lines for end in _end(line.label, _colour(line.place), line.x, line.interval.mean)])


def _end(label: str, colour: str, x: np.ndarray, y: np.ndarray) -> list[End]:
    """The last finite point, if there is one."""
    return [End(label, colour, float(x[at]), float(y[at])) for at in np.flatnonzero(np.isfinite(y))[-1:]]


_MOST_DIRECT, _LONGEST_DIRECT = 5, 22
"""Names at the ends of lines: their largest number and length in letters."""
_LEAST_DISTANCE = 0.075
"""The least distance of such names, as a fraction of the axes' height."""


def _name_lines(axes: Axes, ends: Sequence[End]) -> None:
    """Write each label at the end of its line, right of the axes, without overlap."""
    low, high = axes.get_ylim()
    ordered = sorted(ends, key=lambda end: end.y)
    heights = _spread_apart([(end.y - low) / (high - low) for end in ordered])
    for end, height in zip(ordered, heights, strict=True):
        axes.annotate(
            end.label,
            xy=(end.x, end.y),
            xytext=(1.05, height),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            color=_INK,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": end.colour, "linewidth": 1.0, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 2},
        )


def _spread_apart(heights: Sequence[float]) -> list[float]:
    """Ascending heights, moved to be at least `_LEAST_DISTANCE` apart, and within 0 and 1 as far as they fit."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + _LEAST_DISTANCE) if placed else max(height, 0.0))
    most = 1.0
    for place in reversed(range(len(placed))):
        placed[place] = min(placed[place], most)
        most = placed[place] - _LEAST_DISTANCE
    return placed


def _style_axes(axes: Axes, panel: Panel) -> None:
    """Set scales, labels and a faint grid."""
    axes.set_title(panel.title, loc="left", fontsize=10.5, color=_INK)
    axes.margins(x=0, y=0.12)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10], integer=panel.axis == "env_steps" and not panel.x_words))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=_all_whole(axes), min_n_ticks=1))
    axes.set_xlabel(panel.x_words or AXIS_WORDS[panel.axis], fontsize=9, color=_INK)
    if panel.axis == "env_steps":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    if panel.x_words:
        axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    if panel.fraction:
        axes.set_ylim(-0.02, 1.02)
        axes.set_yticks(np.linspace(0, 1, 6))
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    elif panel.from_zero:
        axes.set_ylim(bottom=0)
    axes.grid(color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5, color=_FAINT, labelcolor=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")


def _all_whole(axes: Axes) -> bool:
    """Whether all drawn values are whole numbers, as in one-step games, so that the ticks should be, too."""
    drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines] or [np.zeros(0)])
    finite = drawn[np.isfinite(drawn)]
    return bool((finite == np.round(finite)).all())


def _unit(axis: Axis) -> float:
    """The unit of the axis: seconds are shown as minutes."""
    return 1.0 if axis == "env_steps" else 60.0


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def style(index: int) -> dict[str, Any]:
    """The style of the `index`-th line: distinct for 21 lines."""
    return {"color": _colour(index), "linestyle": DASHES[index // len(COLOURS) % len(DASHES)], "linewidth": 2.0}
