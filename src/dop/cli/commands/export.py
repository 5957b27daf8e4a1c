"""Export the policies: ONNX, safetensors and a description."""

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
    """Export one greedy policy per agent as ONNX, all weights as safetensors, and a description as JSON."""

    out: Path | None = None
    """Folder for the files. Default: export/ in the run directory."""
    at: str = "latest"
    """latest: the newest checkpoint. best: each seed at its best greedy evaluation (win rate, then return). Or the environment steps of a
    snapshot, the name of a file in RUN/snapshots."""
    run_seed: int | None = None
    """One of the run's seeds. Default: its first."""


def run(arguments: Sequence[str]) -> None:
    """`dop export RUN`"""
    options = parse(Options, arguments, prog="dop export")
    listed(dop.views.export(options.run, out=options.out, run_seed=options.run_seed, at=options.at, **options.source))
