from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from dop.learning import transitions
from dop.learning.replay import allocate
from helpers import make_episodes, make_spec, poison_padding

SPEC = make_spec(time_limit=5)
LENGTHS = (1, 5, 3)
EPISODES = make_episodes(jax.random.key(0), SPEC, LENGTHS)


def replay():
    """A ring with room for more than it holds."""
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), EPISODES)
    return allocate(one, 7).add(EPISODES)


def test_every_step_that_was_taken_is_drawn_alike_and_no_other():
    drawn = transitions.uniform(replay(), jax.random.key(1), 18_000)
    rewards, counts = np.unique(np.asarray(drawn.reward), return_counts=True)
    np.testing.assert_array_equal(rewards, np.sort(EPISODES.reward[EPISODES.mask]))
    np.testing.assert_allclose(counts / 18_000, 1 / 9, atol=0.01)


def test_a_transition_is_a_step_and_what_follows():
    found = transitions.at(EPISODES, jnp.array([1, 2]), jnp.array([4, 2]))
    for row, (episode, t) in enumerate([(1, 4), (2, 2)]):
        for field in ("obs", "state", "action_mask"):
            stored = getattr(EPISODES, field)[episode]
            np.testing.assert_array_equal(getattr(found, field)[row], stored[t])
            np.testing.assert_array_equal(getattr(found, f"next_{field}")[row], stored[t + 1])
        np.testing.assert_array_equal(found.action[row], EPISODES.action[episode, t])
    # The first was cut by the time limit, the second terminated.
    np.testing.assert_array_equal(found.discount, [1, 0])


def test_padding_is_never_seen():
    clean, dirty = (
        transitions.uniform(allocated, jax.random.key(2), 50) for allocated in (replay(), replay().add(poison_padding(EPISODES)))
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(clean))
    assert np.abs(dirty.obs).max() < 1e3


def test_half_precision_comes_back_in_full():
    half = jax.tree.map(lambda x: x.astype(jnp.float16) if x.ndim == 4 and x.dtype == jnp.float32 else x, EPISODES)
    assert half.obs.dtype == jnp.float16
    assert transitions.at(half, jnp.array([0]), jnp.array([0])).obs.dtype == jnp.float32
