"""Shared-memory buffers of commands and results for Python environments.

An environment slot is a row of every buffer. The buffers may lie in memory that processes share. The environment runner
(`dop.rollout.env_runner`) executes the commands.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int8, Int32, Int64

from dop.types import EnvSpec

IDLE, STEP, RESET = 0, 1, 2
"""The commands of a slot."""
_ALIGNMENT = 64
KINDS = {"obs": "fiu", "state": "fiu", "action_mask": "b", "reward": "fiu", "terminated": "b", "truncated": "b", "metrics": "fiu"}
"""The fields of a `TimeStep`, and the kinds of NumPy types that they may have."""


@dataclass(frozen=True, kw_only=True)
class SharedBuffers:
    """The command of every environment slot, and its newest result."""

    command: Int8[np.ndarray, " slot"]
    """IDLE, STEP or RESET."""
    seed: Int64[np.ndarray, " slot"]
    """Seed of the episode that RESET starts."""
    action: Int32[np.ndarray, "slot agent"] | Float32[np.ndarray, "slot agent action"]
    """Joint action of STEP."""
    obs: Float32[np.ndarray, "slot agent obs"]
    state: Float32[np.ndarray, "slot state"]
    action_mask: Bool[np.ndarray, "slot agent action"]
    reward: Float32[np.ndarray, " slot"]
    terminated: Bool[np.ndarray, " slot"]
    truncated: Bool[np.ndarray, " slot"]
    metrics: Float32[np.ndarray, "slot metric"]
    appeared: Bool[np.ndarray, "slot metric"]
    """Whether the environment has given the metric in any finished episode; missing metrics are 0."""

    @classmethod
    def over(cls, spec: EnvSpec, slots: int, memory: Any) -> SharedBuffers:
        """Buffers in `memory`, a writable buffer of at least `nbytes`."""
        arrays, offset = {}, 0
        for name, (shape, dtype) in _layout(spec, slots).items():
            count = int(np.prod(shape))
            arrays[name] = np.frombuffer(memory, dtype, count, offset).reshape(shape)
            offset += _aligned(count * dtype.itemsize)
        return cls(**arrays)

    @staticmethod
    def nbytes(spec: EnvSpec, slots: int) -> int:
        """Size of the memory for these buffers."""
        return sum(_aligned(int(np.prod(shape)) * dtype.itemsize) for shape, dtype in _layout(spec, slots).values())

    def rows(self, slots: slice | np.ndarray) -> SharedBuffers:
        """The rows of some slots: a view if `slots` is a slice, else a copy."""
        return SharedBuffers(**{field.name: getattr(self, field.name)[slots] for field in fields(self)})

    def commands(self, slots: np.ndarray) -> dict[str, np.ndarray]:
        """The commands of some slots, with seeds and actions."""
        return {name: getattr(self, name)[slots] for name in ("command", "seed", "action")}

    def write(self, slots: np.ndarray, rows: dict[str, np.ndarray]) -> None:
        """Overwrite some slots' rows of the named arrays."""
        for name, row in rows.items():
            getattr(self, name)[slots] = row

    def time_steps(self, slots: slice | np.ndarray = slice(None)) -> dict[str, np.ndarray]:
        """The fields of some slots' `TimeStep`s."""
        return {name: getattr(self, name)[slots] for name in KINDS}

    def results(self, slots: np.ndarray) -> dict[str, np.ndarray]:
        """All results of some slots' environments."""
        return {**self.time_steps(slots), "appeared": self.appeared[slots]}


def _layout(spec: EnvSpec, slots: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    n, discrete = spec.n_agents, spec.action_kind == "discrete"
    layout: dict[str, tuple[tuple[int, ...], Any]] = {
        "command": ((), np.int8),
        "seed": ((), np.int64),
        "action": (spec.action_shape, np.int32 if discrete else np.float32),
        "obs": ((n, spec.obs_size), np.float32),
        "state": ((spec.state_size,), np.float32),
        "action_mask": ((n, spec.action_size), np.bool_),
        "reward": ((), np.float32),
        "terminated": ((), np.bool_),
        "truncated": ((), np.bool_),
        "metrics": ((len(spec.metrics),), np.float32),
        "appeared": ((len(spec.metrics),), np.bool_),
    }
    return {name: ((slots, *shape), np.dtype(dtype)) for name, (shape, dtype) in layout.items()}


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
