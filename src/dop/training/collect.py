"""Collection: whole episodes in parallel environments, in a loop that ends with the last episode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, DTypeLike, Float, Int, PRNGKeyArray, PyTree

from dop.errors import ConfigError
from dop.learning import data_parallel
from dop.types import Algorithm, Environment, EnvSpec, Episode, Learner, PolicyOutput, TimeStep


class EpisodeSummary(eqx.Module):
    """Return, length and metrics of an episode."""

    undiscounted_return: Float[Array, "*episode"]
    length: Int[Array, "*episode"]
    metrics: Float[Array, "*episode metric"]
    """`TimeStep.metrics` at the last step."""


class _Play(eqx.Module):
    """Loop state of a batch of unfinished episodes; leading axis: episode."""

    t: Int[Array, ""]
    key: PRNGKeyArray
    env_state: PyTree
    step: TimeStep
    carry: PyTree
    live: Bool[Array, " episode"]
    record: Episode
    total: Float[Array, " episode"]


HALF_BOUND = 2.0
"""The largest `obs_bound` for which `auto` chooses half precision. Below 2 it rounds by at most 2^-11 = 0.0005; near 1000 by 0.25."""
HALF_LEAST = float(jnp.finfo(jnp.float16).tiny)
"""The smallest such `obs_bound`, 2^-14: smaller numbers have fewer digits in half precision, below 2^-25 none."""
HALF_LARGEST = float(jnp.finfo(jnp.float16).max)
"""The largest number in half precision."""


def storage_dtype(spec: EnvSpec, precision: str) -> DTypeLike:
    """The type of observations and states in the replay: under `auto` half precision if it resolves them.

    Raises:
        ConfigError: `precision` is `half`, but the environment's `obs_bound` does not show that half precision can hold them.
    """
    bound = spec.obs_bound
    if precision == "half" and (bound is None or bound > HALF_LARGEST):
        raise ConfigError(
            f"precision is half, but the obs_bound of {spec.name} is {bound}: half precision holds numbers up to {HALF_LARGEST:,.0f}; "
            "larger ones would become infinite. Use auto or full."
        )
    resolved = bound is not None and HALF_LEAST <= bound <= HALF_BOUND
    return jnp.float16 if precision == "half" or (precision == "auto" and resolved) else jnp.float32


def storage_words(spec: EnvSpec, precision: str) -> str:
    """`storage_dtype` in words, with the reason: `in half precision (obs_bound 1.0)`."""
    if storage_dtype(spec, precision) == jnp.float16:
        return f"in half precision (obs_bound {spec.obs_bound})"
    return f"in full precision ({_why_full(spec.obs_bound, precision)})"


def _why_full(bound: float | None, precision: str) -> str:
    if precision == "full":
        return "precision is full"
    if bound is None:
        return "the environment gives no obs_bound"
    where = f"above {HALF_BOUND:g}, where half precision is too coarse" if bound > HALF_BOUND else "too small for half precision"
    return f"obs_bound {bound} is {where}"


def episode_shape(spec: EnvSpec, dtype: DTypeLike) -> Episode:
    """Shapes and types of one stored episode (`jax.ShapeDtypeStruct` leaves)."""
    n, horizon = spec.n_agents, spec.time_limit
    action_dtype = jnp.int32 if spec.action_kind == "discrete" else jnp.float32

    def leaf(kind: DTypeLike, *shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, kind)

    return Episode(
        obs=leaf(dtype, horizon + 1, n, spec.obs_size),
        state=leaf(dtype, horizon + 1, spec.state_size),
        action_mask=leaf(bool, horizon + 1, n, spec.action_size),
        action=leaf(action_dtype, horizon, *spec.action_shape),
        final_action=leaf(action_dtype, *spec.action_shape),
        behaviour_prob=leaf(jnp.float32, horizon, n),
        reward=leaf(jnp.float32, horizon),
        terminated=leaf(bool, horizon),
        mask=leaf(bool, horizon),
    )


def collect(
    algorithm: Algorithm[Any, Any],
    environment: Environment,
    learner: Learner,
    key: PRNGKeyArray,
    *,
    episodes: int,
    explore: bool | Bool[Array, ""],
    dtype: DTypeLike = jnp.float32,
) -> tuple[Episode, EpisodeSummary]:
    """Collect `episodes` episodes in parallel; both results have a leading episode axis.

    If `explore` is an array, one compiled program plays both with and without exploration.
    """
    key_reset, key_final, key_play = jax.random.split(key, 3)
    total = episodes
    own = lambda keys: data_parallel.shard(keys, 0, total)  # noqa: E731
    reset_keys = own(jax.random.split(key_reset, total))
    episodes = len(reset_keys)
    env_state, step = jax.vmap(environment.reset)(reset_keys)
    carry = jax.tree.map(lambda x: jnp.broadcast_to(x, (episodes, *x.shape)), algorithm.initial_carry(environment.spec))
    act = _acting(algorithm, learner, explore)
    play = _Play(
        t=jnp.zeros((), jnp.int32),
        key=key_play,
        env_state=env_state,
        step=step,
        carry=carry,
        live=jnp.ones((episodes,), bool),
        record=_first_record(environment.spec, step, episodes, dtype),
        total=jnp.zeros((episodes,)),
    )
    play = jax.lax.while_loop(
        lambda play: jnp.any(play.live) & (play.t < environment.spec.time_limit),
        lambda play: _advance(act, environment, play, lambda key: own(jax.random.split(key, total))),
        play,
    )
    # Ended episodes do not change any more: each is at its last step.
    final, _ = act(play.carry, play.step, own(jax.random.split(key_final, total)))
    record = eqx.tree_at(lambda e: e.final_action, play.record, final.action)
    length = jnp.sum(record.mask, axis=1, dtype=jnp.int32)
    summary = EpisodeSummary(undiscounted_return=play.total, length=length, metrics=play.step.metrics)
    return data_parallel.all_gather((record, summary), 0, total)


Act: TypeAlias = Callable[..., tuple[PolicyOutput, PyTree]]
"""`Algorithm.act` for a batch of episodes: of carries, time steps and keys."""


def _acting(algorithm: Algorithm[Any, Any], learner: Learner, explore: bool | Bool[Array, ""]) -> Act:
    def act(*, explore: bool) -> Act:
        return jax.vmap(lambda carry, step, key: algorithm.act(learner, carry, step, key, explore=explore))

    if isinstance(explore, bool):
        return act(explore=explore)

    def either(*x: PyTree) -> tuple[PolicyOutput, PyTree]:
        types = jax.eval_shape(act(explore=True), *x)
        # Both branches must return the same types; integers of actions may differ in size.
        alike = lambda act: lambda *x: jax.tree.map(lambda value, like: jnp.asarray(value, like.dtype), act(*x), types)  # noqa: E731
        return jax.lax.cond(explore, alike(act(explore=True)), alike(act(explore=False)), *x)

    return either


def _first_record(spec: EnvSpec, step: TimeStep, episodes: int, dtype: DTypeLike) -> Episode:
    """An empty record with the first time step."""
    record = jax.tree.map(lambda x: jnp.zeros((episodes, *x.shape), x.dtype), episode_shape(spec, dtype))
    seen = lambda e: (e.obs, e.state, e.action_mask)  # noqa: E731
    return eqx.tree_at(seen, record, tuple(x.at[:, 0].set(y.astype(x.dtype)) for x, y in zip(seen(record), seen(step), strict=True)))


def _advance(act: Any, environment: Environment, play: _Play, keys_of: Callable[[PRNGKeyArray], PRNGKeyArray]) -> _Play:
    """One step of every live episode; `keys_of` splits a key into those of the episodes."""
    key, key_act, key_env = jax.random.split(play.key, 3)
    choice, carry = act(play.carry, play.step, keys_of(key_act))
    env_state, step = jax.vmap(environment.step)(keys_of(key_env), play.env_state, choice.action)

    def if_live(new: Array, old: Array | float) -> Array:
        return jnp.where(play.live.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    def put(slots: Array, at: Array, value: Array) -> Array:
        return jax.lax.dynamic_update_index_in_dim(slots, if_live(value, 0).astype(slots.dtype), at, axis=1)

    record, t = play.record, play.t
    record = Episode(
        obs=put(record.obs, t + 1, step.obs),
        state=put(record.state, t + 1, step.state),
        action_mask=put(record.action_mask, t + 1, step.action_mask),
        action=put(record.action, t, choice.action),
        final_action=record.final_action,
        behaviour_prob=put(record.behaviour_prob, t, choice.behaviour_prob),
        reward=put(record.reward, t, step.reward),
        terminated=put(record.terminated, t, step.terminated),
        mask=put(record.mask, t, play.live),
    )
    env_state, step, carry = jax.tree.map(if_live, (env_state, step, carry), (play.env_state, play.step, play.carry))
    return _Play(
        t=t + 1,
        key=key,
        env_state=env_state,
        step=step,
        carry=carry,
        live=play.live & ~(step.terminated | step.truncated),
        record=record,
        total=play.total + jnp.where(play.live, step.reward, 0),
    )
