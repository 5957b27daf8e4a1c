"""The particle tasks: the team's reward computed by hand, padding, and the time limit."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import PRNGKeyArray

import dop.envs
from dop.envs.mpe import Mpe, variants
from dop.errors import ConfigError

STAY = 0
FAR = 10.0  # out of reach of collision forces


def key() -> PRNGKeyArray:
    """A fresh one each time, so that JAX's check of key reuse stays quiet."""
    return jax.random.key(0)


@functools.cache
def make(variant: str, **options: Any) -> Mpe:
    environment = dop.envs.make(f"mpe:{variant}", **options)
    assert isinstance(environment, Mpe)
    return environment


@functools.cache
def start(environment: Mpe) -> tuple[Any, Any]:
    """State and step of a fresh episode."""
    return jax.jit(environment.reset)(key())


@functools.cache
def compiled_step(environment: Mpe) -> Any:
    return jax.jit(environment.step, compiler_options={"xla_backend_optimization_level": 0})  # compiles in half the time


def stay(environment: Mpe, positions: list[list[float]], **fields: Any) -> tuple[Any, Any]:
    """One step on which no agent moves, from `positions` of the agents, then the landmarks, all at rest."""
    state, _ = start(environment)
    state = state.replace(p_pos=jnp.array(positions), **fields)
    return compiled_step(environment)(key(), state, jnp.full(environment.spec.n_agents, STAY))


def test_spread_rewards_cover_and_punishes_collisions_on_average():
    environment = make("spread")
    # Agents at 0, 0.1 and 10; landmarks at 0, 0.1 + 3j and 10 + 4j: the nearest are 0, 3 and 4 away. Agents 0 and 1 overlap (radius 0.15):
    # they collide once each, agent 2 does not. 1/2 * -(0 + 3 + 4) + 1/2 * -(1 + 1 + 0) / 3
    _, step = stay(environment, [[0, 0], [0.1, 0], [FAR, 0], [0, 0], [0.1, 3], [FAR, 4]])
    assert step.reward == pytest.approx(-3.5 - 1 / 3)


def test_speaker_listener_rewards_the_listeners_squared_distance():
    _, step = stay(make("speaker-listener"), [[5, 5], [0, 0], [9, 9], [3, 4], [9, 9]], goal=jnp.array(1))
    assert step.reward == pytest.approx(-(3**2 + 4**2))


def test_reference_rewards_the_mean_distance_to_each_agents_landmark():
    _, step = stay(make("reference"), [[0, 0], [1, 0], [3, 4], [1, 1], [9, 9]], goal=jnp.array([0, 1]))
    assert step.reward == pytest.approx(-(5 + 1) / 2)


@pytest.mark.parametrize(("action", "velocity"), [(0, [0, 0]), (1, [-0.5, 0]), (2, [0.5, 0]), (3, [0, -0.5]), (4, [0, 0.5])])
def test_actions_push_as_documented(action: int, velocity: list[float]):
    environment = make("spread")
    state, _ = start(environment)
    state = state.replace(p_pos=jnp.arange(12.0).reshape(6, 2))
    next_state, _ = compiled_step(environment)(key(), state, jnp.array([action, STAY, STAY]))
    np.testing.assert_allclose(next_state.p_vel[:3], [velocity, [0, 0], [0, 0]], atol=1e-6)  # acceleration 5 for 0.1 s


@pytest.mark.parametrize("variant", variants())
def test_boxes_have_jaxmarls_sizes(variant: str):
    spec = make(variant, actions="box").spec
    assert spec.action_kind == "box"
    assert spec.action_sizes == {"spread": (5, 5, 5), "speaker-listener": (3, 5), "reference": (15, 15)}[variant]
    dop.envs.validate(make(variant, actions="box"))
    assert dop.envs.make(spec.name, **dict(spec.options)).spec == spec


@pytest.mark.parametrize(("component", "direction"), [(1, [-1, 0]), (2, [1, 0]), (3, [0, -1]), (4, [0, 1])])
@pytest.mark.parametrize("variant", ["spread", "reference"])
def test_boxes_push_by_the_difference_of_two_components(variant: str, component: int, direction: list[float]):
    environment = make(variant, actions="box")
    state, _ = start(environment)
    state = state.replace(p_pos=jnp.arange(2.0 * environment.game.num_entities).reshape(-1, 2))
    # All of one component, none of the others: what a discrete move gives. A quarter (0.25 of [0, 1] is -0.5 of ours): a quarter of it.
    action = jnp.full(environment.spec.action_shape, -1.0).at[0, component].set(1.0).at[1, component].set(-0.5)
    next_state, _ = compiled_step(environment)(key(), state, action)
    np.testing.assert_allclose(next_state.p_vel[:2], 0.5 * np.outer([1, 0.25], direction), atol=1e-6)


def test_boxes_of_unequal_agents_are_padded():
    environment = make("speaker-listener", actions="box")
    state, first = start(environment)
    np.testing.assert_array_equal(first.action_mask, [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    word, move = [-1.0, 0.0, 1.0, 7.0, 7.0], [-1.0, -1.0, 1.0, -1.0, -1.0]  # the padding has no effect
    next_state, step = compiled_step(environment)(key(), state, jnp.array([word, move]))
    np.testing.assert_array_equal(step.obs[1, -3:], [0, 0.5, 1])
    np.testing.assert_allclose(next_state.p_vel[:2], [[0, 0], [0.5, 0]], atol=1e-6)


def test_boxes_of_reference_end_in_the_word():
    environment = make("reference", actions="box")
    state, _ = start(environment)
    action = jnp.full((2, 15), -1.0).at[0, 5:].set(jnp.linspace(-1, 1, 10))
    _, step = compiled_step(environment)(key(), state, action)
    np.testing.assert_allclose(step.obs[1, -10:], np.linspace(0, 1, 10), atol=1e-6)


def test_unknown_kinds_of_actions():
    with pytest.raises(ConfigError, match="actions is 'simplex'; it must be one of discrete, box"):
        make("spread", actions="simplex")


def test_the_listener_hears_the_word():
    environment = make("speaker-listener")
    state, _ = start(environment)
    _, step = compiled_step(environment)(key(), state, jnp.array([2, STAY]))
    np.testing.assert_array_equal(step.obs[1, -3:], [0, 0, 1])


def test_unequal_agents_are_padded():
    environment = make("speaker-listener")
    _, first = start(environment)
    assert (environment.spec.obs_sizes, environment.spec.action_sizes) == ((3, 11), (3, 5))
    np.testing.assert_array_equal(first.action_mask, [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(first.obs[0, 3:], np.zeros(8))
    np.testing.assert_array_equal(first.state, np.concatenate([first.obs[0, :3], first.obs[1]]))


def test_the_time_limit_is_exact():
    environment = make("reference", time_limit=3)
    state, _ = start(environment)
    truncated = []
    for _ in range(3):
        state, step = compiled_step(environment)(key(), state, jnp.zeros(2, int))
        truncated.append(bool(step.truncated))
        assert not step.terminated
    assert truncated == [False, False, True]


@pytest.mark.parametrize("variant", variants())
def test_impossible_time_limit(variant: str):
    with pytest.raises(ConfigError, match="time_limit is -1"):
        make(variant, time_limit=-1)
