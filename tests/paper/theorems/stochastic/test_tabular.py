"""Tabular problems: hand-worked values, and brute force over trajectories."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dop.paper.theorems.stochastic import tabular
from dop.paper.theorems.stochastic.tabular import Critic, Policy, Problem


def chain() -> Problem:
    """Two agents. In state 0, equal actions have reward 1 and stay; others reward 0 and lead to state 1, with reward 2 forever."""
    return Problem(
        agents=2,
        actions=2,
        reward=np.array([[1.0, 0, 0, 1], [2, 2, 2, 2]]),
        transition=np.array([[[1.0, 0], [0, 1], [0, 1], [1, 0]], [[0, 1]] * 4]),
        start=np.array([1.0, 0]),
        discount=0.5,
    )


def uniform(problem: Problem) -> Policy:
    return np.full((problem.agents, len(problem.start), problem.actions), 1 / problem.actions)


def drawn(seed: int, agents: int = 3) -> tuple[Problem, Policy, np.random.Generator]:
    rng = np.random.default_rng(seed)
    problem = tabular.random_problem(rng, states=3, agents=agents, actions=2, discount=0.9)
    return problem, tabular.random_policy(rng, problem), rng


def test_the_last_agents_action_changes_fastest_in_actions_and_policies() -> None:
    policy = np.array([[[0.1, 0.9]], [[0.2, 0.8]]])
    assert tabular.joint_actions(2, 2).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    np.testing.assert_allclose(tabular.joint_policy(policy), [[0.02, 0.08, 0.18, 0.72]])


def test_values_by_hand() -> None:
    # V(1) = 2 / (1 - 0.5) = 4.  V(0) = 0.5 (1 + 0.5 V(0)) + 0.5 (0 + 0.5 x 4) = 1.5 + 0.25 V(0) = 2.
    problem = chain()
    np.testing.assert_allclose(tabular.values(problem, uniform(problem)), [2, 4])
    np.testing.assert_allclose(tabular.action_values(problem, uniform(problem)), [[2, 2, 2, 2], [4, 4, 4, 4]])
    assert tabular.objective(problem, uniform(problem)) == pytest.approx(2)


def test_occupancy_by_hand() -> None:
    # State 0 is left with probability 1/2: d(0) = 1 / (1 - 0.25) = 4/3, and d sums to 1 / (1 - 0.5) = 2. The stationary state is 1.
    problem = chain()
    np.testing.assert_allclose(tabular.occupancy(problem, uniform(problem)), [4 / 3, 2 / 3])
    np.testing.assert_allclose(tabular.stationary(problem, uniform(problem)), [0, 1], atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_values_satisfy_bellmans_equation_and_occupancy_gives_the_objective(seed: int) -> None:
    problem, policy, _ = drawn(seed)
    joint, q = tabular.joint_policy(policy), tabular.action_values(problem, policy)
    np.testing.assert_allclose((joint * q).sum(axis=1), tabular.values(problem, policy))
    reward = (joint * problem.reward).sum(axis=1)
    assert tabular.occupancy(problem, policy) @ reward == pytest.approx(tabular.objective(problem, policy))
    assert tabular.stationary(problem, policy) @ tabular.state_transition(problem, policy) == pytest.approx(
        tabular.stationary(problem, policy)
    )


def test_marginals_and_counterfactuals_are_the_sums_of_their_definitions() -> None:
    problem, policy, rng = drawn(0)
    q = rng.normal(size=problem.reward.shape)
    joints = tabular.joint_actions(3, 2)
    number = {tuple(joint): j for j, joint in enumerate(joints.tolist())}
    marginal, counterfactual = tabular.marginal_q(policy, q), tabular.counterfactual(policy, q)
    for i, s, a in itertools.product(range(3), range(3), range(2)):
        expected = 0.0
        for j, joint in enumerate(joints):
            if joint[i] == a:
                expected += q[s, j] * np.prod([policy[other, s, joint[other]] for other in range(3) if other != i])
        assert marginal[i, s, a] == pytest.approx(expected)
    for i, s, j in itertools.product(range(3), range(3), range(8)):
        swapped = [number[tuple(np.where(np.arange(3) == i, x, joints[j]).tolist())] for x in range(2)]
        assert counterfactual[i, s, j] == pytest.approx(sum(policy[i, s, x] * q[s, swapped[x]] for x in range(2)))


def test_a_critic_adds_up() -> None:
    critic = Critic(k=np.array([[2.0, 3.0]]), q=np.array([[[1.0, 10.0]], [[0.1, 0.2]]]), b=np.array([0.5]))
    np.testing.assert_allclose(critic.total, [[2 + 0.3 + 0.5, 2 + 0.6 + 0.5, 20 + 0.3 + 0.5, 20 + 0.6 + 0.5]])


def test_a_linear_target_is_fitted_exactly_and_a_fits_residual_is_orthogonal_to_its_features() -> None:
    problem, policy, rng = drawn(1)
    critic = tabular.random_critic(rng, problem)
    weights = tabular.joint_policy(policy)
    np.testing.assert_allclose(tabular.fit(critic.total, weights, critic.k, 2).total, critic.total)
    target = rng.normal(size=problem.reward.shape)
    fitted = tabular.fit(target, weights, critic.k, 2)
    np.testing.assert_allclose((weights * (fitted.total - target)) @ tabular.features(3, 2), 0, atol=1e-12)
    projected = np.einsum("sjl,sl->sj", tabular.projection(weights, 3, 2), target)
    np.testing.assert_allclose(projected, fitted.total, atol=1e-12)


def test_an_agent_whose_k_is_0_learns_nothing() -> None:
    problem, policy, rng = drawn(2)
    k = np.tile([0.0, 1.0, 2.0], (3, 1))
    fitted = tabular.fit(rng.normal(size=problem.reward.shape), tabular.joint_policy(policy), k, 2)
    np.testing.assert_allclose(fitted.q[0], 0, atol=1e-12)
    assert np.abs(fitted.q[1:]).min() > 0


def test_rewards_can_be_chosen_for_a_critic_to_be_the_value() -> None:
    problem, policy, rng = drawn(3)
    critic = tabular.random_critic(rng, problem)
    np.testing.assert_allclose(tabular.action_values(tabular.with_values(problem, policy, critic), policy), critic.total)


def test_random_policies_are_distributions_with_a_floor() -> None:
    _, policy, _ = drawn(4)
    np.testing.assert_allclose(policy.sum(axis=-1), 1)
    assert policy.min() >= 0.02
