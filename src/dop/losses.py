"""Losses of critics and actors (Wang et al., Eqs. 6 and 9, Theorem 7; PPO). One episode in, one number out.

No loss depends on the order of steps. The learner therefore concatenates a batch of episodes into one long episode, in which longer
episodes weigh more. `mask` marks the valid steps; values on other steps are ignored, NaN included.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

Mask = Bool[Array, " time"] | Num[Array, " time"]
"""True, or not 0, on the steps that count."""


def masked_mean(x: Float[Array, "*steps_and_rest"], mask: Bool[Array, "*steps"] | Num[Array, "*steps"]) -> Float[Array, ""]:
    """The mean of `x` over valid steps (its leading axes are the mask's) and over all other axes; 0 if no step is valid."""
    valid = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)).astype(bool)
    per_step = x.size // max(1, mask.size)
    return jnp.sum(jnp.where(valid, x, 0)) / jnp.maximum(jnp.sum(valid) * per_step, 1)


def gather_actions(x: Float[Array, "*batch agent action"], action: Int[Array, "*batch agent"]) -> Float[Array, "*batch agent"]:
    """The entry of `x` for each agent's chosen action."""
    return jnp.take_along_axis(x, action[..., None], axis=-1)[..., 0]


def aristocrat_utility(
    policy: Float[Array, "time agent action"], q: Float[Array, "time agent action"], k: Float[Array, "time agent"]
) -> Float[Array, "time agent action"]:
    """U_i(a) = k_i (Q_i(a) - sum_x pi_i(x) Q_i(x)): the advantage of agent i's action over its policy's mean (App. A.3)."""
    return k[..., None] * (q - jnp.sum(policy * q, axis=-1, keepdims=True))


def stochastic_dop_actor(
    policy: Float[Array, "time agent action"],
    q: Float[Array, "time agent action"],
    k: Float[Array, "time agent"],
    action: Int[Array, "time agent"],
    mask: Mask,
    ratio: Float[Array, " time"] | None = None,
) -> Float[Array, ""]:
    """The loss whose gradient is Eq. 9 with the aristocrat-utility baseline, from the actions taken.

        - mean_{t, i} ratio_t U_it(a_it) log pi_it(a_it),   no gradient through U

    Args:
        policy: pi_i(. | tau_i); the gradient flows through it.
        q: Q_i(tau, .); no gradient flows through it.
        k: k_i(tau); no gradient flows through it.
        action: each agent's action.
        mask: the valid steps.
        ratio: pi(a | tau) / beta(a | tau) of Theorem 7 (Eq. 22), without a gradient; None for on-policy data.
    """
    utility = jax.lax.stop_gradient(gather_actions(aristocrat_utility(policy, q, k), action))
    weight = utility if ratio is None else utility * jax.lax.stop_gradient(ratio)[:, None]
    # An exploring action may have a probability that underflows; its logarithm must stay finite.
    smallest = jnp.finfo(policy.dtype).tiny
    probability = jnp.where(mask.astype(bool)[:, None], jnp.maximum(gather_actions(policy, action), smallest), 1)
    return -masked_mean(weight * jnp.log(probability), mask)


def stochastic_dop_actor_expected(
    policy: Float[Array, "time agent action"],
    q: Float[Array, "time agent action"],
    k: Float[Array, "time agent"],
    mask: Mask,
) -> Float[Array, ""]:
    """The same gradient in expectation over each agent's own action, without the variance of sampled actions.

        - mean_{t, i} sum_a pi_it(a) U_it(a),   no gradient through U

    E_{a ~ pi}[U(a) grad log pi(a)] = sum_a U(a) grad pi(a), and the decomposed critic gives every Q_i(a).
    """
    utility = jnp.where(mask.astype(bool)[:, None, None], jax.lax.stop_gradient(aristocrat_utility(policy, q, k)), 0)
    return -masked_mean(jnp.sum(policy * utility, axis=-1), mask)


def clipped_actor(
    ratio: Float[Array, "*step"], advantage: Float[Array, "*step"], clip: float | Float[Array, ""], mask: Bool[Array, "*step"]
) -> Float[Array, ""]:
    """PPO's loss of the actors (Schulman et al. 2017, Eq. 7). Once a ratio has left [1 - clip, 1 + clip] to its advantage's side, there
    is no gradient.

        - mean_{t, i} min(ratio A, clip(ratio, 1 - clip, 1 + clip) A),   no gradient through A

    Args:
        ratio: pi_i(a_i | tau_i) / beta_i(a_i | tau_i) of the action taken; the gradient flows through it.
        advantage: A.
        clip: the largest distance of a ratio from 1.
        mask: the steps, or agents at steps, that count.
    """
    advantage = jax.lax.stop_gradient(advantage)
    return -masked_mean(jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage), mask)


def clipped_critic(
    value: Float[Array, "*step"],
    old: Float[Array, "*step"],
    target: Float[Array, "*step"],
    clip: float | Float[Array, ""] | None,
    mask: Bool[Array, "*step"],
) -> Float[Array, ""]:
    """PPO's loss of a critic of states: the larger squared error of the value and of the value no further than `clip` from the old one.

        1/2 mean max((V - y)^2, (old + clip(V - old, -clip, clip) - y)^2)

    Args:
        value: V; the gradient flows through it.
        old: V before the update's first step.
        target: y; no gradient flows through it.
        clip: the largest change of a value in an update; None: no limit.
        mask: the steps, or agents at steps, that count.
    """
    target, old = jax.lax.stop_gradient((target, old))
    error = (value - target) ** 2
    if clip is not None:
        error = jnp.maximum(error, (old + jnp.clip(value - old, -clip, clip) - target) ** 2)
    return masked_mean(error, mask) / 2


def entropy(policy: Float[Array, "*batch action"]) -> Float[Array, "*batch"]:
    """-sum_a pi(a) log pi(a) in nats, with 0 log 0 = 0."""
    possible = policy > 0
    return -jnp.sum(jnp.where(possible, policy * jnp.log(jnp.where(possible, policy, 1)), 0), axis=-1)


def utility_rms(utility: Float[Array, "time agent action"], action_mask: Bool[Array, "time agent action"], mask: Mask) -> Float[Array, ""]:
    """Root mean square of the utilities over legal actions, then agents and steps: the scale by which advantages are divided."""
    square = jnp.sum(jnp.where(action_mask, utility**2, 0), axis=-1) / jnp.maximum(jnp.sum(action_mask, axis=-1), 1)
    return jnp.sqrt(masked_mean(square, mask))


def equal_shares(valid: Bool[Array, "*batch episode"], axis: int | tuple[int, ...]) -> Float[Array, "*batch episode"]:
    """Weights that sum to 1 along `axis`, equal on valid entries and 0 on others; all 0 where none is valid."""
    return valid / jnp.maximum(jnp.sum(valid, axis=axis, keepdims=True), 1)


def agreed(q_taken: Float[Array, "*batch agent"], is_active: Bool[Array, "*batch agent"]) -> Float[Array, "*batch agent"]:
    """Each agent's estimate of the team's value; inactive agents get the mean over active agents."""
    mean = jnp.sum(equal_shares(is_active, axis=-1) * jnp.where(is_active, q_taken, 0), axis=-1, keepdims=True)
    return jnp.where(is_active, q_taken, mean)


def critic_weights(
    mask: Bool[Array, "*batch episode"],
    off_policy: Bool[Array, "*batch episode"],
    kappa: float | Float[Array, ""] | None,
    axis: int | tuple[int, ...],
) -> Float[Array, "*batch episode"]:
    """The weight of each step's squared error (Eq. 6). Weights sum to 1 along `axis`.

    With a `kappa`, off-policy steps have total weight kappa and on-policy steps 1 - kappa; if one kind is missing, its weight is lost.
    With None all steps weigh the same, as in the released code's single masked mean over both batches.
    """
    if kappa is None:
        return equal_shares(mask, axis)
    return kappa * equal_shares(mask & off_policy, axis) + (1 - kappa) * equal_shares(mask & ~off_policy, axis)
