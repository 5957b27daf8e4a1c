"""Theorem 4, the deterministic DOP policy gradient theorem, with a linearly decomposed critic and continuous actions:

    grad J(theta) = E_{s ~ D}[sum_i k_i(s) grad_theta_i pi_i(s) grad_a_i Q_i(s, a_i) at a_i = pi_i(s)]    (Eq. 13)

The right-hand side is compared with the gradient of E[Q_tot^phi(s, pi(s))] by automatic differentiation, as in the proof (App. B.1),
and with grad J by central differences: with states of pi and of a replay D, and with critics that equal Q^pi, that have its slopes at
pi(s), or that are fitted to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dop.paper.theorems.claims import DIFFERENCE_STEP, EXACT, NUMERIC, Claim, relative
from dop.paper.theorems.deterministic.teams import (
    Actions,
    Numbers,
    Team,
    Theta,
    act,
    each_agent,
    joint_action,
    local_value,
    occupancy,
    total,
    true_value,
    values,
)

SPREADS = (0.1, 0.3)
"""Standard deviations of exploration noise in the data of fitted critics."""
NEAR = 0.1
"""The weight of an unrelated policy in a replay policy near the current one."""
AS_J = "Eq. 13 = grad J, by differences"
Gradient = Float[Numbers, "case agent feature action"]


def finite_differences(function: Callable[[Theta], Numbers], theta: Theta) -> Theta:
    """Central finite_differences."""
    shifts = DIFFERENCE_STEP * jnp.eye(theta.size).reshape(-1, *theta.shape)
    each = jax.vmap(lambda shift: function(theta + shift) - function(theta - shift))(shifts)
    return each.reshape(theta.shape) / (2 * DIFFERENCE_STEP)


def equation_13(team: Team, states: Float[Array, " state"], k: Float[Numbers, "state agent"], slopes: Actions) -> Theta:
    """sum_s w(s) sum_i k_i(s) grad_theta_i pi_i(s) grad_a_i Q_i(s, a_i), the slopes being those of Q_i at pi_i(s)."""
    actors = jax.vmap(jax.vmap(jax.jacobian(act)), in_axes=(None, 1))(team.theta, team.features)
    return jnp.einsum("s,si,siafb,sia->ifb", states, k, actors, slopes)


def fitted_slopes(team: Team, around: Actions, spread: float) -> Actions:
    """k_i grad_a_i Q_i of the linear Q_i that fit Q^pi best, in least squares, on the actions `around` plus noise of +spread or -spread."""
    noise = spread * np.array(list(itertools.product((-1.0, 1.0), repeat=around[0].size))).reshape(-1, *around[0].shape)
    found = jax.vmap(lambda each: true_value(team, around + each))(jnp.asarray(noise))
    return jnp.einsum("ps,pia->sia", found, noise) / (len(noise) * spread**2)


class Gradients(NamedTuple):
    """The gradients that Theorem 4's claims compare. By default states are weighted by the discounted occupancy of pi."""

    formula: Gradient
    """Eq. 13 with the linear critic."""
    automatic: Gradient
    """The gradient of the expected Q_tot^phi(s, pi(s)), by automatic differentiation."""
    linear_j: Gradient
    """The gradient of J by finite differences, with a linear Q^pi; all others have a Q^pi that is not linear."""
    j: Gradient
    tangent: Gradient
    """Eq. 13 with the Q_i that have Q^pi's slopes at pi(s)."""
    fits: Float[Numbers, "case spread agent feature action"]
    """Eq. 13 with Q_i fitted under exploration noise."""
    old_fit: Gradient
    """Eq. 13 with Q_i fitted under the replay's actors and exploration noise."""
    replay: Gradient
    """Eq. 13 as `tangent`, over the replay's states."""
    near_replay: Gradient
    """The same, with replay actors near pi."""
    replay_j: Gradient
    """The gradient of E_D[V^pi] by finite differences."""


def gradients(team: Team) -> Gradients:
    """All gradients of one team."""
    at, d_pi, ones = joint_action(team, team.theta), occupancy(team, team.theta), jnp.ones_like(team.k)
    tangent = jax.vmap(jax.grad(lambda each, s: true_value(team, at.at[s].set(each))[s]))(at, jnp.arange(len(at)))
    d_replay = occupancy(team, team.behaviour)
    d_near = occupancy(team, (1 - NEAR) * team.theta + NEAR * team.behaviour)
    linear = team._replace(joint=0 * team.joint)
    fits = jnp.stack([equation_13(team, d_pi, ones, fitted_slopes(team, at, spread)) for spread in SPREADS])
    old = fitted_slopes(team, joint_action(team, team.behaviour), SPREADS[0])
    return Gradients(
        formula=equation_13(team, d_pi, team.k, each_agent(jax.grad(local_value, argnums=3), team, at)),
        automatic=jax.grad(lambda theta: d_pi @ total(team, joint_action(team, theta)))(team.theta),
        linear_j=finite_differences(lambda theta: team.start @ values(linear, theta), team.theta),
        j=finite_differences(lambda theta: team.start @ values(team, theta), team.theta),
        tangent=equation_13(team, d_pi, ones, tangent),
        fits=fits,
        old_fit=equation_13(team, d_pi, ones, old),
        replay=equation_13(team, d_replay, ones, tangent),
        near_replay=equation_13(team, d_near, ones, tangent),
        replay_j=finite_differences(lambda theta: d_replay @ values(team, theta), team.theta),
    )


gradients_of_all = jax.jit(jax.vmap(gradients))


def all_gradients(teams: Team) -> Gradients:
    """`gradients` of every team, in float64."""
    with jax.enable_x64(True):
        return Gradients(*(np.asarray(each) for each in gradients_of_all(teams)))


def errors(found: Gradient, expected: Gradient) -> list[float]:
    """The relative error of every case."""
    return [relative(f, e) for f, e in zip(found, expected, strict=True)]


def gradient_claim(name: str, claim: str, found: Sequence[float], note: str, *, assumptions: bool, also: str = "") -> Claim:
    """Whether two gradients are equal, up to the precision of finite differences."""
    return Claim(
        name=f"Thm. 4, {name}",
        claim=claim,
        measured=f"relative error: median {np.median(found):.0e}, largest {max(found):.0e}{also}",
        holds=max(found) < NUMERIC,
        note=note,
        assumptions=assumptions,
    )


def replay_claims(g: Gradients) -> list[Claim]:
    """States from D, as in the theorem; the critic has Q^pi's slopes."""
    return [
        gradient_claim(
            "replay's states",
            AS_J,
            errors(g.replay, g.j),
            f"critic with Q^pi's slopes; the statement's D, of unrelated actors and then of {1 - NEAR:g} pi's parameters + {NEAR:g} theirs",
            assumptions=True,
            also=f"; D near pi: {np.median(errors(g.near_replay, g.j)):.0e}",
        ),
        gradient_claim(
            "replay's objective",
            "Eq. 13 = grad E_D[V^pi], by differences",
            errors(g.replay, g.replay_j),
            "the same critic and D: the gradient of Q^pi itself is omitted, as in Theorem 7",
            assumptions=False,
        ),
    ]


def critic_claims(g: Gradients) -> list[Claim]:
    """States from pi, with critics other than Q^pi."""
    small, large = (errors(g.fits[:, i], g.j) for i in range(len(SPREADS)))
    return [
        gradient_claim(
            "Q^pi not linear, its slopes",
            AS_J,
            errors(g.tangent, g.j),
            "the linear critic is wrong about Q^pi, but not about its gradient at pi(s), all that Eq. 13 needs; states as d_pi",
            assumptions=False,
        ),
        gradient_claim(
            f"fit, noise {SPREADS[1]}",
            AS_J,
            large,
            "linear Q_i fitted to Q^pi under exploration noise; the second order does not average out; states as d_pi",
            assumptions=False,
            also=f"; noise {SPREADS[0]}: {np.median(small):.0e}",
        ),
        gradient_claim(
            "fit to old actors' data",
            AS_J,
            errors(g.old_fit, g.j),
            f"the same with noise {SPREADS[0]} around unrelated actors; states as d_pi",
            assumptions=False,
        ),
    ]


def claims(teams: Team) -> list[Claim]:
    """Eq. 13 as the gradient of Q_tot^phi through the actors, then of J, with critics and states of pi and others."""
    g = all_gradients(teams)
    identity = errors(g.formula, g.automatic)
    return [
        Claim(
            name="Thm. 4, grad of Q_tot",
            claim="Eq. 13 = grad E[Q_tot^phi(s, pi(s))], any linear critic, automatically",
            measured=f"largest relative difference {max(identity):.0e}",
            holds=max(identity) < EXACT,
            note="two-layer Q_i, k_i >= 0, three agents with two-dimensional actions; what the proof shows",
        ),
        gradient_claim(
            "Q^pi linear",
            AS_J,
            errors(g.formula, g.linear_j),
            "rewards chosen so that the critic is Q^pi; states as d_pi",
            assumptions=True,
        ),
        *replay_claims(g),
        *critic_claims(g),
    ]
