"""What a network must offer to be a part of an algorithm.

A configuration is a frozen dataclass whose fields are the network's hyper-parameters; it builds the network:

    build(inputs, outputs, key=)    a network of one agent: a vector of `inputs` numbers in, one of `outputs` numbers out

The network is an `equinox.Module`:

    init_state()                    its hidden state at the start of an episode; `()` for a feed-forward network
    __call__(state, x)              one step: the next hidden state and the output

and, if it can be exported, has `export(graph, state, x)`, which does the same with the names of ONNX values in place of arrays.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float, PRNGKeyArray, PyTree


@runtime_checkable
class Network(Protocol):
    """What a configuration builds: the network of one agent, or of one group of agents that share it."""

    def init_state(self) -> PyTree:
        """The hidden state at the start of an episode: arrays of real numbers in any structure, none of them learned. `()`: it has none."""
        ...

    def __call__(self, state: PyTree, x: Float[Array, " input"]) -> tuple[PyTree, Float[Array, " output"]]:
        """One step of one agent: the next hidden state, which has the structure and shapes of `state`, and the output."""
        ...


@runtime_checkable
class NetworkConfig(Protocol):
    """The field `actor` or `critic` of an algorithm: a frozen dataclass that builds a network."""

    def build(self, inputs: int, outputs: int, *, key: PRNGKeyArray) -> Any:
        """A `Network` of `inputs` numbers in and `outputs` numbers out, its parameters drawn from `key`."""
        ...


class Graph(Protocol):
    """An ONNX graph while it is written. Values are named by texts; the first axis of all of them is the batch."""

    def constant(self, value: Any) -> str:
        """The name of a constant."""
        ...

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an ONNX operator; the name of its output. An input of "" is left out."""
        ...

    def linear(self, x: str, weight: Any, bias: Any = None) -> str:
        """weight x + bias, of a `weight` of shape (output, input)."""
        ...


@runtime_checkable
class ExportsItself(Protocol):
    """What a network may offer beside `Network`. `dop export` asks for it."""

    def export(self, graph: Graph, state: PyTree, x: str) -> tuple[PyTree, str]:
        """What `__call__` does, written into `graph`: `state` has the name of a value in the place of each array, `x` is one."""
        ...
