"""The paper's theorems as programs: Eq. 16, Propositions 1 and 2, Lemma 3, Theorems 1 to 7, on random problems that are enumerated in full.

Here are Eq. 16, the propositions and Theorems 1, 2, 3 and 7; those on deterministic DOP are in `dop.paper.deterministic_theorems`.

Every claim has a function of its own, which measures it and compares: nothing is taken from a proof. Where a proof makes an assumption, the
claim is also measured where that assumption fails, as an entry of its own with `assumptions` False; its verdict is what was found.

The notation is that of `dop.paper.tabular`: s is the paper's tau, and expectations are sums over all joint actions.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dop.engine import files
from dop.engine.runs import surroundings
from dop.errors import check_not_negative, check_positive
from dop.paper import deterministic_theorems, tabular
from dop.paper.claims import DIFFERENCE, DISCOUNT, EXACT, NUMERIC, TEAMS, Claim, as_table, relative
from dop.paper.deterministic_theorems import Found
from dop.paper.tabular import Critic, JointTable, Policy, Problem
from dop.report import curves
from dop.report.curves import COLOURS

TRACE, STEPS, KAPPA = 0.8, 5, 0.5
"""lambda and k of tree backup and TD(lambda), and Eq. 6's mixture."""
TRACE_STEPS = (1, 2, 5)
"""k at which tree backup is measured alone."""
ROUNDING = 1e-12
"""A change of J, or a difference of two actions' values, that is nearer to 0 than this is none."""
SMALL_STEP = 1e-3
"""Theorem 2's small step: the largest change of any action's probability."""
STEP_SIZES = tuple(float(f"{step:.3g}") for step in np.logspace(-4, 2, 19))
Gradient = Float[np.ndarray, "agent state action"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `dop reproduce theorems` takes."""

    seed: int = 0
    """Of the random problems; the same seed gives the same numbers."""
    problems: int = 1000
    """Random problems for Eq. 16, Proposition 2 and Theorem 2. The other claims, which cost more, take a tenth as many."""
    out: Path = Path("results/theorems")
    """Where table, data file and figure go."""

    def __post_init__(self) -> None:
        check_positive(self, "problems")
        check_not_negative(self, "seed")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A random problem, with all that the claims need."""

    problem: Problem
    policy: Policy
    """pi."""
    behaviour: Policy
    """beta."""
    critic: Critic
    """A linear critic that does not know the problem."""
    correlated: JointTable
    """A distribution of joint actions that is not a product of the agents' own."""

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
        """Of J at pi, by differences."""
        return differences(lambda policy: tabular.objective(self.problem, policy), self.policy)

    def fitted(self, weights: JointTable) -> Critic:
        """The linear critic of Q^pi under these weights, with random k_i > 0."""
        return tabular.fit(self.q, weights, self.critic.k, self.problem.actions)


def draw(seed: int, count: int) -> list[Case]:
    """Problems of 3 states, 3 actions and, in turn, 2 and 3 agents; case i does not depend on how many are drawn."""
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


# -------------------------------------------------------------------------------------------------------------------- Eq. 16


def decomposed_expectation(policy: Policy, critic: Critic) -> Float[np.ndarray, " state"]:
    """sum_i k_i E_{pi_i}[Q_i] + b."""
    return (policy * critic.credit).sum(axis=(0, 2)) + critic.b


def equation_16(cases: Sequence[Case]) -> Claim:
    """The decomposed expectation is the joint sum."""
    worst = max(np.abs(decomposed_expectation(c.policy, c.critic) - (c.pi * c.critic.total).sum(axis=1)).max() for c in cases)
    return Claim(
        name="Eq. 16",
        claim="E_pi[Q_tot] = sum_i k_i E_pi_i[Q_i] + b",
        measured=f"largest difference {worst:.0e}",
        holds=bool(worst < EXACT),
    )


def equation_16_correlated(cases: Sequence[Case]) -> Claim:
    """The same where agents' actions depend on one another, each agent's own policy being the same distribution's marginal."""
    worst = 0.0
    for c in cases:
        agents, actions = c.problem.agents, c.problem.actions
        marginal = np.einsum("sj,ija->isa", c.correlated, tabular.chosen(agents, actions))
        worst = max(worst, np.abs(decomposed_expectation(marginal, c.critic) - (c.correlated * c.critic.total).sum(axis=1)).max())
    return Claim(
        name="Eq. 16, correlated agents",
        claim="the same for joint policies that are no product",
        measured=f"largest difference {worst:.0e}",
        holds=bool(worst < EXACT),
        note="the critic is linear, so marginals are all that matters: independence is not needed",
        assumptions=False,
    )


# ------------------------------------------------------------------------------------------------------------- Proposition 1


@dataclass(frozen=True, kw_only=True)
class Operator:
    """The affine map Q -> matrix Q + offset of joint tables, flattened."""

    matrix: Float[np.ndarray, "entry entry"]
    offset: Float[np.ndarray, " entry"]

    def __call__(self, q: JointTable) -> JointTable:
        return (self.matrix @ q.ravel() + self.offset).reshape(q.shape)

    @property
    def factor(self) -> float:
        """The contraction factor in the largest norm: the largest row sum of |matrix|."""
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
    """Eq. 6: the targets mixed entry by entry, and how much each entry's squared error counts."""

    operator: Operator
    weights: JointTable


def mixture(case: Case, kappa: float) -> Mixture:
    """What minimises kappa L_beta + (1 - kappa) L_pi, each loss weighted by how often its policy is in (s, a).

    In an entry the two targets have the shares of their data, kappa mu_beta / (kappa mu_beta + (1 - kappa) mu_pi), not kappa itself.
    """
    off = kappa * tabular.stationary(case.problem, case.behaviour)[:, None] * case.beta
    on = (1 - kappa) * tabular.stationary(case.problem, case.policy)[:, None] * case.pi
    share = (off / (off + on)).ravel()
    tb = tree_backup(case.problem, case.policy, case.behaviour, TRACE, STEPS)
    td = td_lambda(case.problem, case.policy, TRACE)
    operator = Operator(
        matrix=share[:, None] * tb.matrix + (1 - share[:, None]) * td.matrix, offset=share * tb.offset + (1 - share) * td.offset
    )
    return Mixture(operator=operator, weights=off + on)


def proposition_1(cases: Sequence[Case]) -> Claim:
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
        note=f"kappa 0, {KAPPA} and 1; lambda {TRACE}, k {STEPS}; largest norm; the two targets mixed by their data's shares in each entry",
    )


def proposition_1_traces(cases: Sequence[Case], lambda_: float) -> Claim:
    """Tree backup alone, for several k: the proof needs lambda beta(a) pi(a) <= pi(a), of which lambda <= 1 makes sure."""
    factors = {k: [tree_backup(c.problem, c.policy, c.behaviour, lambda_, k).factor for c in cases] for k in TRACE_STEPS}
    above = np.mean([max(each) > DISCOUNT + EXACT for each in zip(*factors.values(), strict=True)])
    return Claim(
        name=f"Prop. 1, tree backup, lambda {lambda_:g}",
        claim=f"contraction by gamma = {DISCOUNT} for every k",
        measured=f"largest factor {', '.join(f'{max(each):.4f} (k {k})' for k, each in factors.items())}; above gamma in {above:.0%}",
        holds=bool(above == 0),
        note="lambda beta(a) <= 1 everywhere is enough: all weights of the operator are then positive and sum to gamma or less",
        assumptions=lambda_ <= 1,
    )


def proposition_1_sampled(cases: Sequence[Case]) -> Claim:
    """The proof: 'for any sampled trajectory, Q_tot^pi is the fixed point'. One transition is enough to see."""
    worst = 0.0
    for c in cases:
        target = c.problem.reward[..., None] + c.problem.discount * tabular.values(c.problem, c.policy)
        worst = max(worst, float(np.abs(target - c.q[..., None])[c.problem.transition > 0].max()))
    return Claim(
        name="Prop. 1, each trajectory",
        claim="Q^pi is the fixed point for any sampled trajectory (the proof)",
        measured=f"one-step target off Q^pi by up to {worst:.2f}",
        holds=worst < EXACT,
        note="true in expectation over s', which the proposition needs; true of every sample only if transitions are deterministic",
    )


def linear_fixed_point(case: Case, kappa: float) -> tuple[JointTable, float]:
    """Where the linear critic comes to rest under Eq. 6, Q = Pi (T Q), and the spectral radius of Pi T, which is below 1 if it does."""
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


def linear_proposition_1(cases: Sequence[Case], kappa: float) -> Claim:
    """The proposition's own words: Q_tot^phi, which is linear, is an unbiased estimate of Q^pi."""
    gap = value = radius = 0.0
    for c in cases:
        q, each = linear_fixed_point(c, kappa)
        radius = max(radius, each)
        gap = max(gap, float(np.abs(q - c.q).max()))
        value = max(value, float(np.abs((c.pi * q).sum(axis=1) - tabular.values(c.problem, c.policy)).max()))
    return Claim(
        name=f"Prop. 1, linear Q_tot, kappa {kappa}",
        claim="the linear critic that Eq. 6 converges to equals Q^pi",
        measured=f"off Q^pi by up to {gap:.2f}, off V^pi by up to {value:.0e}; spectral radius <= {radius:.3f}",
        holds=gap < EXACT,
        note="rewards are no sum over agents, so no linear critic is Q^pi"
        + ("; with on-policy data its expectation is V^pi all the same" if kappa == 0 else "; replay data also moves its expectation"),
        assumptions=False,
    )


# ------------------------------------------------------------------------------------------------------------- Proposition 2


def pairs_in_order(reference: Gradient, learned: Gradient) -> tuple[int, int]:
    """How many of the pairs of actions, over agents and states, `learned` orders as `reference` does; and how many there are."""
    first, second = np.triu_indices(reference.shape[-1], k=1)

    def order(values: Gradient) -> Gradient:
        difference = values[..., first] - values[..., second]
        return np.where(np.abs(difference) < ROUNDING, 0, np.sign(difference))

    same = order(reference) == order(learned)
    return int(same.sum()), same.size


def order_claim(cases: Sequence[Case], learn: Callable[[Case], Gradient], name: str, note: str, *, assumptions: bool) -> Claim:
    """Whether the learned Q_i order every agent's actions as Q_i^pi does."""
    counts = np.array([pairs_in_order(tabular.marginal_q(c.policy, c.q), learn(c)) for c in cases])
    kept, pairs = counts.sum(axis=0)
    return Claim(
        name=f"Prop. 2{name}",
        claim="Q_i orders actions as Q_i^pi does",
        measured=f"{kept} of {pairs} pairs ({kept / pairs:.1%})",
        holds=bool(kept == pairs),
        note=note,
        assumptions=assumptions,
    )


def without_first_agent(case: Case) -> Gradient:
    """Q_i where k_1 = 0, which Eq. 4 allows and the proof excludes."""
    k = case.critic.k.copy()
    k[:, 0] = 0
    return tabular.fit(case.q, case.pi, k, case.problem.actions).q


def learned_by_eq_6(case: Case, kappa: float) -> Gradient:
    """Q_i of the linear critic that Eq. 6 comes to rest at, rather than of the least-squares fit that the proof puts in its place."""
    q, _ = linear_fixed_point(case, kappa)
    return tabular.fit(q, case.pi, case.critic.k, case.problem.actions).q


def proposition_2(cases: Sequence[Case], few: Sequence[Case]) -> list[Claim]:
    """Under the on-policy weights; then under weights, k_i and targets that the proof does not cover."""

    def replayed(c: Case) -> Gradient:
        return c.fitted(c.beta).q

    return [
        order_claim(cases, lambda c: c.fitted(c.pi).q, "", "least squares of Q^pi under pi, k_i > 0", assumptions=True),
        order_claim(few, lambda c: learned_by_eq_6(c, 0), ", TD(lambda) on policy", "kappa = 0: the fit, exactly", assumptions=False),
        order_claim(few, lambda c: learned_by_eq_6(c, KAPPA), f", Eq. 6 at kappa {KAPPA}", "half replay of beta", assumptions=False),
        order_claim(
            [dataclasses.replace(c, behaviour=0.9 * c.policy + 0.1 * c.behaviour) for c in few],
            lambda c: learned_by_eq_6(c, KAPPA),
            ", the same, beta near pi",
            "the replay's policy is 9 parts pi and 1 part beta",
            assumptions=False,
        ),
        order_claim(cases, replayed, ", weights beta", "off-policy data: k_i Q_i is E_beta_-i[Q^pi]", assumptions=False),
        order_claim(cases, lambda c: c.fitted(c.correlated).q, ", correlated weights", "weights of dependent agents", assumptions=False),
        order_claim(cases, without_first_agent, ", k_1 = 0", "Eq. 4 allows k_i = 0; that agent learns nothing", assumptions=False),
    ]


# ----------------------------------------------------------------------------------------------------------- Theorems 1 and 7


def score_gradient(policy: Policy, weights: JointTable, credit: Float[np.ndarray, "agent state joint"]) -> Gradient:
    """sum_a w(s, a) credit_i(s, a) grad log pi_i(a_i | s) with respect to agent i's logits, joint action by joint action."""
    agents, _, actions = policy.shape
    score = tabular.chosen(agents, actions)[:, None] - policy[:, :, None, :]
    return np.einsum("sj,isj,isjx->isx", weights, credit, score)


def own_credit(critic: Critic) -> Float[np.ndarray, "agent state joint"]:
    """k_i Q_i(s, a_i), Eq. 9's credit."""
    agents, _, actions = critic.q.shape
    return np.einsum("isa,ija->isj", critic.credit, tabular.chosen(agents, actions))


def aristocrat(policy: Policy, critic: Critic) -> Float[np.ndarray, "agent state joint"]:
    """U_i = Q_tot(s, a) - sum_x pi_i(x | s) Q_tot(s, (x, a_-i)), by its definition."""
    return critic.total - tabular.counterfactual(policy, critic.total)


def softmax(logits: Policy) -> Policy:
    weight = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weight / weight.sum(axis=-1, keepdims=True)


def differences(function: Callable[[Policy], float], policy: Policy) -> Gradient:
    """Central differences with respect to the logits of a softmax policy."""
    logits, gradient = np.log(policy), np.zeros_like(policy)
    for index in np.ndindex(policy.shape):
        shift = np.zeros_like(logits)
        shift[index] = DIFFERENCE
        gradient[index] = (function(softmax(logits + shift)) - function(softmax(logits - shift))) / (2 * DIFFERENCE)
    return gradient


def cosine(found: Gradient, expected: Gradient) -> float:
    return float((found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected))


def theorem_1_identity(cases: Sequence[Case]) -> Claim:
    """Eq. 9 is the gradient with aristocrat utilities."""
    worst = 0.0
    for c in cases:
        weights = tabular.occupancy(c.problem, c.policy)[:, None] * c.pi
        plain, utility = own_credit(c.critic), aristocrat(c.policy, c.critic)
        worst = max(worst, relative(score_gradient(c.policy, weights, plain), score_gradient(c.policy, weights, utility)))
    return Claim(
        name="Thm. 1, aristocrat utility",
        claim="Eq. 9 = E_pi[sum_i grad log pi_i U_i], any linear critic",
        measured=f"largest relative difference {worst:.0e}",
        holds=worst < EXACT,
    )


def gradient_claim(cases: Sequence[Case], critic_of: Callable[[Case], Critic], name: str, note: str, *, assumptions: bool) -> Claim:
    """Whether Eq. 9, in expectation over the discounted occupancy of pi, is the gradient of J by differences."""
    errors = []
    for c in cases:
        weights = tabular.occupancy(c.problem, c.policy)[:, None] * c.pi
        errors.append(relative(score_gradient(c.policy, weights, own_credit(critic_of(c))), c.gradient))
    return Claim(
        name=f"Thm. 1, {name}",
        claim="Eq. 9 = grad J, by differences",
        measured=f"relative error: median {np.median(errors):.0e}, largest {max(errors):.0e}",
        holds=max(errors) < NUMERIC,
        note=note,
        assumptions=assumptions,
    )


def undiscounted_claim(cases: Sequence[Case]) -> Claim:
    """Eq. 9 over the steps of long episodes, without gamma^t: its direction compared with that of the gradient of J."""
    cosines = []
    for c in cases:
        weights = tabular.stationary(c.problem, c.policy)[:, None] * c.pi
        cosines.append(cosine(score_gradient(c.policy, weights, own_credit(c.fitted(c.pi))), c.gradient))
    return Claim(
        name="Thm. 1, steps weighted alike",
        claim="Eq. 9 points along grad J",
        measured=f"cosine: median {np.median(cosines):.3f}, smallest {min(cosines):.3f}",
        holds=min(cosines) > 1 - NUMERIC,
        note="states as often as pi visits them, no gamma^t: what implementations, this one too, average over",
        assumptions=False,
    )


def theorem_1(cases: Sequence[Case]) -> list[Claim]:
    """The identity, and the gradient of J under critics that are and are not what the proof takes them for."""
    linear = [dataclasses.replace(c, problem=tabular.with_values(c.problem, c.policy, c.critic)) for c in cases]
    return [
        theorem_1_identity(cases),
        gradient_claim(
            linear,
            lambda c: c.critic,
            "Q^pi linear",
            "rewards chosen so that the critic is Q^pi",
            assumptions=True,
        ),
        gradient_claim(
            cases,
            lambda c: c.fitted(c.pi),
            "on-policy fit",
            "Q^pi not linear; its least-squares fit under pi has E_pi_-i[Q^pi] for k_i Q_i, up to a constant, so nothing is lost",
            assumptions=False,
        ),
        gradient_claim(
            cases,
            lambda c: c.fitted(c.beta),
            "fit under beta",
            "the same fit with off-policy weights is biased",
            assumptions=False,
        ),
        undiscounted_claim(cases),
    ]


def behaviour_value(case: Case, policy: Policy) -> float:
    """J of Theorem 7: E_beta[V^pi(s)], states as in the discounted occupancy of beta."""
    return float(tabular.occupancy(case.problem, case.behaviour) @ tabular.values(case.problem, policy))


def behaviour_expectation(case: Case, critic: Critic, largest_ratio: float = np.inf) -> Gradient:
    """Eq. 22 over the behaviour's data: state by d_beta, joint action by beta, weighted by pi / beta."""
    data = tabular.occupancy(case.problem, case.behaviour)[:, None] * case.beta
    return score_gradient(case.policy, data * np.minimum(case.pi / case.beta, largest_ratio), own_credit(critic))


def decomposed_gradient(policy: Policy, states: Float[np.ndarray, " state"], critic: Critic) -> Gradient:
    """sum_s w(s) sum_a k_i Q_i(s, a) grad pi_i(a | s), agent by agent."""
    mean = (policy * critic.credit).sum(axis=-1, keepdims=True)
    return states[:, None] * policy * (critic.credit - mean)


def theorem_7(cases: Sequence[Case]) -> list[Claim]:
    """What Eq. 22 expects to, and whether that is the gradient of the proof's J."""
    expectation, cut = theorem_7_expectation(cases)
    return [expectation, *theorem_7_gradient(cases), cut]


def theorem_7_expectation(cases: Sequence[Case]) -> list[Claim]:
    """Eq. 22 over the behaviour's data against the formula, with the whole ratio and with one that is cut."""
    formula, clipped = [], []
    for c in cases:
        found = behaviour_expectation(c, c.critic)
        formula.append(relative(found, decomposed_gradient(c.policy, tabular.occupancy(c.problem, c.behaviour), c.critic)))
        clipped.append(relative(behaviour_expectation(c, c.critic, 1), found))
    return [
        Claim(
            name="Thm. 7, expectation",
            claim="Eq. 22 over beta's data = sum_s d_beta(s) sum_i,a k_i Q_i grad pi_i",
            measured=f"largest relative difference {max(formula):.0e}",
            holds=max(formula) < EXACT,
            note="any linear critic; states are weighted as beta visits them, not pi",
        ),
        Claim(
            name="Thm. 7, ratio cut at 1",
            claim="Eq. 22 keeps its expectation if pi / beta is cut at 1",
            measured=f"relative difference: median {np.median(clipped):.2f}, largest {max(clipped):.2f}",
            holds=max(clipped) < EXACT,
            note="the cut bounds the variance and costs this bias",
            assumptions=False,
        ),
    ]


def theorem_7_gradient(cases: Sequence[Case]) -> list[Claim]:
    """Eq. 22, with the critic that makes Eq. 9 exact, against the gradients of both objectives."""
    cosines, on_policy, errors = [], [], []
    for c in cases:
        exact = behaviour_expectation(c, c.fitted(c.pi))
        expected = differences(lambda each, c=c: behaviour_value(c, each), c.policy)
        errors.append(relative(exact, expected))
        cosines.append(cosine(exact, expected))
        on_policy.append(relative(exact, c.gradient))
    return [
        Claim(
            name="Thm. 7, gradient of J",
            claim="Eq. 22 = grad E_beta[V^pi], by differences",
            measured=f"relative error: median {np.median(errors):.2g}, largest {max(errors):.2g}; cosine {min(cosines):.2f} or more",
            holds=max(errors) < NUMERIC,
            note="even with the critic of Thm. 1 that is exact: as in off-policy actor-critic, the gradient of Q^pi itself is left out",
        ),
        Claim(
            name="Thm. 7, as grad J of pi",
            claim="Eq. 22 = Eq. 9, the on-policy gradient, by differences",
            measured=f"relative error: median {np.median(on_policy):.2f}, largest {max(on_policy):.2f}",
            holds=max(on_policy) < NUMERIC,
            note="d_beta in place of d_pi; equal if beta = pi",
            assumptions=False,
        ),
    ]


# ----------------------------------------------------------------------------------------------------------------- Theorem 2


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


def theorem_2(cases: Sequence[Case], found: Float[np.ndarray, "step case"]) -> list[Claim]:
    """The small step, the steps at which it first fails, and four assumptions."""
    small = int(np.argmin(np.abs(np.array(STEP_SIZES) - SMALL_STEP)))
    falls = (found < -ROUNDING).mean(axis=1)
    first = next((step for step, share in zip(STEP_SIZES, falls, strict=True) if share > 0), None)
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


# ----------------------------------------------------------------------------------------------------------------- Theorem 3


@dataclass(frozen=True, kw_only=True)
class Agent:
    """One agent in one state: its policy, and X = k_i Q_i of its actions."""

    policy: Float[np.ndarray, " action"]
    x: Float[np.ndarray, " action"]

    @property
    def mean(self) -> float:
        return float(self.policy @ self.x)

    @property
    def variance(self) -> float:
        return float(self.policy @ (self.x - self.mean) ** 2)

    @property
    def score(self) -> Float[np.ndarray, "action logit"]:
        """grad log pi(a) with respect to the logits."""
        return np.eye(len(self.policy)) - self.policy

    def times(self, factor: float) -> Agent:
        return dataclasses.replace(self, x=factor * self.x)


def random_agent(rng: np.random.Generator, *, mean: float) -> Agent:
    """Five actions; X has this mean and variance 1."""
    policy = 0.02 + 0.9 * rng.dirichlet(np.ones(5))
    agent = Agent(policy=policy, x=rng.normal(size=5))
    return Agent(policy=policy, x=mean + (agent.x - agent.mean) / np.sqrt(agent.variance))


def gradient_variance(agent: Agent, others_mean: float, others_variance: float) -> Float[np.ndarray, " logit"]:
    """Var(grad log pi(a) (X + Y)) of every logit, where Y, the sum of the others' X_j, is independent of this agent's action."""
    square = (agent.x + others_mean) ** 2 + others_variance
    mean = agent.policy @ (agent.score * (agent.x + others_mean)[:, None])
    return agent.policy @ (agent.score**2 * square[:, None]) - mean**2


def variance_ratio(agent: Agent, others_mean: float, others_variance: float) -> float:
    """Var(g1) / Var(g2), the variances summed over the logits."""
    return float(gradient_variance(agent, others_mean, others_variance).sum() / gradient_variance(agent, 0, 0).sum())


def identical(agent: Agent, n: int) -> float:
    """The others are independent copies: the proof's assumption."""
    return variance_ratio(agent, (n - 1) * agent.mean, (n - 1) * agent.variance)


def cancelling(agent: Agent, n: int) -> float:
    """The others are copies in pairs that do opposite things, by a shared coin; one may be left over. For X of mean 0, symmetric."""
    return variance_ratio(agent, 0, (n - 1) % 2 * agent.variance)


def fading(agent: Agent, n: int) -> float:
    """The others are independent, agent j's X_j being 2^-j of the first's."""
    others = [agent.times(0.5**j) for j in range(1, n)]
    return variance_ratio(agent, sum(other.mean for other in others), sum(other.variance for other in others))


SETTINGS: dict[str, tuple[Callable[[Agent, int], float], float]] = {
    "i.i.d., mean 0": (identical, 0.0),
    "i.i.d., mean 1": (identical, 1.0),
    "dependent, in cancelling pairs": (cancelling, 0.0),
    "independent, X_j = X / 2^j": (fading, 0.0),
}
"""By name: the ratio of a team of n, and the mean of X."""


def agents_of(seed: int, setting: str, count: int) -> list[Agent]:
    """Random agents for a setting; the cancelling pairs need a symmetric X, so its values come as x and -x, equally likely."""
    found = []
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        agent = random_agent(rng, mean=SETTINGS[setting][1])
        if SETTINGS[setting][0] is cancelling:
            agent = Agent(policy=np.tile(agent.policy, 2) / 2, x=np.concatenate([agent.x, -agent.x]))
        found.append(agent)
    return found


def growth(agent: Agent, ratio: Callable[[Agent, int], float]) -> float:
    """The exponent e of Var(g1) / Var(g2) ~ n^e, from doubling a team of 2^16."""
    return (
        float(np.log2(ratio(agent, 2**17) / ratio(agent, 2**16)))
        if ratio is not fading
        else float(np.log2(ratio(agent, 64) / ratio(agent, 32)))
    )


def ratio_claim(setting: str, agents: Sequence[Agent]) -> Claim:
    """Whether Var(g2) / Var(g1) is O(1/n)."""
    ratio, _ = SETTINGS[setting]
    exponents = [growth(agent, ratio) for agent in agents]
    ends = [np.median([ratio(agent, n) for agent in agents]) for n in (TEAMS[0], TEAMS[-1])]
    return Claim(
        name=f"Thm. 3, {setting}",
        claim="Var(g1) / Var(g2) grows at least as fast as n",
        measured=f"as n^{round(min(exponents), 2) + 0:.2f} or more; median {ends[0]:.1f} at n = {TEAMS[0]}, {ends[1]:.1f} at {TEAMS[-1]}",
        holds=bool(min(exponents) > 0.99),
        assumptions=ratio is identical,
    )


def proof_bound(agent: Agent, n: int) -> Float[np.ndarray, " logit"]:
    """The last line of the proof, R and L being the largest and smallest value of each logit's score."""
    high, low = agent.score.max(axis=0), agent.score.min(axis=0)
    variance, square = agent.variance, agent.mean**2
    return (high**2 * variance + (high - low) * square) / (n * low**2 * variance - n**2 * (high - low) * square)


def bound_claim(setting: str, agents: Sequence[Agent]) -> Claim:
    """Whether the proof's bound on Var(g2) / Var(g1) is one."""
    broken, negative = [], []
    for agent in agents:
        for n in TEAMS:
            bound = proof_bound(agent, n)
            ratio = gradient_variance(agent, 0, 0) / gradient_variance(agent, (n - 1) * agent.mean, (n - 1) * agent.variance)
            broken.append(ratio > bound)
            negative.append(bound < 0)
    return Claim(
        name=f"Thm. 3, proof's bound, {setting.removeprefix('i.i.d., ')}",
        claim="Var(g2) / Var(g1) <= (R^2 v + (R - L) m^2) / (n L^2 v - n^2 (R - L) m^2)",
        measured=f"broken in {np.mean(broken):.0%} of cases; the bound is negative in {np.mean(negative):.0%}",
        holds=not bool(np.any(broken)),
        note=f"n = {TEAMS[0]}..{TEAMS[-1]}, each logit of each agent; scores change sign, so L^2 does not bound them from below",
    )


def theorem_3(seed: int, count: int) -> list[Claim]:
    """The ratio in every setting, and the inequality that the proof ends with."""
    claims = [ratio_claim(setting, agents_of(seed, setting, count)) for setting in SETTINGS]
    proved = [setting for setting, (ratio, _) in SETTINGS.items() if ratio is identical]
    return claims + [bound_claim(setting, agents_of(seed, setting, count)) for setting in proved]


# -------------------------------------------------------------------------------------------------------------------- output


def reproduce(options: Options, say: Callable[[str], None]) -> None:
    """Measure every claim; say the table, and write it, the data and the figure."""
    cases = draw(options.seed, options.problems)
    few = cases[: max(1, options.problems // 10)]
    found = changes(cases)
    deterministic = deterministic_theorems.measure(options.seed, len(few))
    claims = [
        equation_16(cases),
        equation_16_correlated(cases),
        proposition_1(few),
        *(proposition_1_traces(few, lambda_) for lambda_ in (1, 10)),
        proposition_1_sampled(few),
        linear_proposition_1(few, 0),
        linear_proposition_1(few, KAPPA),
        *proposition_2(cases, few),
        *theorem_1(few),
        *theorem_2(cases, found),
        *theorem_3(options.seed, len(few)),
        *deterministic.claims,
        *theorem_7(few),
    ]
    ratios = {
        setting: [float(np.median([ratio(agent, n) for agent in agents_of(options.seed, setting, len(few))])) for n in TEAMS]
        for setting, (ratio, _) in SETTINGS.items()
    }
    table = as_table(claims)
    say(table)
    options.out.mkdir(parents=True, exist_ok=True)
    files.write_text(options.out / "table.txt", table + "\n")
    data = as_json(options, claims, found, ratios, deterministic)
    files.write_text(options.out / "theorems.json", data)
    picture = figure(found, ratios, deterministic)
    curves.save(picture, options.out / "theorems.png")
    say(f"figure: {options.out / 'theorems.png'}")


def as_json(
    options: Options,
    claims: Sequence[Claim],
    found: Float[np.ndarray, "step case"],
    ratios: dict[str, list[float]],
    deterministic: Found,
) -> str:
    """The claims and what the figure is drawn from."""
    quantiles = np.quantile(found, (0, 0.05, 0.5, 0.95, 1), axis=1)
    data = {
        "about": {"seed": options.seed, "problems": options.problems, "date": datetime.date.today().isoformat(), **surroundings()},
        "claims": [dataclasses.asdict(claim) for claim in claims],
        "theorem_2": {
            "step": STEP_SIZES,
            **{f"change_{name}": list(row) for name, row in zip(("least", "5%", "median", "95%", "most"), quantiles, strict=True)},
            "falls": list((found < -ROUNDING).mean(axis=1)),
        },
        "theorem_3": {"n": TEAMS, "median_var_g1_over_var_g2": ratios},
        **deterministic.data,
    }
    return json.dumps(data, indent=1) + "\n"


def figure(found: Float[np.ndarray, "step case"], ratios: dict[str, list[float]], deterministic: Found) -> Figure:
    """Theorem 3's ratio against n, Theorem 2's change of J against the step; Theorem 6's ratio, Theorem 5's error against delta."""
    picture = Figure(figsize=(11, 8.4), layout="constrained", facecolor="white")
    (left, right), (below_left, below_right) = picture.subplots(2, 2)
    draw_ratios(left, ratios)
    draw_changes(right, found)
    deterministic_theorems.draw_ratios(below_left, deterministic)
    deterministic_theorems.draw_errors(below_right, deterministic)
    return picture


def draw_ratios(axes: Axes, ratios: dict[str, list[float]]) -> None:
    for (setting, ratio), colour in zip(ratios.items(), COLOURS, strict=False):
        axes.plot(TEAMS, ratio, label=setting, color=colour, marker="o", markersize=3)
    axes.plot(TEAMS, TEAMS, label="n", color="black", linestyle="--", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="agents n", ylabel="Var(g1) / Var(g2)", title="Theorem 3: variance ratio, median")
    axes.set_xticks((2, 5, 10, 20), labels=("2", "5", "10", "20"))
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)


def draw_changes(axes: Axes, found: Float[np.ndarray, "step case"]) -> None:
    least, low, median, high = np.quantile(found, (0, 0.05, 0.5, 0.95), axis=1)
    axes.fill_between(STEP_SIZES, low, high, color=COLOURS[0], alpha=0.2, linewidth=0, label="5% to 95%")
    axes.plot(STEP_SIZES, median, color=COLOURS[0], label="median")
    axes.plot(STEP_SIZES, least, color=COLOURS[1], label="least")
    axes.axhline(0, color="black", linestyle="--", linewidth=1)
    axes.set(
        xscale="log", xlabel="step: largest change of a probability, before projection", ylabel="change of J", title="Theorem 2: one update"
    )
    axes.set_yscale("symlog", linthresh=1e-4)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
