"""Training on an accelerator: environment steps per second over parallel environments and seeds, memory, and fraction of the peak.

    python bench/gpu.py            a few minutes on a GPU; no downloads
    python bench/gpu.py --toy      seconds, on any machine

Stochastic DOP on SMAX; one iteration is a rollout of `environments` episodes for each seed, and one update of each seed. Seeds of one
device are mapped by `vmap`; several devices share seeds, and then each seed's work (`dop.devices.parallel`). The fraction is that of the
update's necessary products (as in algorithms.py) at the rate of large float32 products, which is measured first.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax

import dop
from algorithms import operations
from dop import envs
from dop.devices import parallel
from dop.training.program import Driver, Program
from learner import Shape
from machine import matmul_rate

BUDGET = 300.0
"""Seconds after which no further case starts."""


def driver_of(map_name: str, environments: int, seeds: int, options: argparse.Namespace) -> tuple[Driver, Any]:
    """A driver and its state after the warm-up."""
    algorithm = dop.StochasticDOP(episodes_per_iteration=environments, replay_capacity=max(options.capacity, environments))
    algorithm = replace(algorithm, on_policy_capacity=max(algorithm.on_policy_batch, environments))
    train_config = dop.TrainConfig(seeds=tuple(range(seeds)), chunk_iterations=options.iterations)
    driver = Program(algorithm=algorithm, environment=envs.make(f"smax:{map_name}"), train_config=train_config).drive()
    return driver, driver.start(parallel.place(parallel.keys(train_config.seeds), driver.devices))


def steps(state: Any) -> int:
    return int(state.learner.env_steps.sum())


def peak_memory() -> float:
    """The largest memory that a device has used, in GB; 0 where it does not say."""
    return max((device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in jax.devices()) / 1e9


def case(map_name: str, environments: int, seeds: int, rate: float, options: argparse.Namespace) -> str:
    """One line of the table."""
    started = time.perf_counter()
    driver, state = driver_of(map_name, environments, seeds, options)
    state, _ = driver.chunk(state)  # compiles
    compiled, before = time.perf_counter(), steps(state)
    state, metrics = jax.block_until_ready(driver.chunk(state))
    taken, played = time.perf_counter() - compiled, steps(state) - before
    spec = driver.program.spec
    shape = Shape(n=spec.n_agents, obs=spec.obs_size, state=spec.state_size, actions=spec.action_size, steps=spec.time_limit)
    needed = operations(driver.program.algorithm, shape, float(metrics["ep_length_mean"].mean()))
    fraction = options.iterations * seeds * sum(needed.values()) / taken / rate / driver.devices.size
    return (
        f"{map_name:10}{environments:13}{seeds:7}{played / taken:14,.0f}{1e3 * taken / options.iterations:14.1f}"
        f"{fraction:10.2%}{peak_memory():12.2f}{compiled - started:12.1f}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", nargs="+", default=["2s3z", "3s5z"])
    parser.add_argument("--environments", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--iterations", type=int, default=10, help="iterations that are timed")
    parser.add_argument("--capacity", type=int, default=2000, help="episodes in each seed's replay")
    parser.add_argument("--toy", action="store_true", help="one small case")
    options = parser.parse_args(arguments)
    if options.toy:
        options.maps, options.environments, options.seeds, options.iterations, options.capacity = ["3m"], [2], [2], 1, 32
    size = 256 if options.toy else 4096
    rate = matmul_rate(size, size, products=20)
    device = jax.devices()[0]
    print(f"{len(jax.devices())} x {device.device_kind}, jax {jax.__version__}, float32 products {rate / 1e12:.2f} TFLOP/s")
    print(
        f"{'map':10}{'environments':>13}{'seeds':>7}{'env steps/s':>14}{'ms/iteration':>14}{'of peak':>10}{'peak GB':>12}{'compile s':>12}"
    )
    started = time.perf_counter()
    for map_name in options.maps:
        for environments in options.environments:
            for seeds in options.seeds:
                if time.perf_counter() - started > BUDGET:
                    print(f"{map_name:10}{environments:13}{seeds:7}   left out: {BUDGET:.0f} s have passed")
                    continue
                print(case(map_name, environments, seeds, rate, options), flush=True)


if __name__ == "__main__":
    main()
