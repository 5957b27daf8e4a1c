"""Evaluate the newest checkpoint, or another moment, in greedy or sampled episodes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dop
from dop.cli.output import evaluation, only_results, say
from dop.cli.parsing import parse
from dop.cli.run import RunOptions
from dop.storage import files

USAGE = "RUN [options]"


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Evaluate a run's policies: means with 95% intervals, over episodes and over seeds."""

    episodes: int = 128
    """Number of episodes for each of the run's seeds."""
    seed: int = 0
    """Seed of the episodes."""
    at: str = "latest"
    """latest: the newest checkpoint. best: each seed at its best greedy evaluation (win rate, then return). Or the environment steps of a
    snapshot, the name of a file in RUN/snapshots."""
    sampled: bool = False
    """Draw actions from the stochastic policy of the newest actors, without epsilon's uniform actions. QMIX and VDN have no such policy and
    explore with their current epsilon. Default: greedy policies, as in the evaluations of a run."""
    json: bool = False
    """Print only one JSON object, with every episode, on standard output."""
    csv: Path | None = None
    """CSV file with a row per seed and episode: seed, episode, return, ep_length, the environment's metrics."""


def run(arguments: Sequence[str]) -> None:
    """`dop evaluate RUN`"""
    options = parse(Options, arguments, prog="dop evaluate")
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
