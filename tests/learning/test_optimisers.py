from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dop.learning import optimisers
from dop.learning.gradient_step import Loss, gradient_step


def literal_rmsprop(p: np.ndarray, gradients: list[np.ndarray], rate: float, decay: float, eps: float, clip: float) -> list[np.ndarray]:
    """The docstring's formula, with the gradient's norm cut to `clip` first."""
    v, path = np.zeros_like(p), []
    for gradient in gradients:
        g = gradient * min(1.0, clip / np.linalg.norm(gradient))
        v = decay * v + (1 - decay) * g**2
        p = p - rate * g / (np.sqrt(v) + eps)
        path.append(p)
    return path


def down(gradient: Any) -> Callable[[Any], Loss]:
    """The loss with this gradient everywhere."""
    return lambda params: (jnp.asarray(optax.tree.vdot(params, gradient)), {})


@pytest.mark.parametrize("clip", [1e9, 1.5])
def test_rmsprop_equals_the_formula(clip: float) -> None:
    # An epsilon this large tells inside the root from outside; 0 in the first gradient shows that it is there at all.
    rate, decay, eps = 0.1, 0.9, 0.5
    gradients = [np.array([3.0, 0.0, -4.0]), np.array([0.1, 0.2, 0.3]), np.array([-2.0, 1.0, 5.0]), np.array([1e-3, 0.0, 1e-2])]
    start = np.array([1.0, -1.0, 0.5])
    optimiser = optimisers.rmsprop(rate, decay=decay, eps=eps, max_grad_norm=clip)
    params = {"a": jnp.asarray(start[:1], jnp.float32), "b": jnp.asarray(start[1:], jnp.float32)}
    state = optimiser.init(params)
    for gradient, expected in zip(gradients, literal_rmsprop(start, gradients, rate, decay, eps, clip), strict=True):
        slope = {"a": jnp.asarray(gradient[:1], jnp.float32), "b": jnp.asarray(gradient[1:], jnp.float32)}
        params, state, _ = gradient_step(down(slope), params, optimiser, state, name="x")
        np.testing.assert_allclose(jnp.concatenate([params["a"], params["b"]]), expected, rtol=1e-5)


def test_first_step_by_hand() -> None:
    # |g| = 5 is cut to 1: g = (0.6, 0.8);  v = 0.75 g^2;  p = -0.1 g / (sqrt(0.75) g + 0.5)
    optimiser = optimisers.rmsprop(0.1, decay=0.25, eps=0.5, max_grad_norm=1.0)
    params = jnp.zeros(2)
    params, _, _ = gradient_step(down(jnp.array([3.0, 4.0])), params, optimiser, optimiser.init(params), name="x")
    np.testing.assert_allclose(params, [-0.06 / (0.75**0.5 * 0.6 + 0.5), -0.08 / (0.75**0.5 * 0.8 + 0.5)], rtol=1e-5)


def test_linear() -> None:
    schedule = lambda t: np.asarray(optimisers.linear(1.0, 0.2, 4, jnp.array(t)))  # noqa: E731
    np.testing.assert_allclose([schedule(t) for t in (0, 1, 2, 4, 100)], [1.0, 0.8, 0.6, 0.2, 0.2], rtol=1e-6)


def test_linear_in_no_steps_is_the_end() -> None:
    values = [float(optimisers.linear(1.0, 0.2, 0, jnp.array(t))) for t in (0, 1, 100)]
    np.testing.assert_allclose(values, [0.2, 0.2, 0.2], rtol=1e-6)


def test_periodic_update_is_all_or_nothing() -> None:
    target, source = {"w": jnp.zeros(2), "b": jnp.zeros(())}, {"w": jnp.ones(2), "b": jnp.ones(())}
    np.testing.assert_array_equal(optimisers.periodic_update(jnp.asarray(True), target, source)["w"], source["w"])
    np.testing.assert_array_equal(optimisers.periodic_update(jnp.asarray(False), target, source)["w"], target["w"])


def test_moved_goes_its_share_of_the_way() -> None:
    target, source = {"w": jnp.array([1.0, 8.0])}, {"w": jnp.array([5.0, 0.0])}
    np.testing.assert_allclose(optimisers.incremental_update(target, source, 0.25)["w"], [2, 6])
    np.testing.assert_array_equal(optimisers.incremental_update(target, source, 1.0)["w"], source["w"])
