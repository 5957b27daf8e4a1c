"""Mixers: from the agents' values to the team's value.

linear       Q_tot = sum_i k_i(s) Q_i + b(s)   DOP (Wang et al., Eq. 4)
sum          Q_tot = sum_i Q_i                 VDN (Sunehag et al. 2018, Eq. 3)
monotonic    Q_tot = f_s(Q_1, ..., Q_n) that is monotonic in every Q_i   QMIX (Rashid et al. 2018, Sec. 4)

All three are monotonic in every Q_i, so each agent's greedy action is part of the greedy joint action.
"""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dop.networks.layers import MLP, Linear


class LinearMixer(eqx.Module):
    """k_i(s) >= 0 and b(s) of Q_tot = sum_i k_i(s) Q_i + b(s) (Eq. 4, App. G.1).

    `weights="linear"` is the paper's: k = |A s + c|. `weights="product"` is the released code's: k_i = |W_1 s + c_1|_i . |W_2 s + c_2|, an
    inner product over `embedding` dimensions. With `normalise`, k is divided by its sum, so that the k_i lie in [0, 1]. With `bias=False`,
    b is 0.
    """

    k_layer: Linear
    k_scale: Linear | None
    b_layer: Linear | None
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
        self.k_layer = Linear(state_size, n_agents * width, key=key_k)
        self.k_scale = Linear(state_size, width, key=key_scale) if weights == "product" else None
        self.b_layer = Linear(state_size, "scalar", key=key_b) if bias else None
        self.n_agents = n_agents
        self.normalise = normalise

    def __call__(self, state: Float[Array, " state"]) -> tuple[Float[Array, " agent"], Float[Array, ""]]:
        """k(s) and b(s)."""
        factors = jnp.abs(self.k_layer(state)).reshape(self.n_agents, -1)
        k = jnp.sum(factors, axis=-1) if self.k_scale is None else factors @ jnp.abs(self.k_scale(state))
        b = jnp.zeros((), k.dtype) if self.b_layer is None else self.b_layer(state)
        return (shares(k) if self.normalise else k), b


def shares(k: Float[Array, " agent"]) -> Float[Array, " agent"]:
    """k divided by its sum; equal weights if all are 0."""
    total = jnp.sum(k)
    return jnp.where(total > 0, k / jnp.where(total > 0, total, 1), 1 / k.shape[0])


class SumMixer(eqx.Module):
    """Q_tot = sum_i Q_i (VDN, Sunehag et al. 2018): the linear mixer with k_i = 1 and b = 0."""

    def __call__(self, q: Float[Array, " agent"], state: Float[Array, " state"]) -> Float[Array, ""]:
        """Q_tot of the agents' values in a state."""
        del state
        return jnp.sum(q)


class MonotonicMixer(eqx.Module):
    """Q_tot = |w_2(s)| . elu(|W_1(s)| Q + b_1(s)) + V(s) (Rashid et al. 2018, Sec. 4.1).

    ELU is monotonic and both weights are non-negative, so Q_tot is monotonic in every Q_i; biases may have any sign. W_1 and w_2 come from
    hypernetworks of one linear layer, as in the paper (`hypernet_hidden=0`), or of two, as in the authors' later code. b_1 is one
    linear layer of the state, V two.
    """

    hidden_weights: MLP
    hidden_bias: Linear
    output_weights: MLP
    state_value: MLP

    def __init__(self, state_size: int, n_agents: int, *, key: PRNGKeyArray, embedding: int = 32, hypernet_hidden: int = 64) -> None:
        key_weights, key_bias, key_output, key_value = jax.random.split(key, 4)
        inputs = (state_size, hypernet_hidden) if hypernet_hidden else (state_size,)
        self.hidden_weights = MLP((*inputs, n_agents * embedding), key=key_weights)
        self.hidden_bias = Linear(state_size, embedding, key=key_bias)
        self.output_weights = MLP((*inputs, embedding), key=key_output)
        self.state_value = MLP((state_size, embedding, 1), key=key_value)

    def __call__(self, q: Float[Array, " agent"], state: Float[Array, " state"]) -> Float[Array, ""]:
        """Q_tot of the agents' values in a state."""
        weights = jnp.abs(self.hidden_weights(state)).reshape(q.shape[0], -1)
        hidden = jax.nn.elu(q @ weights + self.hidden_bias(state))
        return hidden @ jnp.abs(self.output_weights(state)) + self.state_value(state)[0]
