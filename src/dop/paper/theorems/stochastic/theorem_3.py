"""Theorem 3, on centralised-decentralised mismatch: a decomposed critic reduces the variance of policy gradients. Under any s

    Var(g_2) / Var(g_1) = O(1 / n)    (Eq. 11)
    g_1 = grad log pi_i(a_i | s) Q_tot^phi(s, a),    g_2 = k_i(s) grad log pi_i(a_i | s) Q_i(s, a_i)

The proof (App. A.4) takes the X_i = k_i Q_i to be independent and identically distributed. The ratio is measured for such teams and
others, as is the last inequality of the proof. All variances are exact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dop.paper.theorems.claims import TEAMS, Claim


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
    """An agent with five actions; X has the given mean and variance 1."""
    policy = 0.02 + 0.9 * rng.dirichlet(np.ones(5))
    agent = Agent(policy=policy, x=rng.normal(size=5))
    return Agent(policy=policy, x=mean + (agent.x - agent.mean) / np.sqrt(agent.variance))


def gradient_variance(agent: Agent, others_mean: float, others_variance: float) -> Float[np.ndarray, " logit"]:
    """Var(grad log pi(a) (X + Y)) of every logit, where Y, the sum of the other agents' X_j, is independent of the action."""
    square = (agent.x + others_mean) ** 2 + others_variance
    mean = agent.policy @ (agent.score * (agent.x + others_mean)[:, None])
    return agent.policy @ (agent.score**2 * square[:, None]) - mean**2


def variance_ratio(agent: Agent, others_mean: float, others_variance: float) -> float:
    """Var(g1) / Var(g2), the variances summed over the logits."""
    return float(gradient_variance(agent, others_mean, others_variance).sum() / gradient_variance(agent, 0, 0).sum())


def iid(agent: Agent, n: int) -> float:
    """The other agents are independent copies: the proof's assumption."""
    return variance_ratio(agent, (n - 1) * agent.mean, (n - 1) * agent.variance)


def cancelling(agent: Agent, n: int) -> float:
    """The other agents are pairs of copies with opposite X_j; an odd one is left over. For X of mean 0, symmetric."""
    return variance_ratio(agent, 0, (n - 1) % 2 * agent.variance)


def geometric(agent: Agent, n: int) -> float:
    """The other agents are independent, with X_j = X / 2^j."""
    others = [agent.times(0.5**j) for j in range(1, n)]
    return variance_ratio(agent, sum(other.mean for other in others), sum(other.variance for other in others))


SETTINGS: dict[str, tuple[Callable[[Agent, int], float], float]] = {
    "i.i.d., mean 0": (iid, 0.0),
    "i.i.d., mean 1": (iid, 1.0),
    "dependent, in cancelling pairs": (cancelling, 0.0),
    "independent, X_j = X / 2^j": (geometric, 0.0),
}
"""By name: the variance ratio of a team of n, and the mean of X."""


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
    """The exponent e of Var(g1) / Var(g2) ~ n^e, from doubling a large team."""
    return (
        float(np.log2(ratio(agent, 2**17) / ratio(agent, 2**16)))
        if ratio is not geometric
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
        assumptions=ratio is iid,
    )


def proof_bound(agent: Agent, n: int) -> Float[np.ndarray, " logit"]:
    """The last line of the proof, R and L being the largest and smallest value of each logit's score."""
    high, low = agent.score.max(axis=0), agent.score.min(axis=0)
    variance, square = agent.variance, agent.mean**2
    return (high**2 * variance + (high - low) * square) / (n * low**2 * variance - n**2 * (high - low) * square)


def bound_claim(setting: str, agents: Sequence[Agent]) -> Claim:
    """Whether the proof's bound on Var(g2) / Var(g1) holds."""
    violated, negative = [], []
    for agent in agents:
        for n in TEAMS:
            bound = proof_bound(agent, n)
            ratio = gradient_variance(agent, 0, 0) / gradient_variance(agent, (n - 1) * agent.mean, (n - 1) * agent.variance)
            violated.append(ratio > bound)
            negative.append(bound < 0)
    return Claim(
        name=f"Thm. 3, proof's bound, {setting.removeprefix('i.i.d., ')}",
        claim="Var(g2) / Var(g1) <= (R^2 v + (R - L) m^2) / (n L^2 v - n^2 (R - L) m^2)",
        measured=f"violated in {np.mean(violated):.0%} of cases; bound negative in {np.mean(negative):.0%}",
        holds=not bool(np.any(violated)),
        note=f"n = {TEAMS[0]}..{TEAMS[-1]}, each logit of each agent; scores change sign, so L^2 does not bound them from below",
    )


def claims(seed: int, count: int) -> list[Claim]:
    """The ratio in every setting, and the last inequality of the proof."""
    ratios = [ratio_claim(setting, agents_of(seed, setting, count)) for setting in SETTINGS]
    iid_settings = [setting for setting, (ratio, _) in SETTINGS.items() if ratio is iid]
    return ratios + [bound_claim(setting, agents_of(seed, setting, count)) for setting in iid_settings]


def median_ratios(seed: int, count: int) -> dict[str, list[float]]:
    """Median Var(g1) / Var(g2) for each of TEAMS, by setting, for the figure."""
    return {
        setting: [float(np.median([ratio(agent, n) for agent in agents_of(seed, setting, count)])) for n in TEAMS]
        for setting, (ratio, _) in SETTINGS.items()
    }
