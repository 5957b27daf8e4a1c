"""Training with deterministic DOP, MADDPG and MAAC: environment steps per second and cost of an update, also compared with peers.

    taskset -c 1 python bench/off_policy.py             Aggregation, at the ratio of App. G.2: batches of 1250, one critic step per episode
    taskset -c 1 python bench/off_policy.py --peers     at the sizes and ratios of three other implementations with published rates

Seconds are processor seconds of the process (all threads), the best of several, since the machine may be shared.
The bound counts only the matrix products that an update needs, at the rate measured in the same run.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax

import dop
from dop.algorithms import algorithms
from dop.algorithms.base.off_policy import OffPolicy
from dop.algorithms.deterministic_dop import DeterministicDOP
from dop.algorithms.maac import MAAC
from dop.algorithms.maddpg import MADDPG
from dop.training.program import Program, RunState
from dop.types import EnvSpec
from machine import describe, matmul_rate, seconds, units

METHODS = ("deterministic-dop", "maddpg", "maac")


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another implementation: its published rate on one core of this kind of machine, and its sizes and ratio in ours."""

    name: str
    published: str
    fastest: float
    """Environment steps per second."""
    algorithm: OffPolicy[Any]
    environment: dop.Environment


def peers() -> list[Peer]:
    """The three peers. Each of their updates is one critic step and one actor step, as here without delay."""
    spread, boxes = dop.make("mpe:spread"), dop.make("mpe:spread", actions="box")
    every = {"policy_delay": 1, "optimiser": "adam"}
    sizes: dict[str, Any] = {"critic": dop.MLP(hidden_size=128), "actor": dop.MLP(hidden_size=128)}
    epymarl = MADDPG(**sizes, replay_batch=16 * 25, episodes_per_iteration=1, **every)
    # 1000 updates per 6000 frames are 42 per 10 episodes of 25.
    sizes = {"critic": dop.MLP(hidden_size=256), "actor": dop.MLP(hidden_size=256), "replay_batch": 128}
    benchmarl = MADDPG(**sizes, episodes_per_iteration=10, rounds_per_iteration=42, replay_capacity=4000, **every)
    return [
        Peer(
            name="MAAC's code: 12 environments, 4 updates of 1024 per 100 steps",
            published="77.5",
            fastest=77.5,
            algorithm=MAAC.presets()["published"],
            environment=spread,
        ),
        Peer(
            name="EPyMARL's MADDPG: one update of 16 episodes per episode, hidden 128",
            published="202-285",
            fastest=285,
            algorithm=epymarl,
            environment=spread,
        ),
        Peer(
            name="BenchMARL's MADDPG: 1000 updates of 128 per 6000 frames, hidden 256",
            published="402",
            fastest=402,
            algorithm=benchmarl,
            environment=boxes,
        ),
    ]


# ------------------------------------------------------------------------------------------------------------------ products


@dataclass(frozen=True, kw_only=True)
class Products:
    """Multiplications of one network for one step: forward, backward to its weights, backward to its input actions."""

    forward: float
    weights: float
    actions: float


def layers(*sizes: float, n: float = 1, from_data: float | None = None) -> Products:
    """`n` networks of these layers; `from_data` is the number of inputs that are not actions, which need no gradient. One-hot inputs are
    look-ups and cost nothing."""
    first, rest = sizes[0] * sizes[1], sum(a * b for a, b in itertools.pairwise(sizes[1:]))
    given = sizes[0] if from_data is None else from_data
    return Products(forward=n * (first + rest), weights=n * (first + 2 * rest), actions=n * ((sizes[0] - given) * sizes[1] + rest))


def actors(algorithm: OffPolicy[Any], spec: EnvSpec) -> Products:
    return layers(spec.obs_size, units(algorithm.actor), units(algorithm.actor), spec.action_size, n=spec.n_agents)


def critic(algorithm: OffPolicy[Any], spec: EnvSpec) -> tuple[Products, float]:
    """The critic's products for its own steps, and those for the actors' step."""
    n, h, a, s = spec.n_agents, units(algorithm.critic), spec.action_size, spec.state_size
    if isinstance(algorithm, DeterministicDOP):
        own = layers(spec.obs_size + a, h, h, 1, n=n, from_data=spec.obs_size)
        team = s * h + s * (n + 1)
        products = Products(forward=own.forward + team, weights=own.weights + team, actions=own.actions)
        return products, products.forward + products.actions
    if isinstance(algorithm, MADDPG):
        products = layers(s + n * a, h, h, 1, n=len(set(spec.groups(algorithm.share_parameters))))
        changed = layers(a, h, h, 1, n=n, from_data=0)
        return products, (s + n * a) * h + changed.forward + changed.actions
    encoders = n * (spec.obs_size + spec.obs_size + a) * h
    attention = n * 3 * h * h + 2 * n * n * h
    head = n * (2 * h * h + h * a)
    forward = encoders + attention + head
    return Products(forward=forward, weights=encoders + 2 * (attention + head), actions=0), forward


def round_operations(algorithm: OffPolicy[Any], spec: EnvSpec) -> float:
    """Floating-point operations of the products of one round, `policy_delay` critic steps and one actor step."""
    actor, (values, critic_for_actors) = actors(algorithm, spec), critic(algorithm, spec)
    critic_step = actor.forward + 2 * values.forward + values.weights
    actor_step = actor.forward + critic_for_actors + actor.weights
    return 2.0 * algorithm.replay_batch * (algorithm.policy_delay * critic_step + actor_step)


# -------------------------------------------------------------------------------------------------------------------- timing


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of training on one core."""

    steps_per_second: float
    """Environment steps, learning included."""
    update_ms: float
    """One critic step and its fraction of an actor step."""
    bound_ms: float
    """Milliseconds of an update's products alone."""


def measure(algorithm: OffPolicy[Any], environment: dop.Environment, repeats: int) -> Cost:
    method: Any = algorithm  # the base class lacks each method's own fields
    program = Program(algorithm=method, environment=environment)
    state = jax.jit(lambda key: program.warm_up(program.start(key)))(jax.random.key(0))
    updates = algorithm.rounds_per_iteration * algorithm.policy_delay
    iterations = max(1, 20 // updates)
    chunk = jax.jit(lambda state: program.chunk(state, iterations)[0], donate_argnums=0)
    rates, state = train(chunk, chunk(state), repeats)
    batch = jax.jit(algorithm.sample)(state.replay, jax.random.key(1))
    keys = jax.random.split(jax.random.key(2), iterations)

    def update(learner: Any) -> Any:
        """Several updates in one program, as in training: single calls would allocate memory for large batches each time."""
        return jax.lax.scan(lambda learner, key: (algorithm.update(learner, batch, key)[0], None), learner, keys)[0]

    update_ms = 1e3 * seconds(jax.jit(update), state.learner, repeats=repeats, clock=time.process_time) / (updates * iterations)
    bound = 1e3 * round_operations(algorithm, environment.spec) / matmul_rate(clock=time.process_time) / algorithm.policy_delay
    return Cost(steps_per_second=max(rates), update_ms=update_ms, bound_ms=bound)


def train(chunk: Callable[[RunState], RunState], state: RunState, repeats: int) -> tuple[list[float], RunState]:
    """Environment steps per second of each of `repeats` chunks."""
    rates = []
    for _ in range(repeats):
        before, start = int(state.learner.env_steps), time.process_time()
        state = jax.block_until_ready(chunk(state))
        rates.append((int(state.learner.env_steps) - before) / (time.process_time() - start))
    return rates, state


def paper_ratio(repeats: int) -> None:
    """Print each method's default on Aggregation with the paper's batch size and ratio."""
    print(f"{'Aggregation':20}{'env steps/s':>13}{'ms/update':>14}{'bound ms':>10}{'fraction of bound':>19}")
    for name in METHODS:
        default: Any = algorithms()[name]()
        algorithm = replace(default, replay_batch=1250, episodes_per_iteration=2, policy_delay=2, rounds_per_iteration=1)
        cost = measure(algorithm, dop.make("aggregation"), repeats)
        fraction = cost.bound_ms / cost.update_ms
        print(f"{name:20}{cost.steps_per_second:13.0f}{cost.update_ms:14.1f}{cost.bound_ms:10.1f}{fraction:19.0%}", flush=True)


def compare_with_peers(repeats: int) -> None:
    """Print our rates at the peers' sizes and ratios, and the speed-up over their fastest published rate."""
    print(f"{'peer':72}{'published':>11}{'ours, env steps/s':>19}{'speed-up':>10}{'ms/update':>14}{'bound ms':>10}")
    for peer in peers():
        cost = measure(peer.algorithm, peer.environment, repeats)
        times = cost.steps_per_second / peer.fastest
        costs = f"{cost.steps_per_second:19.0f}{times:10.1f}{cost.update_ms:14.2f}{cost.bound_ms:10.2f}"
        print(f"{peer.name:72}{peer.published:>11}{costs}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(describe())
    (compare_with_peers if options.peers else paper_ratio)(options.repeats)


if __name__ == "__main__":
    main()
