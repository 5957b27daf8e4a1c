"""Transitions drawn from a replay of whole episodes, so that no observation is stored twice."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from dop.types import Episode, ReplayBuffer, Transition


def uniform(replay: ReplayBuffer, key: PRNGKeyArray, n: int) -> Transition:
    """`n` transitions (leading axis), drawn uniformly with replacement from all steps of all stored episodes; at least one is needed."""
    episodes = replay.items
    length = jnp.sum(episodes.mask, axis=1, dtype=jnp.int32)
    end = jnp.cumsum(length)
    drawn = jax.random.randint(key, (n,), 0, jnp.maximum(end[-1], 1))
    episode = jnp.searchsorted(end, drawn, side="right")
    return at(episodes, episode, drawn - (end - length)[episode])


def at(episodes: Episode, episode: Int[Array, " n"], t: Int[Array, " n"]) -> Transition:
    """Step `t` of each `episode` (leading axis of `episodes`), with observations and states in full precision."""

    def full(x: Array) -> Array:
        return x.astype(episodes.reward.dtype)

    return Transition(
        obs=full(episodes.obs[episode, t]),
        state=full(episodes.state[episode, t]),
        action_mask=episodes.action_mask[episode, t],
        action=episodes.action[episode, t],
        reward=episodes.reward[episode, t],
        discount=1 - full(episodes.terminated[episode, t]),
        next_obs=full(episodes.obs[episode, t + 1]),
        next_state=full(episodes.state[episode, t + 1]),
        next_action_mask=episodes.action_mask[episode, t + 1],
    )
