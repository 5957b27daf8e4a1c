"""A feed-forward network: linear layers with ReLU between them (Wang et al., App. G.2)."""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from dop.errors import ConfigError, check_positive, check_types, shown
from dop.networks import layers
from dop.networks.protocols import Graph

MOST_LAYERS = 64
"""Largest number of hidden layers; the time to compile a network grows with it."""


class FeedForward(eqx.Module):
    """x -> ReLU(linear) -> ... -> linear. It has no hidden state."""

    layers: layers.MLP

    def init_state(self) -> tuple[()]:
        return ()

    def __call__(self, state: tuple[()], x: Float[Array, " input"]) -> tuple[tuple[()], Float[Array, " output"]]:
        return state, self.layers(x)

    def export(self, graph: Graph, state: tuple[()], x: str) -> tuple[tuple[()], str]:
        first, *rest = self.layers.layers
        x = graph.linear(x, first.weight, first.bias)
        for layer in rest:
            x = graph.linear(graph.add("Relu", x), layer.weight, layer.bias)
        return state, x


@dataclass(frozen=True)
class MLP:
    """Feed-forward network: hidden layers with ReLU, then a linear layer (App. G.2)."""

    hidden_size: int = 64
    """Units of each hidden layer."""
    layers: int = 2
    """Number of hidden layers."""

    def check(self) -> None:
        """Raise ConfigError for an invalid size."""
        check_types(self)
        check_positive(self, "hidden_size", "layers")
        if self.layers > MOST_LAYERS:
            raise ConfigError(f"layers must be at most {MOST_LAYERS}, got {shown(self.layers)}.")

    def build(self, inputs: int, outputs: int, *, key: PRNGKeyArray) -> FeedForward:
        """The network, its parameters drawn from `key`."""
        return FeedForward(layers.MLP((inputs, *(self.hidden_size,) * self.layers, outputs), key=key))


NETWORK = MLP
