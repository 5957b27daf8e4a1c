"""The recurrent networks' common form: fully connected, a recurrent cell, fully connected (Wang et al., App. G.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dop.networks.layers import Linear
from dop.networks.protocols import Graph


@runtime_checkable
class Cell(Protocol):
    """A recurrent cell. Its class is called with the sizes of input and hidden state, and a key."""

    hidden_layer: Linear

    def __call__(self, x: Float[Array, " input"], h: Float[Array, " hidden"]) -> Float[Array, " hidden"]: ...

    def export(self, graph: Graph, state: str, x: str) -> str:
        """One step in an ONNX graph: the next state."""
        ...


C = TypeVar("C", bound=Cell)


class RecurrentNetwork(eqx.Module, Generic[C]):
    """x -> ReLU(linear) -> cell -> linear."""

    input_layer: Linear
    cell: C
    output_layer: Linear

    def __init__(self, cell: Callable[..., C], inputs: int, outputs: int, hidden_size: int, *, key: PRNGKeyArray) -> None:
        key_in, key_cell, key_out = jax.random.split(key, 3)
        self.input_layer = Linear(inputs, hidden_size, key=key_in)
        self.cell = cell(hidden_size, hidden_size, key=key_cell)
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
        hidden = self.cell.export(graph, state, features)
        return hidden, graph.linear(hidden, self.output_layer.weight, self.output_layer.bias)
