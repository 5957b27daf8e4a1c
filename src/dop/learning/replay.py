"""Replay: a ring of whole episodes. One short file over any pytree, since draws must be restricted to the newest episodes (the paper's
on-policy buffer is then the end of the off-policy one, not a second copy). `bench/replay.py` measures it beside flashbax."""

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
    """Items ever added. The next one goes to place `added % capacity`."""

    @property
    def capacity(self) -> int:
        return jax.tree.leaves(self.items)[0].shape[0]

    @property
    def size(self) -> Int[Array, ""]:
        return jnp.minimum(self.added, self.capacity)

    def add(self, batch: Item) -> Replay[Item]:
        """Append the items of `batch` (leading axis), forgetting the oldest."""
        n = jax.tree.leaves(batch)[0].shape[0]
        places = (self.added + jnp.arange(n)) % self.capacity
        items = jax.tree.map(lambda old, new: old.at[places].set(new.astype(old.dtype), unique_indices=True), self.items, batch)
        return Replay(items=items, added=self.added + n)

    def latest(self, n: int) -> Item:
        """The newest `n` items, newest first. There must be as many."""
        return self._take(jnp.arange(n))

    def uniform(self, key: PRNGKeyArray, n: int, *, window: int | None = None) -> Item:
        """`n` items drawn with replacement from all, or from the newest `window`."""
        newest = jnp.minimum(self.size, self.capacity if window is None else window)
        return self._take(jax.random.randint(key, (n,), 0, newest))

    def _take(self, age: Int[Array, " n"]) -> Item:
        places = (self.added - 1 - age) % self.capacity
        return jax.tree.map(lambda x: x.at[places].get(mode="promise_in_bounds"), self.items)


def allocate(example: Item, capacity: int) -> Replay[Item]:
    """An empty ring for items like `example` (arrays or shapes)."""
    items = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), example)
    return Replay(items=items, added=jnp.zeros((), jnp.int32))


def size_in_bytes(example: object, capacity: int) -> int:
    """What `allocate` would take."""
    return capacity * sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(example))
