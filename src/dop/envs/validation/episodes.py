"""Random episodes, and the shapes of a `TimeStep` that its `EnvSpec` requires."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dop.types import Environment, EnvSpec, TimeStep


@dataclass
class Played:
    """The steps of an episode: that of `reset` and one after each action. `copies` were made when each was returned."""

    steps: list[Any] = field(default_factory=list)
    copies: list[Any] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    rewards: list[tuple[float, ...]] = field(default_factory=list)
    """Each agent's rewards, after each action, where the environment's adapter has them."""

    def add(self, step: TimeStep) -> None:
        self.steps.append(step)
        self.copies.append(jax.tree.map(np.array, step))

    @property
    def over(self) -> bool:
        return bool(self.steps[-1].terminated) or bool(self.steps[-1].truncated)


class JaxInPython:
    """A JAX environment with the interface of a `PythonEnvironment`: stateful, compiled, with NumPy results."""

    def __init__(self, environment: Environment) -> None:
        self.spec = environment.spec
        self._reset, self._step = jax.jit(environment.reset), jax.jit(environment.step)

    def reset(self, seed: int) -> TimeStep:
        self._key, key = jax.random.split(jax.random.key(seed))
        self._state, step = self._reset(key)
        return jax.device_get(step)

    def step(self, action: np.ndarray) -> TimeStep:
        self._key, key = jax.random.split(self._key)
        self._state, step = self._step(key, self._state, jnp.asarray(action))
        return jax.device_get(step)

    def render(self) -> np.ndarray | None:
        return None

    def close(self) -> None:
        """Nothing to close."""


def time_step_layout(spec: EnvSpec) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and kind of number of each field of a `TimeStep`."""
    return {
        "obs": ((spec.n_agents, spec.obs_size), "float"),
        "state": ((spec.state_size,), "float"),
        "action_mask": ((spec.n_agents, spec.action_size), "bool"),
        "reward": ((), "float"),
        "terminated": ((), "bool"),
        "truncated": ((), "bool"),
        "metrics": ((len(spec.metrics),), "float"),
    }


def shape_fault(spec: EnvSpec, function: str, step: Any) -> str | None:
    if not hasattr(step, "obs"):
        return f"{function} gives {type(step).__name__}, not a TimeStep"
    for name, (shape, kind) in time_step_layout(spec).items():
        found: Any = getattr(step, name, None)
        if not hasattr(found, "dtype"):
            return f"{function} gives {name} as {type(found).__name__}, not as an array"
        if found.shape != shape or kind not in str(found.dtype):
            return f"{function} gives {name} as {found.dtype}{list(found.shape)}, its spec says {kind}{list(shape)}"
    return None


def random_action(rng: np.random.Generator, spec: EnvSpec, action_mask: np.ndarray) -> np.ndarray:
    """A uniformly random legal action of each agent; 0 for agents without one."""
    if spec.action_kind == "discrete":
        return np.array([rng.choice(np.flatnonzero(row)) if row.any() else 0 for row in action_mask], np.int32)
    if spec.action_kind == "box":
        return np.where(action_mask, rng.uniform(-1, 1, action_mask.shape), 0).astype(np.float32)
    weight = np.where(action_mask, rng.exponential(size=action_mask.shape), 0)
    return (weight / np.maximum(weight.sum(axis=-1, keepdims=True), np.finfo(np.float32).tiny)).astype(np.float32)


def play(environment: Any, played: Played, *, seed: int, rng: np.random.Generator, most: int | None = None) -> None:
    """One random episode, of at most `most` steps, into `played`; it stops at the time limit or at a step of a wrong shape."""
    spec = environment.spec
    played.add(environment.reset(seed))
    for _ in range(spec.time_limit if most is None else min(most, spec.time_limit)):
        if shape_fault(spec, "", played.steps[-1]) or played.over:
            return
        played.actions.append(random_action(rng, spec, played.copies[-1].action_mask))
        played.add(environment.step(played.actions[-1]))
        played.rewards.append(getattr(environment, "agent_rewards", ()))


def same_field(name: str, one: TimeStep, other: TimeStep) -> bool:
    """Whether two steps are equal in a field; NaN equals NaN."""
    numbers = name not in ("action_mask", "terminated", "truncated")
    return np.array_equal(getattr(one, name), getattr(other, name), equal_nan=numbers)
