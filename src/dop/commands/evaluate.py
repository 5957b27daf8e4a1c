"""Play greedy episodes with the newest checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dop import api
from dop.commands._output import table

USAGE = "RUN [options]"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Play greedy episodes with the newest checkpoint of a run."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory."""
    episodes: int = 128
    """Episodes for each of the run's seeds."""
    seed: int = 0
    """Which episodes: the same number gives the same ones."""


def run(arguments: Sequence[str]) -> None:
    """`dop evaluate RUN`"""
    options = tyro.cli(Options, args=arguments, prog="dop evaluate")
    result = api.evaluate(options.run, episodes=options.episodes, seed=options.seed)
    print(f"{options.episodes} greedy episodes per seed:")
    table(result)
