"""Eq. 16 (App. A.1), which makes tree backup tractable: the linear critic's expectation needs no sum over joint actions.

    E_pi[Q_tot(s, .)] = sum_i k_i(s) E_{pi_i}[Q_i(s, .)] + b(s)

Measured for joint policies that are products of the agents' policies, as in the paper, and for correlated ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from dop.paper.theorems.claims import EXACT, Claim
from dop.paper.theorems.stochastic import tabular
from dop.paper.theorems.stochastic.cases import Case
from dop.paper.theorems.stochastic.tabular import Critic, Policy


def decomposed_expectation(policy: Policy, critic: Critic) -> Float[np.ndarray, " state"]:
    """sum_i k_i E_{pi_i}[Q_i] + b."""
    return (policy * critic.credit).sum(axis=(0, 2)) + critic.b


def independent_claim(cases: Sequence[Case]) -> Claim:
    """The decomposed expectation equals the sum over joint actions."""
    worst = max(np.abs(decomposed_expectation(c.policy, c.critic) - (c.pi * c.critic.total).sum(axis=1)).max() for c in cases)
    return Claim(
        name="Eq. 16",
        claim="E_pi[Q_tot] = sum_i k_i E_pi_i[Q_i] + b",
        measured=f"largest difference {worst:.0e}",
        holds=bool(worst < EXACT),
    )


def correlated_claim(cases: Sequence[Case]) -> Claim:
    """The same for correlated agents, with the marginals of the joint distribution as their policies."""
    worst = 0.0
    for c in cases:
        agents, actions = c.problem.agents, c.problem.actions
        marginal = np.einsum("sj,ija->isa", c.correlated, tabular.one_hot_actions(agents, actions))
        worst = max(worst, np.abs(decomposed_expectation(marginal, c.critic) - (c.correlated * c.critic.total).sum(axis=1)).max())
    return Claim(
        name="Eq. 16, correlated agents",
        claim="the same for correlated joint policies",
        measured=f"largest difference {worst:.0e}",
        holds=bool(worst < EXACT),
        note="the critic is linear, so only marginals matter: independence is not needed",
        assumptions=False,
    )


def claims(cases: Sequence[Case]) -> list[Claim]:
    """For independent and for correlated agents."""
    return [independent_claim(cases), correlated_claim(cases)]
