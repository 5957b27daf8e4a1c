"""Protocols of networks and their configurations.

A configuration is a frozen dataclass that builds the network; its fields are hyper-parameters:

    build(inputs, outputs, key=)    a network of one agent: a vector of `inputs` numbers in, one of `outputs` numbers out

The network is an `equinox.Module`:

    init_state()                    its hidden state at the start of an episode; `()` for a feed-forward network
    __call__(state, x)              one step: the next hidden state and the output

Optional for a configuration: `for_layout(layout)`, a configuration that knows what the inputs are (`NeedsLayout`).
Optional for a network, for `dop export`: `export(graph, state, x)`, the same computation with names of ONNX values in place of arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from jaxtyping import Array, Float, PRNGKeyArray, PyTree

if TYPE_CHECKING:
    from dop.networks.inputs import InputLayout


@runtime_checkable
class Network(Protocol):
    """The network of one agent, or of a group of agents that share parameters."""

    def init_state(self) -> PyTree:
        """The initial hidden state: arrays of real numbers in any structure, none of them parameters. `()`: feed-forward."""
        ...

    def __call__(self, state: PyTree, x: Float[Array, " input"]) -> tuple[PyTree, Float[Array, " output"]]:
        """One step of one agent: the next hidden state, with the structure and shapes of `state`, and the output."""
        ...


@runtime_checkable
class NetworkConfig(Protocol):
    """The field `actor` or `critic` of an algorithm: a frozen dataclass that builds a network."""

    def build(self, inputs: int, outputs: int, *, key: PRNGKeyArray) -> Any:
        """A `Network` with `inputs` inputs and `outputs` outputs; `key` draws its parameters."""
        ...


@runtime_checkable
class NeedsLayout(Protocol):
    """Optional for a `NetworkConfig`: a network that depends on what its inputs are."""

    def for_layout(self, layout: InputLayout) -> NetworkConfig:
        """The configuration whose `build` is called, for this layout of inputs and outputs.

        Raises:
            ConfigError: there is no such network for this layout.
        """
        ...


@runtime_checkable
class Graph(Protocol):
    """An ONNX graph under construction. Values have string names; the first axis of every value is the batch."""

    def constant(self, value: Any) -> str:
        """The name of a constant."""
        ...

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an ONNX operator and return the name of its output. An input of "" is omitted."""
        ...

    def linear(self, x: str, weight: Any, bias: Any = None) -> str:
        """weight x + bias, with a `weight` of shape (output, input)."""
        ...


@runtime_checkable
class ExportsItself(Protocol):
    """Optional for a `Network`: ONNX export, used by `dop export`."""

    def export(self, graph: Graph, state: PyTree, x: str) -> tuple[PyTree, str]:
        """`__call__` as operators of `graph`: `x` is the name of a value, and `state` has one in place of each array."""
        ...
