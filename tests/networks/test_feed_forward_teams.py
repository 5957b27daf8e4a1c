from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop import policies
from dop.networks.mlp import MLP
from dop.networks.teams import feed_forward
from dop.types import ActionKind
from helpers import make_spec

KINDS: tuple[ActionKind, ...] = ("discrete", "simplex", "box")
OUTPUT = jnp.array([0.3, -1.2, 5.0, 0.9])
LEGAL = jnp.array([True, True, False, True])
ONE, KEYS = jnp.ones(()), jax.random.split(jax.random.key(0), 4000)


def test_choices_by_hand():
    discrete, simplex, box = (feed_forward.choose(kind, OUTPUT, LEGAL, jnp.array(0.5)) for kind in KINDS)
    np.testing.assert_array_equal(discrete, [0, 0, 0, 1])
    weights = np.exp([0.6, -2.4, 1.8])
    np.testing.assert_allclose(simplex, np.insert(weights / weights.sum(), 2, 0), rtol=1e-6)
    np.testing.assert_allclose(box, [np.tanh(0.3), np.tanh(-1.2), 0, np.tanh(0.9)], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_exploring_stays_in_the_action_space(kind: ActionKind):
    actions = jax.vmap(lambda key: feed_forward.explore(kind, key, OUTPUT, LEGAL, ONE, 0.5))(KEYS)
    assert not actions[:, 2].any()
    if kind == "box":
        assert (jnp.abs(actions) <= 1).all() and (actions.std(axis=0) > 0)[np.array([0, 1, 3])].all()
    else:
        np.testing.assert_allclose(actions.sum(axis=1), 1, rtol=1e-5)
        assert (actions >= 0).all()


def test_the_largest_component_of_a_relaxed_action_is_a_sample_of_the_softmax():
    policy = policies.masked_softmax(OUTPUT, LEGAL)
    for temperature in (0.3, 3.0):
        relaxed = jax.vmap(lambda key, t=temperature: policies.gumbel_softmax(key, OUTPUT, LEGAL, t))(KEYS)
        counts = np.bincount(np.argmax(relaxed, axis=1), minlength=4) / len(KEYS)
        np.testing.assert_allclose(counts, policy, atol=0.03)


def test_straight_through_is_hard_with_the_slope_of_the_soft():
    soft = lambda x: policies.masked_softmax(x, LEGAL)  # noqa: E731
    hard = lambda x: policies.straight_through(soft(x))  # noqa: E731
    np.testing.assert_allclose(hard(OUTPUT), [0, 0, 0, 1], atol=1e-7)
    np.testing.assert_allclose(jax.jacobian(hard)(OUTPUT), jax.jacobian(soft)(OUTPUT), atol=1e-7)
    np.testing.assert_array_equal(policies.straight_through(jnp.zeros(3)), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_reaches_every_legal_output(kind: ActionKind):
    weights = jnp.array([1.0, -2.0, 3.0, 0.5])
    slope = jax.grad(lambda x: weights @ feed_forward.relax(kind, KEYS[0], x, LEGAL, ONE))(OUTPUT)
    np.testing.assert_array_equal(slope != 0, LEGAL)


@pytest.mark.parametrize("kind", KINDS)
def test_without_legal_actions_nothing_is_done(kind: ActionKind):
    none = jnp.zeros(4, bool)
    for action in (feed_forward.choose(kind, OUTPUT, none, ONE), feed_forward.relax(kind, KEYS[0], OUTPUT, none, ONE)):
        np.testing.assert_array_equal(action, 0)


def test_stored_actions_become_vectors_and_back():
    numbers: Any = jnp.array([[2, 0], [1, 1]])
    action_mask = jnp.ones((2, 2, 3), bool).at[1, 1].set(False)
    vectors = feed_forward.as_vectors(numbers, action_mask)
    np.testing.assert_array_equal(vectors[0], [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(vectors[1], [[0, 1, 0], [0, 0, 0]])  # the last agent is not there
    np.testing.assert_array_equal(feed_forward.as_stored("discrete", vectors[0]), numbers[0])
    np.testing.assert_array_equal(feed_forward.as_vectors(vectors, action_mask), vectors)
    np.testing.assert_array_equal(feed_forward.as_stored("box", vectors[0]), vectors[0])


def test_agents_with_networks_of_their_own_answer_for_themselves():
    spec = make_spec()
    team = feed_forward.make_team(spec, MLP(8), sharing="none", key=jax.random.key(1))
    obs = jax.random.normal(jax.random.key(2), (spec.n_agents, spec.obs_size))
    outputs = feed_forward.outputs(team, obs)
    changed = feed_forward.outputs(team, obs.at[0].add(1.0))
    np.testing.assert_array_equal(outputs[1:], changed[1:])
    assert (outputs[0] != changed[0]).all()
