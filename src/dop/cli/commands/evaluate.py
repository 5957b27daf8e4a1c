"""Play greedy or sampled episodes with the newest checkpoint, or as a run was at another moment."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

import dop
from dop.cli.output import evaluation, only_results, say
from dop.cli.run import RunOptions
from dop.storage import files

USAGE = "RUN [options]"


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Play episodes with what a run has learned: means and their 95% intervals, over episodes and over seeds."""

    episodes: int = 128
    """Episodes for each of the run's seeds."""
    seed: int = 0
    """Which episodes: the same number gives the same ones."""
    at: str = "latest"
    """latest: the newest checkpoint. best: each seed as it was at its best greedy evaluation (win rate, then return). Or the environment
    steps of a snapshot, of which `RUN/snapshots` has the names."""
    sampled: bool = False
    """Draw actions from the stochastic policy of the newest actors, without epsilon's uniform actions. QMIX and VDN, which have no such
    policy, explore by the epsilon that they have come to. Without this: the greedy team, as in the evaluations of a run."""
    json: bool = False
    """Print one JSON object, with every episode, and nothing else on standard output."""
    csv: Path | None = None
    """Write a row for each seed and episode to this file: seed, episode, return, ep_length, the environment's metrics."""


def run(arguments: Sequence[str]) -> None:
    """`dop evaluate RUN`"""
    options = tyro.cli(Options, args=arguments, prog="dop evaluate")
    place = None if options.csv is None else files.check_place(files.checked_path("--csv", options.csv), option="--csv")
    with only_results() if options.json else contextlib.nullcontext():
        chosen = {name: getattr(options, name) for name in ("episodes", "seed", "sampled", "at")}
        found = dop.evaluate_episodes(options.run, **chosen, **options.source)
    if place is not None:
        found.write_csv(place)
    if options.json:
        say(json.dumps({"run": str(options.run), "seed": options.seed, **found.to_json()}, allow_nan=False))
        return
    evaluation(found)
    if options.csv is not None:
        say(f"episodes: {options.csv}")
