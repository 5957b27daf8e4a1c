"""How many threads JAX computes with on a CPU: a part of a run, since the last bits of large sums depend on it.

XLA gives each thread of its pool a part of a large sum (jaxlib 0.10.2; a sum of some 65,000 numbers is large). Left alone, the
pool has a thread for each core that the process may use when JAX starts: a container that comes back with other cores would go on to other
bits. `PJRT_NPROC` sets its size, whatever the cores, and is read once, when JAX starts.
"""

from __future__ import annotations

import os
import re

import jax

_VARIABLE, _OLDER = "PJRT_NPROC", "NPROC"
"""What the pool's size is read from; the former wins."""
_DEVICES = "jax_num_cpu_devices"
MOST = 1024
"""More than any machine that this was tried on has; a slip of the keyboard must not start a million threads."""
_asked: list[int] = []
"""The number that JAX was last told to use, before it started; empty if nobody has asked."""


def allowed_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use(count: int) -> None:
    """Have JAX compute with `count` threads on a CPU. Works only before JAX has started; afterwards it does nothing."""
    if not _started():
        os.environ[_VARIABLE] = str(count)
        _asked[:] = [count]


def in_use() -> int:
    """Threads that JAX computes with on a CPU, or will once it starts.

    If JAX was started before `use` was called, this is what it starts with when it is left alone.
    """
    return _asked[0] if _asked else default()


def default() -> int:
    """What JAX starts with when it is left alone: what the environment variables say, else the allowed cores."""
    said = (os.environ.get(name, "") for name in (_VARIABLE, _OLDER))
    return next((int(text) for text in said if re.fullmatch("[1-9][0-9]{0,3}", text) and int(text) <= MOST), allowed_cores())


def _started() -> bool:
    """Whether JAX has started, which is when it refuses another number of host devices."""
    devices: int = getattr(jax.config, _DEVICES)
    try:
        jax.config.update(_DEVICES, devices + 2)
    except RuntimeError:
        return True
    jax.config.update(_DEVICES, devices)
    return False
