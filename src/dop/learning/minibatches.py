"""A critic's regression: how the steps of a batch of episodes are arranged into minibatches, and the gradient steps on them.

timestep     one optimiser step for each timestep of the batch, first to last
backwards    the same, last to first
shuffled     one for each minibatch of that size, of filled steps in random order
full         a single one for all steps
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from dop import losses
from dop.learning import dynamic_scan, optimisers
from dop.types import Metrics

Schedule: TypeAlias = Literal["timestep", "backwards", "shuffled", "full"]
Rows = TypeVar("Rows")
Model = TypeVar("Model")


def make_minibatches(
    key: PRNGKeyArray, rows: Rows, mask: Bool[Array, "time episode"], schedule: Schedule
) -> tuple[Rows, Bool[Array, "minibatch row"], Int[Array, ""]]:
    """The rows (leading axes: time, episode) as minibatches, which of them count, and how many minibatches, from the first, hold any."""
    count = jnp.max(jnp.sum(mask, axis=0, dtype=jnp.int32))
    if schedule == "backwards":
        # From the longest episode's last step; what lies after it is never looked at.
        order = (count - 1 - jnp.arange(mask.shape[0])) % mask.shape[0]
        rows, mask = jax.tree.map(lambda x: x[order], (rows, mask))
    if schedule == "shuffled":
        # Filled rows in random order, then the others.
        order = jnp.argsort(jax.random.uniform(key, (mask.size,)) + ~mask.ravel())
        rows, mask = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[order].reshape(x.shape), (rows, mask))
        count = -(-jnp.sum(mask, dtype=jnp.int32) // mask.shape[1])
    return rows, mask, count


def weights(
    mask: Bool[Array, "minibatch row"], schedule: Schedule, share: Callable[..., Float[Array, "minibatch row"]] = losses.equal_shares
) -> Float[Array, "minibatch row"]:
    """How much each row's loss counts in its optimiser step.

    `share(mask, axis)` gives weights that sum to 1 along `axis`, by default all alike: over a minibatch, or over all of them for `full`.
    """
    if schedule == "full":
        return share(mask, (0, 1))
    # The last shuffled minibatch may be partly filled: its rows count as much as any others.
    filled = jnp.mean(mask, axis=1, keepdims=True) if schedule == "shuffled" else 1.0
    return share(mask, 1) * filled


def fit(
    loss: Callable[[Model, Any], tuple[Float[Array, ""], Float[Array, ""]]],
    optimiser: optax.GradientTransformation,
    model: Model,
    state: PyTree,
    minibatches: PyTree,
    count: Int[Array, ""],
    *,
    at_once: bool,
) -> tuple[Model, PyTree, Metrics]:
    """Optimiser steps on the first `count` minibatches: one each, in order, or a single one for their sum (`at_once`).

    Args:
        loss: of model and minibatch: the loss to go down, and the mean absolute error to report.
        optimiser: and its `state`.
        model: what is fitted.
        minibatches: leading axis: minibatch.
        count: how many of them.
        at_once: for the `full` schedule, where the minibatches are slices of one.

    Returns:
        The new model, the optimiser's new state and `critic_loss`, `td_error_abs` and `critic_grad_norm`.
    """
    gradient_of = jax.value_and_grad(loss, has_aux=True)
    zero = jnp.zeros((), jax.tree.leaves(model)[0].dtype)

    def accumulate(j: Int[Array, ""], sums: PyTree) -> PyTree:
        return jax.tree.map(jnp.add, sums, gradient_of(model, dynamic_scan.at(minibatches, j)))

    def step(j: Int[Array, ""], carry: tuple) -> tuple:
        model, state, sums = carry
        (value, error), gradient = gradient_of(model, dynamic_scan.at(minibatches, j))
        model, state = optimisers.step(optimiser, model, gradient, state)
        return model, state, sums + jnp.stack([value, error, optax.tree.norm(gradient)])

    if at_once:
        start = ((zero, zero), jax.tree.map(jnp.zeros_like, model))
        (value, error), gradient = jax.lax.fori_loop(0, count, accumulate, start)
        model, state = optimisers.step(optimiser, model, gradient, state)
        norm = optax.tree.norm(gradient)
    else:
        model, state, sums = jax.lax.fori_loop(0, count, step, (model, state, jnp.zeros(3, zero.dtype)))
        value, error, norm = sums / jnp.maximum(count, 1)
    return model, state, {"critic_loss": value, "td_error_abs": error, "critic_grad_norm": norm}
