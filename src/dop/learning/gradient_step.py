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

from dop.learning import dynamic_scan
from dop.types import Metrics

Params = TypeVar("Params")
Loss: TypeAlias = tuple[Float[Array, ""], Metrics]
"""The result of a loss function: the value to minimise, and metrics."""


def gradient_step(
    loss: Callable[[Params], Loss], params: Params, optimiser: optax.GradientTransformation, state: PyTree, *, name: str
) -> tuple[Params, PyTree, Metrics]:
    """One optimiser step on the gradient of `loss` at `params`.

    Args:
        loss: function of the parameters.
        params: the parameters.
        optimiser: the optimiser.
        state: the optimiser's state.
        name: the name of the parameters in the metric `{name}_grad_norm`.

    Returns:
        The new parameters, the optimiser's new state, and the loss's metrics with the gradient norm before clipping.
    """
    gradient, metrics = jax.grad(loss, has_aux=True)(params)
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
    """One optimiser step on the sum of `loss` over the first `count` minibatches (leading axis), accumulated to save memory.

    Arguments and results are as in `gradient_step`; the metrics are sums, too.
    """
    gradient_of = jax.grad(loss, has_aux=True)

    def accumulate(j: Int[Array, ""], sums: PyTree) -> PyTree:
        return jax.tree.map(jnp.add, sums, gradient_of(params, dynamic_scan.at(minibatches, j)))

    start = dynamic_scan.zeros_of(lambda: gradient_of(params, dynamic_scan.at(minibatches, jnp.zeros((), jnp.int32))))
    gradient, metrics = jax.lax.fori_loop(0, count, accumulate, start)
    return _apply_gradient(params, gradient, metrics, optimiser, state, name)


def _apply_gradient(
    params: Params, gradient: Params, metrics: Metrics, optimiser: optax.GradientTransformation, state: PyTree, name: str
) -> tuple[Params, PyTree, Metrics]:
    # optax's types are containers of arrays; modules are not.
    old: Any = params
    grads: Any = gradient
    updates, state = optimiser.update(grads, state, old)
    new: Any = optax.apply_updates(old, updates)
    return new, state, metrics | {f"{name}_grad_norm": optax.tree.norm(grads)}
