"""The theorems on deterministic DOP: formulas against differentiation and quadrature, and that every claim can fail."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop.paper import deterministic_theorems as theorems
from dop.paper.claims import Claim
from dop.paper.deterministic_theorems import Pair, Place, Setting, Waves

TEAMS = theorems.draw_teams(0, 6)
PLACES = theorems.draw_places(0, 12, (2, 5, 20))


def named(claims: list[Claim]) -> dict[str, bool]:
    return {claim.name: claim.holds for claim in claims}


def single(amplitude: float, angle: float, *frequency: float) -> Waves:
    return Waves(amplitude=np.array([amplitude]), angle=np.array([angle]), frequency=np.array([frequency]))


# ----------------------------------------------------------------------------------------------------------------- Theorem 4


def first(team: theorems.Team) -> theorems.Team:
    return theorems.Team(*(each[0] for each in team))


def test_a_team_depends_on_its_seed_and_number_only() -> None:
    np.testing.assert_array_equal(theorems.draw_teams(0, 2).theta, TEAMS.theta[:2])
    assert not np.array_equal(theorems.draw_teams(1, 2).theta, TEAMS.theta[:2])


def test_q_pi_is_what_it_is_said_to_be() -> None:
    # V(s) = Q(s, pi(s)) at pi, and J is the occupancy's sum of rewards; d sums to 1 / (1 - gamma).
    team = first(TEAMS)
    with jax.enable_x64(True):
        value = theorems.values(team, team.theta)
        np.testing.assert_allclose(value, theorems.true_value(team, theorems.joint_action(team, team.theta)), atol=1e-12)
        assert float(theorems.occupancy(team, team.behaviour).sum()) == pytest.approx(10)


def test_equation_13_by_hand() -> None:
    # One state and agent, a = tanh(2 theta) at theta = 0: da/dtheta = 2; w = 3, k = 5, slope 7: 210.
    team = first(theorems.draw_teams(0, 1))._replace(seen=np.full((1, 1, 1), 2.0), theta=np.zeros((1, 1, 1)))
    found = theorems.equation_13(team, jnp.array([3.0]), np.full((1, 1), 5.0), jnp.full((1, 1, 1), 7.0))
    assert float(found[0, 0, 0]) == pytest.approx(210)


def test_theorem_4_holds_for_the_critics_gradient_and_with_pis_states_and_slopes() -> None:
    assert named(theorems.theorem_4(TEAMS)) == {
        "Thm. 4, grad of Q_tot": True,
        "Thm. 4, Q^pi linear": True,
        "Thm. 4, replay's states": False,
        "Thm. 4, replay's objective": False,
        "Thm. 4, Q^pi not linear, its slopes": True,
        "Thm. 4, fit, noise 0.3": False,
        "Thm. 4, fit to old actors' data": False,
    }


def test_theorem_4_holds_where_its_assumptions_do() -> None:
    # A replay of pi's own data; no future; a Q^pi that is linear in every action (to 1e-8).
    on_policy = named(theorems.theorem_4(TEAMS._replace(behaviour=TEAMS.theta)))
    assert on_policy["Thm. 4, replay's states"] and not on_policy["Thm. 4, fit, noise 0.3"]
    flat = TEAMS._replace(
        discount=0 * TEAMS.discount, joint=0 * TEAMS.joint, layer=1e-4 * TEAMS.layer, head=1e4 * TEAMS.head, shift=0 * TEAMS.shift
    )
    holds = named(theorems.theorem_4(flat))
    assert holds["Thm. 4, replay's objective"] and holds["Thm. 4, fit, noise 0.3"] and holds["Thm. 4, fit to old actors' data"]


def test_theorem_4_fails_without_k_and_with_half_the_slopes(monkeypatch: pytest.MonkeyPatch) -> None:
    right = theorems.equation_13
    monkeypatch.setattr(theorems, "equation_13", lambda team, states, k, slopes: right(team, states, jnp.ones_like(k), 0.5 * slopes))
    monkeypatch.setattr(theorems, "gradients_of_all", jax.jit(jax.vmap(theorems.gradients)))  # traced again
    assert not any(named(theorems.theorem_4(TEAMS)).values())


# --------------------------------------------------------------------------------------------------------- functions of actions


def sampled_waves(inputs: int = 2) -> Waves:
    rng = np.random.default_rng(3)
    return theorems.waves(rng, np.ones((4, inputs)))


def quadrature(function: Any, inputs: int, sd: float) -> tuple[float, float]:
    """Mean and variance of a function of normal inputs, by Gauss and Hermite."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    points = sd * np.stack(np.meshgrid(*[nodes] * inputs, indexing="ij"), axis=-1).reshape(-1, inputs)
    weight = np.prod(np.stack(np.meshgrid(*[weights] * inputs, indexing="ij"), axis=-1).reshape(-1, inputs), axis=1)
    weight /= weight.sum()
    found = function(points)
    return float(weight @ found), float(weight @ found**2 - (weight @ found) ** 2)


def test_gradients_are_automatic_differentiations() -> None:
    f, x = sampled_waves(3), np.random.default_rng(0).normal(size=(5, 3))

    def value(each: jax.Array) -> jax.Array:
        return jnp.asarray(f.amplitude) @ jnp.sin(jnp.asarray(f.angle) + jnp.asarray(f.frequency) @ each)

    with jax.enable_x64(True):
        expected = np.asarray(jax.vmap(jax.grad(value))(jnp.asarray(x)))
    np.testing.assert_allclose(f.gradient(x), expected, atol=1e-12)
    np.testing.assert_allclose(np.stack([f.slope(i)(x) for i in range(3)], axis=1), expected, atol=1e-12)


def test_means_and_variances_are_quadratures() -> None:
    f = sampled_waves()
    mean, variance = quadrature(f, 2, 0.7)
    assert f.mean(0.7) == pytest.approx(mean) and f.variance(0.7) == pytest.approx(variance)
    # E[f | x_1] has the same mean, and what is left over has nothing to do with x_1.
    given = f.given(0, 0.7)
    rest_mean, rest = quadrature(lambda x: f(x) - given(x), 2, 0.7)
    assert rest_mean == pytest.approx(0, abs=1e-12)
    assert given.variance(0.7) + rest == pytest.approx(variance)


def test_the_variance_of_one_sine_by_hand() -> None:
    # E[sin^2 x] = (1 - exp(-2)) / 2 for x ~ N(0, 1).
    assert single(1.0, 0.0, 1.0).variance(1.0) == pytest.approx((1 - np.exp(-2)) / 2)


# ------------------------------------------------------------------------------------------------------- Lemma 3 and Theorem 5


def test_lemma_3_holds_at_one_action_and_not_with_every_f_or_at_every_action() -> None:
    assert named(theorems.lemma_3(PLACES)) == {"Lemma 3": True, "Lemma 3, proof's K": False, "Lemma 3, all a at once": False}


def test_lemma_3s_other_claims_hold_for_fs_of_the_right_sign_and_decomposed_values() -> None:
    turned = [
        dataclasses.replace(
            p, f=tuple(f.scaled(np.sign(theorems.scale(p, f))) for f in p.f), q=theorems.decomposed(np.random.default_rng(i), p.n)
        )
        for i, p in enumerate(PLACES)
    ]
    again = [dataclasses.replace(p, f=tuple(f.scaled(np.sign(theorems.scale(p, f))) for f in p.f)) for p in turned]
    assert all(named(theorems.lemma_3(again)).values())


def test_lemma_3_fails_with_another_k_or_with_one_tuple(monkeypatch: pytest.MonkeyPatch) -> None:
    alike = [dataclasses.replace(p, f=(p.f[0], p.f[0])) for p in PLACES]
    assert not named(theorems.lemma_3(alike))["Lemma 3"]
    right = theorems.scale
    monkeypatch.setattr(theorems, "scale", lambda p, f: 1.01 * right(p, f))
    assert not named(theorems.lemma_3(PLACES))["Lemma 3"]


def test_theorem_5_holds_for_fits_that_are_as_flat_as_q() -> None:
    assert named(theorems.theorem_5(PLACES)) == {
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
    return Place(q=single(1.0, 0.0, 1.0, 0.0), f=(single(1.0, 0.5, 1.0, 0.0),), box=corners)


def test_errors_by_hand() -> None:
    # dQ/da = (1, 0), L = 1; at (0.1, ...) the tangent is 0.1 and Q^pi sin 0.1. With the kink, two agents' 0.1^1.5 are missed besides.
    p = by_hand()
    assert p.lipschitz(0.1) == pytest.approx(1)
    np.testing.assert_allclose(theorems.tangent_errors(p, 0.1), 0.1 - np.sin(0.1))
    np.testing.assert_allclose(np.sort(theorems.kinked_errors(p, 0.1))[[0, -1]], 2 * 0.1**1.5 + np.array([-1, 1]) * (0.1 - np.sin(0.1)))
    assert theorems.share_of_bound(p, theorems.tangent_errors, p.n) == pytest.approx((0.1 - np.sin(0.1)) / (2 * 2 * 0.1))
    # f = sin(0.5 + a_1): steepest 1, so K = L = 1.
    assert theorems.bounded_errors(p, 0.1)[0] == pytest.approx(np.sin(0.1) - (np.sin(0.6) - np.sin(0.5)))
    # K = 0 / sin 0.5, since Q^pi is 0 at pi(tau).
    np.testing.assert_allclose(theorems.arbitrary_errors(p, 0.1), np.sin(0.1))


def test_one_agents_lipschitz_constant_is_enough_if_one_agent_matters() -> None:
    assert theorems.one_agents_lipschitz([by_hand()]).holds


def test_theorem_5_fails_for_fits_that_are_too_steep(monkeypatch: pytest.MonkeyPatch) -> None:
    def steeper(fit: theorems.Fit) -> theorems.Fit:
        return lambda p, delta: fit(p, delta) + 3 * p.n * p.lipschitz(delta) * np.abs(delta * p.box).max(axis=1)

    monkeypatch.setattr(theorems, "bounded_errors", steeper(theorems.bounded_errors))
    monkeypatch.setattr(theorems, "tangent_errors", steeper(theorems.tangent_errors))
    assert not any(named(theorems.theorem_5(PLACES)).values())


def test_the_first_order_fit_fails_with_a_wrong_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Waves.gradient
    monkeypatch.setattr(Waves, "gradient", lambda self, x: (200 if len(x) == 1 else 1) * right(self, x))  # at pi(tau) only
    assert not theorems.bound_claim(PLACES, theorems.tangent_errors, "", "").holds


def test_the_proofs_fit_fails_if_its_slopes_exceed_l() -> None:
    assert theorems.bound_claim(PLACES, theorems.bounded_errors, "", "").holds
    assert not theorems.bound_claim(PLACES, lambda p, delta: theorems.bounded_errors(p, delta, 50), "", "").holds


def test_arbitrary_functions_that_are_flat_keep_the_bound() -> None:
    # f_i near 1 with slopes of 1e-3: K is about Q^pi / n, so Q_tot^phi hardly moves.
    flat = [
        dataclasses.replace(p, f=(Waves(amplitude=np.ones(p.n), angle=np.full(p.n, np.pi / 2), frequency=1e-3 * np.eye(p.n)),))
        for p in PLACES
    ]
    assert theorems.bound_claim(flat, theorems.arbitrary_errors, "", "").holds


def test_a_constant_fit_is_of_first_order() -> None:
    claim = theorems.order_claim(PLACES, lambda p, delta: np.abs(p.value - p.q(delta * p.box)), "", "")
    assert not claim.holds and claim.measured.startswith(("as delta^0.9", "as delta^1.0"))


def test_a_kink_that_is_smooth_is_of_second_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theorems, "KINK", 2.0)
    corner = [by_hand()]
    assert theorems.order_claim(corner, theorems.kinked_errors, "", "").holds


# ------------------------------------------------------------------------------------------------------------------- App. D.2


def test_gumbel_softmax_samples_are_decided_but_not_the_same() -> None:
    one_sample, fixed = theorems.appendix_d2(0, 20)
    assert one_sample.holds and not fixed.holds


def test_the_largest_entry_is_a_sample_of_the_policy() -> None:
    logits = np.array([[1.0, 0.0, -1.0]])
    noise = np.random.default_rng(0).gumbel(size=(20_000, 1, 3))
    found = theorems.relaxed_actions(logits, 1e-6, noise).mean(axis=(0, 1))
    np.testing.assert_allclose(found, np.exp(logits[0]) / np.exp(logits[0]).sum(), atol=0.01)


def test_app_d2_holds_without_noise_and_fails_at_a_high_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    right = theorems.relaxed_actions
    monkeypatch.setattr(theorems, "relaxed_actions", lambda logits, temperature, noise: right(logits, temperature, 0 * noise))
    assert all(claim.holds for claim in theorems.appendix_d2(0, 20))
    monkeypatch.setattr(theorems, "relaxed_actions", lambda logits, temperature, noise: right(logits, 1.0, noise))
    assert not any(claim.holds for claim in theorems.appendix_d2(0, 20))


# ----------------------------------------------------------------------------------------------------------------- Theorem 6


@pytest.mark.parametrize(
    ("setting", "holds"),
    [
        ("as stated", False),
        ("proof's X_j, i.i.d.", True),
        ("proof's X_j, in cancelling pairs", False),
        ("proof's X_j, X_j = X / 2^j", False),
        ("joint critic, all agents alike", True),
        ("joint critic, ring", False),
        ("joint critic, pairs", False),
    ],
)
def test_theorem_6s_settings(setting: str, holds: bool) -> None:
    assert theorems.ratio_claim(0, setting, 10).holds == holds


def test_every_setting_is_tested() -> None:
    assert len(theorems.SETTINGS) == 7


def test_ratios_by_hand() -> None:
    # n i.i.d. terms have n times the variance; pairs leave one or none over; 1 + 1/4 + 1/16.
    assert theorems.variance_ratio(0, "proof's X_j, i.i.d.", 7, 2) == pytest.approx(7)
    assert theorems.variance_ratio(0, "proof's X_j, in cancelling pairs", 7, 2) == pytest.approx(1)
    assert theorems.variance_ratio(0, "proof's X_j, in cancelling pairs", 8, 2) == pytest.approx(2)
    assert theorems.variance_ratio(0, "proof's X_j, X_j = X / 2^j", 3, 2) == pytest.approx(1 + 1 / 4 + 1 / 16)


def test_a_linear_critics_gradient_is_its_own_terms_at_every_action() -> None:
    g1, g2 = theorems.of_one_critic(np.random.default_rng(0), 4)
    x = np.random.default_rng(1).normal(size=(50, 4))
    np.testing.assert_allclose(g1(x), g2(x), atol=1e-12)
    joint = theorems.with_fit(theorems.dense)(np.random.default_rng(0), 4)
    assert np.abs(joint.g1(x) - joint.g2(x)).max() > 0.1


def with_pair(monkeypatch: pytest.MonkeyPatch, setting: str, pair: Any) -> bool:
    """The verdict of a setting whose g_1 and g_2 are replaced."""
    monkeypatch.setitem(theorems.SETTINGS, setting, Setting(pair=pair, draws=12))
    return theorems.ratio_claim(0, setting, 10).holds


def test_theorem_6_as_stated_would_hold_for_a_joint_critic(monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_pair(monkeypatch, "as stated", theorems.with_fit(theorems.dense))


def test_the_proofs_sums_fail_if_only_one_term_is_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_one(rng: np.random.Generator, n: int) -> Pair:
        x = theorems.decomposed(rng, 1)
        return Pair(x, x)

    assert not with_pair(monkeypatch, "proof's X_j, i.i.d.", only_one)


def test_cases_that_fail_hold_once_their_terms_are_independent_and_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Waves, "scaled", lambda self, factor: self)  # neither fading nor opposite
    assert theorems.ratio_claim(0, "proof's X_j, X_j = X / 2^j", 5).holds
    assert theorems.ratio_claim(0, "proof's X_j, in cancelling pairs", 5).holds


def test_joint_critics_that_know_few_agents_hold_no_more_once_they_know_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not with_pair(monkeypatch, "joint critic, all agents alike", theorems.with_fit(theorems.decomposed))
    assert with_pair(monkeypatch, "joint critic, ring", theorems.with_fit(theorems.dense))
    assert with_pair(monkeypatch, "joint critic, pairs", theorems.with_fit(theorems.dense))


def test_the_best_fit_has_the_mean_and_less_variance_and_others_have_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert theorems.fit_claim(0, 5).holds
    right = Waves.given
    monkeypatch.setattr(Waves, "given", lambda self, i, noise: right(self, i, 0 * noise))  # as if the others had no noise
    assert not theorems.fit_claim(0, 5).holds


def test_without_noise_of_its_own_equation_13_does_not_vary(monkeypatch: pytest.MonkeyPatch) -> None:
    assert theorems.noiseless_claim(0, 5).holds
    monkeypatch.setattr(theorems, "noiseless", lambda pair: pair)
    assert not theorems.noiseless_claim(0, 5).holds


def test_the_proofs_bound_by_hand() -> None:
    # R = 2, L = -1, v = 1: m = 0, n = 2: 4 / 2; m = 1: (4 + 3) / (2 - 12) < 0. R = 1, L = -2: 1 / (2 4), less than the ratio 1 / 2.
    assert theorems.proof_bound(np.array([2.0, -1.0]), 2, 0, 1) == pytest.approx(2)
    assert theorems.proof_bound(np.array([2.0, -1.0]), 2, 1, 1) == pytest.approx(-0.7)
    assert theorems.proof_bound(np.array([1.0, -2.0]), 2, 0, 1) == pytest.approx(1 / 8)


def test_the_proofs_bound_holds_for_one_entry_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not theorems.proof_bound_claim(0, 5).holds
    monkeypatch.setattr(theorems, "actor_slopes", lambda rng: rng.normal(size=1))
    assert theorems.proof_bound_claim(0, 5).holds


# -------------------------------------------------------------------------------------------------------------------- output


def test_what_is_found_has_every_team_and_delta_and_depends_on_the_seed() -> None:
    found = theorems.measure(0, 1)
    names = [claim.name for claim in found.claims]
    assert len(names) == len(set(names))
    assert all(len(each) == 19 for each in [*found.ratios.values(), *found.shares.values()])
    assert all(len(each) == len(theorems.DELTAS) for each in found.errors.values())
    assert theorems.fit_claim(0, 2) == theorems.fit_claim(0, 2) != theorems.fit_claim(1, 2)
