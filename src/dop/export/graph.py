"""Builder of one agent's ONNX graph, for a network's `export` (`dop.networks.protocols.Graph`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dop.networks.layers import Agent
from dop.types import EnvSpec

INPUT = "seen"
"""The network's input `x`: own observation, own last action (if it is an input), and agent id. Added to the graph when first used."""


class Graph:
    """A list of operators and constants; `add` returns the name of an operator's output.

    A linear layer of `INPUT` is written in parts, without the padding of observations and with the agent id folded into the bias. Any other
    operator gets the whole vector.
    """

    def __init__(self, onnx: Any, agent: Agent, spec: EnvSpec, agent_index: int) -> None:
        self._onnx, self._agent, self._spec, self._agent_index = onnx, agent, spec, agent_index
        self._whole: str | None = None
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        inputs = tuple(self._input_vector() if name == INPUT else name for name in inputs)
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def linear(self, x: str, weight: Any, bias: Any = None) -> str:
        """weight x + bias, with the shapes of the library's layers."""
        if x == INPUT:
            return self._linear_in_parts(_float(weight), 0 if bias is None else _float(bias))
        added = () if bias is None else (self.constant(_float(bias)),)
        return self.add("Gemm", x, self.constant(_float(weight)), *added, transB=1)

    def _linear_in_parts(self, weight: np.ndarray, bias: Any) -> str:
        of_obs, of_last, of_id = np.split(weight, np.cumsum(self._sizes)[:-1], axis=1)
        own = of_obs[:, : self._spec.obs_sizes[self._agent_index]]
        seen = self.add("Gemm", "obs", self.constant(own), self.constant(bias + of_id[:, self._agent_index]), transB=1)
        if not self._agent.sees_last_action:
            return seen
        # A row for each action, and last a row of zeros for -1.
        rows = np.concatenate([of_last.T, np.zeros((1, len(weight)), np.float32)])
        return self.add("Add", seen, self.add("Gather", self.constant(rows), "last_action"))

    def _input_vector(self) -> str:
        """The name of the network's whole input vector."""
        if self._whole is None:
            self._whole = self.linear(INPUT, np.eye(sum(self._sizes)))
        return self._whole

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """Sizes of observation, last action and agent id."""
        return self._spec.obs_size, self._agent.action_size if self._agent.sees_last_action else 0, self._agent.n_agents


def hidden_names(count: int) -> Iterator[str]:
    """The names of a network's hidden states: `hidden`, or `hidden_0`, `hidden_1`, ... if there are several."""
    yield from ("hidden",) if count == 1 else (f"hidden_{place}" for place in range(count))


def _float(value: Any) -> np.ndarray:
    return np.asarray(value, np.float32)
