"""PettingZoo's parallel environments (Terry et al. 2021), by module: `pettingzoo:mpe2.simple_spread_v3`.

Needs `pip install 'dop-marl[hosts]'`, and the package of the module. Options other than those of `_team.Common` go to `parallel_env`.

Agents      `possible_agents`, by their names and in that order. One that is not in `agents` is not there: it has no legal action and is not
            asked; it sees what the environment still says to it, else zeros. They may leave and join at any time.
Team        All agents; or, with the option `team`, those that it names. The others then act by a script (`_others`), and nothing of theirs
            is seen, earned or reported but what is in `state()`.
End         The episode ends when nobody of the team that is in `agents` goes on. It is truncated if somebody left in that last step by
            truncation and not by termination, since more would have come for them; else it is terminated. Who left earlier does not count.
            If nobody was truncated and it is the step that the environment's time limit says, it is truncated too (`_team`).
Strangers   Only agents count. `__all__` among terminations and truncations is of those that have no entry of their own; in rewards it is
            left out, and any other name there that is no agent's is refused. Elsewhere such names are left out, which check-env tells.
Masks       `action_mask` in an observation that is a dict, or else in the agent's info: if both are there, the observation's is used.
State       `state()`, or the observations joined: where there is no such method, it is something else, it raises when an episode starts, or
            gives nothing or an image. Some environments (multiwalker) cannot say it any more when everybody has left: it is then as it was
            a step before.
Reward      The sum of the agents' rewards (`reward="sum"`), or that divided by the number of agents, also those that left (`"mean"`).
            One of several objectives is refused, or weighed as `reward_weights` says.
Metrics     `metrics` names numbers in the infos: of those agents that have one, the mean, as it last was; 0 before there is one.
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
from dop.envs.python import _answers, _others, _reseeded, _rewards, _spaces, _team
from dop.envs.python._others import Others
from dop.envs.python._reseeded import Reseeded
from dop.envs.python._spaces import SpaceTeam
from dop.envs.python._team import Common, Limits, Moment
from dop.errors import ConfigError, MissingExtraError

FAMILY = "pettingzoo"
ADAPTS = "MODULE"
ALL = "__all__"
"""The name that some libraries give to all agents together."""
PARALLEL = (
    "Only parallel environments can be used, in which they act at once: convert it with pettingzoo.utils.conversions.aec_to_parallel in a "
    "function of your own, and name that, my_module:make."
)
"""What to do with an environment in which agents act in turn."""
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
            env = makers.call(name, module.parallel_env, **{**options, **seeds})
        except (TypeError, ImportError) as error:
            raise ConfigError(f"{name} cannot be made with the options {options}: {error}.") from error
        if env is None:
            raise ConfigError(f"{name}: parallel_env{place_of(module.parallel_env)} returned None; it must return the environment.")
        return PettingZoo(name, env, version=makers.version_of(module.__name__, revision=1), common=common, options=options)

    with plugins.named(f"{name} cannot be made with the options {options}"):
        return _reseeded.make(adapt, name, options)


def _module(name: str, path: str | None) -> Any:
    if importlib.util.find_spec(FAMILY) is None:
        raise MissingExtraError(FAMILY, "hosts", name)
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
    """What to do where a module makes no parallel environment."""
    if hasattr(module, "env") or hasattr(module, "raw_env"):
        return f"its agents act in turn (AEC). {PARALLEL}"
    if near := _versions(module.__name__):
        return f"its environments have a version in their name.{near}"
    inside = [found.name for found in pkgutil.iter_modules(getattr(module, "__path__", ())) if _VERSION.search(found.name)]
    if inside:
        return f"it is a package. Name one of its modules: {', '.join(f'{module.__name__}.{found}' for found in inside)}."
    return (
        "only PettingZoo's parallel environments can be used. If a function of yours makes one, name that: "
        f"{module.__name__}:FUNCTION, without {FAMILY} before it."
    )


def _near(path: str) -> str:
    """The nearest module beside one that does not exist: PettingZoo renames them with every change."""
    within = f"{FAMILY}.{path}"
    if not path.startswith(f"{FAMILY}.") and _exists(within):
        return f" Did you mean {within}?"
    return _versions(path) or _alike(path)


def _versions(path: str) -> str:
    """The newest module beside one whose name lacks the version, or has an older one."""
    package, _, last = path.rpartition(".")
    stem = _VERSION.sub("", last)
    found = [name for name in _beside(package) if _VERSION.sub("", name) == stem and _VERSION.search(name) and name != last]
    newest = max(found, key=lambda name: int(name.rpartition("_v")[2]), default=None)
    return "" if newest is None else f" Did you mean {package}.{newest}?"


def _alike(path: str) -> str:
    package, _, last = path.rpartition(".")
    near = difflib.get_close_matches(last, _beside(package), n=1)
    return f" Did you mean {package}.{near[0]}?" if near and near[0] != last else ""


def _beside(package: str) -> list[str]:
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
    """A `PythonEnvironment` around a parallel environment. `env` may be one of your own, made already."""

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
            raise ConfigError(f"{name} has no possible_agents: a team must be known before it plays.")
        self._everybody = frozenset(everybody)
        self._agents = tuple(everybody[i] for i in _others.places(name, everybody, self.common.team))
        self._index = {agent: i for i, agent in enumerate(self._agents)}
        scripted = {a: _spaces.actions(env.action_space(a), f"{name}: {a}") for a in everybody if a not in self._index}
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
        obs, infos = _team.answers(self.spec.name, "reset", self.env.reset(seed=seed), 2)
        self._check_names(observations=obs or {}, infos=infos)
        return self._moment(obs, infos, gone=set(), cut=set(), acted=())

    def _advance(self, action: np.ndarray) -> Moment:
        told = {agent: self._act(agent, action) for agent in self.env.agents}
        obs, rewards, terminations, truncations, infos = _team.answers(self.spec.name, "step", self.env.step(told), 5)
        self._check_names(observations=obs or {}, rewards=rewards, terminations=terminations, truncations=truncations, infos=infos)
        acted = [agent for agent in told if agent in self._index]
        earned = {agent: self._reward_of(agent, rewards[agent]) for agent in self._agents if agent in rewards}
        self.agent_rewards = tuple(earned.get(agent, 0.0) for agent in self._agents)
        return self._moment(obs, infos, gone=_ended(terminations, acted), cut=_ended(truncations, acted), acted=acted)

    def _reward_of(self, agent: Any, given: Any) -> float:
        return _rewards.reward_of(self.spec.name, agent, given, self.common.reward_weights)

    def _act(self, agent: Any, action: np.ndarray) -> Any:
        """What an agent does, of the team or not."""
        i = self._index.get(agent)
        return self._others.act(agent) if i is None else self._actions[i].write(action[i])

    def _check_names(self, **answers: Any) -> None:
        """Whether these are dicts by agent. Other names in them than agents' are told, or refused where they would count.

        Raises:
            ConfigError: no dict, or a reward that is nobody's.
        """
        for what, given in answers.items():
            if not isinstance(given, Mapping):
                raise ConfigError(f"{self.spec.name}: {what} are {_answers.shown(given)}; they must be a dict by agent.")
            if given.keys() <= self._everybody:
                continue
            for name in _answers.strangers(self._everybody, given):
                if what == "rewards":
                    raise ConfigError(
                        f"{self.spec.name}: in step {self._t} there is a reward of {name!r}, who is not in possible_agents: whose is it?"
                    )
                self._remark(f"its {what} have an entry {name!r}, who is no agent: it is left out")

    def _moment(self, obs: Mapping | None, infos: Mapping, *, gone: set[Any], cut: set[Any], acted: Sequence[Any]) -> Moment:
        """Of what the environment answered; of the team, `gone` were terminated in this step, `cut` truncated, `acted` asked."""
        obs, agents = obs or {}, self.env.agents
        if unknown := set(agents) - self._everybody:
            raise ConfigError(f"{self.spec.name}: {quoted(sorted(map(str, unknown)))} are in agents, but not in possible_agents.")
        self._metrics |= self._means(infos)
        self._others.allow({agent: _spaces.mask_in(obs.get(agent), infos.get(agent)) for agent in self._everybody - self._index.keys()})
        continues = [agent for agent in agents if agent in self._index and agent not in gone and agent not in cut]
        left, over = cut - gone, not continues
        return Moment(
            obs=[self._observed(i, obs.get(agent)) for i, agent in enumerate(self._agents)],
            action_mask=self._masks(left if over else continues, obs, infos, over=over),
            last_action_mask=self._masks(acted, obs, infos, over=True) if over and not cut else None,
            state=self._state(over=over),
            reward=_team.team_reward(self.agent_rewards, len(self._agents), self.common.reward) if acted else 0.0,
            terminated=over and not left,
            truncated=over and bool(left),
            certain=bool(cut) and self._t not in self.limits.around,
            metrics=self._metrics,
        )

    def _masks(self, able: Collection[Any], obs: Mapping, infos: Mapping, *, over: bool) -> list[np.ndarray | None]:
        """The legal actions of the agents that are able to act."""
        masks: list[np.ndarray | None] = [None] * len(self._agents)
        for agent in able:
            i = self._index[agent]
            masks[i] = self._allowed(i, obs.get(agent), infos.get(agent), over=over)
        return masks

    def _means(self, infos: Mapping) -> dict[str, float]:
        """Each metric's mean over the agents of the team whose info has it."""
        of_team = [infos[agent] for agent in self._agents if agent in infos]
        found = [self._numbers(info) for info in of_team if isinstance(info, Mapping) and info]
        return {name: float(np.mean([own[name] for own in found if name in own])) for name in {name for own in found for name in own}}

    def render(self) -> np.ndarray | None:
        """Its picture, if it was made with the option `render_mode="rgb_array"`."""
        picture = self.env.render() if getattr(self.env, "render_mode", None) == "rgb_array" else None
        return picture if isinstance(picture, np.ndarray) else None


def _ended(flags: Mapping[Any, Any], acted: Sequence[Any]) -> set[Any]:
    """Those of them who acted that are flagged: each by its own entry, or, if it has none, by that of `__all__`."""
    return {agent for agent in acted if _flag(agent, flags.get(agent, flags.get(ALL, False)))}


def _flag(agent: Any, given: Any) -> bool:
    """Raise ConfigError for what is neither true nor false."""
    flag = _answers.flag(given)
    if flag is None:
        raise ConfigError(f"step gave {_answers.shown(given)} as a flag of {agent}; terminations and truncations must be true or false.")
    return flag
