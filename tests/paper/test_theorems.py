"""The theorems: hand-worked checks, the library's own functions against the tables, and that every claim can fail."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop import losses, returns
from dop.errors import ConfigError
from dop.paper import tabular, theorems
from dop.paper.tabular import Problem
from dop.paper.theorems import Agent, Case, Claim

CASES = theorems.draw(0, 8)


def named(claims: list[Claim]) -> dict[str, bool]:
    return {claim.name: claim.holds for claim in claims}


# ---------------------------------------------------------------------------------------------------------------- the cases


def test_a_case_depends_on_its_seed_and_number_only() -> None:
    again, other = theorems.draw(0, 3), theorems.draw(1, 3)
    np.testing.assert_array_equal(again[2].policy, CASES[2].policy)
    assert not np.array_equal(other[2].policy, CASES[2].policy)


# -------------------------------------------------------------------------------------------------------------------- Eq. 16


def test_equation_16_holds_and_is_what_the_library_computes() -> None:
    case = CASES[1]
    found = jax.vmap(returns.expected_q, in_axes=(0, 0, 1, 1))(
        *(jnp.asarray(x) for x in (case.critic.k, case.critic.b, case.policy, case.critic.q))
    )
    np.testing.assert_allclose(found, theorems.decomposed_expectation(case.policy, case.critic), rtol=1e-5, atol=1e-5)
    assert theorems.equation_16(CASES).holds
    assert theorems.equation_16_correlated(CASES).holds


def test_equation_16_fails_without_the_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theorems, "decomposed_expectation", lambda policy, critic: (policy * critic.credit).sum(axis=(0, 2)))
    assert not theorems.equation_16(CASES).holds
    assert not theorems.equation_16_correlated(CASES).holds


# ------------------------------------------------------------------------------------------------------------- Proposition 1


def small_case(seed: int = 0) -> Case:
    rng = np.random.default_rng(seed)
    problem = tabular.random_problem(rng, states=2, agents=2, actions=2, discount=0.9)
    return Case(
        problem=problem,
        policy=tabular.random_policy(rng, problem),
        behaviour=tabular.random_policy(rng, problem),
        critic=tabular.random_critic(rng, problem),
        correlated=np.full((2, 4), 0.25),
    )


def test_the_tree_backup_operator_is_the_expectation_of_the_librarys_targets() -> None:
    # All trajectories s0 a0 s1 a1 s2 from a given (s0, a0): 2 x 4 x 2 of them, weighted by P and beta; k = 2.
    case, lambda_ = small_case(), 0.7
    problem, q = case.problem, np.random.default_rng(1).normal(size=(2, 4))
    expected_q = (case.pi * q).sum(axis=1)
    rows = list(itertools.product(range(2), range(4), range(2), range(4), range(2)))
    s0, a0, s1, a1, s2 = np.array(rows).T
    taken = np.stack([q[s0, a0], q[s1, a1]], axis=1)
    reward = np.stack([problem.reward[s0, a0], problem.reward[s1, a1]], axis=1)
    expected = np.stack([expected_q[s1], expected_q[s2]], axis=1)
    trace = lambda_ * np.stack([case.pi[s0, a0], case.pi[s1, a1]], axis=1)
    targets = jax.vmap(lambda r, d, taken, e, c: returns.tree_backup(r, d, taken, e, c, steps=2)[0])(
        *(jnp.asarray(x) for x in (reward, np.full_like(reward, problem.discount), taken, expected, trace))
    )
    weight = problem.transition[s0, a0, s1] * case.beta[s1, a1] * problem.transition[s1, a1, s2]
    found = np.zeros((2, 4))
    np.add.at(found, (s0, a0), weight * np.asarray(targets))
    operator = theorems.tree_backup(problem, case.policy, case.behaviour, lambda_, 2)
    np.testing.assert_allclose(operator(q), found, rtol=1e-4, atol=1e-4)


def test_td_lambda_is_one_step_at_0_and_q_pi_at_1() -> None:
    case = small_case()
    q = np.random.default_rng(1).normal(size=(2, 4))
    one_step = case.problem.reward + case.problem.discount * case.problem.transition @ (case.pi * q).sum(axis=1)
    np.testing.assert_allclose(theorems.td_lambda(case.problem, case.policy, 0)(q), one_step)
    np.testing.assert_allclose(theorems.td_lambda(case.problem, case.policy, 1)(q), case.q)
    np.testing.assert_allclose(theorems.tree_backup(case.problem, case.policy, case.behaviour, 0.8, 1)(q), one_step)


@pytest.mark.parametrize("lambda_", [0, 0.5, 0.8])
def test_td_lambdas_factor_is_the_textbooks(lambda_: float) -> None:
    case, gamma = small_case(), 0.9
    assert theorems.td_lambda(case.problem, case.policy, lambda_).factor == pytest.approx(gamma * (1 - lambda_) / (1 - gamma * lambda_))


def test_proposition_1_holds_in_tables_and_not_for_every_sample_or_linear_critics() -> None:
    assert theorems.proposition_1(CASES).holds
    assert not theorems.proposition_1_sampled(CASES).holds
    assert not theorems.linear_proposition_1(CASES, 0).holds
    assert not theorems.linear_proposition_1(CASES, 0.5).holds


def test_proposition_1_holds_where_its_assumptions_do() -> None:
    still = np.zeros_like(CASES[0].problem.transition)
    still[..., 0] = 1
    deterministic = dataclasses.replace(CASES[0], problem=dataclasses.replace(CASES[0].problem, transition=still))
    linear = [dataclasses.replace(c, problem=tabular.with_values(c.problem, c.policy, c.critic)) for c in CASES]
    assert theorems.proposition_1_sampled([deterministic]).holds
    assert theorems.linear_proposition_1(linear, 0.5).holds


def test_proposition_1_fails_with_traces_of_another_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    right = theorems.tree_backup
    monkeypatch.setattr(theorems, "tree_backup", lambda problem, pi, beta, lambda_, steps: right(problem, beta, beta, lambda_, steps))
    assert not theorems.proposition_1(CASES).holds


def test_proposition_1_fails_if_it_expands(monkeypatch: pytest.MonkeyPatch) -> None:
    right = theorems.tree_backup
    monkeypatch.setattr(theorems, "tree_backup", lambda problem, pi, beta, lambda_, steps: right(problem, pi, beta, 5.0, steps))
    claim = theorems.proposition_1(CASES)
    assert not claim.holds and "e-1" in claim.measured.split(";")[0]


def test_tree_backup_contracts_by_gamma_with_short_traces_only() -> None:
    assert theorems.proposition_1_traces(CASES, 1).holds
    too_long = theorems.proposition_1_traces(CASES, 10)
    assert not too_long.holds and "0.9000 (k 1)" in too_long.measured


def test_on_policy_the_linear_critic_comes_to_rest_at_the_least_squares_fit() -> None:
    case = CASES[0]
    q, radius = theorems.linear_fixed_point(case, 0)
    np.testing.assert_allclose(q, case.fitted(case.pi).total, atol=1e-9)
    assert radius < 1


# ------------------------------------------------------------------------------------------------------------- Proposition 2


def test_pairs_in_order_by_hand() -> None:
    # Of the pairs (1, 2), (1, 3) and (2, 3) the last is turned round.
    assert theorems.pairs_in_order(np.array([[[0.0, 1.0, 2.0]]]), np.array([[[0.0, 9.0, 5.0]]])) == (2, 3)


def test_who_learns_nothing_orders_nothing() -> None:
    """With k_1 = 0 the fit of Q_1 is 0 but for rounding, whose signs are no order; the other agents' pairs all hold."""
    for case in CASES:
        reference, learned = tabular.marginal_q(case.policy, case.q), theorems.without_first_agent(case)
        assert theorems.pairs_in_order(reference[:1], learned[:1])[0] == 0
        kept, pairs = theorems.pairs_in_order(reference[1:], learned[1:])
        assert kept == pairs


def test_proposition_2_holds_on_policy_only() -> None:
    holds = named(theorems.proposition_2(CASES, CASES))
    assert holds.pop("Prop. 2") and holds.pop("Prop. 2, TD(lambda) on policy")
    holds.pop("Prop. 2, the same, beta near pi")  # too few cases here to tell
    assert len(holds) == 4 and not any(holds.values())


def test_a_fit_with_the_wrong_sign_fails_proposition_2() -> None:
    claim = theorems.order_claim(CASES, lambda c: -c.fitted(c.pi).q, "", "", assumptions=True)
    assert not claim.holds and claim.measured.startswith("0 of")


# ----------------------------------------------------------------------------------------------------------- Theorems 1 and 7


def test_the_aristocrat_utility_is_the_librarys() -> None:
    case = CASES[1]
    policy, q = (jnp.asarray(x.swapaxes(0, 1)) for x in (case.policy, case.critic.q))
    found = losses.aristocrat_utility(policy, q, jnp.asarray(case.critic.k))
    picks = tabular.chosen(case.problem.agents, case.problem.actions)
    expected = np.einsum("sia,ija->isj", np.asarray(found), picks)
    np.testing.assert_allclose(theorems.aristocrat(case.policy, case.critic), expected, rtol=1e-4, atol=1e-5)


def test_differences_of_a_known_function() -> None:
    # J = sum of p_1 over agents and states: the gradient of a softmax, p_1 ([a = 1] - p_a).
    policy = CASES[0].policy
    expected = policy[..., :1] * (np.eye(3)[0] - policy)
    np.testing.assert_allclose(theorems.differences(lambda p: float(p[..., 0].sum()), policy), expected, atol=1e-9)


def test_theorem_1_holds_for_linear_values_and_for_the_on_policy_fit() -> None:
    holds = named(theorems.theorem_1(CASES[:4]))
    assert holds == {
        "Thm. 1, aristocrat utility": True,
        "Thm. 1, Q^pi linear": True,
        "Thm. 1, on-policy fit": True,
        "Thm. 1, fit under beta": False,
        "Thm. 1, steps weighted alike": False,
    }


def test_theorem_1_fails_without_k_or_with_another_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theorems, "aristocrat", lambda policy, critic: theorems.own_credit(critic) ** 2)
    assert not theorems.theorem_1_identity(CASES[:2]).holds
    monkeypatch.setattr(tabular.Critic, "credit", property(lambda self: self.q))
    assert not theorems.gradient_claim(CASES[:2], lambda c: c.fitted(c.pi), "", "", assumptions=True).holds


def test_theorem_7_has_the_formulas_expectation_but_is_not_the_gradient() -> None:
    holds = named(theorems.theorem_7(CASES[:4]))
    assert holds.pop("Thm. 7, expectation")
    assert len(holds) == 3 and not any(holds.values())


def test_theorem_7_is_the_gradient_without_a_future_and_the_cut_harmless_on_policy() -> None:
    myopic = [dataclasses.replace(c, problem=dataclasses.replace(c.problem, discount=0.0)) for c in CASES[:2]]
    assert named(theorems.theorem_7(myopic))["Thm. 7, gradient of J"]
    on_policy = [dataclasses.replace(c, behaviour=c.policy) for c in CASES[:2]]
    holds = named(theorems.theorem_7(on_policy))
    assert holds["Thm. 7, as grad J of pi"] and holds["Thm. 7, ratio cut at 1"]


def test_theorem_7_fails_with_pis_states(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(case: Case, critic: tabular.Critic, largest_ratio: float = np.inf) -> np.ndarray:
        data = tabular.occupancy(case.problem, case.policy)[:, None] * np.minimum(case.pi, largest_ratio)
        return theorems.score_gradient(case.policy, data, theorems.own_credit(critic))

    monkeypatch.setattr(theorems, "behaviour_expectation", wrong)
    assert not named(theorems.theorem_7(CASES[:2]))["Thm. 7, expectation"]


# ----------------------------------------------------------------------------------------------------------------- Theorem 2


def test_projection_to_the_simplex_by_hand() -> None:
    found = theorems.to_simplex(np.array([[[0.2, 0.3, 0.5], [0.5, 0.5, 3.0], [1.0, 0.8, -5.0]]]))
    np.testing.assert_allclose(found, [[[0.2, 0.3, 0.5], [0, 0, 1], [0.6, 0.4, 0]]], atol=1e-12)


def test_the_update_keeps_probabilities_and_moves_none_by_more_than_the_step() -> None:
    case = CASES[0]
    towards = theorems.direction(tabular.occupancy(case.problem, case.policy), case.fitted(case.pi))
    np.testing.assert_allclose(towards.sum(axis=-1), 0, atol=1e-12)
    assert np.abs(towards).max() == pytest.approx(1)


def test_theorem_2_holds_for_small_steps_only() -> None:
    cases = theorems.draw(0, 60)
    holds = named(theorems.theorem_2(cases, theorems.changes(cases)))
    assert holds["Thm. 2"] and holds["Thm. 2, states not told apart"]
    assert not holds["Thm. 2, large steps"] and not holds["Thm. 2, critic of beta's data"] and not holds["Thm. 2, ties (3 step sizes)"]


def test_softmax_policies_improve_out_of_order() -> None:
    holds = named(theorems.softmax_claims(CASES))
    assert holds == {"Thm. 2, softmax, MONOTONE": False, "Thm. 2, softmax": True}


def test_softmax_policies_that_are_uniform_rise_in_order() -> None:
    uniform = [dataclasses.replace(c, policy=np.full_like(c.policy, 1 / 3)) for c in CASES]
    assert named(theorems.softmax_claims(uniform))["Thm. 2, softmax, MONOTONE"]


def test_softmax_policies_fall_downhill(monkeypatch: pytest.MonkeyPatch) -> None:
    right = theorems.decomposed_gradient
    monkeypatch.setattr(theorems, "decomposed_gradient", lambda *args: -right(*args))
    assert not any(named(theorems.softmax_claims(CASES)).values())


def test_theorem_2_fails_uphill_turned_downhill(monkeypatch: pytest.MonkeyPatch) -> None:
    right = theorems.direction
    monkeypatch.setattr(theorems, "direction", lambda *args, **kwargs: -right(*args, **kwargs))
    assert not theorems.never_falls(list(theorems.changes(CASES)[6]), "", "", assumptions=True).holds


def test_at_a_tie_j_falls_by_twice_the_square_of_the_step() -> None:
    # pi_1 = (1/2 + d, 1/2 - d), pi_2 = (1/2 - d, 1/2 + d): J = 2 (1/2 + d)(1/2 - d) = 1/2 - 2 d^2.
    np.testing.assert_allclose(theorems.tie_changes(0.1, 0.01), [-0.02, -0.0002])


# ----------------------------------------------------------------------------------------------------------------- Theorem 3


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
    agent = theorems.random_agent(np.random.default_rng(0), mean=mean)
    assert theorems.identical(agent, n) == pytest.approx(enumerated_ratio(agent, n))


def test_the_ratio_by_hand() -> None:
    # Two even actions with X = 1 and -1: the score of the first logit is 1/2, -1/2, so score x X = 1/2 always: Var(g2) = 0. With policy
    # (1/2, 1/4, 1/4) and X = (1, -1, -1): of the first logit, score (1/2, -1/2, -1/2), g2 = 1/2, variance 0; of each other, score
    # (-1/4, 3/4, -1/4), g2 = (-1/4, -3/4, 1/4): mean -1/4, mean square 1/32 + 9/64 + 1/64 = 3/16, variance 1/8. Sum 1/4.
    # One more such agent, mean 0 and variance 1, adds E[score^2] = 1/4 + 3/16 + 3/16 = 5/8. Ratio (1/4 + 5/8) / (1/4) = 3.5.
    agent = Agent(policy=np.array([0.5, 0.25, 0.25]), x=np.array([1.0, -1.0, -1.0]))
    assert theorems.identical(agent, 2) == pytest.approx(3.5)
    assert theorems.identical(agent, 3) == pytest.approx(6.0)


def test_theorem_3_holds_for_identical_agents_only() -> None:
    holds = named(theorems.theorem_3(0, 10))
    assert holds["Thm. 3, i.i.d., mean 0"] and holds["Thm. 3, i.i.d., mean 1"]
    assert not holds["Thm. 3, dependent, in cancelling pairs"] and not holds["Thm. 3, independent, X_j = X / 2^j"]
    assert not holds["Thm. 3, proof's bound, mean 1"]


def test_the_proofs_bound_is_none_for_an_agent_that_has_nearly_decided() -> None:
    # pi = (0.9, 0.1), X = (1/3, -3), of mean 0 and variance 1. Either logit's |score| is 0.1 or 0.9, so R / L is 1/9 for the first: the
    # bound is 1/81 / n. g2 = (1/30, 2.7) has variance 0.09 (2.7 - 1/30)^2 = 0.64; another agent adds E[score^2] = 0.09.
    agent = Agent(policy=np.array([0.9, 0.1]), x=np.array([1 / 3, -3.0]))
    assert agent.variance == pytest.approx(1)
    assert theorems.gradient_variance(agent, 0, 0)[0] == pytest.approx(0.64)
    assert theorems.gradient_variance(agent, 0, 1)[0] == pytest.approx(0.73)
    assert theorems.proof_bound(agent, 2)[0] == pytest.approx(1 / 162)
    assert not theorems.bound_claim("i.i.d., mean 0", [agent]).holds


def test_the_proofs_bound_can_hold() -> None:
    # pi = (1/2, 1/4, 1/4), X = (1, -1, -1), n = 2: ratios 0, 2/5 and 2/5 (above), bounds (1/2)^2 / (2 (1/2)^2) and (3/4)^2 / (2 (1/4)^2).
    agent = Agent(policy=np.array([0.5, 0.25, 0.25]), x=np.array([1.0, -1.0, -1.0]))
    np.testing.assert_allclose(theorems.proof_bound(agent, 2), [0.5, 4.5, 4.5])
    assert theorems.bound_claim("i.i.d., mean 0", [agent]).holds


def test_cancelling_pairs_leave_one_agent_or_none() -> None:
    agent = theorems.agents_of(0, "dependent, in cancelling pairs", 1)[0]
    assert agent.mean == pytest.approx(0)
    assert theorems.cancelling(agent, 3) == pytest.approx(1)
    assert theorems.cancelling(agent, 20) == pytest.approx(theorems.identical(agent, 2))


def test_fading_agents_are_fewer_than_two() -> None:
    # 1/4 + 1/16 + ... = 1/3 of one more agent's variance.
    agent = theorems.agents_of(0, "independent, X_j = X / 2^j", 1)[0]
    assert theorems.fading(agent, 40) == pytest.approx(theorems.variance_ratio(agent, 0, 1 / 3))


# -------------------------------------------------------------------------------------------------------------------- output


def test_reproduce_writes_what_it_says(tmp_path: Path) -> None:
    said: list[str] = []
    theorems.reproduce(theorems.Options(problems=10, out=tmp_path), said.append)
    data = json.loads((tmp_path / "theorems.json").read_text(encoding="utf-8"))
    assert {path.name for path in tmp_path.iterdir()} == {"table.txt", "theorems.json", "theorems.png"}
    assert (tmp_path / "table.txt").read_text(encoding="utf-8") == said[0] + "\n"
    assert all(claim["name"] in said[0] and claim["measured"] in said[0] for claim in data["claims"])
    assert len(data["theorem_2"]["falls"]) == len(theorems.STEP_SIZES)


def test_the_same_seed_finds_the_same() -> None:
    first, again, other = (theorems.draw(seed, 4) for seed in (0, 0, 1))
    assert theorems.theorem_1(first) == theorems.theorem_1(again) != theorems.theorem_1(other)
    assert theorems.theorem_3(0, 4) == theorems.theorem_3(0, 4) != theorems.theorem_3(1, 4)


def test_the_table_tells_a_failure_and_what_lies_beyond_the_proof() -> None:
    claim = Claim(name="n", claim="c", measured="m", holds=False, assumptions=False)
    assert theorems.as_table([claim]).splitlines()[2].endswith("  FAILS (beyond the proof)")
    assert dataclasses.replace(claim, holds=True, assumptions=True).verdict == "holds"


def test_no_problems_are_refused() -> None:
    with pytest.raises(ConfigError, match="problems must be positive, got 0"):
        theorems.Options(problems=0)


def test_a_problem_is_what_its_record_says() -> None:
    problem: Problem = CASES[1].problem
    assert problem.reward.shape == (3, problem.actions**problem.agents)
    np.testing.assert_allclose(problem.transition.sum(axis=-1), 1)
