"""One seed's work split over devices: each computes a part of the episodes or rows, and all get the same results.

Within `devices.parallel.over_seeds` every device of a seed has the seed's whole state and computes the same, except in loops over many
rows: there it takes its `part`, and puts the results together again with `gathered` or `summed`. Outside, or with one device per seed, all
functions return their arguments.
"""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

AXIS = "part"
"""Name of the mesh axis over the devices of one seed."""
Tree = TypeVar("Tree", bound=PyTree)


def count() -> int:
    """Devices of a seed where this is traced."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.shape[AXIS] if AXIS in mesh.axis_names else 1


def divides(rows: int) -> bool:
    """Whether so many rows are split: all devices get equally many."""
    return count() > 1 and rows % count() == 0


def part(tree: Tree, axis: int, rows: int) -> Tree:
    """This device's part of `rows` rows along an axis."""
    if not divides(rows):
        return tree
    size = rows // count()
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(AXIS) * size, size, axis), tree)


def gathered(tree: Tree, axis: int, rows: int) -> Tree:
    """The parts of all devices, put together along an axis to `rows` rows."""
    if not divides(rows):
        return tree
    return jax.tree.map(lambda x: jax.lax.all_gather(x, AXIS, axis=axis, tiled=True), tree)


def summed(tree: Tree, rows: int) -> Tree:
    """The sum over all devices of what each has computed from its part of `rows` rows."""
    if not divides(rows):
        return tree
    # One sum instead of one per array: each costs 40 microseconds on a CPU.
    flat, unravel = ravel_pytree(tree)
    return unravel(jax.lax.psum(flat, AXIS))


def rows_of(tree: PyTree, axis: int) -> int:
    """The length of an axis, the same in all arrays; 1 if they have fewer axes."""
    shape = jnp.shape(jax.tree.leaves(tree)[0])
    return shape[axis] if len(shape) > axis else 1
