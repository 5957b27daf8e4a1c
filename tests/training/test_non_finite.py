"""Numbers that are not finite are found in the chunk in which they come up, named, and never saved."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Int, PRNGKeyArray

import dop
from dop import api
from dop.training import non_finite
from dop.training.program import Program, RunState
from dop.training.trainer import Trainer
from helpers import make_episodes, make_spec
from probes import Probe, ProbeState
from run_factories import TINY, make_run

SPEC = make_spec(time_limit=5)
QUICKLY = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
compiled = functools.partial(jax.jit, compiler_options=QUICKLY)  # compiles in half the time
SIDE_BY_SIDE = TINY.episodes_per_iteration


@pytest.fixture(scope="module")
def episodes() -> dop.Episode:
    return make_episodes(jax.random.key(0), SPEC, (5, 3, 1, 4))


def poisoned(episodes: dop.Episode, name: str, *place: int, value: float = np.nan) -> dop.Episode:
    where: Callable[[dop.Episode], Array] = lambda e: getattr(e, name)  # noqa: E731
    return eqx.tree_at(where, episodes, where(episodes).at[place].set(value))


def told(found: dict[str, Any]) -> list[str]:
    _, places = non_finite.split(found)
    return [
        non_finite.sentence(name, float(place), time_limit=SPEC.time_limit, environments=4) for name, place in places.items() if place >= 0
    ]


def test_all_is_well(episodes: dop.Episode):
    assert not told(non_finite.of_episodes(episodes))
    assert not told(non_finite.of_update({"critic_loss": jnp.ones(()), "actor_grad_norm": jnp.zeros(()), "q_max": jnp.asarray(jnp.inf)}))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_wrong_is_named_with_its_environment_and_step(episodes: dop.Episode, value: float):
    found = poisoned(
        poisoned(poisoned(episodes, "reward", 2, 0, value=value), "obs", 1, 3, 2, 0, value=value), "state", 3, 0, 1, value=value
    )
    assert told(non_finite.of_episodes(found)) == [
        "the reward of parallel environment 2 (of 0 to 3) is not finite at step 1 of its episode",
        "an observation of parallel environment 1 (of 0 to 3) is not finite at step 3 of its episode",
        "the global state of parallel environment 3 (of 0 to 3) is not finite at step 0 of its episode",
    ]
    assert told(non_finite.of_update({"critic_loss": jnp.asarray(value), "actor_grad_norm": jnp.zeros(())})) == [
        "critic_loss is not finite"
    ]


def test_such_episodes_are_emptied_and_the_others_left(episodes: dop.Episode):
    clean, dropped = non_finite.emptied(poisoned(poisoned(episodes, "reward", 2, 0), "obs", 0, 5, 0, 0))
    assert float(dropped) == 2
    for x, y in zip(jax.tree.leaves(clean), jax.tree.leaves(episodes), strict=True):
        assert not np.asarray(x)[[0, 2]].any()
        np.testing.assert_array_equal(x[jnp.asarray([1, 3])], y[jnp.asarray([1, 3])])


@pytest.mark.parametrize(
    ("new", "metrics", "kept"),
    [
        (2.0, {"loss": 1.0}, 2.0),
        (2.0, {"critic_loss": np.nan}, 1.0),
        (2.0, {"critic_grad_norm": np.inf}, 1.0),
        (np.nan, {"critic_loss": 1.0}, 1.0),
        (-np.inf, {}, 1.0),
    ],
)
def test_bad_updates_are_undone(new: float, metrics: dict[str, float], kept: float):
    old = {"weight": jnp.ones(2), "count": jnp.asarray(3)}
    update = {"weight": jnp.asarray([2.0, new]), "count": jnp.asarray(4)}
    found, skipped = non_finite.undone_if_bad(old, update, {name: jnp.asarray(value) for name, value in metrics.items()})
    assert float(found["weight"][1]) == kept
    assert int(found["count"]) == (4 if kept == 2 else 3)
    assert float(skipped) == (kept == 1)


def test_a_chunk_reports_means_sums_and_places():
    metrics = {
        "critic_loss": jnp.asarray([1.0, 3.0]),
        "skipped_updates": jnp.asarray([1.0, 1.0]),
        "non_finite/obs": jnp.asarray([7.0, -1.0]),
    }
    assert non_finite.over_iterations(metrics) == {"critic_loss": 2, "skipped_updates": 2, "non_finite/obs": 7}
    spoilt = metrics | {"critic_loss": jnp.asarray([np.nan, 3.0])}
    assert np.isnan(non_finite.over_iterations(spoilt)["critic_loss"])
    assert float(non_finite.over_iterations(spoilt, ignore_nan=True)["critic_loss"]) == 3


def test_a_chunk_reports_the_spread_of_all_its_returns():
    """Two iterations with returns 1, 3 and 5, 9: the mean of all is 4.5, that of their squares 29, their variance 29 - 4.5^2."""
    metrics = {
        "return_mean": jnp.asarray([2.0, 7.0]),
        "return_std": jnp.asarray([1.0, 2.0]),
        "return_min": jnp.asarray([1.0, 5.0]),
        "return_max": jnp.asarray([3.0, 9.0]),
    }
    expected = {"return_mean": 4.5, "return_std": np.sqrt(8.75), "return_min": 1, "return_max": 9}
    assert {name: float(value) for name, value in non_finite.over_iterations(metrics).items()} == pytest.approx(expected, rel=1e-6)
    spoilt = {name: jnp.append(value, jnp.nan) for name, value in metrics.items()}
    assert all(np.isnan(value) for value in non_finite.over_iterations(spoilt).values())
    found = non_finite.over_iterations(spoilt, ignore_nan=True)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, rel=1e-6)


# ------------------------------------------------------------------------------------------------------------- whole chunks


@dataclass(frozen=True, kw_only=True)
class Poisonous(Probe):
    """One step, reward -1 or +1; in an eighth of the episodes it is not a number."""

    def reset(self, key: PRNGKeyArray) -> Any:
        state, step = super().reset(key)
        bad = jax.random.bernoulli(jax.random.fold_in(key, 1), 1 / 8)
        return ProbeState(t=state.t, cue=jnp.where(bad, jnp.nan, state.cue)), step

    def reward(self, state: ProbeState, action: Int[Array, " agent"]) -> Float[Array, ""]:
        return state.cue


CAPABLE = replace(TINY, episodes_per_iteration=4, replay_capacity=16, replay_batch=4)


@functools.cache
def run(on_non_finite: Literal["stop", "skip"]) -> tuple[RunState, RunState, Any]:
    program = Program(algorithm=CAPABLE, environment=Poisonous(), train_config=dop.TrainConfig(on_non_finite=on_non_finite))
    start = compiled(program.start)(jax.random.key(0))
    return start, *compiled(lambda state: program.chunk(state, 6))(start)


def test_a_chunk_finds_the_reward_and_the_loss():
    _, _, metrics = run("stop")
    _, found = non_finite.split(metrics)
    assert found["reward"] >= 0
    assert found["obs"] == found["state"] == -1
    assert [place for name, place in found.items() if name.endswith("_loss")] == [0]


def test_a_chunk_skips_what_is_bad_and_learns_from_the_rest():
    start, state, metrics = run("skip")
    assert 0 < float(metrics["emptied_episodes"]) < 24
    assert float(metrics["skipped_updates"]) == 0
    assert all(np.isfinite(value) for name, value in metrics.items() if name.endswith(("_loss", "return_mean")))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((state.learner, state.replay.items)))
    before, after = (jax.tree.leaves(s.learner.online) for s in (start, state))  # pyright: ignore[reportAttributeAccessIssue]
    assert any((x != y).any() for x, y in zip(before, after, strict=True))
    assert int(state.learner.env_steps) == 24


# --------------------------------------------------------------------------------------------------------- what a run does


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    folder = make_run(tmp_path / "run")
    config, program = api.rebuild(folder, None)
    return Trainer(program, config, folder)


def metrics_with(**found: float) -> dict[str, Any]:
    return {"critic_loss": jnp.ones(1)} | {non_finite.FOUND + name: jnp.asarray([place]) for name, place in found.items()}


def test_a_run_stops_and_says_what_and_where(trainer: Trainer):
    with pytest.raises(dop.RunError, match=r"matrix-game, seed 0, iteration 0 .*the reward of parallel environment 1 .* at step 1 .* skip"):
        trainer._record("train", trainer.restore(), metrics_with(obs=-1, reward=2))


def test_a_run_that_skips_warns_once(trainer: Trainer, caplog: pytest.LogCaptureFixture):
    trainer.train_config = replace(trainer.train_config, on_non_finite="skip")
    state = trainer.restore()
    with caplog.at_level(logging.WARNING, logger="dop"):
        for _ in range(3):
            trainer._record("train", state, metrics_with(loss=0))
    (record,) = caplog.records
    assert "loss is not finite. It is skipped and counted" in record.getMessage()


def test_what_was_found_is_no_record(trainer: Trainer):
    written: list[Any] = []
    logger: Any = SimpleNamespace(write=written.extend)
    trainer.loggers = [logger]
    trainer._record("train", trainer.restore(), metrics_with(obs=-1))
    assert written[0].metrics == {"critic_loss": 1.0}


def test_a_spoilt_learner_is_not_saved(trainer: Trainer):
    state = trainer.restore()
    spoilt = jax.tree.map(lambda x: x.at[0].set(jnp.nan) if x.dtype == jnp.float32 else x, state.learner)
    with pytest.raises(dop.RunError, match=r"of the learner, and \d+ other arrays, became not finite before iteration 0\. It is not saved"):
        trainer.save(eqx.tree_at(lambda s: s.learner, state, spoilt))
    assert trainer.checkpoints.iterations() == [2]


def test_a_run_that_stopped_can_go_on_skipping(trainer: Trainer):
    config, program = api.rebuild(trainer.folder, None, changes={"on_non_finite": "skip"})
    assert program.train_config.on_non_finite == config.train_config.on_non_finite == "skip"
    assert int(Trainer(program, config, trainer.folder).restore().iteration[0]) == 0
