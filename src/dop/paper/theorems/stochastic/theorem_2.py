"""Theorem 2, the stochastic DOP policy improvement theorem: J does not fall if better actions gain at least as much as worse ones.

With pi_i(a_i | s) = pi_i^o(a_i | s) + beta_{a_i, s} delta for a sufficiently small delta > 0: if

    Q_i(s, a_i) > Q_i(s, a_i')  <=>  beta_{a_i, s} >= beta_{a_i', s}    (MONOTONE)

then J(pi) >= J(pi^o) (Eq. 10). The update that App. C derives for tabular policies is measured at many step sizes, as are updates
that break an assumption, and Eq. 9's update of softmax logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from dop.paper.theorems.claims import ROUNDING, Claim
from dop.paper.theorems.stochastic import tabular
from dop.paper.theorems.stochastic.cases import Case
from dop.paper.theorems.stochastic.gradients import Gradient, decomposed_gradient, softmax
from dop.paper.theorems.stochastic.proposition_2 import pairs_in_order
from dop.paper.theorems.stochastic.tabular import Critic, Policy, Problem

SMALL_STEP = 1e-3
"""Theorem 2's small step: the largest change of any action's probability."""
STEP_SIZES = tuple(float(f"{step:.3g}") for step in np.logspace(-4, 2, 19))


def project_to_simplex(x: Policy) -> Policy:
    """Euclidean projection onto the simplex, over the last axis."""
    ordered = -np.sort(-x, axis=-1)
    excess = np.cumsum(ordered, axis=-1) - 1
    count = (ordered - excess / np.arange(1, x.shape[-1] + 1) > 0).sum(axis=-1, keepdims=True)
    return np.maximum(x - np.take_along_axis(excess, count - 1, axis=-1) / count, 0)


def direction(states: Float[np.ndarray, " state"], critic: Critic, *, share_states: bool = False) -> Gradient:
    """App. C's beta_{a_i, s}: d(s) k_i Q_i(s, a_i) minus its mean over actions, which keeps sum_a pi = 1; its largest entry is 1.

    With `share_states`, agents cannot distinguish states, and it is summed over them.
    """
    raw = states[:, None] * critic.credit
    raw = np.broadcast_to(raw.sum(axis=1, keepdims=True), raw.shape) if share_states else raw
    centred = raw - raw.mean(axis=-1, keepdims=True)
    return centred / np.abs(centred).max()


def change(problem: Problem, policy: Policy, towards: Gradient, *steps: float) -> list[float]:
    """J(pi) - J(pi^o) for pi = pi^o + step x direction, projected onto the simplex, for every step."""
    before = tabular.objective(problem, policy)
    return [tabular.objective(problem, project_to_simplex(policy + step * towards)) - before for step in steps]


def changes(cases: Sequence[Case]) -> Float[np.ndarray, "step case"]:
    """The change of J by App. C's update, by step size and problem."""
    found = []
    for c in cases:
        towards = direction(tabular.occupancy(c.problem, c.policy), c.fitted(c.pi))
        found.append(change(c.problem, c.policy, towards, *STEP_SIZES))
    return np.array(found).T


def no_decrease_claim(found: Sequence[float], name: str, note: str, *, assumptions: bool) -> Claim:
    """Theorem 2's claim for these changes of J."""
    falls = int((np.array(found) < -ROUNDING).sum())
    return Claim(
        name=f"Thm. 2{name}",
        claim=f"J does not fall (step {SMALL_STEP:g})",
        measured=f"falls in {falls} of {len(found)}; change {min(found):+.1e} to {max(found):+.1e}",
        holds=falls == 0,
        note=note,
        assumptions=assumptions,
    )


def off_policy_fit_changes(cases: Sequence[Case]) -> list[float]:
    """Changes of J with a critic fitted to beta's data."""
    found = []
    for c in cases:
        towards = direction(tabular.occupancy(c.problem, c.policy), c.fitted(c.beta))
        found += change(c.problem, c.policy, towards, SMALL_STEP)
    return found


def aliased_changes(cases: Sequence[Case], weigh: Callable[[Problem, Policy], Float[np.ndarray, " state"]]) -> list[float]:
    """Changes of J with state aliasing: one policy for all states, updated by the sum over them."""
    found = []
    for c in cases:
        policy = np.broadcast_to(c.policy[:, :1], c.policy.shape)
        critic = tabular.fit(tabular.action_values(c.problem, policy), tabular.joint_policy(policy), c.critic.k, c.problem.actions)
        towards = direction(weigh(c.problem, policy), critic, share_states=True)
        found += change(c.problem, policy, towards, SMALL_STEP)
    return found


def tie_changes(*steps: float) -> list[float]:
    """Two agents, two actions, reward 1 for equal actions, uniform policies: all Q_i tie, so the theorem does not constrain the update.

    One agent moves to its first action and the other away from it.
    """
    problem = Problem(
        agents=2,
        actions=2,
        reward=np.array([[1.0, 0.0, 0.0, 1.0]]),
        transition=np.ones((1, 4, 1)),
        start=np.ones(1),
        discount=0.0,
    )
    return change(problem, np.full((2, 1, 2), 0.5), np.array([[[1.0, -1.0]], [[-1.0, 1.0]]]), *steps)


def softmax_claims(cases: Sequence[Case]) -> list[Claim]:
    """App. C's last claim, MONOTONE for any tabular policy, for tables of softmax logits, which Eq. 9 updates."""
    counts, found = [], []
    for c in cases:
        critic = c.fitted(c.pi)
        gradient = decomposed_gradient(c.policy, tabular.occupancy(c.problem, c.policy), critic)
        rise = c.policy * (gradient - (c.policy * gradient).sum(axis=-1, keepdims=True))  # of each probability, to first order
        counts.append(pairs_in_order(critic.q, rise))
        updated = softmax(np.log(c.policy) + SMALL_STEP * gradient / np.abs(gradient).max())
        found.append(tabular.objective(c.problem, updated) - tabular.objective(c.problem, c.policy))
    kept, pairs = np.sum(counts, axis=0)
    return [
        Claim(
            name="Thm. 2, softmax, MONOTONE",
            claim="probabilities rise in the order of Q_i (App. C, any tabular pi)",
            measured=f"{kept} of {pairs} pairs ({kept / pairs:.1%})",
            holds=bool(kept == pairs),
            note="true of a table of probabilities; with logits a likely action moves more than a better, rarer one",
            assumptions=False,
        ),
        no_decrease_claim(
            found, ", softmax", "not MONOTONE, but still grad J; the step is the largest change of a logit", assumptions=False
        ),
    ]


def claims(cases: Sequence[Case], found: Float[np.ndarray, "step case"]) -> list[Claim]:
    """A small step, larger steps, and four updates that break an assumption."""
    small = int(np.argmin(np.abs(np.array(STEP_SIZES) - SMALL_STEP)))
    falls = (found < -ROUNDING).mean(axis=1)
    first = next((step for step, fraction in zip(STEP_SIZES, falls, strict=True) if fraction > 0), None)
    large = "J never falls" if first is None else f"first falls at {first:g}; at {STEP_SIZES[-1]:g} in {falls[-1]:.1%} of problems"
    discounted, undiscounted = aliased_changes(cases, tabular.occupancy), aliased_changes(cases, tabular.stationary)
    return [
        no_decrease_claim(list(found[small]), "", "App. C's tabular update, on-policy critic; Q^pi is not linear", assumptions=True),
        Claim(
            name="Thm. 2, large steps",
            claim="J does not fall at any step size",
            measured=large,
            holds=first is None,
            note="the step is the largest change of a probability before projection onto the simplex",
            assumptions=False,
        ),
        no_decrease_claim(off_policy_fit_changes(cases), ", critic of beta's data", "Prop. 2 fails, so MONOTONE fails", assumptions=False),
        no_decrease_claim(discounted, ", aliased states", "MONOTONE fails, but the update is still grad J", assumptions=False),
        no_decrease_claim(
            undiscounted, ", aliased, no gamma^t", "and states weighted by the stationary distribution: not grad J", assumptions=False
        ),
        no_decrease_claim(
            tie_changes(1e-1, 1e-2, SMALL_STEP),
            ", ties (3 step sizes)",
            "as written, Q > Q' <=> beta >= beta' is contradictory at ties; read as =>, a tie leaves beta free and o(delta) decides",
            assumptions=False,
        ),
        *softmax_claims(cases),
    ]
