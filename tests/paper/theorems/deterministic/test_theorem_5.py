"""Theorem 5: errors and bounds by hand, and that every claim can fail."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dop.paper.theorems.deterministic import theorem_5
from dop.paper.theorems.deterministic.places import Place, draw_places
from dop.paper.theorems.deterministic.waves import Waves
from theorem_helpers import sine, verdicts

PLACES = draw_places(0, 12, (2, 5, 20))


def test_theorem_5_holds_for_fits_no_steeper_than_q() -> None:
    assert verdicts(theorem_5.claims(PLACES)) == {
        "Thm. 5, first-order fit": True,
        "Thm. 5, proof's fit, slopes <= L": True,
        "Thm. 5, proof's fit, any f_i": False,
        "Thm. 5, first-order fit, no n": True,
        "Thm. 5, L of one agent's action": False,
        "Thm. 5, order, smooth": True,
        "Thm. 5, order, Q^pi differentiable once": False,
    }


def by_hand() -> Place:
    """Q^pi = sin(a_1) of two agents, and the corners of the box."""
    corners = np.array([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    return Place(q=sine(1.0, 0.0, 1.0, 0.0), f=(sine(1.0, 0.5, 1.0, 0.0),), box=corners)


def test_errors_by_hand() -> None:
    # dQ/da = (1, 0), L = 1; at (0.1, ...) the tangent is 0.1 and Q^pi sin 0.1. The kink adds 0.1^1.5 for each of two agents.
    p = by_hand()
    assert p.lipschitz(0.1) == pytest.approx(1)
    np.testing.assert_allclose(theorem_5.tangent_errors(p, 0.1), 0.1 - np.sin(0.1))
    np.testing.assert_allclose(np.sort(theorem_5.kinked_errors(p, 0.1))[[0, -1]], 2 * 0.1**1.5 + np.array([-1, 1]) * (0.1 - np.sin(0.1)))
    assert theorem_5.error_over_bound(p, theorem_5.tangent_errors, p.n) == pytest.approx((0.1 - np.sin(0.1)) / (2 * 2 * 0.1))
    # f = sin(0.5 + a_1): steepest 1, so K = L = 1.
    assert theorem_5.bounded_errors(p, 0.1)[0] == pytest.approx(np.sin(0.1) - (np.sin(0.6) - np.sin(0.5)))
    # K = 0 / sin 0.5, since Q^pi is 0 at pi(tau).
    np.testing.assert_allclose(theorem_5.arbitrary_errors(p, 0.1), np.sin(0.1))


def test_one_agents_lipschitz_constant_is_enough_if_one_agent_matters() -> None:
    assert theorem_5.one_agents_lipschitz([by_hand()]).holds


def test_theorem_5_fails_for_fits_that_are_too_steep(monkeypatch: pytest.MonkeyPatch) -> None:
    def steeper(fit: theorem_5.Fit) -> theorem_5.Fit:
        return lambda p, delta: fit(p, delta) + 3 * p.n * p.lipschitz(delta) * np.abs(delta * p.box).max(axis=1)

    monkeypatch.setattr(theorem_5, "bounded_errors", steeper(theorem_5.bounded_errors))
    monkeypatch.setattr(theorem_5, "tangent_errors", steeper(theorem_5.tangent_errors))
    assert not any(verdicts(theorem_5.claims(PLACES)).values())


def test_the_first_order_fit_fails_with_a_wrong_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Waves.gradient
    monkeypatch.setattr(Waves, "gradient", lambda self, x: (200 if len(x) == 1 else 1) * right(self, x))  # at pi(tau) only
    assert not theorem_5.bound_claim(PLACES, theorem_5.tangent_errors, "", "").holds


def test_the_proofs_fit_fails_if_its_slopes_exceed_l() -> None:
    assert theorem_5.bound_claim(PLACES, theorem_5.bounded_errors, "", "").holds
    assert not theorem_5.bound_claim(PLACES, lambda p, delta: theorem_5.bounded_errors(p, delta, 50), "", "").holds


def test_arbitrary_functions_that_are_flat_keep_the_bound() -> None:
    # f_i near 1 with slopes of 1e-3: K is about Q^pi / n, so Q_tot^phi hardly moves.
    flat = [
        dataclasses.replace(p, f=(Waves(amplitude=np.ones(p.n), phase=np.full(p.n, np.pi / 2), frequency=1e-3 * np.eye(p.n)),))
        for p in PLACES
    ]
    assert theorem_5.bound_claim(flat, theorem_5.arbitrary_errors, "", "").holds


def test_a_constant_fit_is_of_first_order() -> None:
    claim = theorem_5.order_claim(PLACES, lambda p, delta: np.abs(p.value - p.q(delta * p.box)), "", "")
    assert not claim.holds and claim.measured.startswith(("as delta^0.9", "as delta^1.0"))


def test_a_kink_that_is_smooth_is_of_second_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theorem_5, "KINK", 2.0)
    corner = [by_hand()]
    assert theorem_5.order_claim(corner, theorem_5.kinked_errors, "", "").holds
