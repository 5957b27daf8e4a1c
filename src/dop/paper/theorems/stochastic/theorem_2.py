"""Theorem 2, the stochastic DOP policy improvement theorem: J does not fall if better actions gain at least as much as worse ones.

With pi_i(a_i | s) = pi_i^o(a_i | s) + beta_{a_i, s} delta for a sufficiently small delta > 0: if

    Q_i(s, a_i) > Q_i(s, a_i')  <=>  beta_{a_i, s} >= beta_{a_i', s}    (MONOTONE)

then J(pi) >= J(pi^o) (Eq. 10). The update that App. C derives for tabular policies is measured at many step sizes. So are updates that
break an assumption, and Eq. 9's own update of a softmax's logits.
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


def to_simplex(x: Policy) -> Policy:
    """The nearest distribution over the last axis."""
    ordered = -np.sort(-x, axis=-1)
    excess = np.cumsum(ordered, axis=-1) - 1
    count = (ordered - excess / np.arange(1, x.shape[-1] + 1) > 0).sum(axis=-1, keepdims=True)
    return np.maximum(x - np.take_along_axis(excess, count - 1, axis=-1) / count, 0)


def direction(states: Float[np.ndarray, " state"], critic: Critic, *, share_states: bool = False) -> Gradient:
    """App. C's beta_{a_i, s}: d(s) k_i Q_i(s, a_i) less its mean over actions, which keeps sum_a pi = 1; its largest entry is 1.

    With `share_states`, agents cannot tell states apart and sum it over them.
    """
    raw = states[:, None] * critic.credit
    raw = np.broadcast_to(raw.sum(axis=1, keepdims=True), raw.shape) if share_states else raw
    centred = raw - raw.mean(axis=-1, keepdims=True)
    return centred / np.abs(centred).max()


def change(problem: Problem, policy: Policy, towards: Gradient, *steps: float) -> list[float]:
    """J(pi) - J(pi^o) of pi = pi^o + step x direction, brought back to the simplex if the step leaves it, for every step."""
    before = tabular.objective(problem, policy)
    return [tabular.objective(problem, to_simplex(policy + step * towards)) - before for step in steps]


def changes(cases: Sequence[Case]) -> Float[np.ndarray, "step case"]:
    """For every step size, what App. C's update changes in every problem."""
    found = []
    for c in cases:
        towards = direction(tabular.occupancy(c.problem, c.policy), c.fitted(c.pi))
        found.append(change(c.problem, c.policy, towards, *STEP_SIZES))
    return np.array(found).T


def never_falls(found: Sequence[float], name: str, note: str, *, assumptions: bool) -> Claim:
    """Theorem 2's claim about these changes of J."""
    falls = int((np.array(found) < -ROUNDING).sum())
    return Claim(
        name=f"Thm. 2{name}",
        claim=f"J does not fall (step {SMALL_STEP:g})",
        measured=f"falls in {falls} of {len(found)}; change {min(found):+.1e} to {max(found):+.1e}",
        holds=falls == 0,
        note=note,
        assumptions=assumptions,
    )


def misled_changes(cases: Sequence[Case]) -> list[float]:
    """Changes of J where the critic was fitted to beta's data."""
    found = []
    for c in cases:
        towards = direction(tabular.occupancy(c.problem, c.policy), c.fitted(c.beta))
        found += change(c.problem, c.policy, towards, SMALL_STEP)
    return found


def aliased_changes(cases: Sequence[Case], weigh: Callable[[Problem, Policy], Float[np.ndarray, " state"]]) -> list[float]:
    """Changes of J where agents cannot tell states apart: one policy for all states, updated by the sum over them."""
    found = []
    for c in cases:
        policy = np.broadcast_to(c.policy[:, :1], c.policy.shape)
        critic = tabular.fit(tabular.action_values(c.problem, policy), tabular.joint_policy(policy), c.critic.k, c.problem.actions)
        towards = direction(weigh(c.problem, policy), critic, share_states=True)
        found += change(c.problem, policy, towards, SMALL_STEP)
    return found


def tie_changes(*steps: float) -> list[float]:
    """Two agents, two actions, +1 for doing the same, from uniform policies: all Q_i tie, so the theorem leaves the update free.

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
    """App. C's last claim, MONOTONE for any tabular policy, where the table has the logits of a softmax: Eq. 9 moves those."""
    counts, found = [], []
    for c in cases:
        critic = c.fitted(c.pi)
        gradient = decomposed_gradient(c.policy, tabular.occupancy(c.problem, c.policy), critic)
        rise = c.policy * (gradient - (c.policy * gradient).sum(axis=-1, keepdims=True))  # of each probability, to first order
        counts.append(pairs_in_order(critic.q, rise))
        moved = softmax(np.log(c.policy) + SMALL_STEP * gradient / np.abs(gradient).max())
        found.append(tabular.objective(c.problem, moved) - tabular.objective(c.problem, c.policy))
    kept, pairs = np.sum(counts, axis=0)
    return [
        Claim(
            name="Thm. 2, softmax, MONOTONE",
            claim="probabilities rise in the order of Q_i (App. C, any tabular pi)",
            measured=f"{kept} of {pairs} pairs ({kept / pairs:.1%})",
            holds=bool(kept == pairs),
            note="true of a table of probabilities; with one of logits a likely action moves more than a better, rarer one",
            assumptions=False,
        ),
        never_falls(
            found, ", softmax", "no MONOTONE, but grad J all the same; the step is the largest change of a logit", assumptions=False
        ),
    ]


def claims(cases: Sequence[Case], found: Float[np.ndarray, "step case"]) -> list[Claim]:
    """The small step, the steps at which it first fails, and four assumptions."""
    small = int(np.argmin(np.abs(np.array(STEP_SIZES) - SMALL_STEP)))
    falls = (found < -ROUNDING).mean(axis=1)
    first = next((step for step, fraction in zip(STEP_SIZES, falls, strict=True) if fraction > 0), None)
    large = "J never falls" if first is None else f"first falls at {first:g}; at {STEP_SIZES[-1]:g} in {falls[-1]:.1%} of problems"
    discounted, alike = aliased_changes(cases, tabular.occupancy), aliased_changes(cases, tabular.stationary)
    return [
        never_falls(list(found[small]), "", "App. C's tabular update, on-policy critic; Q^pi is not linear", assumptions=True),
        Claim(
            name="Thm. 2, large steps",
            claim="J does not fall at any step size",
            measured=large,
            holds=first is None,
            note="the step is the largest change of a probability before policies that leave the simplex are brought back to it",
            assumptions=False,
        ),
        never_falls(misled_changes(cases), ", critic of beta's data", "Prop. 2 fails, so MONOTONE fails", assumptions=False),
        never_falls(discounted, ", states not told apart", "MONOTONE fails, but the update is still grad J", assumptions=False),
        never_falls(alike, ", not told apart, no gamma^t", "and states weighted as often as visited: not grad J", assumptions=False),
        never_falls(
            tie_changes(1e-1, 1e-2, SMALL_STEP),
            ", ties (3 step sizes)",
            "as written, Q > Q' <=> beta >= beta' contradicts itself at ties; read as =>, a tie frees beta and o(delta) decides",
            assumptions=False,
        ),
        *softmax_claims(cases),
    ]
