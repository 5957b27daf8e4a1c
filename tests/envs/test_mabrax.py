"""MABrax: maps by name with and without Brax; with it, our adapter against JaxMARL's own step, termination and truncation."""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import PRNGKeyArray

import dop.envs
from dop import cli
from dop.cli import commands
from dop.envs.common import jaxmarl
from dop.envs.mabrax import MABrax, make, variants
from dop.errors import ConfigError, MissingExtraError, UnknownNameError

compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiles in half the time


@pytest.fixture
def brax() -> None:
    pytest.importorskip("brax")


with_brax = pytest.mark.usefixtures("brax")
pytestmark = pytest.mark.filterwarnings("ignore:Accessing `.*` directly from `Data` is deprecated:DeprecationWarning")  # Brax does


def key() -> PRNGKeyArray:
    """A fresh one each time, so that JAX's check of key reuse stays quiet."""
    return jax.random.key(0)


@functools.cache
def hopper(time_limit: int = 1000) -> tuple[MABrax, Any, Any]:
    """The map that compiles fastest, with both functions compiled."""
    environment = make("hopper_3x1", time_limit=time_limit)
    return environment, compiled(environment.reset), compiled(environment.step)


def test_without_brax_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"mabrax:ant_4x2 needs brax.* pip install 'dop-marl\[mabrax\]'"):
        dop.envs.make("mabrax:ant_4x2")


@pytest.mark.skipif(importlib.util.find_spec("brax") is not None, reason="brax is installed")
def test_training_without_brax_gives_one_error_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    monkeypatch.setattr(sys, "argv", ["dop", "train", "stochastic-dop", "--env", "mabrax:ant_4x2", "--run-dir", str(tmp_path / "run")])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "pip install 'dop-marl[mabrax]'" in capsys.readouterr().err


def test_maps_are_listed_with_or_without_brax(capsys: pytest.CaptureFixture[str]):
    commands.get("list").run(())
    assert "mabrax:halfcheetah_6x1" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["mabrax", "mabrax:ant_4x3"])
def test_unknown_maps(name: str):
    with pytest.raises(UnknownNameError, match="ant_4x2"):
        dop.envs.make(name)


def test_impossible_time_limit():
    with pytest.raises(ConfigError, match="time_limit is 0"):
        make("ant_4x2", time_limit=0)


@with_brax
def test_every_map_of_jaxmarl_is_listed():
    mappings = jaxmarl.import_quietly("jaxmarl.environments.mabrax.mappings")
    assert set(variants()) == set(mappings._agent_action_mapping)


@with_brax
@pytest.mark.parametrize(
    ("variant", "obs_sizes", "action_sizes", "state_size"),
    [
        ("ant_4x2", (18,) * 4, (2,) * 4, 27),
        ("halfcheetah_6x1", (9, 9, 8, 9, 9, 8), (1,) * 6, 17),
        ("hopper_3x1", (8, 9, 8), (1,) * 3, 11),
        ("humanoid_9|8", (248, 176), (9, 8), 244),
        ("walker2d_2x3", (10, 10), (3, 3), 17),
    ],
)
def test_sizes(variant: str, obs_sizes: tuple[int, ...], action_sizes: tuple[int, ...], state_size: int):
    environment = dop.envs.make(f"mabrax:{variant}")
    spec = environment.spec
    assert (spec.obs_sizes, spec.action_sizes, spec.state_size) == (obs_sizes, action_sizes, state_size)
    assert (spec.action_kind, spec.time_limit) == ("box", 1000)
    dop.envs.validate(environment)


@with_brax
def test_a_step_is_jaxmarls_own():
    environment, reset, step = hopper()
    state, start = reset(key())
    action = jnp.array([[0.5], [-1.0], [0.2]])
    after, ours = step(key(), state, action)
    obs, theirs, reward, _, _ = compiled(environment.game.step_env)(key(), state, {f"agent_{i}": action[i] for i in range(3)})
    np.testing.assert_allclose(after.pipeline_state.q, theirs.pipeline_state.q, rtol=1e-5)
    np.testing.assert_allclose(ours.obs[1], obs["agent_1"], rtol=1e-5)
    np.testing.assert_allclose(ours.reward, reward["agent_0"], rtol=1e-5)
    np.testing.assert_allclose(ours.state, theirs.obs, rtol=1e-5)
    np.testing.assert_array_equal(start.obs[[0, 2], 8], [0.0, 0.0])  # the padding of the two agents that observe 8 numbers
    assert start.action_mask.all()


@with_brax
def test_the_time_limit_truncates_exactly():
    _, reset, step = hopper(time_limit=3)
    state, _ = reset(key())
    ends = []
    for _ in range(3):
        state, after = step(key(), state, jnp.zeros((3, 1)))
        ends.append((bool(after.terminated), bool(after.truncated)))
    assert ends == [(False, False), (False, False), (False, True)]


@with_brax
@pytest.mark.parametrize(("time_limit", "taken"), [(1000, 0), (3, 2)])
def test_falling_terminates_also_in_the_last_step(time_limit: int, taken: int):
    environment, reset, step = hopper(time_limit)
    state, _ = reset(key())
    on_its_side = environment.game.env.unwrapped.pipeline_init(state.pipeline_state.q.at[2].set(1.5), state.pipeline_state.qd)
    state = state.replace(pipeline_state=on_its_side, info={**state.info, "steps": jnp.array(float(taken))})
    _, after = step(key(), state, jnp.zeros((3, 1)))
    assert (bool(after.terminated), bool(after.truncated)) == (True, False)


@with_brax
def test_random_play_stays_finite_and_ends_in_a_fall():
    environment, _, _ = hopper()

    def advance(state: Any, k: PRNGKeyArray) -> Any:
        return environment.step(k, state, jax.random.uniform(k, (3, 1), minval=-1.0))

    def episode(k: PRNGKeyArray) -> Any:
        k_reset, k_steps = jax.random.split(k)
        state, _ = environment.reset(k_reset)
        return jax.lax.scan(advance, state, jax.random.split(k_steps, 150))[1]

    steps = compiled(jax.vmap(episode))(jax.random.split(key(), 8))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(steps))
    assert steps.terminated.any(axis=1).sum() >= 4
