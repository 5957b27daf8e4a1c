"""Optimisers, as the published code has them."""

from __future__ import annotations

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, PyTree

Params = TypeVar("Params")


def rmsprop(lr: float, *, decay: float, eps: float, max_grad_norm: float) -> optax.GradientTransformation:
    """Clip the joint gradient norm, then RMSprop with epsilon OUTSIDE the root, as PyTorch has it (App. G.1).

    v <- decay v + (1 - decay) g^2,   p <- p - learning_rate g / (sqrt(v) + eps),   v_0 = 0
    """
    return optax.chain(
        optax.clip_by_global_norm(max_grad_norm),
        optax.rmsprop(lr, decay=decay, eps=eps, eps_in_sqrt=False, initial_scale=0.0),
    )


def adam(lr: float, *, eps: float, max_grad_norm: float, rectified: bool = False) -> optax.GradientTransformation:
    """Clip the joint gradient norm, then Adam (Kingma and Ba 2015), or rectified Adam (Liu et al. 2020)."""
    make = optax.radam if rectified else optax.adam
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), make(lr, eps=eps))


def step(optimiser: optax.GradientTransformation, params: Params, gradient: Params, state: PyTree) -> tuple[Params, PyTree]:
    """One step down `gradient`: the new parameters and the new optimiser state."""
    # optax types its trees as containers of arrays, which modules are not.
    old: Any = params
    slope: Any = gradient
    updates, state = optimiser.update(slope, state, old)
    new: Any = optax.apply_updates(old, updates)
    return new, state


def linear(start: float, end: float, steps: int) -> optax.Schedule:
    """From `start` to `end` over `steps`, then constant. `steps=0` is `end` from the beginning."""
    return optax.linear_schedule(start, end, steps) if steps > 0 else optax.constant_schedule(end)


def copied_if(due: Bool[Array, ""], target: Params, source: Params) -> Params:
    """`source` if `due`, else `target`: the periodic copy of a network to its target network."""
    return jax.tree.map(lambda old, new: jnp.where(due, new, old), target, source)


def moved(target: Params, source: Params, share: float) -> Params:
    """(1 - share) target + share source: the soft update of a target network."""
    return jax.tree.map(lambda old, new: (1 - share) * old + share * new if eqx.is_array(old) else old, target, source)
