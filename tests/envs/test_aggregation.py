"""Aggregation: the start, steps computed by hand, termination, and how often the no-op, random and scripted policies win."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, PRNGKeyArray

import dop.envs
from dop import policies
from dop.envs.aggregation import Aggregation, World, make, scripted
from dop.errors import ConfigError, UnknownNameError

STAY, LEFT, RIGHT, DOWN, UP = np.eye(5)


def key(seed: int = 0) -> PRNGKeyArray:
    """A fresh one each time, so that JAX's check of key reuse stays quiet."""
    return jax.random.key(seed)


def world(position: Any, *, velocity: Any = 0.0, landmark: tuple[float, float] = (0.0, 0.0), steps: int = 0) -> World:
    at = jnp.array(position, jnp.float32)
    return World(position=at, velocity=jnp.zeros_like(at) + velocity, landmark=jnp.array(landmark), steps=jnp.array(steps, jnp.int32))


def all_at(x: float, y: float, *, steps: int = 0) -> World:
    return world([[x, y]] * 5, steps=steps)


STILL = jnp.tile(STAY, (5, 1))


def win_rate(game: Aggregation, policy: Any, episodes: int) -> tuple[float, float]:
    """The fraction of episodes that `policy(key, step)` wins, and the mean length of all."""

    def advance(carry: Any, k: PRNGKeyArray) -> Any:
        state, step, alive = carry
        k_act, k_env = jax.random.split(k)
        state, step = game.step(k_env, state, policy(k_act, step))
        return (state, step, alive & ~step.terminated), (alive & (step.metrics[0] == 1.0), alive)

    def episode(start: PRNGKeyArray) -> tuple[Array, Array]:
        k_reset, k_steps = jax.random.split(start)
        first = (*game.reset(k_reset), jnp.array(True))
        _, (won, alive) = jax.lax.scan(advance, first, jax.random.split(k_steps, game.time_limit))
        return won.any(), alive.sum()

    won, length = jax.jit(jax.vmap(episode))(jax.random.split(key(), episodes))
    return float(won.mean()), float(length.mean())


def uniform(game: Aggregation) -> Any:
    draw = functools.partial(policies.random_action, kind=game.spec.action_kind)
    return lambda k, step: jax.vmap(draw)(jax.random.split(k, game.n_agents), step.action_mask)


def test_the_papers_sizes():
    spec = dop.envs.make("aggregation").spec
    assert (spec.n_agents, spec.time_limit, spec.action_kind, spec.action_size) == (5, 25, "simplex", 5)
    assert (spec.obs_size, spec.state_size) == (14, 70)


def test_all_start_at_rest_near_the_landmark_and_on_the_field():
    starts, steps = jax.vmap(make().reset)(jax.random.split(key(), 2000))
    assert jnp.abs(starts.landmark).max() <= 1.0
    assert jnp.abs(starts.position).max() <= 1.0
    assert jnp.abs(starts.position - starts.landmark[:, None]).max() == pytest.approx(0.2, abs=1e-3)
    assert not starts.velocity.any()
    assert not (steps.terminated.any() | steps.metrics.any())
    # At a landmark on the border agents are spread over the part inside of the square, not concentrated on its edge.
    assert (jnp.abs(starts.position) == 1.0).mean() < 1e-3


@pytest.mark.parametrize(
    ("action", "push"),
    [(STAY, (0, 0)), (LEFT, (-1, 0)), (RIGHT, (1, 0)), (DOWN, (0, -1)), (UP, (0, 1)), ((0.2, 0, 0.5, 0.3, 0), (0.5, -0.3))],
)
def test_actions_push_as_documented(action: Any, push: tuple[float, float]):
    # From rest: the velocity is 0.5 u, the displacement 0.1 of that.
    state, _ = make().step(key(), all_at(0.5, 0.5), STILL.at[2].set(jnp.array(action)))
    np.testing.assert_allclose(state.velocity[2], 0.5 * np.array(push), atol=1e-6)
    np.testing.assert_allclose(state.position[2], 0.5 + 0.05 * np.array(push), atol=1e-6)
    np.testing.assert_array_equal(state.position[3], [0.5, 0.5])


def test_two_steps_by_hand():
    # x:  v = 0.75 * 0.4 + 0.5 = 0.8,  p = 0.5 + 0.08 = 0.58;   then nothing: v = 0.6,  p = 0.64
    # y:  v = 0.75 * -1.0 = -0.75,     p = 0.5 - 0.075 = 0.425;  then nothing: v = -0.5625,  p = 0.36875
    game = make(n_agents=1)
    state, _ = game.step(key(), world([[0.5, 0.5]], velocity=jnp.array([0.4, -1.0])), jnp.array([RIGHT]))
    np.testing.assert_allclose(state.position, [[0.58, 0.425]], rtol=1e-6)
    state, _ = game.step(key(), state, jnp.array([STAY]))
    np.testing.assert_allclose(state.velocity, [[0.6, -0.5625]], rtol=1e-6)
    np.testing.assert_allclose(state.position, [[0.64, 0.36875]], rtol=1e-6)


def test_discrete_actions_are_the_corners():
    numbers, points = make(actions="discrete"), make()
    state, step = numbers.step(key(), all_at(0.5, 0.5), jnp.arange(5))
    same_state, same_step = points.step(key(), all_at(0.5, 0.5), jnp.eye(5))
    assert numbers.spec.action_shape == (5,)
    jax.tree.map(np.testing.assert_array_equal, (state, step), (same_state, same_step))


def test_observation_by_hand():
    state = world([[0.0, 0.0], [0.5, 0.0], [0.0, 1.0]], velocity=jnp.array([[0.0, 0.0], [4.0, 8.0], [0.0, 0.0]]), landmark=(1.0, 1.0))
    _, step = make(n_agents=3).step(key(), state, jnp.tile(STAY, (3, 1)))
    # Agent 1 slows to (3, 6) and moves by (0.3, 0.6) to (0.8, 0.6).
    expected = [3, 6, 0.8, 0.6, 0.2, 0.4, -0.8, -0.6, -0.8, 0.4]  # velocity, position, landmark, agents 0 and 2
    np.testing.assert_allclose(step.obs[1], expected, rtol=1e-5)
    np.testing.assert_array_equal(step.state, step.obs.flatten())


@pytest.mark.parametrize(("x", "y", "won"), [(0.099, 0.0, True), (0.101, 0.0, False), (0.07, 0.07, True), (0.072, -0.072, False)])
def test_the_last_agent_wins_within_a_tenth_of_the_landmarks_centre(x: float, y: float, won: bool):
    state = world([[0.0, 0.0], [0.05, 0.05], [-0.09, 0.0], [0.0, 0.09], [x, y]])
    _, step = make().step(key(), state, STILL)
    assert (bool(step.terminated), float(step.reward), float(step.metrics[0])) == ((True, 10.0, 1.0) if won else (False, 0.0, 0.0))


@pytest.mark.parametrize(("x", "reward", "won"), [(0.5, -10.0, 0.0), (0.05, 10.0, 1.0)])
def test_the_last_step_is_lost_unless_it_wins_and_never_truncates(x: float, reward: float, won: float):
    _, before = make().step(key(), all_at(0.5, 0.0, steps=23), STILL)
    assert (bool(before.terminated), float(before.reward)) == (False, 0.0)
    _, last = make().step(key(), all_at(x, 0.0, steps=24), STILL)
    assert (bool(last.terminated), bool(last.truncated)) == (True, False)
    assert (float(last.reward), float(last.metrics[0])) == (reward, won)


def test_the_script_always_wins_in_about_three_steps():
    won, length = win_rate(make(), lambda _, step: jax.vmap(scripted)(step.obs), 5000)
    assert won == 1.0
    assert length == pytest.approx(2.6, abs=0.1)


def test_the_script_gives_points_of_the_simplex():
    obs = 2.0 * jax.random.normal(key(), (1000, 14))
    action = jax.vmap(scripted)(obs)
    np.testing.assert_allclose(action.sum(axis=1), 1.0, atol=1e-5)
    assert action.min() >= -1e-6


def still(_: PRNGKeyArray, step: Any) -> Float[Array, "agent 5"]:
    return jnp.tile(STAY, (len(step.obs), 1))


def test_no_op_and_random_play_rarely_win():
    """Of 20,000 episodes random play wins 35 +- 6, and no-op play 10 +- 3."""
    game = make()
    assert win_rate(game, still, 20_000)[0] < 0.0012
    assert 0.0006 < win_rate(game, uniform(game), 20_000)[0] < 0.003


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "fraction"), [("nothing", 0.00052), ("simplex", 0.00176), ("discrete", 0.00096)])
def test_win_rates_of_no_op_and_random_play(kind: str, fraction: float):
    """The documented figures; 400,000 episodes have a standard error of at most 0.00007."""
    game = make(actions="discrete" if kind == "discrete" else "simplex")
    assert win_rate(game, still if kind == "nothing" else uniform(game), 400_000)[0] == pytest.approx(fraction, abs=0.0003)


def test_the_options_of_the_spec_make_the_same_game():
    game = make(n_agents=3, time_limit=9, actions="discrete")
    assert dop.envs.make("aggregation", **dict(game.spec.options)) == game
    for options in ({}, dict(game.spec.options)):
        dop.envs.validate(dop.envs.make("aggregation", **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_agents": 0}, "n_agents is 0"),
        ({"time_limit": 2.5}, "time_limit is 2.5"),
        ({"actions": "box"}, "actions is 'box'; it must be one of simplex, discrete"),
    ],
)
def test_impossible_options(options: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_it_has_no_variants():
    with pytest.raises(UnknownNameError, match="aggregation:big"):
        dop.envs.make("aggregation:big")
