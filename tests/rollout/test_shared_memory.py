"""Results of Python environments are validated against the spec; violations are refused with the name, the value and the step."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import equinox as eqx
import numpy as np
import pytest

import dop
from dop.rollout.env_runner import EnvRunner
from dop.rollout.shared_memory import RESET, STEP, SharedBuffers
from dop.types import TimeStep
from python_environments import Walk


class Wrong(Walk):
    """`Walk` with one field changed, at its second step or at `reset`."""

    change: Any = None
    at: str = "step"

    def _answer(self, asked: str, what: Any, reward: float) -> TimeStep:
        self._length = 99
        step = super()._answer(asked, what, reward)
        if asked != self.at or self._t == 1:
            return step
        name, value = self.change
        return eqx.tree_at(lambda x: getattr(x, name), step, value(getattr(step, name)) if callable(value) else value)


def run(walk: Walk, actions: int = 2) -> SharedBuffers:
    """One episode of seed 5 in its own buffers."""
    buffers = SharedBuffers.over(walk.spec, 1, bytearray(SharedBuffers.nbytes(walk.spec, 1)))
    runner = EnvRunner(lambda: walk, walk.spec, buffers)
    buffers.seed[:] = 5
    for command in (RESET, *[STEP] * actions):
        buffers.command[:] = command
        runner.run([0])
    runner.close()
    assert walk.closed == 1
    return buffers


def put(place: tuple[int, ...], value: float) -> Any:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[place] = value
        return array

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("obs", put((1, 0), np.nan)), r"step 2 of the episode with seed 5 gave obs\[1, 0\] = nan; every number must be finite"),
        (("obs", put((0, 2), -101.0)), r"obs\[0, 2\] = -101.0; its spec has obs_bound 100.0"),
        (("obs", lambda x: x[:1]), r"obs as float32\[1, 3\], its spec says float\[2, 3\]"),
        (("obs", lambda x: x.astype(str)), r"obs as <U32\[2, 3\], its spec says float\[2, 3\]"),
        (("state", put((1,), np.inf)), r"state\[1\] = inf"),
        (("state", lambda x: x.astype(np.float64) * 0 + 1e300), r"state\[0\] = 1e\+300; every number must be finite \(in float32\)"),
        (("reward", np.float32(np.nan)), r"reward = nan"),
        (("reward", np.zeros(2)), r"reward as float64\[2\], its spec says float\[\]"),
        (("action_mask", lambda x: x.astype(int)), r"action_mask as int64\[2, 4\], its spec says bool\[2, 4\]"),
        (("action_mask", put((0, 3), True)), r"action 3 of agent_0 as legal, which has only 3"),
        (("terminated", 1), r"terminated as int64\[\], its spec says bool"),
        (("metrics", put((0,), -np.inf)), r"metrics\[0\] = -inf"),
    ],
)
def test_refusals(change: Any, words: str):
    walk = Wrong()
    walk.change = change
    with pytest.raises(dop.ConfigError, match=rf"python_environments:Walk: .*{words}"):
        run(walk)


@pytest.mark.parametrize("at", ["reset", "step"])
def test_invalid_ends_of_episodes(at: str):
    walk = Wrong(time_limit=2)
    walk.change, walk.at = ("terminated", np.True_), at
    words = "reset .* gave an episode that has ended already" if at == "reset" else "both terminated and truncated"
    with pytest.raises(dop.ConfigError, match=words):
        run(walk)


def test_whole_numbers_and_double_precision_are_accepted():
    walk = Wrong()
    walk.change = ("state", np.array([3, -2]))
    assert run(walk).state[0].tolist() == [3.0, -2.0]
    walk = Wrong()
    walk.change = ("reward", 0.25)
    assert run(walk).reward.tolist() == [0.25]


def test_large_numbers_whose_sum_is_not_finite_are_accepted():
    spec = dataclasses.replace(Walk().spec, obs_bound=None)
    buffers = SharedBuffers.over(spec, 1, bytearray(SharedBuffers.nbytes(spec, 1)))
    walk = Wrong()
    walk.change = ("state", np.full(2, 3e38))
    runner = EnvRunner(lambda: walk, walk.spec, buffers)
    walk.change = ("metrics", np.full(2, 3e38))
    for command in (RESET, STEP, STEP):
        buffers.command[:] = command
        runner.run([0])
    np.testing.assert_allclose(buffers.metrics[0], 3e38)


def test_an_environment_whose_spec_changes_is_refused():
    walk = Walk()
    buffers = SharedBuffers.over(walk.spec, 1, bytearray(SharedBuffers.nbytes(walk.spec, 1)))
    runner = EnvRunner(lambda: walk, dataclasses.replace(walk.spec, time_limit=6), buffers)
    buffers.command[:] = RESET
    with pytest.raises(dop.ConfigError, match="must have the same spec whenever it is made: its time_limit was 6, then 5"):
        runner.run([0])


def test_results_include_which_metrics_have_appeared():
    """For an adapter at the end of an episode; other environments always have all."""
    for make, given in ((functools.partial(dop.make, "odd_games:Won", metrics=["won", "wonn"]), [True, False]), (Walk, [True, True])):
        spec = make().spec
        buffers = SharedBuffers.over(spec, 2, bytearray(SharedBuffers.nbytes(spec, 2)))
        runner = EnvRunner(make, spec, buffers)
        buffers.command[1] = RESET
        runner.run([1])
        assert not buffers.appeared.any()
        buffers.command[1] = STEP
        while not (buffers.terminated[1] or buffers.truncated[1]):
            runner.run([1])
        assert buffers.results(np.array([1]))["appeared"].tolist() == [given]
        assert not buffers.appeared[0].any()
