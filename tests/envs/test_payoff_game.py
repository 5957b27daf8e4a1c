"""The climbing and penalty games: rewards, episode length, termination and truncation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Int, PRNGKeyArray

import dop.envs
from dop.envs.payoff_game import PayoffGame, make
from dop.errors import ConfigError, UnknownNameError
from dop.types import TimeStep

JOINT_ACTIONS = jnp.array(list(itertools.product(range(3), repeat=2)))  # (0, 0), (0, 1), (0, 2), (1, 0), ...


def key() -> PRNGKeyArray:
    """A fresh one each time, so that JAX's check of key reuse stays quiet."""
    return jax.random.key(0)


def play(game: PayoffGame, actions: Int[Array, "time agent"]) -> TimeStep:
    """The steps of one episode."""
    state, _ = game.reset(key())
    _, steps = jax.lax.scan(lambda state, action: game.step(key(), state, action), state, actions)
    return steps


def first_steps(game: PayoffGame) -> TimeStep:
    """The first step of an episode, for each of the nine joint actions."""
    return jax.vmap(lambda action: play(game, action[None]))(JOINT_ACTIONS)


def test_climbing_pays_the_table():
    steps = first_steps(make("climbing"))
    np.testing.assert_array_equal(steps.reward[:, 0], [11, -30, 0, -30, 7, 6, 0, 0, 5])
    np.testing.assert_array_equal(steps.metrics[:, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(("options", "k"), [({}, -100), ({"penalty": -25.0}, -25), ({"penalty": 0}, 0)])
def test_penalty_pays_the_table(options: dict, k: float):
    steps = first_steps(make("penalty", **options))
    np.testing.assert_array_equal(steps.reward[:, 0], [k, 0, 10, 0, 2, 0, 10, 0, k])
    np.testing.assert_array_equal(steps.metrics[:, 0, 0], [0, 0, 1, 0, 0, 0, 1, 0, 0])  # two are best


@pytest.mark.parametrize(
    ("game", "action", "total"),
    [("climbing", (0, 0), 275), ("climbing", (1, 1), 175), ("penalty", (2, 0), 250), ("penalty", (1, 1), 50), ("penalty", (0, 0), -2500)],
)
def test_returns_of_the_benchmark_are_sums_over_25_steps(game: str, action: tuple[int, int], total: float):
    """The best, 25 * 11 and 25 * 10; the equilibrium (1, 1), 25 * 7 and 25 * 2; miscoordination throughout, 25 * -100."""
    assert play(make(game), jnp.tile(jnp.array(action), (25, 1))).reward.sum() == total


def test_a_repeated_game_is_truncated_after_its_steps_and_not_before():
    steps = play(make("climbing", steps=3), jnp.zeros((3, 2), jnp.int32))
    np.testing.assert_array_equal(steps.truncated, [False, False, True])
    assert not steps.terminated.any()


def test_the_one_shot_game_terminates():
    step = play(make("penalty", steps=1), jnp.zeros((1, 2), jnp.int32))
    assert step.terminated.all()
    assert not step.truncated.any()


def test_optimal_is_the_fraction_of_the_steps_so_far():
    actions = jnp.array([[0, 0], [1, 1], [0, 0], [2, 1]])
    np.testing.assert_allclose(play(make("climbing", steps=4), actions).metrics[:, 0], [1, 1 / 2, 2 / 3, 2 / 4])


def test_observations_are_constant():
    game = make("climbing", steps=3)
    _, start = game.reset(key())
    steps = play(game, jnp.array([[0, 1], [1, 2], [2, 0]]))
    np.testing.assert_array_equal(start.obs, np.ones((2, 1)))
    np.testing.assert_array_equal(start.state, np.ones(1))
    np.testing.assert_array_equal(steps.obs, np.ones((3, 2, 1)))
    np.testing.assert_array_equal(steps.state, np.ones((3, 1)))
    assert (start.reward, start.metrics[0]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "options"),
    [("payoff-game:climbing", {"steps": 5}), ("payoff-game:penalty", {}), ("payoff-game:penalty", {"steps": 1, "penalty": -3})],
)
def test_the_options_of_the_spec_make_the_same_game(name: str, options: dict):
    game = dop.envs.make(name, **options)
    again = dop.envs.make(name, **dict(game.spec.options))
    assert again == game
    assert options.items() <= dict(game.spec.options).items()


@pytest.mark.parametrize(
    ("variant", "options", "message"),
    [
        ("climbing", {"steps": 0}, "steps is 0"),
        ("penalty", {"steps": 2.5}, "steps is 2.5"),
        ("penalty", {"penalty": 1.0}, "penalty is 1.0; .* at most 0"),
        ("penalty", {"penalty": float("-inf")}, "penalty is -inf"),
        ("penalty", {"penalty": True}, "penalty is True"),
        ("climbing", {"penalty": -50.0}, "payoff-game:climbing has none"),
    ],
)
def test_impossible_options(variant: str, options: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        make(variant, **options)


@pytest.mark.parametrize("name", ["payoff-game", "payoff-game:climbin"])
def test_unknown_games(name: str):
    with pytest.raises(UnknownNameError, match="climbing"):
        dop.envs.make(name)
