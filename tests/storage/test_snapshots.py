"""Snapshots: bounded, spread over the run, whole, and rolled back with the run."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop.errors import RunError
from dop.storage.snapshots import LIMIT, Snapshots

LEARNER = {"w": jnp.arange(6.0).reshape(2, 3), "key": jax.random.key(3)}


def test_what_was_kept_comes_back(tmp_path: Path):
    snapshots = Snapshots(tmp_path / "snapshots")
    assert snapshots.steps == []
    snapshots.save(700, LEARNER)
    found = snapshots.restore(700, jax.eval_shape(lambda: LEARNER))
    np.testing.assert_array_equal(found["w"], LEARNER["w"])
    assert found["key"] == LEARNER["key"]
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["000000000700.npz"]


@pytest.mark.parametrize("limit", [2, 3, 5, LIMIT])
def test_they_are_few_and_spread_over_the_whole_run(tmp_path: Path, limit: int):
    """The largest gap is less than twice what equal gaps would be, at whatever moment one looks; up to 70 here."""
    snapshots = Snapshots(tmp_path, limit)
    for step in range(71):
        snapshots.save(step, {"w": jnp.zeros(1)})
        steps = snapshots.steps
        assert len(steps) == min(step + 1, limit)
        assert (steps[0], steps[-1]) == (0, step)
        assert step < limit or max(np.diff(steps)) < 2 * step / (limit - 1)


def test_a_run_that_goes_back_drops_the_later_ones(tmp_path: Path):
    snapshots = Snapshots(tmp_path)
    for step in (0, 10, 20, 30):
        snapshots.save(step, LEARNER)
    snapshots.keep_until(20)
    assert snapshots.steps == [0, 10, 20]


def test_damaged_and_foreign_ones_are_refused(tmp_path: Path):
    snapshots = Snapshots(tmp_path)
    snapshots.save(1, LEARNER)
    with pytest.raises(RunError, match="another configuration"):
        snapshots.restore(1, {"w": jax.ShapeDtypeStruct((2, 2), jnp.float32), "key": LEARNER["key"]})
    (tmp_path / "000000000001.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(RunError, match=r"000000000001\.npz cannot be read"):
        snapshots.restore(1, LEARNER)
    with pytest.raises(RunError, match="cannot be read"):
        snapshots.restore(2, LEARNER)
