"""Theorem 7: where it is a gradient, where it is not, and that every claim can fail."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dop.paper.theorems.stochastic import gradients, tabular, theorem_7
from dop.paper.theorems.stochastic.cases import Case, draw_cases
from theorem_helpers import verdicts

CASES = draw_cases(0, 8)


def test_theorem_7_has_the_formulas_expectation_but_is_not_the_gradient() -> None:
    holds = verdicts(theorem_7.claims(CASES[:4]))
    assert holds.pop("Thm. 7, expectation")
    assert len(holds) == 3 and not any(holds.values())


def test_theorem_7_is_the_gradient_without_a_future_and_clipping_harmless_on_policy() -> None:
    myopic = [dataclasses.replace(c, problem=dataclasses.replace(c.problem, discount=0.0)) for c in CASES[:2]]
    assert verdicts(theorem_7.claims(myopic))["Thm. 7, gradient of J"]
    on_policy = [dataclasses.replace(c, behaviour=c.policy) for c in CASES[:2]]
    holds = verdicts(theorem_7.claims(on_policy))
    assert holds["Thm. 7, as grad J of pi"] and holds["Thm. 7, ratio clipped at 1"]


def test_theorem_7_fails_with_pis_states(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(case: Case, critic: tabular.Critic, largest_ratio: float = np.inf) -> np.ndarray:
        data = tabular.occupancy(case.problem, case.policy)[:, None] * np.minimum(case.pi, largest_ratio)
        return gradients.score_gradient(case.policy, data, gradients.own_credit(critic))

    monkeypatch.setattr(theorem_7, "behaviour_expectation", wrong)
    assert not verdicts(theorem_7.claims(CASES[:2]))["Thm. 7, expectation"]
