"""What every environment owes its users. Registered environments are tested by themselves; only the fast maps have names here."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Bool, Float, Int

import dop.envs
from dop import policies
from dop.types import Environment, TimeStep
from helpers import assert_trees_close, assert_trees_equal
from probes import PROBES

N_EPISODES = 32
BATTLES = ("smax:", "skirmish:")
FAST_MAPS = (
    *("smax:3m", "smax:smacv2_5_units"),  # the latter starts some units outside of the map
    *("skirmish:3m", "skirmish:terran_5_vs_5"),
)
TESTED_ELSEWHERE = tuple(  # by tests/envs: extras, and what takes long
    name for name in dop.envs.names() if name.startswith(("mabrax:", "jumanji:", "jaxmarl:")) and name != "jaxmarl:hanabi"
)
NAMES = tuple(name for name in dop.envs.names() if name not in TESTED_ELSEWHERE)
PROBE_NAMES = tuple(f"probe:{probe.__name__}" for probe in PROBES)
PLAYED = (*(name for name in NAMES if not name.startswith(BATTLES) or name in FAST_MAPS), *PROBE_NAMES)

compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiles in half the time

every_environment = pytest.mark.parametrize("name", (*NAMES, *PROBE_NAMES))
played = pytest.mark.parametrize("name", PLAYED)


class Play(NamedTuple):
    """Random legal play of `N_EPISODES` for `time_limit` steps each. The first step that ends an episode is its last."""

    start: TimeStep
    steps: TimeStep
    action: Int[Array, "episode time agent"] | Float[Array, "episode time agent action"]
    alive: Bool[Array, "episode time"]
    """True up to and including the last step of the episode."""


@functools.cache
def make(name: str) -> Environment:
    probes = dict(zip(PROBE_NAMES, PROBES, strict=True))
    return probes[name]() if name in probes else dop.envs.make(name)


@functools.cache
def compiled_play(name: str):
    environment = make(name)

    def advance(carry, _):
        state, step, key = carry
        key, k_act, k_env = jax.random.split(key, 3)
        draw = functools.partial(policies.random_action, kind=environment.spec.action_kind)
        action = jax.vmap(draw)(jax.random.split(k_act, environment.spec.n_agents), step.action_mask)
        state, step = environment.step(k_env, state, action)
        return (state, step, key), (step, action)

    def episode(key):
        k_reset, k_steps = jax.random.split(key)
        state, start = environment.reset(k_reset)
        _, (steps, action) = jax.lax.scan(advance, (state, start, k_steps), length=environment.spec.time_limit)
        ended = jnp.cumsum(steps.terminated | steps.truncated)
        return Play(start, steps, action, (ended - (steps.terminated | steps.truncated)) == 0)

    return compiled(jax.vmap(episode))


@functools.cache
def play(name: str) -> Play:
    return jax.device_get(compiled_play(name)(jax.random.split(jax.random.key(1), N_EPISODES)))


def observed(name: str) -> list[TimeStep]:
    """The starts, then all steps up to the end of each episode; the leading axis runs over them."""
    start, steps, _, alive = play(name)
    return [start, jax.tree.map(lambda leaf: leaf[alive], steps)]


@every_environment
def test_spec_is_consistent(name: str):
    environment = make(name)
    spec = environment.spec
    assert isinstance(environment, Environment)
    assert spec.name == name
    assert re.fullmatch(r"\S+", spec.version)
    assert len(spec.agents) == len(set(spec.agents)) == len(spec.obs_sizes) == len(spec.action_sizes) > 0
    assert min(*spec.obs_sizes, *spec.action_sizes, spec.state_size, spec.time_limit) >= 1


@every_environment
def test_arrays_are_what_the_spec_says(name: str):
    environment = make(name)
    spec = environment.spec
    _, step = jax.eval_shape(environment.reset, jax.random.key(0))
    assert {field: (leaf.shape, leaf.dtype) for field, leaf in vars(step).items()} == {
        "obs": ((spec.n_agents, spec.obs_size), jnp.float32),
        "state": ((spec.state_size,), jnp.float32),
        "action_mask": ((spec.n_agents, spec.action_size), jnp.bool_),
        "reward": ((), jnp.float32),
        "terminated": ((), jnp.bool_),
        "truncated": ((), jnp.bool_),
        "metrics": ((len(spec.metrics),), jnp.float32),
    }


@played
def test_step_answers_the_shapes_of_reset(name: str):
    environment = make(name)
    state, start = jax.eval_shape(environment.reset, jax.random.key(0))
    spec = environment.spec
    action = jax.ShapeDtypeStruct(spec.action_shape, jnp.int32 if spec.action_kind == "discrete" else jnp.float32)
    next_state, step = jax.eval_shape(environment.step, jax.random.key(0), state, action)
    described = functools.partial(jax.tree.map, lambda leaf: (leaf.shape, leaf.dtype))
    assert described(step) == described(start)
    assert described(next_state) == described(state)


@played
def test_start(name: str):
    start = play(name).start
    assert not start.reward.any()
    assert not start.terminated.any()
    assert not start.truncated.any()


@played
def test_episodes_end_once_and_by_the_time_limit(name: str):
    _, steps, _, alive = play(name)
    assert not (steps.terminated & steps.truncated).any()
    ends = (steps.terminated | steps.truncated) & alive
    np.testing.assert_array_equal(ends.sum(axis=1), np.ones(N_EPISODES))
    truncated_at = np.nonzero(steps.truncated & alive)[1] + 1
    assert (truncated_at == make(name).spec.time_limit).all()


@played
def test_legal_actions(name: str):
    spec = make(name).spec
    exists = np.arange(spec.action_size) < np.array(spec.action_sizes)[:, None]
    for step in observed(name):
        assert step.action_mask.any(axis=-1).all()
        assert not (step.action_mask & ~exists).any()


@played
def test_padding_of_observations_is_zero(name: str):
    spec = make(name).spec
    padding = np.arange(spec.obs_size) >= np.array(spec.obs_sizes)[:, None]
    for step in observed(name):
        assert not step.obs[:, padding].any()


@played
def test_values_are_finite_and_within_the_bound(name: str):
    bound = make(name).spec.obs_bound
    for step in observed(name):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(step))
        assert bound is None or max(np.abs(step.obs).max(), np.abs(step.state).max()) <= bound


@played
def test_same_key_same_play_other_key_other_actions(name: str):
    first = play(name)
    again = compiled_play(name)(jax.random.split(jax.random.key(1), N_EPISODES))
    other = compiled_play(name)(jax.random.split(jax.random.key(2), N_EPISODES))
    assert_trees_equal(first, jax.device_get(again))
    assert (first.action != other.action).any()


@pytest.mark.parametrize("name", [name for name in PLAYED if name not in FAST_MAPS])  # which would take seconds more to compile
def test_one_episode_is_a_row_of_many(name: str):
    """The play above is vmapped and jitted in one piece; here is one reset, alone, against its row."""
    environment = make(name)
    k_reset, _ = jax.random.split(jax.random.split(jax.random.key(1), N_EPISODES)[3])
    _, start = compiled(environment.reset)(k_reset)
    assert_trees_close(start, jax.tree.map(lambda x: x[3], play(name).start), rtol=1e-5, atol=1e-6)
