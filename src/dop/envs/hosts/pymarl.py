"""Anything with the interface of PyMARL's `MultiAgentEnv` (Samvelyan et al. 2019), by the function that makes it: `pymarl:my_pkg:make`.

The way to StarCraft II itself: `pymarl:smac.env:StarCraft2Env` with the option `map_name=3m`, or SMACv2's wrapper;
docs/own-environment.md has the steps. What is asked of the environment: `get_env_info`, `get_obs`, `get_state`, `get_avail_actions`,
`reset`, `step`, `close`. Options other than those of `_team.Common` go to the function.

Agents      agent_0, agent_1, ..., all of the same sizes. Dead ones may do what the environment says, in SMAC nothing but action 0.
Step        Three answers, (reward, terminated, info), or five, (obs, reward, terminated, truncated, info), as later versions have it.
End         `info["episode_limit"]` is a time limit: truncated; and so is `truncated` of the five without `terminated`. Where neither is
            said, an episode that terminates exactly at its `episode_limit` is truncated too (`_team`): SMAC calls that an end by default.
Reward      A number is the team's; a list is summed (`reward="sum"`) or averaged (`"mean"`).
Metrics     `metrics` names numbers in the info: as they last were; 0 before there is one. By default `battle_won`, where the environment
            counts `battles_won`, as SMAC and SMACv2 do.
Seeds       `reset(seed=...)` if it takes one; else, in a new environment, the function's own `seed`, unless that is among the options.
            Otherwise there is no way to tell it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dop.envs import _makers
from dop.envs.hosts import _answers, _team
from dop.envs.hosts._team import Common, HostTeam, Moment
from dop.errors import ConfigError
from dop.types import EnvSpec

FAMILY = "pymarl"
ADAPTS = "MODULE:FUNCTION"
ASKED = ("get_env_info", "get_obs", "get_state", "get_avail_actions", "reset", "step", "close")


def make(variant: str | None, **options: Any) -> PyMARL:
    """The environment that the function `variant`, written `module:function`, makes of `options`.

    Raises:
        ConfigError: no such function, or an environment that cannot be used; the message says why.
    """
    name = f"{FAMILY}:{variant or ''}"
    module, _, function = (variant or "").partition(":")
    if not function:
        raise ConfigError(f"{name} names no function; it is written pymarl:module:function, for example pymarl:smac.env:StarCraft2Env.")
    common, options = Common.split(options)
    maker = _makers.load(module, function)
    return PyMARL(name, maker, options, version=_makers.version_of(module, revision=1), common=common)


class PyMARL(HostTeam):
    """A `HostEnvironment` around a `MultiAgentEnv`, which `maker` makes of `options`, once now and perhaps once more for the first seed."""

    def __init__(
        self,
        name: str,
        maker: Callable[..., Any],
        options: Mapping[str, Any],
        *,
        version: str,
        common: Common | None = None,
    ) -> None:
        self._remake = lambda **seed: _makers.call(name, maker, **{**options, **seed})
        self.env, self.common = self._remake(), common or Common()
        self._read_state = self._own_state
        if self.common.team is not None:
            raise ConfigError(f"{name}: the option team is of no use here. PyMARL's environments are one team, and play their adversaries.")
        missing = [method for method in ASKED if not callable(getattr(self.env, method, None))]
        if missing:
            raise ConfigError(f"{name} made {type(self.env).__name__}, which is no MultiAgentEnv: it lacks {', '.join(missing)}.")
        self._seeded_by = _seeded_by(self.env, maker, options)
        info = _env_info(name, self.env)
        n = int(info["n_agents"])
        self.own_limit = _team.own_limit([_Attributes(info)], "episode_limit")
        counted = ("battle_won",) if any(hasattr(env, "battles_won") for env in (self.env, getattr(self.env, "env", None))) else ()
        self.spec = EnvSpec(
            name=name,
            version=version,
            agents=tuple(f"agent_{i}" for i in range(n)),
            obs_sizes=(int(np.prod(info["obs_shape"])),) * n,
            action_sizes=(int(info["n_actions"]),) * n,
            state_size=int(np.prod(info["state_shape"])),
            time_limit=_team.time_limit(name, self.common.time_limit, self.own_limit, "as episode_limit in get_env_info()"),
            metrics=counted if self.common.metrics is None else self.common.metrics,
            options=self.common.with_others(options),
        )

    def _start(self, seed: int) -> Moment:
        self._metrics: dict[str, float] = {}
        if self._seeded_by == "reset":
            self.env.reset(seed=seed)
        else:
            if self._seeded_by == "maker":
                self.env.close()
                self.env, self._seeded_by = self._remake(seed=seed), "made"
            self.env.reset()
        return self._moment({})

    def _advance(self, action: np.ndarray) -> Moment:
        answer = _team.answers(self.spec.name, "step", self.env.step([int(a) for a in action]), 3, 5)
        if len(answer) == 3:
            (reward, terminated, info), cut = answer, False
        else:
            _, reward, terminated, cut, info = answer
        ended, cut = bool(np.all(terminated)), bool(np.all(cut))
        limit = bool(info.get("episode_limit", False)) or (cut and not ended)
        n = self.spec.n_agents
        self.agent_rewards = _answers.agent_rewards(self.spec.name, reward, n)
        team_reward = _team.team_reward(self.agent_rewards, n, self.common.reward)
        certain = cut or "episode_limit" in info
        return self._moment(info, reward=team_reward, terminated=ended and not limit, truncated=limit, certain=certain)

    def _moment(self, info: Mapping[str, Any], **how: Any) -> Moment:
        self._metrics |= self._numbers(info)
        over = bool(how.get("terminated") or how.get("truncated"))
        return Moment(
            obs=[None if _answers.nothing(seen) else np.asarray(seen, np.float32).ravel() for seen in self._each("get_obs")],
            legal=[self._mask(i, mask, over=over) for i, mask in enumerate(self._each("get_avail_actions"))],
            state=self._state(over=over),
            metrics=self._metrics,
            **how,
        )

    def _own_state(self) -> Any:
        return self.env.get_state()

    def _each(self, method: str) -> Sequence[Any]:
        """What it gives, one for each agent; None of each, if it gives nothing."""
        answers, n = getattr(self.env, method)(), self.spec.n_agents
        if _answers.nothing(answers):
            return [None] * n
        if len(answers) != n:
            raise ConfigError(f"{self.spec.name}: {method} is of {len(answers)} agents; get_env_info says {n}.")
        return answers

    def render(self) -> np.ndarray | None:
        """Its picture, if `render(mode="rgb_array")` gives one."""
        render = getattr(self.env, "render", None)
        if render is None or "mode" not in inspect.signature(render).parameters:
            return None
        try:
            picture = render(mode="rgb_array")
        except NotImplementedError:
            return None
        return picture if isinstance(picture, np.ndarray) else None

    def save_replay(self) -> None:
        """Let the environment write a replay of what was played, where it can: StarCraft II puts it in its own folder."""
        self.env.save_replay()


class _Attributes:
    """A dict whose entries are attributes."""

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self.__dict__.update(entries)


def _seeded_by(env: Any, maker: Callable[..., Any], options: Mapping[str, Any]) -> str:
    """What takes a seed: `reset`, the `maker`, or `nothing`."""
    if "seed" in inspect.signature(env.reset).parameters:
        return "reset"
    return "maker" if "seed" not in options and "seed" in inspect.signature(maker).parameters else "nothing"


def _env_info(name: str, env: Any) -> Mapping[str, Any]:
    info = env.get_env_info()
    missing = [key for key in ("n_agents", "n_actions", "obs_shape", "state_shape") if key not in info]
    if missing:
        raise ConfigError(f"{name}: get_env_info() lacks {', '.join(missing)}; it has {', '.join(map(str, info))}.")
    return info
