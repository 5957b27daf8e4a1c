"""MAAC's attention critic (Iqbal and Sha 2019)."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from dop.networks.layers import MLP, Linear, PerAgent


class AttentionHeads(eqx.Module):
    """Multi-head attention of each agent over the others (Iqbal and Sha 2019, Eq. 6).

    x_i = sum_{j != i} softmax_j(q_i . k_j / sqrt(d)) v_j   per head; the heads are concatenated
    """

    queries: Linear
    keys: Linear
    values: Linear
    heads: int = eqx.field(static=True)

    def __init__(self, size: int, heads: int, *, key: PRNGKeyArray) -> None:
        """`size`: input and output units, a multiple of `heads`."""
        key_queries, key_keys, key_values = jax.random.split(key, 3)
        self.queries = Linear(size, size, use_bias=False, key=key_queries)
        self.keys = Linear(size, size, use_bias=False, key=key_keys)
        self.values = Linear(size, size, key=key_values)
        self.heads = heads

    def __call__(
        self, own: Float[Array, "agent unit"], others: Float[Array, "agent unit"], is_active: Bool[Array, " agent"]
    ) -> tuple[Float[Array, "agent unit"], Float[Array, "head agent agent"]]:
        """Each agent's attention over the other active agents; and the logits q_i . k_j before scaling, 0 unless both are active."""

        def in_heads(layer: Linear, x: Array) -> Float[Array, "head agent unit"]:
            return jax.vmap(layer)(x).reshape(len(x), self.heads, -1).swapaxes(0, 1)

        queries, keys = in_heads(self.queries, own), in_heads(self.keys, others)
        values = jax.nn.leaky_relu(in_heads(self.values, others))
        logits = queries @ keys.swapaxes(1, 2)
        other = ~jnp.eye(len(own), dtype=bool) & is_active
        scaled = jnp.where(other, logits / jnp.sqrt(keys.shape[-1]), jnp.finfo(logits.dtype).min)
        weights = jnp.where(other, jax.nn.softmax(scaled, axis=-1), 0)  # 0 if no other agent is active
        attended = weights @ values
        return attended.swapaxes(0, 1).reshape(own.shape), jnp.where(is_active[:, None] & is_active, logits, 0)


class AttentionCritic(eqx.Module):
    """MAAC's critic (Iqbal and Sha 2019, Sec. 3.2): Q_i(o, (a_-i, .)) for every action of agent i, with attention over the other agents.

    Each group of agents has its own encoders and output head, with the agent id as input; the attention is always shared.
    """

    encode_obs: PerAgent[Linear]
    encode_both: PerAgent[Linear]
    attention: AttentionHeads
    head: PerAgent[MLP]
    n_agents: int = eqx.field(static=True)

    def __init__(
        self,
        obs_size: int,
        action_size: int,
        hidden_size: int,
        *,
        layers: int = 1,
        groups: tuple[int, ...],
        heads: int,
        key: PRNGKeyArray,
    ) -> None:
        """`layers`: hidden layers of each output head."""
        key_obs, key_both, key_attention, key_head = jax.random.split(key, 4)
        size = obs_size + len(groups)

        def encoder(inputs: int, key: PRNGKeyArray) -> PerAgent[Linear]:
            return PerAgent(lambda key: Linear(inputs, hidden_size, key=key), groups, key=key)

        def make_head(key: PRNGKeyArray) -> MLP:
            return MLP((2 * hidden_size, *(hidden_size,) * layers, action_size), key=key)

        self.encode_obs = encoder(size, key_obs)
        self.encode_both = encoder(size + action_size, key_both)
        self.attention = AttentionHeads(hidden_size, heads, key=key_attention)
        self.head = PerAgent(make_head, groups, key=key_head)
        self.n_agents = len(groups)

    def __call__(
        self, obs: Float[Array, "agent obs"], action: Float[Array, "agent action"], is_active: Bool[Array, " agent"]
    ) -> tuple[Float[Array, "agent action"], Float[Array, "head agent agent"]]:
        """Q_i of every action of every agent i, and the attention logits. Row i depends neither on agent i's own action nor on inactive
        agents."""
        apply = lambda net, x: net(x)  # noqa: E731
        inputs = jnp.concatenate([obs, jnp.eye(self.n_agents, dtype=obs.dtype)], axis=1)
        own = jax.nn.leaky_relu(self.encode_obs.map(apply, inputs, in_axes=(0,)))
        both = jax.nn.leaky_relu(self.encode_both.map(apply, jnp.concatenate([inputs, action], axis=1), in_axes=(0,)))
        attended, logits = self.attention(own, both, is_active)
        return self.head.map(apply, jnp.concatenate([own, attended], axis=1), in_axes=(0,)), logits
