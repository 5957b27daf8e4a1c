"""Optimisers, schedules and target-network updates, as in the published code."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

Params = TypeVar("Params")
Scalar: TypeAlias = float | Float[Array, ""]
"""A number, which may be traced."""


def rmsprop(lr: Scalar, *, decay: Scalar, eps: Scalar, max_grad_norm: Scalar) -> optax.GradientTransformation:
    """Clip the joint gradient norm, then RMSprop with epsilon OUTSIDE the square root, like PyTorch (App. G.1).

    v <- decay v + (1 - decay) g^2,   p <- p - learning_rate g / (sqrt(v) + eps),   v_0 = 0
    """
    return optax.chain(
        optax.clip_by_global_norm(max_grad_norm),
        optax.rmsprop(lr, decay=decay, eps=eps, eps_in_sqrt=False, initial_scale=0.0),
    )


def adam(lr: Scalar, *, eps: Scalar, max_grad_norm: Scalar, rectified: bool = False) -> optax.GradientTransformation:
    """Clip the joint gradient norm, then Adam (Kingma and Ba 2015), or rectified Adam (Liu et al. 2020)."""
    make = optax.radam if rectified else optax.adam
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), make(lr, eps=eps))


def linear(start: Scalar, end: Scalar, steps: int | Int[Array, ""], count: Int[Array, ""]) -> Float[Array, ""]:
    """Linear annealing from `start` to `end` over `steps`, then constant: the value at `count`. `steps=0`: always `end`."""
    # optax.linear_schedule chooses by the value of `steps`, which may be traced.
    left = jnp.where(count < steps, 1.0 - count / jnp.maximum(steps, 1), 0.0)
    return (start - end) * left + end


def periodic_update(due: Bool[Array, ""], target: Params, source: Params) -> Params:
    """`source` if `due`, else `target`: the periodic update of a target network.

    `optax.periodic_update` needs a count that reaches every multiple of the period. Counts of episodes or critic steps skip some.
    """
    return jax.tree.map(lambda old, new: jnp.where(due, new, old), target, source)


def incremental_update(target: Params, source: Params, tau: Scalar) -> Params:
    """(1 - tau) target + tau source: the incremental (Polyak) update of a target network or moving average."""
    # optax's types are containers of arrays; modules are not.
    new: Any = source
    old: Any = target
    updated: Any = optax.incremental_update(new, old, tau)
    return updated
