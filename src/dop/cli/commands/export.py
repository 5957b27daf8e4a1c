"""Export the policies (ONNX, safetensors), or a trained team as a model."""

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
    """Export one greedy policy per agent as ONNX, all weights as safetensors, and a description as JSON. Or, with --format model, the
    team of one seed as a small folder with a card, which dop evaluate, render, credit and export read as they read a run."""

    out: Path | None = None
    """Folder for the files. Default: export/ in the run directory, or model/ for a model, which must not exist yet."""
    format: Literal["onnx", "model"] = "onnx"
    """onnx: to run without this library. model: to run with it."""
    at: str | None = None
    """latest: the newest checkpoint. best: each seed at its best greedy evaluation (win rate, then return). Or the environment steps of a
    snapshot, the name of a file in RUN/snapshots. Default: latest, or for a model the better of latest and best."""
    run_seed: int | None = None
    """One of the run's seeds. Default: its first, or for a model the best."""
    episodes: int = 1024
    """Number of greedy episodes for a model's card, and of others to choose seed and moment."""
    seed: int = 0
    """Seed of these episodes."""
    credit: Literal["auto", "yes", "no"] = "auto"
    """Whether a model has its critic, for dop credit. auto: if its arrays have at most 1 MB with it."""


def run(arguments: Sequence[str]) -> None:
    """`dop export RUN`"""
    options = parse(Options, arguments, prog="dop export")
    chosen = {name: getattr(options, name) for name in ("out", "run_seed")} | options.source
    if options.format == "onnx":
        listed(dop.views.export(options.run, at=options.at or "latest", **chosen))
        return
    of_card = {name: getattr(options, name) for name in ("episodes", "seed", "credit")}
    listed(dop.views.export_model(options.run, at=options.at, **of_card, **chosen))
