"""Theorem 3: variances by hand and over all joint actions, and that every claim can fail."""

from __future__ import annotations

import numpy as np
import pytest

from dop.paper.theorems.stochastic import tabular, theorem_3
from dop.paper.theorems.stochastic.theorem_3 import Agent
from theorem_helpers import verdicts


def enumerated_ratio(agent: Agent, n: int) -> float:
    """Var(g1) / Var(g2) of n copies, over all joint actions."""
    actions = len(agent.x)
    joints = tabular.joint_actions(n, actions)
    weight, total = np.prod(agent.policy[joints], axis=1), agent.x[joints].sum(axis=1)
    first = joints[:, 0]

    def variance(g: np.ndarray) -> float:
        return float((weight @ g**2 - (weight @ g) ** 2).sum())

    return variance(agent.score[first] * total[:, None]) / variance(agent.score[first] * agent.x[first][:, None])


@pytest.mark.parametrize("mean", [0.0, 1.0])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_ratio_is_that_of_all_joint_actions(n: int, mean: float) -> None:
    agent = theorem_3.random_agent(np.random.default_rng(0), mean=mean)
    assert theorem_3.iid(agent, n) == pytest.approx(enumerated_ratio(agent, n))


def test_the_ratio_by_hand() -> None:
    # Two even actions with X = 1 and -1: the score of the first logit is 1/2, -1/2, so score x X = 1/2 always: Var(g2) = 0. With policy
    # (1/2, 1/4, 1/4) and X = (1, -1, -1): of the first logit, score (1/2, -1/2, -1/2), g2 = 1/2, variance 0; of each other, score
    # (-1/4, 3/4, -1/4), g2 = (-1/4, -3/4, 1/4): mean -1/4, mean square 1/32 + 9/64 + 1/64 = 3/16, variance 1/8. Sum 1/4.
    # One more such agent, mean 0 and variance 1, adds E[score^2] = 1/4 + 3/16 + 3/16 = 5/8. Ratio (1/4 + 5/8) / (1/4) = 3.5.
    agent = Agent(policy=np.array([0.5, 0.25, 0.25]), x=np.array([1.0, -1.0, -1.0]))
    assert theorem_3.iid(agent, 2) == pytest.approx(3.5)
    assert theorem_3.iid(agent, 3) == pytest.approx(6.0)


def test_theorem_3_holds_for_identical_agents_only() -> None:
    holds = verdicts(theorem_3.claims(0, 10))
    assert holds["Thm. 3, i.i.d., mean 0"] and holds["Thm. 3, i.i.d., mean 1"]
    assert not holds["Thm. 3, dependent, in cancelling pairs"] and not holds["Thm. 3, independent, X_j = X / 2^j"]
    assert not holds["Thm. 3, proof's bound, mean 1"]


def test_the_proofs_bound_fails_for_a_nearly_deterministic_agent() -> None:
    # pi = (0.9, 0.1), X = (1/3, -3), of mean 0 and variance 1. Either logit's |score| is 0.1 or 0.9, so R / L is 1/9 for the first: the
    # bound is 1/81 / n. g2 = (1/30, 2.7) has variance 0.09 (2.7 - 1/30)^2 = 0.64; another agent adds E[score^2] = 0.09.
    agent = Agent(policy=np.array([0.9, 0.1]), x=np.array([1 / 3, -3.0]))
    assert agent.variance == pytest.approx(1)
    assert theorem_3.gradient_variance(agent, 0, 0)[0] == pytest.approx(0.64)
    assert theorem_3.gradient_variance(agent, 0, 1)[0] == pytest.approx(0.73)
    assert theorem_3.proof_bound(agent, 2)[0] == pytest.approx(1 / 162)
    assert not theorem_3.bound_claim("i.i.d., mean 0", [agent]).holds


def test_the_proofs_bound_can_hold() -> None:
    # pi = (1/2, 1/4, 1/4), X = (1, -1, -1), n = 2: ratios 0, 2/5 and 2/5 (above), bounds (1/2)^2 / (2 (1/2)^2) and (3/4)^2 / (2 (1/4)^2).
    agent = Agent(policy=np.array([0.5, 0.25, 0.25]), x=np.array([1.0, -1.0, -1.0]))
    np.testing.assert_allclose(theorem_3.proof_bound(agent, 2), [0.5, 4.5, 4.5])
    assert theorem_3.bound_claim("i.i.d., mean 0", [agent]).holds


def test_cancelling_pairs_leave_one_agent_or_none() -> None:
    agent = theorem_3.agents_of(0, "dependent, in cancelling pairs", 1)[0]
    assert agent.mean == pytest.approx(0)
    assert theorem_3.cancelling(agent, 3) == pytest.approx(1)
    assert theorem_3.cancelling(agent, 20) == pytest.approx(theorem_3.iid(agent, 2))


def test_a_geometric_teams_ratio_is_bounded() -> None:
    # 1/4 + 1/16 + ... = 1/3 of one more agent's variance.
    agent = theorem_3.agents_of(0, "independent, X_j = X / 2^j", 1)[0]
    assert theorem_3.geometric(agent, 40) == pytest.approx(theorem_3.variance_ratio(agent, 0, 1 / 3))
