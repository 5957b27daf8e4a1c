"""Team tasks of Jumanji, which are written in JAX (Bonnet et al. 2024). Needs `pip install 'dop-marl[jumanji]'`.

    LevelBasedForaging-v0   agents eat food that only some of them together can lift; each sees a list of agents and food items
    RobotWarehouse-v0       robots bring shelves to goals and do not collide; each sees the cells around it
    SearchAndRescue-v0      searchers in a plane find targets; each sees distances in its cone of vision, and acts in a box
    Cleaner-v0              cleaners visit all tiles of a maze; each sees the maze, where it is and where the others are
    Connector-v3            agents lay wires to their targets; each sees the grid: its own wire, head and target, then the others'

Grids are encoded one-hot, as one plane per kind of cell. State: the observations concatenated. Action masks, rewards and extras are
Jumanji's; rewards of several agents are summed, or averaged with `reward="mean"`; scalar extras are the metrics.

An episode terminates where Jumanji's discount is 0 and is truncated after `time_limit` steps. RobotWarehouse, SearchAndRescue and Cleaner
report the limit as termination; here it is truncation, even if the task ends in that same step.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from dop.envs.making.options import one_of, positive_integer
from dop.errors import MissingExtraError, UnknownNameError
from dop.types import Action, EnvSpec, TimeStep

FAMILY = "jumanji"
Seen = Float[Array, "agent obs"]


def _views(seen: Any, n: int) -> Seen:
    return seen.agents_view.reshape(n, -1).astype(jnp.float32)


def _searchers(seen: Any, n: int) -> Seen:
    return jnp.concatenate([seen.searcher_views.reshape(n, -1), seen.positions, jnp.full((n, 1), seen.targets_remaining)], axis=1)


def _maze(seen: Any, n: int) -> Seen:
    cells = jax.nn.one_hot(seen.grid, 3).ravel()
    places = jnp.zeros((n, *seen.grid.shape)).at[jnp.arange(n), *seen.agents_locations.T].set(1)
    others = jnp.minimum(jnp.sum(places, axis=0) - places, 1)
    return jnp.concatenate([jnp.tile(cells, (n, 1)), places.reshape(n, -1), others.reshape(n, -1)], axis=1)


def _wires(seen: Any, n: int) -> Seen:
    """A cell is 0, or 1, 2, 3 for wire, head, target of agent 0, 4, 5, 6 for those of agent 1, ..."""
    kind = jnp.where(seen.grid[..., None] > 0, jax.nn.one_hot((seen.grid - 1) % 3, 3), 0)
    own = ((seen.grid - 1) // 3 == jnp.arange(n)[:, None, None])[..., None]
    return jnp.concatenate([(kind * own).reshape(n, -1), (kind * ~own).reshape(n, -1)], axis=1)


_TASKS: dict[str, tuple[Callable[[Any, int], Seen], bool]] = {
    "LevelBasedForaging-v0": (_views, True),
    "RobotWarehouse-v0": (_views, False),
    "SearchAndRescue-v0": (_searchers, False),
    "Cleaner-v0": (_maze, False),
    "Connector-v3": (_wires, True),
}
"""The encoder of the agents' observations, and whether the task distinguishes truncation from termination."""


_ACTION_NAMES = {
    "RobotWarehouse-v0": ("no-op", "forward", "turn left", "turn right", "toggle load"),
    "Cleaner-v0": ("up", "right", "down", "left"),
    "Connector-v3": ("no-op", "up", "right", "down", "left"),
}
"""What Jumanji calls the actions. Those of SearchAndRescue have no names; those of foraging are in another order in later versions."""


def _action_names(variant: str) -> tuple[str, ...]:
    """Of one agent; empty if they have none."""
    if variant != "LevelBasedForaging-v0":
        return _ACTION_NAMES.get(variant, ())
    numbers = importlib.import_module("jumanji.environments.routing.lbf.constants")
    return tuple(sorted(("no-op", "up", "down", "left", "right", "load"), key=lambda name: getattr(numbers, name.replace("-", "").upper())))


def variants() -> tuple[str, ...]:
    return tuple(_TASKS)


def make(variant: str | None, *, time_limit: int | None = None, reward: str = "sum") -> Jumanji:
    """The task `variant`, truncated after `time_limit` steps (default: Jumanji's own).

    Raises:
        UnknownNameError: no such task.
        ConfigError: a time limit below 1, or another `reward` than `sum` and `mean`.
        MissingExtraError: Jumanji is not installed.
    """
    if variant not in _TASKS:
        raise UnknownNameError("Jumanji task for a team", variant or "", _TASKS)
    one_of("reward", reward, ("sum", "mean"))
    if importlib.util.find_spec(FAMILY) is None:
        raise MissingExtraError(FAMILY, FAMILY, f"{FAMILY}:{variant}")
    jumanji: Any = importlib.import_module(FAMILY)

    game: Any = jumanji.make(variant, **({} if time_limit is None else {"time_limit": positive_integer("time_limit", time_limit)}))
    _, first = jax.eval_shape(game.reset, jax.eval_shape(lambda: jax.random.key(0)))
    read, certain = _TASKS[variant]
    n, box = game.num_agents, not hasattr(game.action_spec, "num_values")
    obs_size = jax.eval_shape(lambda seen: read(seen, n), first.observation).shape[1]
    spec = EnvSpec(
        name=f"{FAMILY}:{variant}",
        version=f"1-jumanji-{importlib.metadata.version(FAMILY)}",
        agents=tuple(f"agent_{i}" for i in range(n)),
        obs_sizes=(obs_size,) * n,
        action_sizes=(game.action_spec.shape[1],) * n if box else tuple(np.asarray(game.action_spec.num_values).tolist()),
        action_kind="box" if box else "discrete",
        state_size=n * obs_size,
        time_limit=int(game.time_limit),
        action_names=(_action_names(variant),) * n if _action_names(variant) else (),
        metrics=tuple(sorted(name for name, extra in (first.extras or {}).items() if extra.shape == ())),
        options=(("time_limit", int(game.time_limit)), ("reward", reward)),
    )
    return Jumanji(spec=spec, game=game, read=read, certain=certain, averaged=reward == "mean")


@dataclass(frozen=True, kw_only=True, eq=False)
class Jumanji:
    """An `Environment` around one of Jumanji's; its state is Jumanji's with the number of steps."""

    spec: EnvSpec
    game: Any
    read: Callable[[Any, int], Seen]
    certain: bool
    """Whether the task distinguishes truncation from termination."""
    averaged: bool

    def reset(self, key: PRNGKeyArray) -> tuple[PyTree, TimeStep]:
        state, answer = self.game.reset(key)
        t = jnp.zeros((), jnp.int32)
        return (state, t), self._time_step(answer, t, jnp.zeros(()))

    def step(self, key: PRNGKeyArray, state: PyTree, action: Action) -> tuple[PyTree, TimeStep]:
        del key  # Jumanji's state has its own
        inner, t = state
        inner, answer = self.game.step(inner, action)
        rewards = jnp.atleast_1d(answer.reward)
        reward = jnp.sum(rewards) / (len(rewards) if self.averaged else 1)
        return (inner, t + 1), self._time_step(answer, t + 1, reward)

    def _time_step(self, answer: Any, t: Array, reward: Array) -> TimeStep:
        obs = self.read(answer.observation, self.spec.n_agents)
        cut = jnp.any(answer.discount > 0) | (~jnp.asarray(self.certain) & (t >= self.spec.time_limit))
        action_mask = getattr(answer.observation, "action_mask", jnp.ones((self.spec.n_agents, self.spec.action_size), bool))
        return TimeStep(
            obs=obs,
            state=obs.ravel(),
            action_mask=action_mask,
            reward=reward.astype(jnp.float32),
            terminated=answer.last() & ~cut,
            truncated=answer.last() & cut,
            metrics=jnp.array([answer.extras[name] for name in self.spec.metrics], jnp.float32),
        )
