"""Theorem 2: the update by hand, and that every claim can fail."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dop.paper.theorems.stochastic import gradients, tabular, theorem_2
from dop.paper.theorems.stochastic.cases import draw_cases
from theorem_helpers import verdicts

CASES = draw_cases(0, 8)


def test_projection_to_the_simplex_by_hand() -> None:
    found = theorem_2.project_to_simplex(np.array([[[0.2, 0.3, 0.5], [0.5, 0.5, 3.0], [1.0, 0.8, -5.0]]]))
    np.testing.assert_allclose(found, [[[0.2, 0.3, 0.5], [0, 0, 1], [0.6, 0.4, 0]]], atol=1e-12)


def test_the_update_keeps_probabilities_and_moves_none_by_more_than_the_step() -> None:
    case = CASES[0]
    towards = theorem_2.direction(tabular.occupancy(case.problem, case.policy), case.fitted(case.pi))
    np.testing.assert_allclose(towards.sum(axis=-1), 0, atol=1e-12)
    assert np.abs(towards).max() == pytest.approx(1)


def test_theorem_2_holds_for_small_steps_only() -> None:
    cases = draw_cases(0, 60)
    holds = verdicts(theorem_2.claims(cases, theorem_2.changes(cases)))
    assert holds["Thm. 2"] and holds["Thm. 2, aliased states"]
    assert not holds["Thm. 2, large steps"] and not holds["Thm. 2, critic of beta's data"] and not holds["Thm. 2, ties (3 step sizes)"]


def test_softmax_policies_improve_out_of_order() -> None:
    holds = verdicts(theorem_2.softmax_claims(CASES))
    assert holds == {"Thm. 2, softmax, MONOTONE": False, "Thm. 2, softmax": True}


def test_softmax_policies_that_are_uniform_rise_in_order() -> None:
    uniform = [dataclasses.replace(c, policy=np.full_like(c.policy, 1 / 3)) for c in CASES]
    assert verdicts(theorem_2.softmax_claims(uniform))["Thm. 2, softmax, MONOTONE"]


def test_softmax_policies_fall_downhill(monkeypatch: pytest.MonkeyPatch) -> None:
    right = gradients.decomposed_gradient
    monkeypatch.setattr(theorem_2, "decomposed_gradient", lambda *args: -right(*args))
    assert not any(verdicts(theorem_2.softmax_claims(CASES)).values())


def test_theorem_2_fails_uphill_turned_downhill(monkeypatch: pytest.MonkeyPatch) -> None:
    right = theorem_2.direction
    monkeypatch.setattr(theorem_2, "direction", lambda *args, **kwargs: -right(*args, **kwargs))
    assert not theorem_2.no_decrease_claim(list(theorem_2.changes(CASES)[6]), "", "", assumptions=True).holds


def test_at_a_tie_j_falls_by_twice_the_square_of_the_step() -> None:
    # pi_1 = (1/2 + d, 1/2 - d), pi_2 = (1/2 - d, 1/2 + d): J = 2 (1/2 + d)(1/2 - d) = 1/2 - 2 d^2.
    np.testing.assert_allclose(theorem_2.tie_changes(0.1, 0.01), [-0.02, -0.0002])
