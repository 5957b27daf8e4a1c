"""The climbing and the penalty game: who is paid what, how often, and what is seen of it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import PRNGKeyArray

import dop.envs
from dop.envs.repeated_game import RepeatedGame, make
from dop.errors import ConfigError, UnknownNameError
from dop.types import TimeStep

JOINT_ACTIONS = list(itertools.product(range(3), range(3)))  # (0, 0), (0, 1), (0, 2), (1, 0) ...


def key() -> PRNGKeyArray:
    """A fresh one each time, so that JAX's check of key reuse stays quiet."""
    return jax.random.key(0)


def play(game: RepeatedGame, joint_actions: list[tuple[int, int]]) -> TimeStep:
    """The steps of one episode, stacked."""
    state, _ = game.reset(key())
    _, steps = jax.lax.scan(lambda state, action: game.step(key(), state, action), state, jnp.array(joint_actions))
    return steps


@pytest.mark.parametrize("variant", ["climbing", "penalty"])
def test_the_benchmarks_sizes(variant: str):
    spec = dop.envs.make(f"repeated-game:{variant}").spec
    assert (spec.n_agents, spec.action_sizes, spec.time_limit) == (2, (3, 3), 25)


@pytest.mark.parametrize(
    ("game", "payoff", "best"),
    [
        (make("climbing", steps=9), [11, -30, 0, -30, 7, 6, 0, 0, 5], [0]),
        (make("penalty", steps=9), [-100, 0, 10, 0, 2, 0, 10, 0, -100], [2, 6]),
        (make("penalty", steps=9, penalty=-25), [-25, 0, 10, 0, 2, 0, 10, 0, -25], [2, 6]),
        (make("penalty", steps=9, penalty=0), [0, 0, 10, 0, 2, 0, 10, 0, 0], [2, 6]),
    ],
)
def test_every_joint_action_is_paid(game: RepeatedGame, payoff: list[float], best: list[int]):
    steps = play(game, JOINT_ACTIONS)
    np.testing.assert_array_equal(steps.reward, payoff)
    share = np.cumsum([i in best for i in range(9)]) / np.arange(1, 10)
    np.testing.assert_allclose(steps.metrics[:, 0], share, rtol=1e-6)


def test_optimal_is_a_share_of_the_episode():
    # Climbing pays 11 at the first and third of four steps: 1/1, 1/2, 2/3, 2/4.
    steps = play(make("climbing", steps=4), [(0, 0), (1, 1), (0, 0), (2, 2)])
    np.testing.assert_allclose(steps.metrics[:, 0], [1, 1 / 2, 2 / 3, 1 / 2], rtol=1e-6)


def test_the_last_step_terminates_and_no_other():
    steps = play(make("climbing", steps=3), [(0, 0)] * 3)
    np.testing.assert_array_equal(steps.terminated, [False, False, True])
    assert not steps.truncated.any()


def test_the_one_shot_game_terminates_at_once():
    steps = play(make("penalty", steps=1), [(2, 0)])
    assert (steps.reward[0], steps.metrics[0, 0], steps.terminated[0]) == (10.0, 1.0, True)


def test_nothing_is_seen_of_the_step_or_the_actions():
    game = make("climbing", steps=9)
    _, start = game.reset(key())
    steps = play(game, JOINT_ACTIONS)
    for seen in (start, steps):
        assert (seen.obs == 1.0).all()
        assert (seen.state == 1.0).all()
    assert (start.reward, start.metrics[0], start.terminated) == (0.0, 0.0, False)


@pytest.mark.parametrize(("variant", "options"), [("climbing", {"steps": 3}), ("penalty", {"steps": 3, "penalty": -25.0}), ("penalty", {})])
def test_the_specs_options_make_the_same_game(variant: str, options: dict):
    game = make(variant, **options)
    assert make(variant, **dict(game.spec.options)) == game


@pytest.mark.parametrize(
    ("variant", "options", "message"),
    [
        ("climbing", {"steps": 0}, "steps is 0"),
        ("climbing", {"steps": 2.5}, "steps is 2.5"),
        ("climbing", {"penalty": -100.0}, "climbing has none"),
        ("penalty", {"penalty": 1.0}, "penalty is 1.0; it must be at most 0"),
        ("penalty", {"penalty": float("-inf")}, "penalty is -inf"),
    ],
)
def test_impossible_options(variant: str, options: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        make(variant, **options)


@pytest.mark.parametrize(("name", "message"), [("repeated-game", "climbing, penalty"), ("repeated-game:climb", "Did you mean 'climbing'")])
def test_an_unknown_game(name: str, message: str):
    with pytest.raises(UnknownNameError, match=message):
        dop.envs.make(name)
