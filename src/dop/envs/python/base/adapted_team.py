"""The common base of the adapters: the agents' observations, action masks and rewards become one `TimeStep`.

An adapter returns a `Moment`, in the environment's own sizes; it is padded, truncated at the time limit, and compared with the spec.

Truncation bootstraps from the final observation, which many environments do not return. The agent's last observation and action mask, and
the last state, then stand in for it; `recalled` records where, and `dop check-env` reports it. This holds for truncated agents: those that
terminated or left earlier have zero observations and no action.
"""

from __future__ import annotations

import difflib
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import jax
import numpy as np

from dop.envs.making.listing import listed, quoted
from dop.envs.python.base import action_names, answer_checks
from dop.envs.python.base.common import Common
from dop.envs.python.base.limits import Limits
from dop.errors import ConfigError
from dop.types import EnvSpec, TimeStep

_FIELDS = tuple(field.name for field in fields(TimeStep))  # pyright: ignore[reportArgumentType]
_STEP = jax.tree.structure(TimeStep(**dict.fromkeys(_FIELDS, np.zeros(()))))  # pyright: ignore[reportArgumentType]
"""Builds a TimeStep from its fields in order, ten times as fast as the constructor: relevant where a step takes 0.1 ms."""
NOT_METRICS = ("episode_limit", "TimeLimit.truncated")
"""Entries of infos about the end of an episode, which are read elsewhere."""
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One step of an environment, agent by agent, before padding."""

    obs: Sequence[np.ndarray | None]
    """Each agent's observation; None: missing, and padded with zeros."""
    action_mask: Sequence[np.ndarray | None]
    """Each agent's legal actions if the episode continues; None: the agent is inactive (dead, left, or not yet spawned)."""
    last_action_mask: Sequence[np.ndarray | None] | None = None
    """The masks if this end counts as truncation, where they differ."""
    state: np.ndarray | None
    """The global state; None: the concatenated observations."""
    reward: float = 0.0
    """The team's."""
    terminated: bool = False
    truncated: bool = False
    certain: bool = False
    """Whether the environment itself distinguished truncation from termination."""
    metrics: Mapping[str, float]


class AdaptedTeam(ABC):
    """Base class of the adapters, which implement `_start`, `_advance` and `render` and set `spec`: a `PythonEnvironment`."""

    spec: EnvSpec
    env: Any
    """The adapted environment."""
    limits: Limits
    """The environment's time limits, without the option `time_limit`."""
    common: Common
    unreported: frozenset[str] = frozenset()
    """Numbers seen in the environment's infos that are not among the metrics: candidates for the option `metrics`."""
    appeared: frozenset[str] = frozenset()
    """The metrics seen in an info, in any episode."""
    agent_rewards: tuple[float, ...] = ()
    """Each agent's reward in the last step; one number where the environment gives only the team's."""
    recalled: frozenset[str] = frozenset()
    """Agents without an observation when truncated, for which their last one stands in; "" is the state."""
    _state_is_old: bool = False
    """Whether the last state is that of the step before."""
    _remarks: tuple[str, ...] = ()
    """Further notes on how the environment was adapted."""
    _read_state: Callable[[], Any] | None = None
    """The environment's own function for the state; None: the concatenated observations."""
    _t: int | None = None
    """Steps of the current episode; None if there is none."""
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

    def _names_of_actions(self, agents: Sequence[Any], sizes: Sequence[int]) -> tuple[tuple[str, ...], ...]:
        """`EnvSpec.action_names`, as the environment's package has them, with a remark on names that cannot be used."""
        if (why := action_names.ignored(self.env, agents, sizes)) is not None:
            self._remarks += (why,)
        return action_names.names_of(self.env, agents, sizes)

    @property
    def remarks(self) -> Iterator[str]:
        """Notes on how the environment was adapted, after it has played."""
        if agents := [agent for agent in self.spec.agents if agent in self.recalled]:
            yield f"{listed(agents)} had no final observation when truncated: their last observation stands in for it"
        if "" in self.recalled:
            yield "there was no final state when an episode was truncated: the last state stands in for it"
        for name in sorted(set(self.spec.metrics) - self.appeared):
            suggestion = "".join(f"; did you mean {near}?" for near in difflib.get_close_matches(name, self.unreported, n=1))
            yield f"the metric {name} never appeared as a number in an info, and is reported as 0{suggestion}"
        yield from self._remarks

    def reset(self, seed: int) -> TimeStep:
        """Start an episode."""
        self._t = 0
        n = self.spec.n_agents
        self._last_obs: list[np.ndarray | None] = [None] * n
        self._last_action_mask: list[np.ndarray | None] = [None] * n
        self._last_state = np.zeros(self.spec.state_size, np.float32)
        return self._time_step(self._start(seed))

    def step(self, action: np.ndarray) -> TimeStep:
        """Advance by one joint action.

        Raises:
            ConfigError: no episode is running, or the environment's answer has other sizes than its spec.
        """
        if self._t is None:
            raise ConfigError(f"{self.spec.name}: step without a running episode; call reset first.")
        self._t += 1
        return self._time_step(self._advance(action))

    def _time_step(self, moment: Moment) -> TimeStep:
        terminated, truncated, action_mask = self._end(moment)
        spec = self.spec
        obs = self._padded(self._seen(moment.obs, action_mask, terminated, truncated), spec.obs_sizes, np.float32, "sees")
        if truncated and self._state_is_old:
            self.recalled |= {""}
        if moment.state is None:
            state = np.concatenate([row[:size] for row, size in zip(obs, spec.obs_sizes, strict=True)])
        else:
            if (size := moment.state.size) != spec.state_size:
                raise ConfigError(f"{spec.name}: in step {self._t} the state has {size} numbers; it must always have {spec.state_size}.")
            state = np.array(moment.state, np.float32)
        leaves: dict[str, Any] = {
            "obs": obs,
            "state": state,
            "action_mask": self._padded(action_mask, spec.action_sizes, np.bool_, "has a mask of"),
            "reward": np.float32(moment.reward),
            "terminated": np.bool_(terminated),
            "truncated": np.bool_(truncated),
            "metrics": np.array([moment.metrics.get(name, 0.0) for name in spec.metrics], np.float32),
        }
        if terminated or truncated:
            self._t = None
        return _STEP.unflatten([leaves[name] for name in _FIELDS])

    def _end(self, moment: Moment) -> tuple[bool, bool, Sequence[np.ndarray | None]]:
        """Whether the episode terminated, whether it was truncated, and the next action masks."""
        limit = self._t in self._suspect and not moment.certain and not self.common.limit_terminates
        truncated = moment.truncated or (moment.terminated and limit)
        terminated = moment.terminated and not truncated
        cut = truncated or (not terminated and self._t == self.spec.time_limit)
        return terminated, cut, moment.last_action_mask if cut and moment.last_action_mask is not None else moment.action_mask

    @functools.cached_property
    def _suspect(self) -> frozenset[int]:
        """The steps at which termination counts as truncation unless the environment reports which it was."""
        asked = frozenset() if self.limits.own or self.common.time_limit is None else {self.common.time_limit}
        return self.limits.own | self.limits.around | asked

    def _seen(
        self, obs: Sequence[np.ndarray | None], action_mask: Sequence[np.ndarray | None], terminated: bool, truncated: bool
    ) -> list[np.ndarray | None]:
        """Each agent's observation; at truncation, the last one of active agents without a new one.

        Raises:
            ConfigError: an agent that continues has no observation.
        """
        silent = [] if terminated else [i for i, row in enumerate(obs) if row is None]
        missing = [i for i in silent if (mask := action_mask[i]) is not None and mask.any()]
        if missing and not truncated:
            names = quoted(self.spec.agents[i] for i in missing)
            raise ConfigError(f"{self.spec.name}: in step {self._t} {names} are in agents, but have no observation.")
        rows = list(obs)
        for i in missing:
            rows[i] = self._last_obs[i]
        if missing:
            self.recalled |= {self.spec.agents[i] for i in missing}
        # Copies, since environments may overwrite the arrays that they returned.
        self._last_obs = [old if new is None else new.copy() for new, old in zip(rows, self._last_obs, strict=True)]
        self._last_action_mask = [old if new is None else new.copy() for new, old in zip(action_mask, self._last_action_mask, strict=True)]
        return rows

    def _mask(self, i: int, given: Any, *, over: bool) -> np.ndarray:
        """Agent i's action mask. Without one all actions are legal, or, at the end of an episode, those of its last mask."""
        if not answer_checks.nothing(given):
            return answer_checks.mask_of(self.spec.name, self.spec.agents[i], given, self.spec.action_sizes[i])
        last = self._last_action_mask[i] if over else None
        return everything(self.spec.action_sizes[i]) if last is None else last

    def _find_state(self, owner: Any, name: str) -> int | None:
        """The size of the state that `owner.name()` gives after a reset; None if there is none, or no vector (with a remark)."""
        read = getattr(owner, name, None)
        if read is None:
            return None
        state, why = None, f"is {answer_checks.shown(read)}, not a method"
        if callable(read):
            try:
                given = read()
                state, why = _vector(given), f"gives {answer_checks.shown(given)}"
            except Exception as error:  # the environment's own code
                if _says_none(error):
                    return None
                why = f"raises {type(error).__name__}: {error}"
        if state is None:
            self._remarks += (f"its {name} {why}: the state is the concatenated observations",)
            return None
        self._read_state = functools.partial(_ask, owner, name)
        return state.size

    def _state(self, *, over: bool) -> np.ndarray | None:
        """The environment's own state, if it has one; the last one if there is no new one at the end of the episode.

        Raises:
            ConfigError: there is none during the episode.
        """
        if self._read_state is None:
            return None
        given = None
        try:
            given = self._read_state()
            state = _vector(given)
        except Exception:  # the environment's own code, which may have no state when all agents have left
            if not over:
                raise
            state = None
        self._state_is_old = over and (state is None or state.size != self.spec.state_size)
        if self._state_is_old:
            return self._last_state
        if state is None:
            raise ConfigError(f"{self.spec.name}: in step {self._t} the state is {answer_checks.shown(given)}; it must be numbers.")
        self._last_state = state
        return state

    def _numbers(self, info: Mapping[Any, Any]) -> dict[str, float]:
        """The metrics in an info. The names of other numbers in it are added to `unreported`.

        Raises:
            ConfigError: a metric that is not finite.
        """
        metrics: dict[str, float] = {}
        for name, given in info.items():
            if name in self.unreported or name in NOT_METRICS or not isinstance(name, str):
                continue
            x = answer_checks.number(given)
            if name not in self.spec.metrics:
                self.unreported |= {name} if x is not None else set()
            elif x is None:
                self._remark(f"the metric {name} is given as {answer_checks.shown(given)}: a metric is one number")
            elif not abs(x) <= _LARGEST:
                raise ConfigError(f"{self.spec.name}: in step {self._t} the metric {name} is {x}; it must be finite (in float32).")
            else:
                metrics[name] = x
        if not metrics.keys() <= self.appeared:
            self.appeared |= metrics.keys()
        return metrics

    def _remark(self, words: str) -> None:
        """Add a note, once."""
        if words not in self._remarks:
            self._remarks += (words,)

    def _padded(self, rows: Sequence[np.ndarray | None], sizes: tuple[int, ...], dtype: Any, what: str) -> np.ndarray:
        """The rows stacked and padded with zeros; all zeros for None."""
        out = np.zeros((len(sizes), max(sizes)), dtype)
        for i, row in enumerate(rows):
            if row is not None:
                self._check_size(row, sizes[i], self.spec.agents[i], what)
                out[i, : sizes[i]] = row
        return out

    def _check_size(self, x: np.ndarray, size: int, *what: str) -> None:
        if x.shape != (size,):
            raise ConfigError(f"{self.spec.name}: in step {self._t} {' '.join(what)} {x.size} numbers; its spaces say {size}.")


def answers(name: str, function: str, given: Any, *counts: int) -> tuple[Any, ...]:
    """The tuple that `function` of an environment returned, if its length is one of `counts` and its last element an info.

    Raises:
        ConfigError: it is something else, for example of an older version of the interface.
    """
    if isinstance(given, tuple) and len(given) in counts and isinstance(given[-1], Mapping):
        return given
    found = f"({', '.join(type(element).__name__ for element in given)})" if isinstance(given, tuple) else type(given).__name__
    raise ConfigError(f"{name}: {function} returned {found}; it must return {' or '.join(map(str, counts))} values, the last one a dict.")


def team_reward(rewards: Sequence[float], n_agents: int, how: str) -> float:
    """The sum of the agents' rewards, or their mean over all agents, inactive ones included; a single number is the team's reward."""
    return sum(rewards) / n_agents if how == "mean" and len(rewards) > 1 else sum(rewards)


def _says_none(error: Exception) -> bool:
    """Whether PettingZoo's default `state` raised it: its message reads `metadata`, which many environments lack."""
    return isinstance(error, NotImplementedError) or (isinstance(error, AttributeError) and error.name == "metadata")


def _ask(owner: Any, name: str) -> Any:
    return getattr(owner, name)()


def _vector(given: Any) -> np.ndarray | None:
    """A vector of numbers; None if it is not numeric, empty, or an image."""
    array = np.asarray(given)
    if given is None or array.size == 0 or array.dtype.kind not in "biuf" or is_image(array.shape, array.dtype):
        return None
    return array.astype(np.float32).ravel()


def is_image(shape: Sequence[int], dtype: Any) -> bool:
    """Whether it is a uint8 array with rows and columns."""
    return np.dtype(dtype) == np.uint8 and len(shape) >= 2


@functools.cache
def everything(size: int) -> np.ndarray:
    """The mask of an agent all of whose actions are legal."""
    mask = np.ones(size, bool)
    mask.setflags(write=False)
    return mask
