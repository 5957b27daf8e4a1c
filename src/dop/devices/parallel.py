"""Several seeds in one process, as a leading axis: `vmap` on an accelerator, one host device per seed on a CPU.

On a CPU `vmap` would run all branches, and every loop as long as the longest seed's, and `lax.map` would copy the replay in and out; host
devices run in parallel on the cores, each with its own loops (docs/architecture.md).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from dop.devices import compilation

AXIS = "seed"


def use_host_devices(seeds: int) -> None:
    """Request one host device per seed. Works only before JAX has started; later, the existing devices are shared."""
    try:
        jax.config.update("jax_num_cpu_devices", seeds)
    except RuntimeError:
        return


def mesh(seeds: int) -> Mesh:
    """The devices of the seeds: on a CPU the largest number of them that divides the number of seeds, elsewhere one."""
    devices = jax.devices()
    count = max(d for d in range(1, min(seeds, len(devices)) + 1) if seeds % d == 0) if devices[0].platform == "cpu" else 1
    return Mesh(np.array(devices[:count]), (AXIS,))


def over_seeds(
    function: Callable[..., Any], devices: Mesh, *, donate: bool = False, options: Mapping[str, bool | int] | None = None
) -> Callable[..., Any]:
    """`function` of one seed's state, jitted over the leading seed axis of its arguments and results.

    Args:
        function: takes and returns pytrees of arrays.
        devices: those of `mesh`.
        donate: reuse the memory of the first argument.
        options: compiler options, for example `compilation.LIGHT`.
    """

    @functools.wraps(function)
    def block(*args: PyTree) -> PyTree:
        seeds = jax.tree.leaves(args)[0].shape[0]
        if seeds > 1:
            return jax.vmap(function)(*args)
        result = function(*jax.tree.map(lambda x: x[0], args))
        return jax.tree.map(lambda x: jnp.asarray(x)[None], result)

    spec = PartitionSpec(AXIS)
    mapped = jax.shard_map(block, mesh=devices, in_specs=spec, out_specs=spec, check_vma=False)
    return jax.jit(mapped, donate_argnums=(0,) if donate else (), compiler_options=compilation.options(options or {}))


def place(tree: PyTree, devices: Mesh) -> PyTree:
    """Arrays with a leading seed axis, placed on the devices as `over_seeds` expects."""
    return jax.device_put(tree, NamedSharding(devices, PartitionSpec(AXIS)))


def keys(seeds: tuple[int, ...]) -> Any:
    """One random key per seed, independent of the other seeds."""
    return jnp.stack([jax.random.key(seed) for seed in seeds])
