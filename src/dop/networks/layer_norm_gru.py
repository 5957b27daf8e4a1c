"""A recurrent network: a GRU with layer normalisation (Ba et al. 2016, Layer normalization, supplementary material, Eqs. 22 to 24)."""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from equinox.nn import LayerNorm
from jaxtyping import Array, Float, PRNGKeyArray

from dop.errors import check_positive, check_types
from dop.networks.layers import Linear
from dop.networks.protocols import Graph
from dop.networks.recurrent import RecurrentNetwork


class LayerNormGRUCell(eqx.Module):
    """Gated recurrent unit with layer normalisation of its projections, one norm for both gates.

    (r, z) = sigmoid(LN(W x) + LN(U h)),  n = tanh(LN(W_n x) + r LN(U_n h)),  h' = (1 - z) n + z h

    The four norms have weights and biases, so W and U have no bias.
    """

    input_layer: Linear
    hidden_layer: Linear
    input_gates: LayerNorm
    hidden_gates: LayerNorm
    input_new: LayerNorm
    hidden_new: LayerNorm

    def __init__(self, input_size: int, hidden_size: int, *, key: PRNGKeyArray) -> None:
        key_input, key_hidden = jax.random.split(key)
        self.input_layer = Linear(input_size, 3 * hidden_size, use_bias=False, key=key_input)
        self.hidden_layer = Linear(hidden_size, 3 * hidden_size, use_bias=False, key=key_hidden)
        self.input_gates, self.hidden_gates = LayerNorm(2 * hidden_size), LayerNorm(2 * hidden_size)
        self.input_new, self.hidden_new = LayerNorm(hidden_size), LayerNorm(hidden_size)

    def __call__(self, x: Float[Array, " input"], h: Float[Array, " hidden"]) -> Float[Array, " hidden"]:
        x_gates, x_new = jnp.split(self.input_layer(x), [2 * h.shape[0]])
        h_gates, h_new = jnp.split(self.hidden_layer(h), [2 * h.shape[0]])
        reset, update = jnp.split(jax.nn.sigmoid(self.input_gates(x_gates) + self.hidden_gates(h_gates)), 2)
        new = jnp.tanh(self.input_new(x_new) + reset * self.hidden_new(h_new))
        return (1 - update) * new + update * h

    def export(self, graph: Graph, state: str, x: str) -> str:
        """One step, operator by operator: ONNX has no GRU with layer normalisation."""
        size = int(self.hidden_layer.in_features)

        def gates_and_new(layer: Linear, gates: LayerNorm, new: LayerNorm, x: str) -> tuple[str, str]:
            of_gates, of_new = np.split(np.asarray(layer.weight), [2 * size])
            return _export_norm(gates, graph, graph.linear(x, of_gates)), _export_norm(new, graph, graph.linear(x, of_new))

        x_gates, x_new = gates_and_new(self.input_layer, self.input_gates, self.input_new, x)
        h_gates, h_new = gates_and_new(self.hidden_layer, self.hidden_gates, self.hidden_new, state)
        both = graph.add("Sigmoid", graph.add("Add", x_gates, h_gates))
        start, middle, end, axis = (graph.constant(np.array([place])) for place in (0, size, 2 * size, 1))
        reset, update = graph.add("Slice", both, start, middle, axis), graph.add("Slice", both, middle, end, axis)
        new = graph.add("Tanh", graph.add("Add", x_new, graph.add("Mul", reset, h_new)))
        rest = graph.add("Sub", graph.constant(np.float32(1)), update)
        return graph.add("Add", graph.add("Mul", rest, new), graph.add("Mul", update, state))


def _export_norm(norm: LayerNorm, graph: Graph, x: str) -> str:
    weight, bias = (graph.constant(np.asarray(part, np.float32)) for part in (norm.weight, norm.bias))
    return graph.add("LayerNormalization", x, weight, bias, axis=-1, epsilon=norm.eps)


@dataclass(frozen=True)
class LayerNormGRU:
    """Recurrent network: linear layer, GRU with layer normalisation, linear layer."""

    hidden_size: int = 64
    """Hidden units of the GRU and of the layer before it."""

    def check(self) -> None:
        """Raise ConfigError for an invalid size."""
        check_types(self)
        check_positive(self, "hidden_size")

    def build(self, inputs: int, outputs: int, *, key: PRNGKeyArray) -> RecurrentNetwork[LayerNormGRUCell]:
        """The network, its parameters drawn from `key`."""
        return RecurrentNetwork(LayerNormGRUCell, inputs, outputs, self.hidden_size, key=key)


NETWORK = LayerNormGRU
