"""A recurrent network: fully connected, GRU, fully connected (Wang et al., App. G.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dop.errors import check_positive, check_types
from dop.networks.layers import GRUCell, Linear
from dop.networks.protocols import Graph


class GRUNetwork(eqx.Module):
    """x -> ReLU(linear) -> GRU -> linear."""

    input_layer: Linear
    cell: GRUCell
    output_layer: Linear

    def __init__(self, inputs: int, outputs: int, hidden_size: int, *, key: PRNGKeyArray) -> None:
        key_in, key_cell, key_out = jax.random.split(key, 3)
        self.input_layer = Linear(inputs, hidden_size, key=key_in)
        self.cell = GRUCell(hidden_size, hidden_size, key=key_cell)
        self.output_layer = Linear(hidden_size, outputs, key=key_out)

    def init_state(self) -> Float[Array, " hidden"]:
        return jnp.zeros(self.cell.hidden_layer.in_features, self.cell.hidden_layer.weight.dtype)

    def __call__(
        self, state: Float[Array, " hidden"], x: Float[Array, " input"]
    ) -> tuple[Float[Array, " hidden"], Float[Array, " output"]]:
        hidden = self.cell(jax.nn.relu(self.input_layer(x)), state)
        return hidden, self.output_layer(hidden)

    def export(self, graph: Graph, state: str, x: str) -> tuple[str, str]:
        features = graph.add("Relu", graph.linear(x, self.input_layer.weight, self.input_layer.bias))
        hidden = self._export_cell(graph, state, features)
        return hidden, graph.linear(hidden, self.output_layer.weight, self.output_layer.bias)

    def _export_cell(self, graph: Graph, state: str, x: str) -> str:
        """One step of ONNX's GRU operator, whose gates are in the order update, reset, new."""

        def reorder(array: Any) -> np.ndarray:
            reset, update, new = np.split(np.asarray(array, np.float32), 3)
            return np.concatenate([update, reset, new])

        layers = (self.cell.input_layer, self.cell.hidden_layer)
        weights = [graph.constant(reorder(layer.weight)[None]) for layer in layers]
        bias = graph.constant(np.concatenate([reorder(layer.bias) for layer in layers])[None])
        first = graph.constant(np.array([0]))
        step, before = graph.add("Unsqueeze", x, first), graph.add("Unsqueeze", state, first)
        size = int(self.cell.hidden_layer.in_features)
        after = graph.add("GRU", step, *weights, bias, "", before, hidden_size=size, linear_before_reset=1)
        return graph.add("Squeeze", after, graph.constant(np.array([0, 1])))


@dataclass(frozen=True)
class GRU:
    """Recurrent network: linear layer, GRU, linear layer (App. G.1)."""

    hidden_size: int = 64
    """Hidden units of the GRU and of the layer before it."""

    def check(self) -> None:
        """Raise ConfigError for an invalid size."""
        check_types(self)
        check_positive(self, "hidden_size")

    def build(self, inputs: int, outputs: int, *, key: PRNGKeyArray) -> GRUNetwork:
        """The network, its parameters drawn from `key`."""
        return GRUNetwork(inputs, outputs, self.hidden_size, key=key)


NETWORK = GRU
