from __future__ import annotations

import functools
import itertools
from typing import Any, Literal

import equinox as eqx
import hypothesis.extra.numpy
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dop.mixers import LinearMixer, MonotonicMixer, SumMixer, shares

KEY = jax.random.key(0)
KINDS = pytest.mark.parametrize("weights", ["linear", "product"])
Weights = Literal["linear", "product"]


@KINDS
def test_k_is_normalised(weights: Weights) -> None:
    mixer = LinearMixer(5, 3, key=KEY, weights=weights)
    states = 10 * jax.random.normal(jax.random.key(1), (50, 5))
    k, b = jax.vmap(mixer)(states)
    assert jnp.all(k >= 0)
    np.testing.assert_allclose(jnp.sum(k, axis=-1), 1.0, rtol=1e-5)
    assert jnp.std(k[:, 0]) > 1e-3, "k must depend on the state"
    assert jnp.std(b) > 1e-3, "b must depend on the state"


@KINDS
def test_q_tot_is_monotonic_in_local_values(weights: Weights) -> None:
    mixer = LinearMixer(5, 3, key=KEY, weights=weights)
    state = jax.random.normal(jax.random.key(1), (5,))

    def q_tot(q: jax.Array) -> jax.Array:
        k, b = mixer(state)
        return jnp.sum(k * q) + b

    slope = jax.grad(q_tot)(jnp.array([1.0, -2.0, 3.0]))
    np.testing.assert_allclose(slope, mixer(state)[0], rtol=1e-6)
    assert jnp.all(slope >= 0)


def hand_mixer(*, normalise: bool) -> LinearMixer:
    mixer = LinearMixer(2, 2, key=KEY, normalise=normalise)
    assert mixer.b_layer is not None
    mixer = eqx.tree_at(lambda m: (m.k_layer.weight, m.k_layer.bias), mixer, (jnp.array([[1.0, 2.0], [-1.0, 0.0]]), jnp.array([0.0, -0.5])))
    return eqx.tree_at(
        lambda m: (m.b_layer.weight, m.b_layer.bias), mixer, (jnp.array([[0.5, -1.0]]), jnp.array([0.25])), is_leaf=lambda x: x is None
    )


def test_linear_by_hand() -> None:
    # s = (2, 1/4): |1 2 + 2 1/4| = 2.5, |-2 - 1/2| = 2.5;  s = (1/2, 0): |1/2|, |-1|;  b = s_0/2 - s_1 + 1/4
    states = jnp.array([[2.0, 0.25], [0.5, 0.0]])
    k, b = jax.vmap(hand_mixer(normalise=False))(states)
    np.testing.assert_allclose(k, [[2.5, 2.5], [0.5, 1.0]])
    np.testing.assert_allclose(b, [1.0, 0.5])
    k, b = jax.vmap(hand_mixer(normalise=True))(states)
    np.testing.assert_allclose(k, [[1 / 2, 1 / 2], [1 / 3, 2 / 3]], rtol=1e-6)
    np.testing.assert_allclose(b, [1.0, 0.5])


def test_product_by_hand() -> None:
    mixer = LinearMixer(1, 2, key=KEY, weights="product", embedding=2, normalise=False)
    assert mixer.k_scale is not None
    mixer = eqx.tree_at(
        lambda m: (m.k_layer.weight, m.k_layer.bias, m.k_scale.weight, m.k_scale.bias),
        mixer,
        (jnp.array([[1.0], [-2.0], [3.0], [0.0]]), jnp.array([0.0, 0.0, 0.0, -1.0]), jnp.array([[1.0], [-1.0]]), jnp.array([0.0, -1.0])),
    )
    # s = 2: rows of agents |2, -4|, |6, -1|; scale |2, -3|: (2 2 + 4 3, 6 2 + 1 3)
    np.testing.assert_allclose(mixer(jnp.array([2.0]))[0], [16.0, 15.0])


def test_without_bias_b_is_0() -> None:
    mixer = LinearMixer(2, 2, key=KEY, bias=False)
    assert mixer.b_layer is None
    assert mixer(jnp.array([3.0, -7.0]))[1] == 0.0


@KINDS
def test_zero_weights_give_equal_k_and_a_finite_gradient(weights: Weights) -> None:
    mixer = jax.tree.map(jnp.zeros_like, LinearMixer(3, 4, key=KEY, weights=weights))
    np.testing.assert_allclose(mixer(jnp.ones(3))[0], 0.25)
    gradient = jax.grad(lambda m: jnp.sum(m(jnp.ones(3))[0] ** 2))(mixer)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(gradient))


def test_shares() -> None:
    np.testing.assert_allclose(shares(jnp.array([1.0, 3.0])), [0.25, 0.75])
    np.testing.assert_allclose(shares(jnp.zeros(2)), [0.5, 0.5])
    np.testing.assert_allclose(jax.jacobian(shares)(jnp.zeros(2)), jnp.zeros((2, 2)))


# --------------------------------------------------------------------------------------------------------- VDN's and QMIX's


def hand_monotonic() -> MonotonicMixer:
    """State size 1, two agents, two hidden units, hypernetworks of one layer."""
    mixer = MonotonicMixer(1, 2, key=KEY, embedding=2, hypernet_hidden=0)
    layers = lambda m: (m.hidden_weights.layers[0], m.hidden_bias, m.output_weights.layers[0], *m.state_value.layers)  # noqa: E731
    where = lambda m: [leaf for layer in layers(m) for leaf in (layer.weight, layer.bias)]  # noqa: E731
    numbers = [
        *(jnp.array([[1.0], [-2.0], [0.0], [1.0]]), jnp.array([0.0, 0.0, 3.0, -3.0])),
        *(jnp.array([[1.0], [-1.0]]), jnp.array([0.0, -4.0])),
        *(jnp.array([[-1.0], [0.5]]), jnp.array([0.0, 0.0])),
        *(jnp.array([[1.0], [-1.0]]), jnp.array([-1.0, 0.0])),
        *(jnp.array([[5.0, 7.0]]), jnp.array([0.25])),
    ]
    return eqx.tree_at(where, mixer, numbers)


def test_monotonic_by_hand() -> None:
    # s = 2: W_1 = |2 -4; 3 -1| (row: agent, column: hidden), b_1 = (2, -6), w_2 = |-2, 1|, V = 5 relu(1) + 7 relu(-2) + 1/4 = 21/4
    # Q = (1, -1): hidden = elu(2 - 3 + 2, 4 - 1 - 6) = (1, e^-3 - 1);  Q_tot = 2 + e^-3 - 1 + 21/4
    q_tot = hand_monotonic()(jnp.array([1.0, -1.0]), jnp.array([2.0]))
    np.testing.assert_allclose(q_tot, 6.25 + np.exp(-3), rtol=1e-6)


@pytest.mark.parametrize("hypernet_hidden", [0, 5])
@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e3]),
    state=hypothesis.extra.numpy.arrays(np.float32, 3, elements=st.floats(-1e3, 1e3, width=32)),
    q=hypothesis.extra.numpy.arrays(np.float32, 4, elements=st.floats(-1e3, 1e3, width=32)),
)
def test_q_tot_is_monotonic_in_every_q(hypernet_hidden: int, seed: int, scale: float, state: np.ndarray, q: np.ndarray) -> None:
    value, slope = slopes(hypernet_hidden)(jax.random.key(seed), scale, state, q)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    assert (slope >= 0).all()


@functools.cache
def slopes(hypernet_hidden: int) -> Any:
    @jax.jit
    def of(key: jax.Array, scale: float, state: jax.Array, q: jax.Array) -> tuple[jax.Array, jax.Array]:
        mixer = MonotonicMixer(3, 4, key=key, embedding=6, hypernet_hidden=hypernet_hidden)
        mixer = jax.tree.map(lambda x: scale * x, mixer)
        return jax.value_and_grad(mixer)(q, state)

    return of


@pytest.mark.parametrize("kind", ["monotonic", "one-layer", "sum"])
def test_each_agents_best_action_is_its_part_of_the_best_joint_action(kind: str) -> None:
    """Over all 4^3 joint actions, for 200 random mixers, states and values."""

    @jax.jit
    @jax.vmap
    def totals(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        key_mixer, key_state, key_q = jax.random.split(key, 3)
        mixer = SumMixer() if kind == "sum" else MonotonicMixer(5, 3, key=key_mixer, hypernet_hidden=0 if kind == "one-layer" else 8)
        state, q = 3 * jax.random.normal(key_state, (5,)), 3 * jax.random.normal(key_q, (3, 4))
        joint = jnp.asarray(list(itertools.product(range(4), repeat=3)))
        every = jax.vmap(lambda a: mixer(q[jnp.arange(3), a], state))(joint)
        return every, mixer(jnp.max(q, axis=-1), state)

    every, by_each = jax.device_get(totals(jax.random.split(KEY, 200)))
    np.testing.assert_allclose(by_each, every.max(axis=-1), rtol=1e-5, atol=1e-5)
    assert (every.std(axis=-1) > 1e-3).all()


def test_sum_is_the_linear_mixer_with_k_1_and_b_0() -> None:
    linear = LinearMixer(3, 4, key=KEY, normalise=False)
    ones = (jnp.zeros_like(linear.k_layer.weight), jnp.ones(4), jax.tree.map(jnp.zeros_like, linear.b_layer))
    linear = eqx.tree_at(lambda m: (m.k_layer.weight, m.k_layer.bias, m.b_layer), linear, ones)
    q, state = jnp.array([1.0, -2.5, 0.0, 4.0]), jnp.array([3.0, -1.0, 2.0])
    k, b = linear(state)
    np.testing.assert_allclose(SumMixer()(q, state), jnp.sum(k * q) + b)
    np.testing.assert_allclose(SumMixer()(q, state), 2.5)


@pytest.mark.parametrize(("hypernet_hidden", "layers"), [(0, 1), (8, 2)])
def test_hypernetworks_have_the_published_sizes(hypernet_hidden: int, layers: int) -> None:
    mixer = MonotonicMixer(7, 3, key=KEY, embedding=4, hypernet_hidden=hypernet_hidden)
    assert [len(net.layers) for net in (mixer.hidden_weights, mixer.output_weights, mixer.state_value)] == [layers, layers, 2]
    assert [net.layers[-1].out_features for net in (mixer.hidden_weights, mixer.output_weights, mixer.state_value)] == [12, 4, 1]
    assert mixer.hidden_bias.out_features == mixer.state_value.layers[0].out_features == 4
