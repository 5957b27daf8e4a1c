"""Two games of two agents in which the cost of miscoordination hides the best joint action.

Claus and Boutilier, The Dynamics of Reinforcement Learning in Cooperative Multiagent Systems (AAAI 1998), Sec. 3:

    climbing           a_1                    penalty            a_1
               0     1     2                             0     1     2
         0    11   -30     0                       0     k     0    10
    a_0  1   -30     7     6                  a_0  1     0     2     0
         2     0     0     5                       2    10     0     k        k <= 0, here -100

The reward of every step is r(a_0, a_1). In climbing the best joint action (0, 0), worth 11, is surrounded by -30, and against a uniformly
random partner action 2 is best; (1, 1), worth 7, is the other equilibrium. In penalty two joint actions are best, (0, 2) and (2, 0), worth
10; a team that mixes them gets k, so that action 1, which never has a negative reward and gets 2 at (1, 1), looks better under exploration.

The paper calls the actions of the first agent a0, a1, a2 and those of the second b0, b1, b2.

Repetition: the game is played `steps` times in an episode, 25 as in the EPyMARL benchmark (Papoudakis et al., Benchmarking Multi-Agent
Deep Reinforcement Learning Algorithms in Cooperative Tasks, 2021), whose returns are undiscounted sums over those 25 steps: at best 275 in
climbing and 250 in penalty, 175 and 50 at the equilibria above. Agents observe neither the step nor past actions: observation and state are
a constant 1. Since the last step looks like any other, a repeated game does not terminate but is truncated, and bootstraps. `steps=1` is
the one-shot game of Claus and Boutilier, which terminates.

Differences from EPyMARL's `matrixgames`: its observation is a constant 0 (`nostate`); its climbing table is this one transposed, the same
game with the agents exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from dop.envs.making.options import finite, positive_integer
from dop.errors import ConfigError, UnknownNameError
from dop.types import EnvSpec, TimeStep

FAMILY = "payoff-game"

_VARIANTS = ("climbing", "penalty")
_CLIMBING = ((11.0, -30.0, 0.0), (-30.0, 7.0, 6.0), (0.0, 0.0, 5.0))


def variants() -> tuple[str, ...]:
    return _VARIANTS


def make(variant: str | None, *, steps: int = 25, penalty: float | None = None) -> PayoffGame:
    """The game `variant`, played `steps` times per episode; `penalty` is the k of the penalty game, -100 by default.

    Raises:
        UnknownNameError: no such game.
        ConfigError: fewer steps than 1, a penalty that is not finite or is above 0, or a penalty for the climbing game.
    """
    if variant not in _VARIANTS:
        raise UnknownNameError("payoff game", variant or "", _VARIANTS)
    positive_integer("steps", steps)
    if variant == "climbing":
        if penalty is not None:
            raise ConfigError(f"penalty is {penalty!r}, but {FAMILY}:climbing has none; leave it out, or use {FAMILY}:penalty.")
        return PayoffGame(spec=_spec("climbing", steps=steps), payoff=_CLIMBING)
    k = finite("penalty", -100.0 if penalty is None else penalty)
    if k > 0.0:
        raise ConfigError(f"penalty is {penalty!r}; it is the reward of miscoordination and must be at most 0.")
    return PayoffGame(spec=_spec("penalty", steps=steps, penalty=k), payoff=((k, 0.0, 10.0), (0.0, 2.0, 0.0), (10.0, 0.0, k)))


def _spec(variant: str, *, steps: int, **options: float) -> EnvSpec:
    return EnvSpec(
        name=f"{FAMILY}:{variant}",
        version="1",
        agents=("agent_0", "agent_1"),
        obs_sizes=(1, 1),
        action_sizes=(3, 3),
        state_size=1,
        time_limit=steps,
        obs_bound=1.0,
        metrics=("optimal",),
        action_names=(("a0", "a1", "a2"), ("b0", "b1", "b2")),
        options=(("steps", steps), *options.items()),
    )


class Progress(eqx.Module):
    """Counts of the current episode."""

    steps: Int[Array, ""]
    optimal: Int[Array, ""]
    """The number of steps with the largest reward."""


@dataclass(frozen=True, kw_only=True)
class PayoffGame:
    """An `Environment`; its state only counts. The metric `optimal` is the fraction of steps so far with the largest reward."""

    spec: EnvSpec
    payoff: tuple[tuple[float, ...], ...]
    """r(a_0, a_1), by row a_0 and column a_1."""

    def reset(self, key: PRNGKeyArray) -> tuple[Progress, TimeStep]:
        del key
        progress = Progress(steps=jnp.zeros((), jnp.int32), optimal=jnp.zeros((), jnp.int32))
        return progress, self._time_step(progress, reward=jnp.zeros(()), ended=jnp.zeros((), bool))

    def step(self, key: PRNGKeyArray, state: Progress, action: Int[Array, " agent"]) -> tuple[Progress, TimeStep]:
        del key
        payoff = jnp.array(self.payoff)
        reward = payoff[action[0], action[1]]
        progress = Progress(steps=state.steps + 1, optimal=state.optimal + (reward == payoff.max()))
        return progress, self._time_step(progress, reward=reward, ended=progress.steps >= self.spec.time_limit)

    def _time_step(self, progress: Progress, *, reward: Float[Array, ""], ended: Bool[Array, ""]) -> TimeStep:
        one_shot = self.spec.time_limit == 1
        return TimeStep(
            obs=jnp.ones((2, 1)),
            state=jnp.ones((1,)),
            action_mask=jnp.ones((2, 3), bool),
            reward=reward,
            terminated=ended & one_shot,
            truncated=ended & (not one_shot),
            metrics=(progress.optimal / jnp.maximum(progress.steps, 1))[None],
        )
