"""Statistics over seeds: curves of different seeds on common points, their mean and its 95% confidence interval.

Evaluations of different seeds happen at different environment steps, since episodes end at different times. At every common point `align`
therefore has a new evaluation of each seed, and takes each seed's latest value (previous-value hold). Unlike interpolation, this uses only
measured numbers and none from a seed's future, and does not narrow the spread over seeds by averaging neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import scipy  # subpackages load on first use; `stats` takes more than a second
from jaxtyping import Float

from dop.storage.records import Record

Axis: TypeAlias = Literal["env_steps", "wall_seconds", "processor_seconds"]
LARGEST = 1e100
"""The largest absolute value; larger numbers count as not finite, since sums of their squares may overflow."""


class Curve(NamedTuple):
    """A metric of one seed."""

    x: Float[np.ndarray, " point"]
    """Environment steps or seconds, non-decreasing."""
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


def known(values: Any) -> Float[np.ndarray, "*values"]:
    """The values, with NaN in place of numbers that are not finite or beyond `LARGEST`."""
    array = np.asarray(values, dtype=float)
    return np.where(np.abs(array) <= LARGEST, array, np.nan)


def finite_mean(values: Float[np.ndarray, " value"]) -> float:
    """The mean of the finite numbers; NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(np.mean(finite)) if finite.size else np.nan


def curves(records: Iterable[Record], metric: str, axis: Axis = "env_steps", *, smooth: int = 0) -> dict[int, Curve]:
    """`metric` over environment steps or seconds, by seed (see `known`), without records whose processor seconds are unknown.

    Args:
        records: of one run.
        metric: its name in the records.
        axis: the x axis.
        smooth: the window of `trailing_mean`, in environment steps; 0: none.
    """
    points: dict[int, list[tuple[float, float, float]]] = defaultdict(list)
    for record in records:
        if metric in record.metrics and (place := getattr(record, axis)) is not None:
            points[record.seed].append((place, record.metrics[metric], record.env_steps))
    found = {}
    for seed in sorted(points):
        rows = known(points[seed])
        x, y, env_steps = rows[np.argsort(rows[:, 0], kind="stable")].T
        found[seed] = Curve(x=x, y=trailing_mean(env_steps, y, smooth) if smooth else y)
    return found


def trailing_mean(env_steps: Float[np.ndarray, " point"], values: Float[np.ndarray, " point"], window: int) -> Float[np.ndarray, " point"]:
    """At each point, the mean of the values within the last `window` environment steps, its own included: none from the future.

    The window is (s - window, s]. Values that are not finite are left out of the means, and stay unchanged.
    """
    first = np.searchsorted(env_steps, env_steps - window, side="right")
    means = [finite_mean(values[min(begin, place) : place + 1]) for place, begin in enumerate(first)]
    return np.where(np.isfinite(values), means, values)


def align(seeds: Sequence[Curve]) -> Aligned:
    """Put curves on common points: the first at which every seed has a value, then each at which every seed has a new one.

    Curves with equal x stay unchanged. The result ends with the seed that ends first.
    """
    points, point = [], -np.inf
    while True:
        next_indices = [int(np.searchsorted(seed.x, point, side="right")) for seed in seeds]
        if not seeds or any(index == len(seed.x) for index, seed in zip(next_indices, seeds, strict=True)):
            break
        point = max(seed.x[index] for index, seed in zip(next_indices, seeds, strict=True))
        points.append(point)
    x = np.array(points, dtype=float)
    y = [seed.y[np.searchsorted(seed.x, x, side="right") - 1] for seed in seeds]
    return Aligned(x=x, y=np.array(y, dtype=float).reshape(len(seeds), len(x)))


def mean_interval(values: Float[np.ndarray, "seed *rest"], confidence: float = 0.95) -> Interval:
    """Mean over seeds, and mean -+ t_{n-1} s / sqrt(n), where s is the sample standard deviation (Student's t).

    NaNs are left out, point by point. The bounds of one seed are NaN; without seeds the mean is NaN, too.
    """
    known = np.isfinite(values)
    count = known.sum(axis=0)
    n = np.where(count > 0, count, np.nan)
    mean = np.where(known, values, 0.0).sum(axis=0) / n
    freedom = np.where(count > 1, n - 1, np.nan)
    variance = (np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / freedom
    half = scipy.special.stdtrit(freedom, 0.5 + confidence / 2) * np.sqrt(variance / n)
    return Interval(mean=mean, low=mean - half, high=mean + half)


FEWEST_SEEDS = 3
"""Fewer seeds have no interval. By Student's t, that of two seeds is 12.7 times as wide as their distance, and a bootstrap has only three
different samples of them. Agarwal et al. 2021, whose intervals these are, consider 3 to 10 runs."""


def seeds_interval(values: Float[np.ndarray, "seed *rest"], limits: tuple[float, float] = (-np.inf, np.inf)) -> Interval:
    """`mean_interval` for display: cut to `limits`, the range of possible values, and NaN with fewer than `FEWEST_SEEDS` known values."""
    found = mean_interval(values)
    enough = np.isfinite(values).sum(axis=0) >= FEWEST_SEEDS
    low, high = (np.where(enough, np.clip(bound, *limits), np.nan) for bound in (found.low, found.high))
    return Interval(mean=found.mean, low=low, high=high)


# ------------------------------------------------------------------------------------------------------------ several tasks
#
# Agarwal et al. 2021, Deep RL at the Edge of the Statistical Precipice: the statistics of `rliable`, with intervals from a bootstrap that
# is stratified by task. rliable 1.2.0 needs arch 7, which cannot be imported together with pandas 3; SciPy's bootstrap draws
# from each sample (task) separately, which is the same.

RESAMPLES = 2000
"""Number of resamples of each bootstrap."""


class Estimate(NamedTuple):
    """A number with the bounds of its 95% confidence interval; NaN where a task has fewer than `FEWEST_SEEDS`."""

    value: float
    low: float
    high: float


def interquartile_mean(scores: Sequence[Float[np.ndarray, " seed"]]) -> Estimate:
    """The mean of the middle half of all scores of all tasks (IQM)."""
    return _bootstrap(scores, lambda *tasks, axis=-1: scipy.stats.trim_mean(np.concatenate(tasks, axis=axis), 0.25, axis=axis))


def mean_score(scores: Sequence[Float[np.ndarray, " seed"]]) -> Estimate:
    """The mean over tasks of the mean over seeds."""
    return _bootstrap(scores, lambda *tasks, axis=-1: np.mean(_task_means(tasks, axis), axis=0))


def median_score(scores: Sequence[Float[np.ndarray, " seed"]]) -> Estimate:
    """The median over tasks of the mean over seeds; of one task, its mean."""
    return _bootstrap(scores, lambda *tasks, axis=-1: np.median(_task_means(tasks, axis), axis=0))


def optimality_gap(scores: Sequence[Float[np.ndarray, " seed"]], goal: float = 1.0) -> Estimate:
    """The shortfall of scores from `goal`: the mean over tasks of the mean over seeds of max(goal - score, 0). Less is better."""
    return _bootstrap(scores, lambda *tasks, axis=-1: np.mean(_task_means([np.maximum(goal - x, 0) for x in tasks], axis), axis=0))


def _task_means(tasks: Sequence[np.ndarray], axis: int) -> list[np.ndarray]:
    return [np.mean(task, axis=axis) for task in tasks]


def probability_of_improvement(x: Sequence[Float[np.ndarray, " seed"]], y: Sequence[Float[np.ndarray, " seed"]]) -> Estimate:
    """The probability that a seed of X beats one of Y on a random task: the mean over tasks of P(X > Y) + P(X = Y) / 2."""

    def statistic(*tasks: np.ndarray, axis: int = -1) -> np.ndarray:
        half = len(tasks) // 2
        wins = [_wins(a, b, axis) for a, b in zip(tasks[:half], tasks[half:], strict=True)]
        return np.mean(wins, axis=0)

    return _bootstrap([*x, *y], statistic)


def performance_profile(scores: Sequence[Float[np.ndarray, " seed"]], levels: Float[np.ndarray, " level"]) -> Interval:
    """The fraction of seeds with a score above each level, averaged over tasks, with pointwise intervals."""

    def above(level: float) -> Callable[..., np.ndarray]:
        return lambda *tasks, axis=-1: np.mean([np.mean(task > level, axis=axis) for task in tasks], axis=0)

    found = [_bootstrap(scores, above(level)) for level in levels]
    value, low, high = np.array(found).T.reshape(3, -1)
    return Interval(mean=value, low=low, high=high)


def _wins(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    """The fraction of pairs of seeds in which `a` is larger than `b`; ties count half."""
    a, b = np.moveaxis(a, axis, -1)[..., :, None], np.moveaxis(b, axis, -1)[..., None, :]
    return np.mean((a > b) + 0.5 * (a == b), axis=(-2, -1))


def _bootstrap(samples: Sequence[np.ndarray], statistic: Callable[..., Any]) -> Estimate:
    """Percentile bootstrap, stratified by sample, with a fixed random seed."""
    value = float(statistic(*samples))
    if min(len(sample) for sample in samples) < FEWEST_SEEDS:
        return Estimate(value, np.nan, np.nan)
    drawn = scipy.stats.bootstrap(samples, statistic, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0), batch=200)
    return Estimate(value, float(drawn.confidence_interval.low), float(drawn.confidence_interval.high))
