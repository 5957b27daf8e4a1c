"""The library's own actor losses, summed over all outcomes, against the gradients of Theorems 1 and 7."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Float

from dop import losses
from dop.paper.theorems.stochastic import tabular
from dop.paper.theorems.stochastic.gradients import Gradient, decomposed_gradient, finite_differences
from dop.paper.theorems.stochastic.tabular import Critic, JointTable, Policy, Problem


class Case(NamedTuple):
    """A problem whose Q^pi is linear, with that Q^pi as critic."""

    problem: Problem
    policy: Policy
    behaviour: Policy
    critic: Critic


def make_case(seed: int = 0, *, states: int = 2, agents: int = 2, actions: int = 3) -> Case:
    rng = np.random.default_rng(seed)
    problem = tabular.random_problem(rng, states=states, agents=agents, actions=actions, discount=0.9)
    policy, behaviour = tabular.random_policy(rng, problem), tabular.random_policy(rng, problem)
    critic = tabular.random_critic(rng, problem)
    return Case(tabular.with_values(problem, policy, critic), policy, behaviour, critic)


def sampled_gradient(policy: Policy, critic: Critic, weights: JointTable, ratio: JointTable) -> Gradient:
    """sum_s,a w(s, a) times the negative logit gradient of `stochastic_dop_actor` on (s, a); every (s, a) is one step."""
    agents, n_states, actions = policy.shape
    joint = tabular.joint_actions(agents, actions)
    state = np.repeat(np.arange(n_states), len(joint))
    action = jnp.asarray(np.tile(joint, (n_states, 1)))

    def loss(logits: jax.Array) -> jax.Array:
        steps = jax.nn.softmax(logits).transpose(1, 0, 2)[state]
        q, k = jnp.asarray(critic.q.transpose(1, 0, 2)[state]), jnp.asarray(critic.k[state])
        mask, ratios = jnp.ones(len(state), bool), jnp.asarray((weights * ratio).ravel())
        return losses.stochastic_dop_actor(steps, q, k, action, mask, ratios)

    # The loss is a mean over steps and agents, the theorem a sum.
    return -np.asarray(jax.jit(jax.grad(loss))(jnp.log(policy))) * len(state) * agents


def expected_gradient(policy: Policy, critic: Critic, states: Float[np.ndarray, " state"]) -> Gradient:
    """sum_s w(s) times the negative gradient of `stochastic_dop_actor_expected` in s."""

    def loss(logits: jax.Array) -> jax.Array:
        steps = jax.nn.softmax(logits).transpose(1, 0, 2)
        q, k = jnp.asarray(critic.q.transpose(1, 0, 2)), jnp.asarray(critic.k * states[:, None])
        return losses.stochastic_dop_actor_expected(steps, q, k, jnp.ones(len(states), bool))

    return -np.asarray(jax.jit(jax.grad(loss))(jnp.log(policy))) * policy.shape[0] * policy.shape[1]


@pytest.mark.parametrize("agents", [2, 3])
def test_actor_losses_descend_the_gradient_of_j(agents: int):
    """Theorem 1 where Q_tot is Q^pi: both losses against finite differences of J."""
    case = make_case(agents=agents)
    occupancy = tabular.occupancy(case.problem, case.policy)
    pi = tabular.joint_policy(case.policy)
    exact = finite_differences(lambda each: tabular.objective(case.problem, each), case.policy)
    with jax.enable_x64(True):
        sampled = sampled_gradient(case.policy, case.critic, occupancy[:, None] * pi, np.ones_like(pi))
        expected = expected_gradient(case.policy, case.critic, occupancy)
    np.testing.assert_allclose(sampled, exact, atol=1e-7)
    np.testing.assert_allclose(expected, exact, atol=1e-7)


def test_actor_loss_of_a_critic_that_cannot_be_exact_still_descends_the_gradient_of_j():
    """Its least-squares fit under pi has E_pi_-i[Q^pi] in every Q_i, up to a constant removed by the baseline."""
    rng = np.random.default_rng(3)
    problem = tabular.random_problem(rng, states=3, agents=2, actions=3, discount=0.9)
    policy = tabular.random_policy(rng, problem)
    q, pi = tabular.action_values(problem, policy), tabular.joint_policy(policy)
    critic = tabular.fit(q, pi, np.full((3, 2), 0.5), 3)
    assert np.abs(critic.total - q).max() > 0.1
    with jax.enable_x64(True):
        found = expected_gradient(policy, critic, tabular.occupancy(problem, policy))
    np.testing.assert_allclose(found, finite_differences(lambda each: tabular.objective(problem, each), policy), atol=1e-7)


def test_the_ratio_gives_the_behaviours_data_the_expectation_of_theorem_7():
    case = make_case(1)
    data = tabular.occupancy(case.problem, case.behaviour)
    pi, beta = tabular.joint_policy(case.policy), tabular.joint_policy(case.behaviour)
    with jax.enable_x64(True):
        found = sampled_gradient(case.policy, case.critic, data[:, None] * beta, pi / beta)
        without = sampled_gradient(case.policy, case.critic, data[:, None] * beta, np.ones_like(pi))
    formula = decomposed_gradient(case.policy, data, case.critic)
    np.testing.assert_allclose(found, formula, atol=1e-12)
    assert np.abs(without - formula).max() > 0.1
