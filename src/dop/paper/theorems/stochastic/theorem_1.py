"""Theorem 1, the stochastic DOP policy gradient theorem, with a linearly decomposed critic:

    grad J(theta) = E_pi[sum_i k_i(s) grad log pi_i(a_i | s) Q_i(s, a_i)]    (Eq. 9)

The proof (App. A.3) starts from aristocrat utilities, U_i = Q_tot(s, a) - sum_x pi_i(x | s) Q_tot(s, (x, a_-i)). Their equality is
measured for random critics. Equality with grad J is measured by central differences, for critics that equal Q^pi and others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from dop.paper.theorems.claims import EXACT, NUMERIC, Claim, relative
from dop.paper.theorems.stochastic import tabular
from dop.paper.theorems.stochastic.cases import Case
from dop.paper.theorems.stochastic.gradients import cosine, own_credit, score_gradient
from dop.paper.theorems.stochastic.tabular import Critic, Policy


def aristocrat(policy: Policy, critic: Critic) -> Float[np.ndarray, "agent state joint"]:
    """U_i = Q_tot(s, a) - sum_x pi_i(x | s) Q_tot(s, (x, a_-i)), by its definition."""
    return critic.total - tabular.counterfactual(policy, critic.total)


def identity_claim(cases: Sequence[Case]) -> Claim:
    """Eq. 9 equals the gradient with aristocrat utilities."""
    worst = 0.0
    for c in cases:
        weights = tabular.occupancy(c.problem, c.policy)[:, None] * c.pi
        own, utility = own_credit(c.critic), aristocrat(c.policy, c.critic)
        worst = max(worst, relative(score_gradient(c.policy, weights, own), score_gradient(c.policy, weights, utility)))
    return Claim(
        name="Thm. 1, aristocrat utility",
        claim="Eq. 9 = E_pi[sum_i grad log pi_i U_i], any linear critic",
        measured=f"largest relative difference {worst:.0e}",
        holds=worst < EXACT,
    )


def gradient_claim(cases: Sequence[Case], critic_of: Callable[[Case], Critic], name: str, note: str, *, assumptions: bool) -> Claim:
    """Whether Eq. 9, in expectation over the discounted occupancy of pi, equals the gradient of J by finite_differences."""
    errors = []
    for c in cases:
        weights = tabular.occupancy(c.problem, c.policy)[:, None] * c.pi
        errors.append(relative(score_gradient(c.policy, weights, own_credit(critic_of(c))), c.gradient))
    return Claim(
        name=f"Thm. 1, {name}",
        claim="Eq. 9 = grad J, by differences",
        measured=f"relative error: median {np.median(errors):.0e}, largest {max(errors):.0e}",
        holds=max(errors) < NUMERIC,
        note=note,
        assumptions=assumptions,
    )


def undiscounted_claim(cases: Sequence[Case]) -> Claim:
    """The direction of Eq. 9 over steps of long episodes, without gamma^t, compared with grad J."""
    cosines = []
    for c in cases:
        weights = tabular.stationary(c.problem, c.policy)[:, None] * c.pi
        cosines.append(cosine(score_gradient(c.policy, weights, own_credit(c.fitted(c.pi))), c.gradient))
    return Claim(
        name="Thm. 1, undiscounted steps",
        claim="Eq. 9 points along grad J",
        measured=f"cosine: median {np.median(cosines):.3f}, smallest {min(cosines):.3f}",
        holds=min(cosines) > 1 - NUMERIC,
        note="stationary distribution of pi, no gamma^t: what implementations, this one too, average over",
        assumptions=False,
    )


def claims(cases: Sequence[Case]) -> list[Claim]:
    """The identity, and the gradient of J under critics that meet the proof's assumptions and others."""
    linear = [dataclasses.replace(c, problem=tabular.with_values(c.problem, c.policy, c.critic)) for c in cases]
    return [
        identity_claim(cases),
        gradient_claim(
            linear,
            lambda c: c.critic,
            "Q^pi linear",
            "rewards chosen so that the critic is Q^pi",
            assumptions=True,
        ),
        gradient_claim(
            cases,
            lambda c: c.fitted(c.pi),
            "on-policy fit",
            "Q^pi not linear; its least-squares fit under pi has E_pi_-i[Q^pi] for k_i Q_i, up to a constant, so nothing is lost",
            assumptions=False,
        ),
        gradient_claim(
            cases,
            lambda c: c.fitted(c.beta),
            "fit under beta",
            "the same fit with off-policy weights is biased",
            assumptions=False,
        ),
        undiscounted_claim(cases),
    ]
