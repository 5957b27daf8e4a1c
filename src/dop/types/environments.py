"""Protocols of environments: JAX, Python, and drawable environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import PRNGKeyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
from dop.types.records import Action, EnvState, TimeStep
from dop.types.spec import EnvSpec


@runtime_checkable
class Environment(Protocol):
    """A JAX environment. `reset` and `step` are pure, work under `jit` and `vmap`, and never reset automatically."""

    @property
    def spec(self) -> EnvSpec:
        """Constant sizes, names and limits."""
        ...

    def reset(self, key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
        """Start an episode."""
        ...

    def step(self, key: PRNGKeyArray, state: EnvState, action: Action) -> tuple[EnvState, TimeStep]:
        """Advance by one joint action. `terminated` and `truncated` are never both True."""
        ...


@runtime_checkable
class PythonEnvironment(Protocol):
    """A Python environment: stateful, and stepped outside JAX.

    Its `TimeStep`s hold NumPy arrays of the same shapes and types as those of `Environment`, and must not be modified afterwards.
    """

    @property
    def spec(self) -> EnvSpec:
        """Constant sizes, names and limits."""
        ...

    def reset(self, seed: int) -> TimeStep:
        """Start an episode. For a deterministic environment, the same seed on a new object gives the same episode."""
        ...

    def step(self, action: np.ndarray) -> TimeStep:
        """Advance by one joint action, of `spec.action_shape`. Actions are always available ones; inactive agents get action 0."""
        ...

    def render(self) -> np.ndarray | None:
        """An image of the current state (height, width, 3; uint8), or None without rendering."""
        ...

    def close(self) -> None:
        """Release resources: windows, processes, files. Closing twice is allowed."""
        ...


@runtime_checkable
class Drawable(Protocol):
    """Optional for an `Environment`: drawing, for `dop render`."""

    def draw(self, axes: Axes, state: EnvState, action: np.ndarray | None, colours: Sequence[str]) -> None:
        """Draw one state and the joint action into empty axes.

        Args:
            axes: Matplotlib axes; use the same limits for the whole episode.
            state: environment state, of NumPy arrays.
            action: joint action; None in the last state.
            colours: one for each agent.
        """
        ...
