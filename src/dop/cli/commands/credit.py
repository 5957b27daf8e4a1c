"""Show per-agent credit over time: figures, films, means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dop
from dop.cli.output import listed
from dop.cli.parsing import parse
from dop.cli.run import RunOptions

USAGE = "RUN [options]"


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Per-agent weight k, value Q, advantage, credit and action: step by step in an episode, and as means over many."""

    out: Path | None = None
    """Folder for figures and data. Default: credit/ in the run directory."""
    episodes: int = 32
    """Number of greedy episodes for the means; the best and the worst are shown step by step."""
    training_episodes: int = 8
    """Number of greedy episodes at each of the run's snapshots."""
    seed: int = 0
    """Seed of the episodes."""
    at: str = "latest"
    """latest: the newest checkpoint. best: each seed at its best greedy evaluation (win rate, then return). Or the environment steps of a
    snapshot, the name of a file in RUN/snapshots."""
    run_seed: int | None = None
    """One of the run's seeds. Default: its first."""
    films: bool = True
    """Also write films with the credit over time."""


def run(arguments: Sequence[str]) -> None:
    """`dop credit RUN`"""
    options = parse(Options, arguments, prog="dop credit")
    chosen = {name: getattr(options, name) for name in ("out", "episodes", "training_episodes", "seed", "run_seed", "films", "at")}
    listed(dop.views.credit(options.run, **chosen, **options.source))
