"""Compare runs on one page: curves, statistics, films, credit assignment."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dop.cli.output import say
from dop.cli.parsing import parse
from dop.errors import ConfigError

USAGE = "RUN... [options]"


@dataclass(frozen=True, kw_only=True)
class Options:
    """One self-contained HTML page about runs: learning curves, comparison, differing settings, films and credit assignment."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories, or folders of run directories."""
    out: Path = Path("report.html")
    """The page; an existing file is replaced."""
    episodes: int = 16
    """Number of greedy episodes to choose films from, per method and task."""
    trust: bool = False
    """Permit the import of environments, algorithms and networks outside dop that the run directories name; this runs their code."""
    films: bool = True
    """Play episodes for films and credit; without them the page is ready at once."""
    bounds: Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction] = ()
    """TASK=LOW:HIGH: the returns that count as 0 and as 1 on a task; several tasks have a common mean only with these."""


def run(arguments: Sequence[str]) -> None:
    """`dop report RUN...`"""
    options = parse(Options, arguments, prog="dop report")
    chosen = {name: getattr(options, name) for name in ("out", "episodes", "films", "trust")}
    from dop.views.reporting import report_with_remarks  # noqa: PLC0415  # its imports are slow

    path, remarks = report_with_remarks(options.runs, **chosen, bounds=_bounds(itertools.chain(*options.bounds)))
    for remark in remarks:
        say(f"note: {remark}", aside=True)
    say(f"report: {path}")


def _bounds(given: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Parse `TASK=LOW:HIGH`.

    Raises:
        ConfigError: the form is another, or a task has bounds twice.
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
