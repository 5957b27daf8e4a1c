"""What each algorithm's training costs: one iteration at the same shapes, beside the products that it needs, and how it grows.

    taskset -c 0 python bench/algorithms.py                    iterations of every preset at 2s3z's shapes, episodes of 40-70 steps
    taskset -c 0 python bench/algorithms.py --growth           tree backup's expectation over agents and actions, exact and sampled
    taskset -c 0 python bench/algorithms.py --growth-update    whole updates over the number of agents

The bound counts only the products that the algorithm needs, on filled steps, at the rate that this run measures.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from dop.algorithms import algorithms
from dop.algorithms.coma import COMA
from dop.algorithms.qmix import QMIX
from dop.algorithms.stochastic_dop import StochasticDOP
from dop.policies import sample_many
from dop.replay import allocate
from dop.returns import expected_q, sampled_q
from learner import SHAPES, Shape, episodes, needed_operations
from machine import describe, matmul_rate, seconds

KEPT = 160
"""Episodes in the replay that batches are drawn from."""
STEPS = 2000
"""Steps of a batch, for the tree backup's expectation."""


def agent_operations(hidden: int, shape: Shape) -> tuple[float, float]:
    """Products of one step of the whole team's recurrent agents, forwards and backwards; one-hot inputs are look-ups."""
    first, rest = shape.obs * hidden, 6 * hidden * hidden + hidden * shape.actions
    return shape.n * (first + rest), shape.n * (first + 2 * rest)


def coma_operations(algorithm: COMA, shape: Shape, steps: float) -> float:
    """Targets, critic steps, values for the actors, and the actors' steps."""
    c = algorithm.critic_hidden
    hidden = shape.n * (c * c + c * shape.actions)
    forward = shape.state * c + shape.n * shape.obs * c + hidden
    actor_forward, actor_backward = agent_operations(algorithm.actor_hidden, shape)
    return 2.0 * steps * (2 * forward + (2 * forward + hidden) + algorithm.actor_steps * (actor_forward + actor_backward))


def q_operations(algorithm: Any, shape: Shape, steps: float) -> float:
    """Online and target networks forwards, the online ones backwards; QMIX's hypernetworks with them."""
    forward, backward = agent_operations(algorithm.agent_hidden, shape)
    if isinstance(algorithm, QMIX):
        e, h = algorithm.embedding, algorithm.hypernet_hidden
        inner = h * e * (shape.n + 1) + e if h else 0
        outer = shape.state * ((2 * h if h else e * (shape.n + 1)) + 2 * e)
        forward, backward = forward + inner + outer, backward + 2 * inner + outer
    return 2.0 * algorithm.updates_per_iteration * steps * (2 * forward + backward)


def operations(algorithm: Any, shape: Shape, mean_length: float) -> float:
    """Floating-point operations of the products of one iteration whose episodes have this mean length."""
    if isinstance(algorithm, StochasticDOP):
        on, off = round(algorithm.on_policy_batch * mean_length), round(algorithm.off_policy_batch * mean_length)
        return needed_operations(algorithm, shape, on, off)
    if isinstance(algorithm, COMA):
        return coma_operations(algorithm, shape, algorithm.on_policy_batch * mean_length)
    return q_operations(algorithm, shape, algorithm.replay_batch * mean_length)


def iteration_seconds(algorithm: Any, shape: Shape, lengths: jax.Array) -> float:
    """One sample and update from a replay of random episodes."""
    kept = episodes(jax.random.key(1), shape, lengths)
    replay = allocate(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), kept), len(lengths)).add(kept)
    learner = jax.jit(lambda key: algorithm.init(key, shape.spec))(jax.random.key(0))
    update = jax.jit(lambda learner, replay, key: algorithm.update(learner, algorithm.sample(replay, key), key))
    return seconds(update, learner, replay, jax.random.key(2), repeats=3)


def every_preset(shape: Shape) -> None:
    """The table of all algorithms and presets."""
    lengths = jax.random.randint(jax.random.key(3), (KEPT,), 40, 71)
    rate = matmul_rate()
    print(f"{'algorithm':34}{'ms an iteration':>16}{'episodes':>10}{'us a step played':>18}{'bound ms':>10}{'times bound':>13}")
    for name, cls in algorithms().items():
        for preset, algorithm in cls.presets().items():
            taken = 1e3 * iteration_seconds(algorithm, shape, lengths)
            bound = 1e3 * operations(algorithm, shape, float(lengths.mean())) / rate
            played = algorithm.episodes_per_iteration * float(lengths.mean())
            each = 1e3 * taken / played
            print(
                f"{name + ' ' + preset:34}{taken:16.1f}{algorithm.episodes_per_iteration:10}{each:18.0f}{bound:10.1f}{taken / bound:13.1f}"
            )


def growth_of_updates(shape: Shape) -> None:
    """Milliseconds of an iteration of every algorithm's default over the number of agents, all else equal."""
    lengths = jax.random.randint(jax.random.key(3), (KEPT,), 40, 71)
    print(f"{'agents':>8}" + "".join(f"{name:>18}" for name in algorithms()))
    for n in (2, 4, 8, 16, 32):
        taken = [1e3 * iteration_seconds(cls(), replace(shape, n=n), lengths) for cls in algorithms().values()]
        print(f"{n:8}" + "".join(f"{ms:18.1f}" for ms in taken))


def expectation_seconds(n: int, actions: int, samples: int | None) -> float:
    """E_pi[Q_tot] of `STEPS` steps, exact (`samples=None`) or from sampled joint actions."""
    k_policy, k_q, k_draw = jax.random.split(jax.random.key(0), 3)
    policy = jax.nn.softmax(jax.random.normal(k_policy, (STEPS, n, actions)))
    q, k, b = jax.random.normal(k_q, (STEPS, n, actions)), jnp.full((STEPS, n), 1 / n), jnp.zeros(STEPS)

    def estimate(k: jax.Array, b: jax.Array, policy: jax.Array, q: jax.Array, key: jax.Array) -> jax.Array:
        if samples is None:
            return expected_q(k, b, policy, q)
        drawn = jax.vmap(lambda key, p: sample_many(key, p, samples or 0), out_axes=1)(jax.random.split(key, n), policy)
        return sampled_q(k, b, q, drawn)

    return seconds(jax.jit(jax.vmap(estimate)), k, b, policy, q, jax.random.split(k_draw, STEPS), repeats=3)


def growth(path: Path) -> None:
    """Tree backup's expectation: linear in n|A| when decomposed; the slopes of log-log lines say so."""
    picture = Figure(figsize=(9, 3.8), layout="constrained")
    sweeps = {"agents": [(n, 10) for n in (2, 4, 8, 16, 32)], "actions": [(8, a) for a in (5, 10, 20, 50)]}
    for axes, (name, sizes) in zip(picture.subplots(1, 2), sweeps.items(), strict=True):
        x = [n if name == "agents" else a for n, a in sizes]
        for label, samples in (("decomposed", None), ("200 joint actions sampled", 200)):
            ms = [1e3 * expectation_seconds(n, a, samples) for n, a in sizes]
            slope = np.polyfit(np.log(x), np.log(ms), 1)[0]
            print(f"{label:28}{name:8}{x}: " + ", ".join(f"{value:.2f}" for value in ms) + f" ms; grows as the power {slope:.2f}")
            axes.loglog(x, ms, marker="o", label=f"{label} (power {slope:.2f})")
        axes.set(xlabel=name, ylabel=f"ms for {STEPS} steps")
        axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--growth-update", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("docs/results/tree-backup-growth.png"))
    options = parser.parse_args()
    print(describe())
    if options.growth:
        growth(options.out)
    elif options.growth_update:
        growth_of_updates(SHAPES["2s3z"])
    else:
        every_preset(SHAPES["2s3z"])


if __name__ == "__main__":
    main()
