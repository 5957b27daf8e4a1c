"""A critic's minibatches and steps, on rows that are numbered and a model that is one number."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array

from dop.learning import minibatches
from dop.learning.gradient_step import Loss

LENGTHS = np.array([2, 4, 1])
MASK = jnp.asarray(np.arange(5)[:, None] < LENGTHS)
ROWS = jnp.arange(15).reshape(5, 3)
KEY = jax.random.key(0)


def test_timesteps_in_order_and_backwards() -> None:
    rows, mask, count = minibatches.make_minibatches(KEY, ROWS, MASK, "timestep")
    assert int(count) == 4
    np.testing.assert_array_equal(rows, ROWS)
    np.testing.assert_array_equal(mask, MASK)
    back, mask, count = minibatches.make_minibatches(KEY, ROWS, MASK, "backwards")
    assert int(count) == 4
    np.testing.assert_array_equal(back[:4], ROWS[:4][::-1])
    np.testing.assert_array_equal(mask[:4], MASK[:4][::-1])


def test_shuffled_minibatches_hold_every_filled_row_once_and_come_first() -> None:
    rows, mask, count = minibatches.make_minibatches(KEY, ROWS, MASK, "shuffled")
    assert int(count) == 3  # seven filled rows, three to a minibatch
    assert int(jnp.sum(mask[:3])) == 7
    assert sorted(np.asarray(rows)[np.asarray(mask)].tolist()) == sorted(np.asarray(ROWS)[np.asarray(MASK)].tolist())
    other, _, _ = minibatches.make_minibatches(jax.random.key(1), ROWS, MASK, "shuffled")
    assert (other != rows).any()


@pytest.mark.parametrize(("schedule", "sums"), [("timestep", [1, 1, 1, 1, 0]), ("full", [3 / 7, 2 / 7, 1 / 7, 1 / 7, 0])])
def test_weights_sum_to_one_over_an_optimiser_step(schedule: Any, sums: list[float]) -> None:
    np.testing.assert_allclose(minibatches.weights(MASK, schedule).sum(axis=1), sums, rtol=1e-6)


def test_a_partly_filled_minibatch_counts_by_its_rows() -> None:
    mask = jnp.asarray([[True, True, True], [True, False, False]])
    np.testing.assert_allclose(minibatches.weights(mask, "shuffled"), [[1 / 3, 1 / 3, 1 / 3], [1 / 3, 0, 0]], rtol=1e-6)


def test_own_shares_are_asked_for_by_axis() -> None:
    asked = []
    minibatches.weights(MASK, "full", lambda mask, axis: asked.append(axis) or mask * 1.0)
    minibatches.weights(MASK, "timestep", lambda mask, axis: asked.append(axis) or mask * 1.0)
    assert asked == [(0, 1), 1]


def loss(x: Array, minibatch: Array) -> Loss:
    """Gradient x - minibatch."""
    return minibatches.squared_error(x - minibatch, jnp.asarray(0.5))


def test_one_step_for_each_minibatch_in_order() -> None:
    # Steps of half the way to 8, 4, 2 from 0: 4, 4, 3. The fourth minibatch is not looked at.
    optimiser = optax.sgd(0.5)
    x, _, metrics = minibatches.fit(
        loss,
        optimiser,
        jnp.zeros(()),
        optimiser.init(jnp.zeros(())),
        jnp.asarray([8.0, 4.0, 2.0, jnp.nan]),
        jnp.asarray(3),
        full_batch=False,
    )
    assert float(x) == 3
    # |gradients| 8, 0, 2; losses 32, 0, 2
    assert {name: float(value) for name, value in metrics.items()} == pytest.approx(
        {"critic_loss": 34 / 3, "td_error_abs": 5 / 3, "critic_grad_norm": 10 / 3}
    )


def test_a_single_step_for_the_sum_of_all() -> None:
    # The gradients at 0 are -8, -4, -2.
    optimiser = optax.sgd(0.5)
    x, _, metrics = minibatches.fit(
        loss,
        optimiser,
        jnp.zeros(()),
        optimiser.init(jnp.zeros(())),
        jnp.asarray([8.0, 4.0, 2.0, jnp.nan]),
        jnp.asarray(3),
        full_batch=True,
    )
    assert float(x) == 7
    assert {name: float(value) for name, value in metrics.items()} == pytest.approx(
        {"critic_loss": 42, "td_error_abs": 7, "critic_grad_norm": 14}
    )
