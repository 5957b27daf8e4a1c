"""Networks: the recurrent agent, the critics, and one network for each agent of a team. One example in, one out.

Layers start as PyTorch's do, uniform in +-1/sqrt(fan-in), which is what the published results were made with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

Network = TypeVar("Network", bound=eqx.Module)


class PerAgent(eqx.Module, Generic[Network]):
    """One network for each agent: the same for all (`shared`), or each its own, stacked on a leading agent axis."""

    network: Network
    shared: bool = eqx.field(static=True)
    n_agents: int = eqx.field(static=True)

    def __init__(self, make: Callable[[PRNGKeyArray], Network], n_agents: int, *, shared: bool, key: PRNGKeyArray) -> None:
        self.network = make(key) if shared else jax.vmap(make)(jax.random.split(key, n_agents))
        self.shared = shared
        self.n_agents = n_agents

    def map(self, apply: Callable[..., Any], *args: Array, in_axes: tuple[int | None, ...]) -> Any:
        """`apply(network_i, *args_i)` for every agent i; `in_axes` says which arguments have an agent axis.

        What depends on shared parameters and on arguments without an agent axis only is computed once for the whole team.
        """
        return jax.vmap(apply, in_axes=(None if self.shared else 0, *in_axes), axis_size=self.n_agents)(self.network, *args)


class GRUCell(eqx.Module):
    """Gated recurrent unit with PyTorch's two biases, so that its gradient steps are those of the released code.

    r, z = sigmoid(W x + b + U h + b'),  n = tanh(W x + b + r (U h + b')),  h' = (1 - z) n + z h
    """

    input_layer: eqx.nn.Linear
    hidden_layer: eqx.nn.Linear

    def __init__(self, input_size: int, hidden_size: int, *, key: PRNGKeyArray) -> None:
        key_input, key_hidden = jax.random.split(key)
        # The fan-in of both is the hidden size, in PyTorch; here the two sizes are the same wherever the cell is used.
        self.input_layer = eqx.nn.Linear(input_size, 3 * hidden_size, key=key_input)
        self.hidden_layer = eqx.nn.Linear(hidden_size, 3 * hidden_size, key=key_hidden)

    def __call__(self, x: Float[Array, " input"], h: Float[Array, " hidden"]) -> Float[Array, " hidden"]:
        x_reset, x_update, x_new = jnp.split(self.input_layer(x), 3)
        h_reset, h_update, h_new = jnp.split(self.hidden_layer(h), 3)
        reset = jax.nn.sigmoid(x_reset + h_reset)
        update = jax.nn.sigmoid(x_update + h_update)
        new = jnp.tanh(x_new + reset * h_new)
        return (1 - update) * new + update * h


class RecurrentAgent(eqx.Module):
    """Fully connected, GRU, fully connected (App. G.1): own observation, own last action and agent id in, logits out."""

    input_layer: eqx.nn.Linear
    cell: GRUCell
    output_layer: eqx.nn.Linear
    n_agents: int = eqx.field(static=True)
    action_size: int = eqx.field(static=True)

    def __init__(self, obs_size: int, action_size: int, n_agents: int, hidden_size: int, *, key: PRNGKeyArray) -> None:
        key_in, key_cell, key_out = jax.random.split(key, 3)
        self.input_layer = eqx.nn.Linear(obs_size + action_size + n_agents, hidden_size, key=key_in)
        self.cell = GRUCell(hidden_size, hidden_size, key=key_cell)
        self.output_layer = eqx.nn.Linear(hidden_size, action_size, key=key_out)
        self.n_agents = n_agents
        self.action_size = action_size

    def __call__(
        self, hidden: Float[Array, " hidden"], obs: Float[Array, " obs"], last_action: Int[Array, ""], agent_id: Int[Array, ""]
    ) -> tuple[Float[Array, " hidden"], Float[Array, " action"]]:
        """`last_action` is -1 at the start of an episode."""
        last = jax.nn.one_hot(last_action, self.action_size, dtype=hidden.dtype)
        own = jax.nn.one_hot(agent_id, self.n_agents, dtype=hidden.dtype)
        x = jax.nn.relu(self.input_layer(jnp.concatenate([obs.astype(hidden.dtype), last, own])))
        hidden = self.cell(x, hidden)
        return hidden, self.output_layer(hidden)


class LocalCritic(eqx.Module):
    """Q_i(tau, .) for every action of agent i (App. G.1): two hidden layers on the global state.

    With `local_inputs` they see the own observation and agent id too. The first layer is kept in parts, since the state's part is the same
    for all agents and then is computed once. With `dueling`, a value common to all actions is added, as the released code does.
    """

    from_state: eqx.nn.Linear
    from_obs: eqx.nn.Linear | None
    from_id: Float[Array, "agent hidden"] | None
    hidden_layer: eqx.nn.Linear
    action_layer: eqx.nn.Linear
    value_layer: eqx.nn.Linear | None

    def __init__(
        self,
        state_size: int,
        obs_size: int,
        action_size: int,
        n_agents: int,
        hidden_size: int,
        *,
        local_inputs: bool,
        dueling: bool,
        key: PRNGKeyArray,
    ) -> None:
        key_first, key_hidden, key_action, key_value = jax.random.split(key, 4)
        sizes = [state_size, obs_size, n_agents] if local_inputs else [state_size]
        from_state, *rest = _split(eqx.nn.Linear(sum(sizes), hidden_size, key=key_first), sizes)
        self.from_state = from_state
        self.from_obs = rest[0] if local_inputs else None
        self.from_id = rest[1].weight.T if local_inputs else None
        self.hidden_layer = eqx.nn.Linear(hidden_size, hidden_size, key=key_hidden)
        self.action_layer = eqx.nn.Linear(hidden_size, action_size, key=key_action)
        self.value_layer = eqx.nn.Linear(hidden_size, 1, key=key_value) if dueling else None

    def __call__(self, state: Float[Array, " state"], obs: Float[Array, " obs"], agent_id: Int[Array, ""]) -> Float[Array, " action"]:
        x = self.from_state(state)
        if self.from_obs is not None and self.from_id is not None:
            x = x + self.from_obs(obs) + self.from_id[agent_id]
        x = jax.nn.relu(self.hidden_layer(jax.nn.relu(x)))
        q = self.action_layer(x)
        return q if self.value_layer is None else q + self.value_layer(x)


class CounterfactualCritic(eqx.Module):
    """COMA's critic (Foerster et al. 2018, Fig. 1): Q_i(s, o_i, (a_-i, .)) for every action of agent i, given what the others do.

    Two hidden layers on the global state, own observation, the other agents' actions and the agent id. One network for all agents, asked
    for the whole team at once: the state's part of the first layer is the same for all, and so is the sum over the joint action, from which
    each agent's own part is taken away.
    """

    from_state: eqx.nn.Linear
    from_obs: eqx.nn.Linear
    from_action: Float[Array, "agent action hidden"]
    from_id: Float[Array, "agent hidden"]
    hidden_layer: eqx.nn.Linear
    action_layer: eqx.nn.Linear

    def __init__(self, state_size: int, obs_size: int, action_size: int, n_agents: int, hidden_size: int, *, key: PRNGKeyArray) -> None:
        key_first, key_hidden, key_action = jax.random.split(key, 3)
        sizes = [state_size, obs_size, n_agents * action_size, n_agents]
        self.from_state, self.from_obs, actions, ids = _split(eqx.nn.Linear(sum(sizes), hidden_size, key=key_first), sizes)
        self.from_action = actions.weight.T.reshape(n_agents, action_size, hidden_size)
        self.from_id = ids.weight.T
        self.hidden_layer = eqx.nn.Linear(hidden_size, hidden_size, key=key_hidden)
        self.action_layer = eqx.nn.Linear(hidden_size, action_size, key=key_action)

    def __call__(
        self, state: Float[Array, " state"], obs: Float[Array, "agent obs"], action: Int[Array, " agent"]
    ) -> Float[Array, "agent action"]:
        """`action` is the joint one; what agent i itself does makes no difference to its row."""
        each = jnp.take_along_axis(self.from_action, action[:, None, None], axis=1)[:, 0]
        others = jnp.sum(each, axis=0) - each
        x = jax.nn.relu(self.from_state(state) + jax.vmap(self.from_obs)(obs) + others + self.from_id)
        x = jax.nn.relu(jax.vmap(self.hidden_layer)(x))
        return jax.vmap(self.action_layer)(x)


def _split(layer: eqx.nn.Linear, sizes: Sequence[int]) -> list[eqx.nn.Linear]:
    """A layer whose input is several parts end to end, as one layer for each; the sum of theirs is its output. The first has the bias."""
    weights = jnp.split(layer.weight, [sum(sizes[:i]) for i in range(1, len(sizes))], axis=1)

    def part(weight: Array, bias: Array | None) -> eqx.nn.Linear:
        # Of this layer only the form.
        form = eqx.filter_eval_shape(eqx.nn.Linear, *weight.shape[::-1], use_bias=bias is not None, key=jax.random.key(0))
        return eqx.tree_at(lambda m: (m.weight, m.bias), form, (weight, bias), is_leaf=lambda x: x is None)

    return [part(weight, layer.bias if i == 0 else None) for i, weight in enumerate(weights)]
