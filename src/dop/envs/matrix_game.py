"""The matrix game of the DOP paper's Sec. 3.1: n agents, one step, one optimal joint action.

    r(a) = optimal_reward    if a_i = 0 for every agent i
         = other_reward      otherwise

With the paper's 10 agents, 10 actions and rewards of +10 and -10, a uniformly random joint action is optimal with probability 1e-10.
The observations are uninformative: observation and state are a constant 1. The episode terminates after its one step.

Relaxed (`relaxed=True`), an agent's action is a point of the simplex, a distribution over its actions, and the reward is the expectation
over independent draws from these distributions:

    r(a) = other_reward + (optimal_reward - other_reward) prod_i a_i[0]

At the corners this is the original game. The metric `optimal` then is the probability of the optimal joint action, the product.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from dop.envs.common import simplex
from dop.envs.making.options import boolean, finite, positive_integer
from dop.errors import ConfigError, UnknownNameError, to_python_scalars
from dop.types import Action, EnvSpec, TimeStep

FAMILY = "matrix-game"


def variants() -> tuple[str, ...]:
    return ()


def make(
    variant: str | None = None,
    *,
    n_agents: int = 10,
    n_actions: int = 10,
    optimal_reward: float = 10.0,
    other_reward: float = -10.0,
    relaxed: bool = False,
) -> MatrixGame:
    """The game of the paper, or one of another size or other rewards, or with actions on the simplex (`relaxed`).

    Raises:
        UnknownNameError: there are no variants.
        ConfigError: a size below 1, a reward that is not finite, an optimal reward that is not the larger one, or `relaxed` not a bool.
    """
    if variant is not None:
        raise UnknownNameError("environment", f"{FAMILY}:{variant}", [FAMILY])
    return MatrixGame(n_agents=n_agents, n_actions=n_actions, optimal_reward=optimal_reward, other_reward=other_reward, relaxed=relaxed)


@dataclass(frozen=True, kw_only=True)
class MatrixGame:
    """An `Environment`; its state is empty, since every episode is one step."""

    n_agents: int = 10
    """Size of the team (Sec. 3.1: 10)."""
    n_actions: int = 10
    """Actions of each agent (Sec. 3.1: 10)."""
    optimal_reward: float = 10.0
    """Reward if every agent takes the first action (Sec. 3.1: 10)."""
    other_reward: float = -10.0
    """Reward of any other joint action (Sec. 3.1: -10)."""
    relaxed: bool = False
    """Whether actions are distributions over the actions (Sec. 3.1: no)."""

    def __post_init__(self) -> None:
        to_python_scalars(self)
        positive_integer("n_agents", self.n_agents)
        positive_integer("n_actions", self.n_actions)
        if finite("optimal_reward", self.optimal_reward) <= finite("other_reward", self.other_reward):
            raise ConfigError(
                f"optimal_reward is {self.optimal_reward!r} and other_reward {self.other_reward!r}; the optimal one must be the larger."
            )
        boolean("relaxed", self.relaxed)

    @cached_property
    def spec(self) -> EnvSpec:
        return EnvSpec(
            name=FAMILY,
            version="1",
            agents=tuple(f"agent_{i}" for i in range(self.n_agents)),
            obs_sizes=(1,) * self.n_agents,
            action_sizes=(self.n_actions,) * self.n_agents,
            action_kind="simplex" if self.relaxed else "discrete",
            state_size=1,
            time_limit=1,
            obs_bound=1.0,
            metrics=("optimal",),
            action_names=(("optimal", *(f"other {i}" for i in range(1, self.n_actions))),) * self.n_agents,
            options=tuple(asdict(self).items()),
        )

    def reset(self, key: PRNGKeyArray) -> tuple[tuple[()], TimeStep]:
        del key
        return (), self._time_step(reward=jnp.zeros(()), optimal=jnp.zeros(()), terminated=jnp.zeros((), bool))

    def step(self, key: PRNGKeyArray, state: tuple[()], action: Action) -> tuple[tuple[()], TimeStep]:
        del key, state
        optimal = jnp.prod(simplex.points(action, self.spec)[:, 0])
        reward = (1.0 - optimal) * self.other_reward + optimal * self.optimal_reward
        return (), self._time_step(reward=reward, optimal=optimal, terminated=jnp.ones((), bool))

    def _time_step(self, *, reward: Float[Array, ""], optimal: Float[Array, ""], terminated: Bool[Array, ""]) -> TimeStep:
        return TimeStep(
            obs=jnp.ones((self.n_agents, 1)),
            state=jnp.ones((1,)),
            action_mask=jnp.ones((self.n_agents, self.n_actions), bool),
            reward=reward,
            terminated=terminated,
            truncated=jnp.zeros((), bool),
            metrics=optimal[None],
        )
