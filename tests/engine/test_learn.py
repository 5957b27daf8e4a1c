"""Whole iterations in one compiled chunk: where the chunks are cut, evaluated or run side by side changes nothing."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jaxtyping import PyTree

import dop
from dop.algorithms.stochastic_dop import StochasticDOP
from dop.engine import seeds
from dop.engine.checkpoint import flatten
from dop.engine.learn import Program, RunState
from probes import Recurrent

ALGORITHM = StochasticDOP(
    critic_hidden=8,
    actor_hidden=8,
    actor_steps=1,
    episodes_per_iteration=4,
    on_policy_batch=4,
    off_policy_batch=4,
    on_policy_capacity=10,
    replay_capacity=32,
)
PROGRAM = Program(algorithm=ALGORITHM, environment=Recurrent(delay=1))
LENGTH = 2  # of every episode
QUICKLY = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
compiled = functools.partial(jax.jit, compiler_options=QUICKLY)  # compiles in half the time


@functools.cache
def chunk(iterations: int) -> Any:
    return compiled(lambda state: PROGRAM.chunk(state, iterations))


@functools.cache
def evaluate() -> Any:
    return compiled(lambda state: PROGRAM.evaluate(state, 16))


@functools.cache
def fresh(seed: int = 0) -> RunState:
    return compiled(PROGRAM.start)(jax.random.key(seed))


@functools.cache
def warm() -> RunState:
    return compiled(PROGRAM.warm_up)(fresh())


def assert_same(one: PyTree, other: PyTree) -> None:
    """Bit for bit, random keys included."""
    expected = flatten(other)
    for name, array in flatten(one).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_warm_up_fills_the_replay_and_learns_nothing():
    """10 episodes asked for, 4 at a time: 12."""
    assert int(warm().replay.added) == 12
    assert int(warm().learner.env_steps) == 12 * LENGTH
    assert int(warm().iteration) == 0
    assert_same(warm().learner.actor, fresh().learner.actor)  # pyright: ignore[reportAttributeAccessIssue]
    assert_same(warm().learner.critic, fresh().learner.critic)  # pyright: ignore[reportAttributeAccessIssue]


def test_two_chunks_are_one_of_both_lengths():
    halfway, first = chunk(2)(warm())
    twice, second = chunk(2)(halfway)
    once, metrics = chunk(4)(warm())
    assert_same(twice, once)
    for name, value in metrics.items():
        assert float(value) == pytest.approx((float(first[name]) + float(second[name])) / 2, rel=1e-5, abs=1e-6)


def test_counters_are_of_real_steps():
    state, metrics = chunk(2)(warm())
    assert int(state.iteration) == 2
    assert int(state.replay.added) == 12 + 2 * 4
    assert int(state.learner.env_steps) == (12 + 2 * 4) * LENGTH
    assert float(metrics["ep_length_mean"]) == LENGTH


def test_evaluation_disturbs_nothing_and_repeats_itself():
    before = flatten(warm())
    first = evaluate()(warm())
    assert_same(first, evaluate()(warm()))
    for name, array in flatten(warm()).items():
        np.testing.assert_array_equal(array, before[name])
    assert first.keys() == {"test_return_mean", "test_ep_length_mean"}


def test_evaluation_is_greedy():
    """Training explores at random half of the time; a greedy team of the same learner answers alike in all episodes with the same cue."""
    state = warm()
    _, summary = compiled(_greedy_episodes)(state)
    assert len(np.unique(summary.undiscounted_return)) <= 2  # one for each cue
    _, explored = compiled(functools.partial(_greedy_episodes, explore=True))(state)
    assert len(np.unique(explored.undiscounted_return)) == 3  # of two agents none, one or both right


def _greedy_episodes(state: RunState, explore: bool = False) -> Any:
    from dop.engine.collect import collect  # noqa: PLC0415

    return collect(PROGRAM.algorithm, PROGRAM.environment, state.learner, state.eval_key, episodes=32, explore=explore)


def test_seeds_have_keys_of_their_own():
    assert (flatten(seeds.keys((0, 1, 2)))[""][2] == flatten(seeds.keys((2,)))[""][0]).all()
    one, other = flatten(fresh(0)), flatten(fresh(1))
    assert (one["key"] != other["key"]).any()
    assert any((array != other[name]).any() for name, array in one.items() if name.startswith("learner/actor"))


SIDE_BY_SIDE = """
    import numpy as np
    from dop.engine import seeds
    from dop.engine.checkpoint import flatten
    from test_learn import PROGRAM

    def train(count):
        devices = seeds.mesh(count)
        assert devices.size == count
        def run(key):
            state, _ = PROGRAM.chunk(PROGRAM.warm_up(PROGRAM.start(key)), 3)
            return state
        program = seeds.over_seeds(run, devices)
        return lambda *chosen: flatten(program(seeds.place(seeds.keys(chosen), devices)))

    seeds.use_host_devices(2)
    two = train(2)
    first, second, alone = two(4, 7), two(7, 9), train(1)(7)
    for name, array in alone.items():
        np.testing.assert_array_equal(first[name][1], second[name][0], err_msg=name)
        np.testing.assert_allclose(first[name][1], array[0], rtol=1e-3, atol=1e-5, err_msg=name)
    assert any((array[0] != array[1]).any() for array in first.values())
"""


def test_a_seed_does_not_depend_on_its_neighbours():
    """Bit for bit, whatever the other seeds are and on whichever device it runs. Alone it is another program, with other roundings.

    In a process of its own, since a host device for each seed must be asked for before JAX starts.
    """
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{Path(dop.__file__).parent.parent}:{here}:{here.parent}"}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SIDE_BY_SIDE)], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr
