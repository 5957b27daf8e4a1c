"""Data parallelism: the devices of one seed share its episodes and rows, and all get the same results.

Within `devices.parallel.over_seeds` every device of a seed has the seed's whole state and computes the same, except in loops over many
rows: there each computes its `shard`, and `all_gather` or `all_reduce` gives all of them the whole. Outside, or with one device per seed,
all functions return their arguments.
"""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

AXIS = "shard"
"""Name of the mesh axis over the devices of one seed."""
Tree = TypeVar("Tree", bound=PyTree)


def size() -> int:
    """Number of devices of a seed where this is traced."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.shape[AXIS] if AXIS in mesh.axis_names else 1


def divides(rows: int) -> bool:
    """Whether so many rows are sharded: all devices get equally many."""
    return size() > 1 and rows % size() == 0


def shard(tree: Tree, axis: int, rows: int) -> Tree:
    """This device's part of `rows` rows along an axis."""
    if not divides(rows):
        return tree
    own = rows // size()
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(AXIS) * own, own, axis), tree)


def all_gather(tree: Tree, axis: int, rows: int) -> Tree:
    """The shards of all devices, concatenated along an axis to `rows` rows."""
    if not divides(rows):
        return tree
    return jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, axis=axis, tiled=True), tree)


def all_reduce(tree: Tree, rows: int) -> Tree:
    """The sum over all devices of what each has computed from its shard of `rows` rows."""
    if not divides(rows):
        return tree
    # One vector instead of many arrays: XLA on a CPU (jaxlib 0.10.2) sums each array by itself.
    flat, unravel = ravel_pytree(tree)
    return unravel(jax.lax.psum(flat, AXIS))


def rows_of(tree: PyTree, axis: int) -> int:
    """The length of an axis, the same in all arrays; 1 if they have fewer axes."""
    shape = jnp.shape(jax.tree.leaves(tree)[0])
    return shape[axis] if len(shape) > axis else 1
