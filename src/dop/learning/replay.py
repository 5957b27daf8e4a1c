"""Replay: a ring buffer of whole episodes, over any pytree. Draws can be restricted to the newest episodes, so that the paper's on-policy
buffer needs no second copy. `bench/replay.py` compares it with flashbax."""

from __future__ import annotations

import math
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

Item = TypeVar("Item")


class Replay(eqx.Module, Generic[Item]):
    """The newest `capacity` items, each leaf with a leading capacity axis."""

    items: Item
    added: Int[Array, ""]
    """Number of items ever added. The next index is `added % capacity`."""

    @property
    def capacity(self) -> int:
        return jax.tree.leaves(self.items)[0].shape[0]

    @property
    def size(self) -> Int[Array, ""]:
        return jnp.minimum(self.added, self.capacity)

    def add(self, batch: Item) -> Replay[Item]:
        """Append the items of `batch` (leading axis), overwriting the oldest."""
        n = jax.tree.leaves(batch)[0].shape[0]
        indices = (self.added + jnp.arange(n)) % self.capacity
        if n == 1:
            # XLA makes a slice update of a scatter of one row, fuses it into the draws that follow, and then copies the whole buffer.
            # A second row, beyond the end and therefore dropped, keeps it a scatter in place.
            indices = jnp.append(indices, self.capacity)
            batch = jax.tree.map(lambda new: jnp.concatenate([new, new]), batch)

        def overwritten(old: Array, new: Array) -> Array:
            return old.at[indices].set(new.astype(old.dtype), mode="drop", unique_indices=True)

        items = jax.tree.map(overwritten, self.items, batch)
        return Replay(items=items, added=self.added + n)

    def latest(self, n: int) -> Item:
        """The newest `n` items, newest first. The buffer must hold at least `n`."""
        return self._take(jnp.arange(n))

    def uniform(self, key: PRNGKeyArray, n: int, *, window: int | None = None) -> Item:
        """`n` items drawn uniformly with replacement from all, or from the newest `window`."""
        newest = jnp.minimum(self.size, self.capacity if window is None else window)
        return self._take(jax.random.randint(key, (n,), 0, newest))

    def _take(self, age: Int[Array, " n"]) -> Item:
        indices = (self.added - 1 - age) % self.capacity
        return jax.tree.map(lambda x: x.at[indices].get(mode="promise_in_bounds"), self.items)


def allocate(example: Item, capacity: int) -> Replay[Item]:
    """An empty buffer for items like `example` (arrays or shapes)."""
    items = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), example)
    return Replay(items=items, added=jnp.zeros((), jnp.int32))


def size_in_bytes(example: object, capacity: int) -> int:
    """Memory that `allocate` would use."""
    return capacity * sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(example))
