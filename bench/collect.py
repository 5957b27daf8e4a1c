"""Environment steps per second with a policy, compared with random legal actions.

taskset -c 0 python bench/collect.py [--env smax:2s3z] [--episodes 4 32]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import dop
from dop import policies
from dop.training.collect import collect
from machine import describe, seconds


@dataclass(frozen=True)
class RandomPolicy:
    """Uniform over legal actions, without a hidden state: the cost of collection without networks."""

    def initial_carry(self, _: dop.EnvSpec) -> tuple[()]:
        return ()

    def act(self, _learner: Any, carry: Any, step: dop.TimeStep, key: jax.Array, *, explore: bool) -> tuple[dop.PolicyOutput, Any]:
        del explore
        policy = jax.vmap(policies.uniform)(step.action_mask)
        action = jax.vmap(policies.sample)(jax.random.split(key, policy.shape[0]), policy)
        return dop.PolicyOutput(action=action, behaviour_prob=jnp.max(policy, axis=-1)), carry


def steps_per_second(algorithm: Any, environment: dop.Environment, learner: Any, episodes: int) -> float:
    """Valid environment steps per second of one jitted collection."""
    run = jax.jit(lambda learner, key: collect(algorithm, environment, learner, key, episodes=episodes, explore=True))
    _, summary = run(learner, jax.random.key(0))
    return float(summary.length.sum()) / seconds(run, learner, jax.random.key(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="smax:2s3z")
    parser.add_argument("--episodes", type=int, nargs="+", default=[4, 32])
    options = parser.parse_args()
    environment, algorithm = dop.make(options.env), dop.StochasticDOP()
    learner = algorithm.init(jax.random.key(0), environment.spec)
    print(f"{options.env}; {describe()}")
    print(f"{'environments':>12}{'policy steps/s':>16}{'random steps/s':>16}{'ratio':>8}")
    for episodes in options.episodes:
        policy = steps_per_second(algorithm, environment, learner, episodes)
        random = steps_per_second(RandomPolicy(), environment, None, episodes)
        print(f"{episodes:12}{policy:16.0f}{random:16.0f}{policy / random:8.2f}")


if __name__ == "__main__":
    main()
