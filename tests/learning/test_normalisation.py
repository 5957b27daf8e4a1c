from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop.learning.normalisation import RunningMeanVar


def batches(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches of different sizes and locations, NaN where the mask is off."""
    made = []
    for shape, location in (((2, 3), 0.0), ((7,), 10.0), ((1, 4), -3.0)):
        x, mask = rng.normal(location, 2.0, size=(*shape, 4)).astype(np.float32), rng.random(shape) < 0.7
        mask.flat[0] = True
        made.append((np.where(mask[..., None], x, np.nan), mask))
    return made


def fit(data: list[tuple[np.ndarray, np.ndarray]]) -> RunningMeanVar:
    moments = RunningMeanVar.start(4)
    for x, mask in data:
        moments = moments.update(jnp.asarray(x), jnp.asarray(mask))
    return moments


def test_moments_equal_those_of_all_unmasked_rows() -> None:
    data = batches(np.random.default_rng(0))
    moments, rows = fit(data), np.concatenate([x[mask] for x, mask in data])
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(moments.variance, rows.var(axis=0), rtol=1e-5)


def test_an_empty_batch_changes_nothing() -> None:
    moments = fit(batches(np.random.default_rng(0)))
    same = moments.update(jnp.full((2, 4), jnp.nan), jnp.zeros(2, bool))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), same, moments)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.int32])
def test_moments_are_kept_in_full_precision(dtype: type) -> None:
    moments = RunningMeanVar.start(1).update(jnp.array([[1], [2], [6]], dtype), jnp.ones(3, bool))
    assert moments.mean.dtype == moments.variance.dtype == jnp.float32
    np.testing.assert_allclose(moments.mean, [3.0])
    np.testing.assert_allclose(moments.variance, [14 / 3], rtol=1e-6)


def test_standardise_by_hand() -> None:
    # mean (1, 5), standard deviation (1, 0): (x - mean) / (deviation + floor), cut to the limit
    moments = RunningMeanVar.start(2).update(jnp.array([[0.0, 5.0], [2.0, 5.0]]), jnp.ones(2, bool))
    x = jnp.array([[0.0, 5.2], [4.0, 5.0], [100.0, -90.0]])
    np.testing.assert_allclose(moments.normalise(x, floor=1.0, limit=3.0), [[-0.5, 0.2], [1.5, 0.0], [3.0, -3.0]], rtol=1e-5)
    np.testing.assert_allclose(moments.normalise(x, floor=0.25, limit=3.0), [[-0.8, 0.8], [2.4, 0.0], [3.0, -3.0]], rtol=1e-5)


def test_standardise_is_bounded_by_default() -> None:
    moments = RunningMeanVar.start(2).update(jnp.array([[0.0, 5.0], [2.0, 5.0]]), jnp.ones(2, bool))
    assert np.all(np.isfinite(moments.normalise(jnp.array([-1e30, 1e30]))))
    np.testing.assert_array_equal(moments.normalise(jnp.array([1.0, 5.0])), 0.0)


def test_start_changes_little() -> None:
    x = jnp.array([1.0, -2.0])
    np.testing.assert_allclose(RunningMeanVar.start(2).normalise(x, floor=0.0), x)


def test_targets_are_normalised_and_back() -> None:
    # mean 3, standard deviation 2, no limits
    moments = RunningMeanVar.start(1).update(jnp.array([[1.0], [5.0]]), jnp.ones(2, bool))
    targets, normalised = jnp.array([[3.0, 5.0], [-997.0, 1.0]]), jnp.array([[0.0, 1.0], [-500.0, -1.0]])
    np.testing.assert_allclose(moments.normalise_target(targets), normalised, rtol=1e-6)
    np.testing.assert_allclose(moments.denormalise(normalised), targets, rtol=1e-6)


@pytest.mark.parametrize(("constant", "scale"), [(7.0, 7.0), (0.0, 1.0)])
def test_constant_targets_are_divided_by_their_magnitude(constant: float, scale: float) -> None:
    moments = RunningMeanVar.start(1).update(jnp.full((3, 1), constant), jnp.ones(3, bool))
    np.testing.assert_allclose(moments.normalise_target(jnp.array([constant, constant + scale])), [0, 1], atol=1e-6)
