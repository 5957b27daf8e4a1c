"""Go on exactly where a run stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dop import api
from dop.commands._output import tell
from dop.engine import loggers

USAGE = "RUN [options]"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Go on exactly where a run was last saved."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory."""
    env_steps: int | None = None
    """A new goal, in environment steps from the very start. Default: the run's own."""
    logger: tuple[loggers.Name, ...] = ()
    """Where else records go, as in `dop train`."""
    logger_online: bool = False
    """Let these loggers use the network."""
    quiet: bool = False
    """No progress on the terminal."""


def run(arguments: Sequence[str]) -> None:
    """`dop resume RUN`"""
    options = tyro.cli(Options, args=arguments, prog="dop resume")
    chosen = {name: getattr(options, name) for name in ("env_steps", "quiet", "logger", "logger_online")}
    tell(api.resume(options.run, **chosen))
