"""The ONNX graph of one agent while its network writes it (`dop.networks.protocols.Graph`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dop.networks.layers import Agent
from dop.types import EnvSpec

SEEN = "seen"
"""What the network sees, its `x`: own observation, own last action where it is seen, and agent id. It is written where it is needed."""


class Graph:
    """Operators and constants as they are added; the output of an operator has the name that `add` returns.

    A linear layer of `SEEN` is written by its parts: the columns of observations that this agent has none of are left out, and those of the
    agent id become part of the bias. Any other operator on it gets the whole vector.
    """

    def __init__(self, onnx: Any, agent: Agent, spec: EnvSpec, place: int) -> None:
        self._onnx, self._agent, self._spec, self._place = onnx, agent, spec, place
        self._whole: str | None = None
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        inputs = tuple(self._written() if name == SEEN else name for name in inputs)
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def linear(self, x: str, weight: Any, bias: Any = None) -> str:
        """weight x + bias, as a layer of the library has them."""
        if x == SEEN:
            return self._linear_of_parts(_float(weight), 0 if bias is None else _float(bias))
        added = () if bias is None else (self.constant(_float(bias)),)
        return self.add("Gemm", x, self.constant(_float(weight)), *added, transB=1)

    def _linear_of_parts(self, weight: np.ndarray, bias: Any) -> str:
        of_obs, of_last, of_id = np.split(weight, np.cumsum(self._sizes)[:-1], axis=1)
        own = of_obs[:, : self._spec.obs_sizes[self._place]]
        seen = self.add("Gemm", "obs", self.constant(own), self.constant(bias + of_id[:, self._place]), transB=1)
        if not self._agent.sees_last_action:
            return seen
        # A row for each action, and zeros for -1, which picks the last.
        rows = np.concatenate([of_last.T, np.zeros((1, len(weight)), np.float32)])
        return self.add("Add", seen, self.add("Gather", self.constant(rows), "last_action"))

    def _written(self) -> str:
        """The name of the whole vector that the network sees."""
        if self._whole is None:
            self._whole = self.linear(SEEN, np.eye(sum(self._sizes)))
        return self._whole

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """Of observation, last action and agent id."""
        return self._spec.obs_size, self._agent.action_size if self._agent.sees_last_action else 0, self._agent.n_agents


def hidden_names(count: int) -> Iterator[str]:
    """The names of a network's hidden states: `hidden`, or `hidden_0`, `hidden_1`, ... where there are several."""
    yield from ("hidden",) if count == 1 else (f"hidden_{place}" for place in range(count))


def _float(value: Any) -> np.ndarray:
    return np.asarray(value, np.float32)
