"""The cost of training recurrent methods: one iteration at equal shapes, compared with its matrix products, and its growth.

    taskset -c 0 python bench/algorithms.py                    iterations of every preset at 2s3z's shapes, episodes of 40-70 steps
    taskset -c 0 python bench/algorithms.py --parts            the same by part, with the rate of each part's own product sizes
    taskset -c 0 python bench/algorithms.py --growth           tree backup's expectation over agents and actions, exact and sampled
    taskset -c 0 python bench/algorithms.py --growth-update    whole updates over the number of agents

The bound counts only the matrix products that the algorithm needs, on valid steps, at the rate measured in the same run: for width 256
or, with `--parts`, for the rows and widths of the networks. Times are processor times, which exclude other processes. For feed-forward
methods see off_policy.py.
"""

from __future__ import annotations

import argparse
import functools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dop.algorithms import algorithms
from dop.algorithms.base.off_policy import OffPolicy
from dop.algorithms.coma import COMA
from dop.algorithms.qmix import QMIX
from dop.algorithms.stochastic_dop import StochasticDOP
from dop.learning.gradient_step import gradient_step
from dop.learning.replay import allocate
from dop.policies import sample_many
from dop.returns import expected_q, sampled_q
from dop.visualise import curves
from learner import SHAPES, Shape, actor_fraction, episodes, needed_operations
from machine import describe, matmul_rate, seconds, units

REPLAY_EPISODES = 160
"""Episodes in the replay."""
STEPS = {"decomposed": 50_000, "200 joint actions sampled": 200}
"""Batch sizes for tree backup's expectation, large enough to hide the overhead of a call."""


def agent_operations(hidden: int, shape: Shape) -> tuple[float, float]:
    """Multiplications of one step of the team's recurrent agents, forward and backward; one-hot inputs are look-ups."""
    first, rest = shape.obs * hidden, 6 * hidden * hidden + hidden * shape.actions
    return shape.n * (first + rest), shape.n * (first + 2 * rest)


def coma_operations(algorithm: COMA, shape: Shape, steps: float) -> dict[str, float]:
    """Operations of targets, critic steps, values for the actors, and actor steps."""
    c = units(algorithm.critic)
    hidden = shape.n * (c * c + c * shape.actions)
    forward = shape.state * c + shape.n * shape.obs * c + hidden
    return {
        "critic: critics": 2.0 * steps * (forward + 2 * forward + hidden),
        "actors: agents": 2.0
        * steps
        * algorithm.actor_steps
        * actor_fraction(algorithm)
        * sum(agent_operations(units(algorithm.actor), shape)),
        "actors: critics": 2.0 * steps * forward,
    }


def q_operations(algorithm: Any, shape: Shape, steps: float) -> dict[str, float]:
    """Operations of online and target networks forward and online networks backward, with QMIX's hypernetworks."""
    forward, backward = agent_operations(units(algorithm.actor), shape)
    found = {"update: agents": 2.0 * algorithm.updates_per_iteration * steps * (2 * forward + backward)}
    if isinstance(algorithm, QMIX):
        e, h = algorithm.embedding, algorithm.hypernet_hidden
        inner = h * e * (shape.n + 1) + e if h else 0
        outer = shape.state * ((2 * h if h else e * (shape.n + 1)) + 2 * e)
        found["update: mixer"] = 2.0 * algorithm.updates_per_iteration * steps * (4 * inner + 3 * outer)
    return found


def operations(algorithm: Any, shape: Shape, mean_length: float) -> dict[str, float]:
    """Floating-point operations of one iteration's products for this mean episode length, by part and network."""
    if isinstance(algorithm, StochasticDOP):
        on, off = round(algorithm.on_policy_batch * mean_length), round(algorithm.off_policy_batch * mean_length)
        return needed_operations(algorithm, shape, on, off)
    if isinstance(algorithm, COMA):
        return coma_operations(algorithm, shape, algorithm.on_policy_batch * mean_length)
    return q_operations(algorithm, shape, algorithm.replay_batch * mean_length)


def products(algorithm: Any, shape: Shape) -> dict[str, tuple[int, int]]:
    """Rows and width of the products in `operations`: one timestep for recurrent agents, one minibatch for critics."""
    if isinstance(algorithm, StochasticDOP):
        every = algorithm.on_policy_batch + algorithm.off_policy_batch
        critics = (every * shape.n, units(algorithm.critic))
        return {
            "critic: agents": (every * shape.n, units(algorithm.actor)),
            "critic: critics": critics,
            "actors: agents": (round(actor_fraction(algorithm) * algorithm.on_policy_batch) * shape.n, units(algorithm.actor)),
            "actors: critics": critics,
        }
    if isinstance(algorithm, COMA):
        rows = algorithm.on_policy_batch * shape.n
        critics = (rows, units(algorithm.critic))
        return {"critic: critics": critics, "actors: agents": (rows, units(algorithm.actor)), "actors: critics": critics}
    rows = algorithm.replay_batch * shape.n
    found = {"update: agents": (rows, units(algorithm.actor))}
    return found | ({"update: mixer": (algorithm.replay_batch, algorithm.hypernet_hidden)} if isinstance(algorithm, QMIX) else {})


def recurrent_algorithms() -> dict[str, Any]:
    """The algorithms measured here."""
    return {name: cls for name, cls in algorithms().items() if not issubclass(cls, OffPolicy)}


def prepared(algorithm: Any, shape: Shape, lengths: jax.Array) -> tuple[Any, Any]:
    """A fresh learner, and a replay of random episodes."""
    stored = episodes(jax.random.key(1), shape, lengths)
    replay = allocate(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), stored), len(lengths)).add(stored)
    return jax.jit(lambda key: algorithm.init(key, shape.spec))(jax.random.key(0)), replay


def iteration_seconds(algorithm: Any, shape: Shape, lengths: jax.Array) -> float:
    """Seconds of one sample and update from a replay of random episodes."""
    learner, replay = prepared(algorithm, shape, lengths)
    update = jax.jit(lambda learner, replay, key: algorithm.update(learner, algorithm.sample(replay, key), key))
    return seconds(update, learner, replay, jax.random.key(2), repeats=3, clock=time.process_time)


def part_seconds(algorithm: Any, shape: Shape, lengths: jax.Array) -> dict[str, float]:
    """Seconds of each part of an update, compiled separately, and of its optimiser steps alone."""
    learner, replay = prepared(algorithm, shape, lengths)
    batch, key = jax.jit(algorithm.sample)(replay, jax.random.key(2)), jax.random.key(3)
    timed = functools.partial(seconds, repeats=3, clock=time.process_time)
    if isinstance(algorithm, StochasticDOP | COMA):
        critic = jax.jit(lambda learner, batch, key: algorithm._update_critic(learner, batch, key)[0])
        actors = jax.jit(lambda learner, batch: algorithm._update_actors(learner, batch.actor)[0])
        steps = int(lengths.max() if algorithm.critic_schedule in ("timestep", "backwards") else jnp.ceil(lengths.mean()))
        optimiser = jax.jit(functools.partial(optimise, algorithm._critic_optimiser, steps))
        found = {"critic": timed(critic, learner, batch, key), "actors": timed(actors, learner, batch)}
        return found | {f"of the critic: {steps} steps of the optimiser": timed(optimiser, learner.critic, learner.critic_optimiser)}
    optimiser = jax.jit(functools.partial(optimise, algorithm._optimiser, algorithm.updates_per_iteration))
    found = {"update": timed(jax.jit(algorithm.update), learner, batch, key)}
    return found | {"of the update: the optimiser": timed(optimiser, learner.online, learner.optimiser)}


def optimise(optimiser: Any, steps: int, params: Any, state: Any) -> Any:
    """`steps` optimiser steps, with the parameters as gradients."""

    def loss(params: Any) -> Any:
        return optax.tree.norm(params, squared=True) / 2, {}

    return jax.lax.fori_loop(0, steps, lambda _, x: gradient_step(loss, x[0], optimiser, x[1], name="critic")[:2], (params, state))


def parts(shape: Shape) -> None:
    """Print each algorithm's default by part, compared with its products at the rate of their sizes."""
    lengths = jax.random.randint(jax.random.key(3), (REPLAY_EPISODES,), 40, 71)
    equal = jnp.full_like(lengths, round(float(lengths.mean())))
    print(
        f"{'algorithm':16}{'part':9}{'ms':>8}{'ms at equal lengths':>25}{'products alone, ms':>20}{'ratio':>7}"
        "   products: rows x width, GFLOP/s"
    )
    for name, cls in recurrent_algorithms().items():
        algorithm = cls()
        needed, sizes = operations(algorithm, shape, float(lengths.mean())), products(algorithm, shape)
        rates = {
            what: matmul_rate(*size, products=200_000_000 // (size[0] * size[1] ** 2), clock=time.process_time)
            for what, size in sizes.items()
        }
        even = part_seconds(algorithm, shape, equal)
        for part, taken in part_seconds(algorithm, shape, lengths).items():
            own = [what for what in needed if what.startswith(part)]
            if not own:
                print(f"{name:16}{part}: {1e3 * taken:.1f} ms", flush=True)
                continue
            alone = sum(needed[what] / rates[what] for what in own)
            shapes = ", ".join(f"{what.split(': ')[1]} {sizes[what][0]} x {sizes[what][1]}, {rates[what] / 1e9:.0f}" for what in own)
            times = f"{1e3 * taken:8.1f}{1e3 * even[part]:25.1f}{1e3 * alone:20.1f}{taken / alone:7.1f}"
            print(f"{name:16}{part:9}{times}   {shapes}", flush=True)


def every_preset(shape: Shape) -> None:
    """Print the table of all algorithms and presets."""
    lengths = jax.random.randint(jax.random.key(3), (REPLAY_EPISODES,), 40, 71)
    print(f"{'algorithm':34}{'ms/iteration':>16}{'episodes':>10}{'us/env step':>18}{'bound ms':>10}{'ratio':>13}")
    for name, cls in recurrent_algorithms().items():
        for preset, algorithm in cls.presets().items():
            # The speed of a shared core varies: the rate is measured around every timing.
            rate = matmul_rate(clock=time.process_time)
            taken = 1e3 * iteration_seconds(algorithm, shape, lengths)
            rate = (rate + matmul_rate(clock=time.process_time)) / 2
            bound = 1e3 * sum(operations(algorithm, shape, float(lengths.mean())).values()) / rate
            played = algorithm.episodes_per_iteration * float(lengths.mean())
            each = 1e3 * taken / played
            print(
                f"{name + ' ' + preset:34}{taken:16.1f}{algorithm.episodes_per_iteration:10}{each:18.0f}{bound:10.1f}{taken / bound:13.1f}",
                flush=True,
            )


def growth_of_updates(shape: Shape) -> None:
    """Print milliseconds per iteration of each algorithm's default over the number of agents."""
    lengths = jax.random.randint(jax.random.key(3), (REPLAY_EPISODES,), 40, 71)
    print(f"{'agents':>8}" + "".join(f"{name:>18}" for name in recurrent_algorithms()))
    for n in (2, 4, 8, 16, 32):
        taken = [1e3 * iteration_seconds(cls(), replace(shape, n=n), lengths) for cls in recurrent_algorithms().values()]
        print(f"{n:8}" + "".join(f"{ms:18.1f}" for ms in taken), flush=True)


def expectation_seconds(n: int, actions: int, how: str) -> float:
    """Seconds per step of E_pi[Q_tot], in batches of `STEPS[how]` steps: exact, or from sampled joint actions."""
    k_policy, k_q, k_draw = jax.random.split(jax.random.key(0), 3)
    steps = STEPS[how]
    policy = jax.nn.softmax(jax.random.normal(k_policy, (steps, n, actions)))
    q, k, b = jax.random.normal(k_q, (steps, n, actions)), jnp.full((steps, n), 1 / n), jnp.zeros(steps)

    def estimate(k: jax.Array, b: jax.Array, policy: jax.Array, q: jax.Array, key: jax.Array) -> jax.Array:
        if how == "decomposed":
            return expected_q(k, b, policy, q)
        drawn = jax.vmap(lambda key, p: sample_many(key, p, 200), out_axes=1)(jax.random.split(key, n), policy)
        return sampled_q(k, b, q, drawn)

    keys = jax.random.split(k_draw, steps)
    return seconds(jax.jit(jax.vmap(estimate)), k, b, policy, q, keys, repeats=5, clock=time.process_time) / steps


def growth(path: Path) -> None:
    """Growth of tree backup's expectation: linear in n|A| when decomposed, by the slope of log-log lines."""
    sweeps = {"agents": [(n, 10) for n in (2, 4, 8, 16, 32)], "actions": [(8, a) for a in (5, 10, 20, 50)]}
    found = {}
    for name, sizes in sweeps.items():
        x = [n if name == "agents" else a for n, a in sizes]
        for how in STEPS:
            us = [1e6 * expectation_seconds(n, a, how) for n, a in sizes]
            found[name, how] = (x, us)
            print(f"{how:28}{name:8}{x}: {', '.join(f'{value:.3g}' for value in us)} us/step; power {power(x, us):.2f}", flush=True)
    draw_growth(found, path)


def power(x: list[int], y: list[float]) -> float:
    """p of the least-squares fit c x^p."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def draw_growth(found: dict[tuple[str, str], tuple[list[int], list[float]]], path: Path) -> None:
    """Microseconds per step over sizes, with a panel for agents and one for actions."""
    picture = Figure(figsize=(9, 3.8), layout="constrained")
    panels: dict[str, Axes] = dict(zip(("agents", "actions"), picture.subplots(1, 2), strict=True))
    for (name, how), (x, us) in found.items():
        panels[name].loglog(x, us, marker="o", label=f"{how} (power {power(x, us):.2f})")
        panels[name].set_xticks(x, [str(size) for size in x])
        panels[name].minorticks_off()
        panels[name].set(xlabel=name, ylabel="us/step")
        panels[name].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    curves.save(picture, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--growth-update", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("docs/results/tree-backup-growth.png"))
    options = parser.parse_args()
    print(describe())
    if options.parts:
        parts(SHAPES["2s3z"])
    elif options.growth:
        growth(options.out)
    elif options.growth_update:
        growth_of_updates(SHAPES["2s3z"])
    else:
        every_preset(SHAPES["2s3z"])


if __name__ == "__main__":
    main()
