"""What every algorithm owes its users, in each of its presets, at toy sizes: the library's, and one of a user's own."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
from pathlib import Path
from typing import Any

import equinox as eqx
import hypothesis.extra.numpy
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import PyTree

from dop.algorithms import algorithms, get, presets
from dop.errors import ConfigError
from dop.learning.replay import allocate
from dop.networks.layers import PerAgent
from dop.training.collect import episode_shape
from dop.training.program import Program
from dop.types import Episode, PolicyOutput, TimeStep
from helpers import (
    SAME_CODE,
    assert_resumes,
    assert_trees_close,
    assert_trees_equal,
    make_episodes,
    make_spec,
    poison_padding,
    slow_if_same_code,
    toy,
)
from probes import Recurrent

IN_ORDER = {"stochastic-dop": {"critic_schedule": "timestep"}, "coma": {"critic_schedule": "timestep"}}
"""What keeps an algorithm from shuffling its steps, which depends on the length of the time axis."""
SPEC = make_spec(time_limit=5)
LENGTHS = (1, 5, 3, 2, 5, 4, 1, 2, 3, 4, 5, 2)
"""Of the episodes in the replay, oldest first; the long ones are cut by the time limit."""
KEY = jax.random.key(0)

QUICKLY = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
compiled = functools.partial(jax.jit, compiler_options=QUICKLY)  # compiles in half the time

random_episodes = compiled(make_episodes, static_argnums=(1, 2))
poisoned = compiled(poison_padding)
assert_close = functools.partial(assert_trees_close, rtol=1e-3, atol=2e-5)

ALGORITHMS: dict[str, Any] = {**algorithms(), "outside:OwnQ": get("outside:OwnQ")}
every_class = pytest.mark.parametrize("cls", ALGORITHMS.values(), ids=ALGORITHMS)
PRESETS = [(name, preset) for name, cls in ALGORITHMS.items() for preset in presets(cls, name)]
every_preset = pytest.mark.parametrize(("name", "preset"), PRESETS)
by_default = pytest.mark.parametrize(
    ("name", "preset"),
    [pytest.param(*found, marks=() if found[1] == "default" and found[0] not in SAME_CODE else pytest.mark.slow) for found in PRESETS],
)
"""What takes long to compile: the default preset, and the others, and those of `SAME_CODE`, among the slow tests."""


@functools.cache
def make(name: str, preset: str, **changes: Any) -> Any:
    """The preset at toy size. Frozen and hashable, so that everything made of it can be cached."""
    return toy(presets(ALGORITHMS[name], name)[preset], **changes)


@functools.cache
def compiled_init(name: str, preset: str) -> Any:
    return compiled(make(name, preset).init, static_argnums=1)


@functools.cache
def start(name: str, preset: str) -> Any:
    return compiled_init(name, preset)(KEY, SPEC)


@functools.cache
def act(name: str, preset: str, explore: bool) -> Any:
    return compiled(functools.partial(make(name, preset).act, explore=explore))


@functools.cache
def learn(name: str, preset: str, **changes: Any) -> Any:
    """(learner, replay, key) -> (learner, metrics): one update from a sample of the replay."""
    algorithm = make(name, preset, **changes)

    def sample_and_update(learner: PyTree, replay: Any, key: Any) -> Any:
        k_sample, k_update = jax.random.split(key)
        return algorithm.update(learner, algorithm.sample(replay, k_sample), k_update)

    return sample_and_update


@functools.cache
def compiled_learn(name: str, preset: str, **changes: Any) -> Any:
    return compiled(learn(name, preset, **changes))


@functools.cache
def episodes() -> Episode:
    return random_episodes(jax.random.key(1), SPEC, LENGTHS)


def replay_of(batch: Episode) -> Any:
    """A full ring of `batch`."""
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batch)
    return allocate(one, len(LENGTHS)).add(batch)


def first_step(spec: Any = SPEC, action_mask: Any = None) -> TimeStep:
    exists = jnp.arange(spec.action_size) < jnp.asarray(spec.action_sizes)[:, None]
    return TimeStep(
        obs=jax.random.normal(KEY, (spec.n_agents, spec.obs_size)),
        state=jax.random.normal(KEY, (spec.state_size,)),
        action_mask=exists if action_mask is None else jnp.asarray(action_mask),
        reward=jnp.zeros(()),
        terminated=jnp.zeros((), bool),
        truncated=jnp.zeros((), bool),
        metrics=jnp.zeros((len(spec.metrics),)),
    )


def extreme(learner: PyTree, scale: float) -> PyTree:
    """All its real numbers times `scale`: policies that are as good as deterministic, or flat."""
    return jax.tree.map(lambda x: x * scale if eqx.is_inexact_array(x) else x, learner)


def differ(one: PyTree, other: PyTree) -> bool:
    return any(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x != y).any()), one, other)))


# ------------------------------------------------------------------------------------------------------- hyper-parameters


def documented_fields(cls: type) -> set[str]:
    """The fields that the source of this very class, not of its bases, has a string after."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(cls)).body if isinstance(node, ast.ClassDef))
    return {
        field.target.id
        for field, doc in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant) and str(doc.value.value).endswith((".", ")"))
    }


@every_class
def test_every_hyper_parameter_is_documented(cls: type):
    """A string stands after every field, wherever it is declared, a base included: the command line's help is made of them."""
    parents: list[Any] = [parent for parent in cls.__mro__ if dataclasses.is_dataclass(parent)]
    for parent in parents:
        own = inspect.get_annotations(parent).keys()
        assert {field.name for field in dataclasses.fields(parent)} & own == documented_fields(parent)
        assert parent.__doc__


@every_class
def test_it_is_a_frozen_dataclass_with_a_default_preset(cls: Any):
    preset = presets(cls, "it")["default"]
    assert preset == cls()
    name = dataclasses.fields(cls)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(preset, name, getattr(preset, name))


@every_preset
def test_presets_work(name: str, preset: str):
    presets(ALGORITHMS[name], name)[preset].check(SPEC)
    make(name, preset).check(SPEC)


@every_class
def test_negative_numbers_are_refused_by_name(cls: Any):
    for preset in presets(cls, "it").values():
        for field in dataclasses.fields(cls):
            value = getattr(preset, field.name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                with pytest.raises(ConfigError, match=rf"\b{field.name}\b.*-1"):
                    dataclasses.replace(preset, **{field.name: -1}).check(SPEC)


@every_class
def test_shares_above_one_are_refused_by_name(cls: Any):
    for name in {"gamma", "td_lambda", "epsilon_start", "epsilon_end"} & {field.name for field in dataclasses.fields(cls)}:
        with pytest.raises(ConfigError, match=rf"\b{name}\b.*1\.5"):
            cls(**{name: 1.5}).check(SPEC)


# ------------------------------------------------------------------------------------------------------------------ acting


@every_preset
def test_init_depends_on_the_key_alone(name: str, preset: str):
    initial = compiled_init(name, preset)
    again, other = initial(jax.random.key(0), SPEC), initial(jax.random.key(1), SPEC)
    assert_trees_equal(initial(jax.random.key(0), SPEC), again)
    assert differ(again, other)
    assert int(again.env_steps) == 0


@every_preset
@settings(max_examples=20, deadline=None)
@given(
    action_mask=hypothesis.extra.numpy.arrays(bool, (SPEC.n_agents, SPEC.action_size)),
    scale=st.sampled_from([0.0, 1.0, 1e3, 1e6]),
    seed=st.integers(0, 2**31),
)
def test_actions_are_legal_and_possible(name: str, preset: str, action_mask: np.ndarray, scale: float, seed: int):
    learner, carry = extreme(start(name, preset), scale), make(name, preset).initial_carry(SPEC)
    for explore in (False, True):
        choice, next_memory = act(name, preset, explore)(learner, carry, first_step(action_mask=action_mask), jax.random.key(seed))
        there = action_mask.any(axis=1)
        assert action_mask[there, np.asarray(choice.action)[there]].all()
        assert not np.asarray(choice.action)[~there].any()  # who has no legal action does number 0, for certain
        assert (np.asarray(choice.behaviour_prob)[~there] == 1).all()
        assert ((choice.behaviour_prob > 0) & (choice.behaviour_prob <= 1 + 1e-6)).all()
        assert jax.tree.map(jnp.shape, next_memory) == jax.tree.map(jnp.shape, carry)


@every_preset
def test_greedy_needs_no_key_and_exploring_does(name: str, preset: str):
    learner, carry, step = start(name, preset), make(name, preset).initial_carry(SPEC), first_step()

    def actions(explore: bool) -> set[tuple[int, ...]]:
        play = act(name, preset, explore)
        return {tuple(play(learner, carry, step, jax.random.key(seed))[0].action.tolist()) for seed in range(16)}

    assert len(actions(explore=False)) == 1
    assert len(actions(explore=True)) > 1


@every_preset
def test_acting_is_vmapped_over_environments(name: str, preset: str):
    learner, carry = start(name, preset), make(name, preset).initial_carry(SPEC)
    alone = act(name, preset, True)
    keys = jax.random.split(KEY, 3)
    steps = jax.vmap(lambda key: eqx.tree_at(lambda s: s.obs, first_step(), jax.random.normal(key, (SPEC.n_agents, SPEC.obs_size))))(keys)
    together = compiled(jax.vmap(functools.partial(make(name, preset).act, explore=True), (None, None, 0, 0)))
    choices, _ = together(learner, carry, steps, keys)
    for i in range(3):
        choice: PolicyOutput = alone(learner, carry, jax.tree.map(lambda x, i=i: x[i], steps), keys[i])[0]
        np.testing.assert_array_equal(choice.action, choices.action[i])
        np.testing.assert_allclose(choice.behaviour_prob, choices.behaviour_prob[i], rtol=1e-5)


# ---------------------------------------------------------------------------------------------------------------- learning


@every_preset
def test_update_is_pure_and_learns(name: str, preset: str):
    learner, update = start(name, preset), compiled_learn(name, preset)
    updated, metrics = update(learner, replay_of(episodes()), KEY)
    again = update(learner, replay_of(episodes()), KEY)
    assert_trees_equal((updated, metrics), again)
    assert differ(learner, updated)
    described = functools.partial(jax.tree.map, lambda x: (x.shape, x.dtype))
    assert described(updated) == described(learner)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(updated))
    assert {key: value.shape for key, value in metrics.items()} == dict.fromkeys(metrics, ())
    assert all(np.isfinite(value) for value in metrics.values())


@every_preset
@pytest.mark.parametrize("garbage", [1e3, -1e6])
def test_padding_changes_nothing(name: str, preset: str, garbage: float):
    learner, update = start(name, preset), compiled_learn(name, preset)
    clean = update(learner, replay_of(episodes()), KEY)
    assert_trees_equal(clean, update(learner, replay_of(poisoned(episodes(), garbage)), KEY))


def without_the_last_agent(batch: Episode, garbage: float = 0.0) -> Episode:
    """The last agent dies after two steps of each episode; what stands where it would see something is `garbage`."""
    gone = (jnp.arange(SPEC.time_limit + 1) >= 2)[:, None] & (jnp.arange(SPEC.n_agents) == SPEC.n_agents - 1)
    changed = {
        "action_mask": batch.action_mask & ~gone[..., None],
        "obs": jnp.where(gone[..., None], garbage, batch.obs),
        "action": jnp.where(gone[:-1], 0, batch.action),
        "behaviour_prob": jnp.where(gone[:-1] & batch.mask[..., None], 1, batch.behaviour_prob),
        "final_action": batch.final_action.at[:, -1].set(0),
    }
    return dataclasses.replace(batch, **changed)


@every_preset
def test_a_dead_agent_teaches_nothing(name: str, preset: str):
    """Neither NaN nor anything that depends on what it would see or be worth."""
    learner, update = start(name, preset), compiled_learn(name, preset)
    dead = update(learner, replay_of(without_the_last_agent(episodes())), KEY)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(dead))
    assert differ(dead[0], update(learner, replay_of(episodes()), KEY)[0])
    assert_trees_equal(dead, update(learner, replay_of(without_the_last_agent(episodes(), garbage=1e3)), KEY))


@every_class
@pytest.mark.parametrize("sharing", ["all", "by_type", "none"])
def test_parameters_are_shared_as_told(cls: Any, sharing: Any):
    """Of three agents the first and the last are of one type. Only traced."""
    name = next(name for name, found in ALGORITHMS.items() if found is cls)
    algorithm, spec = make(name, "default", share_parameters=sharing), make_spec(obs_sizes=(5, 4), action_sizes=(4, 3), time_limit=5)
    assert spec.groups(sharing) == {"all": (0, 0, 0), "by_type": (0, 1, 0), "none": (0, 1, 2)}[sharing]
    learner = jax.eval_shape(lambda: algorithm.init(KEY, spec))
    teams = [x for x in jax.tree.leaves(learner, is_leaf=lambda x: isinstance(x, PerAgent)) if isinstance(x, PerAgent)]
    assert teams
    assert {team.groups for team in teams} == {spec.groups(sharing)}
    batch = jax.eval_shape(lambda: make_episodes(KEY, spec, LENGTHS))
    update = learn(name, "default", share_parameters=sharing)
    updated, _ = jax.eval_shape(lambda learner, batch: update(learner, replay_of(batch), KEY), learner, batch)
    assert jax.tree.map(jnp.shape, updated) == jax.tree.map(jnp.shape, learner)


@every_preset
def test_a_time_limit_is_not_a_termination(name: str, preset: str):
    """The same episodes, all cut or all ended for real: another target, another learner."""
    learner, update = start(name, preset), compiled_learn(name, preset)
    mask = episodes().mask
    last = mask & ~jnp.pad(mask[:, 1:], ((0, 0), (0, 1)))
    cut, ended = (eqx.tree_at(lambda e: e.terminated, episodes(), terminated) for terminated in (jnp.zeros_like(last), last))
    assert differ(update(learner, replay_of(cut), KEY)[0], update(learner, replay_of(ended), KEY)[0])


@by_default
def test_a_longer_time_axis_changes_nothing(name: str, preset: str):
    learner, update = start(name, preset), compiled_learn(name, preset, **IN_ORDER.get(name, {}))
    pad = lambda x: jnp.pad(x, ((0, 0), (0, 3), *((0, 0),) * (x.ndim - 2)))  # noqa: E731
    longer = eqx.tree_at(lambda e: e.final_action, jax.tree.map(pad, episodes()), episodes().final_action)
    assert longer.mask.shape[1] == SPEC.time_limit + 3
    assert_close(update(learner, replay_of(episodes()), KEY), update(learner, replay_of(longer), KEY))


@by_default
def test_update_is_vmapped_over_seeds(name: str, preset: str):
    keys = jax.random.split(KEY, 2)
    learners = compiled(jax.vmap(lambda key: make(name, preset).init(key, SPEC)))(keys)
    replays = compiled(jax.vmap(lambda key: replay_of(make_episodes(key, SPEC, LENGTHS))))(keys)
    together = compiled(jax.vmap(learn(name, preset)))(learners, replays, keys)
    for i in range(2):
        one = jax.tree.map(lambda x, i=i: x[i], (learners, replays, keys))
        assert_close(jax.tree.map(lambda x, i=i: x[i], together), compiled_learn(name, preset)(*one))


@by_default
def test_one_agent_and_batches_of_one_episode(name: str, preset: str):
    algorithm = make(name, preset)
    one = {
        field.name: 1 for field in dataclasses.fields(algorithm) if field.name.endswith("batch") or field.name == "episodes_per_iteration"
    }
    algorithm = dataclasses.replace(algorithm, **one)
    spec = make_spec(n_agents=1, time_limit=2)
    algorithm.check(spec)
    learner = compiled(algorithm.init, static_argnums=1)(KEY, spec)
    replay = allocate(episode_shape(spec, jnp.float32), 2).add(random_episodes(KEY, spec, (1, 2)))

    @compiled
    def update(learner: PyTree, replay: Any, key: Any) -> Any:
        return algorithm.update(learner, algorithm.sample(replay, key), key)

    updated, metrics = update(learner, replay, KEY)
    assert differ(learner, updated)
    assert all(np.isfinite(value) for value in metrics.values())


@functools.cache
def iterated(name: str) -> tuple[Any, Any]:
    """Compiled: (key) -> a warmed-up state, and whole iterations one by one, (state) -> (state, metrics)."""
    program = Program(algorithm=make(name, "default"), environment=Recurrent(delay=1))
    start = compiled(lambda key: program.warm_up(program.start(key)))
    return start, compiled(lambda state: program.chunk(state, 1))


@pytest.mark.parametrize("name", slow_if_same_code(ALGORITHMS))
def test_no_random_key_is_used_twice(name: str):
    with jax.debug_key_reuse(True):
        start, iterate = iterated(name)
        state, metrics = iterate(iterate(start(jax.random.key(0)))[0])
    assert int(state.iteration) == 2
    assert all(np.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("name", slow_if_same_code(ALGORITHMS))
def test_it_goes_on_from_a_checkpoint_as_if_never_stopped(name: str, tmp_path: Path):
    """Every array, random key and metric, bit for bit; `test_exact_resume.py` does it in every environment and with several seeds."""
    with jax.debug_key_reuse(True):
        start, iterate = iterated(name)
        assert_resumes(start(jax.random.key(0)), iterate, tmp_path)
