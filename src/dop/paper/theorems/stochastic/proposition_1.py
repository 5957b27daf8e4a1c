"""Proposition 1: Q_tot^phi, optimised with the loss of Eq. 6, is an unbiased estimate of Q^pi.

Eq. 6 has two targets: tree backup over beta's data (Eq. 7) and TD(lambda) over pi's (Eq. 8). The proof (App. A.2) says that Q^pi is their
fixed point for every beta, and that they contract by gamma in the maximum norm. Here their expectations are affine operators on joint
tables, written as matrices (`Operator`). They are measured for a table of joint Q, as in the proof, and for the linear critic, as in
the proposition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dop.paper.theorems.claims import DISCOUNT, EXACT, Claim
from dop.paper.theorems.stochastic import tabular
from dop.paper.theorems.stochastic.cases import Case
from dop.paper.theorems.stochastic.tabular import JointTable, Policy, Problem

TRACE, STEPS, KAPPA = 0.8, 5, 0.5
"""lambda and k of tree backup and TD(lambda), and kappa of Eq. 6."""
TRACE_STEPS = (1, 2, 5)
"""k of the claims on tree backup alone."""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """The affine map Q -> matrix Q + offset of joint tables, flattened."""

    matrix: Float[np.ndarray, "entry entry"]
    offset: Float[np.ndarray, " entry"]

    def __call__(self, q: JointTable) -> JointTable:
        return (self.matrix @ q.ravel() + self.offset).reshape(q.shape)

    @property
    def factor(self) -> float:
        """The contraction factor in the maximum norm: the largest row sum of |matrix|."""
        return float(np.abs(self.matrix).sum(axis=1).max())


def corrected(problem: Problem, policy: Policy, corrections: Float[np.ndarray, "entry entry"]) -> Operator:
    """Q + corrections (r + gamma P_pi Q - Q), the form that Eqs. 7 and 8 share: `corrections` sums the expected discounted traces."""
    step = next_entry(problem, tabular.joint_policy(policy))
    identity = np.eye(len(step))
    return Operator(matrix=identity + corrections @ (problem.discount * step - identity), offset=corrections @ problem.reward.ravel())


def next_entry(problem: Problem, weights: JointTable) -> Float[np.ndarray, "entry entry"]:
    """P(s' | s, a) w(s', a')."""
    entries = problem.reward.size
    return (problem.transition[..., None] * weights).reshape(entries, entries)


def td_lambda(problem: Problem, policy: Policy, lambda_: float) -> Operator:
    """E_pi[y^On] (Eq. 8): corrections (I - gamma lambda P_pi)^-1."""
    step = next_entry(problem, tabular.joint_policy(policy))
    return corrected(problem, policy, np.linalg.inv(np.eye(len(step)) - problem.discount * lambda_ * step))


def tree_backup(problem: Problem, policy: Policy, behaviour: Policy, lambda_: float, steps: int) -> Operator:
    """E_beta[y^TB] (Eq. 7): corrections sum_{t < k} (gamma C)^t with C(s', a') = P(s' | s, a) beta(a' | s') lambda pi(a' | s')."""
    joint, data = tabular.joint_policy(policy), tabular.joint_policy(behaviour)
    decay = problem.discount * next_entry(problem, lambda_ * joint * data)
    corrections = term = np.eye(len(decay))
    for _ in range(steps - 1):
        term = term @ decay
        corrections = corrections + term
    return corrected(problem, policy, corrections)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Eq. 6: the mixture of targets in each entry, and the weight of each entry's squared error."""

    operator: Operator
    weights: JointTable


def mixture(case: Case, kappa: float) -> Mixture:
    """The mixture that minimises kappa L_beta + (1 - kappa) L_pi, each loss weighted by its policy's stationary distribution.

    In each entry a target's weight is its fraction of the data, kappa mu_beta / (kappa mu_beta + (1 - kappa) mu_pi), not kappa itself.
    """
    off = kappa * tabular.stationary(case.problem, case.behaviour)[:, None] * case.beta
    on = (1 - kappa) * tabular.stationary(case.problem, case.policy)[:, None] * case.pi
    fraction = (off / (off + on)).ravel()
    tb = tree_backup(case.problem, case.policy, case.behaviour, TRACE, STEPS)
    td = td_lambda(case.problem, case.policy, TRACE)
    operator = Operator(
        matrix=fraction[:, None] * tb.matrix + (1 - fraction[:, None]) * td.matrix, offset=fraction * tb.offset + (1 - fraction) * td.offset
    )
    return Mixture(operator=operator, weights=off + on)


def table_claim(cases: Sequence[Case]) -> Claim:
    """Q^pi is the fixed point of Eq. 6's targets, and they contract by gamma or better."""
    error = factor = 0.0
    for c in cases:
        for kappa in (0, KAPPA, 1):
            operator = mixture(c, kappa).operator
            error = max(error, float(np.abs(operator(c.q) - c.q).max()))
            factor = max(factor, operator.factor)
    return Claim(
        name="Prop. 1, tabular Q_tot",
        claim=f"Q^pi is the fixed point for any beta; contraction by gamma = {DISCOUNT}",
        measured=f"|T Q^pi - Q^pi| <= {error:.0e}; largest factor {factor:.4f}",
        holds=bool(error < EXACT and factor <= DISCOUNT + EXACT),
        note=f"kappa 0, {KAPPA} and 1; lambda {TRACE}, k {STEPS}; maximum norm; targets mixed by their fractions of the data in each entry",
    )


def traces_claim(cases: Sequence[Case], lambda_: float) -> Claim:
    """Tree backup alone, for several k: the proof needs lambda beta(a) pi(a) <= pi(a), which lambda <= 1 ensures."""
    factors = {k: [tree_backup(c.problem, c.policy, c.behaviour, lambda_, k).factor for c in cases] for k in TRACE_STEPS}
    above = np.mean([max(each) > DISCOUNT + EXACT for each in zip(*factors.values(), strict=True)])
    return Claim(
        name=f"Prop. 1, tree backup, lambda {lambda_:g}",
        claim=f"contraction by gamma = {DISCOUNT} for every k",
        measured=f"largest factor {', '.join(f'{max(each):.4f} (k {k})' for k, each in factors.items())}; above gamma in {above:.0%}",
        holds=bool(above == 0),
        note="lambda beta(a) <= 1 everywhere is sufficient: all weights of the operator are then positive and sum to at most gamma",
        assumptions=lambda_ <= 1,
    )


def trajectory_claim(cases: Sequence[Case]) -> Claim:
    """The proof: 'for any sampled trajectory, Q_tot^pi is the fixed point'. Measured on single transitions."""
    worst = 0.0
    for c in cases:
        target = c.problem.reward[..., None] + c.problem.discount * tabular.values(c.problem, c.policy)
        worst = max(worst, float(np.abs(target - c.q[..., None])[c.problem.transition > 0].max()))
    return Claim(
        name="Prop. 1, each trajectory",
        claim="Q^pi is the fixed point for any sampled trajectory (the proof)",
        measured=f"one-step target differs from Q^pi by up to {worst:.2f}",
        holds=worst < EXACT,
        note="true in expectation over s', which the proposition needs; true of every sample only if transitions are deterministic",
    )


def linear_fixed_point(case: Case, kappa: float) -> tuple[JointTable, float]:
    """The linear critic's fixed point under Eq. 6, Q = Pi (T Q), and the spectral radius of Pi T (below 1 if it converges)."""
    found = mixture(case, kappa)
    agents, actions = case.problem.agents, case.problem.actions
    states, joint = case.problem.reward.shape
    blocks = tabular.projection(found.weights, agents, actions)
    whole = np.zeros((states * joint, states * joint))
    for s, block in enumerate(blocks):
        whole[s * joint : (s + 1) * joint, s * joint : (s + 1) * joint] = block
    matrix = whole @ found.operator.matrix
    q = np.linalg.solve(np.eye(len(matrix)) - matrix, whole @ found.operator.offset)
    return q.reshape(states, joint), float(np.abs(np.linalg.eigvals(matrix)).max())


def linear_claim(cases: Sequence[Case], kappa: float) -> Claim:
    """The proposition itself: the linear Q_tot^phi is an unbiased estimate of Q^pi."""
    gap = value = radius = 0.0
    for c in cases:
        q, each = linear_fixed_point(c, kappa)
        radius = max(radius, each)
        gap = max(gap, float(np.abs(q - c.q).max()))
        value = max(value, float(np.abs((c.pi * q).sum(axis=1) - tabular.values(c.problem, c.policy)).max()))
    return Claim(
        name=f"Prop. 1, linear Q_tot, kappa {kappa}",
        claim="the linear critic that Eq. 6 converges to equals Q^pi",
        measured=f"error of Q^pi up to {gap:.2f}, of V^pi up to {value:.0e}; spectral radius <= {radius:.3f}",
        holds=gap < EXACT,
        note="rewards are not a sum over agents, so no linear critic equals Q^pi"
        + ("; with on-policy data its expectation still equals V^pi" if kappa == 0 else "; replay data also biases its expectation"),
        assumptions=False,
    )


def claims(cases: Sequence[Case]) -> list[Claim]:
    """Tabular, with and without the proof's assumptions; single trajectories; the linear critic."""
    return [
        table_claim(cases),
        *(traces_claim(cases, lambda_) for lambda_ in (1, 10)),
        trajectory_claim(cases),
        linear_claim(cases, 0),
        linear_claim(cases, KAPPA),
    ]
