"""Sums of sines: their formulas against automatic differentiation and quadrature."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop.paper.theorems.deterministic import waves
from dop.paper.theorems.deterministic.waves import Waves
from theorem_helpers import sine


def sampled_waves(inputs: int = 2) -> Waves:
    rng = np.random.default_rng(3)
    return waves.waves(rng, np.ones((4, inputs)))


def quadrature(function: Any, inputs: int, sd: float) -> tuple[float, float]:
    """Mean and variance of a function of normal inputs, by Gauss and Hermite."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    points = sd * np.stack(np.meshgrid(*[nodes] * inputs, indexing="ij"), axis=-1).reshape(-1, inputs)
    weight = np.prod(np.stack(np.meshgrid(*[weights] * inputs, indexing="ij"), axis=-1).reshape(-1, inputs), axis=1)
    weight /= weight.sum()
    found = function(points)
    return float(weight @ found), float(weight @ found**2 - (weight @ found) ** 2)


def test_gradients_are_automatic_differentiations() -> None:
    f, x = sampled_waves(3), np.random.default_rng(0).normal(size=(5, 3))

    def value(each: jax.Array) -> jax.Array:
        return jnp.asarray(f.amplitude) @ jnp.sin(jnp.asarray(f.phase) + jnp.asarray(f.frequency) @ each)

    with jax.enable_x64(True):
        expected = np.asarray(jax.vmap(jax.grad(value))(jnp.asarray(x)))
    np.testing.assert_allclose(f.gradient(x), expected, atol=1e-12)
    np.testing.assert_allclose(np.stack([f.partial(i)(x) for i in range(3)], axis=1), expected, atol=1e-12)


def test_means_and_variances_are_quadratures() -> None:
    f = sampled_waves()
    mean, variance = quadrature(f, 2, 0.7)
    assert f.mean(0.7) == pytest.approx(mean) and f.variance(0.7) == pytest.approx(variance)
    # E[f | x_1] has the same mean, and the rest is uncorrelated with it.
    given = f.conditional_mean(0, 0.7)
    rest_mean, rest = quadrature(lambda x: f(x) - given(x), 2, 0.7)
    assert rest_mean == pytest.approx(0, abs=1e-12)
    assert given.variance(0.7) + rest == pytest.approx(variance)


def test_the_variance_of_one_sine_by_hand() -> None:
    # E[sin^2 x] = (1 - exp(-2)) / 2 for x ~ N(0, 1).
    assert sine(1.0, 0.0, 1.0).variance(1.0) == pytest.approx((1 - np.exp(-2)) / 2)
