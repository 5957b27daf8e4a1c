"""Mill: ten agents push a millstone, which must turn clockwise and fast.

Wang et al., DOP: Off-Policy Multi-Agent Decomposed Policy Gradients (2020), Sec. 5.2.1: "They can choose to push the millstone clockwise or
counterclockwise with force between 0 and 1. If the millstone's angular velocity, omega, gets greater than 30, agents are rewarded 3 per
step. If omega exceeds 100 in 10 steps, the agents win the episode and get a reward of 10, otherwise, they lose and get a punishment of
-10."

Action of an agent: a point of the simplex over (clockwise, counter-clockwise); its force is f_i = a_0 - a_1, in [-1, 1]. With
`actions="discrete"` it pushes with full force: action 0 clockwise, action 1 counter-clockwise. The stone starts at rest, and each step

    omega <- (1 - friction) omega + alpha sum_i f_i

The paper gives neither constant. With ours, alpha = 2 and friction = 0.05, the team still wins if one agent always pushes the wrong way,
but not if two do. Random play hardly succeeds: of 2,000,000 episodes, uniform points of the simplex pass 30 in 0.10%, uniform corners in
5.9%, and neither ever wins.

Reward, of the first line that holds after the stone's step:

    +10    omega > 100: won, terminates        (without the 3)
    -10    it was the 10th step: lost, terminates        (whatever omega is)
     +3    omega > 30
      0    else

Nothing is clipped: omega may be negative, and pass 100 by up to alpha n.

The best return is 34, more than the 22 of the fastest win. Pushing with full force passes 30 in step 2 and wins in step 6, after 4 x 3; a
team that keeps omega between 30 and 100 and wins in step 10 gets 8 x 3 + 10. This is optimal: no step before the last has a reward above 3,
and the first has 0, since 20 <= 30. `Mill.scripted` achieves it.

Observation of an agent: omega / 100, the fraction of the 10 steps that is over, and the agent's index (one-hot). State: the first two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from dop.envs.common import canvas, simplex
from dop.envs.making.options import finite, one_of, positive, positive_integer
from dop.errors import ConfigError, UnknownNameError, to_python_scalars
from dop.types import Action, EnvSpec, TimeStep

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAMILY = "mill"

TIME_LIMIT = 10
TURNING, WINNING = 30.0, 100.0
"""Thresholds of omega: for a reward in each step, and for winning."""

_TURNS, _WON, _LOST = 3.0, 10.0, -10.0


def variants() -> tuple[str, ...]:
    return ()


def make(variant: str | None = None, *, n_agents: int = 10, alpha: float = 2.0, friction: float = 0.05, actions: str = "simplex") -> Mill:
    """The task of the paper, or one of another size, with other constants, or with discrete actions (`actions="discrete"`).

    Raises:
        UnknownNameError: there are no variants.
        ConfigError: a team below 1, an alpha that is not positive, a friction outside of [0, 1], or an unknown kind of action.
    """
    if variant is not None:
        raise UnknownNameError("environment", f"{FAMILY}:{variant}", [FAMILY])
    return Mill(n_agents=n_agents, alpha=alpha, friction=friction, actions=actions)


class Stone(eqx.Module):
    """The stone's angular velocity, and the number of steps so far."""

    omega: Float[Array, ""]
    """Angular velocity; positive is clockwise."""
    steps: Int[Array, ""]


@dataclass(frozen=True, kw_only=True)
class Mill:
    """An `Environment`. The metric `won` says whether omega exceeded 100."""

    n_agents: int = 10
    """Size of the team (Sec. 5.2.1: 10)."""
    alpha: float = 2.0
    """What a full force adds to omega in a step (not in the paper)."""
    friction: float = 0.05
    """Fraction of omega that is lost in a step (not in the paper)."""
    actions: str = "simplex"
    """`simplex`, or `discrete`: its corners."""

    def __post_init__(self) -> None:
        to_python_scalars(self)
        positive_integer("n_agents", self.n_agents)
        positive("alpha", self.alpha)
        if not 0.0 <= finite("friction", self.friction) <= 1.0:
            raise ConfigError(f"friction is {self.friction!r}; it must lie in [0, 1].")
        one_of("actions", self.actions, simplex.KINDS)

    @cached_property
    def spec(self) -> EnvSpec:
        largest = self.n_agents * self.alpha * sum((1.0 - self.friction) ** t for t in range(TIME_LIMIT))
        return EnvSpec(
            name=FAMILY,
            version="1",
            agents=tuple(f"agent_{i}" for i in range(self.n_agents)),
            obs_sizes=(2 + self.n_agents,) * self.n_agents,
            action_sizes=(2,) * self.n_agents,
            action_kind="discrete" if self.actions == "discrete" else "simplex",
            state_size=2,
            time_limit=TIME_LIMIT,
            obs_bound=max(1.0, 1.01 * largest / WINNING),  # with a margin for rounding
            metrics=("won",),
            action_names=(("clockwise", "counter-clockwise"),) * self.n_agents,
            options=tuple(asdict(self).items()),
        )

    def scripted(self, obs: Float[Array, " obs"]) -> Float[Array, "2"]:
        """An optimal policy if all agents follow it: keep omega a little below 100, and exceed it in the last step."""
        omega, last = WINNING * obs[0], obs[1] * TIME_LIMIT > TIME_LIMIT - 1.5
        hold = WINNING - min(self.n_agents * self.alpha, WINNING - TURNING) / 2
        force = jnp.clip((hold - (1.0 - self.friction) * omega) / (self.alpha * self.n_agents), -1.0, 1.0)
        force = jnp.where(last, 1.0, force)
        return jnp.stack([1.0 + force, 1.0 - force]) / 2

    def reset(self, key: PRNGKeyArray) -> tuple[Stone, TimeStep]:
        del key
        stone = Stone(omega=jnp.zeros(()), steps=jnp.zeros((), jnp.int32))
        no = jnp.zeros((), bool)
        return stone, self._time_step(stone, reward=jnp.zeros(()), won=no, lost=no)

    def step(self, key: PRNGKeyArray, state: Stone, action: Action) -> tuple[Stone, TimeStep]:
        del key
        clockwise, counter = simplex.points(action, self.spec).T
        omega = (1.0 - self.friction) * state.omega + self.alpha * jnp.sum(clockwise - counter)
        stone = Stone(omega=omega, steps=state.steps + 1)
        won = omega > WINNING
        lost = ~won & (stone.steps >= TIME_LIMIT)
        reward = jnp.select([won, lost, omega > TURNING], [jnp.array(_WON), jnp.array(_LOST), jnp.array(_TURNS)], 0.0)
        return stone, self._time_step(stone, reward=reward, won=won, lost=lost)

    def draw(self, axes: Axes, state: Stone, action: np.ndarray | None, colours: Sequence[str]) -> None:
        """The stone as a dial of omega, from -100 at the left to 100 at the right, with every agent's force on its rim."""
        canvas.scene(axes, (-1.9, -1.9), (1.9, 1.9))
        canvas.disc(axes, np.zeros(2), 1.0, canvas.FAINT, filled=False)
        turn = np.pi / 2 * (1 - np.clip(float(state.omega) / WINNING, -1.0, 1.0))
        for omega in (0.0, TURNING, WINNING):
            mark = np.pi / 2 * (1 - omega / WINNING)
            axes.text(0.8 * np.cos(mark), 0.8 * np.sin(mark), f"{omega:.0f}", ha="center", va="center", fontsize=7, color=canvas.INK)
        axes.annotate("", (0.65 * np.cos(turn), 0.65 * np.sin(turn)), (0, 0), arrowprops={"arrowstyle": "-|>", "color": canvas.INK})
        axes.text(0, -0.3, f"omega {float(state.omega):.0f}", ha="center", va="center", fontsize=9, color=canvas.INK)
        force = (
            np.zeros(self.n_agents)
            if action is None
            else np.asarray(simplex.points(jnp.asarray(action), self.spec)) @ np.array([1.0, -1.0])
        )
        for agent, angle in enumerate(np.pi / 2 - 2 * np.pi * np.arange(self.n_agents) / self.n_agents):
            place, clockwise = np.array([np.cos(angle), np.sin(angle)]), np.array([np.sin(angle), -np.cos(angle)])
            end = 1.25 * place + 0.6 * force[agent] * clockwise
            axes.annotate("", tuple(end), tuple(1.25 * place), arrowprops={"arrowstyle": "-|>", "color": colours[agent], "linewidth": 2})
            canvas.disc(axes, 1.25 * place, 0.12, colours[agent], str(agent))

    def _time_step(self, stone: Stone, *, reward: Float[Array, ""], won: Bool[Array, ""], lost: Bool[Array, ""]) -> TimeStep:
        state = jnp.stack([stone.omega / WINNING, stone.steps / TIME_LIMIT])
        return TimeStep(
            obs=jnp.concatenate([jnp.tile(state, (self.n_agents, 1)), jnp.eye(self.n_agents)], axis=1),
            state=state,
            action_mask=jnp.ones((self.n_agents, 2), bool),
            reward=reward,
            terminated=won | lost,
            truncated=jnp.zeros((), bool),
            metrics=won.astype(jnp.float32)[None],
        )
