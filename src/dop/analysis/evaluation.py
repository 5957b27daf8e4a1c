"""What a team reaches in episodes that were played for that: every one of them, their means, and how sure these are."""

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
    """Of one metric: 95% intervals of a mean by Student's t. Where there is one value only, the bounds are NaN."""

    over_episodes: Interval
    """Of each seed's mean, over its episodes (axis: seed): how sure it is what this very team reaches."""
    over_seeds: Interval
    """Of the mean over seeds, each counting once: how sure it is what training reaches."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Episodes of every seed of a run, played with its newest checkpoint or as it was at another moment."""

    policy: Policy
    """Who played: the greedy team, or one whose actions were sampled (`dop.evaluate_episodes` says how)."""
    seeds: tuple[int, ...]
    """Of the run."""
    env_steps: tuple[int, ...]
    """How long each of them had learned."""
    returns: Float[np.ndarray, "seed episode"]
    """Undiscounted."""
    lengths: Int[np.ndarray, "seed episode"]
    """In environment steps."""
    metrics: Mapping[str, Float[np.ndarray, "seed episode"]]
    """The environment's, at the end of each episode, by its names for them."""
    at: str = "latest"
    """The moment that was asked for: `latest`, `best`, or environment steps."""

    @property
    def values(self) -> dict[str, Float[np.ndarray, "seed episode"]]:
        """Everything, by the names that means have in records."""
        found = {"return": self.returns, "ep_length": self.lengths, **self.metrics}
        return {f"test_{name}_mean": np.asarray(value, dtype=float) for name, value in found.items()}

    def means(self) -> dict[str, tuple[float, ...]]:
        """Over episodes: metric, then the seeds in their order."""
        return {name: tuple(value.mean(axis=1).tolist()) for name, value in self.values.items()}

    def intervals(self) -> dict[str, Intervals]:
        """By metric. Where an episode's value is not finite, neither is what it counts in."""
        found = {}
        for name, value in self.values.items():
            of_seeds = value.mean(axis=1)
            known = np.isfinite(of_seeds)
            each = mean_interval(np.where(known, value.T, np.nan))
            found[name] = Intervals(each, mean_interval(of_seeds if known.all() else np.full_like(of_seeds, np.nan)))
        return found

    def episodes(self) -> Iterator[dict[str, Any]]:
        """One row for each: seed, episode, return, ep_length, and the environment's metrics by their names."""
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
        """What JSON can hold: means with their intervals, then every episode. What is not finite, or not known, is None."""
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
        """One row for each seed and episode. A file that is there is replaced in one step; folders on the way are made."""
        text = io.StringIO(newline="")
        table = csv.writer(text, lineterminator="\n")
        first = ("seed", "episode", "return", "ep_length")
        table.writerow([*first, *(f"metrics.{name}" if name in first else name for name in self.metrics)])
        table.writerows([*(row[name] for name in first), *row["metrics"].values()] for row in self.episodes())
        write_text(path, text.getvalue())


def _finite(value: Any) -> Any:
    """With None in the place of what JSON has no number for; NumPy's numbers as Python's."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float | np.ndarray):
        return float(value) if math.isfinite(value) else None
    return value
