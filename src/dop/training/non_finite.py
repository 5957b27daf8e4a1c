"""Detection of numbers that are not finite, in the chunk in which they occur, with the quantity and the environment that they came from.

Every iteration checks its episodes, losses and gradients, at the cost of a few reductions; the learner is checked before a checkpoint. The
results are part of the iteration's metrics, under prefixed names: -1 if all is finite, else the place, the environment's number times
(time limit + 1) plus the step. They are not written to records.

    on_non_finite = "stop"    the run ends with an error; its checkpoints are older
                    "skip"    such episodes are emptied, such updates are undone, both are counted, and the run continues
"""

from __future__ import annotations

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from dop.errors import RunError
from dop.types import Episode, Metrics

FOUND = "non_finite/"
COUNTS = ("emptied_episodes", "skipped_updates")
"""Metrics that are summed over the iterations of a chunk, not averaged."""
LOWEST, HIGHEST = ("return_min",), ("return_max",)
"""Metrics reduced by minimum, or maximum, over the iterations of a chunk."""
DEVIATIONS = {"return_std": "return_mean"}
"""Standard deviations, each with its mean. All iterations have the same number of episodes."""
_SEEN = ("reward", "obs", "state")
_LEARNED = ("_loss", "_norm")
Params = TypeVar("Params")


def of_episodes(episodes: Episode) -> Metrics:
    """Places of rewards, observations and states in a batch (leading axis: environment) that are not finite."""
    return {FOUND + name: _place(_not_finite(getattr(episodes, name)), episodes.obs.shape[1]) for name in _SEEN}


def of_update(metrics: Metrics) -> Metrics:
    """Losses and gradient norms that are not finite."""
    watched = {name: value for name, value in metrics.items() if name.endswith(_LEARNED)}
    return {FOUND + name: jnp.where(jnp.isfinite(value), -1.0, 0.0) for name, value in watched.items()}


def emptied(episodes: Episode) -> tuple[Episode, Float[Array, ""]]:
    """The episodes, those with a number that is not finite emptied of steps; and the number of those."""
    bad = jnp.any(jnp.stack([jnp.any(_not_finite(getattr(episodes, name)), axis=1) for name in _SEEN]), axis=0)
    clean = jax.tree.map(lambda x: jnp.where(bad.reshape(-1, *(1,) * (x.ndim - 1)), jnp.zeros((), x.dtype), x), episodes)
    return clean, jnp.sum(bad, dtype=jnp.float32)


def undone_if_bad(old: Params, new: Params, metrics: Metrics) -> tuple[Params, Float[Array, ""]]:
    """`new` and 0; or `old` and 1 if a loss, a gradient or a number in `new` is not finite."""
    numbers = [leaf for leaf in jax.tree.leaves(new) if eqx.is_inexact_array(leaf)]
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in numbers] + [x < 0 for x in of_update(metrics).values()]))
    kept = jax.tree.map(lambda x, y: jnp.where(finite, y, x) if eqx.is_array(y) else y, old, new)
    return kept, 1 - finite.astype(jnp.float32)


def over_iterations(metrics: dict[str, Float[Array, "iteration *seed"]], *, ignore_nan: bool = False) -> Metrics:
    """The metrics of a chunk from those of its iterations: means, sums of counts, and one place of numbers that are not finite.

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
        if name in DEVIATIONS:  # total variance: within the iterations plus between them
            means = metrics[DEVIATIONS[name]]
            return jnp.sqrt(mean(values**2, axis=0) + mean((means - mean(means, axis=0)) ** 2, axis=0))
        return mean(values, axis=0)

    return {name: reduced(name, values) for name, values in metrics.items()}


def split(metrics: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metrics without the places, and the places by quantity, then seed."""
    found = {name.removeprefix(FOUND): np.asarray(value) for name, value in metrics.items() if name.startswith(FOUND)}
    return {name: value for name, value in metrics.items() if not name.startswith(FOUND)}, found


def bad_arrays(arrays: dict[str, np.ndarray]) -> list[str]:
    """The names of arrays with numbers that are not finite."""
    return [name for name, array in arrays.items() if np.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all()]


def check_initial(arrays: dict[str, np.ndarray], algorithm: str) -> None:
    """Raise RunError if arrays of a new learner are not finite."""
    bad = bad_arrays(arrays)
    if bad:
        others = f" (and of {len(bad) - 1} other arrays)" if bad[1:] else ""
        raise RunError(
            f"The initial parameters of {bad[0]}{others} in the learner of {algorithm} are not finite. Training has not started; "
            "correct the initialisation of the network."
        )


def sentence(quantity: str, place: float, *, time_limit: int, environments: int) -> str:
    """A place in words, for `environments` parallel environments."""
    if quantity not in _SEEN:
        return f"{quantity} is not finite"
    episode, step = divmod(int(place), time_limit + 1)
    environment = f"{episode % environments} (of 0 to {environments - 1})"
    names = {"reward": "the reward", "obs": "an observation", "state": "the global state"}
    # A reward belongs to the following step, an observation to the step where it is seen.
    return f"{names[quantity]} of parallel environment {environment} is not finite at step {step + (quantity == 'reward')} of its episode"


def _not_finite(values: Float[Array, "environment time ..."]) -> Bool[Array, "environment time"]:
    return jnp.any(~jnp.isfinite(values), axis=tuple(range(2, values.ndim)))


def _place(bad: Bool[Array, "environment time"], stride: int) -> Float[Array, ""]:
    """The first place: its environment times `stride` plus its time; -1 if there is none."""
    environment = jnp.argmax(jnp.any(bad, axis=1))
    place = environment * stride + jnp.argmax(bad[environment])
    return jnp.where(jnp.any(bad), place, -1).astype(jnp.float32)
