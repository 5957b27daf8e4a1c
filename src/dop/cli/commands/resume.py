"""Go on exactly where a run stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import tyro

import dop
from dop.cli.output import tell
from dop.cli.run import RunOptions

USAGE = "RUN [options]"


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Go on exactly where a run was last saved."""

    env_steps: int | None = None
    """A new goal, in environment steps from the very start. Default: the run's own."""
    on_non_finite: Literal["stop", "skip"] | None = None
    """From now on, stop when a number is not finite, or skip what it came from and count it. Default: as before."""
    threads: int | None = None
    """Threads that JAX computes with on a CPU from now on. Default: as many as before, on any machine, which gives the same bits."""
    logger: tuple[str, ...] = ()
    """Where else records go, as in `dop train`."""
    logger_online: bool = False
    """Let wandb and mlflow use the network."""
    quiet: bool = False
    """No progress on the terminal."""


def run(arguments: Sequence[str]) -> None:
    """`dop resume RUN`"""
    options = tyro.cli(Options, args=arguments, prog="dop resume")
    names = ("env_steps", "on_non_finite", "threads", "quiet", "logger_online")
    chosen = {name: getattr(options, name) for name in names}
    tell(dop.resume(options.run, loggers=options.logger, **chosen, **options.source))
