from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop.mixers import LinearMixer, shares

KEY = jax.random.key(0)
KINDS = pytest.mark.parametrize("weights", ["linear", "product"])
Weights = Literal["linear", "product"]


@KINDS
def test_k_are_shares(weights: Weights) -> None:
    mixer = LinearMixer(5, 3, key=KEY, weights=weights)
    states = 10 * jax.random.normal(jax.random.key(1), (50, 5))
    k, b = jax.vmap(mixer)(states)
    assert jnp.all(k >= 0)
    np.testing.assert_allclose(jnp.sum(k, axis=-1), 1.0, rtol=1e-5)
    assert jnp.std(k[:, 0]) > 1e-3, "k must depend on the state"
    assert jnp.std(b) > 1e-3, "b must depend on the state"


@KINDS
def test_q_tot_never_falls_when_a_local_value_rises(weights: Weights) -> None:
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
def test_weights_of_0_give_equal_shares_and_a_finite_gradient(weights: Weights) -> None:
    mixer = jax.tree.map(jnp.zeros_like, LinearMixer(3, 4, key=KEY, weights=weights))
    np.testing.assert_allclose(mixer(jnp.ones(3))[0], 0.25)
    gradient = jax.grad(lambda m: jnp.sum(m(jnp.ones(3))[0] ** 2))(mixer)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(gradient))


def test_shares() -> None:
    np.testing.assert_allclose(shares(jnp.array([1.0, 3.0])), [0.25, 0.75])
    np.testing.assert_allclose(shares(jnp.zeros(2)), [0.5, 0.5])
    np.testing.assert_allclose(jax.jacobian(shares)(jnp.zeros(2)), jnp.zeros((2, 2)))
