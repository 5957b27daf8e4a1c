"""Statistics over seeds: curves of different seeds on common points, their mean and its 95% confidence interval.

Evaluations of different seeds happen at different environment steps, since episodes end at different times. At every common point `align`
therefore waits until each seed has been evaluated anew, and takes each seed's latest value then (previous-value hold). Why not interpolate:
this way every number was measured, none comes from the seed's own future, and averaging neighbours does not narrow the spread over seeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit  # Student's t quantile; jax depends on scipy, so it is always there.

from dop.engine.records import Record

Axis: TypeAlias = Literal["env_steps", "wall_seconds"]


class Curve(NamedTuple):
    """A metric of one seed."""

    x: Float[np.ndarray, " point"]
    """Environment steps or seconds, never falling."""
    y: Float[np.ndarray, " point"]


class Aligned(NamedTuple):
    """A metric of several seeds on common points."""

    x: Float[np.ndarray, " point"]
    y: Float[np.ndarray, "seed point"]


class Interval(NamedTuple):
    """A mean over seeds and the bounds of its confidence interval, in the metric's unit."""

    mean: Float[np.ndarray, "..."]
    low: Float[np.ndarray, "..."]
    high: Float[np.ndarray, "..."]


def curves(records: Iterable[Record], metric: str, axis: Axis = "env_steps") -> dict[int, Curve]:
    """`metric` of every seed that has it, over environment steps or seconds, by seed. The records are those of one run."""
    points: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for record in records:
        if metric in record.metrics:
            points[record.seed].append((getattr(record, axis), record.metrics[metric]))
    by_seed = {seed: np.array(points[seed], dtype=float) for seed in sorted(points)}
    ordered = {seed: pairs[np.argsort(pairs[:, 0], kind="stable")] for seed, pairs in by_seed.items()}
    return {seed: Curve(x=pairs[:, 0], y=pairs[:, 1]) for seed, pairs in ordered.items()}


def align(seeds: Sequence[Curve]) -> Aligned:
    """Put curves on common points: the first at which every seed has a value, then each time that every seed has a new one.

    With equal x nothing changes. It ends with the seed that ends first.
    """
    points, here = [], -np.inf
    while True:
        following = [int(np.searchsorted(seed.x, here, side="right")) for seed in seeds]
        if not seeds or any(index == len(seed.x) for index, seed in zip(following, seeds, strict=True)):
            break
        here = max(seed.x[index] for index, seed in zip(following, seeds, strict=True))
        points.append(here)
    x = np.array(points, dtype=float)
    y = [seed.y[np.searchsorted(seed.x, x, side="right") - 1] for seed in seeds]
    return Aligned(x=x, y=np.array(y, dtype=float).reshape(len(seeds), len(x)))


def mean_interval(values: Float[np.ndarray, "seed *rest"], confidence: float = 0.95) -> Interval:
    """Mean over seeds, and mean -+ t_{n-1} s / sqrt(n), where s is the sample standard deviation (Student's t).

    Seeds whose value is NaN are left out, point by point. Of one seed there is no interval: its bounds are NaN. Of none, all is NaN.
    """
    known = np.isfinite(values)
    count = known.sum(axis=0)
    n = np.where(count > 0, count, np.nan)
    mean = np.where(known, values, 0.0).sum(axis=0) / n
    freedom = np.where(count > 1, n - 1, np.nan)
    variance = (np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / freedom
    half = stdtrit(freedom, 0.5 + confidence / 2) * np.sqrt(variance / n)
    return Interval(mean=mean, low=mean - half, high=mean + half)
