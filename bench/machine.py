"""The machine's speed, measured in the same run as the results compared with it."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def seconds(function: Callable[..., Any], *args: Any, repeats: int = 5, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of the fastest of `repeats` calls, after one for compilation. With `time.process_time` other processes do not count."""
    jax.block_until_ready(function(*args))
    best = float("inf")
    for _ in range(repeats):
        start = clock()
        jax.block_until_ready(function(*args))
        best = min(best, clock() - start)
    return best


def matmul_rate(rows: int = 240, width: int = 256, products: int = 500, clock: Callable[[], float] = time.perf_counter) -> float:
    """Float32 products per second, counted as 2 operations each, of (rows, width) by (width, width): the learner's most common product."""
    x = jax.random.normal(jax.random.key(0), (rows, width))
    w = jax.random.normal(jax.random.key(1), (width, width)) / width**0.5
    run = jax.jit(lambda x, w: jax.lax.fori_loop(0, products, lambda _, y: y @ w, x))
    return products * 2 * rows * width * width / seconds(run, x, w, clock=clock)


def describe() -> str:
    """One line for the top of a report."""
    return (
        f"{platform.machine()}, {jax.devices()[0].device_kind}, jax {jax.__version__}, float32 products {matmul_rate() / 1e9:.0f} GFLOP/s"
    )


def random_like(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Normal noise in half precision, as observations are stored in the replay."""
    return jax.random.normal(key, shape).astype(jnp.float16)


def units(network: Any) -> int:
    """Units of the hidden layers of a network that is one of the library's."""
    return network.hidden_size
