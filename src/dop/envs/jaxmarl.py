"""Other cooperative environments of JaxMARL through one adapter: `jaxmarl:overcooked`, `jaxmarl:hanabi`, `jaxmarl:jaxnav` and more.

Rutherford et al., JaxMARL: Multi-Agent RL Environments and Algorithms in JAX (2023). The part after the colon is a registered name of
`jaxmarl.make`; options that are not named below go to its class, for example `layout=coord_ring`, `num_agents=4`.

    switch_riddle              prisoners, one light: who is sure that all have been in the room says so
    overcooked, overcooked_v2  cooks bring soups; layouts by name
    hanabi                     a card game; all but the player whose turn it is can only do nothing
    jaxnav                     robots with lidar drive to goals and avoid walls and each other
    coin_game                  two agents collect coins, with the sum of their rewards
    MPE_simple_v3              one particle reaches a landmark
    MPE_simple_facmac_*        predators hunt scripted prey; the predators are the team

Observations are flattened (images row by row) and converted to float32. Overcooked's are divided by the largest values, 3 for counts of
ingredients and 20 for the time to cook; others are as they are. State: the team's observations concatenated. On jaxnav the map and the
robots' positions are in front of them, from JaxMARL's `get_world_state`. On Overcooked, where all see the whole kitchen, it is the first
agent's observation.

Reward: the one that all agents get; on jaxnav, where each has its own, their sum, or their mean with `reward="mean"`. Overcooked:
`shaped_reward` times the sum of the agents' shaped rewards is added, and the metric `unshaped_return` leaves them out.

Ends: JaxMARL's `done` does not distinguish a time limit from an end. Before the limit it is termination. At the limit it is truncation,
unless the task ended in that same step: the agent in the room told (switch_riddle), the game is over (hanabi), every robot has arrived or
crashed (jaxnav). Overcooked, coin_game and MPE end only by time. The limit is JaxMARL's `max_steps`; on hanabi, which has none, the length
of the longest game. MPE's own `done` comes one step late and is not reached. `limit_terminates` makes the limit a termination.

A robot that crashed is inactive; with `evaporating`, so is one that arrived. Boxes in [-1, 1] are scaled to JaxMARL's bounds.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from dop import plugins
from dop.envs.common import jaxmarl
from dop.envs.common.jaxmarl_tasks import REFUSED, TASKS, Task
from dop.envs.making import makers
from dop.envs.making.options import boolean, finite, one_of, positive_integer
from dop.errors import ConfigError, UnknownNameError, shown
from dop.types import Action, EnvSpec, TimeStep

FAMILY = "jaxmarl"
MOST = 10_000
"""The largest whole number of an option of JaxMARL's; a typing error in `num_agents` must not exhaust the memory."""


def variants() -> tuple[str, ...]:
    return tuple(TASKS)


def make(
    variant: str | None,
    *,
    time_limit: int | None = None,
    limit_terminates: bool = False,
    reward: str | None = None,
    shaped_reward: float | None = None,
    **options: Any,
) -> JaxMARL:
    """The environment that JaxMARL registers as `variant`.

    Args:
        time_limit: steps; by default JaxMARL's own.
        limit_terminates: whether reaching the limit is termination.
        reward: the team's reward where the agents' rewards differ: their `sum` (the default) or their `mean`.
        shaped_reward: multiplies the sum of the agents' shaped rewards, which is added to the reward; by default 0.
        options: of JaxMARL's class. `act_type` of jaxnav is Discrete by default.

    Raises:
        UnknownNameError: no such environment, or no such layout.
        ConfigError: an environment that is not for a team; the message says why. Or an option that it does not have or accept.
    """
    if variant == "make":
        raise ConfigError(f"{FAMILY}:make: {jaxmarl.ADVICE}")
    if variant in REFUSED:
        raise ConfigError(f"{FAMILY}:{variant} cannot be made: {variant} {REFUSED[variant]}")
    if variant not in TASKS:
        raise UnknownNameError("JaxMARL environment", variant or "(none given)", TASKS)
    name, task = f"{FAMILY}:{variant}", TASKS[variant]
    common = _common(name, task, limit_terminates, reward, shaped_reward)
    game = _game(name, task, time_limit, options)
    made_with = {"time_limit": _limit(name, task, game, time_limit), **common, **task.defaults, **options}
    with plugins.named(f"{name} cannot be made with these options"), jaxmarl.quietly():
        highest = _highest(task, game)
        spec = _spec(name, task, game, highest, made_with)
    return JaxMARL(
        spec=spec,
        game=game,
        task=task,
        highest=highest,
        limit_terminates=limit_terminates,
        averaged=reward == "mean",
        shaping=float(shaped_reward or 0.0),
    )


def _common(name: str, task: Task, limit_terminates: bool, reward: str | None, shaped_reward: float | None) -> dict[str, Any]:
    """The adapter's own options that are given, checked."""
    if reward is not None:
        one_of("reward", reward, ("sum", "mean"))
        if task.shared:
            raise ConfigError(f"reward is {reward!r}, but all agents of {name} get the same reward. Leave it out.")
    if shaped_reward is not None:
        finite("shaped_reward", shaped_reward)
        if not task.shaped:
            with_shaping = ", ".join(f"{FAMILY}:{variant}" for variant, other in TASKS.items() if other.shaped)
            raise ConfigError(f"shaped_reward is {shaped_reward}, but {name} has no shaped rewards; {with_shaping} have them.")
    given = {"limit_terminates": boolean("limit_terminates", limit_terminates), "reward": reward, "shaped_reward": shaped_reward}
    return {option: value for option, value in given.items() if value is not None}


def _game(name: str, task: Task, time_limit: int | None, options: Mapping[str, Any]) -> Any:
    """JaxMARL's environment."""
    for option in task.fixed:
        if options.get(option, task.defaults[option]) != task.defaults[option]:
            raise ConfigError(f"{option} is {options[option]!r}; a team needs {name} with {task.defaults[option]!r}. Leave it out.")
    own = {**task.defaults, **options}
    for option, value in own.items():
        if option in task.choices:
            one_of(option, value, task.choices[option])
        if isinstance(value, int) and abs(value) > MOST:
            raise ConfigError(f"{option} is {shown(value)}; it must be at most {MOST:,}.")
    if task.limit_option in own:
        raise ConfigError(f"{name}: give time_limit={own[task.limit_option]} instead of {task.limit_option}.")
    if time_limit is not None:
        positive_integer("time_limit", time_limit)
        own |= {task.limit_option: time_limit} if task.limit_option else {}
    environments = jaxmarl.import_quietly("jaxmarl.environments")
    own |= _layout(environments, task, own)
    _check_names(name, getattr(environments, task.cls), task, own)
    with plugins.named(f"{name} cannot be made"), jaxmarl.quietly():
        return makers.call(name, getattr(environments, task.cls), **own)


def _check_names(name: str, cls: type, task: Task, options: Mapping[str, Any]) -> None:
    """Refuse options that a class with keywords of any name would ignore."""
    parameters = inspect.signature(cls).parameters.values()
    if all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = sorted({parameter.name for parameter in parameters if parameter.kind is not inspect.Parameter.VAR_KEYWORD} | set(task.loose))
    for option in options:
        if option not in known:
            raise UnknownNameError(f"option of {name} called", option, known)


def _layout(environments: Any, task: Task, options: Mapping[str, Any]) -> dict[str, Any]:
    """The layout of Overcooked that the options name; empty if there is none."""
    if "layout" not in options or not task.shaped:
        return {}
    layouts = environments.overcooked_layouts if task.cls == "Overcooked" else environments.overcooked_v2_layouts
    layout = options["layout"]
    if not isinstance(layout, str) or layout not in layouts:
        raise UnknownNameError("layout", str(layout), tuple(layouts))
    return {"layout": layouts[layout]}


def _limit(name: str, task: Task, game: Any, time_limit: int | None) -> int:
    own = int(task.limit(game))
    if time_limit is not None and time_limit > own:
        raise ConfigError(
            f"time_limit is {time_limit}, but {name} with these options ends after {own} steps at the latest. Give at most {own}."
        )
    return own if time_limit is None else time_limit


def _highest(task: Task, game: Any) -> np.ndarray | None:
    highest = None if task.highest is None else task.highest(game)
    return None if highest is None else np.array(highest, np.float32)


def _spec(name: str, task: Task, game: Any, highest: np.ndarray | None, options: Mapping[str, Any]) -> EnvSpec:
    agents = task.team(game)
    obs, state = jax.eval_shape(game.reset, jax.random.key(0))
    obs_sizes = tuple(obs[agent].size for agent in agents)
    own = [jax.ShapeDtypeStruct((size,), jnp.float32) for size in obs_sizes]
    spaces = [game.action_space(agent) for agent in agents]
    discrete = all(hasattr(space, "n") for space in spaces)
    names = task.names(game)
    return EnvSpec(
        name=name,
        version=jaxmarl.version(revision=1),
        agents=tuple(agents),
        obs_sizes=obs_sizes,
        action_sizes=tuple(int(space.n) if discrete else space.shape[0] for space in spaces),
        action_kind="discrete" if discrete else "box",
        state_size=jax.eval_shape(functools.partial(task.whole, game), state, own).size,
        time_limit=options["time_limit"],
        obs_bound=task.obs_bound if highest is None else 1.0,
        metrics=(*(("unshaped_return",) if task.shaped else ()), *task.metrics),
        action_names=(names,) * len(agents) if names else (),
        options=tuple((option, tuple(value) if isinstance(value, list) else value) for option, value in options.items()),
    )


class Progress(NamedTuple):
    """The state of an episode."""

    inner: Any
    """JaxMARL's."""
    t: Int[Array, ""]
    unshaped_return: Float[Array, ""]


@dataclass(frozen=True, kw_only=True, eq=False)
class JaxMARL:
    """An `Environment` around one of JaxMARL's. The module's docstring describes observations, rewards and ends."""

    spec: EnvSpec
    game: Any
    """A `jaxmarl.environments.MultiAgentEnv`; everything in it is constant."""
    task: Task
    highest: np.ndarray | None
    """What the channels of observations are divided by, if they are."""
    limit_terminates: bool
    averaged: bool
    shaping: float

    def reset(self, key: PRNGKeyArray) -> tuple[Progress, TimeStep]:
        no = jnp.zeros((), bool)
        with jaxmarl.quietly():
            obs, inner = self.game.reset(key)
            state = Progress(inner, jnp.zeros((), jnp.int32), jnp.zeros(()))
            return state, self._time_step(state, obs, jnp.zeros(()), no, no)

    def step(self, key: PRNGKeyArray, state: Progress, action: Action) -> tuple[Progress, TimeStep]:
        actions = self._actions(action)
        with jaxmarl.quietly():  # JaxNav prints
            obs, inner, rewards, dones, info = self.game.step_env(key, state.inner, actions)
            unshaped = self._reward([rewards[agent] for agent in self.spec.agents])
            next_state = Progress(inner, state.t + 1, state.unshaped_return + unshaped)
            timeout = next_state.t >= self.spec.time_limit
            ended = dones["__all__"] & (~timeout | self.task.ended(state.inner, inner, actions))
            terminated = ended | (timeout & self.limit_terminates)
            return next_state, self._time_step(next_state, obs, unshaped + self._shaped(info), terminated, timeout & ~terminated)

    def _actions(self, action: Action) -> dict[str, Array]:
        """The actions in JaxMARL's form; agents outside of the team get zeros, which they ignore."""
        actions: dict[str, Array] = {agent: jnp.zeros(self.game.action_space(agent).shape) for agent in self.game.agents}
        for agent, size, own in zip(self.spec.agents, self.spec.action_sizes, action, strict=True):
            space = self.game.action_space(agent)
            actions[agent] = own if self.spec.action_kind == "discrete" else space.low + (1.0 + own[:size]) / 2.0 * (space.high - space.low)
        return actions

    def _reward(self, rewards: list[Float[Array, ""]]) -> Float[Array, ""]:
        """The team's reward, without shaping."""
        if self.task.shared:
            return rewards[0].astype(jnp.float32)
        total = jnp.sum(jnp.stack(rewards)).astype(jnp.float32)
        return total / len(rewards) if self.averaged else total

    def _shaped(self, info: Mapping[str, Any]) -> Float[Array, ""]:
        if self.shaping == 0.0:
            return jnp.zeros(())
        return self.shaping * jnp.sum(jnp.stack([info["shaped_reward"][agent] for agent in self.spec.agents])).astype(jnp.float32)

    def _time_step(
        self, state: Progress, obs: Mapping[str, Array], reward: Float[Array, ""], terminated: Bool[Array, ""], truncated: Bool[Array, ""]
    ) -> TimeStep:
        task, own = self.task, [self._flat(obs[agent]) for agent in self.spec.agents]
        unshaped = [state.unshaped_return] if task.shaped else []
        return TimeStep(
            obs=jnp.stack([jnp.pad(o, (0, self.spec.obs_size - len(o))) for o in own]),
            state=task.whole(self.game, state.inner, own),
            action_mask=self._action_mask(state.inner),
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            metrics=jnp.array([*unshaped, *(metric(state.inner) for metric in task.metrics.values())], jnp.float32),
        )

    def _flat(self, obs: Array) -> Float[Array, " own"]:
        """An agent's observation in the form of the library."""
        whole = obs.astype(jnp.float32)
        return (whole if self.highest is None else whole / self.highest).ravel()

    def _action_mask(self, inner: Any) -> Bool[Array, "agent action"]:
        task = self.task
        mask = jnp.asarray(np.arange(self.spec.action_size) < np.array(self.spec.action_sizes)[:, None])
        if task.legal is not None:
            legal = task.legal(self.game, inner)
            mask = jnp.stack([legal[agent] for agent in self.spec.agents]).astype(bool)
        return mask if task.active is None else mask & task.active(self.game, inner)[:, None]
