"""Film greedy episodes, the best and the worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import dop
from dop.cli.output import listed
from dop.cli.parsing import parse
from dop.cli.run import RunOptions

USAGE = "RUN [options]"


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Films of a run's greedy episodes: the best and the worst by return."""

    out: Path | None = None
    """Folder for the films. Default: films/ in the run directory."""
    format: Literal["gif", "mp4"] = "gif"
    """mp4 needs the program ffmpeg."""
    episodes: int = 32
    """Number of episodes to choose from."""
    seed: int = 0
    """Seed of the episodes."""
    at: str = "latest"
    """latest: the newest checkpoint. best: each seed at its best greedy evaluation (win rate, then return). Or the environment steps of a
    snapshot, the name of a file in RUN/snapshots."""
    run_seed: int | None = None
    """One of the run's seeds. Default: its first."""


def run(arguments: Sequence[str]) -> None:
    """`dop render RUN`"""
    options = parse(Options, arguments, prog="dop render")
    chosen = {name: getattr(options, name) for name in ("out", "episodes", "seed", "run_seed", "at")}
    listed(dop.views.render(options.run, kind=options.format, **chosen, **options.source))
