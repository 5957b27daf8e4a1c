"""The random problems of all claims about stochastic DOP except Theorem 3, with policies, critics and exact values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dop.paper.theorems.claims import DISCOUNT
from dop.paper.theorems.stochastic import tabular
from dop.paper.theorems.stochastic.gradients import Gradient, finite_differences
from dop.paper.theorems.stochastic.tabular import Critic, JointTable, Policy, Problem


@dataclass(frozen=True, kw_only=True)
class Case:
    """A random problem with policies and critics."""

    problem: Problem
    policy: Policy
    """pi."""
    behaviour: Policy
    """beta."""
    critic: Critic
    """A random linear critic, independent of the problem."""
    correlated: JointTable
    """A distribution over joint actions that is not a product of agents' policies."""

    @cached_property
    def q(self) -> JointTable:
        return tabular.action_values(self.problem, self.policy)

    @cached_property
    def pi(self) -> JointTable:
        return tabular.joint_policy(self.policy)

    @cached_property
    def beta(self) -> JointTable:
        return tabular.joint_policy(self.behaviour)

    @cached_property
    def gradient(self) -> Gradient:
        """The gradient of J at pi, by finite differences."""
        return finite_differences(lambda policy: tabular.objective(self.problem, policy), self.policy)

    def fitted(self, weights: JointTable) -> Critic:
        """The linear critic of Q^pi under these weights, with random k_i > 0."""
        return tabular.fit(self.q, weights, self.critic.k, self.problem.actions)


def draw_cases(seed: int, count: int) -> list[Case]:
    """Problems of 3 states, 3 actions and alternately 2 and 3 agents. Case i does not depend on `count`."""
    cases = []
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        problem = tabular.random_problem(rng, states=3, agents=2 + index % 2, actions=3, discount=DISCOUNT)
        cases.append(
            Case(
                problem=problem,
                policy=tabular.random_policy(rng, problem),
                behaviour=tabular.random_policy(rng, problem),
                critic=tabular.random_critic(rng, problem),
                correlated=rng.dirichlet(np.ones(problem.reward.shape[1]), size=len(problem.start)),
            )
        )
    return cases
