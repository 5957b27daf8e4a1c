"""Take the policies away: ONNX, safetensors and a description."""

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
    """One greedy policy for each agent as ONNX, all weights as safetensors, and how to use them as JSON."""

    out: Path | None = None
    """Folder for the files. Default: export/ in the run directory."""
    at: str = "latest"
    """latest: the newest checkpoint. best: each seed as it was at its best greedy evaluation (win rate, then return). Or the environment
    steps of a snapshot, of which `RUN/snapshots` has the names."""
    run_seed: int | None = None
    """Which of the run's seeds. Default: its first."""


def run(arguments: Sequence[str]) -> None:
    """`dop export RUN`"""
    options = tyro.cli(Options, args=arguments, prog="dop export")
    listed(dop.views.export(options.run, out=options.out, run_seed=options.run_seed, at=options.at, **options.source))
