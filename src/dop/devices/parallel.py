"""Several seeds in one process, as a leading axis: `vmap` on an accelerator, one host device for each seed on a CPU.

On a CPU `vmap` would run every branch and every loop to the longest seed's end, and `lax.map` would copy the replay in and out;
host devices run side by side on the cores, each with loops of its own (docs/architecture.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

AXIS = "seed"


def use_host_devices(seeds: int) -> None:
    """Ask for one host device per seed. Works only before JAX has started; later, the devices that are there are shared."""
    try:
        jax.config.update("jax_num_cpu_devices", seeds)
    except RuntimeError:
        return


def mesh(seeds: int) -> Mesh:
    """The devices that share the seeds: on a CPU the largest number of them that divides the seeds, elsewhere one."""
    devices = jax.devices()
    count = max(d for d in range(1, min(seeds, len(devices)) + 1) if seeds % d == 0) if devices[0].platform == "cpu" else 1
    return Mesh(np.array(devices[:count]), (AXIS,))


def over_seeds(function: Callable[..., Any], devices: Mesh, *, donate: bool = False, small: bool = False) -> Callable[..., Any]:
    """`function` of one seed's state, jitted over the leading seed axis of its arguments and results.

    `small` says that it computes so little that on a CPU sharing it among threads would take longer than doing it.
    """

    def block(*args: PyTree) -> PyTree:
        seeds = jax.tree.leaves(args)[0].shape[0]
        if seeds > 1:
            return jax.vmap(function)(*args)
        result = function(*jax.tree.map(lambda x: x[0], args))
        return jax.tree.map(lambda x: x[None], result)

    spec = PartitionSpec(AXIS)
    mapped = jax.shard_map(block, mesh=devices, in_specs=spec, out_specs=spec, check_vma=False)
    one_thread = {"xla_cpu_multi_thread_eigen": False} if small and jax.devices()[0].platform == "cpu" else None
    return jax.jit(mapped, donate_argnums=(0,) if donate else (), compiler_options=one_thread)


def place(tree: PyTree, devices: Mesh) -> PyTree:
    """Arrays with a leading seed axis, put where `over_seeds` wants them."""
    return jax.device_put(tree, NamedSharding(devices, PartitionSpec(AXIS)))


def keys(seeds: tuple[int, ...]) -> Any:
    """One random key per seed; a seed's key does not depend on what other seeds there are."""
    return jnp.stack([jax.random.key(seed) for seed in seeds])
