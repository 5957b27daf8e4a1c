"""Per-agent credit assignment: a critic's value of each agent's action, compared with the agent's other actions.

    k_i Q_i(a_i)                                        agent i's part of the team's value, where the critic is a sum (DOP, VDN, QMIX)
    advantage_i = k_i (Q_i(a_i) - E_{x ~ pi_i} Q_i(x))  against the agent's own policy: what DOP and COMA learn from (Eq. 9)
    credit_i    = k_i (Q_i(a_i) - mean_x Q_i(x))        against a uniform action: what this action adds over a random one

An agent without influence has a credit of 0, whatever its k_i and Q_i are. The advantage vanishes as a policy becomes deterministic; the
credit does not. The advantage of a deterministic policy would always be 0, so its credit is given instead.

Expectations over numbered actions are exact. Over a box or a simplex they are means over `DRAWS` uniform actions, the same for all agents.
Algorithms provide k, Q and b through `dop.types.AssignsCredit`. They are what the critic has learned, right or wrong.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from dop import plugins, policies
from dop.errors import ConfigError
from dop.losses import aristocrat_utility
from dop.types import Action, ActionKind, AssignsCredit, Credit, TimeStep

DRAWS = 64
"""Uniform actions that a continuous one is compared with."""
POINTS = 21
"""Points of the curve of Q_i over a component of a continuous action."""


class CreditEstimate(eqx.Module):
    """The credit estimate of one step."""

    k: Float[Array, "*time agent"]
    q: Float[Array, "*time agent"]
    """Q_i of the chosen action."""
    b: Float[Array, "*time"] | None
    advantage: Float[Array, "*time agent"]
    credit: Float[Array, "*time agent"]
    values: Float[Array, "*time agent action"] | Float[Array, "*time agent action point"]
    """Q_i of all actions of agent i: of each number, or along each component of a continuous action (see `grid`)."""
    policy: Float[Array, "*time agent action"] | None
    """As in `dop.types.Credit`."""

    @property
    def contribution(self) -> Float[Array, "*time agent"]:
        """k_i Q_i(a_i)."""
        return self.k * self.q


def credit_of(algorithm: AssignsCredit, learner: Any, carry: PyTree, step: TimeStep, action: Action, own: Action) -> Credit:
    """The algorithm's `credit`.

    Raises:
        ConfigError: it raises an exception, or returns something else.
    """
    name = f"{type(algorithm).__name__}.credit"
    with plugins.named(f"{name} raised an exception"):
        found = algorithm.credit(learner, carry, step, action, own)
    if not isinstance(found, Credit):
        raise ConfigError(f"{name} returns {type(found).__name__}; it must return a dop.types.Credit.")
    return found


def estimate_credit(
    algorithm: AssignsCredit, learner: Any, carry: PyTree, step: TimeStep, action: Action, key: PRNGKeyArray, kind: ActionKind
) -> CreditEstimate:
    """The credit estimate of one step with the joint action `action`."""
    estimate = credit_of(algorithm, learner, carry, step, action, action)
    values = values_of(algorithm, learner, carry, step, action, kind)
    if kind == "discrete":
        uniform = jnp.sum(jax.vmap(policies.uniform)(step.action_mask) * values, axis=-1)
    else:
        draw = jax.vmap(jax.vmap(lambda k, m: policies.random_action(k, m, kind)), in_axes=(0, None))
        others = draw(jax.random.split(key, (DRAWS, len(estimate.q))), step.action_mask)
        uniform = jnp.mean(jax.vmap(lambda own: credit_of(algorithm, learner, carry, step, action, own).q)(others), axis=0)
    acts = jnp.any(step.action_mask, axis=-1)
    credit = jnp.where(acts, estimate.k * (estimate.q - uniform), 0)
    if estimate.policy is None:
        advantage = credit
    else:
        utility = aristocrat_utility(estimate.policy[None], values[None], estimate.k[None])[0]
        advantage = jnp.where(acts, jnp.take_along_axis(utility, action[:, None], axis=1)[:, 0], 0)
    return CreditEstimate(
        k=estimate.k, q=estimate.q, b=estimate.b, advantage=advantage, credit=credit, values=values, policy=estimate.policy
    )


def values_of(
    algorithm: AssignsCredit, learner: Any, carry: PyTree, step: TimeStep, action: Action, kind: ActionKind
) -> Float[Array, "agent action"] | Float[Array, "agent action point"]:
    """Q_i of all actions of agent i, while the others act as in `action`."""

    def q(own: Action) -> Float[Array, " agent"]:
        return credit_of(algorithm, learner, carry, step, action, own).q

    agents, size = step.action_mask.shape
    if kind == "discrete":
        return jax.vmap(lambda number: q(jnp.full((agents,), number)))(jnp.arange(size)).T
    others = jax.vmap(lambda component: jax.vmap(lambda x: along(action, step.action_mask, component, x, kind))(grid(kind)))(
        jnp.arange(size)
    )
    return jnp.moveaxis(jax.vmap(jax.vmap(q))(others), -1, 0)


def grid(kind: ActionKind) -> Float[Array, " point"]:
    """The points in `CreditEstimate.values` of a component of a continuous action."""
    return jnp.linspace(-1.0 if kind == "box" else 0.0, 1.0, POINTS)


def along(
    action: Float[Array, "agent action"], action_mask: Bool[Array, "agent action"], component: Array, x: Array, kind: ActionKind
) -> Float[Array, "agent action"]:
    """`action` with one component of every agent set to `x`; on a simplex the other components keep their proportions."""
    selected = jnp.arange(action.shape[-1]) == component
    if kind == "box":
        return jnp.where(selected & action_mask, x, action)
    rest = jnp.where(selected, 0, action)
    total = jnp.sum(rest, axis=-1, keepdims=True)
    even = jax.vmap(policies.uniform)(action_mask & ~selected)
    return jnp.where(selected & action_mask, x, (1 - x) * jnp.where(total > 1e-6, rest / jnp.where(total > 1e-6, total, 1), even))
