"""Small tabular cooperative MDPs, where every expectation of the paper is a finite sum: float64, no sampling.

All agents see the state s (the paper's tau). A joint action is an index j; `joint_actions` lists each agent's action in it, the last
agent's changing fastest. Policies are tables pi_i(a | s), one per agent, and the joint policy is their product.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

Policy = Float[np.ndarray, "agent state action"]
JointTable = Float[np.ndarray, "state joint"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A cooperative MDP with one team reward."""

    agents: int
    actions: int
    """Actions of each agent."""
    reward: JointTable
    """r(s, a)."""
    transition: Float[np.ndarray, "state joint next"]
    """P(s' | s, a)."""
    start: Float[np.ndarray, " state"]
    """p(s_0)."""
    discount: float
    """gamma."""


@dataclass(frozen=True, kw_only=True)
class Critic:
    """Q_tot(s, a) = sum_i k_i(s) Q_i(s, a_i) + b(s) (Eq. 4)."""

    k: Float[np.ndarray, "state agent"]
    q: Float[np.ndarray, "agent state action"]
    b: Float[np.ndarray, " state"]

    @property
    def credit(self) -> Float[np.ndarray, "agent state action"]:
        """k_i(s) Q_i(s, a_i)."""
        return self.k.T[:, :, None] * self.q

    @property
    def total(self) -> JointTable:
        """Q_tot of every joint action."""
        agents, _, actions = self.q.shape
        return np.einsum("isa,ija->sj", self.credit, one_hot_actions(agents, actions)) + self.b[:, None]


# ------------------------------------------------------------------------------------------------------------------- random


def random_problem(rng: np.random.Generator, *, states: int, agents: int, actions: int, discount: float) -> Problem:
    """Normal rewards; transition and start distributions uniform on the simplex."""
    joint = actions**agents
    return Problem(
        agents=agents,
        actions=actions,
        reward=rng.normal(size=(states, joint)),
        transition=rng.dirichlet(np.ones(states), size=(states, joint)),
        start=rng.dirichlet(np.ones(states)),
        discount=discount,
    )


def random_policy(rng: np.random.Generator, problem: Problem, floor: float = 0.02) -> Policy:
    """One per agent and state. Every action has probability at least `floor`, so every joint action has data."""
    drawn = rng.dirichlet(np.ones(problem.actions), size=(problem.agents, len(problem.start)))
    return floor + (1 - floor * problem.actions) * drawn


def random_critic(rng: np.random.Generator, problem: Problem) -> Critic:
    """A linear critic that is independent of the problem's values; k_i in [0.5, 2]."""
    states = len(problem.start)
    return Critic(
        k=rng.uniform(0.5, 2, size=(states, problem.agents)),
        q=rng.normal(size=(problem.agents, states, problem.actions)),
        b=rng.normal(size=states),
    )


# -------------------------------------------------------------------------------------------------------------- enumeration


def joint_actions(agents: int, actions: int) -> Int[np.ndarray, "joint agent"]:
    """Each agent's action in each joint action."""
    return np.array(list(itertools.product(range(actions), repeat=agents)))


def one_hot_actions(agents: int, actions: int) -> Float[np.ndarray, "agent joint action"]:
    """1 if agent i's action in the joint action is a, else 0."""
    return (joint_actions(agents, actions).T[:, :, None] == np.arange(actions)).astype(float)


def joint_policy(policy: Policy) -> JointTable:
    """pi(a | s) = prod_i pi_i(a_i | s)."""
    joint = np.ones((policy.shape[1], 1))
    for each in policy:
        joint = (joint[:, :, None] * each[:, None, :]).reshape(len(joint), joint.shape[1] * each.shape[1])
    return joint


def marginal_q(policy: Policy, q: JointTable) -> Float[np.ndarray, "agent state action"]:
    """Q_i(s, a_i) = sum_{a_-i} pi_-i(a_-i | s) Q(s, a) (App. C)."""
    agents, _, actions = policy.shape
    picks = one_hot_actions(agents, actions)
    found = []
    for i in range(agents):
        others = policy.copy()
        others[i] = 1
        found.append((joint_policy(others) * q) @ picks[i])
    return np.stack(found)


def counterfactual(policy: Policy, q: JointTable) -> Float[np.ndarray, "agent state joint"]:
    """sum_x pi_i(x | s) Q(s, (x, a_-i)) for each agent i and joint action a."""
    agents, states, actions = policy.shape
    table = q.reshape((states,) + (actions,) * agents)
    found = []
    for i, own in enumerate(policy):
        shape = [states] + [1] * agents
        shape[i + 1] = actions
        mean = (table * own.reshape(shape)).sum(axis=i + 1, keepdims=True)
        found.append(np.broadcast_to(mean, table.shape).reshape(q.shape))
    return np.stack(found)


# -------------------------------------------------------------------------------------------------------------- exact values


def state_transition(problem: Problem, policy: Policy) -> Float[np.ndarray, "state next"]:
    """P_pi(s' | s)."""
    return (joint_policy(policy)[:, None] @ problem.transition)[:, 0]


def values(problem: Problem, policy: Policy) -> Float[np.ndarray, " state"]:
    """V^pi = (I - gamma P_pi)^-1 r_pi."""
    joint = joint_policy(policy)[:, None]
    reward, transition = joint @ problem.reward[..., None], joint @ problem.transition
    return np.linalg.solve(np.eye(len(joint)) - problem.discount * transition[:, 0], reward[:, 0, 0])


def action_values(problem: Problem, policy: Policy) -> JointTable:
    """Q^pi(s, a) = r(s, a) + gamma sum_s' P(s' | s, a) V^pi(s')."""
    return problem.reward + problem.discount * problem.transition @ values(problem, policy)


def objective(problem: Problem, policy: Policy) -> float:
    """J(pi) = E_pi[sum_t gamma^t r_t]."""
    return float(problem.start @ values(problem, policy))


def occupancy(problem: Problem, policy: Policy) -> Float[np.ndarray, " state"]:
    """d(s) = sum_t gamma^t P(s_t = s); it sums to 1 / (1 - gamma)."""
    return np.linalg.solve(np.eye(len(problem.start)) - problem.discount * state_transition(problem, policy).T, problem.start)


def stationary(problem: Problem, policy: Policy) -> Float[np.ndarray, " state"]:
    """The stationary distribution of states: that of long episodes' steps, without gamma^t. It sums to 1."""
    states = len(problem.start)
    equations = np.vstack([state_transition(problem, policy).T - np.eye(states), np.ones((1, states))])
    return np.linalg.lstsq(equations, np.append(np.zeros(states), 1), rcond=None)[0]


# --------------------------------------------------------------------------------------------------------------- linear fits


def features(agents: int, actions: int) -> Float[np.ndarray, "joint feature"]:
    """A linear critic's features of a joint action: each agent's one-hot action, and a constant."""
    picks = one_hot_actions(agents, actions)
    return np.hstack([*picks, np.ones((picks.shape[1], 1))])


def projection(weights: JointTable, agents: int, actions: int) -> Float[np.ndarray, "state joint joint"]:
    """For each state, the matrix that maps a target to its weighted least-squares linear fit."""
    x, root = features(agents, actions), np.sqrt(weights)
    return x @ (np.linalg.pinv(root[:, :, None] * x) * root[:, None, :])


def fit(target: JointTable, weights: JointTable, k: Float[np.ndarray, "state agent"], actions: int) -> Critic:
    """The critic with the least weighted squared error sum_a w(s, a) (target(s, a) - sum_i k_i Q_i - b)^2, state by state (Eq. 23).

    The given k_i(s) scale agent i's features. The solution of least norm is taken: an agent with k_i = 0 learns nothing.
    """
    states, agents = k.shape
    scale = np.hstack([np.repeat(k, actions, axis=1), np.ones((states, 1))])
    x, root = features(agents, actions) * scale[:, None, :], np.sqrt(weights)
    solution = np.einsum("sfj,sj->sf", np.linalg.pinv(root[:, :, None] * x), root * target)
    q = solution[:, :-1].reshape(states, agents, actions).transpose(1, 0, 2)
    return Critic(k=k, q=q, b=solution[:, -1])


def with_values(problem: Problem, policy: Policy, critic: Critic) -> Problem:
    """The problem with rewards such that Q^pi equals the critic: r = Q_tot - gamma P E_pi[Q_tot]."""
    value = (joint_policy(policy) * critic.total).sum(axis=1)
    return Problem(
        agents=problem.agents,
        actions=problem.actions,
        reward=critic.total - problem.discount * problem.transition @ value,
        transition=problem.transition,
        start=problem.start,
        discount=problem.discount,
    )
