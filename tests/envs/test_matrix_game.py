"""The matrix game of Sec. 3.1: rewards, and the relaxed game."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import PRNGKeyArray

import dop.envs
from dop.envs.matrix_game import make
from dop.errors import ConfigError


def key() -> PRNGKeyArray:
    """A fresh one each time, so that JAX's check of key reuse stays quiet."""
    return jax.random.key(0)


def test_the_papers_sizes():
    spec = dop.envs.make("matrix-game").spec
    assert (spec.n_agents, spec.action_sizes, spec.time_limit) == (10, (10,) * 10, 1)


def test_one_joint_action_of_all_is_optimal():
    game = make(n_agents=3, n_actions=3, optimal_reward=7.0, other_reward=-2.0)
    joint_actions = jnp.array(list(itertools.product(range(3), repeat=3)))  # (0, 0, 0) is the first of 27
    _, steps = jax.vmap(lambda a: game.step(key(), (), a))(joint_actions)
    np.testing.assert_array_equal(steps.reward, [7.0] + [-2.0] * 26)
    np.testing.assert_array_equal(steps.metrics, [[1.0]] + [[0.0]] * 26)
    assert steps.terminated.all()
    assert not steps.truncated.any()


def test_reset_gives_a_constant_observation_and_no_reward():
    _, start = make().reset(key())
    np.testing.assert_array_equal(start.obs, np.ones((10, 1)))
    np.testing.assert_array_equal(start.state, np.ones(1))
    assert (start.reward, start.terminated) == (0.0, False)


def test_relaxed_reward_is_the_expectation_over_draws():
    game = make(n_agents=2, n_actions=3, optimal_reward=7.0, other_reward=-2.0, relaxed=True)
    action = jnp.array([[0.5, 0.2, 0.3], [0.25, 0.75, 0.0]])
    _, step = game.step(key(), (), action)
    # Over all nine joint actions, of which only (0, 0), with probability 0.5 * 0.25, has reward 7.
    plain = make(n_agents=2, n_actions=3, optimal_reward=7.0, other_reward=-2.0)
    draws = [(float(action[0, i] * action[1, j]), plain.step(key(), (), jnp.array([i, j]))[1]) for i in range(3) for j in range(3)]
    assert step.reward == pytest.approx(sum(chance * float(drawn.reward) for chance, drawn in draws))
    assert step.metrics[0] == pytest.approx(0.125)


def test_relaxed_corners_are_the_game():
    plain, relaxed = make(n_agents=3, n_actions=3), make(n_agents=3, n_actions=3, relaxed=True)
    joint_actions = jnp.array(list(itertools.product(range(3), repeat=3)))
    _, expected = jax.vmap(lambda a: plain.step(key(), (), a))(joint_actions)
    _, steps = jax.vmap(lambda a: relaxed.step(key(), (), jnp.eye(3)[a]))(joint_actions)
    jax.tree.map(np.testing.assert_array_equal, steps, expected)
    assert (relaxed.spec.action_kind, relaxed.spec.action_shape) == ("simplex", (3, 3))
    assert dop.envs.make("matrix-game", **dict(relaxed.spec.options)) == relaxed
    dop.envs.validate(dop.envs.make("matrix-game", relaxed=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_agents": 0}, "n_agents is 0"),
        ({"n_actions": -3}, "n_actions is -3"),
        ({"n_agents": True}, "n_agents is True"),
        ({"optimal_reward": float("nan")}, "optimal_reward is nan"),
        ({"other_reward": float("-inf")}, "other_reward is -inf"),
        ({"optimal_reward": -10.0}, "must be the larger"),
        ({"relaxed": 1}, "relaxed is 1; it must be true or false"),
    ],
)
def test_impossible_options(options: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        make(**options)
