"""Theorem 6: variances by hand, and that every claim can fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dop.paper.theorems.deterministic import theorem_6, waves
from dop.paper.theorems.deterministic.theorem_6 import Pair, Setting
from dop.paper.theorems.deterministic.waves import Waves


@pytest.mark.parametrize(
    ("setting", "holds"),
    [
        ("as stated", False),
        ("proof's X_j, i.i.d.", True),
        ("proof's X_j, in cancelling pairs", False),
        ("proof's X_j, X_j = X / 2^j", False),
        ("joint critic, dense", True),
        ("joint critic, ring", False),
        ("joint critic, pairs", False),
    ],
)
def test_theorem_6s_settings(setting: str, holds: bool) -> None:
    assert theorem_6.ratio_claim(0, setting, 10).holds == holds


def test_every_setting_is_tested() -> None:
    assert len(theorem_6.SETTINGS) == 7


def test_ratios_by_hand() -> None:
    # n i.i.d. terms have n times the variance; pairs leave one term or none; 1 + 1/4 + 1/16.
    assert theorem_6.variance_ratio(0, "proof's X_j, i.i.d.", 7, 2) == pytest.approx(7)
    assert theorem_6.variance_ratio(0, "proof's X_j, in cancelling pairs", 7, 2) == pytest.approx(1)
    assert theorem_6.variance_ratio(0, "proof's X_j, in cancelling pairs", 8, 2) == pytest.approx(2)
    assert theorem_6.variance_ratio(0, "proof's X_j, X_j = X / 2^j", 3, 2) == pytest.approx(1 + 1 / 4 + 1 / 16)


def test_a_linear_critics_gradient_is_its_own_terms_at_every_action() -> None:
    g1, g2 = theorem_6.linear_critic(np.random.default_rng(0), 4)
    x = np.random.default_rng(1).normal(size=(50, 4))
    np.testing.assert_allclose(g1(x), g2(x), atol=1e-12)
    joint = theorem_6.with_fit(waves.dense)(np.random.default_rng(0), 4)
    assert np.abs(joint.g1(x) - joint.g2(x)).max() > 0.1


def with_pair(monkeypatch: pytest.MonkeyPatch, setting: str, pair: Any) -> bool:
    """The verdict of a setting whose g_1 and g_2 are replaced."""
    monkeypatch.setitem(theorem_6.SETTINGS, setting, Setting(pair=pair, draws=12))
    return theorem_6.ratio_claim(0, setting, 10).holds


def test_theorem_6_as_stated_would_hold_for_a_joint_critic(monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_pair(monkeypatch, "as stated", theorem_6.with_fit(waves.dense))


def test_the_proofs_sums_fail_if_only_one_term_is_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_one(rng: np.random.Generator, n: int) -> Pair:
        x = waves.decomposed(rng, 1)
        return Pair(x, x)

    assert not with_pair(monkeypatch, "proof's X_j, i.i.d.", only_one)


def test_cases_that_fail_hold_once_their_terms_are_independent_and_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Waves, "scaled", lambda self, factor: self)  # neither geometric nor opposite
    assert theorem_6.ratio_claim(0, "proof's X_j, X_j = X / 2^j", 5).holds
    assert theorem_6.ratio_claim(0, "proof's X_j, in cancelling pairs", 5).holds


def test_verdicts_of_joint_critics_depend_on_how_many_agents_interact(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not with_pair(monkeypatch, "joint critic, dense", theorem_6.with_fit(waves.decomposed))
    assert with_pair(monkeypatch, "joint critic, ring", theorem_6.with_fit(waves.dense))
    assert with_pair(monkeypatch, "joint critic, pairs", theorem_6.with_fit(waves.dense))


def test_the_best_fit_has_the_same_mean_and_less_variance_and_another_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert theorem_6.fit_claim(0, 5).holds
    right = Waves.conditional_mean
    monkeypatch.setattr(Waves, "conditional_mean", lambda self, i, noise: right(self, i, 0 * noise))  # without the others' noise
    assert not theorem_6.fit_claim(0, 5).holds


def test_without_noise_of_its_own_equation_13_does_not_vary(monkeypatch: pytest.MonkeyPatch) -> None:
    assert theorem_6.noiseless_claim(0, 5).holds
    monkeypatch.setattr(theorem_6, "noiseless", lambda pair: pair)
    assert not theorem_6.noiseless_claim(0, 5).holds


def test_the_proofs_bound_by_hand() -> None:
    # R = 2, L = -1, v = 1: m = 0, n = 2: 4 / 2; m = 1: (4 + 3) / (2 - 12) < 0. R = 1, L = -2: 1 / (2 4), less than the ratio 1 / 2.
    assert theorem_6.proof_bound(np.array([2.0, -1.0]), 2, 0, 1) == pytest.approx(2)
    assert theorem_6.proof_bound(np.array([2.0, -1.0]), 2, 1, 1) == pytest.approx(-0.7)
    assert theorem_6.proof_bound(np.array([1.0, -2.0]), 2, 0, 1) == pytest.approx(1 / 8)


def test_the_proofs_bound_holds_for_one_entry_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not theorem_6.proof_bound_claim(0, 5).holds
    monkeypatch.setattr(theorem_6, "actor_slopes", lambda rng: rng.normal(size=1))
    assert theorem_6.proof_bound_claim(0, 5).holds
