"""Play greedy episodes with the newest checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from dop import api
from dop.commands._output import say, table
from dop.commands._run import RunOptions

USAGE = "RUN [options]"


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Play greedy episodes with the newest checkpoint of a run."""

    episodes: int = 128
    """Episodes for each of the run's seeds."""
    seed: int = 0
    """Which episodes: the same number gives the same ones."""


def run(arguments: Sequence[str]) -> None:
    """`dop evaluate RUN`"""
    options = tyro.cli(Options, args=arguments, prog="dop evaluate")
    result = api.evaluate(options.run, episodes=options.episodes, seed=options.seed, **options.source)
    say(f"{options.episodes} greedy episodes per seed:")
    table(result)
