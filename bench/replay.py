"""The replay buffer: memory per observation element, time of adding and sampling, absence of copies; compared with flashbax, if installed.

python bench/replay.py            (pip install flashbax for the comparison)
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from typing import Any

import jax
import jax.numpy as jnp

from dop.learning.replay import Replay, allocate, size_in_bytes
from dop.types import Episode
from learner import SHAPES, episodes
from machine import describe, seconds

CALLS = 20


def ring_ms(batch: Episode, capacity: int) -> tuple[float, float]:
    """Milliseconds to add 4 episodes and sample 48, and the ring buffer's bytes."""
    ring = allocate(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batch), capacity)

    def step(ring: Replay[Episode], key: jax.Array) -> tuple[Replay[Episode], jax.Array]:
        ring = ring.add(batch)
        drawn = ring.uniform(key, 48)
        return ring, jnp.sum(drawn.obs.astype(jnp.float32))

    def run(ring: Replay[Episode]) -> tuple[Replay[Episode], jax.Array]:
        return jax.lax.scan(step, ring, jax.random.split(jax.random.key(0), CALLS))

    return 1e3 * _donating(run, ring) / CALLS, float(sum(x.nbytes for x in jax.tree.leaves(ring)))


def flashbax_ms(batch: Episode, capacity: int) -> tuple[float, float]:
    """The same with flashbax's item buffer."""
    flashbax = importlib.import_module("flashbax")
    buffer = flashbax.make_item_buffer(max_length=capacity, min_length=1, sample_batch_size=48, add_batches=True)
    state = buffer.init(jax.tree.map(lambda x: x[0], batch))

    def step(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        state = buffer.add(state, batch)
        return state, jnp.sum(buffer.sample(state, key).experience.obs.astype(jnp.float32))

    def run(state: Any) -> tuple[Any, jax.Array]:
        return jax.lax.scan(step, state, jax.random.split(jax.random.key(0), CALLS))

    return 1e3 * _donating(run, state) / CALLS, float(sum(x.nbytes for x in jax.tree.leaves(state)))


def _donating(run: Any, state: Any) -> float:
    """Seconds of `run`, which returns its new state, with the state's memory donated."""
    compiled = jax.jit(run, donate_argnums=0)
    holder = [state]

    def again() -> Any:
        holder[0], out = compiled(holder[0])
        return out

    return seconds(again)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    shape = SHAPES["2s3z"]
    batch = episodes(jax.random.key(0), shape, jnp.full((4,), shape.steps))
    elements = sum(x.size for x in (batch.obs, batch.state)) / 4
    example = jax.tree.map(lambda x: x[0], batch)
    print(f"2s3z's shapes, half precision; {describe()}")
    print(f"5000 episodes: {size_in_bytes(example, 5000) / 1e9:.3f} GB, observations and states 2 bytes per element")
    print(f"everything stored, per observation element: {size_in_bytes(example, 1) / elements:.3f} bytes")
    print(f"{'buffer':12}{'episodes':>10}{'GB':>8}{'ms per add + sample':>21}")
    candidates = {"ring": ring_ms} | ({"flashbax": flashbax_ms} if importlib.util.find_spec("flashbax") else {})
    # If the buffer were copied, the time would grow with its size.
    for capacity in (500, 5000):
        for name, measure in candidates.items():
            ms, size = measure(batch, capacity)
            print(f"{name:12}{capacity:10}{size / 1e9:8.2f}{ms:21.2f}")


if __name__ == "__main__":
    main()
