"""The climbing and the penalty game of two agents, played several times in an episode.

Claus and Boutilier, The Dynamics of Reinforcement Learning in Cooperative Multiagent Systems (1998); repeated 25 times in Papoudakis et
al., Benchmarking Multi-Agent Deep Reinforcement Learning Algorithms in Cooperative Tasks (2021). Each step pays the team the entry of

    climbing   11  -30    0           penalty    k    0   10
              -30    7    6                      0    2    0
                0    0    5                     10    0    k        k <= 0

in row a_0 (the action of agent 0) and column a_1. To miss the best entry of climbing costs 30, of penalty -k: who explores at random
learns to settle for the safe 5 or 7, or 2. (Papoudakis et al. print climbing transposed: the same game with the agents exchanged.)

Agents see nothing, not even the step, as in the benchmark: observation and state are a constant 1. What is best to do does not depend on
the step. The episode terminates after its last step, so that the most it can return is `steps` times 11, or 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from dop.envs._options import finite, positive_integer
from dop.errors import ConfigError, UnknownNameError
from dop.types import EnvSpec, TimeStep

FAMILY = "repeated-game"

Payoff = tuple[tuple[float, ...], ...]

CLIMBING: Payoff = ((11.0, -30.0, 0.0), (-30.0, 7.0, 6.0), (0.0, 0.0, 5.0))
HARDEST_PENALTY = -100.0  # of the benchmark's 0, -25, -50, -75 and -100


def variants() -> tuple[str, ...]:
    return ("climbing", "penalty")


def make(variant: str | None, *, steps: int = 25, penalty: float | None = None) -> RepeatedGame:
    """The game `variant`, `steps` times (1: the one-shot game). `penalty` is the penalty game's k, -100 if it is left out.

    Raises:
        UnknownNameError: no such game.
        ConfigError: less than one step, a penalty that is not a finite number of at most 0, or one for a game that has none.
    """
    positive_integer("steps", steps)
    if variant == "climbing":
        if penalty is not None:
            raise ConfigError(f"penalty is {penalty!r}, but {FAMILY}:climbing has none; leave it out or take {FAMILY}:penalty.")
        return RepeatedGame(variant=variant, payoff=CLIMBING, steps=steps, options=(("steps", steps),))
    if variant == "penalty":
        k = HARDEST_PENALTY if penalty is None else finite("penalty", penalty)
        if k > 0.0:
            raise ConfigError(f"penalty is {penalty!r}; it must be at most 0.")
        payoff = ((k, 0.0, 10.0), (0.0, 2.0, 0.0), (10.0, 0.0, k))
        return RepeatedGame(variant=variant, payoff=payoff, steps=steps, options=(("steps", steps), ("penalty", k)))
    raise UnknownNameError("repeated game", variant or "", variants())


class GameState(eqx.Module):
    t: Int[Array, ""]
    """Steps taken."""
    n_optimal: Int[Array, ""]
    """Those of them that paid the most a step can."""


@dataclass(frozen=True, kw_only=True)
class RepeatedGame:
    """An `Environment`. Its metric `optimal` is the share of the steps so far that paid the most a step can."""

    variant: str
    """Part of the environment's name after the colon."""
    payoff: Payoff
    """Paid to the team; rows are actions of agent 0, columns of agent 1."""
    steps: int
    """Length of every episode."""
    options: tuple[tuple[str, float], ...]
    """Of `make`, as `EnvSpec.options` has them."""

    @cached_property
    def spec(self) -> EnvSpec:
        return EnvSpec(
            name=f"{FAMILY}:{self.variant}",
            version="1",
            agents=("agent_0", "agent_1"),
            obs_sizes=(1, 1),
            action_sizes=(len(self.payoff), len(self.payoff[0])),
            state_size=1,
            time_limit=self.steps,
            obs_bound=1.0,
            metrics=("optimal",),
            options=self.options,
        )

    def reset(self, key: PRNGKeyArray) -> tuple[GameState, TimeStep]:
        del key
        none = jnp.zeros((), jnp.int32)
        step = self._time_step(reward=jnp.zeros(()), optimal=jnp.zeros(()), terminated=jnp.zeros((), bool))
        return GameState(t=none, n_optimal=none), step

    def step(self, key: PRNGKeyArray, state: GameState, action: Int[Array, " agent"]) -> tuple[GameState, TimeStep]:
        del key
        payoff = jnp.array(self.payoff)
        reward = payoff[action[0], action[1]]
        t = state.t + 1
        n_optimal = state.n_optimal + (reward == payoff.max())
        step = self._time_step(reward=reward, optimal=n_optimal / t, terminated=t >= self.steps)
        return GameState(t=t, n_optimal=n_optimal), step

    def _time_step(self, *, reward: Float[Array, ""], optimal: Float[Array, ""], terminated: Bool[Array, ""]) -> TimeStep:
        return TimeStep(
            obs=jnp.ones((2, 1)),
            state=jnp.ones((1,)),
            legal=jnp.ones((2, len(self.payoff)), bool),
            reward=reward,
            terminated=terminated,
            truncated=jnp.zeros((), bool),
            metrics=optimal[None],
        )
