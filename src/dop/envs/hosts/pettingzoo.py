"""PettingZoo's parallel environments (Terry et al. 2021), by module: `pettingzoo:mpe2.simple_spread_v3`.

Needs `pip install 'dop-marl[hosts]'`, and the package of the module. Options other than those of `_team.Common` go to `parallel_env`.

Agents      `possible_agents`, by their names and in that order. One that is not in `agents` is not there: it has no legal action and is not
            asked; it sees what the environment still says to it, else zeros. They may leave and join at any time.
End         The episode ends when nobody that is in `agents` goes on. It is truncated if somebody left in that last step by truncation and
            not by termination, since more would have come for them; else it is terminated. Who left earlier does not count. If nobody was
            truncated and it is the step that the environment's time limit says, it is truncated too (`_team`).
Masks       `action_mask` in an observation that is a dict, or else in the agent's info: if both are there, the observation's is used.
State       `state()`, or, where there is none or it is an image, the observations joined. Some environments (multiwalker) cannot say it any
            more when everybody has left: it is then as it was a step before.
Reward      The sum of the agents' rewards (`reward="sum"`), or that divided by the number of `possible_agents` (`"mean"`).
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
from collections.abc import Container, Mapping, Set
from typing import Any

import numpy as np

from dop.envs import _foreign, _makers
from dop.envs._places import place_of
from dop.envs.hosts import _reseeded, _rewards, _spaces, _team
from dop.envs.hosts._reseeded import Reseeded
from dop.envs.hosts._spaces import SpaceTeam
from dop.envs.hosts._team import Common, Limits, Moment
from dop.errors import ConfigError, MissingExtraError

FAMILY = "pettingzoo"
ADAPTS = "MODULE"


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
        raise ConfigError(f"{name} has no function parallel_env: only PettingZoo's parallel environments can be used.")

    def adapt(seeds: Mapping[str, int]) -> PettingZoo:
        try:
            env = _makers.call(name, module.parallel_env, **{**options, **seeds})
        except (TypeError, ImportError) as error:
            raise ConfigError(f"{name} cannot be made with the options {options}: {error}.") from error
        if env is None:
            raise ConfigError(f"{name}: parallel_env{place_of(module.parallel_env)} returned None; it must return the environment.")
        return PettingZoo(name, env, version=_makers.version_of(module.__name__, revision=1), common=common, options=options)

    with _foreign.named(f"{name} cannot be made with the options {options}"):
        return _reseeded.make(adapt, name, options)


def _module(name: str, path: str | None) -> Any:
    if importlib.util.find_spec(FAMILY) is None:
        raise MissingExtraError(FAMILY, "hosts", name)
    if not path:
        raise ConfigError(f"{name} names no module; for example pettingzoo:mpe2.simple_spread_v3.")
    try:
        with _foreign.named(f"{name} cannot be imported"):
            return importlib.import_module(path)
    except _foreign.RaisedError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        raise ConfigError(f"{name} cannot be imported: {error.__cause__}.{_near(path)}") from error


def _near(path: str) -> str:
    """The nearest module beside one that does not exist: PettingZoo renames them with every change."""
    package, _, last = path.rpartition(".")
    try:
        places = importlib.import_module(package).__path__
    except (ImportError, AttributeError, ValueError):
        return ""
    near = difflib.get_close_matches(last, [found.name for found in pkgutil.iter_modules(places)], n=1)
    return f" Did you mean {package}.{near[0]}?" if near and near[0] != last else ""


class PettingZoo(SpaceTeam):
    """A `HostEnvironment` around a parallel environment. `env` may be one of your own, made already."""

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
        agents = getattr(env, "possible_agents", None)
        if not agents:
            raise ConfigError(f"{name} has no possible_agents: a team must be known before it plays.")
        self._agents: tuple[Any, ...] = tuple(agents)
        self._index = {agent: i for i, agent in enumerate(self._agents)}
        spaces = {str(agent): (env.observation_space(agent), env.action_space(agent)) for agent in self._agents}
        self.limits = Limits.of(env)
        limit = self.limits.shortest(name, self.common.time_limit, "as max_cycles, max_steps or max_episode_steps")
        state_size = self._state_size()
        self.has_state = state_size is not None
        self.spec = self._describe(name, version, spaces, state_size=state_size, time_limit=limit, options=options or {})

    def _state_size(self) -> int | None:
        """The size of `state()`; None if there is none, or it is an image."""
        self.env.reset(seed=0)
        try:
            state = np.asarray(self.env.state())
        except (NotImplementedError, AttributeError):
            return None
        return None if _spaces.is_image(state.shape, state.dtype) else state.size

    def _start(self, seed: int) -> Moment:
        self._metrics: dict[str, float] = {}
        obs, infos = _team.answers(self.spec.name, "reset", self.env.reset(seed=seed), 2)
        return self._moment(obs, infos, gone=set(), cut=set(), reward=0.0)

    def _advance(self, action: np.ndarray) -> Moment:
        told = {agent: self._actions[self._index[agent]].write(action[self._index[agent]]) for agent in self.env.agents}
        obs, rewards, terminations, truncations, infos = _team.answers(self.spec.name, "step", self.env.step(told), 5)
        return self._moment(
            obs,
            infos,
            gone={agent for agent, ended in terminations.items() if ended},
            cut={agent for agent, ended in truncations.items() if ended},
            reward=sum(self._earned(rewards)) / (len(self._agents) if self.common.reward == "mean" else 1),
            acted=told,
        )

    def _earned(self, rewards: Mapping) -> list[float]:
        return [_rewards.reward_of(self.spec.name, agent, own, self.common.reward_weights) for agent, own in rewards.items()]

    def _moment(self, obs: Mapping, infos: Mapping, *, gone: Set, cut: Set, reward: float, acted: Any = ()) -> Moment:
        """Of what the environment answered; `gone` were terminated in this step, `cut` truncated, `acted` asked."""
        agents = self.env.agents
        if not self._index.keys() >= set(agents):
            strangers = sorted(map(str, set(agents) - self._index.keys()))
            raise ConfigError(f"{self.spec.name}: {strangers} are in agents, but not in possible_agents.")
        if any(infos.values()):
            self._metrics |= self._means(infos)
        goes_on = [agent for agent in agents if agent not in gone and agent not in cut]
        if blind := [str(agent) for agent in goes_on if agent not in obs]:
            raise ConfigError(f"{self.spec.name}: {blind} are in agents, but were given no observation.")
        left, over = cut - gone, not goes_on
        return Moment(
            obs=[own.read(obs[agent]) if agent in obs else None for agent, own in zip(self._agents, self._observations, strict=True)],
            legal=self._masks(left if over else goes_on, obs, infos),
            last_legal=self._masks([agent for agent in acted if agent in obs], obs, infos) if over and not cut else None,
            state=self._state(over) if self.has_state else None,
            reward=reward,
            terminated=over and not left,
            truncated=over and bool(left),
            certain=bool(cut) and self._t not in self.limits.around,
            metrics=self._metrics,
        )

    def _state(self, over: bool) -> np.ndarray:
        try:
            self._last_state = np.array(self.env.state(), np.float32).ravel()
        except Exception:
            if not over:
                raise
        return self._last_state

    def _masks(self, able: Container[Any], obs: Mapping, infos: Mapping) -> list[np.ndarray | None]:
        """The legal actions of the agents that are able to act."""
        masks: list[np.ndarray | None] = [None] * len(self._agents)
        for i, (agent, own) in enumerate(zip(self._agents, self._actions, strict=True)):
            if agent in able:
                mask = _spaces.mask_in(obs.get(agent), infos.get(agent)) if own.kind == "discrete" else None
                masks[i] = _team.everything(own.size) if mask is None else np.asarray(mask, bool).ravel()
        return masks

    def _means(self, infos: Mapping) -> dict[str, float]:
        """Each metric's mean over the agents whose info has it."""
        found = [self._numbers(info) for info in infos.values() if isinstance(info, Mapping)]
        return {name: float(np.mean([own[name] for own in found if name in own])) for name in {name for own in found for name in own}}

    def render(self) -> np.ndarray | None:
        """Its picture, if it was made with the option `render_mode="rgb_array"`."""
        picture = self.env.render() if getattr(self.env, "render_mode", None) == "rgb_array" else None
        return picture if isinstance(picture, np.ndarray) else None
