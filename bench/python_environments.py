"""Collection in Python environments: overhead overhead the environment's own `step`, and steps per second compared with a bare loop.

python bench/python_environments.py [--environments 8] [--workers 0 2] [--agents 3] [--repeats 5]

The environment is mpe2's simple_spread through its adapter. Calls of its own `step` and `reset` are timed. With N workers:

    overhead = 1 - (seconds in step and reset, summed over workers) / (N x wall seconds)

The overhead in processor time (this process and all workers) does not depend on other load. The overhead in wall time and the steps per
second do, unless every worker and this process has a free core. The bare loop steps the same environments in turn in this process, with
random actions.
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
    """simple_spread through its adapter, with timers around its own functions; the times are its metrics."""

    def __init__(self, agents: int) -> None:
        self._adapter: Any = dop.make(ENVIRONMENT, N=agents, max_cycles=LIMIT)
        env = self._adapter.env
        env.reset, env.step = self._timed(env.reset), self._timed(env.step)
        self.spec = dataclasses.replace(self._adapter.spec, metrics=("seconds", "processor_seconds"), options=())

    def reset(self, seed: int) -> dop.TimeStep:
        self._clock = self._processor = 0.0
        return self._with_times(self._adapter.reset(seed))

    def step(self, action: np.ndarray) -> dop.TimeStep:
        return self._with_times(self._adapter.step(action))

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

    def _with_times(self, step: dop.TimeStep) -> dop.TimeStep:
        leaves, tree = jax.tree.flatten(step)
        return tree.unflatten([*leaves[:-1], np.array([self._clock, self._processor])])


class Factory:
    """A factory that can be pickled for worker processes."""

    def __init__(self, agents: int) -> None:
        self._agents = agents

    def __call__(self) -> Timed:
        return Timed(self._agents)


class Measurement(NamedTuple):
    steps_per_second: float
    overhead: float
    """Overhead in wall time."""
    processor_overhead: float
    """Overhead in processor time."""


def collect(options: argparse.Namespace, workers: int) -> Measurement:
    """The best of each figure over `repeats` measurements of `iterations` iterations."""
    source = Source(Timed(options.agents).spec, Factory(options.agents))
    algorithm = dop.StochasticDOP(episodes_per_iteration=options.environments)
    driver = PythonDriver(PythonProgram(algorithm=algorithm, environment=source, train_config=dop.TrainConfig(env_workers=workers)))
    try:
        state = parallel.over_seeds(driver.program.start, parallel.mesh(1))(parallel.keys((0,)))
        driver.collect(state)
        found = [timed(driver, state, options.iterations, max(workers, 1)) for _ in range(options.repeats)]
        rates, *overheads = zip(*found, strict=True)
        return Measurement(max(rates), *(min(overhead) for overhead in overheads))
    finally:
        driver.close()


def timed(driver: PythonDriver, state: Any, iterations: int, workers: int) -> Measurement:
    start = np.array([time.perf_counter(), processor_seconds()])
    summaries = [driver.collect(state)[2] for _ in range(iterations)]
    wall, processor = np.array([time.perf_counter(), processor_seconds()]) - start
    inside = np.sum([np.asarray(summary.metrics).sum(axis=(0, 1)) for summary in summaries], axis=0)
    steps = sum(int(summary.length.sum()) for summary in summaries)
    return Measurement(steps / wall, 1 - inside[0] / (workers * wall), 1 - inside[1] / processor)


def processor_seconds() -> float:
    """Processor seconds of this process and its children."""
    times = [child.cpu_times() for child in psutil.Process().children()]
    return time.process_time() + sum(t.user + t.system for t in times)


def bare_loop(options: argparse.Namespace) -> float:
    """Steps per second of a bare loop, the best of `repeats`."""
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
    alone = bare_loop(options)
    header = f"{'workers':>8}{'steps/s':>10}{'vs bare loop':>16}{'overhead: wall':>21}{'processor':>11}"
    print(header)
    print(f"{'bare':>8}{alone:10.0f}{1:16.2f}")
    for workers in options.workers:
        rate, *overheads = collect(options, workers)
        print(f"{workers:8}{rate:10.0f}{rate / alone:16.2f}{overheads[0]:21.0%}{overheads[1]:11.0%}")


if __name__ == "__main__":
    main()
