"""Dynamic-length scans over the first `length` of T steps, with `length` known at run time: padding costs nothing.

`jax.lax.scan` always runs all T steps, and `jax.lax.while_loop` cannot be differentiated in reverse. `scan` here runs `length` steps
forwards and backwards. It stores one carry per step and recomputes the rest.

The axis of `xs` after time, and the first of carries and outputs, is that of episodes, which the devices of one seed share
(`learning.data_parallel`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from dop.learning import data_parallel

Step = Callable[[Any, Any, Any], tuple[Any, Any]]


def at(xs: PyTree, t: Int[Array, ""]) -> PyTree:
    """Entry `t` of the leading axis of every leaf."""
    return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, t, keepdims=False), xs)


def _set_at(xs: PyTree, t: Int[Array, ""], x: PyTree) -> PyTree:
    return jax.tree.map(lambda whole, part: jax.lax.dynamic_update_index_in_dim(whole, part, t, 0), xs, x)


def _zeros(shapes: PyTree, length: int) -> PyTree:
    return jax.tree.map(lambda x: jnp.zeros((length, *x.shape), x.dtype), shapes)


def zeros_of(function: Callable[..., Any], *args: Any) -> Any:
    """Zeros in the shape of the result of `function`, to start a sum of its results. Nothing is computed."""
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, *args))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def scan(step: Step, params: PyTree, carry: PyTree, xs: PyTree, length: Int[Array, ""]) -> PyTree:
    """The outputs y_t, over episodes, of `carry, y_t = step(params, carry, xs[t])` for t < length, and 0 afterwards.

    Reverse-mode gradients flow to `params` and `carry`; `xs` is data and gets none. `step` must not close over traced values.
    """
    return _scan_forward(step, params, carry, xs, length, keep_carries=False)[0]


def _forward(step: Step, params: PyTree, carry: PyTree, xs: PyTree, length: Int[Array, ""], *, keep_carries: bool) -> tuple[PyTree, PyTree]:
    total = jax.tree.leaves(xs)[0].shape[0]
    _, y = jax.eval_shape(step, params, carry, jax.tree.map(lambda x: x[0], xs))

    def body(t: Int[Array, ""], loop: tuple[PyTree, PyTree, PyTree]) -> tuple[PyTree, PyTree, PyTree]:
        carry, carries, ys = loop
        carries = _set_at(carries, t, carry) if keep_carries else carries
        carry, y = step(params, carry, at(xs, t))
        return carry, carries, _set_at(ys, t, y)

    carries = _zeros(carry, total if keep_carries else 0)
    _, carries, ys = jax.lax.fori_loop(0, length, body, (carry, carries, _zeros(y, total)))
    return ys, carries


def _scan_forward(
    step: Step, params: PyTree, carry: PyTree, xs: PyTree, length: Int[Array, ""], *, keep_carries: bool = True
) -> tuple[PyTree, tuple]:
    episodes = data_parallel.rows_of(xs, 1)
    carry, xs = data_parallel.shard(carry, 0, episodes), data_parallel.shard(xs, 1, episodes)
    ys, carries = _forward(step, params, carry, xs, length, keep_carries=keep_carries)
    return data_parallel.all_gather(ys, 1, episodes), (params, carries, xs, length)


def _scan_backward(step: Step, residuals: tuple, y_bars: PyTree) -> tuple[PyTree, PyTree, None, None]:
    params, carries, xs, length = residuals
    episodes = data_parallel.rows_of(y_bars, 1)
    y_bars = data_parallel.shard(y_bars, 1, episodes)

    def body(i: Int[Array, ""], bars: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
        params_bar, carry_bar = bars
        t = length - 1 - i
        _, pull_back = jax.vjp(lambda p, c: step(p, c, at(xs, t)), params, at(carries, t))
        step_params_bar, carry_bar = pull_back((carry_bar, at(y_bars, t)))
        return jax.tree.map(jnp.add, params_bar, step_params_bar), carry_bar

    zeros = jax.tree.map(jnp.zeros_like, (params, jax.tree.map(lambda x: x[0], carries)))
    params_bar, carry_bar = jax.lax.fori_loop(0, length, body, zeros)
    return data_parallel.all_reduce(params_bar, episodes), data_parallel.all_gather(carry_bar, 0, episodes), None, None


scan.defvjp(_scan_forward, _scan_backward)


def map_steps(f: Callable[[Any, Any], Any], params: PyTree, xs: PyTree, length: Int[Array, ""]) -> PyTree:
    """`f(params, xs[t])`, over episodes, for t < length, and 0 afterwards. Not differentiable in reverse."""
    return _scan_forward(lambda p, carry, x: (carry, f(p, x)), params, (), xs, length, keep_carries=False)[0]
