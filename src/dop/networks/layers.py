"""Layers, one agent's network, and parameter sharing in a team. One example in, one out.

Layers are initialised like PyTorch's, uniform in +-1/sqrt(fan-in), as in the published results.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from dop.networks.protocols import Graph
from dop.types import ActionKind

Network = TypeVar("Network", bound=eqx.Module)


class PerAgent(eqx.Module, Generic[Network]):
    """One network per agent, with parameters shared within groups of agents and stacked on a leading group axis.

    The groups come from `EnvSpec.groups`.
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
        """Whether all agents share one network."""
        return not any(self.groups)

    def map(self, apply: Callable[..., Any], *args: PyTree, in_axes: tuple[int | None, ...]) -> Any:
        """`apply(network_i, *args_i)` for every agent i; `in_axes` are those of `vmap` for the agent axis.

        Computations without an agent axis in parameters and arguments are done once for the team.
        """
        own = self.groups == tuple(range(self.n_agents))
        network = self.network if self.shared or own else jax.tree.map(lambda x: x[jnp.asarray(self.groups)], self.network)
        return jax.vmap(apply, in_axes=(None if self.shared else 0, *in_axes), axis_size=self.n_agents)(network, *args)

    def of(self, agent: int) -> Network:
        """The network of one agent."""
        return self.network if self.shared else jax.tree.map(lambda x: x[self.groups[agent]], self.network)


class Linear(eqx.nn.Linear):
    """y = x W^T + b, one example in, one out.

    The same as `equinox.nn.Linear`, W x + b, but under `vmap` the rows of the matrix product are the examples. With W x they are the units,
    and the transposition that follows takes as long as the product itself in networks this small.
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
    """Gated recurrent unit with PyTorch's two biases, so that gradient steps match the released code.

    r, z = sigmoid(W x + b + U h + b'),  n = tanh(W x + b + r (U h + b')),  h' = (1 - z) n + z h
    """

    input_layer: Linear
    hidden_layer: Linear

    def __init__(self, input_size: int, hidden_size: int, *, key: PRNGKeyArray) -> None:
        key_input, key_hidden = jax.random.split(key)
        # In PyTorch the fan-in of both layers is the hidden size. Here the two sizes are equal wherever the cell is used.
        self.input_layer = Linear(input_size, 3 * hidden_size, key=key_input)
        self.hidden_layer = Linear(hidden_size, 3 * hidden_size, key=key_hidden)

    def __call__(self, x: Float[Array, " input"], h: Float[Array, " hidden"]) -> Float[Array, " hidden"]:
        x_reset, x_update, x_new = jnp.split(self.input_layer(x), 3)
        h_reset, h_update, h_new = jnp.split(self.hidden_layer(h), 3)
        reset = jax.nn.sigmoid(x_reset + h_reset)
        update = jax.nn.sigmoid(x_update + h_update)
        new = jnp.tanh(x_new + reset * h_new)
        return (1 - update) * new + update * h

    def export(self, graph: Graph, state: str, x: str) -> str:
        """One step of ONNX's GRU operator, whose gates are in the order update, reset, new."""

        def reorder(array: Any) -> np.ndarray:
            reset, update, new = np.split(np.asarray(array, np.float32), 3)
            return np.concatenate([update, reset, new])

        layers = (self.input_layer, self.hidden_layer)
        weights = [graph.constant(reorder(layer.weight)[None]) for layer in layers]
        bias = graph.constant(np.concatenate([reorder(layer.bias) for layer in layers])[None])
        first = graph.constant(np.array([0]))
        step, before = graph.add("Unsqueeze", x, first), graph.add("Unsqueeze", state, first)
        size = int(self.hidden_layer.in_features)
        after = graph.add("GRU", step, *weights, bias, "", before, hidden_size=size, linear_before_reset=1)
        return graph.add("Squeeze", after, graph.constant(np.array([0, 1])))


class Agent(eqx.Module):
    """One agent: a network of its own observation, its last action (with `sees_last_action`), and the agent id (App. G).

    The algorithm interprets the output: logits, action values, or the argument of a tanh for box actions.
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
        """`last_action` is -1 at the start of an episode, and None without `sees_last_action`."""
        dtype = parameter_dtype(self.network)
        last = [jax.nn.one_hot(last_action, self.action_size, dtype=dtype)] if self.sees_last_action else []
        own = jax.nn.one_hot(agent_id, self.n_agents, dtype=dtype)
        return self.network(state, jnp.concatenate([obs.astype(dtype), *last, own]))


def parameter_dtype(network: PyTree) -> Any:
    """The dtype of a network's parameters, and of its inputs."""
    found = [leaf.dtype for leaf in jax.tree.leaves(network) if jnp.issubdtype(getattr(leaf, "dtype", jnp.int32), jnp.floating)]
    return found[0] if found else jnp.zeros(()).dtype


def hidden_layers(size: int, layers: int, *, key: PRNGKeyArray) -> tuple[Linear, ...]:
    """All hidden layers except the first."""
    keys = [key] if layers == 2 else jax.random.split(key, layers - 1)
    return tuple(Linear(size, size, key=key) for key in keys)


def apply_hidden(layers: Sequence[Linear], x: Float[Array, " hidden"]) -> Float[Array, " hidden"]:
    """The hidden layers, each followed by ReLU."""
    for layer in layers:
        x = jax.nn.relu(layer(x))
    return x
