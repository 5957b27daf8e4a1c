"""Compare runs on one page: curves, statistics, films, who earned what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dop import views
from dop.commands._output import say

USAGE = "RUN... [options]"


@dataclass(frozen=True, kw_only=True)
class Options:
    """One self-contained HTML page about runs: learning curves, comparison, what differs, films and who earned what."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories, or folders that hold some."""
    out: Path = Path("report.html")
    """The page; replaced if it is there."""
    episodes: int = 16
    """Greedy episodes that the films are chosen from, for each method and task."""
    trust_env: bool = False
    """Import the environments that the run directories name even if they are code of somebody's own: importing runs it."""
    films: bool = True
    """Play the teams; without, the page is there at once."""


def run(arguments: Sequence[str]) -> None:
    """`dop report RUN...`"""
    options = tyro.cli(Options, args=arguments, prog="dop report")
    chosen = {name: getattr(options, name) for name in ("out", "episodes", "films", "trust_env")}
    say(f"report: {views.report(options.runs, **chosen)}")
