"""Policies: masked softmax, two kinds of epsilon mixture, sampling, and differentiable relaxed samples. One agent in, one out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, DTypeLike, Float, Int, PRNGKeyArray

from dop.types import ActionKind


def masked_softmax(logits: Float[Array, " action"], action_mask: Bool[Array, " action"]) -> Float[Array, " action"]:
    """Softmax over the legal actions. Illegal actions have probability exactly 0; with no legal action all are 0."""
    # Infinite logits (a large output divided by a small temperature) are clipped to the largest finite numbers.
    logits = jnp.clip(logits, *_finite(logits.dtype))
    top = jax.lax.stop_gradient(jnp.max(logits, where=action_mask, initial=-jnp.inf))
    weight = jnp.where(action_mask, jnp.exp(jnp.where(action_mask, logits - top, 0)), 0)
    total = jnp.sum(weight)
    return weight / jnp.where(total > 0, total, 1)


def is_active(action_mask: Bool[Array, "*batch action"]) -> Bool[Array, "*batch"]:
    """Whether an agent is active: inactive agents (dead, left, not yet spawned) have no legal action."""
    return jnp.any(action_mask, axis=-1)


def probability(policy: Float[Array, "*batch action"], action: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    """pi(a) of the chosen action; 1 for an agent without a legal action."""
    taken = jnp.take_along_axis(policy, action[..., None], axis=-1)[..., 0]
    return jnp.where(jnp.any(policy > 0, axis=-1), taken, 1)


def _finite(dtype: DTypeLike) -> tuple[float, float]:
    """The smallest and the largest finite number of a type."""
    return float(jnp.finfo(dtype).min), float(jnp.finfo(dtype).max)


def uniform(action_mask: Bool[Array, " action"]) -> Float[Array, " action"]:
    """The uniform distribution over legal actions; all 0 if none is legal."""
    return action_mask / jnp.maximum(jnp.sum(action_mask), 1)


def epsilon_mixture(
    policy: Float[Array, " action"], action_mask: Bool[Array, " action"], epsilon: float | Float[Array, ""]
) -> Float[Array, " action"]:
    """(1 - epsilon) policy + epsilon uniform over the legal actions."""
    return (1 - epsilon) * policy + epsilon * uniform(action_mask)


def unmasked_epsilon(
    logits: Float[Array, " action"], action_mask: Bool[Array, " action"], epsilon: float | Float[Array, ""]
) -> Float[Array, ""]:
    """The epsilon of `epsilon_mixture` that gives the released code's policy, which mixes before masking.

    There u = (1 - epsilon) softmax(all logits) + epsilon / |A| over all actions; then illegal actions are masked out and the rest is
    renormalised. With rho the softmax's probability mass on legal actions, that is the masked mixture with

        epsilon' = e / ((1 - epsilon) rho + e),   e = epsilon |legal| / |A|
    """
    rho = jnp.sum(jax.nn.softmax(logits), where=action_mask)
    explored = epsilon * jnp.mean(action_mask, dtype=logits.dtype)
    total = (1 - epsilon) * rho + explored
    return jnp.where(total > 0, explored / jnp.where(total > 0, total, 1), 0)


def mix(
    logits: Float[Array, " action"], action_mask: Bool[Array, " action"], epsilon: float | Float[Array, ""], *, before_mask: bool
) -> Float[Array, " action"]:
    """The softmax policy with epsilon mixed in, after masking or before it (as PyMARL's actors do)."""
    masked_epsilon = unmasked_epsilon(logits, action_mask, epsilon) if before_mask else epsilon
    return epsilon_mixture(masked_softmax(logits, action_mask), action_mask, masked_epsilon)


def epsilon_greedy(
    q: Float[Array, " action"], action_mask: Bool[Array, " action"], epsilon: float | Float[Array, ""]
) -> Float[Array, " action"]:
    """1 - epsilon on the legal action of largest value, plus epsilon uniform over legal actions; all 0 with no legal action."""
    best = jax.nn.one_hot(greedy(q, action_mask), q.shape[-1], dtype=q.dtype) * jnp.any(action_mask)
    return epsilon_mixture(best, action_mask, epsilon)


def random_action(key: PRNGKeyArray, action_mask: Bool[Array, " action"], kind: ActionKind) -> Int[Array, ""] | Float[Array, " action"]:
    """A uniform action of one agent: a legal index, a vector in [-1, 1], or a point of the simplex (0 on masked components)."""
    if kind == "discrete":
        return sample(key, uniform(action_mask))
    if kind == "box":
        return jnp.where(action_mask, jax.random.uniform(key, action_mask.shape, minval=-1, maxval=1), 0)
    weight = jnp.where(action_mask, jax.random.exponential(key, action_mask.shape), 0)
    return weight / jnp.maximum(jnp.sum(weight), jnp.finfo(weight.dtype).tiny)


def sample(key: PRNGKeyArray, policy: Float[Array, " action"]) -> Int[Array, ""]:
    """An action drawn from `policy`; never one of probability 0 (action 0 if all are 0)."""
    return jax.random.categorical(key, jnp.log(policy)).astype(jnp.int32)


def sample_many(key: PRNGKeyArray, policy: Float[Array, " action"], n: int) -> Int[Array, " sample"]:
    """`n` independent actions drawn from `policy`, by inverse transform sampling: one random number each."""
    cumulative = jnp.cumsum(policy)
    # Scaled by the last sum and compared strictly, so that an action of probability 0 is never drawn.
    point = jax.random.uniform(key, (n, 1), policy.dtype) * cumulative[-1]
    return jnp.argmax(cumulative > point, axis=-1).astype(jnp.int32)


def greedy(logits: Float[Array, " action"], action_mask: Bool[Array, " action"]) -> Int[Array, ""]:
    """The legal action with the largest logit (action 0 if none is legal)."""
    return jnp.argmax(jnp.where(action_mask, logits, -jnp.inf)).astype(jnp.int32)


def gumbel_softmax(
    key: PRNGKeyArray, logits: Float[Array, " action"], action_mask: Bool[Array, " action"], temperature: float | Float[Array, ""]
) -> Float[Array, " action"]:
    """A relaxed sample of the softmax policy, softmax((logits + Gumbel noise) / temperature) over the legal actions, differentiable in
    the logits (Jang et al. 2017, Eq. 2; App. D.2). At every temperature its largest component is a sample of the policy."""
    noise = jax.random.gumbel(key, logits.shape, logits.dtype)
    return masked_softmax((logits + noise) / temperature, action_mask)


def straight_through(relaxed: Float[Array, " action"]) -> Float[Array, " action"]:
    """One-hot of the largest component, with the gradient of `relaxed`; 0 where `relaxed` is 0 everywhere."""
    hard = jax.nn.one_hot(jnp.argmax(relaxed), relaxed.shape[-1], dtype=relaxed.dtype) * (jnp.max(relaxed) > 0)
    return relaxed + jax.lax.stop_gradient(hard - relaxed)
