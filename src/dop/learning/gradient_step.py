"""Gradient steps: gradients, their sums over minibatches, optimiser updates, and the metric of the gradient norm.

An algorithm defines a loss, which returns its value and the metrics to report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from dop.learning import data_parallel, dynamic_scan
from dop.types import Metrics

Params = TypeVar("Params")
Loss: TypeAlias = tuple[Float[Array, ""], Metrics]
"""The result of a loss function: the value to minimise, and metrics."""


def gradient_step(
    loss: Callable[..., Loss],
    params: Params,
    optimiser: optax.GradientTransformation,
    state: PyTree,
    rows: PyTree = None,
    *,
    name: str,
) -> tuple[Params, PyTree, Metrics]:
    """One optimiser step on the gradient of `loss` at `params`.

    Args:
        loss: function of the parameters, or of them and `rows`.
        params: the parameters.
        optimiser: the optimiser.
        state: the optimiser's state.
        rows: the data of a loss that is, like its metrics, a sum over rows (leading axis). Devices of a seed share the rows.
        name: the name of the parameters in the metric `{name}_grad_norm`.

    Returns:
        The new parameters, the optimiser's new state, and the loss's metrics with the gradient norm before clipping.
    """
    gradient_of = jax.grad(loss, has_aux=True)
    gradient, metrics = gradient_of(params) if rows is None else _gradient_of_rows(gradient_of, params, rows)
    return _apply_gradient(params, gradient, metrics, optimiser, state, name)


def gradient_step_of_sum(
    loss: Callable[[Params, Any], Loss],
    params: Params,
    optimiser: optax.GradientTransformation,
    state: PyTree,
    minibatches: PyTree,
    count: Int[Array, ""],
    *,
    name: str,
) -> tuple[Params, PyTree, Metrics]:
    """One optimiser step on the sum of `loss` over the first `count` minibatches (leading axis; then rows), accumulated to save memory.

    Arguments and results are as in `gradient_step`; the loss and its metrics are sums over rows.
    """
    gradient_of = jax.grad(loss, has_aux=True)
    rows = data_parallel.rows_of(minibatches, 1)
    own = lambda minibatch: data_parallel.shard(minibatch, 0, rows)  # noqa: E731

    def accumulate(j: Int[Array, ""], sums: PyTree) -> PyTree:
        return jax.tree.map(jnp.add, sums, gradient_of(params, own(dynamic_scan.at(minibatches, j))))

    start = dynamic_scan.zeros_of(lambda: gradient_of(params, dynamic_scan.at(minibatches, jnp.zeros((), jnp.int32))))
    gradient, metrics = data_parallel.all_reduce(jax.lax.fori_loop(0, count, accumulate, start), rows)
    return _apply_gradient(params, gradient, metrics, optimiser, state, name)


def _gradient_of_rows(gradient_of: Callable[..., tuple[Params, Metrics]], params: Params, rows: PyTree) -> tuple[Params, Metrics]:
    """The gradient, and metrics, of a loss that is a sum over rows."""
    count = data_parallel.rows_of(rows, 0)
    return data_parallel.all_reduce(gradient_of(params, data_parallel.shard(rows, 0, count)), count)


def _apply_gradient(
    params: Params, gradient: Params, metrics: Metrics, optimiser: optax.GradientTransformation, state: PyTree, name: str
) -> tuple[Params, PyTree, Metrics]:
    # optax's types are containers of arrays; modules are not.
    old: Any = params
    grads: Any = gradient
    updates, state = optimiser.update(grads, state, old)
    new: Any = optax.apply_updates(old, updates)
    return new, state, metrics | {f"{name}_grad_norm": optax.tree.norm(grads)}
