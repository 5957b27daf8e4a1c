"""Tabular policy gradients for Theorems 1, 2 and 7: Eq. 9 summed over joint actions, the same per agent, and finite_differences.

The policy is pi_i(a | s) = softmax(logits_i(s))(a); gradients are with respect to the logits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from dop.paper.theorems.claims import DIFFERENCE_STEP
from dop.paper.theorems.stochastic import tabular
from dop.paper.theorems.stochastic.tabular import Critic, JointTable, Policy

Gradient = Float[np.ndarray, "agent state action"]


def softmax(logits: Policy) -> Policy:
    weight = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weight / weight.sum(axis=-1, keepdims=True)


def score_gradient(policy: Policy, weights: JointTable, credit: Float[np.ndarray, "agent state joint"]) -> Gradient:
    """sum_a w(s, a) credit_i(s, a) grad log pi_i(a_i | s) with respect to agent i's logits, summed over joint actions."""
    agents, _, actions = policy.shape
    score = tabular.one_hot_actions(agents, actions)[:, None] - policy[:, :, None, :]
    return np.einsum("sj,isj,isjx->isx", weights, credit, score)


def own_credit(critic: Critic) -> Float[np.ndarray, "agent state joint"]:
    """k_i Q_i(s, a_i), Eq. 9's credit."""
    agents, _, actions = critic.q.shape
    return np.einsum("isa,ija->isj", critic.credit, tabular.one_hot_actions(agents, actions))


def decomposed_gradient(policy: Policy, states: Float[np.ndarray, " state"], critic: Critic) -> Gradient:
    """sum_s w(s) sum_a k_i Q_i(s, a) grad pi_i(a | s), summed over each agent's own actions."""
    mean = (policy * critic.credit).sum(axis=-1, keepdims=True)
    return states[:, None] * policy * (critic.credit - mean)


def finite_differences(function: Callable[[Policy], float], policy: Policy) -> Gradient:
    """Central differences with respect to the logits of a softmax policy."""
    logits, gradient = np.log(policy), np.zeros_like(policy)
    for index in np.ndindex(policy.shape):
        shift = np.zeros_like(logits)
        shift[index] = DIFFERENCE_STEP
        gradient[index] = (function(softmax(logits + shift)) - function(softmax(logits - shift))) / (2 * DIFFERENCE_STEP)
    return gradient


def cosine(found: Gradient, expected: Gradient) -> float:
    return float((found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected))
