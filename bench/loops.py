"""`dop.learning.dynamic_scan` compared with `equinox.internal.while_loop` and `jax.lax.scan`: a GRU over a batch of 2s3z episodes.

    taskset -c 0 python bench/loops.py

48 episodes of at most 120 steps, 59 in the mean, the longest 86. Processor seconds, so that what others do on the machine does not count;
those of the compilation are of the forward pass and the gradient together.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jaxtyping import Array

from dop.learning import dynamic_scan
from dop.networks.gru import GRU
from dop.networks.teams import recurrent
from learner import SHAPES, episodes
from machine import describe, seconds

SHAPE = SHAPES["2s3z"]
LENGTHS = jnp.round(jnp.linspace(32, 86, 48)).astype(jnp.int32)
Unroll = Callable[[Any, Any, Any, Array], Array]


def of_dop(team: Any, hidden: Any, xs: Any, length: Array) -> Array:
    return dynamic_scan.scan(recurrent.step_teams, team, hidden, xs, length)


def of_jax(team: Any, hidden: Any, xs: Any, length: Array) -> Array:
    """All steps, whatever the length."""
    del length
    return jax.lax.scan(lambda carry, x: recurrent.step_teams(team, carry, x), hidden, xs)[1]


def of_equinox(**options: Any) -> Unroll:
    """With these `options` of its `while_loop`."""

    def unroll(team: Any, hidden: Any, xs: Any, length: Array) -> Array:
        steps = xs[0].shape[0]

        def body(carry: tuple) -> tuple:
            t, hidden, outputs = carry
            hidden, output = recurrent.step_teams(team, hidden, dynamic_scan.at(xs, t))
            return t + 1, hidden, outputs.at[t].set(output)

        outputs = jnp.zeros((steps, *hidden.shape[:2], SHAPE.actions))
        start = (jnp.zeros((), jnp.int32), hidden, outputs)
        looped = eqxi.while_loop(lambda carry: carry[0] < length, body, start, max_steps=steps, buffers=lambda carry: carry[2], **options)
        return looped[2]

    return unroll


UNROLLS: dict[str, Unroll] = {
    "dop.learning.dynamic_scan.scan": of_dop,
    "equinox, checkpointed": of_equinox(kind="checkpointed"),
    "equinox, checkpointed at every step": of_equinox(kind="checkpointed", checkpoints=SHAPE.steps + 1),
    "equinox, bounded": of_equinox(kind="bounded"),
    "jax.lax.scan, all steps": of_jax,
}


def compiled(function: Callable[..., Any], *args: Any) -> tuple[Callable[..., Any], float]:
    """The compiled function, and the processor seconds that it took to compile."""
    start = time.process_time()
    return jax.jit(function).lower(*args).compile(), time.process_time() - start


def main() -> None:
    batch = recurrent.time_first(episodes(jax.random.key(0), SHAPE, LENGTHS))
    team = recurrent.make_team(SHAPE.spec, GRU(hidden_size=64), sharing="all", key=jax.random.key(1))
    hidden, last_action = recurrent.start(team, batch)
    args = (team, hidden, (batch.obs, last_action), recurrent.max_length(batch))
    down = jax.random.normal(jax.random.key(2), (SHAPE.steps + 1, *hidden.shape[:2], SHAPE.actions)) * before_the_end(batch)
    print(f"{describe()}, equinox {metadata.version('equinox')}; 48 episodes, T = {SHAPE.steps}, longest {int(args[-1])}")
    print(f"{'processor seconds':38}{'compiling':>12}{'forwards':>12}{'gradient':>12}{'differs by':>12}")
    wanted = None
    for name, unroll in UNROLLS.items():
        forward, compiling = compiled(unroll, *args)
        gradient, more = compiled(jax.grad(lambda team, *rest, unroll=unroll: jnp.sum(unroll(team, *rest) * down)), *args)
        found = gradient(*args)
        wanted = found if wanted is None else wanted
        differs = max(
            float(jnp.max(jnp.abs(x - y)) / jnp.max(jnp.abs(y))) for x, y in zip(*map(jax.tree.leaves, (found, wanted)), strict=True)
        )
        times = [seconds(function, *args, repeats=20, clock=time.process_time) for function in (forward, gradient)]
        print(f"{name:38}{compiling + more:12.2f}{times[0]:12.4f}{times[1]:12.4f}{differs:12.0e}")


def before_the_end(batch: Any) -> Array:
    """1 on the steps before the longest episode's end, where all loops agree; 0 after."""
    return (jnp.arange(SHAPE.steps + 1) < recurrent.max_length(batch))[:, None, None, None].astype(jnp.float32)


if __name__ == "__main__":
    main()
