"""One training iteration at SMAC's shapes, compared with the machine's matrix products and the released PyTorch code.

    taskset -c 0 python bench/learner.py [--preset released|default|paper]

The reference times are of the released code (PyTorch, float32, one core of an AMD EPYC with AVX-512, where JAX's products ran at
170 GFLOP/s).
The bound counts only the matrix products that the algorithm needs, on valid steps, at the rate measured in the same run.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from dop.algorithms.base.actor_critic import ActorCritic
from dop.algorithms.stochastic_dop import Batch, StochasticDOP
from dop.types import EnvSpec, Episode
from machine import describe, matmul_rate, random_like, seconds, units

REFERENCE_MS = {("2s3z", "full"): 789, ("MMM", "full"): 2396, ("2s3z", "40-70"): 458, ("MMM", "40-70"): 1115}


@dataclass(frozen=True)
class Shape:
    """The sizes of a SMAC map."""

    n: int
    actions: int
    obs: int
    state: int
    steps: int

    @property
    def spec(self) -> EnvSpec:
        agents = tuple(f"agent_{i}" for i in range(self.n))
        return EnvSpec(
            name="bench",
            version="1",
            agents=agents,
            obs_sizes=(self.obs,) * self.n,
            action_sizes=(self.actions,) * self.n,
            state_size=self.state,
            time_limit=self.steps,
        )


SHAPES = {"2s3z": Shape(5, 11, 80, 120, 120), "MMM": Shape(10, 18, 160, 290, 150)}


def episodes(key: jax.Array, shape: Shape, lengths: jax.Array) -> Episode:
    """Random episodes of the given lengths, all actions legal."""
    k = jax.random.split(key, 4)
    batch, n, horizon = lengths.shape[0], shape.n, shape.steps
    mask = jnp.arange(horizon) < lengths[:, None]
    return Episode(
        obs=random_like(k[0], (batch, horizon + 1, n, shape.obs)),
        state=random_like(k[1], (batch, horizon + 1, shape.state)),
        action_mask=jnp.ones((batch, horizon + 1, n, shape.actions), bool),
        action=jax.random.randint(k[2], (batch, horizon, n), 0, shape.actions),
        final_action=jnp.zeros((batch, n), jnp.int32),
        behaviour_prob=jnp.full((batch, horizon, n), 1 / shape.actions),
        reward=jnp.where(mask, jax.random.normal(k[3], (batch, horizon)), 0),
        terminated=jnp.zeros((batch, horizon), bool),
        mask=mask,
    )


def actor_fraction(algorithm: ActorCritic[Any]) -> float:
    """The fraction of the on-policy episodes in each gradient step of the actors."""
    return 1.0 if algorithm.actor_batch is None else min(1.0, algorithm.actor_batch / algorithm.on_policy_batch)


def needed_operations(algorithm: StochasticDOP, shape: Shape, on_steps: int, off_steps: int) -> dict[str, float]:
    """Floating-point operations of one iteration's products; one-hot inputs are look-ups and cost nothing.

    By part of the update and network: `critic: agents` are the policies needed for the critic's targets.
    """
    h, c, every = units(algorithm.actor), units(algorithm.critic), on_steps + off_steps
    local = algorithm.critic_inputs == "state_obs_id"
    actor_first, actor_rest = shape.obs * h, 6 * h * h + h * shape.actions
    shared = algorithm.share_parameters == "all"
    agents_first = shape.n * (shape.obs * c if local else 0 if shared else shape.state * c)
    team_first = shape.state * c if shared else 0
    hidden = shape.n * (c * c + c * (shape.actions + algorithm.dueling))
    mixer = shape.state * (32 * (shape.n + 1) if algorithm.mixer_weights == "product" else shape.n + 1)
    critic_forward = agents_first + team_first + hidden + mixer
    critic_backward = critic_forward + hidden
    actor_forward = shape.n * (actor_first + actor_rest)
    actor_backward = actor_forward + shape.n * actor_rest
    policy_steps = off_steps if algorithm.bootstrap == "taken" else every
    return {
        "critic: agents": 2.0 * policy_steps * actor_forward,
        "critic: critics": 2.0 * every * (2 * critic_forward + critic_backward),
        "actors: agents": 2.0 * algorithm.actor_steps * actor_fraction(algorithm) * on_steps * (actor_forward + actor_backward),
        "actors: critics": 2.0 * on_steps * critic_forward,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="released", choices=tuple(StochasticDOP.presets()))
    algorithm = StochasticDOP.presets()[parser.parse_args().preset]
    print(describe())
    rate = matmul_rate()
    print(f"{'map':6}{'lengths':>9}{'ms':>9}{'reference ms':>14}{'speed-up':>14}{'bound ms':>10}{'fraction of bound':>19}{'compile s':>11}")
    for name, shape in SHAPES.items():
        learner = jax.jit(lambda key, spec=shape.spec: algorithm.init(key, spec))(jax.random.key(0))
        update, compile_s = jax.jit(algorithm.update), float("nan")
        for kind in ("full", "40-70"):
            k_on, k_off, k_lengths = jax.random.split(jax.random.key(1), 3)
            drawn = jax.random.randint(k_lengths, (48,), 40, 71)
            lengths = jnp.full_like(drawn, shape.steps) if kind == "full" else drawn
            on, off = episodes(k_on, shape, lengths[:16]), episodes(k_off, shape, lengths[16:])
            batch = Batch(on_policy=on, off_policy=off, actor=on)
            if kind == "full":
                start = time.perf_counter()
                update.lower(learner, batch, jax.random.key(2)).compile()
                compile_s = time.perf_counter() - start
            ms = 1e3 * seconds(update, learner, batch, jax.random.key(2))
            needed = needed_operations(algorithm, shape, int(lengths[:16].sum()), int(lengths[16:].sum()))
            bound = 1e3 * sum(needed.values()) / rate
            reference = REFERENCE_MS[name, kind]
            print(f"{name:6}{kind:>9}{ms:9.0f}{reference:14}{reference / ms:14.2f}{bound:10.0f}{bound / ms:19.0%}{compile_s:12.1f}")


if __name__ == "__main__":
    main()
