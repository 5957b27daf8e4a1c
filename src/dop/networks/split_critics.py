"""Critics whose first layer is split by input (state, own observation, id), so that the state's part is computed once for the team."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dop.networks.layers import Linear, apply_hidden, hidden_layers


class LocalCritic(eqx.Module):
    """Q_i(tau, .) for every action of agent i (App. G.1): hidden layers on the global state.

    With `local_inputs`, the inputs include own observation and agent id. The first layer is split, so that the state's part is computed
    once for all agents. With `dueling`, a state value is added to all actions, as in the released code.
    """

    from_state: Linear
    from_obs: Linear | None
    from_id: Float[Array, "agent hidden"] | None
    hidden_layers: tuple[Linear, ...]
    action_layer: Linear
    value_layer: Linear | None

    def __init__(
        self,
        state_size: int,
        obs_size: int,
        action_size: int,
        n_agents: int,
        hidden_size: int,
        *,
        layers: int = 2,
        local_inputs: bool,
        dueling: bool,
        key: PRNGKeyArray,
    ) -> None:
        key_first, key_hidden, key_action, key_value = jax.random.split(key, 4)
        sizes = [state_size, obs_size, n_agents] if local_inputs else [state_size]
        from_state, *rest = _split(Linear(sum(sizes), hidden_size, key=key_first), sizes)
        self.from_state = from_state
        self.from_obs = rest[0] if local_inputs else None
        self.from_id = rest[1].weight.T if local_inputs else None
        self.hidden_layers = hidden_layers(hidden_size, layers, key=key_hidden)
        self.action_layer = Linear(hidden_size, action_size, key=key_action)
        self.value_layer = Linear(hidden_size, 1, key=key_value) if dueling else None

    def __call__(self, state: Float[Array, " state"], obs: Float[Array, " obs"], agent_id: Int[Array, ""]) -> Float[Array, " action"]:
        x = self.from_state(state)
        if self.from_obs is not None and self.from_id is not None:
            x = x + self.from_obs(obs) + self.from_id[agent_id]
        x = apply_hidden(self.hidden_layers, jax.nn.relu(x))
        q = self.action_layer(x)
        return q if self.value_layer is None else q + self.value_layer(x)


class LocalActionCritic(eqx.Module):
    """Q_i(tau, a_i) of an action that is a vector (App. G.2): the local critic with its agent's action among its inputs.

    The first layer is split, so that the state's part is computed once for all agents.
    """

    from_state: Linear
    from_own: Linear
    hidden_layers: tuple[Linear, ...]
    value_layer: Linear
    n_agents: int = eqx.field(static=True)

    def __init__(
        self, state_size: int, obs_size: int, action_size: int, n_agents: int, hidden_size: int, *, layers: int = 2, key: PRNGKeyArray
    ) -> None:
        """`obs_size=0`: without the own observation."""
        key_first, key_hidden, key_value = jax.random.split(key, 3)
        sizes = [state_size, obs_size + action_size + n_agents]
        self.from_state, self.from_own = _split(Linear(sum(sizes), hidden_size, key=key_first), sizes)
        self.hidden_layers = hidden_layers(hidden_size, layers, key=key_hidden)
        self.value_layer = Linear(hidden_size, "scalar", key=key_value)
        self.n_agents = n_agents

    def __call__(
        self, state: Float[Array, " state"], obs: Float[Array, " obs"], action: Float[Array, " action"], agent_id: Int[Array, ""]
    ) -> Float[Array, ""]:
        own = jnp.concatenate([obs, action, jax.nn.one_hot(agent_id, self.n_agents, dtype=action.dtype)])
        x = jax.nn.relu(self.from_state(state) + self.from_own(own))
        return self.value_layer(apply_hidden(self.hidden_layers, x))


class JointCritic(eqx.Module):
    """Q(s, a_1, ..., a_n) of vector actions (Lowe et al. 2017): hidden layers on state and joint action."""

    from_state: Linear
    from_action: Float[Array, "agent action hidden"]
    hidden_layers: tuple[Linear, ...]
    value_layer: Linear

    def __init__(self, state_size: int, action_size: int, n_agents: int, hidden_size: int, *, layers: int = 2, key: PRNGKeyArray) -> None:
        key_first, key_hidden, key_value = jax.random.split(key, 3)
        sizes = [state_size, n_agents * action_size]
        self.from_state, actions = _split(Linear(sum(sizes), hidden_size, key=key_first), sizes)
        self.from_action = actions.weight.T.reshape(n_agents, action_size, hidden_size)
        self.hidden_layers = hidden_layers(hidden_size, layers, key=key_hidden)
        self.value_layer = Linear(hidden_size, "scalar", key=key_value)

    def __call__(self, state: Float[Array, " state"], action: Float[Array, "agent action"]) -> Float[Array, ""]:
        return self._upper(self._first(state, action))

    def deviations(
        self, state: Float[Array, " state"], action: Float[Array, "agent action"], own: Float[Array, "agent action"]
    ) -> Float[Array, " agent"]:
        """Q(s, (own_i, a_-i)) for every agent i, with a_-i from `action`."""
        changes = jnp.einsum("ia,iah->ih", own - action, self.from_action)
        return jax.vmap(self._upper)(self._first(state, action) + changes)

    def _first(self, state: Float[Array, " state"], action: Float[Array, "agent action"]) -> Float[Array, " hidden"]:
        return self.from_state(state) + action.flatten() @ self.from_action.reshape(action.size, -1)

    def _upper(self, first: Float[Array, " hidden"]) -> Float[Array, ""]:
        return self.value_layer(apply_hidden(self.hidden_layers, jax.nn.relu(first)))


class CounterfactualCritic(eqx.Module):
    """COMA's critic (Foerster et al. 2018, Fig. 1): Q_i(s, o_i, (a_-i, .)) for every action of agent i, given the others'.

    Hidden layers on global state, own observation, the other agents' actions and agent id. All agents share one network, evaluated for the
    whole team: the first layer computes the parts of state and joint action once, and subtracts each agent's own action.
    """

    from_state: Linear
    from_obs: Linear
    from_action: Float[Array, "agent action hidden"]
    from_id: Float[Array, "agent hidden"]
    hidden_layers: tuple[Linear, ...]
    action_layer: Linear

    def __init__(
        self, state_size: int, obs_size: int, action_size: int, n_agents: int, hidden_size: int, *, layers: int = 2, key: PRNGKeyArray
    ) -> None:
        key_first, key_hidden, key_action = jax.random.split(key, 3)
        sizes = [state_size, obs_size, n_agents * action_size, n_agents]
        self.from_state, self.from_obs, actions, ids = _split(Linear(sum(sizes), hidden_size, key=key_first), sizes)
        self.from_action = actions.weight.T.reshape(n_agents, action_size, hidden_size)
        self.from_id = ids.weight.T
        self.hidden_layers = hidden_layers(hidden_size, layers, key=key_hidden)
        self.action_layer = Linear(hidden_size, action_size, key=key_action)

    def __call__(
        self, state: Float[Array, " state"], obs: Float[Array, "agent obs"], action: Int[Array, " agent"]
    ) -> Float[Array, "agent action"]:
        """`action` is the joint action; row i does not depend on agent i's own."""
        each = jnp.take_along_axis(self.from_action, action[:, None, None], axis=1)[:, 0]
        others = jnp.sum(each, axis=0) - each
        x = jax.nn.relu(self.from_state(state) + jax.vmap(self.from_obs)(obs) + others + self.from_id)
        x = jax.vmap(lambda x: apply_hidden(self.hidden_layers, x))(x)
        return jax.vmap(self.action_layer)(x)


def _split(layer: Linear, sizes: Sequence[int]) -> list[Linear]:
    """A layer of concatenated inputs as one layer per input, whose outputs sum to its output. The first has the bias."""
    weights = jnp.split(layer.weight, [sum(sizes[:i]) for i in range(1, len(sizes))], axis=1)

    def part(weight: Array, bias: Array | None) -> Linear:
        # Only the structure of this layer is used.
        template = eqx.filter_eval_shape(type(layer), *weight.shape[::-1], use_bias=bias is not None, key=jax.random.key(0))
        return eqx.tree_at(lambda m: (m.weight, m.bias), template, (weight, bias), is_leaf=lambda x: x is None)

    return [part(weight, layer.bias if i == 0 else None) for i, weight in enumerate(weights)]
