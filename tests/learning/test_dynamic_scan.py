from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from dop.learning import dynamic_scan

TIME = 5
PARAMS = {"w": jnp.array([[0.5, -0.3], [0.2, 0.8]]), "table": jnp.array([[0.1, 0.2], [-0.4, 0.3], [0.7, -0.6]])}
CARRY = {"h": jnp.array([0.3, -0.2])}
XS = {"x": jnp.linspace(-1, 1, 2 * TIME).reshape(TIME, 2), "row": jnp.array([0, 2, 1, 1, 0])}
LENGTHS = pytest.mark.parametrize("length", range(TIME + 1))


def step(params: Any, carry: Any, x: Any) -> tuple[Any, Any]:
    """A small recurrent network with float and integer inputs and two outputs."""
    h = jnp.tanh(params["w"] @ carry["h"] + params["table"][x["row"]] + x["x"])
    return {"h": h}, (h**2, jnp.sum(h))


@jax.jit
def ours(params: Any, carry: Any, length: Array) -> Any:
    return dynamic_scan.scan(step, params, carry, XS, length)


def reference(params: Any, carry: Any, length: int) -> Any:
    first = jax.tree.map(lambda x: x[:length], XS)
    _, ys = jax.lax.scan(lambda c, x: step(params, c, x), carry, first)
    return jax.tree.map(lambda y: jnp.pad(y, [(0, TIME - length)] + [(0, 0)] * (y.ndim - 1)), ys)


def total(ys: Any) -> Array:
    """A loss in which every entry has its own weight."""
    weights = jax.tree.map(lambda y: jnp.arange(1.0, y.size + 1).reshape(y.shape), ys)
    return sum(jax.tree.leaves(jax.tree.map(lambda w, y: jnp.sum(w * y), weights, ys)), start=jnp.zeros(()))


def assert_trees_close(got: Any, expected: Any) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), got, expected)


our_slopes = jax.jit(jax.grad(lambda params, carry, length: total(ours(params, carry, length)), argnums=(0, 1)))


@LENGTHS
def test_scan_equals_lax_scan_on_the_first_steps_and_0_after(length: int) -> None:
    got = ours(PARAMS, CARRY, jnp.array(length))
    assert_trees_close(got, reference(PARAMS, CARRY, length))
    for y in jax.tree.leaves(got):
        np.testing.assert_array_equal(y[length:], 0.0)


@LENGTHS
def test_gradients_equal_those_of_lax_scan(length: int) -> None:
    expected = jax.grad(lambda p, c: total(reference(p, c, length)), argnums=(0, 1))(PARAMS, CARRY)
    assert_trees_close(our_slopes(PARAMS, CARRY, jnp.array(length)), expected)


def test_vmap_over_lengths() -> None:
    lengths = jnp.array([3, 0, 5, 1])
    values = jax.vmap(lambda n: ours(PARAMS, CARRY, n))(lengths)
    slopes = jax.jit(jax.vmap(lambda n: our_slopes(PARAMS, CARRY, n)))(lengths)
    for i, length in enumerate(lengths):
        pick = lambda tree, i=i: jax.tree.map(lambda x: x[i], tree)  # noqa: E731
        assert_trees_close(pick(values), ours(PARAMS, CARRY, length))
        assert_trees_close(pick(slopes), our_slopes(PARAMS, CARRY, length))


def test_what_stands_after_the_length_is_never_read() -> None:
    poisoned = XS | {"x": XS["x"].at[3:].set(jnp.nan)}

    def loss(params: Any) -> Array:
        return total(dynamic_scan.scan(step, params, CARRY, poisoned, jnp.array(3)))

    value, slope = jax.jit(jax.value_and_grad(loss))(PARAMS)
    np.testing.assert_allclose(value, total(ours(PARAMS, CARRY, jnp.array(3))), rtol=1e-6)
    assert_trees_close(slope, our_slopes(PARAMS, CARRY, jnp.array(3))[0])


@LENGTHS
def test_map_steps(length: int) -> None:
    got = dynamic_scan.map_steps(lambda w, x: {"y": w * x["x"], "row": x["row"] + 1}, jnp.array(2.0), XS, jnp.array(length))
    counts = np.arange(TIME) < length
    np.testing.assert_allclose(got["y"], np.where(counts[:, None], 2 * XS["x"], 0))
    np.testing.assert_array_equal(got["row"], np.where(counts, XS["row"] + 1, 0))
    assert got["row"].dtype == XS["row"].dtype


def test_at() -> None:
    got = dynamic_scan.at(XS, jnp.array(1))
    np.testing.assert_array_equal(got["x"], XS["x"][1])
    assert got["row"] == 2
