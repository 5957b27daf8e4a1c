"""Learning curves: one picture of how greedy play, its cost in time, and the policy's entropy developed.

Bold lines are means over seeds, bands their 95% confidence intervals (`dop.analysis.statistics`), thin lines single seeds. Two seeds get no
band: theirs would be nine standard deviations to each side, and the two thin lines say more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from dop.analysis.statistics import Axis, align, curves, mean_interval
from dop.errors import RunError
from dop.loggers.progress import compact
from dop.storage import files
from dop.storage.records import Record
from dop.visualise.texts import as_written

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which most colour-blind people can tell apart."""
DASHES = ("-", "--", ":")
"""Once all colours are used, the next style begins."""
_INK, _FAINT = "#333333", "#e6e6e6"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One of the picture's plots."""

    metric: str
    axis: Axis
    title: str
    fraction: bool = False
    """Whether the metric is a share, 0 to 1."""
    from_zero: bool = False
    """Whether the scale begins at 0, because being near it means something."""


PANELS = (
    Panel(metric="test_battle_won_mean", axis="env_steps", title="Greedy win rate", fraction=True),
    Panel(metric="test_return_mean", axis="env_steps", title="Greedy return"),
    Panel(metric="test_return_mean", axis="wall_seconds", title="Greedy return over time"),
    Panel(metric="policy_entropy", axis="env_steps", title="Policy entropy (nats)", from_zero=True),
)


def draw(records_by_label: Mapping[str, Sequence[Record]], path: Path, *, title: str) -> None:
    """Write the picture to `path`, in the format of its suffix, in one step: a reader sees the old picture or the new one.

    Args:
        records_by_label: what to compare: each label has the records of one run.
        path: for example `curve.png`; replaced if it is there.
        title: stands above, usually the environment's name.

    Raises:
        RunError: there is nothing to draw.
    """
    save(figure(records_by_label, title=title), path)


def save(picture: Figure, path: Path) -> None:
    """Write a picture in one step, as its ending says."""
    # Fonts that printers and editors can read, and the same file for the same data.
    how = mpl.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "dop"})
    with files.replacing(path) as file, how, as_written(picture):
        kind = path.suffix.removeprefix(".").lower() or "png"
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        picture.savefig(file, format=kind, dpi=150, metadata=dates.get(kind))


def figure(records_by_label: Mapping[str, Sequence[Record]], *, title: str) -> Figure:
    """The picture itself, of those panels that at least one label has records for. It touches no global state of matplotlib."""
    panels = [panel for panel in PANELS if any(curves(records, panel.metric) for records in records_by_label.values())]
    if not panels:
        raise RunError(f"There is nothing to draw for {title!r}: no record of {', '.join(records_by_label) or 'no run'} has an evaluation.")
    rows = 2 if len(panels) == len(PANELS) else 1
    columns = len(panels) // rows
    picture = Figure(figsize=(4.6 * columns, 3.1 * rows + 0.9), layout="constrained", facecolor="white")
    for panel, axes in zip(panels, picture.subplots(rows, columns, squeeze=False).ravel(), strict=True):
        _draw_panel(axes, panel, records_by_label)
    picture.suptitle(title, fontsize=13, fontweight="bold", color=_INK)
    _explain(picture, records_by_label)
    return picture


def draw_grid(
    records: Mapping[str, Mapping[str, Sequence[Record]]],
    path: Path,
    *,
    metric: str,
    title: str,
    axes_of: Sequence[Axis] = ("env_steps", "wall_seconds"),
) -> None:
    """One metric of several tasks, a column each: above over environment steps, below over wall-clock time. Only means and bands.

    Args:
        records: by task, then by label. Every task has the same labels in the same order; one without records is not drawn there.
        path: as `draw`.
        metric: for example `test_battle_won_mean`.
        title: stands above; may be empty.
        axes_of: the rows.

    Raises:
        RunError: there is nothing to draw.
    """
    measured = {name for by_label in records.values() for kept in by_label.values() for record in kept for name in record.metrics}
    if metric not in measured:
        raise RunError(f"There is nothing to draw: no record has {metric}. There are: {', '.join(sorted(measured)) or 'none'}.")
    picture = Figure(figsize=(max(4.2 * len(records), 6.5), 0.8 + 3.2 * len(axes_of)), layout="constrained", facecolor="white")
    grid = picture.subplots(len(axes_of), len(records), squeeze=False)
    for axis, row in zip(axes_of, grid, strict=True):
        for (task, by_label), axes in zip(records.items(), row, strict=True):
            panel = Panel(metric=metric, axis=axis, title=task, fraction=metric == PANELS[0].metric)
            _draw_panel(axes, panel, by_label, single_seeds=False)
        row[0].set_ylabel(metric_words(metric), fontsize=9, color=_INK)
    picture.suptitle(title, fontsize=13, fontweight="bold", color=_INK)
    labels = next(iter(records.values()))
    _explain(picture, {label: [record for by_label in records.values() for record in by_label[label]] for label in labels}, counted=False)
    save(picture, path)


def metric_words(metric: str) -> str:
    """A metric's name for people: `test_battle_won_mean` is the greedy win rate."""
    name = metric.removeprefix("test_").removesuffix("_mean").replace("_", " ")
    return f"{'Greedy ' if metric.startswith('test_') else ''}{'win rate' if name in ('battle won', 'won') else name}"


def panel_figure(panel: Panel, records_by_label: Mapping[str, Sequence[Record]]) -> Figure:
    """One panel alone, without a title or a legend; a label without records keeps its colour for the others."""
    picture = Figure(figsize=(4.8, 3.2), layout="constrained", facecolor="white")
    axes = picture.subplots()
    _draw_panel(axes, panel, records_by_label)
    axes.set_title("", loc="left")
    return picture


def _explain(picture: Figure, records_by_label: Mapping[str, Sequence[Record]], *, counted: bool = True) -> None:
    """The legend below, in as many columns as fit: every label that has records, with the number of its seeds if `counted`."""
    counts = {label: len({record.seed for record in records}) for label, records in records_by_label.items()}
    captions = [f"{label} ({n} seed{'s' if n > 1 else ''})" if counted else label for label, n in counts.items()]
    styles = [style(index) for index in range(len(captions))]
    handles = [Line2D([], [], label=caption, **style) for caption, style, n in zip(captions, styles, counts.values(), strict=True) if n]
    fitting = int(picture.get_figwidth() * 11) // (max(len(caption) for caption in captions) + 6)
    most = max(counts.values())
    lines = "bold: mean over seeds, thin: single seeds" if counted else "lines: mean over seeds"
    picture.legend(
        handles=handles,
        title=None if most == 1 else lines if most == 2 else f"{lines}, band: 95% confidence interval of the mean",
        loc="outside lower center",
        ncols=max(1, min(len(handles), fitting)),
        frameon=False,
        labelcolor=_INK,
        title_fontproperties={"size": 8.5},
    )


def _draw_panel(axes: Axes, panel: Panel, records_by_label: Mapping[str, Sequence[Record]], *, single_seeds: bool = True) -> None:
    bands = []
    for index, records in enumerate(records_by_label.values()):
        seeds = [seed._replace(x=seed.x / _unit(panel.axis)) for seed in curves(records, panel.metric, panel.axis).values()]
        if not seeds:
            continue
        common = align(seeds)
        interval = mean_interval(common.y)
        if single_seeds and len(seeds) > 1:
            for seed in seeds:
                axes.plot(seed.x, seed.y, color=_colour(index), linewidth=0.7, alpha=0.35, zorder=2)
        dots = "o" if len(common.x) < 10 else ""  # A line of one point would not be seen.
        axes.plot(common.x, interval.mean, marker=dots, markersize=4, zorder=3, clip_on=not dots, **style(index))
        if len(seeds) > 2:
            bands.append((common.x, interval.low, interval.high, _colour(index)))
    _dress(axes, panel)
    limits = axes.get_ylim()
    for x, low, high, colour in bands:
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0, zorder=1)
    axes.set_ylim(limits)  # The lines set the scale: the band of a few seeds can be several times as wide as they are.


def _dress(axes: Axes, panel: Panel) -> None:
    """Scales, labels and a faint grid."""
    axes.set_title(panel.title, loc="left", fontsize=10.5, color=_INK)
    axes.margins(x=0, y=0.12)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    if panel.axis == "env_steps":
        axes.set_xlabel("environment steps", fontsize=9, color=_INK)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    else:
        axes.set_xlabel("wall-clock minutes", fontsize=9, color=_INK)
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


def _unit(axis: Axis) -> float:
    """Seconds are shown as minutes."""
    return 60.0 if axis == "wall_seconds" else 1.0


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def style(index: int) -> dict[str, Any]:
    """How the line of the `index`-th thing compared is drawn: other than those of the twenty before."""
    return {"color": _colour(index), "linestyle": DASHES[index // len(COLOURS) % len(DASHES)], "linewidth": 2.0}
