"""Environments with the interface of PyMARL's `MultiAgentEnv` (Samvelyan et al. 2019), by their maker: `pymarl:my_pkg:make`.

This is the way to StarCraft II itself: `pymarl:smac.env:StarCraft2Env` with the option `map_name=3m`, or SMACv2's wrapper;
docs/own-environment.md has the steps. Required methods: `get_env_info`, `get_obs`, `get_state`, `get_avail_actions`, `reset`, `step`,
`close`. Options other than those of `_common.Common` go to the maker.

Agents      agent_0, agent_1, ..., all of the same sizes. The action masks of dead agents are the environment's: in SMAC action 0 only.
Step        Three values, (reward, terminated, info), or five, (obs, reward, terminated, truncated, info), as in later versions.
End         `info["episode_limit"]` is a time limit: truncated; and so is `truncated` of the five without `terminated`. Where neither is
            reported, an episode that terminates exactly at its `episode_limit`, or at the limit of a wrapped environment, is truncated
            too (`base.adapted_team`): SMAC calls that termination by default.
Reward      A number is the team's; a list is summed (`reward="sum"`) or averaged (`"mean"`).
            A reward of several objectives is refused, or weighted by `reward_weights`.
Metrics     `metrics` names numbers in the info: their last values; 0 before the first one. By default `battle_won`, where the environment
            counts `battles_won`, as SMAC and SMACv2 do.
Seeds       `reset(seed=...)` if it has that parameter; else, in a new environment, the maker's `seed` or similar parameter. A seed among
            the options is mixed with that of the episode, and reaches both. Otherwise the environment cannot be seeded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dop import plugins
from dop.envs.making import makers, seeding
from dop.envs.making.places import place_of
from dop.envs.python.base import adapted_team, answer_checks, drawn_pictures, team_rewards
from dop.envs.python.base.adapted_team import AdaptedTeam, Moment
from dop.envs.python.base.common import Common
from dop.envs.python.base.limits import Limits
from dop.errors import ConfigError
from dop.types import EnvSpec

FAMILY = "pymarl"
ADAPTS = "MODULE:FUNCTION"
REQUIRED = ("get_env_info", "get_obs", "get_state", "get_avail_actions", "reset", "step", "close")


def make(variant: str | None, **options: Any) -> PyMARL:
    """The environment that the function `variant`, written `module:function`, returns for `options`.

    Raises:
        ConfigError: no such function, or an environment that cannot be used; the message says why.
    """
    name = f"{FAMILY}:{variant or ''}"
    module, _, function = (variant or "").partition(":")
    if not function:
        raise ConfigError(f"{name} has no function; the form is pymarl:module:function, for example pymarl:smac.env:StarCraft2Env.")
    common, options = Common.split(options)
    maker = makers.load(module, function)
    with plugins.named(f"{name} cannot be made with the options {options}"):
        return PyMARL(name, maker, options, version=makers.version_of(module, revision=1), common=common)


class PyMARL(AdaptedTeam):
    """A `PythonEnvironment` around a `MultiAgentEnv`; `maker` makes it from `options`, now and perhaps again for the first seed."""

    def __init__(
        self,
        name: str,
        maker: Callable[..., Any],
        options: Mapping[str, Any],
        *,
        version: str,
        common: Common | None = None,
    ) -> None:
        self._option_seeds = seeding.option_seeds(name, options)
        self._make = lambda seeds: makers.call(name, maker, **{**options, **seeds})
        self.env, self.common = self._make(seeding.each_mixed(self._option_seeds)), common or Common()
        self._read_state = self._own_state
        if self.common.team is not None:
            raise ConfigError(f"{name}: the option team cannot be used: all agents of PyMARL's environments are one team.")
        missing = [method for method in REQUIRED if not callable(getattr(self.env, method, None))]
        if missing:
            raise ConfigError(
                f"{name} made {type(self.env).__name__}{place_of(maker)}, which is not a MultiAgentEnv: it lacks {', '.join(missing)}."
            )
        self._reset_takes_seed = seeding.takes(self.env.reset, "seed")
        self._seed_name = None if self._reset_takes_seed else _seed_name(maker)
        self._new = True
        info = _env_info(name, self.env)
        n = int(info["n_agents"])
        self.limits = Limits.of(self.env, episode_limit=info.get("episode_limit"))
        counted = ("battle_won",) if any(hasattr(env, "battles_won") for env in (self.env, getattr(self.env, "env", None))) else ()
        self.spec = EnvSpec(
            name=name,
            version=version,
            agents=tuple(f"agent_{i}" for i in range(n)),
            obs_sizes=(int(np.prod(info["obs_shape"])),) * n,
            action_sizes=(int(info["n_actions"]),) * n,
            state_size=int(np.prod(info["state_shape"])),
            time_limit=self.limits.shortest(name, self.common.time_limit, "as episode_limit in get_env_info()"),
            action_names=self._names_of_actions([f"agent_{i}" for i in range(n)], [int(info["n_actions"])] * n),
            metrics=counted if self.common.metrics is None else self.common.metrics,
            options=self.common.with_others(options),
        )

    def _start(self, seed: int) -> Moment:
        self._metrics: dict[str, float] = {}
        seeds = seeding.each_mixed(self._option_seeds, seed) or ({self._seed_name: seed} if self._seed_name else {})
        if self._new and seeds:
            self.env.close()
            self.env = self._make(seeds)
        self._new = False
        self.env.reset(**({"seed": next(iter(seeds.values()), seed)} if self._reset_takes_seed else {}))
        return self._moment({})

    def _advance(self, action: np.ndarray) -> Moment:
        answer = adapted_team.answers(self.spec.name, "step", self.env.step([int(a) for a in action]), 3, 5)
        if len(answer) == 3:
            (reward, terminated, info), cut = answer, False
        else:
            _, reward, terminated, cut, info = answer
        ended, cut = self._over("terminated", terminated), self._over("truncated", cut)
        limit = bool(info.get("episode_limit", False)) or (cut and not ended)
        n = self.spec.n_agents
        self.agent_rewards = team_rewards.agent_rewards(self.spec.name, reward, n, self.common.reward_weights)
        team_reward = adapted_team.team_reward(self.agent_rewards, n, self.common.reward)
        certain = cut or "episode_limit" in info
        return self._moment(info, reward=team_reward, terminated=ended and not limit, truncated=limit, certain=certain)

    def _over(self, what: str, given: Any) -> bool:
        return all(answer_checks.flags(self.spec.name, what, given, self.spec.n_agents))

    def _moment(self, info: Mapping[str, Any], **how: Any) -> Moment:
        self._metrics |= self._numbers(info)
        over = bool(how.get("terminated") or how.get("truncated"))
        return Moment(
            obs=[None if answer_checks.nothing(seen) else np.asarray(seen, np.float32).ravel() for seen in self._each("get_obs")],
            action_mask=[self._mask(i, mask, over=over) for i, mask in enumerate(self._each("get_avail_actions"))],
            state=self._state(over=over),
            metrics=self._metrics,
            **how,
        )

    def _own_state(self) -> Any:
        return self.env.get_state()

    def _each(self, method: str) -> Sequence[Any]:
        """The method's values, one per agent; None for each agent if there are none."""
        answers, n = getattr(self.env, method)(), self.spec.n_agents
        if answer_checks.nothing(answers):
            return [None] * n
        if len(answers) != n:
            raise ConfigError(f"{self.spec.name}: {method} has {len(answers)} agents; get_env_info says {n}.")
        return answers

    def render(self) -> np.ndarray | None:
        """The rendered image, if `render(mode="rgb_array")` returns one."""
        return drawn_pictures.picture(self.env)

    def save_replay(self) -> None:
        """Have the environment write a replay, if it can: StarCraft II puts it in its own folder."""
        self.env.save_replay()


def _seed_name(maker: Callable[..., Any]) -> str | None:
    """The name of the maker's seed parameter; None if it has none."""
    return next((name for name in seeding.NAMES if name.endswith("seed") and seeding.takes(maker, name)), None)


def _env_info(name: str, env: Any) -> Mapping[str, Any]:
    info = env.get_env_info()
    if not isinstance(info, Mapping):
        raise ConfigError(f"{name}: get_env_info(){place_of(env.get_env_info)} returned {type(info).__name__}; it must return a dict.")
    missing = [key for key in ("n_agents", "n_actions", "obs_shape", "state_shape") if key not in info]
    if missing:
        raise ConfigError(f"{name}: get_env_info() lacks {', '.join(missing)}; it has {', '.join(map(str, info))}.")
    return info
