"""Proposition 1: the operators against the library's targets and the textbook, and that every claim can fail."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop import returns
from dop.paper.theorems.stochastic import proposition_1, tabular
from dop.paper.theorems.stochastic.cases import Case, draw_cases

CASES = draw_cases(0, 8)


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
    operator = proposition_1.tree_backup(problem, case.policy, case.behaviour, lambda_, 2)
    np.testing.assert_allclose(operator(q), found, rtol=1e-4, atol=1e-4)


def test_td_lambda_is_one_step_at_0_and_q_pi_at_1() -> None:
    case = small_case()
    q = np.random.default_rng(1).normal(size=(2, 4))
    one_step = case.problem.reward + case.problem.discount * case.problem.transition @ (case.pi * q).sum(axis=1)
    np.testing.assert_allclose(proposition_1.td_lambda(case.problem, case.policy, 0)(q), one_step)
    np.testing.assert_allclose(proposition_1.td_lambda(case.problem, case.policy, 1)(q), case.q)
    np.testing.assert_allclose(proposition_1.tree_backup(case.problem, case.policy, case.behaviour, 0.8, 1)(q), one_step)


@pytest.mark.parametrize("lambda_", [0, 0.5, 0.8])
def test_td_lambdas_factor_is_the_textbooks(lambda_: float) -> None:
    case, gamma = small_case(), 0.9
    assert proposition_1.td_lambda(case.problem, case.policy, lambda_).factor == pytest.approx(
        gamma * (1 - lambda_) / (1 - gamma * lambda_)
    )


def test_proposition_1_holds_in_tables_and_not_for_every_sample_or_linear_critics() -> None:
    assert proposition_1.table_claim(CASES).holds
    assert not proposition_1.trajectory_claim(CASES).holds
    assert not proposition_1.linear_claim(CASES, 0).holds
    assert not proposition_1.linear_claim(CASES, 0.5).holds


def test_proposition_1_holds_where_its_assumptions_do() -> None:
    still = np.zeros_like(CASES[0].problem.transition)
    still[..., 0] = 1
    deterministic = dataclasses.replace(CASES[0], problem=dataclasses.replace(CASES[0].problem, transition=still))
    linear = [dataclasses.replace(c, problem=tabular.with_values(c.problem, c.policy, c.critic)) for c in CASES]
    assert proposition_1.trajectory_claim([deterministic]).holds
    assert proposition_1.linear_claim(linear, 0.5).holds


def test_proposition_1_fails_with_traces_of_another_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    right = proposition_1.tree_backup
    monkeypatch.setattr(proposition_1, "tree_backup", lambda problem, pi, beta, lambda_, steps: right(problem, beta, beta, lambda_, steps))
    assert not proposition_1.table_claim(CASES).holds


def test_proposition_1_fails_if_it_expands(monkeypatch: pytest.MonkeyPatch) -> None:
    right = proposition_1.tree_backup
    monkeypatch.setattr(proposition_1, "tree_backup", lambda problem, pi, beta, lambda_, steps: right(problem, pi, beta, 5.0, steps))
    claim = proposition_1.table_claim(CASES)
    assert not claim.holds and "e-1" in claim.measured.split(";")[0]


def test_tree_backup_contracts_by_gamma_with_short_traces_only() -> None:
    assert proposition_1.traces_claim(CASES, 1).holds
    too_long = proposition_1.traces_claim(CASES, 10)
    assert not too_long.holds and "0.9000 (k 1)" in too_long.measured


def test_on_policy_the_linear_critics_fixed_point_is_the_least_squares_fit() -> None:
    case = CASES[0]
    q, radius = proposition_1.linear_fixed_point(case, 0)
    np.testing.assert_allclose(q, case.fitted(case.pi).total, atol=1e-9)
    assert radius < 1
