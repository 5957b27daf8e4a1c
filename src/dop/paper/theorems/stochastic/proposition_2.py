"""Proposition 2: once policy evaluation has converged, each Q_i^phi_i orders agent i's actions as Q_i^pi does.

    Q_i^pi(s, a_i) > Q_i^pi(s, a_i')  <=>  Q_i^phi_i(s, a_i) > Q_i^phi_i(s, a_i'),   Q_i^pi(s, a_i) = E_pi_-i[Q^pi(s, (a_i, .))]

The proof (App. C) uses the least-squares fit of Q^pi under pi, with all k_i > 0. That fit is measured, then other weights, targets and
k_i.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from dop.paper.theorems.claims import ROUNDING, Claim
from dop.paper.theorems.stochastic import tabular
from dop.paper.theorems.stochastic.cases import Case
from dop.paper.theorems.stochastic.gradients import Gradient
from dop.paper.theorems.stochastic.proposition_1 import KAPPA, linear_fixed_point


def pairs_in_order(reference: Gradient, learned: Gradient) -> tuple[int, int]:
    """The number of action pairs, over agents and states, that `learned` orders as `reference` does, and the number of pairs."""
    first, second = np.triu_indices(reference.shape[-1], k=1)

    def order(values: Gradient) -> Gradient:
        difference = values[..., first] - values[..., second]
        return np.where(np.abs(difference) < ROUNDING, 0, np.sign(difference))

    same = order(reference) == order(learned)
    return int(same.sum()), same.size


def order_claim(cases: Sequence[Case], learn: Callable[[Case], Gradient], name: str, note: str, *, assumptions: bool) -> Claim:
    """Whether the learned Q_i order each agent's actions as Q_i^pi does."""
    counts = np.array([pairs_in_order(tabular.marginal_q(c.policy, c.q), learn(c)) for c in cases])
    kept, pairs = counts.sum(axis=0)
    return Claim(
        name=f"Prop. 2{name}",
        claim="Q_i orders actions as Q_i^pi does",
        measured=f"{kept} of {pairs} pairs ({kept / pairs:.1%})",
        holds=bool(kept == pairs),
        note=note,
        assumptions=assumptions,
    )


def without_first_agent(case: Case) -> Gradient:
    """Q_i with k_1 = 0, allowed by Eq. 4 and excluded by the proof."""
    k = case.critic.k.copy()
    k[:, 0] = 0
    return tabular.fit(case.q, case.pi, k, case.problem.actions).q


def learned_by_eq_6(case: Case, kappa: float) -> Gradient:
    """Q_i of the linear critic at the fixed point of Eq. 6, instead of the proof's least-squares fit."""
    q, _ = linear_fixed_point(case, kappa)
    return tabular.fit(q, case.pi, case.critic.k, case.problem.actions).q


def claims(cases: Sequence[Case], few: Sequence[Case]) -> list[Claim]:
    """On-policy weights; then weights, k_i and targets that the proof does not cover."""

    def off_policy_fit(c: Case) -> Gradient:
        return c.fitted(c.beta).q

    return [
        order_claim(cases, lambda c: c.fitted(c.pi).q, "", "least squares of Q^pi under pi, k_i > 0", assumptions=True),
        order_claim(few, lambda c: learned_by_eq_6(c, 0), ", TD(lambda) on policy", "kappa = 0: the fit, exactly", assumptions=False),
        order_claim(few, lambda c: learned_by_eq_6(c, KAPPA), f", Eq. 6 at kappa {KAPPA}", "half replay of beta", assumptions=False),
        order_claim(
            [dataclasses.replace(c, behaviour=0.9 * c.policy + 0.1 * c.behaviour) for c in few],
            lambda c: learned_by_eq_6(c, KAPPA),
            ", the same, beta near pi",
            "the replay's policy is 9 parts pi and 1 part beta",
            assumptions=False,
        ),
        order_claim(cases, off_policy_fit, ", weights beta", "off-policy data: k_i Q_i is E_beta_-i[Q^pi]", assumptions=False),
        order_claim(cases, lambda c: c.fitted(c.correlated).q, ", correlated weights", "weights of correlated agents", assumptions=False),
        order_claim(cases, without_first_agent, ", k_1 = 0", "Eq. 4 allows k_i = 0; that agent learns nothing", assumptions=False),
    ]
