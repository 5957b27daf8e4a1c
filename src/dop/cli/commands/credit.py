"""See which agent earned the reward when: time lines, films, means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

import dop
from dop.cli.output import listed
from dop.cli.run import RunOptions

USAGE = "RUN [options]"


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Each agent's weight k, value Q, advantage, credit and action: step by step of one episode, and in the mean of many."""

    out: Path | None = None
    """Folder for pictures and data. Default: credit/ in the run directory."""
    episodes: int = 32
    """Greedy episodes that means are taken over; the best and the worst are shown step by step."""
    training_episodes: int = 8
    """The same at each of the run's snapshots."""
    seed: int = 0
    """Which episodes: the same number gives the same ones."""
    at: str = "latest"
    """latest: the newest checkpoint. best: each seed as it was at its best greedy evaluation (win rate, then return). Or the environment
    steps of a snapshot, of which `RUN/snapshots` has the names."""
    run_seed: int | None = None
    """Which of the run's seeds. Default: its first."""
    films: bool = True
    """Also write films with the time line beside."""


def run(arguments: Sequence[str]) -> None:
    """`dop credit RUN`"""
    options = tyro.cli(Options, args=arguments, prog="dop credit")
    chosen = {name: getattr(options, name) for name in ("out", "episodes", "training_episodes", "seed", "run_seed", "films", "at")}
    listed(dop.views.credit(options.run, **chosen, **options.source))
