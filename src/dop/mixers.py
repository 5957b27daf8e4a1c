"""Mixers: how the agents' values make the team's. Linear with k_i(s) and b(s) for DOP (Wang et al., Eq. 4)."""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class LinearMixer(eqx.Module):
    """k_i(s) >= 0 and b(s) of Q_tot = sum_i k_i(s) Q_i + b(s) (Eq. 4, App. G.1).

    `weights="linear"` is the paper's: k = |A s + c|. `weights="product"` is the released code's: k_i = |W_1 s + c_1|_i . |W_2 s + c_2|, an
    inner product over `embedding` dimensions. With `normalise`, k is divided by its sum, so that the k_i lie in [0, 1]. With `bias=False`,
    b is 0.
    """

    k_layer: eqx.nn.Linear
    k_scale: eqx.nn.Linear | None
    b_layer: eqx.nn.Linear | None
    n_agents: int = eqx.field(static=True)
    normalise: bool = eqx.field(static=True)

    def __init__(
        self,
        state_size: int,
        n_agents: int,
        *,
        key: PRNGKeyArray,
        weights: Literal["linear", "product"] = "linear",
        bias: bool = True,
        normalise: bool = True,
        embedding: int = 32,
    ) -> None:
        key_k, key_scale, key_b = jax.random.split(key, 3)
        width = embedding if weights == "product" else 1
        self.k_layer = eqx.nn.Linear(state_size, n_agents * width, key=key_k)
        self.k_scale = eqx.nn.Linear(state_size, width, key=key_scale) if weights == "product" else None
        self.b_layer = eqx.nn.Linear(state_size, "scalar", key=key_b) if bias else None
        self.n_agents = n_agents
        self.normalise = normalise

    def __call__(self, state: Float[Array, " state"]) -> tuple[Float[Array, " agent"], Float[Array, ""]]:
        factors = jnp.abs(self.k_layer(state)).reshape(self.n_agents, -1)
        k = jnp.sum(factors, axis=-1) if self.k_scale is None else factors @ jnp.abs(self.k_scale(state))
        b = jnp.zeros((), k.dtype) if self.b_layer is None else self.b_layer(state)
        return (shares(k) if self.normalise else k), b


def shares(k: Float[Array, " agent"]) -> Float[Array, " agent"]:
    """k divided by its sum; equal shares if all are 0."""
    total = jnp.sum(k)
    return jnp.where(total > 0, k / jnp.where(total > 0, total, 1), 1 / k.shape[0])
