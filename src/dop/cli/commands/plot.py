"""Learning curves for papers; results of other libraries, and for them."""

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
from dop.cli.parsing import parse

USAGE = "RUN... [options]"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Learning curves as PDF, SVG or PNG, their data as CSV or LaTeX, and results in the JSON format of marl-eval."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Run directories, or folders of run directories."""
    out: Path | None = None
    """The figure: .pdf, .svg or .png. Default: curves.pdf, unless data or tables are written."""
    data: Path | None = None
    """JSON file for marl-eval with the runs' evaluations."""
    csv: Path | None = None
    """CSV file with the unsmoothed data of the figure: label, algorithm, environment, seed, env_steps, metric, value."""
    latex: Path | None = None
    """LaTeX table (booktabs) of final values: means over seeds with 95% intervals."""
    others: tuple[Path, ...] = ()
    """JSON files in the format of marl-eval, drawn on the same axes."""
    others_scale: tuple[Scale, ...] = ()
    """Scale of win rates in these files: one word for all, or one for each. Mava writes percentages, dop fractions."""
    metric: str | None = None
    """Metric to draw, for example test_return_mean. Default: the win rate, if all tasks have one, else the return."""
    axes: tuple[Axis, ...] = ("env_steps",)
    """Horizontal axes; one row of the figure for each."""
    seed_lines: bool = False
    """Also draw a thin line per seed; always drawn for two seeds, which have no interval."""
    smooth: int = 0
    """Window of a trailing mean in environment steps, per seed. 0: no smoothing."""
    title: str = ""
    """Title of the figure."""


def run(arguments: Sequence[str]) -> None:
    """`dop plot RUN...`"""
    options = parse(Options, arguments, prog="dop plot")
    chosen = {field.name: getattr(options, field.name) for field in fields(options) if field.name != "runs"}
    if not any(chosen[name] for name in ("out", "data", "csv", "latex")):
        chosen["out"] = Path("curves.pdf")
    written, remarks = dop.views.plot(options.runs, **chosen)
    for remark in remarks:
        say(f"note: {remark}", aside=True)
    listed(written)
