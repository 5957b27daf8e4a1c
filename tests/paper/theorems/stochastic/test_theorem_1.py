"""Theorem 1: the aristocrat utility against the library's, and that every claim can fail."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from dop import losses
from dop.paper.theorems.stochastic import gradients, tabular, theorem_1
from dop.paper.theorems.stochastic.cases import draw_cases
from theorem_helpers import verdicts

CASES = draw_cases(0, 8)


def test_the_aristocrat_utility_is_the_librarys() -> None:
    case = CASES[1]
    policy, q = (jnp.asarray(x.swapaxes(0, 1)) for x in (case.policy, case.critic.q))
    found = losses.aristocrat_utility(policy, q, jnp.asarray(case.critic.k))
    picks = tabular.one_hot_actions(case.problem.agents, case.problem.actions)
    expected = np.einsum("sia,ija->isj", np.asarray(found), picks)
    np.testing.assert_allclose(theorem_1.aristocrat(case.policy, case.critic), expected, rtol=1e-4, atol=1e-5)


def test_theorem_1_holds_for_linear_values_and_for_the_on_policy_fit() -> None:
    holds = verdicts(theorem_1.claims(CASES[:4]))
    assert holds == {
        "Thm. 1, aristocrat utility": True,
        "Thm. 1, Q^pi linear": True,
        "Thm. 1, on-policy fit": True,
        "Thm. 1, fit under beta": False,
        "Thm. 1, undiscounted steps": False,
    }


def test_theorem_1_fails_without_k_or_with_another_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theorem_1, "aristocrat", lambda policy, critic: gradients.own_credit(critic) ** 2)
    assert not theorem_1.identity_claim(CASES[:2]).holds
    monkeypatch.setattr(tabular.Critic, "credit", property(lambda self: self.q))
    assert not theorem_1.gradient_claim(CASES[:2], lambda c: c.fitted(c.pi), "", "", assumptions=True).holds
