"""What the adapters have in common: what the agents of a team see, may do and earn, one by one, is made into one `TimeStep`.

An adapter answers with a `Moment`, in the environment's own sizes; here it is padded, cut at the time limit, and compared with the spec.

A time limit is not the end of the task. Many environments call it that: they terminate when it is reached, without a word about
truncation (lbforaging, rware, multiwalker; StarCraft II by default). So an episode that terminates exactly at the environment's own limit
is taken to be truncated, unless the environment says which it was (`Moment.certain`). A task that is really finished in the very last step
then counts as cut. Where the limit is a part of the task, as in a game of one step, the option `limit_terminates` says so.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import jax
import numpy as np

from dop.envs._options import boolean, one_of, positive_integer
from dop.errors import ConfigError
from dop.types import EnvSpec, TimeStep

REWARDS = ("sum", "mean")
_FIELDS = tuple(field.name for field in fields(TimeStep))  # pyright: ignore[reportArgumentType]
_STEP = jax.tree.structure(TimeStep(**dict.fromkeys(_FIELDS, np.zeros(()))))  # pyright: ignore[reportArgumentType]
"""What makes a TimeStep of its fields in their order, ten times as fast as its constructor: that counts where a step takes 0.1 ms."""
NUMBERS = (bool, int, float, np.bool_, np.integer, np.floating)
NOT_METRICS = ("episode_limit", "TimeLimit.truncated")
"""What infos say of the end of an episode, which is told apart anyway."""


@dataclass(frozen=True, kw_only=True)
class Common:
    """The options that all adapters have. Every other one goes to the environment's own maker."""

    reward: str = "sum"
    """How the agents' rewards make the team's: their `sum`, or their `mean` over all agents, also those that are not there."""
    time_limit: int | None = None
    """Cut episodes after so many steps. None: as long as the environment says."""
    limit_terminates: bool = False
    """Whether reaching the environment's own time limit is an end of the task where it does not say."""
    metrics: tuple[str, ...] | None = None
    """Numbers in the environment's infos to report. None: what the adapter knows of."""

    def __post_init__(self) -> None:
        """Raise ConfigError for what cannot be. Lists, as they come from files and the command line, become tuples."""
        one_of("reward", self.reward, REWARDS)
        boolean("limit_terminates", self.limit_terminates)
        if self.time_limit is not None:
            positive_integer("time_limit", self.time_limit)
        if self.metrics is None:
            return
        if isinstance(self.metrics, str) or not isinstance(self.metrics, Sequence) or not all(isinstance(n, str) for n in self.metrics):
            raise ConfigError(f'metrics is {self.metrics!r}; it must be a list of names, for example ["battle_won"].')
        object.__setattr__(self, "metrics", tuple(self.metrics))

    @classmethod
    def split(cls, options: Mapping[str, Any]) -> tuple[Common, dict[str, Any]]:
        """These options, and the others."""
        own = {field.name for field in fields(cls)}
        return cls(**{k: v for k, v in options.items() if k in own}), {k: v for k, v in options.items() if k not in own}

    def with_others(self, options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
        """All options, as an `EnvSpec` keeps them; those that are None were not given."""
        return tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in {**asdict(self), **options}.items() if v is not None)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One step of an environment, agent by agent, before anything is padded."""

    obs: Sequence[np.ndarray | None]
    """What each agent sees; None: nothing was said of it, and it sees zeros."""
    legal: Sequence[np.ndarray | None]
    """The actions that each may take if the episode goes on; None: it has none, since it is dead, gone, or yet to come."""
    last_legal: Sequence[np.ndarray | None] | None = None
    """The same for the case that this was not an end but a time limit, where it differs."""
    state: np.ndarray | None
    """The global state; None: the observations, one after the other."""
    reward: float = 0.0
    """The team's."""
    terminated: bool = False
    truncated: bool = False
    certain: bool = False
    """Whether the environment itself told time limits from ends."""
    metrics: Mapping[str, float]


class HostTeam(ABC):
    """A `HostEnvironment` that an adapter completes: `_start` and `_advance`, and `spec`."""

    spec: EnvSpec
    env: Any
    """The environment that is adapted."""
    own_limit: int | None
    """The time limit that the environment has by itself."""
    common: Common
    unreported: frozenset[str] = frozenset()
    """Numbers that the environment's infos have had, and that are not among the metrics: what the option `metrics` might name."""
    _t: int | None = None
    """Steps taken in this episode; None while there is none."""
    _closed: bool = False

    @abstractmethod
    def _start(self, seed: int) -> Moment: ...

    @abstractmethod
    def _advance(self, action: np.ndarray) -> Moment: ...

    @abstractmethod
    def render(self) -> np.ndarray | None: ...

    def close(self) -> None:
        """Close the environment, once."""
        if not self._closed:
            self._closed = True
            self.env.close()

    def reset(self, seed: int) -> TimeStep:
        """Start an episode."""
        self._t = 0
        return self._time_step(self._start(seed))

    def step(self, action: np.ndarray) -> TimeStep:
        """Advance by one joint action.

        Raises:
            ConfigError: there is no episode to go on with, or the environment answers with other sizes than it promised.
        """
        if self._t is None:
            raise ConfigError(f"{self.spec.name}: step without an episode that goes on; reset first.")
        self._t += 1
        return self._time_step(self._advance(action))

    def _time_step(self, moment: Moment) -> TimeStep:
        terminated, truncated, legal = self._end(moment)
        spec = self.spec
        obs = self._padded(moment.obs, spec.obs_sizes, np.float32, "sees")
        if moment.state is None:
            state = np.concatenate([row[:size] for row, size in zip(obs, spec.obs_sizes, strict=True)])
        else:
            self._check_size(moment.state, spec.state_size, "the state has")
            state = np.array(moment.state, np.float32)
        leaves: dict[str, Any] = {
            "obs": obs,
            "state": state,
            "legal": self._padded(legal, spec.action_sizes, np.bool_, "has a mask of"),
            "reward": np.float32(moment.reward),
            "terminated": np.bool_(terminated),
            "truncated": np.bool_(truncated),
            "metrics": np.array([moment.metrics.get(name, 0.0) for name in spec.metrics], np.float32),
        }
        if terminated or truncated:
            self._t = None
        return _STEP.unflatten([leaves[name] for name in _FIELDS])

    def _end(self, moment: Moment) -> tuple[bool, bool, Sequence[np.ndarray | None]]:
        """Whether the episode terminated or was cut, and what might be done next."""
        limit = self._t == self.own_limit and not moment.certain and not self.common.limit_terminates
        truncated = moment.truncated or (moment.terminated and limit)
        terminated = moment.terminated and not truncated
        cut = truncated or (not terminated and self._t == self.spec.time_limit)
        return terminated, cut, moment.last_legal if truncated and moment.last_legal is not None else moment.legal

    def _numbers(self, info: Mapping[str, Any]) -> dict[str, float]:
        """The metrics that an info has. Other numbers in it are remembered by name."""
        numbers = {name: float(x) for name, x in info.items() if isinstance(x, NUMBERS) and name not in NOT_METRICS}
        if not numbers.keys() <= self.unreported | set(self.spec.metrics):
            self.unreported |= numbers.keys() - set(self.spec.metrics)
        return {name: x for name, x in numbers.items() if name in self.spec.metrics}

    def _padded(self, rows: Sequence[np.ndarray | None], sizes: tuple[int, ...], dtype: Any, what: str) -> np.ndarray:
        """The rows on top of each other, each with zeros after it; for None, zeros alone."""
        out = np.zeros((len(sizes), max(sizes)), dtype)
        for i, row in enumerate(rows):
            if row is not None:
                self._check_size(row, sizes[i], self.spec.agents[i], what)
                out[i, : sizes[i]] = row
        return out

    def _check_size(self, x: np.ndarray, size: int, *what: str) -> None:
        if x.shape != (size,):
            raise ConfigError(f"{self.spec.name}: in step {self._t} {' '.join(what)} {x.size} numbers; its spaces say {size}.")


def time_limit(name: str, asked: int | None, own: int | None, looked: str) -> int:
    """The shorter of the limit that was asked for and the environment's own.

    Raises:
        ConfigError: neither is known. `looked` says where the environment's was looked for.
    """
    known = [limit for limit in (asked, own) if limit is not None]
    if not known:
        raise ConfigError(f"{name} does not say how long an episode may last ({looked}): give it, as the option time_limit=STEPS.")
    return min(known)


def own_limit(things: Sequence[Any], *names: str) -> int | None:
    """The first positive whole number that one of these objects has under one of these names."""
    values = (getattr(thing, name, None) for thing in things for name in names)
    return next((int(v) for v in values if isinstance(v, int | np.integer) and not isinstance(v, bool) and v > 0), None)


def answers(name: str, function: str, given: Any, *counts: int) -> tuple[Any, ...]:
    """What `function` of an environment gave: one of these numbers of answers, the last of them an info.

    Raises:
        ConfigError: it is something else, for example what an older version of the interface has.
    """
    if isinstance(given, tuple) and len(given) in counts and isinstance(given[-1], Mapping):
        return given
    found = f"({', '.join(type(one).__name__ for one in given)})" if isinstance(given, tuple) else type(given).__name__
    raise ConfigError(f"{name}: {function} gave {found}; it must give {' or '.join(map(str, counts))} answers, the last of them a dict.")


def team_reward(rewards: Any, n_agents: int, how: str) -> float:
    """The sum of the agents' rewards, or that divided by the number of agents, gone ones included; a single number is the team's."""
    total = float(np.sum(rewards))
    return total / n_agents if how == "mean" and np.ndim(rewards) else total


@functools.cache
def everything(size: int) -> np.ndarray:
    """The mask of an agent that may do all of its actions."""
    mask = np.ones(size, bool)
    mask.setflags(write=False)
    return mask
