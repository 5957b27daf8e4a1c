"""Gradient steps on a model of two numbers, by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array

from dop.learning.gradient_step import Loss, gradient_step, gradient_step_of_sum

START = {"a": jnp.asarray(1.0), "b": jnp.asarray(-2.0)}


def loss(params: dict[str, Array], target: Array) -> Loss:
    """Gradients a - target and 3."""
    value = (params["a"] - target) ** 2 / 2 + 3 * params["b"]
    return value, {"value": value}


def test_one_step_down_the_gradient_with_its_norm_and_the_metrics_of_the_loss() -> None:
    optimiser = optax.sgd(0.5, momentum=0.5)
    params, state, metrics = gradient_step(lambda p: loss(p, jnp.asarray(5.0)), START, optimiser, optimiser.init(START), name="critic")
    # Gradients -4 and 3: norm 5.
    assert jax.tree.map(float, params) == {"a": 3.0, "b": -3.5}
    assert jax.tree.map(float, metrics) == {"value": 2.0, "critic_grad_norm": 5.0}
    # The optimiser remembers: -2 + 0.5 (-4) = -4 and 3 + 0.5 (3) = 4.5.
    params, _, metrics = gradient_step(lambda p: loss(p, jnp.asarray(5.0)), params, optimiser, state, name="actor")
    assert jax.tree.map(float, params) == {"a": 5.0, "b": -5.75}
    assert float(metrics["actor_grad_norm"]) == pytest.approx(13**0.5)


def test_the_norm_is_that_before_clipping() -> None:
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0))
    params, _, metrics = gradient_step(lambda p: loss(p, jnp.asarray(5.0)), START, optimiser, optimiser.init(START), name="critic")
    np.testing.assert_allclose([params["a"], params["b"]], [1 + 4 / 5, -2 - 3 / 5], rtol=1e-6)
    assert float(metrics["critic_grad_norm"]) == 5


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_step_of_a_sum_is_one_step_of_the_loss_of_all(count: int) -> None:
    """What lies beyond `count` is not looked at."""
    targets, optimiser = jnp.asarray([5.0, -1.0, 2.0, jnp.nan]), optax.sgd(0.5)

    def of_all(params: Any) -> Loss:
        terms = [loss(params, target)[0] for target in targets[:count]]
        return sum(terms, start=jnp.zeros(())), {"value": sum(terms, start=jnp.zeros(()))}

    wanted = gradient_step(of_all, START, optimiser, optimiser.init(START), name="critic")
    found = gradient_step_of_sum(loss, START, optimiser, optimiser.init(START), targets, jnp.asarray(count), name="critic")
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), found, wanted)
