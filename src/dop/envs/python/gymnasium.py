"""Gymnasium environments of a team, with tuple spaces, by package and id: `gymnasium:lbforaging:Foraging-8x8-2p-3f-v3`.

The package is imported first, so that it registers its environments. Needs `pip install 'dop-marl[python-envs]'` and that package. Options
other than those of `_common.Common` go to `gymnasium.make`.

Agents      agent_0, agent_1, ..., one for each entry of `observation_space`. All act in every step.
Team        All agents; or, with the option `team`, those that it names. The others then follow a scripted policy (`base.others`).
End         One flag for all agents or one per agent: the episode ends when every agent is terminated or truncated, and is truncated unless
            all have terminated; `terminated` wins over `truncated`. Termination exactly at the environment's own limit, or at that of a
            wrapper (TimeLimit), counts as truncation (`base.adapted_team`).
Masks       `get_avail_actions()`, or `get_avail_agent_actions(i)`, of the environment under its wrappers; else `action_mask` in an
            agent's observation, or, one per agent, in the info; else all actions are legal.
State       `get_state()`; the concatenated observations if there is none, it raises after a reset, or returns no vector.
Reward      A list is summed (`reward="sum"`) or averaged (`"mean"`); a number is the team's.
            A reward of several objectives is refused, or weighted by `reward_weights`.
Metrics     `metrics` names numbers in the info: their last values; 0 before the first one.
Time limit  `spec.max_episode_steps`, or `max_episode_steps`, `_max_episode_steps` or `max_steps` of the environment or of its wrappers, or
            the option `time_limit`, the shortest one.
"""

from __future__ import annotations

import importlib
import importlib.util
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dop import plugins
from dop.envs.making import makers
from dop.envs.python.base import adapted_team, agent_spaces, answer_checks, drawn_pictures, others, reseeded, team_rewards
from dop.envs.python.base.adapted_team import Moment
from dop.envs.python.base.agent_spaces import SpaceTeam
from dop.envs.python.base.common import Common
from dop.envs.python.base.limits import Limits
from dop.envs.python.base.others import Others
from dop.envs.python.base.reseeded import Reseeded
from dop.errors import ConfigError, MissingExtraError

FAMILY = "gymnasium"
ADAPTS = "PACKAGE:ID"


def make(variant: str | None, **options: Any) -> Gymnasium | Reseeded:
    """The environment `variant`, written `module:id`, made with `options`.

    Raises:
        MissingExtraError: Gymnasium is not installed.
        ConfigError: no such module or id, or an environment that cannot be used; the message says why.
    """
    name = f"{FAMILY}:{variant or ''}"
    common, options = Common.split(options)
    if importlib.util.find_spec(FAMILY) is None:
        raise MissingExtraError(FAMILY, "python-envs", name)
    module, _, environment_id = (variant or "").rpartition(":")
    if not environment_id:
        raise ConfigError(f"{name} names no environment; for example gymnasium:lbforaging:Foraging-8x8-2p-3f-v3.")
    import gymnasium  # noqa: PLC0415

    def adapt(seeds: Mapping[str, int]) -> Gymnasium:
        try:
            if module:
                importlib.import_module(module)
            # Gymnasium's checker rejects lists of rewards.
            given = {"disable_env_checker": True, **options, **seeds}
            env = drawn_pictures.ready(name, lambda **more: gymnasium.make(environment_id, **given, **more), gymnasium.make, options)
        except (ImportError, TypeError, gymnasium.error.Error) as error:
            raise ConfigError(f"{name} cannot be made with the options {options}: {error}.") from error
        return Gymnasium(name, env, version=makers.version_of(module or FAMILY, revision=1), common=common, options=options)

    with plugins.named(f"{name} cannot be made with the options {options}"):
        return reseeded.make(adapt, name, options)


class Gymnasium(SpaceTeam):
    """A `PythonEnvironment` around a Gymnasium environment of a team. `env` may be a custom instance."""

    def __init__(
        self,
        name: str,
        env: Any,
        *,
        version: str,
        common: Common | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.env, self.common, self.raw = env, common or Common(), env.unwrapped
        seen, acted = (_parts(name, which, space) for which, space in (("observe", env.observation_space), ("act in", env.action_space)))
        if len(seen) != len(acted):
            raise ConfigError(f"{name} has {len(seen)} observation and {len(acted)} action spaces; each agent needs one of each.")
        everybody = {f"agent_{i}": both for i, both in enumerate(zip(seen, acted, strict=True))}
        self._n = len(everybody)
        self._places = others.places(name, list(everybody), self.common.team)
        spaces = {f"agent_{i}": everybody[f"agent_{i}"] for i in self._places}
        scripted = {i: agent_spaces.actions(acted[i], f"{name}: agent_{i}") for i in range(self._n) if i not in self._places}
        self._others = Others(name, self.common.others or "random", scripted)
        self.limits = Limits.of(env)
        limit = self.limits.shortest(name, self.common.time_limit, "as max_episode_steps or max_steps")
        if hasattr(self.raw, "get_state"):
            env.reset(seed=0)
        self.spec = self._describe(
            name, version, spaces, state_size=self._find_state(self.raw, "get_state"), time_limit=limit, options=options or {}
        )

    def _start(self, seed: int) -> Moment:
        self._metrics: dict[str, float] = {}
        self._others.start(seed)
        obs, info = adapted_team.answers(self.spec.name, "reset", self.env.reset(seed=seed), 2)
        return self._moment(obs, info)

    def _advance(self, action: np.ndarray) -> Moment:
        actions = [own.write(a) for own, a in zip(self._actions, action, strict=True)]
        if len(actions) < self._n:
            team = dict(zip(self._places, actions, strict=True))
            actions = [team[i] if i in team else self._others.act(i) for i in range(self._n)]
        obs, rewards, terminated, truncated, info = adapted_team.answers(self.spec.name, "step", self.env.step(tuple(actions)), 5)
        ended, cut = self._flags("terminated", terminated), self._flags("truncated", truncated)
        over = all(map(operator.or_, ended, cut))
        reward = adapted_team.team_reward(self._team_rewards(rewards), len(self._places), self.common.reward)
        # A truncating wrapper does not check whether the task has ended.
        certain = any(cut) and self._t not in self.limits.around
        return self._moment(obs, info, reward=reward, terminated=over and all(ended), truncated=over and not all(ended), certain=certain)

    def _flags(self, what: str, given: Any) -> tuple[bool, ...]:
        """The flag of each agent of the team."""
        flags = answer_checks.flags(self.spec.name, what, given, self._n)
        return tuple(flags[i] for i in self._places)

    def _team_rewards(self, given: Any) -> tuple[float, ...]:
        """The rewards of the team's agents, or a single one for all.

        Raises:
            ConfigError: a single reward for all agents, but not all are in the team.
        """
        rewards = team_rewards.agent_rewards(self.spec.name, given, self._n, self.common.reward_weights)
        if len(rewards) == self._n:
            rewards = tuple(rewards[i] for i in self._places)
        elif len(self._places) < self._n:
            raise ConfigError(f"{self.spec.name} gives one reward for all agents, but the option team selects only some of them.")
        self.agent_rewards = rewards
        return rewards

    def _moment(self, obs: Any, info: Mapping[str, Any], **how: Any) -> Moment:
        self._metrics |= self._numbers(info)
        over = bool(how.get("terminated") or how.get("truncated"))
        seen = self._each("the observations", obs)
        masks = self._masks(seen, info)
        self._others.allow({i: mask for i, mask in enumerate(masks) if i not in self._places})
        return Moment(
            obs=[self._observed(place, seen[i]) for place, i in enumerate(self._places)],
            action_mask=[self._allowed(place, None, {agent_spaces.MASK: masks[i]}, over=over) for place, i in enumerate(self._places)],
            state=self._state(over=over),
            metrics=self._metrics,
            **how,
        )

    def _masks(self, seen: Sequence[Any], info: Mapping[str, Any]) -> Sequence[Any]:
        """The environment's action mask of each agent; None where there is none."""
        if hasattr(self.raw, "get_avail_actions"):
            return self._each("get_avail_actions()", self.raw.get_avail_actions())
        if hasattr(self.raw, "get_avail_agent_actions"):
            return [self.raw.get_avail_agent_actions(i) for i in range(self._n)]
        masks = self._each(f"in its info the {agent_spaces.MASK}s", info.get(agent_spaces.MASK))
        return [agent_spaces.mask_in(obs, {agent_spaces.MASK: mask}) for obs, mask in zip(seen, masks, strict=True)]

    def _each(self, what: str, given: Any) -> Sequence[Any]:
        """The given values, one per agent; None for each agent if there are none.

        Raises:
            ConfigError: their number is not that of the agents.
        """
        if answer_checks.nothing(given):
            return [None] * self._n
        if not hasattr(given, "__len__") or len(given) != self._n:
            raise ConfigError(f"{self.spec.name}: {what} are {answer_checks.shown(given)}; there must be one for each of {self._n} agents.")
        return given

    def render(self) -> np.ndarray | None:
        """The rendered image, if there is one (`base.drawn_pictures`)."""
        return drawn_pictures.picture(self.env)


def _parts(name: str, what: str, space: Any) -> Sequence[Any]:
    from gymnasium import spaces  # noqa: PLC0415

    if not isinstance(space, spaces.Tuple) or not space.spaces:
        raise ConfigError(f"{name} is not a team's environment: agents {what} {space}, which must be a Tuple with one space per agent.")
    return space.spaces
