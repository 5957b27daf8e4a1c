"""Numbers that are not finite: found in the very chunk in which they come up, with what they are and which environment they came from.

In every iteration the new episodes, the losses and the gradients are looked at, which costs a few reductions beside an update; the learner
is looked at before it is saved. What is found travels with the metrics of the iteration, under names with a prefix: -1 where all is well,
else where it was, the environment's number times (time limit + 1) plus the step. It never becomes a record.

    on_non_finite = "stop"    the run ends with a sentence; its checkpoints are from before
                    "skip"    such episodes are emptied and such updates undone, both are counted, and the run goes on
"""

from __future__ import annotations

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from dop.types import Episode, Metrics

FOUND = "non_finite/"
COUNTS = ("emptied_episodes", "skipped_updates")
"""Metrics that are added up over the iterations of a chunk, not averaged."""
LOWEST, HIGHEST = ("return_min",), ("return_max",)
"""Metrics of which the lowest, or the highest, of all iterations stands for the chunk."""
DEVIATIONS = {"return_std": "return_mean"}
"""Standard deviations, each with the mean that it is about. Every iteration has as many episodes as the others."""
_SEEN = ("reward", "obs", "state")
_LEARNED = ("_loss", "_norm")
Params = TypeVar("Params")


def of_episodes(episodes: Episode) -> Metrics:
    """Where rewards, observations and states of a batch (leading axis: environment) are not finite."""
    return {FOUND + name: _place(_wrong(getattr(episodes, name)), episodes.obs.shape[1]) for name in _SEEN}


def of_update(metrics: Metrics) -> Metrics:
    """Which losses and gradient norms are not finite."""
    watched = {name: value for name, value in metrics.items() if name.endswith(_LEARNED)}
    return {FOUND + name: jnp.where(jnp.isfinite(value), -1.0, 0.0) for name, value in watched.items()}


def emptied(episodes: Episode) -> tuple[Episode, Float[Array, ""]]:
    """Every episode with a number that is not finite made one without steps; and how many these are."""
    bad = jnp.any(jnp.stack([jnp.any(_wrong(getattr(episodes, name)), axis=1) for name in _SEEN]), axis=0)
    clean = jax.tree.map(lambda x: jnp.where(bad.reshape(-1, *(1,) * (x.ndim - 1)), jnp.zeros((), x.dtype), x), episodes)
    return clean, jnp.sum(bad, dtype=jnp.float32)


def undone_if_bad(old: Params, new: Params, metrics: Metrics) -> tuple[Params, Float[Array, ""]]:
    """`new`, or `old` if a loss, a gradient or anything in `new` is not finite; and 1 in that case."""
    numbers = [leaf for leaf in jax.tree.leaves(new) if eqx.is_inexact_array(leaf)]
    sound = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in numbers] + [x < 0 for x in of_update(metrics).values()]))
    kept = jax.tree.map(lambda x, y: jnp.where(sound, y, x) if eqx.is_array(y) else y, old, new)
    return kept, 1 - sound.astype(jnp.float32)


def over_iterations(metrics: dict[str, Float[Array, "iteration *seed"]], *, ignore_nan: bool = False) -> Metrics:
    """What a chunk reports of its iterations: means, sums of what is counted, and of what is not finite one place.

    The standard deviation, the minimum and the maximum of returns are those of all episodes of the chunk.
    """
    mean, lowest, highest = (jnp.nanmean, jnp.nanmin, jnp.nanmax) if ignore_nan else (jnp.mean, jnp.min, jnp.max)

    def reduced(name: str, values: Float[Array, "iteration *seed"]) -> Float[Array, "*seed"]:
        if name.startswith(FOUND):
            return jnp.max(values, axis=0)
        if name in COUNTS:
            return jnp.sum(values, axis=0)
        if name in LOWEST or name in HIGHEST:
            return (lowest if name in LOWEST else highest)(values, axis=0)
        if name in DEVIATIONS:  # the variance of all is that within the iterations and that between them
            means = metrics[DEVIATIONS[name]]
            return jnp.sqrt(mean(values**2, axis=0) + mean((means - mean(means, axis=0)) ** 2, axis=0))
        return mean(values, axis=0)

    return {name: reduced(name, values) for name, values in metrics.items()}


def split(metrics: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metrics proper, and what was found, by quantity and then by seed."""
    found = {name.removeprefix(FOUND): np.asarray(value) for name, value in metrics.items() if name.startswith(FOUND)}
    return {name: value for name, value in metrics.items() if not name.startswith(FOUND)}, found


def bad_arrays(arrays: dict[str, np.ndarray]) -> list[str]:
    """The names of those that have a number that is not finite."""
    return [name for name, array in arrays.items() if np.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all()]


def sentence(quantity: str, place: float, *, time_limit: int, environments: int) -> str:
    """What was found, in words, where `environments` are played side by side."""
    if quantity not in _SEEN:
        return f"{quantity} is not finite"
    episode, step = divmod(int(place), time_limit + 1)
    environment = f"{episode % environments} (of 0 to {environments - 1})"
    names = {"reward": "the reward", "obs": "an observation", "state": "the global state"}
    # Rewards come with the step that follows, observations stand at the step they were seen at.
    return f"{names[quantity]} of parallel environment {environment} is not finite at step {step + (quantity == 'reward')} of its episode"


def _wrong(values: Float[Array, "environment time ..."]) -> Bool[Array, "environment time"]:
    return jnp.any(~jnp.isfinite(values), axis=tuple(range(2, values.ndim)))


def _place(wrong: Bool[Array, "environment time"], stride: int) -> Float[Array, ""]:
    """The first one: its environment times `stride` plus its time; -1 where there is none."""
    environment = jnp.argmax(jnp.any(wrong, axis=1))
    place = environment * stride + jnp.argmax(wrong[environment])
    return jnp.where(jnp.any(wrong), place, -1).astype(jnp.float32)
