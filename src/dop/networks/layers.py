"""Networks: layers, an agent, the critics, and one network for each agent of a team. One example in, one out.

Layers start as PyTorch's do, uniform in +-1/sqrt(fan-in), which is what the published results were made with.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from dop.types import ActionKind

Network = TypeVar("Network", bound=eqx.Module)


class PerAgent(eqx.Module, Generic[Network]):
    """A network for each agent: one for all, or one for each group of them, stacked on a leading group axis.

    `EnvSpec.groups` says who shares with whom.
    """

    network: Network
    groups: tuple[int, ...] = eqx.field(static=True)
    """The group of each agent: 0, 1, ..."""

    def __init__(self, make: Callable[[PRNGKeyArray], Network], groups: Sequence[int], *, key: PRNGKeyArray) -> None:
        n_groups = max(groups) + 1
        self.network = make(key) if n_groups == 1 else jax.vmap(make)(jax.random.split(key, n_groups))
        self.groups = tuple(groups)

    @property
    def n_agents(self) -> int:
        return len(self.groups)

    @property
    def shared(self) -> bool:
        """Whether there is one network for all."""
        return not any(self.groups)

    def map(self, apply: Callable[..., Any], *args: PyTree, in_axes: tuple[int | None, ...]) -> Any:
        """`apply(network_i, *args_i)` for every agent i; `in_axes` says which arguments have an agent axis.

        What depends on shared parameters and on arguments without an agent axis only is computed once for the whole team.
        """
        own = self.groups == tuple(range(self.n_agents))
        network = self.network if self.shared or own else jax.tree.map(lambda x: x[jnp.asarray(self.groups)], self.network)
        return jax.vmap(apply, in_axes=(None if self.shared else 0, *in_axes), axis_size=self.n_agents)(network, *args)

    def of(self, agent: int) -> Network:
        """The network of one agent."""
        return self.network if self.shared else jax.tree.map(lambda x: x[self.groups[agent]], self.network)


class Linear(eqx.nn.Linear):
    """y = x W^T + b, one example in, one out.

    The same as `equinox.nn.Linear`, W x + b, but that `vmap` makes a product of it whose rows are the examples, as they come in. Those of
    W x are the units, and what follows has to turn it round, which takes as long as the product itself in networks this small.
    """

    def __init__(self, in_features: int, out_features: int | Literal["scalar"], *, use_bias: bool = True, key: PRNGKeyArray) -> None:
        super().__init__(in_features, out_features, use_bias=use_bias, key=key)

    def __call__(self, x: Float[Array, "..."], *, key: PRNGKeyArray | None = None) -> Float[Array, "..."]:
        del key
        y = x @ self.weight.T
        y = y if self.bias is None else y + self.bias
        return y[0] if self.out_features == "scalar" else y


class MLP(eqx.Module):
    """Linear layers of these sizes, input and output included, with ReLU between them."""

    layers: tuple[Linear, ...]

    def __init__(self, sizes: Sequence[int], *, key: PRNGKeyArray) -> None:
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = tuple(Linear(*pair, key=k) for pair, k in zip(itertools.pairwise(sizes), keys, strict=True))

    def __call__(self, x: Float[Array, " input"]) -> Float[Array, " output"]:
        first, *rest = self.layers
        x = first(x)
        for layer in rest:
            x = layer(jax.nn.relu(x))
        return x


class GRUCell(eqx.Module):
    """Gated recurrent unit with PyTorch's two biases, so that its gradient steps are those of the released code.

    r, z = sigmoid(W x + b + U h + b'),  n = tanh(W x + b + r (U h + b')),  h' = (1 - z) n + z h
    """

    input_layer: Linear
    hidden_layer: Linear

    def __init__(self, input_size: int, hidden_size: int, *, key: PRNGKeyArray) -> None:
        key_input, key_hidden = jax.random.split(key)
        # The fan-in of both is the hidden size, in PyTorch; here the two sizes are the same wherever the cell is used.
        self.input_layer = Linear(input_size, 3 * hidden_size, key=key_input)
        self.hidden_layer = Linear(hidden_size, 3 * hidden_size, key=key_hidden)

    def __call__(self, x: Float[Array, " input"], h: Float[Array, " hidden"]) -> Float[Array, " hidden"]:
        x_reset, x_update, x_new = jnp.split(self.input_layer(x), 3)
        h_reset, h_update, h_new = jnp.split(self.hidden_layer(h), 3)
        reset = jax.nn.sigmoid(x_reset + h_reset)
        update = jax.nn.sigmoid(x_update + h_update)
        new = jnp.tanh(x_new + reset * h_new)
        return (1 - update) * new + update * h


class Agent(eqx.Module):
    """One agent: a network that sees the own observation, the own last action (where `sees_last_action`), and the agent id (App. G).

    What comes out are logits, values of the actions, or what tanh takes to a box: the algorithm says.
    """

    network: Any
    """A `dop.networks.protocols.Network`."""
    kind: ActionKind = eqx.field(static=True)
    n_agents: int = eqx.field(static=True)
    action_size: int = eqx.field(static=True)
    sees_last_action: bool = eqx.field(static=True)

    def init_state(self) -> PyTree:
        """The network's hidden state at the start of an episode."""
        return self.network.init_state()

    def __call__(
        self, state: PyTree, obs: Float[Array, " obs"], last_action: Int[Array, ""] | None, agent_id: Int[Array, ""]
    ) -> tuple[PyTree, Float[Array, " action"]]:
        """`last_action` is -1 at the start of an episode, and None where it is not seen."""
        dtype = parameter_dtype(self.network)
        last = [jax.nn.one_hot(last_action, self.action_size, dtype=dtype)] if self.sees_last_action else []
        own = jax.nn.one_hot(agent_id, self.n_agents, dtype=dtype)
        return self.network(state, jnp.concatenate([obs.astype(dtype), *last, own]))


def parameter_dtype(network: PyTree) -> Any:
    """The type of a network's parameters, which its inputs have, too."""
    found = [leaf.dtype for leaf in jax.tree.leaves(network) if jnp.issubdtype(getattr(leaf, "dtype", jnp.int32), jnp.floating)]
    return found[0] if found else jnp.zeros(()).dtype


class LocalCritic(eqx.Module):
    """Q_i(tau, .) for every action of agent i (App. G.1): hidden layers on the global state.

    With `local_inputs` they see the own observation and agent id too. The first layer is kept in parts, since the state's part is the same
    for all agents and then is computed once. With `dueling`, a value common to all actions is added, as the released code does.
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
        self.hidden_layers = _hidden_layers(hidden_size, layers, key=key_hidden)
        self.action_layer = Linear(hidden_size, action_size, key=key_action)
        self.value_layer = Linear(hidden_size, 1, key=key_value) if dueling else None

    def __call__(self, state: Float[Array, " state"], obs: Float[Array, " obs"], agent_id: Int[Array, ""]) -> Float[Array, " action"]:
        x = self.from_state(state)
        if self.from_obs is not None and self.from_id is not None:
            x = x + self.from_obs(obs) + self.from_id[agent_id]
        x = _through(self.hidden_layers, jax.nn.relu(x))
        q = self.action_layer(x)
        return q if self.value_layer is None else q + self.value_layer(x)


class LocalActionCritic(eqx.Module):
    """Q_i(tau, a_i) of an action that is a vector (App. G.2): the local critic with its agent's action among its inputs.

    The first layer is kept in parts, since the state's part is the same for all agents and then is computed once.
    """

    from_state: Linear
    from_own: Linear
    hidden_layers: tuple[Linear, ...]
    value_layer: Linear
    n_agents: int = eqx.field(static=True)

    def __init__(
        self, state_size: int, obs_size: int, action_size: int, n_agents: int, hidden_size: int, *, layers: int = 2, key: PRNGKeyArray
    ) -> None:
        """`obs_size=0`: of the global state and the action alone."""
        key_first, key_hidden, key_value = jax.random.split(key, 3)
        sizes = [state_size, obs_size + action_size + n_agents]
        self.from_state, self.from_own = _split(Linear(sum(sizes), hidden_size, key=key_first), sizes)
        self.hidden_layers = _hidden_layers(hidden_size, layers, key=key_hidden)
        self.value_layer = Linear(hidden_size, "scalar", key=key_value)
        self.n_agents = n_agents

    def __call__(
        self, state: Float[Array, " state"], obs: Float[Array, " obs"], action: Float[Array, " action"], agent_id: Int[Array, ""]
    ) -> Float[Array, ""]:
        own = jnp.concatenate([obs, action, jax.nn.one_hot(agent_id, self.n_agents, dtype=action.dtype)])
        x = jax.nn.relu(self.from_state(state) + self.from_own(own))
        return self.value_layer(_through(self.hidden_layers, x))


class JointCritic(eqx.Module):
    """Q(s, a_1, ..., a_n) of a joint action whose parts are vectors (Lowe et al. 2017): hidden layers on both."""

    from_state: Linear
    from_action: Float[Array, "agent action hidden"]
    hidden_layers: tuple[Linear, ...]
    value_layer: Linear

    def __init__(self, state_size: int, action_size: int, n_agents: int, hidden_size: int, *, layers: int = 2, key: PRNGKeyArray) -> None:
        key_first, key_hidden, key_value = jax.random.split(key, 3)
        sizes = [state_size, n_agents * action_size]
        self.from_state, actions = _split(Linear(sum(sizes), hidden_size, key=key_first), sizes)
        self.from_action = actions.weight.T.reshape(n_agents, action_size, hidden_size)
        self.hidden_layers = _hidden_layers(hidden_size, layers, key=key_hidden)
        self.value_layer = Linear(hidden_size, "scalar", key=key_value)

    def __call__(self, state: Float[Array, " state"], action: Float[Array, "agent action"]) -> Float[Array, ""]:
        return self._upper(self._first(state, action))

    def deviations(
        self, state: Float[Array, " state"], action: Float[Array, "agent action"], own: Float[Array, "agent action"]
    ) -> Float[Array, " agent"]:
        """Q(s, (own_i, a_-i)) for every agent i: the others do as in `action`."""
        changes = jnp.einsum("ia,iah->ih", own - action, self.from_action)
        return jax.vmap(self._upper)(self._first(state, action) + changes)

    def _first(self, state: Float[Array, " state"], action: Float[Array, "agent action"]) -> Float[Array, " hidden"]:
        return self.from_state(state) + action.flatten() @ self.from_action.reshape(action.size, -1)

    def _upper(self, first: Float[Array, " hidden"]) -> Float[Array, ""]:
        return self.value_layer(_through(self.hidden_layers, jax.nn.relu(first)))


class CounterfactualCritic(eqx.Module):
    """COMA's critic (Foerster et al. 2018, Fig. 1): Q_i(s, o_i, (a_-i, .)) for every action of agent i, given what the others do.

    Hidden layers on the global state, own observation, the other agents' actions and the agent id. One network for all agents, asked
    for the whole team at once: the state's part of the first layer is the same for all, and so is the sum over the joint action, from which
    each agent's own part is taken away.
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
        self.hidden_layers = _hidden_layers(hidden_size, layers, key=key_hidden)
        self.action_layer = Linear(hidden_size, action_size, key=key_action)

    def __call__(
        self, state: Float[Array, " state"], obs: Float[Array, "agent obs"], action: Int[Array, " agent"]
    ) -> Float[Array, "agent action"]:
        """`action` is the joint one; what agent i itself does makes no difference to its row."""
        each = jnp.take_along_axis(self.from_action, action[:, None, None], axis=1)[:, 0]
        others = jnp.sum(each, axis=0) - each
        x = jax.nn.relu(self.from_state(state) + jax.vmap(self.from_obs)(obs) + others + self.from_id)
        x = jax.vmap(lambda x: _through(self.hidden_layers, x))(x)
        return jax.vmap(self.action_layer)(x)


class AttentionHeads(eqx.Module):
    """What each agent gathers from the others (Iqbal and Sha 2019, Eq. 6): one query of its own, keys and values of theirs.

    x_i = sum_{j != i} softmax_j(q_i . k_j / sqrt(d)) v_j   in each head; heads end to end
    """

    queries: Linear
    keys: Linear
    values: Linear
    heads: int = eqx.field(static=True)

    def __init__(self, size: int, heads: int, *, key: PRNGKeyArray) -> None:
        """`size`: units of what comes in and of what goes out, a multiple of `heads`."""
        key_queries, key_keys, key_values = jax.random.split(key, 3)
        self.queries = Linear(size, size, use_bias=False, key=key_queries)
        self.keys = Linear(size, size, use_bias=False, key=key_keys)
        self.values = Linear(size, size, key=key_values)
        self.heads = heads

    def __call__(
        self, own: Float[Array, "agent unit"], others: Float[Array, "agent unit"], is_active: Bool[Array, " agent"]
    ) -> tuple[Float[Array, "agent unit"], Float[Array, "head agent agent"]]:
        """What agent i gathers with its query from all other active agents; and q_i . k_j before scaling, 0 unless both are active."""

        def in_heads(layer: Linear, x: Array) -> Float[Array, "head agent unit"]:
            return jax.vmap(layer)(x).reshape(len(x), self.heads, -1).swapaxes(0, 1)

        queries, keys = in_heads(self.queries, own), in_heads(self.keys, others)
        values = jax.nn.leaky_relu(in_heads(self.values, others))
        match = queries @ keys.swapaxes(1, 2)
        other = ~jnp.eye(len(own), dtype=bool) & is_active
        scaled = jnp.where(other, match / jnp.sqrt(keys.shape[-1]), jnp.finfo(match.dtype).min)
        weights = jnp.where(other, jax.nn.softmax(scaled, axis=-1), 0)  # an agent alone gathers nothing
        gathered = weights @ values
        return gathered.swapaxes(0, 1).reshape(own.shape), jnp.where(is_active[:, None] & is_active, match, 0)


class AttentionCritic(eqx.Module):
    """MAAC's critic (Iqbal and Sha 2019, Sec. 3.2): Q_i(o, (a_-i, .)) for every action of agent i, what the others see and do by attention.

    Encoders and heads are one for each group of agents, told apart by the agent id; the attention is always shared.
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
        """`layers`: hidden ones of each head."""
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
        """Q_i of every action of every agent i, and the attention before softmax; agent i's own action makes no difference to its row, nor
        do agents that are not `is_active`."""
        apply = lambda net, x: net(x)  # noqa: E731
        seen = jnp.concatenate([obs, jnp.eye(self.n_agents, dtype=obs.dtype)], axis=1)
        own = jax.nn.leaky_relu(self.encode_obs.map(apply, seen, in_axes=(0,)))
        both = jax.nn.leaky_relu(self.encode_both.map(apply, jnp.concatenate([seen, action], axis=1), in_axes=(0,)))
        gathered, match = self.attention(own, both, is_active)
        return self.head.map(apply, jnp.concatenate([own, gathered], axis=1), in_axes=(0,)), match


def _hidden_layers(size: int, layers: int, *, key: PRNGKeyArray) -> tuple[Linear, ...]:
    """All hidden layers but the first, which sees the inputs."""
    keys = [key] if layers == 2 else jax.random.split(key, layers - 1)
    return tuple(Linear(size, size, key=key) for key in keys)


def _through(layers: Sequence[Linear], x: Float[Array, " hidden"]) -> Float[Array, " hidden"]:
    for layer in layers:
        x = jax.nn.relu(layer(x))
    return x


def _split(layer: Linear, sizes: Sequence[int]) -> list[Linear]:
    """A layer whose input is several parts end to end, as one layer for each; the sum of theirs is its output. The first has the bias."""
    weights = jnp.split(layer.weight, [sum(sizes[:i]) for i in range(1, len(sizes))], axis=1)

    def part(weight: Array, bias: Array | None) -> Linear:
        # Of this layer only the form.
        form = eqx.filter_eval_shape(type(layer), *weight.shape[::-1], use_bias=bias is not None, key=jax.random.key(0))
        return eqx.tree_at(lambda m: (m.weight, m.bias), form, (weight, bias), is_leaf=lambda x: x is None)

    return [part(weight, layer.bias if i == 0 else None) for i, weight in enumerate(weights)]
