"""Compare runs on one page: curves, statistics, films, who earned what."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import dop
from dop.cli.output import say
from dop.cli.run import Trust
from dop.errors import ConfigError

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
    trust: Trust = False
    """Import the environments and algorithms that the run directories name even if they are code of somebody's own: importing runs it."""
    films: bool = True
    """Play the teams; without, the page is there at once."""
    bounds: Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction] = ()
    """TASK=LOW:HIGH: the returns that count as 0 and as 1 on a task; several tasks have a common mean only with these."""


def run(arguments: Sequence[str]) -> None:
    """`dop report RUN...`"""
    options = tyro.cli(Options, args=arguments, prog="dop report")
    chosen = {name: getattr(options, name) for name in ("out", "episodes", "films", "trust")}
    say(f"report: {dop.views.report(options.runs, **chosen, bounds=_bounds(itertools.chain(*options.bounds)))}")


def _bounds(given: Iterable[str]) -> dict[str, tuple[float, float]]:
    """`TASK=LOW:HIGH`, taken apart.

    Raises:
        ConfigError: it is of another form, or a task has bounds twice.
    """
    found: dict[str, tuple[float, float]] = {}
    for words in given:
        task, _, numbers = words.rpartition("=")
        low, _, high = numbers.partition(":")
        if task in found:
            raise ConfigError(f"{task} has bounds twice: --bounds {words}.")
        try:
            found[task] = (float(low), float(high))
        except ValueError as error:
            raise ConfigError(f"--bounds are TASK=LOW:HIGH, for example mill=0:20; got {words!r}.") from error
    return found
