"""PettingZoo's parallel environments (Terry et al. 2021), by module: `pettingzoo:mpe2.simple_spread_v3`.

Needs `pip install 'dop-marl[python-envs]'`, and the package of the module. Options other than those of `_common.Common` go to
`parallel_env`.

Agents      `possible_agents`, by their names and in that order. An agent that is not in `agents` is inactive: it has no legal action; its
            observation is what the environment still returns, else zeros. Agents may leave and join at any time.
Team        All agents; or, with the option `team`, those that it names. The others then follow a scripted policy (`base.others`), and their
            observations, rewards and infos are ignored.
End         The episode ends when no agent of the team continues. It is truncated if an agent left in that last step by truncation and not
            by termination, since it would bootstrap; else it is terminated. Agents that left earlier do not count. If no agent was
            truncated and the step is the environment's time limit, it is truncated too (`base.adapted_team`).
Names       Only agents count. `__all__` among terminations and truncations is for agents without an entry of their own; in rewards it is
            ignored, and any other unknown name there is refused. Elsewhere unknown names are ignored, and check-env reports them.
Masks       `action_mask` in an observation that is a dict, or else in the agent's info.
State       `state()`; the concatenated observations where there is no such method, it raises after a reset, or returns nothing or an image.
            Where it fails when all agents have left (multiwalker), the last state is used.
Reward      The sum of the agents' rewards (`reward="sum"`), or that divided by the number of agents, inactive ones included (`"mean"`).
            A reward of several objectives is refused, or weighted by `reward_weights`.
Metrics     `metrics` names numbers in the infos: the last mean over the agents that have one; 0 before the first one.
Time limit  `max_cycles`, `max_steps` or `max_episode_steps` of the environment or of its wrappers, or the option `time_limit`, the
            shortest one.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Collection, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from dop import plugins
from dop.envs.making import makers
from dop.envs.making.listing import quoted
from dop.envs.making.places import place_of
from dop.envs.python.base import adapted_team, agent_spaces, answer_checks, drawn_pictures, others, reseeded, team_rewards
from dop.envs.python.base.adapted_team import Moment
from dop.envs.python.base.agent_spaces import SpaceTeam
from dop.envs.python.base.common import Common
from dop.envs.python.base.limits import Limits
from dop.envs.python.base.others import Others
from dop.envs.python.base.reseeded import Reseeded
from dop.errors import ConfigError, MissingExtraError

FAMILY = "pettingzoo"
ADAPTS = "MODULE"
ALL = "__all__"
"""Some libraries' name for all agents together."""
PARALLEL = (
    "Only parallel environments are supported: convert it with pettingzoo.utils.conversions.aec_to_parallel in a "
    "function of your own, and give that function's name, my_module:make."
)
"""Advice for an environment whose agents act in turn."""
_VERSION = re.compile(r"_v\d+$")


def make(variant: str | None, **options: Any) -> PettingZoo | Reseeded:
    """The parallel environment of the module `variant`, made with `options`.

    Raises:
        MissingExtraError: PettingZoo is not installed.
        ConfigError: no such module, or one whose environment cannot be used; the message says why.
    """
    name = f"{FAMILY}:{variant or ''}"
    common, options = Common.split(options)
    module = _module(name, variant)
    if not hasattr(module, "parallel_env"):
        raise ConfigError(f"{name} has no function parallel_env: {_without_parallel(module)}")

    def adapt(seeds: Mapping[str, int]) -> PettingZoo:
        try:
            maker, given = module.parallel_env, {**options, **seeds}
            env = drawn_pictures.ready(name, lambda **more: makers.call(name, maker, **given, **more), maker, options)
        except (TypeError, ImportError) as error:
            raise ConfigError(f"{name} cannot be made with the options {options}: {error}.") from error
        if env is None:
            raise ConfigError(f"{name}: parallel_env{place_of(module.parallel_env)} returned None; it must return the environment.")
        return PettingZoo(name, env, version=makers.version_of(module.__name__, revision=1), common=common, options=options)

    with plugins.named(f"{name} cannot be made with the options {options}"):
        return reseeded.make(adapt, name, options)


def _module(name: str, path: str | None) -> Any:
    if importlib.util.find_spec(FAMILY) is None:
        raise MissingExtraError(FAMILY, "python-envs", name)
    if not path:
        raise ConfigError(f"{name} names no module; for example pettingzoo:mpe2.simple_spread_v3.")
    try:
        with plugins.named(f"{name} cannot be imported"):
            return importlib.import_module(path)
    except plugins.ForeignCodeError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        raise ConfigError(f"{name} cannot be imported: {error.__cause__}.{_near(path)}") from error


def _without_parallel(module: ModuleType) -> str:
    """Advice for a module without a parallel environment."""
    if hasattr(module, "env") or hasattr(module, "raw_env"):
        return f"its agents act in turn (AEC). {PARALLEL}"
    if near := _versions(module.__name__):
        return f"its environments have a version in their names.{near}"
    inside = [found.name for found in pkgutil.iter_modules(getattr(module, "__path__", ())) if _VERSION.search(found.name)]
    if inside:
        return f"it is a package. Give one of its modules: {', '.join(f'{module.__name__}.{found}' for found in inside)}."
    return (
        "only PettingZoo's parallel environments are supported. If a function of your own makes one, use the name "
        f"{module.__name__}:FUNCTION, without {FAMILY} before it."
    )


def _near(path: str) -> str:
    """A suggestion for a module that does not exist: PettingZoo renames modules with every change."""
    within = f"{FAMILY}.{path}"
    if not path.startswith(f"{FAMILY}.") and _exists(within):
        return f" Did you mean {within}?"
    return _versions(path) or _alike(path)


def _versions(path: str) -> str:
    """A suggestion of the newest version of a module whose name has no version, or an older one."""
    package, _, last = path.rpartition(".")
    stem = _VERSION.sub("", last)
    found = [name for name in _modules_of(package) if _VERSION.sub("", name) == stem and _VERSION.search(name) and name != last]
    newest = max(found, key=lambda name: int(name.rpartition("_v")[2]), default=None)
    return "" if newest is None else f" Did you mean {package}.{newest}?"


def _alike(path: str) -> str:
    package, _, last = path.rpartition(".")
    near = difflib.get_close_matches(last, _modules_of(package), n=1)
    return f" Did you mean {package}.{near[0]}?" if near and near[0] != last else ""


def _modules_of(package: str) -> list[str]:
    """The modules of a package; none if there is no such package."""
    try:
        return [found.name for found in pkgutil.iter_modules(importlib.import_module(package).__path__)]
    except (ImportError, AttributeError, ValueError):
        return []


def _exists(path: str) -> bool:
    try:
        return importlib.util.find_spec(path) is not None
    except (ImportError, ValueError):
        return False


class PettingZoo(SpaceTeam):
    """A `PythonEnvironment` around a parallel environment. `env` may be a custom instance."""

    def __init__(
        self,
        name: str,
        env: Any,
        *,
        version: str,
        common: Common | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.env, self.common = env, common or Common()
        if hasattr(env, "agent_iter"):
            raise ConfigError(f"{name} is an AEC environment, whose agents act in turn. {PARALLEL}")
        everybody: tuple[Any, ...] = tuple(getattr(env, "possible_agents", None) or ())
        if not everybody:
            raise ConfigError(f"{name} has no possible_agents: the team must be known in advance.")
        self._everybody = frozenset(everybody)
        self._agents = tuple(everybody[i] for i in others.places(name, everybody, self.common.team))
        self._index = {agent: i for i, agent in enumerate(self._agents)}
        scripted = {a: agent_spaces.actions(env.action_space(a), f"{name}: {a}") for a in everybody if a not in self._index}
        self._others = Others(name, self.common.others or "random", scripted)
        spaces = {str(agent): (env.observation_space(agent), env.action_space(agent)) for agent in self._agents}
        self.limits = Limits.of(env)
        limit = self.limits.shortest(name, self.common.time_limit, "as max_cycles, max_steps or max_episode_steps")
        env.reset(seed=0)
        self.spec = self._describe(
            name, version, spaces, state_size=self._find_state(env, "state"), time_limit=limit, options=options or {}
        )

    def _start(self, seed: int) -> Moment:
        self._metrics: dict[str, float] = {}
        self._others.start(seed)
        obs, infos = adapted_team.answers(self.spec.name, "reset", self.env.reset(seed=seed), 2)
        self._check_names(observations=obs or {}, infos=infos)
        return self._moment(obs, infos, gone=set(), cut=set(), acted=())

    def _advance(self, action: np.ndarray) -> Moment:
        actions = {agent: self._act(agent, action) for agent in self.env.agents}
        obs, rewards, terminations, truncations, infos = adapted_team.answers(self.spec.name, "step", self.env.step(actions), 5)
        self._check_names(observations=obs or {}, rewards=rewards, terminations=terminations, truncations=truncations, infos=infos)
        acted = [agent for agent in actions if agent in self._index]
        team_rewards = {agent: self._reward_of(agent, rewards[agent]) for agent in self._agents if agent in rewards}
        self.agent_rewards = tuple(team_rewards.get(agent, 0.0) for agent in self._agents)
        return self._moment(obs, infos, gone=_ended(terminations, acted), cut=_ended(truncations, acted), acted=acted)

    def _reward_of(self, agent: Any, given: Any) -> float:
        return team_rewards.reward_of(self.spec.name, agent, given, self.common.reward_weights)

    def _act(self, agent: Any, action: np.ndarray) -> Any:
        """The action of an agent, in the team or not, in the environment's form."""
        i = self._index.get(agent)
        return self._others.act(agent) if i is None else self._actions[i].write(action[i])

    def _check_names(self, **answers: Any) -> None:
        """Check that these are dicts by agent. Unknown names in them are noted, or refused in rewards.

        Raises:
            ConfigError: not a dict, or a reward of an unknown agent.
        """
        for what, given in answers.items():
            if not isinstance(given, Mapping):
                raise ConfigError(f"{self.spec.name}: {what} are {answer_checks.shown(given)}; they must be a dict by agent.")
            if given.keys() <= self._everybody:
                continue
            for name in answer_checks.unknown_names(self._everybody, given):
                if what == "rewards":
                    raise ConfigError(
                        f"{self.spec.name}: in step {self._t} there is a reward for {name!r}, which is not in possible_agents."
                    )
                self._remark(f"its {what} have an entry {name!r}, which is not an agent: it is ignored")

    def _moment(self, obs: Mapping | None, infos: Mapping, *, gone: set[Any], cut: set[Any], acted: Sequence[Any]) -> Moment:
        """The step from the environment's answer; of the team, `gone` were terminated in this step, `cut` truncated, `acted` acted."""
        obs, agents = obs or {}, self.env.agents
        if unknown := set(agents) - self._everybody:
            raise ConfigError(f"{self.spec.name}: {quoted(sorted(map(str, unknown)))} are in agents, but not in possible_agents.")
        self._metrics |= self._means(infos)
        self._others.allow(
            {agent: agent_spaces.mask_in(obs.get(agent), infos.get(agent)) for agent in self._everybody - self._index.keys()}
        )
        continues = [agent for agent in agents if agent in self._index and agent not in gone and agent not in cut]
        left, over = cut - gone, not continues
        return Moment(
            obs=[self._observed(i, obs.get(agent)) for i, agent in enumerate(self._agents)],
            action_mask=self._masks(left if over else continues, obs, infos, over=over),
            last_action_mask=self._masks(acted, obs, infos, over=True) if over and not cut else None,
            state=self._state(over=over),
            reward=adapted_team.team_reward(self.agent_rewards, len(self._agents), self.common.reward) if acted else 0.0,
            terminated=over and not left,
            truncated=over and bool(left),
            certain=bool(cut) and self._t not in self.limits.around,
            metrics=self._metrics,
        )

    def _masks(self, able: Collection[Any], obs: Mapping, infos: Mapping, *, over: bool) -> list[np.ndarray | None]:
        """The action masks of the agents that are able to act; None for the others."""
        masks: list[np.ndarray | None] = [None] * len(self._agents)
        for agent in able:
            i = self._index[agent]
            masks[i] = self._allowed(i, obs.get(agent), infos.get(agent), over=over)
        return masks

    def _means(self, infos: Mapping) -> dict[str, float]:
        """The mean of each metric over the team's agents whose info has it."""
        of_team = [infos[agent] for agent in self._agents if agent in infos]
        found = [self._numbers(info) for info in of_team if isinstance(info, Mapping) and info]
        return {name: float(np.mean([own[name] for own in found if name in own])) for name in {name for own in found for name in own}}

    def render(self) -> np.ndarray | None:
        """The rendered image, if there is one (`base.drawn_pictures`)."""
        return drawn_pictures.picture(self.env)


def _ended(flags: Mapping[Any, Any], acted: Sequence[Any]) -> set[Any]:
    """The agents in `acted` that are flagged by their own entry, or, without one, by that of `__all__`."""
    return {agent for agent in acted if _flag(agent, flags.get(agent, flags.get(ALL, False)))}


def _flag(agent: Any, given: Any) -> bool:
    """Raise ConfigError for a value that is neither true nor false."""
    flag = answer_checks.flag(given)
    if flag is None:
        raise ConfigError(
            f"step gave {answer_checks.shown(given)} as a flag of {agent}; terminations and truncations must be true or false."
        )
    return flag
