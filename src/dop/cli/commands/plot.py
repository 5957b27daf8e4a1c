"""Learning curves for papers; results from and for other libraries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro

import dop
from dop.analysis.marl_eval import Scale
from dop.analysis.statistics import Axis
from dop.cli.output import listed, say

USAGE = "RUN... [options]"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Learning curves as PDF, SVG or PNG, their numbers as CSV or LaTeX, and results in the JSON layout of marl-eval, out and in."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Run directories, or folders that hold some."""
    out: Path | None = None
    """The figure: .pdf, .svg or .png. Default: curves.pdf, unless only data or tables are asked for."""
    data: Path | None = None
    """Write the runs' evaluations as JSON for marl-eval."""
    csv: Path | None = None
    """Write what is drawn as it was measured, never smoothed: label, algorithm, environment, seed, env_steps, metric, value."""
    latex: Path | None = None
    """Write a LaTeX table (booktabs) of values at the end: means over seeds with 95% intervals."""
    others: tuple[Path, ...] = ()
    """Files of that layout, drawn on the same axes."""
    others_scale: tuple[Scale, ...] = ()
    """What win rates are in these files: one word for all, or one for each. Mava writes percentages, dop fractions."""
    metric: str | None = None
    """What to draw, for example test_return_mean. Default: what is won, if all tasks have it, else the return."""
    axes: tuple[Axis, ...] = ("env_steps",)
    """A row of the figure each."""
    seed_lines: bool = False
    """Draw a thin line for each seed as well. Two seeds, which have no interval, always have theirs."""
    smooth: int = 0
    """Draw the mean of the last so many environment steps, seed by seed. 0: values as they were measured."""
    title: str = ""
    """Stands above."""


def run(arguments: Sequence[str]) -> None:
    """`dop plot RUN...`"""
    options = tyro.cli(Options, args=arguments, prog="dop plot")
    chosen = {field.name: getattr(options, field.name) for field in fields(options) if field.name != "runs"}
    if not any(chosen[name] for name in ("out", "data", "csv", "latex")):
        chosen["out"] = Path("curves.pdf")
    written, remarks = dop.views.plot(options.runs, **chosen)
    for remark in remarks:
        say(f"note: {remark}", aside=True)
    listed(written)
