"""The two-step game of QMIX: transitions and rewards."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import PRNGKeyArray

import dop.envs
from dop.envs.two_step import make
from dop.errors import ConfigError, UnknownNameError
from dop.types import TimeStep

JOINT_ACTIONS = jnp.array(list(itertools.product(range(2), repeat=2)))  # (0, 0), (0, 1), (1, 0), (1, 1)


def key() -> PRNGKeyArray:
    """A fresh one each time, so that JAX's check of key reuse stays quiet."""
    return jax.random.key(0)


def every_episode() -> tuple[TimeStep, TimeStep]:
    """Both steps after each first joint action (the first axis) and each second one."""
    game = make()

    def episode(first, second):
        state, _ = game.reset(key())
        state, one = game.step(key(), state, first)
        _, two = game.step(key(), state, second)
        return one, two

    return jax.vmap(jax.vmap(episode, (None, 0)), (0, None))(JOINT_ACTIONS, JOINT_ACTIONS)


def test_the_papers_sizes():
    spec = dop.envs.make("two-step").spec
    assert (spec.n_agents, spec.action_sizes, spec.time_limit) == (2, (2, 2), 2)
    assert (spec.obs_sizes, spec.state_size) == ((3, 3), 3)


def test_it_starts_in_state_1():
    _, start = make().reset(key())
    np.testing.assert_array_equal(start.state, [1, 0, 0])
    np.testing.assert_array_equal(start.obs, [[1, 0, 0], [1, 0, 0]])
    assert (start.reward, start.terminated, start.metrics[0]) == (0.0, False, 0.0)


def test_the_first_agent_alone_chooses_the_second_state_without_a_reward():
    one, two = every_episode()
    next_state = [[0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]  # its 0 to 2A, its 1 to 2B
    np.testing.assert_array_equal(one.state[:, 0], next_state)
    np.testing.assert_array_equal(one.obs[:, 0], np.repeat(np.array(next_state)[:, None], 2, axis=1))
    np.testing.assert_array_equal(two.state[:, 0], next_state)
    assert not one.reward.any()
    assert not (one.terminated | one.truncated).any()


def test_the_second_reward_is_the_table_of_its_state_and_the_episode_terminates():
    _, two = every_episode()
    in_2a, in_2b = [7, 7, 7, 7], [0, 1, 1, 8]
    np.testing.assert_array_equal(two.reward, [in_2a, in_2a, in_2b, in_2b])
    np.testing.assert_array_equal(two.metrics[..., 0], [[0] * 4, [0] * 4, [0, 0, 0, 1], [0, 0, 0, 1]])
    assert two.terminated.all()
    assert not two.truncated.any()


def test_the_nearest_sum_of_values_prefers_2a():
    """Why VDN reaches 7: the least-squares fit of q_0(a_0) + q_1(a_1) to 2B, all joint actions alike, is at most 6.5, below the 7 of 2A.

    By hand: mean 2.5; the mean of action 1 of either agent is 4.5, which is +2; and 2.5 + 2 + 2 = 6.5.
    """
    _, two = every_episode()
    design = np.concatenate([np.eye(2)[JOINT_ACTIONS[:, 0]], np.eye(2)[JOINT_ACTIONS[:, 1]]], axis=1)
    fit_2b, *_ = np.linalg.lstsq(design, np.asarray(two.reward[2]), rcond=None)
    np.testing.assert_allclose(design @ fit_2b, [-1.5, 2.5, 2.5, 6.5], atol=1e-6)


def test_it_has_neither_variants_nor_options():
    with pytest.raises(UnknownNameError, match="two-step:big"):
        dop.envs.make("two-step:big")
    with pytest.raises(ConfigError, match="gamma"):
        dop.envs.make("two-step", gamma=0.9)
