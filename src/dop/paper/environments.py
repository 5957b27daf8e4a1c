"""Figures of Aggregation, Mill (Sec. 5.2.1) and skirmishes, and win rates of scripted and random policies.

`docs/environments.md` shows them: `dop reproduce environments --out docs/results/environments`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from dop import envs, policies
from dop.envs import aggregation, mill
from dop.envs.skirmish.battle import World
from dop.envs.skirmish.environment import Skirmish
from dop.envs.skirmish.scripted import attack_closest
from dop.errors import check_not_negative
from dop.types import Environment, EnvState, TimeStep
from dop.visualise import curves
from dop.visualise.curves import COLOURS
from dop.visualise.film import colours_of


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `dop reproduce environments`."""

    seed: int = 0
    """Seed of initial states and random actions."""
    episodes: int = 100_000
    """Episodes per policy for its win rate; 0: figures only."""
    out: Path = Path("results/environments")
    """Output folder."""

    def __post_init__(self) -> None:
        check_not_negative(self, "episodes")


def reproduce(options: Options, log: Callable[[str], None]) -> None:
    """Draw the figures and print the win rates."""
    options.out.mkdir(parents=True, exist_ok=True)
    for name, draw in (("aggregation", draw_aggregation), ("mill", draw_mill), ("skirmish", draw_skirmish)):
        path, picture = options.out / f"{name}.png", draw(jax.random.key(options.seed))
        curves.save(picture, path)
        log(f"figure: {path}")
    if options.episodes > 0:
        log(f"{options.episodes} episodes each:")
        for name, (environment, policy) in policies_compared().items():
            log(f"{name:38}{evaluate(environment, policy, jax.random.key(options.seed), options.episodes)}")


# ----------------------------------------------------------------------------------------------------------------- playing

Policy = Callable[[PRNGKeyArray, TimeStep], Array]
"""All agents' actions, from a key and the current time step."""


class Trajectory(NamedTuple):
    """One whole episode."""

    states: Any
    """Environment states, with a leading axis of time; one more than rewards."""
    reward: Float[np.ndarray, " time"]
    won: bool

    @property
    def outcome(self) -> str:
        """Outcome, length and return, in words."""
        return f"{'won' if self.won else 'lost'} in step {len(self.reward)}, return {self.reward.sum():.0f}"


def play_episode(environment: Environment, policy: Policy, key: PRNGKeyArray) -> Trajectory:
    """One episode of an environment whose only metric is `won`."""
    start, (states, steps) = rollout(environment, policy, key, lambda state, step: (state, step))
    length = int(jnp.argmax(steps.terminated)) + 1
    states = jax.tree.map(lambda first, later: np.concatenate([first[None], later[:length]]), start, states)
    return Trajectory(states=states, reward=np.asarray(steps.reward[:length]), won=bool(steps.metrics[length - 1, 0]))


def rollout(
    environment: Environment, policy: Policy, key: PRNGKeyArray, select: Callable[[EnvState, TimeStep], Any]
) -> tuple[EnvState, Any]:
    """The initial state, and `select` of every step up to the time limit, including steps after termination."""
    k_reset, k_steps = jax.random.split(key)
    state, step = environment.reset(k_reset)

    def advance(carry: tuple[EnvState, TimeStep], k: PRNGKeyArray) -> tuple[tuple[EnvState, TimeStep], Any]:
        k_act, k_env = jax.random.split(k)
        carry = environment.step(k_env, carry[0], policy(k_act, carry[1]))
        return carry, select(*carry)

    _, selected = jax.lax.scan(advance, (state, step), jax.random.split(k_steps, environment.spec.time_limit))
    return state, selected


def evaluate(environment: Environment, policy: Policy, key: PRNGKeyArray, episodes: int) -> str:
    """Win rate with its standard error, mean return and mean length, as one line."""

    def summary(key: PRNGKeyArray) -> Float[Array, "3"]:
        _, (reward, terminated, won) = rollout(environment, policy, key, lambda _, step: (step.reward, step.terminated, step.metrics[0]))
        last = jnp.argmax(terminated)
        total = jnp.sum(jnp.where(jnp.arange(len(reward)) <= last, reward, 0))
        return jnp.stack([won[last], total, last + 1.0])

    won, total, length = np.mean(jax.jit(jax.vmap(summary))(jax.random.split(key, episodes)), axis=0)
    error = np.sqrt(won * (1 - won) / episodes)
    return f"won {won:8.3%} +- {error:.3%}, return {total:6.2f}, length {length:5.2f}"


def policies_compared() -> dict[str, tuple[Environment, Policy]]:
    """The environments and policies whose win rates are printed."""
    gathering, milling = envs.make("aggregation"), envs.make("mill")
    script = mill.make().scripted
    return {
        "aggregation, no movement": (gathering, lambda _, step: jnp.zeros(step.action_mask.shape).at[:, 0].set(1.0)),
        "aggregation, uniform on the simplex": (gathering, uniform),
        "aggregation, uniform corners": (envs.make("aggregation", actions="discrete"), uniform_corners),
        "aggregation, the script": (gathering, lambda _, step: jax.vmap(aggregation.scripted)(step.obs)),
        "mill, uniform on the simplex": (milling, uniform),
        "mill, uniform corners": (envs.make("mill", actions="discrete"), uniform_corners),
        "mill, one agent the wrong way": (milling, pushing(wrong=1)),
        "mill, the script": (milling, lambda _, step: jax.vmap(script)(step.obs)),
    }


def uniform_corners(key: PRNGKeyArray, step: TimeStep) -> Array:
    """A uniform discrete action for each agent."""
    return jax.random.randint(key, step.action_mask.shape[:1], 0, step.action_mask.shape[1])


def uniform(key: PRNGKeyArray, step: TimeStep) -> Float[Array, "agent action"]:
    """A uniform point of the simplex for each agent."""
    draw = partial(policies.random_action, kind="simplex")
    return jax.vmap(draw)(jax.random.split(key, len(step.action_mask)), step.action_mask)


# ----------------------------------------------------------------------------------------------------------------- Aggregation


def draw_aggregation(key: PRNGKeyArray) -> Figure:
    """Two episodes from the same initial state: uniform actions and the scripted policy."""
    game = envs.make("aggregation")
    picture = Figure(figsize=(10, 5.2), layout="constrained", facecolor="white")
    for axes, (name, policy) in zip(
        picture.subplots(1, 2),
        {"Uniform actions": uniform, "The script": lambda _, step: jax.vmap(aggregation.scripted)(step.obs)}.items(),
        strict=True,
    ):
        trajectory = play_episode(game, policy, key)
        draw_paths(axes, trajectory.states)
        axes.set_title(f"{name}: {trajectory.outcome}")
    return picture


def draw_paths(axes: Axes, worlds: aggregation.World) -> None:
    """Each agent's path, its disc at the end, and the landmark."""
    landmark = worlds.landmark[0]
    axes.add_patch(Rectangle((-1, -1), 2, 2, fill=False, color="#cccccc"))
    axes.add_patch(Circle(tuple(landmark), aggregation.LANDMARK_RADIUS, color="#dddddd"))
    for i in range(worlds.position.shape[1]):
        path, colour = worlds.position[:, i], COLOURS[i % len(COLOURS)]
        axes.plot(*path.T, color=colour, linewidth=1.2, marker="o", markersize=2.5)
        axes.plot(*path[0], color=colour, marker="x", markersize=7)
        axes.add_patch(Circle(tuple(path[-1]), aggregation.AGENT_RADIUS, facecolor=colour, alpha=0.4, edgecolor=colour))
    reach = max(0.35, 1.05 * float(np.abs(worlds.position - landmark).max()) + aggregation.AGENT_RADIUS)
    axes.set(
        xlim=landmark[0] + reach * np.array([-1, 1]), ylim=landmark[1] + reach * np.array([-1, 1]), aspect="equal", xlabel="x", ylabel="y"
    )


# ----------------------------------------------------------------------------------------------------------------- Mill


def draw_mill(key: PRNGKeyArray) -> Figure:
    """omega and the cumulative reward of teams with 0, 1 and 2 agents pushing the wrong way, the scripted policy and uniform actions."""
    game, script = envs.make("mill"), mill.make().scripted
    picture = Figure(figsize=(11, 4.4), layout="constrained", facecolor="white")
    left, right = picture.subplots(1, 2)
    teams: dict[str, Policy] = {
        "hold, then win": lambda _, step: jax.vmap(script)(step.obs),
        "all clockwise": pushing(wrong=0),
        "one the wrong way": pushing(wrong=1),
        "two the wrong way": pushing(wrong=2),
        "uniform actions": uniform,
    }
    for (name, policy), colour in zip(teams.items(), COLOURS, strict=False):
        trajectory = play_episode(game, policy, key)
        time = np.arange(len(trajectory.reward) + 1)
        left.plot(time, trajectory.states.omega, color=colour, marker="o", markersize=3)
        right.plot(
            time,
            np.concatenate([[0], np.cumsum(trajectory.reward)]),
            color=colour,
            marker="o",
            markersize=3,
            label=f"{name}: {trajectory.outcome}",
        )
    for threshold, meaning in ((mill.TURNING, "+3 per step above"), (mill.WINNING, "won above")):
        left.axhline(threshold, color="#888888", linestyle="--", linewidth=1)
        left.annotate(meaning, (0, threshold), xytext=(0, 3), textcoords="offset points", color="#555555", fontsize=8)
    left.set(xlabel="step", ylabel="angular velocity omega", title="Angular velocity")
    right.set(xlabel="step", ylabel="sum of rewards", title="Cumulative reward")
    right.legend(frameon=False, fontsize=8, loc="upper left")
    return picture


def pushing(*, wrong: int) -> Policy:
    """All agents push with full force, the first `wrong` agents the wrong way."""

    def policy(_: PRNGKeyArray, step: TimeStep) -> Float[Array, "agent 2"]:
        return jax.nn.one_hot((jnp.arange(len(step.obs)) < wrong).astype(jnp.int32), 2)

    return policy


# ----------------------------------------------------------------------------------------------------------------- skirmishes

SKIRMISHES = {"MMM": 12, "2s_vs_1sc": 14, "corridor": 14, "27m_vs_30m": 14}
"""Maps, and the step of the battle that is drawn."""


def draw_skirmish(key: PRNGKeyArray) -> Figure:
    """One state of a battle on each map of `SKIRMISHES`, with allies that attack the closest enemy."""
    picture = Figure(figsize=(10, 10.4), layout="constrained", facecolor="white")
    for axes, (name, step) in zip(picture.subplots(2, 2).flat, SKIRMISHES.items(), strict=True):
        game = envs.make(f"skirmish:{name}")
        game.draw(axes, battle_after(game, key, step), None, colours_of(game.spec.n_agents))
        axes.set_title(f"skirmish:{name}, step {step}")
    return picture


def battle_after(game: Skirmish, key: PRNGKeyArray, steps: int) -> World:
    """The state after so many steps in which allies attack the closest enemy."""

    def advance(carry: tuple[World, Array], key: PRNGKeyArray) -> tuple[tuple[World, Array], None]:
        action, target = attack_closest(game, *carry)
        return (game.step(key, carry[0], action)[0], target), None

    @jax.jit
    def play(key: PRNGKeyArray) -> World:
        k_reset, k_steps = jax.random.split(key)
        start = game.reset(k_reset)[0], jnp.full(game.spec.n_agents, -1, jnp.int32)
        return jax.lax.scan(advance, start, jax.random.split(k_steps, steps))[0][0]

    return play(key)
