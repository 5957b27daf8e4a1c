"""Resume a run exactly from its newest checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import dop
from dop.cli.output import run_summary
from dop.cli.parsing import parse
from dop.cli.run import RunOptions

USAGE = "RUN [options]"
_ARGUMENTS = {"logger": "loggers", "callback": "callbacks"}
"""Arguments of `dop.resume` that are plurals of their options; the others have the same name."""


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Resume a run exactly from its newest checkpoint."""

    env_steps: int | None = None
    """A new goal, in environment steps from the start of the run. Default: the run's own."""
    on_non_finite: Literal["stop", "skip"] | None = None
    """A new reaction to numbers that are not finite: stop, or skip and count them. Default: the run's own."""
    threads: int | None = None
    """A new number of JAX's CPU threads. Default: the run's own, on any machine, which gives the same bits."""
    devices: int | Literal["all"] | None = None
    """A new number of devices. Default: the run's own, which gives the same bits."""
    logger: tuple[str, ...] = ()
    """Further loggers, as in `dop train`."""
    logger_online: bool = False
    """Let wandb and mlflow use the network."""
    callback: tuple[str, ...] = ()
    """Your own callbacks, as in `dop train`."""
    quiet: bool = False
    """No progress on the terminal."""


def run(arguments: Sequence[str]) -> None:
    """`dop resume RUN`"""
    options = parse(Options, arguments, prog="dop resume")
    own = {field.name for field in fields(Options)} - {field.name for field in fields(RunOptions)}
    chosen = {_ARGUMENTS.get(name, name): getattr(options, name) for name in own}
    run_summary(dop.resume(options.run, **chosen, **options.source))
