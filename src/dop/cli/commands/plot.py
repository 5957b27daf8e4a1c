"""Learning curves for papers; results from and for other libraries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    """Learning curves as PDF, SVG or PNG, and results in the JSON layout of marl-eval, out and in."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Run directories, or folders that hold some."""
    out: Path | None = None
    """The figure: .pdf, .svg or .png. Default: curves.pdf, unless only data are asked for."""
    data: Path | None = None
    """Write the runs' evaluations as JSON for marl-eval."""
    others: tuple[Path, ...] = ()
    """Files of that layout, drawn on the same axes."""
    others_scale: tuple[Scale, ...] = ()
    """What win rates are in these files: one word for all, or one for each. Mava writes percentages, dop fractions."""
    metric: str | None = None
    """What to draw, for example test_return_mean. Default: what is won, if all tasks have it, else the return."""
    axes: tuple[Axis, ...] = ("env_steps",)
    """A row of the figure each."""
    title: str = ""
    """Stands above."""


def run(arguments: Sequence[str]) -> None:
    """`dop plot RUN...`"""
    options = tyro.cli(Options, args=arguments, prog="dop plot")
    out = options.out or (None if options.data else Path("curves.pdf"))
    chosen = {name: getattr(options, name) for name in ("data", "others", "others_scale", "metric", "axes", "title")}
    written, remarks = dop.views.plot(options.runs, out=out, **chosen)
    for remark in remarks:
        say(f"note: {remark}", aside=True)
    listed(written)
