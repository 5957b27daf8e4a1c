"""The number of JAX's CPU threads: a part of a run, since the last bits of large sums depend on it.

XLA gives each thread of its pool a part of a large sum (jaxlib 0.10.2; a sum of some 65,000 numbers is large). By default the pool has a
thread for each core that the process may use when JAX starts: a container that restarts with another number of cores would compute other
bits. `PJRT_NPROC` sets the size of the pool, independently of the cores, and is read once, when JAX starts.
"""

from __future__ import annotations

import os
import re

import jax

_VARIABLE, _OLDER = "PJRT_NPROC", "NPROC"
"""Environment variables with the pool's size; the former has priority."""
_DEVICES = "jax_num_cpu_devices"
MOST = 1024
"""More threads than any tested machine has; a typing error must not start a million threads."""
_requested: list[int] = []
"""The number last requested before JAX started; empty if there was no request."""


def allowed_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use(count: int) -> None:
    """Have JAX compute with `count` threads on a CPU. Works only before JAX has started; afterwards it does nothing."""
    if not _started():
        os.environ[_VARIABLE] = str(count)
        _requested[:] = [count]


def in_use() -> int:
    """JAX's CPU threads, now or once it starts.

    If JAX was started before `use` was called, this is its default.
    """
    return _requested[0] if _requested else default()


def default() -> int:
    """JAX's default number of CPU threads: that of the environment variables, else of the allowed cores."""
    values = (os.environ.get(name, "") for name in (_VARIABLE, _OLDER))
    return next((int(text) for text in values if re.fullmatch("[1-9][0-9]{0,3}", text) and int(text) <= MOST), allowed_cores())


def _started() -> bool:
    """Whether JAX has started: then it refuses another number of host devices."""
    devices: int = getattr(jax.config, _DEVICES)
    try:
        jax.config.update(_DEVICES, devices + 2)
    except RuntimeError:
        return True
    jax.config.update(_DEVICES, devices)
    return False
