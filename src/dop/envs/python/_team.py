"""What the adapters have in common: what the agents of a team see, may do and earn, one by one, is made into one `TimeStep`.

An adapter answers with a `Moment`, in the environment's own sizes; here it is padded, cut at the time limit, and compared with the spec.

A time limit is not the end of the task. Many environments call it that: they terminate when it is reached, without a word about
truncation (lbforaging, rware, multiwalker; StarCraft II by default). So an episode that terminates exactly at a limit of the environment,
or of a wrapper around it, is taken to be truncated, unless the environment says which it was (`Moment.certain`). The option `time_limit`
counts in the same way where the environment itself names no limit. A task that is really finished in the very last step
then counts as cut. Where the limit is a part of the task, as in a game of one step, the option `limit_terminates` says so.

At a cut what follows counts, and many environments say nothing of it any more. What an agent sees there is then what it saw last, its mask
the one that it had last, and the state the last one; `recalled` says where that was so, and `dop check-env` tells it. This is of the agents
that were cut: those that terminated or left earlier see zeros and have no action.
"""

from __future__ import annotations

import difflib
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import jax
import numpy as np

from dop.envs.making.listing import listed, quoted
from dop.envs.making.options import boolean, one_of, positive_integer
from dop.envs.python import _answers, _rewards
from dop.errors import ConfigError
from dop.types import EnvSpec, TimeStep

REWARDS = ("sum", "mean")
_FIELDS = tuple(field.name for field in fields(TimeStep))  # pyright: ignore[reportArgumentType]
_STEP = jax.tree.structure(TimeStep(**dict.fromkeys(_FIELDS, np.zeros(()))))  # pyright: ignore[reportArgumentType]
"""What makes a TimeStep of its fields in their order, ten times as fast as its constructor: that counts where a step takes 0.1 ms."""
OTHERS = ("random", "noop")
LIMITS = ("max_cycles", "max_steps", "max_episode_steps", "_max_episode_steps", "episode_limit")
"""What environments call their time limits."""
_MOST_LAYERS = 32
NOT_METRICS = ("episode_limit", "TimeLimit.truncated")
"""What infos say of the end of an episode, which is told apart anyway."""
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class Common:
    """The options that all adapters have. Every other one goes to the environment's own maker."""

    reward: str = "sum"
    """How the agents' rewards make the team's: their `sum`, or their `mean` over all agents, also those that are not there."""
    reward_weights: tuple[float, ...] | None = None
    """What each objective counts where a reward is a vector of several. None: rewards must be numbers."""
    time_limit: int | None = None
    """Cut episodes after so many steps. None: as long as the environment says."""
    limit_terminates: bool = False
    """Whether reaching the environment's own time limit is an end of the task where it does not say."""
    metrics: tuple[str, ...] | None = None
    """Numbers in the environment's infos to report. None: what the adapter knows of."""
    team: tuple[str, ...] | None = None
    """Names, or patterns of them such as `agent_*`, of the agents that are the team. None: all."""
    others: str | None = None
    """What the agents do that are not of the team: `random` (also if it is None) or `noop`."""

    def __post_init__(self) -> None:
        """Raise ConfigError for what cannot be. Lists, as they come from files and the command line, become tuples."""
        one_of("reward", self.reward, REWARDS)
        boolean("limit_terminates", self.limit_terminates)
        if self.time_limit is not None:
            positive_integer("time_limit", self.time_limit)
        if self.reward_weights is not None:
            object.__setattr__(self, "reward_weights", _rewards.weights(self.reward_weights))
        object.__setattr__(self, "metrics", _names("metrics", self.metrics, '["battle_won"]'))
        team = (self.team,) if isinstance(self.team, str) else self.team
        object.__setattr__(self, "team", _names("team", team, '"agent_*" or ["agent_0", "agent_1"]'))
        if team is not None and not team:
            raise ConfigError("team names nobody; leave it out where all agents are one team.")
        if self.others is not None:
            one_of("others", self.others, OTHERS)
            if self.team is None:
                raise ConfigError(f"others is {self.others!r}, but all agents are the team; name it, for example team=agent_*.")

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
    action_mask: Sequence[np.ndarray | None]
    """The actions that each may take if the episode goes on; None: it has none, since it is dead, gone, or yet to come."""
    last_action_mask: Sequence[np.ndarray | None] | None = None
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


class AdaptedTeam(ABC):
    """A `PythonEnvironment` that an adapter completes: `_start` and `_advance`, and `spec`."""

    spec: EnvSpec
    env: Any
    """The environment that is adapted."""
    limits: Limits
    """The time limits that the environment has without the option `time_limit`."""
    common: Common
    unreported: frozenset[str] = frozenset()
    """Numbers that the environment's infos have had, and that are not among the metrics: what the option `metrics` might name."""
    appeared: frozenset[str] = frozenset()
    """The metrics that an info has had, in whatever episode."""
    agent_rewards: tuple[float, ...] = ()
    """What each agent earned in the last step; one number where the environment gives only the team's."""
    recalled: frozenset[str] = frozenset()
    """Agents of whom nothing was said when they were cut, so that what they had seen last stands there; "" is the state."""
    _state_is_old: bool = False
    """Whether the last state is that of the step before."""
    _remarks: tuple[str, ...] = ()
    """What else one may want to know about how the environment is taken."""
    _read_state: Callable[[], Any] | None = None
    """The environment's own function for the state; None: the observations joined."""
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

    @property
    def remarks(self) -> Iterator[str]:
        """What one may want to know about how the environment is taken, once it has played."""
        if agents := [agent for agent in self.spec.agents if agent in self.recalled]:
            yield f"{listed(agents)} got no observation when cut at the end of an episode: what was seen last counts as what follows"
        if "" in self.recalled:
            yield "no state came when an episode was cut: the one before counts as what follows"
        for name in sorted(set(self.spec.metrics) - self.appeared):
            meant = "".join(f"; is {near} meant?" for near in difflib.get_close_matches(name, self.unreported, n=1))
            yield f"the metric {name} never appeared as a number in an info, and is reported as 0{meant}"
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
            ConfigError: there is no episode to go on with, or the environment answers with other sizes than it promised.
        """
        if self._t is None:
            raise ConfigError(f"{self.spec.name}: step without an episode that goes on; reset first.")
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
        """Whether the episode terminated or was cut, and what might be done next."""
        limit = self._t in self._suspect and not moment.certain and not self.common.limit_terminates
        truncated = moment.truncated or (moment.terminated and limit)
        terminated = moment.terminated and not truncated
        cut = truncated or (not terminated and self._t == self.spec.time_limit)
        return terminated, cut, moment.last_action_mask if cut and moment.last_action_mask is not None else moment.action_mask

    @functools.cached_property
    def _suspect(self) -> frozenset[int]:
        """The steps at which an end without a word about truncation is taken for a cut."""
        asked = frozenset() if self.limits.own or self.common.time_limit is None else {self.common.time_limit}
        return self.limits.own | self.limits.around | asked

    def _seen(
        self, obs: Sequence[np.ndarray | None], action_mask: Sequence[np.ndarray | None], terminated: bool, truncated: bool
    ) -> list[np.ndarray | None]:
        """What each agent sees; at a cut, of those that could have gone on and of whom nothing was said, what they saw last.

        Raises:
            ConfigError: nothing was said of somebody who is to go on.
        """
        silent = [] if terminated else [i for i, row in enumerate(obs) if row is None]
        missing = [i for i in silent if (mask := action_mask[i]) is not None and mask.any()]
        if missing and not truncated:
            names = quoted(self.spec.agents[i] for i in missing)
            raise ConfigError(f"{self.spec.name}: in step {self._t} {names} are in agents, but were given no observation.")
        rows = list(obs)
        for i in missing:
            rows[i] = self._last_obs[i]
        if missing:
            self.recalled |= {self.spec.agents[i] for i in missing}
        # Copies, since environments write into the arrays that they gave.
        self._last_obs = [old if new is None else new.copy() for new, old in zip(rows, self._last_obs, strict=True)]
        self._last_action_mask = [old if new is None else new.copy() for new, old in zip(action_mask, self._last_action_mask, strict=True)]
        return rows

    def _mask(self, i: int, given: Any, *, over: bool) -> np.ndarray:
        """What agent i may do, by the mask that was given; without one everything, or, when the episode is over, what it last might."""
        if not _answers.nothing(given):
            return _answers.mask_of(self.spec.name, self.spec.agents[i], given, self.spec.action_sizes[i])
        last = self._last_action_mask[i] if over else None
        return everything(self.spec.action_sizes[i]) if last is None else last

    def _find_state(self, owner: Any, name: str) -> int | None:
        """The size of what `owner.name()` gives after a reset; None if there is no such function, or no vector, as a remark says."""
        read = getattr(owner, name, None)
        if read is None:
            return None
        state, why = None, f"is {_answers.shown(read)}, not a method"
        if callable(read):
            try:
                given = read()
                state, why = _vector(given), f"gives {_answers.shown(given)}"
            except Exception as error:  # the environment's own code
                if _says_none(error):
                    return None
                why = f"raises {type(error).__name__}: {error}"
        if state is None:
            self._remarks += (f"its {name} {why}: the state is the observations joined",)
            return None
        self._read_state = functools.partial(_ask, owner, name)
        return state.size

    def _state(self, *, over: bool) -> np.ndarray | None:
        """The environment's own state, if it has one; when the episode is over and it can say no more, the one before.

        Raises:
            ConfigError: there is none while the episode goes on.
        """
        if self._read_state is None:
            return None
        given = None
        try:
            given = self._read_state()
            state = _vector(given)
        except Exception:  # the environment's own code, which may know no state when everybody has left
            if not over:
                raise
            state = None
        self._state_is_old = over and (state is None or state.size != self.spec.state_size)
        if self._state_is_old:
            return self._last_state
        if state is None:
            raise ConfigError(f"{self.spec.name}: in step {self._t} the state is {_answers.shown(given)}; it must be numbers.")
        self._last_state = state
        return state

    def _numbers(self, info: Mapping[Any, Any]) -> dict[str, float]:
        """The metrics that an info has. Other numbers in it are remembered by name.

        Raises:
            ConfigError: a metric that is not finite.
        """
        mine: dict[str, float] = {}
        for name, given in info.items():
            if name in self.unreported or name in NOT_METRICS or not isinstance(name, str):
                continue
            x = _answers.number(given)
            if name not in self.spec.metrics:
                self.unreported |= {name} if x is not None else set()
            elif x is None:
                self._remark(f"the metric {name} is given as {_answers.shown(given)}: a metric is one number")
            elif not abs(x) <= _LARGEST:
                raise ConfigError(f"{self.spec.name}: in step {self._t} the metric {name} is {x}; it must be finite (in float32).")
            else:
                mine[name] = x
        if not mine.keys() <= self.appeared:
            self.appeared |= mine.keys()
        return mine

    def _remark(self, words: str) -> None:
        """Remember something to tell, once."""
        if words not in self._remarks:
            self._remarks += (words,)

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


@dataclass(frozen=True)
class Limits:
    """Time limits that were found by name, in steps."""

    own: frozenset[int]
    """Of the environment under its wrappers."""
    around: frozenset[int]
    """Of the wrappers."""

    @classmethod
    def of(cls, env: Any, **more: Any) -> Limits:
        """Those of an environment and of what it wraps; `more` are limits that it tells otherwise, by name."""
        *wrappers, raw = layers(env)
        told = _whole([*more.values(), *(_quiet(layer, "spec.max_episode_steps") for layer in (*wrappers, raw))])
        # A wrapper may answer for what it wraps: what is its own stands in itself.
        around = _whole([vars(wrapper).get(name) for wrapper in wrappers if hasattr(wrapper, "__dict__") for name in LIMITS])
        own = _whole([_quiet(raw, name) for name in LIMITS])
        return cls(own=own, around=around | told) if wrappers else cls(own=own | told, around=around)

    def shortest(self, name: str, asked: int | None, looked: str) -> int:
        """The shortest of these and the limit that was asked for.

        Raises:
            ConfigError: none is known. `looked` says where the environment's was looked for.
        """
        known = self.own | self.around | ({asked} if asked is not None else frozenset())
        if not known:
            raise ConfigError(f"{name} does not say how long an episode may last ({looked}): give it, as the option time_limit=STEPS.")
        return min(known)


def layers(env: Any) -> list[Any]:
    """An environment and what it wraps, the outermost first."""
    found = [env]
    while len(found) < _MOST_LAYERS:
        inside = (_quiet(found[-1], name) for name in ("env", "_env", "aec_env", "unwrapped"))
        inner = next((x for x in inside if hasattr(x, "step") and not any(x is layer for layer in found)), None)
        if inner is None:
            break
        found.append(inner)
    return found


def _quiet(thing: Any, path: str) -> Any:
    """The attribute of an attribute; None if there is none."""
    try:
        return functools.reduce(getattr, path.split("."), thing)
    except Exception:  # a property of somebody else's may raise anything
        return None


def _whole(values: Sequence[Any]) -> frozenset[int]:
    """The positive whole numbers among these."""
    return frozenset(int(v) for v in values if isinstance(v, int | np.integer) and not isinstance(v, bool) and v > 0)


def answers(name: str, function: str, given: Any, *counts: int) -> tuple[Any, ...]:
    """What `function` of an environment gave: one of these numbers of answers, the last of them an info.

    Raises:
        ConfigError: it is something else, for example what an older version of the interface has.
    """
    if isinstance(given, tuple) and len(given) in counts and isinstance(given[-1], Mapping):
        return given
    found = f"({', '.join(type(one).__name__ for one in given)})" if isinstance(given, tuple) else type(given).__name__
    raise ConfigError(f"{name}: {function} gave {found}; it must give {' or '.join(map(str, counts))} answers, the last of them a dict.")


def team_reward(rewards: Sequence[float], n_agents: int, how: str) -> float:
    """The sum of the agents' rewards, or that divided by the number of agents, gone ones included; a single number is the team's."""
    return sum(rewards) / n_agents if how == "mean" and len(rewards) > 1 else sum(rewards)


def _names(option: str, given: Any, example: str) -> tuple[str, ...] | None:
    """A list of names, as a tuple.

    Raises:
        ConfigError: it is something else.
    """
    if given is not None and (not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given)):
        raise ConfigError(f"{option} is {given!r}; it must be a list of names, for example {example}.")
    return None if given is None else tuple(given)


def _says_none(error: Exception) -> bool:
    """Whether it is how PettingZoo's own `state` says that there is none; for the words it asks for metadata, which many have not."""
    return isinstance(error, NotImplementedError) or (isinstance(error, AttributeError) and error.name == "metadata")


def _ask(owner: Any, name: str) -> Any:
    return getattr(owner, name)()


def _vector(given: Any) -> np.ndarray | None:
    """Numbers as a vector; None if they are none, or an image."""
    array = np.asarray(given)
    if given is None or array.size == 0 or array.dtype.kind not in "biuf" or is_image(array.shape, array.dtype):
        return None
    return array.astype(np.float32).ravel()


def is_image(shape: Sequence[int], dtype: Any) -> bool:
    """Bytes in rows and columns."""
    return np.dtype(dtype) == np.uint8 and len(shape) >= 2


@functools.cache
def everything(size: int) -> np.ndarray:
    """The mask of an agent that may do all of its actions."""
    mask = np.ones(size, bool)
    mask.setflags(write=False)
    return mask
