"""Protocols of environments: in JAX, in Python, and those that draw themselves."""

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
    """A team task in JAX. Both functions are pure, can be jitted and vmapped, and never reset by themselves."""

    @property
    def spec(self) -> EnvSpec:
        """Sizes, names and limits, which never change."""
        ...

    def reset(self, key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
        """Start an episode."""
        ...

    def step(self, key: PRNGKeyArray, state: EnvState, action: Action) -> tuple[EnvState, TimeStep]:
        """Advance by one joint action. `terminated` and `truncated` are never both True."""
        ...


@runtime_checkable
class PythonEnvironment(Protocol):
    """A team task that is not written in JAX: one environment with a state of its own, in Python, stepped on the host.

    Its `TimeStep`s hold NumPy arrays of the same shapes and types as those of `Environment`; what it returns is never changed afterwards.
    """

    @property
    def spec(self) -> EnvSpec:
        """Sizes, names and limits, which never change."""
        ...

    def reset(self, seed: int) -> TimeStep:
        """Start an episode. The same seed, on a new environment, starts the same episode where the environment is deterministic."""
        ...

    def step(self, action: np.ndarray) -> TimeStep:
        """Advance by one joint action, of `spec.action_shape`. Only legal actions come; agents without any get action 0."""
        ...

    def render(self) -> np.ndarray | None:
        """A picture of now (height, width, 3; uint8), or None where the environment cannot draw itself."""
        ...

    def close(self) -> None:
        """Let go of what it holds: windows, processes, files. Closing twice is allowed."""
        ...


@runtime_checkable
class Drawable(Protocol):
    """What an environment may offer beside `Environment`: it draws itself. `dop render` asks for it."""

    def draw(self, axes: Axes, state: EnvState, action: np.ndarray | None, colours: Sequence[str]) -> None:
        """Draw one state, and what the team does in it, into empty axes.

        Args:
            axes: their limits are to be the same in all of an episode.
            state: of NumPy arrays.
            action: None in the last state, in which nothing is done.
            colours: one for each agent.
        """
        ...
