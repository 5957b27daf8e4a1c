"""Random episodes for any `EnvSpec`, garbage padding, small algorithms, and comparisons of pytrees."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Bool, Int, Num, PRNGKeyArray, PyTree

from dop.storage.checkpoints import Checkpoints, flatten
from dop.types import EntityBlocks, EnvSpec, Episode


def assert_trees_equal(one: PyTree, other: PyTree) -> None:
    """Assert that trees are equal bit for bit."""
    jax.tree.map(np.testing.assert_array_equal, one, other)


def assert_trees_close(one: PyTree, other: PyTree, *, rtol: float, atol: float) -> None:
    """Assert that all leaves are close, as by numpy's `assert_allclose`."""
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=atol), one, other)


def make_spec(
    *,
    n_agents: int = 3,
    obs_sizes: tuple[int, ...] = (5, 4, 5),
    action_sizes: tuple[int, ...] = (4, 4, 3),
    state_size: int = 7,
    time_limit: int = 6,
) -> EnvSpec:
    """A small discrete team whose agents have different sizes. Sizes repeat cyclically for more agents."""
    return EnvSpec(
        name="test:random",
        version="1",
        agents=tuple(f"agent_{i}" for i in range(n_agents)),
        obs_sizes=tuple(obs_sizes[i % len(obs_sizes)] for i in range(n_agents)),
        action_sizes=tuple(action_sizes[i % len(action_sizes)] for i in range(n_agents)),
        state_size=state_size,
        time_limit=time_limit,
    )


def stating_entities(spec: EnvSpec) -> EnvSpec:
    """The spec with two enemies in observations and in the state; action 0 attacks the second one, action 1 the first one."""
    seen = EntityBlocks(kind="enemy", start=1, size=1, count=2, actions=(1, 0))
    return dataclasses.replace(spec, obs_entities=(seen,), state_entities=(dataclasses.replace(seen, start=0),))


class Stated:
    """An environment whose spec is `stating_entities`."""

    def __init__(self, environment: Any) -> None:
        self.spec = stating_entities(environment.spec)
        self.reset, self.step = environment.reset, environment.step


def make_episodes(key: PRNGKeyArray, spec: EnvSpec, lengths: Sequence[int]) -> Episode:
    """One random episode per length, stacked: legal actions only, zeros after the end.

    Episodes as long as the time limit are truncated, shorter ones terminated.
    """
    return _episodes(key, spec, jnp.asarray(lengths))


@partial(jax.jit, static_argnames="spec")
def _episodes(key: PRNGKeyArray, spec: EnvSpec, lengths: Int[Array, " episode"]) -> Episode:
    return jax.vmap(lambda k, n: _episode(k, spec, n))(jax.random.split(key, len(lengths)), lengths)


def _episode(key: PRNGKeyArray, spec: EnvSpec, length: Array) -> Episode:
    k_obs, k_state, k_legal, k_action, k_behaviour, k_reward = jax.random.split(key, 6)
    t, n, a = spec.time_limit, spec.n_agents, spec.action_size
    mask = jnp.arange(t) < length
    is_active = jnp.arange(t + 1) <= length
    exists = jnp.arange(a) < jnp.asarray(spec.action_sizes)[:, None]
    observed = jnp.arange(spec.obs_size) < jnp.asarray(spec.obs_sizes)[:, None]
    # Action 0 is always legal, so that every active agent has a legal action.
    action_mask = exists & (jax.random.bernoulli(k_legal, 0.7, (t + 1, n, a)) | (jnp.arange(a) == 0))
    action = jax.random.categorical(k_action, jnp.where(action_mask, 0.0, -jnp.inf)).astype(jnp.int32)
    behaviour_prob = jax.random.uniform(k_behaviour, (t, n), minval=0.1)
    return Episode(
        obs=_where(is_active, jax.random.normal(k_obs, (t + 1, n, spec.obs_size)) * observed, 0),
        state=_where(is_active, jax.random.normal(k_state, (t + 1, spec.state_size)), 0),
        action_mask=_where(is_active, action_mask, False),
        action=_where(mask, action[:-1], 0),
        final_action=action[length],
        behaviour_prob=_where(mask, behaviour_prob, 0),
        reward=_where(mask, jax.random.normal(k_reward, (t,)), 0),
        terminated=(jnp.arange(t) == length - 1) & (length < t),
        mask=mask,
    )


@jax.jit
def poison_padding(episodes: Episode, value: float = 1e3) -> Episode:
    """Garbage after the end of each episode (leading axis): `value` for numbers, actions that were not taken, all actions legal.

    Only losses tolerate NaN; networks and returns run over the padding and need a finite `value`.
    """
    mask = episodes.mask
    is_active = jnp.concatenate([jnp.ones_like(mask[:, :1]), mask], axis=1)
    return Episode(
        obs=_where(is_active, episodes.obs, value),
        state=_where(is_active, episodes.state, value),
        action_mask=_where(is_active, episodes.action_mask, True),
        action=_where(mask, episodes.action, episodes.action_mask.shape[-1] - 1),
        final_action=episodes.final_action,
        behaviour_prob=_where(mask, episodes.behaviour_prob, value),
        reward=_where(mask, episodes.reward, value),
        terminated=episodes.terminated,
        mask=mask,
    )


def _where(keep: Bool[Array, "*lead"], x: Num[Array, "*all"] | Bool[Array, "*all"], other: float) -> Array:
    """`x` where `keep` (the leading axes of `x`), else `other`. The dtype is unchanged."""
    return jnp.where(keep.reshape(keep.shape + (1,) * (x.ndim - keep.ndim)), x, jnp.asarray(other, x.dtype))


MAX_SIZES = {"hidden": 8, "batch": 3, "capacity": 12, "iteration": 4}
"""Upper bounds for fields whose names end with these words."""


SAME_CODE = {"ippo": "mappo", "vdn": "qmix"}
"""Algorithms that differ from another in their critic or mixer alone."""


def slow_if_same_code(names: Iterable[str]) -> list[Any]:
    """Parameters of a test: the names, with those of `SAME_CODE` among the slow tests."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in SAME_CODE else name for name in names]


def toy(algorithm: Any, **changes: Any) -> Any:
    """The algorithm with small networks, which must be the library's, batches and replay."""
    endings = {field.name: field.name.rpartition("_")[2] for field in dataclasses.fields(algorithm)}
    given = {name: (MAX_SIZES[ending], getattr(algorithm, name)) for name, ending in endings.items() if ending in MAX_SIZES}
    sizes = {name: min(most, value) for name, (most, value) in given.items() if value is not None}
    networks = {field.name: getattr(algorithm, field.name) for field in dataclasses.fields(algorithm) if field.name in ("actor", "critic")}
    sizes |= {name: dataclasses.replace(network, hidden_size=MAX_SIZES["hidden"]) for name, network in networks.items()}
    return dataclasses.replace(algorithm, **{**sizes, **changes})


def assert_resumes(state: Any, iterate: Callable[[Any], tuple[Any, Any]], folder: Path, *, before: int = 1, after: int = 2) -> None:
    """Assert that `before` + `after` iterations are bit for bit the same with a checkpoint in between."""

    def run(state: Any, times: int) -> tuple[Any, list[Any]]:
        reports = []
        for _ in range(times):
            state, report = iterate(state)
            reports.append(report)
        return state, reports

    halfway, _ = run(state, before)
    Checkpoints(folder).save(before, halfway, {})
    uninterrupted, expected = run(halfway, after)
    like = jax.eval_shape(lambda: halfway)
    restored, _ = Checkpoints(folder).restore(like, lambda meta: None)
    resumed, found = run(jax.tree.map(jnp.asarray, restored), after)
    ours, theirs = flatten((resumed, found)), flatten((uninterrupted, expected))
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)
        assert ours[name].dtype == array.dtype
