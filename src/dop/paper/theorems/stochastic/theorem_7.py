"""Theorem 7 (App. A.3.2), the off-policy version of Theorem 1, for J(theta) = E_beta[V^pi(s)]:

    grad J(theta) = E_beta[pi(a | s) / beta(a | s) sum_i k_i(s) grad log pi_i(a_i | s) Q_i(s, a_i)]    (Eq. 22)

The right-hand side is compared with its own sum over actions, with the gradient of that J and with Eq. 9, both by central differences.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dop.paper.theorems.claims import EXACT, NUMERIC, Claim, relative
from dop.paper.theorems.stochastic import tabular
from dop.paper.theorems.stochastic.cases import Case
from dop.paper.theorems.stochastic.gradients import Gradient, cosine, decomposed_gradient, finite_differences, own_credit, score_gradient
from dop.paper.theorems.stochastic.tabular import Critic, Policy


def behaviour_value(case: Case, policy: Policy) -> float:
    """J of Theorem 7: E_beta[V^pi(s)] over the discounted occupancy of beta."""
    return float(tabular.occupancy(case.problem, case.behaviour) @ tabular.values(case.problem, policy))


def behaviour_expectation(case: Case, critic: Critic, largest_ratio: float = np.inf) -> Gradient:
    """Eq. 22 over the behaviour policy's data: states from d_beta, joint actions from beta, weights pi / beta."""
    data = tabular.occupancy(case.problem, case.behaviour)[:, None] * case.beta
    return score_gradient(case.policy, data * np.minimum(case.pi / case.beta, largest_ratio), own_credit(critic))


def expectation_claims(cases: Sequence[Case]) -> list[Claim]:
    """Eq. 22 over the behaviour policy's data against the formula, with the full and the clipped ratio."""
    formula, clipped = [], []
    for c in cases:
        found = behaviour_expectation(c, c.critic)
        formula.append(relative(found, decomposed_gradient(c.policy, tabular.occupancy(c.problem, c.behaviour), c.critic)))
        clipped.append(relative(behaviour_expectation(c, c.critic, 1), found))
    return [
        Claim(
            name="Thm. 7, expectation",
            claim="Eq. 22 over beta's data = sum_s d_beta(s) sum_i,a k_i Q_i grad pi_i",
            measured=f"largest relative difference {max(formula):.0e}",
            holds=max(formula) < EXACT,
            note="any linear critic; states are weighted as beta visits them, not pi",
        ),
        Claim(
            name="Thm. 7, ratio clipped at 1",
            claim="Eq. 22 keeps its expectation if pi / beta is clipped at 1",
            measured=f"relative difference: median {np.median(clipped):.2f}, largest {max(clipped):.2f}",
            holds=max(clipped) < EXACT,
            note="clipping bounds the variance at the cost of this bias",
            assumptions=False,
        ),
    ]


def gradient_claims(cases: Sequence[Case]) -> list[Claim]:
    """Eq. 22 with the critic of exact Eq. 9, against the gradients of both objectives."""
    cosines, on_policy, errors = [], [], []
    for c in cases:
        exact = behaviour_expectation(c, c.fitted(c.pi))
        expected = finite_differences(lambda each, c=c: behaviour_value(c, each), c.policy)
        errors.append(relative(exact, expected))
        cosines.append(cosine(exact, expected))
        on_policy.append(relative(exact, c.gradient))
    return [
        Claim(
            name="Thm. 7, gradient of J",
            claim="Eq. 22 = grad E_beta[V^pi], by differences",
            measured=f"relative error: median {np.median(errors):.2g}, largest {max(errors):.2g}; cosine {min(cosines):.2f} or more",
            holds=max(errors) < NUMERIC,
            note="even with the critic of Thm. 1 that is exact: as in off-policy actor-critic, the gradient of Q^pi itself is omitted",
        ),
        Claim(
            name="Thm. 7, as grad J of pi",
            claim="Eq. 22 = Eq. 9, the on-policy gradient, by differences",
            measured=f"relative error: median {np.median(on_policy):.2f}, largest {max(on_policy):.2f}",
            holds=max(on_policy) < NUMERIC,
            note="d_beta in place of d_pi; equal if beta = pi",
            assumptions=False,
        ),
    ]


def claims(cases: Sequence[Case]) -> list[Claim]:
    """The expectation of Eq. 22, and whether it is the gradient of the proof's J."""
    expectation, clipped = expectation_claims(cases)
    return [expectation, *gradient_claims(cases), clipped]
