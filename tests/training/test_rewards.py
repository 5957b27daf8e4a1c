"""Scaled and standardised rewards: what is learned from, while what is kept and reported stays the environment's own."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Int

import dop
from dop.learning.normalisation import RunningMeanVar
from dop.storage.checkpoints import flatten
from dop.storage.config import RunConfig
from dop.training.program import Program, RunState
from helpers import assert_resumes
from probes import ProbeState, Recurrent

ALGORITHM = dop.VDN(actor=dop.GRU(hidden_size=8), episodes_per_iteration=4, replay_batch=8, replay_capacity=32)
QUICKLY = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
compiled = functools.partial(jax.jit, compiler_options=QUICKLY)  # compiles in half the time


@dataclass(frozen=True, kw_only=True)
class Rich(Recurrent):
    """`Recurrent`, and whatever it pays four times over: no digit is lost on the way there and back."""

    def reward(self, state: ProbeState, action: Int[Array, " agent"]) -> Any:
        return 4 * super().reward(state, action)


@functools.cache
def learned(environment: Any, **rules: Any) -> tuple[RunState, dict[str, Any], dict[str, Any]]:
    """The state after three iterations, what these report, and what an evaluation then does."""
    program = Program(algorithm=ALGORITHM, environment=environment, train_config=dop.TrainConfig(**rules))
    return compiled(lambda key: _follow(program, key))(jax.random.key(3))


def _follow(program: Program, key: Any) -> Any:
    state, metrics = program.chunk(program.warm_up(program.start(key)), 3)
    return state, metrics, program.evaluate(state, 16)


def collected(state: RunState) -> np.ndarray:
    """The rewards of all steps that were taken: 8 episodes before and 12 while it learned, all still in the replay."""
    assert int(state.replay.added) == 20
    return np.asarray(state.replay.items.reward)[np.asarray(state.replay.items.mask)]


def assert_same_learner(one: RunState, other: RunState) -> None:
    expected = flatten(other.learner)
    for name, array in flatten(one.learner).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_without_either_the_program_is_what_it_was():
    program = Program(algorithm=ALGORITHM, environment=Recurrent(delay=1))
    state = jax.eval_shape(program.start, jax.random.key(0))
    assert state.rewards is None
    assert program.rewarded(state) is state.replay


def test_a_scale_is_the_same_as_an_environment_that_pays_otherwise():
    rich, metrics, evaluation = learned(Rich(delay=1), reward_scale=0.25)
    plain, usual, usual_evaluation = learned(Recurrent(delay=1))
    assert_same_learner(rich, plain)
    for name, value in usual.items():
        assert float(metrics[name]) == pytest.approx((4 if name.startswith("return_") else 1) * float(value), rel=1e-6), name
    for name, value in usual_evaluation.items():
        assert float(evaluation[name]) == pytest.approx((4 if name.startswith("test_return_") else 1) * float(value), rel=1e-6), name
    np.testing.assert_array_equal(collected(rich), 4 * collected(plain))
    assert np.ptp(collected(plain)) > 0


def test_standardised_rewards_are_in_no_unit():
    rich, metrics, _ = learned(Rich(delay=1), normalise_rewards=True)
    plain, usual, _ = learned(Recurrent(delay=1), normalise_rewards=True)
    assert_same_learner(rich, plain)
    assert float(metrics["return_mean"]) == pytest.approx(4 * float(usual["return_mean"]))


def test_standardising_changes_what_is_learned():
    one, other = flatten(learned(Recurrent(delay=1))[0].learner), flatten(learned(Recurrent(delay=1), normalise_rewards=True)[0].learner)
    assert any((array != other[name]).any() for name, array in one.items())


def test_what_is_learned_from_has_a_standard_deviation_of_one():
    """Over all steps collected, padding left out; zero stays zero; and a scale comes on top."""
    program = Program(
        algorithm=ALGORITHM, environment=Rich(delay=1), train_config=dop.TrainConfig(normalise_rewards=True, reward_scale=3.0)
    )
    state, _, _ = learned(Rich(delay=1), normalise_rewards=True)
    assert state.rewards is not None
    rewards = collected(state)
    assert float(state.rewards.count) == len(rewards)
    seen = np.asarray(program.rewarded(state).items.reward)[np.asarray(state.replay.items.mask)]
    np.testing.assert_allclose(seen, 3 * rewards / np.std(rewards), rtol=1e-5)
    assert np.std(seen) == pytest.approx(3, rel=1e-5)
    np.testing.assert_array_equal(seen == 0, rewards == 0)


@pytest.mark.parametrize(
    ("rewards", "scale"), [([0.1] * 1000, 0.1), ([-3.0] * 7, 3.0), ([0.0] * 4, 1.0), ([1.0, 3.0], 1.0), ([-1e-6, 1e-6], 1e-6), ([], 1.0)]
)
def test_what_rewards_are_divided_by(rewards: list[float], scale: float):
    """Constant rewards are not blown up by what rounding makes of their deviation."""
    moments = RunningMeanVar.start(1)
    for half in np.array_split(np.array(rewards, np.float32), 2):
        moments = moments.update(jnp.asarray(half)[:, None], jnp.ones(len(half), bool))
    assert float(moments.scale[0]) == pytest.approx(scale, rel=1e-3)


def test_it_resumes_exactly(tmp_path: Path):
    program = Program(algorithm=ALGORITHM, environment=Recurrent(delay=1), train_config=dop.TrainConfig(normalise_rewards=True))
    start = compiled(lambda key: program.warm_up(program.start(key)))
    assert_resumes(start(jax.random.key(0)), compiled(lambda state: program.chunk(state, 1)), tmp_path)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_scales_that_cannot_be(scale: float):
    with pytest.raises(dop.ConfigError, match="reward_scale"):
        dop.TrainConfig(reward_scale=scale).check()


def test_they_are_part_of_what_made_a_run():
    nothing: dict[str, Any] = {"hyper_parameters": {}, "environment_options": {}, "environment_spec": {}}
    config = RunConfig(algorithm="vdn", environment="x", train_config=dop.TrainConfig(), **nothing)
    rules: list[dict[str, Any]] = [{}, {"reward_scale": 2.0}, {"normalise_rewards": True}]
    made = [replace(config, train_config=dop.TrainConfig(**chosen)).made_by for chosen in rules]
    assert made[0] != made[1] != made[2] != made[0]
