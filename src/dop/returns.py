"""Targets for critics: lambda-returns, advantages and tree backup (Wang et al., Eqs. 5, 7 and 8). One episode in, one out.

Time is in the name: `discount[t]` is gamma, or 0 if step t terminated; a time limit is not termination. `q_next[t]` belongs to step t+1.
Nothing here stops gradients: the caller computes targets with target networks, whose parameters are not differentiated.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def td_lambda(
    reward: Float[Array, " time"],
    discount: Float[Array, " time"],
    q_next: Float[Array, " time"],
    lambda_: float | Float[Array, ""] | Float[Array, " time"],
) -> Float[Array, " time"]:
    """The lambda-return of every step (Eq. 8 in its recursive form).

        G_t = r_t + discount_t ((1 - lambda_t) q_next_t + lambda_t G_{t+1}),   G_T = q_next_{T-1}

    Args:
        reward: r_t.
        discount: gamma (1 - terminated_t).
        q_next: Q_tot(tau_{t+1}, a_{t+1}), or another bootstrap value.
        lambda_: one number, or one per step. With 0 at an episode's last step, that step bootstraps from its own `q_next`:
            this excludes the padding after the end.
    """

    def backward(g_next: Float[Array, ""], step: tuple[Array, ...]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        r, d, q, lam = step
        g = r + d * ((1 - lam) * q + lam * g_next)
        return g, g

    lambdas = jnp.broadcast_to(jnp.asarray(lambda_, q_next.dtype), q_next.shape)
    _, g = jax.lax.scan(backward, q_next[-1], (reward, discount, q_next, lambdas), reverse=True)
    return g


def gae(
    reward: Float[Array, " time"],
    discount: Float[Array, " time"],
    value: Float[Array, " time"],
    value_next: Float[Array, " time"],
    lambda_: float | Float[Array, ""] | Float[Array, " time"],
) -> Float[Array, " time"]:
    """Generalised advantage estimation, GAE(lambda), of every step (Schulman et al. 2016, High-dimensional continuous control, Eq. 16).

        A_t     = delta_t + discount_t lambda_t A_{t+1}
        delta_t = r_t + discount_t value_next_t - value_t

    Where value_next_t is value_{t+1}, that is the lambda-return minus the value, which is how it is computed.

    Args:
        reward: r_t.
        discount: gamma (1 - terminated_t).
        value: V of the state before the step.
        value_next: V of the state after the step; at a time limit its bootstrap.
        lambda_: as in `td_lambda`; 0 at an episode's last step.
    """
    return td_lambda(reward, discount, value_next, lambda_) - value


def tree_backup(
    reward: Float[Array, " time"],
    discount: Float[Array, " time"],
    q_taken: Float[Array, " time"],
    expected_q_next: Float[Array, " time"],
    trace: Float[Array, " time"],
    steps: int,
) -> Float[Array, " time"]:
    """The k-step tree-backup target of every step (Eq. 7), in time O(time x steps).

        y_t     = q_t + sum_{j < steps} (prod_{l=1..j} discount_{t+l-1} trace_{t+l}) delta_{t+j}
        delta_t = r_t + discount_t expected_q_next_t - q_t

    computed as `steps` nested corrections, c_t <- delta_t + discount_t trace_{t+1} c_{t+1}.

    Args:
        reward: r_t.
        discount: gamma (1 - terminated_t).
        q_taken: Q_tot(tau_t, a_t) of the target critic.
        expected_q_next: E_pi[Q_tot(tau_{t+1}, .)], by `expected_q`.
        trace: lambda prod_i pi_i(a_t^i | tau_t^i): the current policy's probability of the actions taken; 0 on padding. `trace[0]` is
            not used.
        steps: k, at least 1.

    Raises:
        ValueError: `steps` is less than 1.
    """
    if steps < 1:
        raise ValueError(f"tree_backup needs steps >= 1, got {steps}.")
    delta = reward + discount * expected_q_next - q_taken
    decay = jnp.append(discount[:-1] * trace[1:], 0)
    correction = delta
    for _ in range(min(steps, reward.shape[0]) - 1):
        correction = delta + decay * jnp.append(correction[1:], 0)
    return q_taken + correction


def expected_q(
    k: Float[Array, " agent"],
    b: Float[Array, ""],
    policy: Float[Array, "agent action"],
    q: Float[Array, "agent action"],
) -> Float[Array, ""]:
    """E_pi[Q_tot] = sum_i k_i sum_a pi_i(a) Q_i(a) + b, in n|A| products where the joint sum has |A|^n terms (Eqs. 5 and 16)."""
    return jnp.sum(k * jnp.sum(policy * q, axis=-1)) + b


def sampled_q(
    k: Float[Array, " agent"],
    b: Float[Array, ""],
    q: Float[Array, "agent action"],
    action: Int[Array, "sample agent"],
) -> Float[Array, ""]:
    """The mean of Q_tot over joint actions sampled from pi: undecomposed tree backup's estimate of `expected_q` (Sec. 5.1.1)."""
    each = jax.vmap(lambda joint: jnp.sum(k * jnp.take_along_axis(q, joint[:, None], axis=-1)[:, 0]))(action)
    return jnp.mean(each) + b
