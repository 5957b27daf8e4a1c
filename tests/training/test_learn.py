"""Whole iterations in one compiled chunk: where the chunks are cut, evaluated or run side by side changes nothing."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from jaxtyping import PyTree

import dop
from dop.algorithms.stochastic_dop import StochasticDOP
from dop.devices import parallel
from dop.storage.checkpoints import flatten
from dop.training.program import CompiledDriver, Program, RunState
from probes import Recurrent

ALGORITHM = StochasticDOP(
    critic=dop.MLP(hidden_size=8),
    actor=dop.GRU(hidden_size=8),
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
    of_all = ("return_std", "return_min", "return_max", "epsilon")
    for name in metrics.keys() - set(of_all):
        assert float(metrics[name]) == pytest.approx((float(first[name]) + float(second[name])) / 2, rel=1e-5, abs=1e-6)


def test_a_chunk_reports_the_spread_of_all_its_episodes():
    """Against the returns of the episodes that the replay has got: 2 iterations with 4 each."""
    state, metrics = chunk(2)(warm())
    returns = np.sum(np.asarray(state.replay.latest(8).reward), axis=1)
    assert len(np.unique(returns)) > 1
    assert float(metrics["return_mean"]) == pytest.approx(np.mean(returns), rel=1e-6)
    assert float(metrics["return_std"]) == pytest.approx(np.std(returns), rel=1e-5)
    assert (float(metrics["return_min"]), float(metrics["return_max"])) == (np.min(returns), np.max(returns))


def test_a_chunk_reports_epsilon_where_it_ends():
    """It falls from 0.2 to 0.05 over 20,000 steps, of which 20 episodes of 2 have been made."""
    _, metrics = chunk(2)(warm())
    assert float(metrics["epsilon"]) == pytest.approx(0.2 - 0.15 * 40 / 20_000, rel=1e-6)


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
    assert first.keys() == {f"test_{name}" for name in ("return_mean", "return_std", "return_min", "return_max", "ep_length_mean")}
    returns = np.asarray(compiled(lambda s: PROGRAM.play(s.learner, PROGRAM.evaluation_key(s), 16))(warm()).undiscounted_return)
    assert float(first["test_return_mean"]) == pytest.approx(np.mean(returns), abs=1e-6)
    assert float(first["test_return_std"]) == pytest.approx(np.std(returns), rel=1e-5)
    assert (float(first["test_return_min"]), float(first["test_return_max"])) == (np.min(returns), np.max(returns))


def test_any_number_of_episodes_is_played_in_batches():
    """10 episodes in 3 batches of an iteration's 4, of which the last has two too many; the first is what these keys have always given."""
    driver = CompiledDriver(PROGRAM)
    state, keys = jax.tree.map(lambda x: x[None], (warm(), jax.random.key(3)))
    at_once = driver.play(state.learner, keys, 4, sampled=True)
    found = driver.play(state.learner, keys, 10, sampled=True)
    assert found.undiscounted_return.shape == found.length.shape == (1, 10)
    assert found.metrics.shape == (1, 10, 0)
    np.testing.assert_array_equal(found.undiscounted_return[:, :4], at_once.undiscounted_return)
    many = driver.play(state.learner, keys, 200, sampled=True).undiscounted_return.reshape(50, 4)
    assert len(np.unique(many, axis=0)) > 10


@pytest.mark.parametrize(("episodes", "size"), [(1, 1), (32, 32), (1000, 1000), (2500, 834)])
def test_an_accelerator_plays_as_many_episodes_at_a_time_as_it_may(monkeypatch: pytest.MonkeyPatch, episodes: int, size: int):
    """At most 1,000, in batches of equal size."""
    driver = CompiledDriver(PROGRAM)
    assert driver._batch_size(episodes) == 4  # of this CPU
    monkeypatch.setattr(driver, "devices", SimpleNamespace(devices=np.array([SimpleNamespace(platform="gpu")])))
    assert driver._batch_size(episodes) == size


def test_evaluation_is_greedy():
    """Training explores at random half of the time; a greedy team of the same learner answers alike in all episodes with the same cue."""
    state = warm()
    _, summary = compiled(_greedy_episodes)(state)
    assert len(np.unique(summary.undiscounted_return)) <= 2  # one for each cue
    _, explored = compiled(functools.partial(_greedy_episodes, explore=True))(state)
    assert len(np.unique(explored.undiscounted_return)) == 3  # of two agents none, one or both right


def _greedy_episodes(state: RunState, explore: bool = False) -> Any:
    from dop.training.collect import collect  # noqa: PLC0415

    return collect(PROGRAM.algorithm, PROGRAM.environment, state.learner, state.eval_key, episodes=32, explore=explore)


def test_seeds_have_keys_of_their_own():
    assert (flatten(parallel.keys((0, 1, 2)))[""][2] == flatten(parallel.keys((2,)))[""][0]).all()
    one, other = flatten(fresh(0)), flatten(fresh(1))
    assert (one["key"] != other["key"]).any()
    assert any((array != other[name]).any() for name, array in one.items() if name.startswith("learner/actor"))


SIDE_BY_SIDE = """
    import numpy as np
    from dop.devices import parallel
    from dop.storage.checkpoints import flatten
    from test_learn import PROGRAM

    def train(count):
        devices = parallel.mesh(count)
        assert devices.size == count
        def run(key):
            state, _ = PROGRAM.chunk(PROGRAM.warm_up(PROGRAM.start(key)), 3)
            return state
        program = parallel.over_seeds(run, devices)
        return lambda *chosen: flatten(program(parallel.place(parallel.keys(chosen), devices)))

    parallel.use_host_devices(2)
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
