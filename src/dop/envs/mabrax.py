"""MABrax: one robot of Brax, its joints divided among a team. Needs `pip install 'dop-marl[mabrax]'`.

Rutherford et al., JaxMARL: Multi-Agent RL Environments and Algorithms in JAX (2023); `jaxmarl.environments.mabrax`, after the Multi-Agent
MuJoCo of Peng et al., FACMAC (2021). A map's name is its robot and the number of agents x the joints of each:

    ant_4x2    halfcheetah_6x1    hopper_3x1    humanoid_9|8 (two agents, of 9 and 8 joints)    walker2d_2x3

Dynamics: Brax's positional physics, an action repeat of 1. An action is a torque in [-1, 1] for each of the agent's joints; the padding of
agents with fewer joints is ignored.

Observation of an agent: the entries of Brax's observation that JaxMARL lists for it, padded with zeros to the largest agent's. State:
Brax's observation of the whole robot. Neither is bounded. Reward: Brax's, shared by the team.

An episode terminates when the robot is unhealthy by Brax's definition (halfcheetah always is healthy) and is truncated after `time_limit`
steps.

Two index lists of JaxMARL 0.2.0 assume longer observations than Brax gives, and an index past the end reads the last entry. On halfcheetah
all indices are one too high, so that agent_5 sees the speed of its joint at the place of the one after it, as agent_4 does; on humanoid
(244 entries) indices of 244 to 375 all read the last torque. They are kept so that results stay comparable; the state is complete.

JaxMARL and Brax have deprecated these environments: they work with the versions that the extra pins, and are no longer developed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import warnings
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from dop.envs.common import jaxmarl
from dop.envs.making.options import positive_integer
from dop.errors import MissingExtraError, UnknownNameError
from dop.types import EnvSpec, TimeStep

FAMILY = "mabrax"

_MAPS = ("ant_4x2", "halfcheetah_6x1", "hopper_3x1", "humanoid_9|8", "walker2d_2x3")


def variants() -> tuple[str, ...]:
    return _MAPS


def make(variant: str | None, *, time_limit: int = 1000) -> MABrax:
    """The robot and team `variant`, truncated after `time_limit` steps.

    Raises:
        UnknownNameError: no such map.
        ConfigError: a time limit below 1.
        MissingExtraError: Brax is not installed.
    """
    if variant not in _MAPS:
        raise UnknownNameError("MABrax map", variant or "", _MAPS)
    positive_integer("time_limit", time_limit)
    if importlib.util.find_spec("brax") is None:
        raise MissingExtraError("brax", FAMILY, f"{FAMILY}:{variant}")
    game = _game(variant, time_limit)
    spec = EnvSpec(
        name=f"{FAMILY}:{variant}",
        version=f"{jaxmarl.version(revision=1)}-brax-{importlib.metadata.version('brax')}",
        agents=tuple(game.agents),
        obs_sizes=tuple(game.observation_space(agent).shape[0] for agent in game.agents),
        action_sizes=tuple(game.action_space(agent).shape[0] for agent in game.agents),
        action_kind="box",
        state_size=game.env.observation_size,
        time_limit=time_limit,
        options=(("time_limit", time_limit),),
    )
    return MABrax(spec=spec, game=game)


def _game(variant: str, time_limit: int) -> Any:
    mabrax = jaxmarl.import_quietly("jaxmarl.environments.mabrax")
    with warnings.catch_warnings():
        # The module's docstring mentions the deprecation.
        warnings.filterwarnings("ignore", message="MABrax is deprecated")
        warnings.filterwarnings("ignore", message="Brax System")
        return mabrax.MABraxEnv(variant, episode_length=time_limit, auto_reset=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class MABrax:
    """An `Environment` around one of JaxMARL's MABrax maps. Its state is Brax's."""

    spec: EnvSpec
    game: Any
    """`jaxmarl.environments.mabrax.MABraxEnv`; everything in it is constant."""

    def reset(self, key: PRNGKeyArray) -> tuple[PyTree, TimeStep]:
        obs, state = self.game.reset(key)
        return state, self._time_step(state, obs, jnp.zeros(()))

    def step(self, key: PRNGKeyArray, state: PyTree, action: Float[Array, "agent action"]) -> tuple[PyTree, TimeStep]:
        own = zip(self.spec.agents, self.spec.action_sizes, action, strict=True)
        obs, next_state, _, _, _ = self.game.step_env(key, state, {agent: torque[:size] for agent, size, torque in own})
        return next_state, self._time_step(next_state, obs, next_state.reward)

    def _time_step(self, state: Any, obs: dict[str, Float[Array, "..."]], reward: Float[Array, ""]) -> TimeStep:
        truncated = state.info["truncation"] > 0  # Brax: the time is over, and the robot is healthy
        own = [obs[agent] for agent in self.spec.agents]
        return TimeStep(
            obs=jnp.stack([jnp.pad(o, (0, self.spec.obs_size - o.shape[0])) for o in own]),
            state=state.obs,
            action_mask=jnp.asarray(np.arange(self.spec.action_size) < np.array(self.spec.action_sizes)[:, None]),
            reward=reward,
            terminated=(state.done > 0) & ~truncated,
            truncated=truncated,
            metrics=jnp.zeros((0,)),
        )
