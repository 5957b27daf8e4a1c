"""Shared drawing of the figures. Apart from `pieces`, since Matplotlib is slow to import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dop.analysis import statistics
from dop.paper.pieces import Log
from dop.storage import files
from dop.visualise import curves


def publish(out: Path, name: str, lines: list[str], picture: Figure, log: Log) -> None:
    """Log the table, and write it and the figure to `out`."""
    table = "\n".join(lines)
    log(table)
    files.write_text(out / "table.md", table + "\n")
    curves.save(picture, out / f"{name}.png")
    log(f"figure: {out / name}.png")


def draw_mean(axes: Axes, x: Any, values: np.ndarray, label: str, style: Mapping[str, Any]) -> None:
    """Mean over seeds, with its 95% interval if there are several; axes of `values`: seed, point."""
    found = statistics.mean_interval(values)
    axes.plot(x, found.mean, label=label, **style)
    if len(values) > 1:
        axes.fill_between(x, found.low, found.high, color=style["color"], alpha=0.15, linewidth=0)


def style_axes(axes: Axes) -> None:
    """A faint grid, two spines, and a note on empty axes."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if not any(len(np.atleast_1d(line.get_xdata())) for line in axes.lines) and not axes.patches:
        axes.text(0.5, 0.5, "not run yet", ha="center", transform=axes.transAxes, color="#777777")
