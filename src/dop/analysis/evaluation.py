"""Evaluation results: every episode, means over episodes, and their confidence intervals."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from dop.analysis.statistics import Interval, mean_interval
from dop.storage.files import write_text

Policy: TypeAlias = Literal["greedy", "sampled"]


class Intervals(NamedTuple):
    """95% intervals of one metric's mean, by Student's t. The bounds of a single value are NaN."""

    over_episodes: Interval
    """Of each seed's mean over its episodes (axis: seed): the uncertainty about this trained team."""
    over_seeds: Interval
    """Of the mean over seeds: the uncertainty about training."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Episodes of every seed of a run, played with its newest checkpoint, its best or another snapshot."""

    policy: Policy
    """The policy: greedy, or sampled (see `dop.evaluate_episodes`)."""
    seeds: tuple[int, ...]
    """Of the run."""
    env_steps: tuple[int, ...]
    """Environment steps of training, by seed."""
    returns: Float[np.ndarray, "seed episode"]
    """Undiscounted."""
    lengths: Int[np.ndarray, "seed episode"]
    """In environment steps."""
    metrics: Mapping[str, Float[np.ndarray, "seed episode"]]
    """The environment's metrics at the end of each episode, by name."""
    at: str = "latest"
    """The requested checkpoint: `latest`, `best`, or environment steps."""

    @property
    def values(self) -> dict[str, Float[np.ndarray, "seed episode"]]:
        """All values, by the names of their means in records."""
        found = {"return": self.returns, "ep_length": self.lengths, **self.metrics}
        return {f"test_{name}_mean": np.asarray(value, dtype=float) for name, value in found.items()}

    def means(self) -> dict[str, tuple[float, ...]]:
        """Means over episodes, by metric and then by seed."""
        return {name: tuple(value.mean(axis=1).tolist()) for name, value in self.values.items()}

    def intervals(self) -> dict[str, Intervals]:
        """Intervals by metric. One that includes a value that is not finite is NaN."""
        found = {}
        for name, value in self.values.items():
            of_seeds = value.mean(axis=1)
            known = np.isfinite(of_seeds)
            each = mean_interval(np.where(known, value.T, np.nan))
            found[name] = Intervals(each, mean_interval(of_seeds if known.all() else np.full_like(of_seeds, np.nan)))
        return found

    def episodes(self) -> Iterator[dict[str, Any]]:
        """One row per episode: seed, episode, return, ep_length, and the environment's metrics by name."""
        for place, seed in enumerate(self.seeds):
            for episode in range(self.returns.shape[1]):
                yield {
                    "seed": seed,
                    "episode": episode,
                    "return": float(self.returns[place, episode]),
                    "ep_length": int(self.lengths[place, episode]),
                    "metrics": {name: float(value[place, episode]) for name, value in self.metrics.items()},
                }

    def to_json(self) -> dict[str, Any]:
        """As JSON: means with their intervals, then every episode. None stands for unknown values and those that are not finite."""
        return {
            "policy": self.policy,
            "at": self.at,
            "seeds": list(self.seeds),
            "env_steps": list(self.env_steps),
            "episodes_per_seed": self.returns.shape[1],
            "interval": "95%, of the mean, Student's t",
            "metrics": {name: self._metric(found) for name, found in self.intervals().items()},
            "episodes": [_finite(row) for row in self.episodes()],
        }

    def _metric(self, found: Intervals) -> dict[str, Any]:
        """One metric's part of `to_json`."""
        of_seeds = zip(*found.over_episodes, strict=True)
        each = [{"seed": seed, "mean": mean, "interval": [low, high]} for seed, (mean, low, high) in zip(self.seeds, of_seeds, strict=True)]
        mean, low, high = found.over_seeds
        return _finite({"mean": mean, "interval": [low, high], "seeds": each})

    def write_csv(self, path: Path) -> None:
        """Write one row per seed and episode. An existing file is replaced atomically; missing folders are made."""
        text = io.StringIO(newline="")
        table = csv.writer(text, lineterminator="\n")
        first = ("seed", "episode", "return", "ep_length")
        table.writerow([*first, *(f"metrics.{name}" if name in first else name for name in self.metrics)])
        table.writerows([*(row[name] for name in first), *row["metrics"].values()] for row in self.episodes())
        write_text(path, text.getvalue())


def _finite(value: Any) -> Any:
    """None in place of numbers that are not finite; NumPy's numbers as Python's."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float | np.ndarray):
        return float(value) if math.isfinite(value) else None
    return value
