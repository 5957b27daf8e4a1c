"""Several seeds in one process, as a leading axis, on a mesh of devices: seeds first, then each seed's data (`learning.data_parallel`).

Seeds of one device are mapped by `vmap`. On a CPU `vmap` would run all branches, and every loop as long as the longest seed's, and
`lax.map` would copy the replay in and out; host devices run in parallel on the cores, each with its own loops (docs/architecture.md).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from dop.devices import compilation, cpu_threads
from dop.errors import ConfigError
from dop.learning import data_parallel

AXIS = "seed"


def use_host_devices(count: int) -> None:
    """Request so many host devices on a CPU. Works only before JAX has started; later, the existing devices are shared."""
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        return


Devices: TypeAlias = int | Literal["all"] | None
"""`TrainConfig.devices`."""


def wanted(devices: Devices, seeds: int) -> int:
    """The number of host devices to request for `TrainConfig.devices`; GPUs need no request."""
    if devices == "all":
        return cpu_threads.allowed_cores()
    return seeds if devices is None else devices


def settled(devices: Devices, seeds: int) -> int:
    """The number of devices of a new run with `TrainConfig.devices`.

    Raises:
        ConfigError: there are not so many.
    """
    found = len(jax.devices())
    if isinstance(devices, int) and devices > found:
        advice = (
            " Train before anything else in the process uses JAX, as `import jaxmarl` does." if jax.devices()[0].platform == "cpu" else ""
        )
        raise ConfigError(f"devices={devices} is not possible: JAX has started with {found} in this process.{advice}")
    used = mesh(seeds, devices).size
    count = found if devices == "all" else devices or used
    if used < count:
        logging.getLogger("dop").warning(
            "%s of %s devices are idle: %s seeds can share %s evenly. Use as many devices as seeds, or a multiple.",
            *(count - used, count, seeds, used),
        )
    cores = cpu_threads.allowed_cores()
    if isinstance(devices, int) and used > cores and jax.devices()[0].platform == "cpu":
        logging.getLogger("dop").warning("%s devices share %s cores of the CPU: more than one for each core is of no use.", used, cores)
    return used


def mesh(seeds: int, devices: Devices = None) -> Mesh:
    """The devices of a run, with the axes `AXIS` and `data_parallel.AXIS`.

    Args:
        seeds: the number of seeds; their axis divides it.
        devices: `TrainConfig.devices`; some may be left over: on a CPU only seeds with a device of their own are split further. None: all
            of an accelerator; of a CPU at most one for each seed.
    """
    found = jax.devices()
    limit = min(devices, len(found)) if isinstance(devices, int) else len(found)
    of_seeds = max(d for d in range(1, min(seeds, limit) + 1) if seeds % d == 0)
    splits = found[0].platform != "cpu" or (devices is not None and of_seeds == seeds)
    shape = of_seeds, limit // of_seeds if splits else 1
    return Mesh(np.array(found[: shape[0] * shape[1]]).reshape(shape), (AXIS, data_parallel.AXIS))


def over_seeds(
    function: Callable[..., Any], devices: Mesh, *, donate: bool = False, options: Mapping[str, bool | int] | None = None
) -> compilation.CompiledFirst:
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
    jitted = jax.jit(mapped, donate_argnums=(0,) if donate else (), compiler_options=compilation.options(options or {}))
    return compilation.CompiledFirst(jitted)


def place(tree: PyTree, devices: Mesh) -> PyTree:
    """Arrays with a leading seed axis, placed on the devices as `over_seeds` expects."""
    return jax.device_put(tree, NamedSharding(devices, PartitionSpec(AXIS)))


def keys(seeds: tuple[int, ...]) -> Any:
    """One random key per seed, independent of the other seeds."""
    return jnp.stack([jax.random.key(seed) for seed in seeds])
