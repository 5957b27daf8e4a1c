"""Collection outside JAX: how much of the wall time is not the environment's own `step`, and steps per second beside a bare loop.

python bench/python_environments.py [--environments 8] [--workers 0 2] [--agents 3] [--repeats 5]

The environment is mpe2's simple_spread through its adapter. Its own `step` and `reset` are timed where they are called. With N workers:

    share outside = 1 - (seconds in step and reset, all workers together) / (N x seconds of the clock)

The same in processor time, of this process and all workers, does not depend on what else the machine has to do; the share of the clock and
the steps per second do, unless there is a free core for every worker and one for this process. The bare loop plays the same environments in
turn, in this process, with random actions, and nothing else.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import psutil
from mpe2 import simple_spread_v3

import dop
from dop.devices import parallel
from dop.rollout.program import PythonDriver, PythonProgram, Source
from machine import describe

ENVIRONMENT, LIMIT = "pettingzoo:mpe2.simple_spread_v3", 25


class Timed:
    """simple_spread as users get it, with clocks around what is its own; what they show is the metrics."""

    def __init__(self, agents: int) -> None:
        self._adapter: Any = dop.make(ENVIRONMENT, N=agents, max_cycles=LIMIT)
        env = self._adapter.env
        env.reset, env.step = self._timed(env.reset), self._timed(env.step)
        self.spec = dataclasses.replace(self._adapter.spec, metrics=("seconds", "processor_seconds"), options=())

    def reset(self, seed: int) -> dop.TimeStep:
        self._clock = self._processor = 0.0
        return self._answer(self._adapter.reset(seed))

    def step(self, action: np.ndarray) -> dop.TimeStep:
        return self._answer(self._adapter.step(action))

    def render(self) -> None:
        return None

    def close(self) -> None:
        self._adapter.close()

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            clock, processor = time.perf_counter(), time.process_time()
            result = function(*args, **options)
            self._clock += time.perf_counter() - clock
            self._processor += time.process_time() - processor
            return result

        return run

    def _answer(self, step: dop.TimeStep) -> dop.TimeStep:
        leaves, tree = jax.tree.flatten(step)
        return tree.unflatten([*leaves[:-1], np.array([self._clock, self._processor])])


class Maker:
    """Can be sent to other processes, under whatever name this file runs."""

    def __init__(self, agents: int) -> None:
        self._agents = agents

    def __call__(self) -> Timed:
        return Timed(self._agents)


class Found(NamedTuple):
    steps_per_second: float
    outside: float
    """Share of the clock."""
    outside_processor: float
    """Share of the processor time."""


def collect(options: argparse.Namespace, workers: int) -> Found:
    """The best of each figure in `repeats` times `iterations`."""
    source = Source(Timed(options.agents).spec, Maker(options.agents))
    algorithm = dop.StochasticDOP(episodes_per_iteration=options.environments)
    driver = PythonDriver(PythonProgram(algorithm=algorithm, environment=source), dop.TrainConfig(env_workers=workers))
    try:
        state = parallel.over_seeds(driver.program.start, parallel.mesh(1))(parallel.keys((0,)))
        driver.collect(state)
        found = [timed(driver, state, options.iterations, max(workers, 1)) for _ in range(options.repeats)]
        rates, *shares = zip(*found, strict=True)
        return Found(max(rates), *(min(share) for share in shares))
    finally:
        driver.close()


def timed(driver: PythonDriver, state: Any, iterations: int, workers: int) -> Found:
    start = np.array([time.perf_counter(), processor_seconds()])
    played = [driver.collect(state)[1].summary for _ in range(iterations)]
    wall, processor = np.array([time.perf_counter(), processor_seconds()]) - start
    inside = np.sum([np.asarray(summary.metrics).sum(axis=(0, 1)) for summary in played], axis=0)
    steps = sum(int(summary.length.sum()) for summary in played)
    return Found(steps / wall, 1 - inside[0] / (workers * wall), 1 - inside[1] / processor)


def processor_seconds() -> float:
    """Of this process and its children."""
    times = [child.cpu_times() for child in psutil.Process().children()]
    return time.process_time() + sum(t.user + t.system for t in times)


def bare(options: argparse.Namespace) -> float:
    """Steps per second of the environments alone, the best of `repeats`."""
    environments = [simple_spread_v3.parallel_env(N=options.agents, max_cycles=LIMIT) for _ in range(options.environments)]
    random, best = np.random.default_rng(0), 0.0
    for _ in range(options.repeats):
        start = time.perf_counter()
        for _ in range(options.iterations):
            for environment in environments:
                environment.reset(seed=0)
            for _ in range(LIMIT):
                actions = random.integers(5, size=(len(environments), options.agents)).tolist()
                for environment, action in zip(environments, actions, strict=True):
                    environment.step(dict(zip(environment.agents, action, strict=True)))
        best = max(best, options.iterations * LIMIT * len(environments) / (time.perf_counter() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=int, default=8)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--agents", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=10)
    options = parser.parse_args()
    print(f"mpe2 simple_spread, {options.agents} agents, {options.environments} environments; {describe()}")
    alone = bare(options)
    heads = f"{'workers':>8}{'steps/s':>10}{'to a bare loop':>16}{'outside step: clock':>21}{'processor':>11}"
    print(heads)
    print(f"{'bare':>8}{alone:10.0f}{1:16.2f}")
    for workers in options.workers:
        rate, *shares = collect(options, workers)
        print(f"{workers:8}{rate:10.0f}{rate / alone:16.2f}{shares[0]:21.0%}{shares[1]:11.0%}")


if __name__ == "__main__":
    main()
