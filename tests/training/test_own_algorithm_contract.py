"""What a user's own algorithm returns is checked before a run: one sentence for each mistake, and what is right is accepted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

import dop
from dop import envs
from dop.algorithms.base.q_learning import QLearning
from dop.devices import parallel
from dop.training import contract
from dop.training.program import Program
from outside import OwnQ, OwnVDN
from run_factories import TINY

TWO_STEP = envs.make("two-step")


def with_methods(**methods: Any) -> Any:
    """`OwnQ` with other methods and sizes."""
    return make_dataclass("Mine", [], bases=(OwnQ,), namespace=methods, frozen=True, kw_only=True)(replay_batch=2, replay_capacity=4)


def acting(change: Callable[[Any, Any], Any]) -> Any:
    """`OwnQ` whose `act` returns `change(output, carry)`."""
    return with_methods(act=lambda self, *x, explore: change(*OwnQ.act(self, *x, explore=explore)))


def updating(change: Callable[[Any, Any], Any]) -> Any:
    return with_methods(update=lambda self, *x: change(*OwnQ.update(self, *x)))


def fails(*_: Any, **__: Any) -> Any:
    raise RuntimeError("out of ideas")


WRONG = {
    "an array": (
        acting(lambda output, carry: output.action),
        r"act.* returns int32\[2\]; it must return the pair \(dop.PolicyOutput, carry\)",
    ),
    "swapped": (acting(lambda output, carry: (carry, output)), r"act.* returns \(\(\), PolicyOutput\); it must return the pair"),
    "float actions": (
        acting(lambda output, carry: (replace(output, action=output.action * 1.0), carry)),
        r"act.* returns action as float32\[2\]; it must return an array of whole numbers with shape \[2\]",
    ),
    "one action": (acting(lambda output, carry: (replace(output, action=output.action[:1]), carry)), r"action as int32\[1\]"),
    "a number": (acting(lambda output, carry: (replace(output, behaviour_prob=1.0), carry)), r"behaviour_prob as 1.0; .*shape \[2\]"),
    "a growing carry": (acting(lambda output, carry: (output, (*carry, output.action))), "a carry of another structure than initial_carry"),
    "another carry": (
        with_methods(
            initial_carry=lambda self, spec: jnp.zeros(3),
            act=lambda self, learner, carry, *x, explore: (OwnQ.act(self, learner, (), *x, explore=explore)[0], carry[:2]),
        ),
        r"act.* returns a carry with float32\[2\]; it must return float32\[3\] there, as initial_carry does",
    ),
    "a number as carry": (with_methods(initial_carry=lambda self, spec: 0.0), r"initial_carry.* returns 0.0; it must return arrays"),
    "update swapped": (
        updating(lambda learner, metrics: (metrics, learner)),
        r"update.* returns \(dict, LinearQ\); it must return the pair \(learner, metrics\)",
    ),
    "a vector metric": (
        updating(lambda learner, metrics: (learner, {"q": jnp.zeros(3)})),
        r"update.* returns 'q' as float32\[3\]; it must return scalars by name",
    ),
    "another learner": (
        updating(lambda learner, metrics: (replace(learner, env_steps=learner.env_steps * 1.0), metrics)),
        r"update.* returns a learner with float32\[\] in .env_steps; it must return int32\[\] there, as init does",
    ),
    "no learner": (with_methods(init=lambda self, key, spec: {"q": jnp.zeros(2)}), "init.* returns dict; it must return a dop.Learner"),
    "a text in the batch": (with_methods(sample=lambda self, replay, key: {"name": "x"}), r"sample.* returns 'x' in \['name'\]; .* arrays"),
    "schedules": (with_methods(schedules=lambda self, learner: 0.5), r"schedules.* returns 0.5; it must return a dict of numbers by name"),
    "a vector schedule": (with_methods(schedules=lambda self, learner: {"x": jnp.zeros(2)}), r"schedules.* returns 'x' as float32\[2\]"),
    "sampling": (with_methods(sampling=lambda self: None), "sampling.* returns None; it must return a dop.Algorithm"),
    "a fraction": (with_methods(warmup_episodes=1.5), "Mine.warmup_episodes must be a whole number, got 1.5"),
    **{
        name: (
            with_methods(**{name: fails}),
            rf"Mine.{name} \(.*\) raised an exception: RuntimeError at .*test_own_algorithm_contract.py:\d+: out of ideas",
        )
        for name in ("init", "initial_carry", "act", "sample", "update", "schedules", "sampling")
    },
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_one_sentence_and_nothing_is_written(mistake: str, tmp_path: Path):
    algorithm, words = WRONG[mistake]
    with pytest.raises(dop.ConfigError, match=words) as refused:
        dop.train(algorithm, TWO_STEP, env_steps=64, run_dir=tmp_path / "run", quiet=True)
    assert "\n" not in str(refused.value)
    assert "Mine." in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_errors_of_jax_are_one_sentence_with_the_user_s_line():
    branching = with_methods(act=lambda self, learner, carry, step, *x, **y: 1 if step.reward > 0 else 2)
    words = r"Mine.act \(.*\) raised .*: TracerBoolConversionError at .*contract.py:\d+: Attempted boolean conversion.*bool\[\]"
    with pytest.raises(dop.ConfigError, match=words) as refused:
        contract.check(Program(algorithm=branching, environment=TWO_STEP))
    assert "\n" not in str(refused.value)


def test_numbers_of_python_are_schedules_and_metrics(tmp_path: Path):
    """Numbers count as arrays wherever they are returned by name."""
    algorithm = with_methods(
        schedules=lambda self, learner: {"temperature": 0.25, "level": 3},
        update=lambda self, learner, batch, key: (OwnQ.update(self, learner, batch, key)[0], {"constant": 2.0}),
    )
    done = dop.train(algorithm, TWO_STEP, env_steps=16, run_dir=tmp_path / "run", quiet=True, eval_episodes=2, chunk_iterations=1)
    trained = [record.metrics for record in done.records if record.kind == "train"]
    assert {(record["temperature"], record["level"], record["constant"]) for record in trained} == {(0.25, 3, 2)}


@pytest.mark.parametrize("algorithm", [OwnQ(), OwnVDN(replay_batch=2), TINY])
def test_right_ones_are_accepted(algorithm: Any):
    contract.check(Program(algorithm=algorithm, environment=TWO_STEP))


def test_the_library_s_own_classes_are_not_traced(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(QLearning, "update", fails)
    contract.check(Program(algorithm=TINY, environment=TWO_STEP))
    with pytest.raises(dop.ConfigError, match=r"OwnVDN.update .* raised an exception: RuntimeError"):
        contract.check(Program(algorithm=OwnVDN(replay_batch=2), environment=TWO_STEP))


def test_a_resumed_run_is_checked_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    algorithm = OwnQ(replay_batch=2, replay_capacity=4)
    dop.train(algorithm, "two-step", env_steps=16, run_dir=tmp_path / "run", quiet=True, eval_episodes=2, chunk_iterations=1)
    monkeypatch.setattr(OwnQ, "update", lambda self, learner, batch, key: learner)
    with pytest.raises(dop.ConfigError, match=re.escape("returns LinearQ; it must return the pair (learner, metrics)")):
        dop.resume(tmp_path / "run", env_steps=32, algorithm=OwnQ, quiet=True)


@pytest.mark.parametrize("seeds", [1, 2])
def test_numbers_of_python_are_results_like_arrays(seeds: int):
    with_numbers = parallel.over_seeds(lambda x: {"twice": 2 * x, "half": 0.5, "count": 3}, parallel.mesh(1))
    found = {name: value.tolist() for name, value in with_numbers(jnp.arange(float(seeds))).items()}
    assert found == {"twice": [0.0, 2.0][:seeds], "half": [0.5] * seeds, "count": [3] * seeds}


@dataclass(frozen=True, kw_only=True)
class Chooses(OwnVDN):
    def update(self, learner: Any, batch: Any, key: Any) -> Any:
        if self.gamma > 0.5:
            return super().update(learner, batch, key)
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ChoosesByItsOwn(Chooses):
    gamma: float = 0.9


def test_a_choice_by_a_traced_field_is_refused_with_the_way_out():
    config = dop.TrainConfig()
    with pytest.raises(dop.ConfigError, match=r"Chooses\.update.*use jnp\.where .*annotate the field again"):
        contract.check(Program(algorithm=Chooses(), environment=TWO_STEP, train_config=config))
    contract.check(Program(algorithm=ChoosesByItsOwn(), environment=TWO_STEP, train_config=config))
