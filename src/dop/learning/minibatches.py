"""Minibatches of a critic: how the steps of a batch of episodes are grouped, and the gradient steps on them.

timestep     one gradient step per timestep of the batch, first to last
backwards    the same, last to first
shuffled     one gradient step per minibatch of shuffled steps, one step per episode of the batch in each
full         one gradient step on all steps
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from dop import losses
from dop.learning import dynamic_scan
from dop.learning.gradient_step import Loss, gradient_step, gradient_step_of_sum
from dop.types import Metrics

Schedule: TypeAlias = Literal["timestep", "backwards", "shuffled", "full"]
Rows = TypeVar("Rows")
Model = TypeVar("Model")


def make_minibatches(
    key: PRNGKeyArray, rows: Rows, mask: Bool[Array, "time episode"], schedule: Schedule
) -> tuple[Rows, Bool[Array, "minibatch row"], Int[Array, ""]]:
    """The rows (leading axes: time, episode) as minibatches, their mask, and the number of leading minibatches that are not empty."""
    count = jnp.max(jnp.sum(mask, axis=0, dtype=jnp.int32))
    if schedule == "backwards":
        # From the longest episode's last step; the padding after it is never used.
        order = (count - 1 - jnp.arange(mask.shape[0])) % mask.shape[0]
        rows, mask = jax.tree.map(lambda x: x[order], (rows, mask))
    if schedule == "shuffled":
        # Unpadded rows in random order, then padding.
        order = jnp.argsort(jax.random.uniform(key, (mask.size,)) + ~mask.ravel())
        rows, mask = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[order].reshape(x.shape), (rows, mask))
        count = -(-jnp.sum(mask, dtype=jnp.int32) // mask.shape[1])
    return rows, mask, count


def weights(
    mask: Bool[Array, "minibatch row"], schedule: Schedule, weigh: Callable[..., Float[Array, "minibatch row"]] = losses.equal_shares
) -> Float[Array, "minibatch row"]:
    """Weight of each row's loss in its gradient step.

    `weigh(mask, axis)` gives weights that sum to 1 along `axis`, by default uniform: over a minibatch, or over all of them for `full`.
    """
    if schedule == "full":
        return weigh(mask, (0, 1))
    # The last shuffled minibatch may be partly filled: its rows have the same weight as all others.
    filled = jnp.mean(mask, axis=1, keepdims=True) if schedule == "shuffled" else 1.0
    return weigh(mask, 1) * filled


def squared_error(error: Float[Array, "*row"], weight: Float[Array, "*row"]) -> Loss:
    """The weighted sum of squared errors, and its metrics. Rows of weight 0 must have an error of 0."""
    loss = jnp.sum(weight * error**2)
    return loss, {"critic_loss": loss, "td_error_abs": jnp.sum(weight * jnp.abs(error))}


def fit(
    loss: Callable[[Model, Any], Loss],
    optimiser: optax.GradientTransformation,
    model: Model,
    state: PyTree,
    minibatches: PyTree,
    count: Int[Array, ""],
    *,
    full_batch: bool,
) -> tuple[Model, PyTree, Metrics]:
    """Gradient steps on the first `count` minibatches: one each, in order, or one on their sum (`full_batch`).

    Args:
        loss: function of model and minibatch; like its metrics a sum over the minibatch's rows.
        optimiser: the optimiser.
        model: the model to fit.
        state: the optimiser's state.
        minibatches: leading axis: minibatch.
        count: number of minibatches.
        full_batch: for the `full` schedule, whose minibatches are slices of one batch.

    Returns:
        The new model, the optimiser's new state, and means over the steps of the loss's metrics and `critic_grad_norm`.
    """
    if full_batch:
        return gradient_step_of_sum(loss, model, optimiser, state, minibatches, count, name="critic")

    def step(j: Int[Array, ""], model: Model, state: PyTree) -> tuple[Model, PyTree, Metrics]:
        return gradient_step(loss, model, optimiser, state, dynamic_scan.at(minibatches, j), name="critic")

    def body(j: Int[Array, ""], carry: tuple) -> tuple:
        model, state, sums = carry
        model, state, metrics = step(j, model, state)
        return model, state, jax.tree.map(jnp.add, sums, metrics)

    start = (model, state, dynamic_scan.zeros_of(lambda: step(jnp.zeros((), jnp.int32), model, state)[2]))
    model, state, sums = jax.lax.fori_loop(0, count, body, start)
    return model, state, jax.tree.map(lambda x: x / jnp.maximum(count, 1), sums)
