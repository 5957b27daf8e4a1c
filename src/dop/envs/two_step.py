"""The two-step game: a monotonic mixing of the agents' values represents its values, a sum cannot.

Rashid et al., QMIX: Monotonic Value Function Factorisation for Deep Multi-Agent Reinforcement Learning (ICML 2018), Sec. 5.

Two agents, two actions. In the first step, in state 1, agent 0 chooses the game of the second step, whatever agent 1 does, and the reward
is 0: action 0 leads to state 2A, action 1 to state 2B. In the second step the reward is that state's table, and the episode terminates:

    state 2A      a_1               state 2B      a_1
                0     1                         0     1
    a_0  0      7     7             a_0  0      0     1
         1      7     7                  1      1     8

The best return is 8, through 2B. Fitted to random joint actions (epsilon = 1, as in the paper), the nearest sum of two agents' values is at
most 6.5 in 2B, so that VDN prefers the 7 of 2A; QMIX represents 2B exactly and reaches 8.

The paper calls the actions A and B.

Observation of both agents, and state: the state in (1, 2A, 2B), one-hot. After the last step it is still that of the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from dop.errors import UnknownNameError
from dop.types import EnvSpec, TimeStep

FAMILY = "two-step"

_STATE_1 = 0
_PAYOFF = (
    ((0.0, 0.0), (0.0, 0.0)),  # 1
    ((7.0, 7.0), (7.0, 7.0)),  # 2A
    ((0.0, 1.0), (1.0, 8.0)),  # 2B
)
_BEST = 8.0


def variants() -> tuple[str, ...]:
    return ()


def make(variant: str | None = None) -> TwoStepGame:
    """The game of the paper; it has no options.

    Raises:
        UnknownNameError: there are no variants.
    """
    if variant is not None:
        raise UnknownNameError("environment", f"{FAMILY}:{variant}", [FAMILY])
    return TwoStepGame()


@dataclass(frozen=True, kw_only=True)
class TwoStepGame:
    """An `Environment`; its state is the index in (1, 2A, 2B). The metric `optimal` says whether the return was 8."""

    @cached_property
    def spec(self) -> EnvSpec:
        return EnvSpec(
            name=FAMILY,
            version="1",
            agents=("agent_0", "agent_1"),
            obs_sizes=(3, 3),
            action_sizes=(2, 2),
            state_size=3,
            time_limit=2,
            obs_bound=1.0,
            metrics=("optimal",),
            action_names=(("A", "B"),) * 2,
        )

    def reset(self, key: PRNGKeyArray) -> tuple[Int[Array, ""], TimeStep]:
        del key
        index = jnp.array(_STATE_1, jnp.int32)
        return index, _time_step(index, reward=jnp.zeros(()), terminated=jnp.zeros((), bool))

    def step(self, key: PRNGKeyArray, state: Int[Array, ""], action: Int[Array, " agent"]) -> tuple[Int[Array, ""], TimeStep]:
        del key
        second = state != _STATE_1
        index = jnp.where(second, state, 1 + action[0]).astype(jnp.int32)
        return index, _time_step(index, reward=jnp.array(_PAYOFF)[state, action[0], action[1]], terminated=second)


def _time_step(index: Int[Array, ""], *, reward: Float[Array, ""], terminated: Bool[Array, ""]) -> TimeStep:
    state = jax.nn.one_hot(index, 3)
    return TimeStep(
        obs=jnp.tile(state, (2, 1)),
        state=state,
        action_mask=jnp.ones((2, 2), bool),
        reward=reward,
        terminated=terminated,
        truncated=jnp.zeros((), bool),
        metrics=(reward == _BEST).astype(jnp.float32)[None],
    )
