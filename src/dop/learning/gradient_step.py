"""Gradient steps: the one place where a gradient meets an optimiser.

An algorithm writes a loss, which returns its value and the metrics to report. Where the gradient is computed, how it is summed and how
its norm is reported is decided here.
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
"""What a loss returns: the value whose gradient is taken, and metrics."""


def gradient_step(
    loss: Callable[[Params], Loss], params: Params, optimiser: optax.GradientTransformation, state: PyTree, *, name: str
) -> tuple[Params, PyTree, Metrics]:
    """One optimiser step on the gradient of `loss` at `params`.

    Args:
        loss: of the parameters.
        params: what is learned.
        optimiser: and its `state`.
        name: what is learned, for the metric `{name}_grad_norm`.

    Returns:
        The new parameters, the optimiser's new state, and the loss's metrics with the norm of the gradient before it is clipped.
    """
    gradient, metrics = jax.grad(loss, has_aux=True)(params)
    return _applied(params, gradient, metrics, optimiser, state, name)


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
    """One optimiser step on the sum of `loss` over the first `count` minibatches (leading axis), one after another to save memory.

    Everything else is as in `gradient_step`; the metrics are summed, too.
    """
    gradient_of = jax.grad(loss, has_aux=True)

    def accumulate(j: Int[Array, ""], sums: PyTree) -> PyTree:
        return jax.tree.map(jnp.add, sums, gradient_of(params, dynamic_scan.at(minibatches, j)))

    start = dynamic_scan.zeros_of(lambda: gradient_of(params, dynamic_scan.at(minibatches, jnp.zeros((), jnp.int32))))
    gradient, metrics = jax.lax.fori_loop(0, count, accumulate, start)
    return _applied(params, gradient, metrics, optimiser, state, name)


def _applied(
    params: Params, gradient: Params, metrics: Metrics, optimiser: optax.GradientTransformation, state: PyTree, name: str
) -> tuple[Params, PyTree, Metrics]:
    # optax types its trees as containers of arrays, which modules are not.
    old: Any = params
    slope: Any = gradient
    updates, state = optimiser.update(slope, state, old)
    new: Any = optax.apply_updates(old, updates)
    return new, state, metrics | {f"{name}_grad_norm": optax.tree.norm(slope)}
