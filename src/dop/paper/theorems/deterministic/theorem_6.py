"""Theorem 6, on centralised-decentralised mismatch: a decomposed critic reduces the variance of deterministic gradients. Under any tau

    Var(g_2) / Var(g_1) = O(1 / n)    (Eq. 15)
    g_1 = grad_theta_i pi_i(tau_i) grad_a_i Q_tot^phi(tau, a),    g_2 = grad_theta_i pi_i(tau_i) k_i(tau) grad_a_i Q_i(tau, a_i)

for actions with exploration noise, a_i ~ mu_i. Several readings are measured (`SETTINGS`): the statement, the proof (App. B.2), and the
surrounding text, a joint critic against a linear one. So is the last inequality of the proof. All variances are exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from dop.paper.theorems.claims import EXACT, TEAMS, Claim
from dop.paper.theorems.deterministic.waves import Waves, decomposed, dense, waves

NOISE = 0.3
"""Standard deviation of Theorem 6's exploration noise."""


class Pair(NamedTuple):
    """g_1 and g_2 as functions of the noise. grad_theta_i pi_i(tau_i) does not depend on it, and cancels."""

    g1: Waves
    g2: Waves


def sum_over_sources(parts: Sequence[Waves], sources: Sequence[int]) -> Waves:
    """sum_j parts_j(noise of source_j); each part has one input."""
    columns = np.eye(max(sources) + 1)
    return Waves(
        amplitude=np.concatenate([part.amplitude for part in parts]),
        phase=np.concatenate([part.phase for part in parts]),
        frequency=np.concatenate([part.frequency * columns[source] for part, source in zip(parts, sources, strict=True)]),
    )


def sums_of_copies(rng: np.random.Generator, n: int) -> Pair:
    """The proof's terms: X_j = k_j Q_j, not its gradient; i.i.d."""
    x = decomposed(rng, 1)
    return Pair(sum_over_sources([x] * n, range(n)), x)


def sums_of_cancelling_pairs(rng: np.random.Generator, n: int) -> Pair:
    """The same, but the others are pairs with equal noise and opposite Q_j; an odd one is left over."""
    x = decomposed(rng, 1)
    return Pair(sum_over_sources([x] + [x.scaled((-1) ** j) for j in range(n - 1)], [0, *(1 + j // 2 for j in range(n - 1))]), x)


def geometric_sums(rng: np.random.Generator, n: int) -> Pair:
    """The same, but independent with X_j = X / 2^j."""
    x = decomposed(rng, 1)
    return Pair(sum_over_sources([x.scaled(0.5**j) for j in range(n)], range(n)), x)


def neighbours(rng: np.random.Generator, n: int) -> Waves:
    """The terms with agent 0 of a joint critic on a ring: four waves with each neighbour."""
    dependence = np.zeros((8, n))
    dependence[:, 0] = dependence[:4, 1] = dependence[4:, -1] = 1
    return waves(rng, dependence)


def all_pairs(rng: np.random.Generator, n: int) -> Waves:
    """The terms with agent 0 of a joint critic that is a sum over pairs of agents: one wave with each other agent."""
    dependence = np.eye(n)[1:]
    dependence[:, 0] = 1
    return waves(rng, dependence)


def with_fit(critic: Callable[[np.random.Generator, int], Waves]) -> Callable[[np.random.Generator, int], Pair]:
    """Agent 0's g_1 of a joint critic, and g_2 of its best linear fit under mu."""

    def pair(rng: np.random.Generator, n: int) -> Pair:
        q = critic(rng, n)
        return Pair(q.partial(0), q.conditional_mean(0, NOISE).partial(0))

    return pair


def linear_critic(rng: np.random.Generator, n: int) -> Pair:
    """The statement: grad_a_0 of Q_tot^phi = sum_i k_i Q_i, and of its term k_0 Q_0."""
    q = decomposed(rng, n)
    own = q.frequency[:, 0] != 0
    return Pair(q.partial(0), Waves(amplitude=q.amplitude[own], phase=q.phase[own], frequency=q.frequency[own]).partial(0))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A reading of Theorem 6."""

    pair: Callable[[np.random.Generator, int], Pair]
    note: str = ""
    assumptions: bool = False
    large: tuple[int, int] = (16, 256)
    """The team sizes between which growth is measured."""
    draws: int = 1
    """Random cases per requested case; more where ratios vary more between cases."""


SETTINGS: dict[str, Setting] = {
    "as stated": Setting(
        pair=linear_critic,
        note="Q_tot^phi is linear, so grad_a_i Q_tot = k_i grad_a_i Q_i: g_1 and g_2 are the same",
        assumptions=True,
    ),
    "proof's X_j, i.i.d.": Setting(
        pair=sums_of_copies,
        note="the proof drops grad_a_i and compares k_i Q_i with sum_j k_j Q_j, which are not in Eq. 13",
        assumptions=True,
    ),
    "proof's X_j, in cancelling pairs": Setting(pair=sums_of_cancelling_pairs),
    "proof's X_j, X_j = X / 2^j": Setting(pair=geometric_sums),
    "joint critic, dense": Setting(
        pair=with_fit(dense),
        note="g_1 of a joint critic (MADDPG), g_2 of its best linear fit under mu; random smooth Q of all actions",
        large=(64, 1024),
        draws=40,
    ),
    "joint critic, ring": Setting(pair=with_fit(neighbours), note="the same; each agent interacts with two others, for every n", draws=10),
    "joint critic, pairs": Setting(pair=with_fit(all_pairs), note="the same; each agent interacts with every other, pair by pair", draws=3),
}
"""Readings and cases, by name. The last three are the theorem in words: a joint critic against a linear one."""


def variances(seed: int, setting: str, n: int, count: int) -> Float[np.ndarray, "case 2"]:
    """Var(g_1) and Var(g_2) in random cases."""
    pairs = (SETTINGS[setting].pair(np.random.default_rng((seed, n, index)), n) for index in range(count * SETTINGS[setting].draws))
    return np.array([[g.variance(NOISE) for g in pair] for pair in pairs])


def variance_ratio(seed: int, setting: str, n: int, count: int) -> float:
    """Var(g_1) / Var(g_2), each averaged over the cases."""
    first, second = variances(seed, setting, n, count).mean(axis=0)
    return float(first / second)


def ratio_claim(seed: int, setting: str, count: int) -> Claim:
    """Whether Var(g_2) / Var(g_1) is O(1 / n)."""
    teams = SETTINGS[setting].large
    small, large = (variance_ratio(seed, setting, n, count) for n in teams)
    exponent = float(np.log(large / small) / np.log(teams[1] / teams[0]))
    ends = [variance_ratio(seed, setting, n, count) for n in (TEAMS[0], TEAMS[-1])]
    return Claim(
        name=f"Thm. 6, {setting}",
        claim="Var(g1) / Var(g2) grows at least as fast as n",
        measured=f"as n^{round(exponent, 2) + 0:.2f}; {ends[0]:.1f} at n = {TEAMS[0]}, {ends[1]:.1f} at {TEAMS[-1]}",
        holds=exponent > 0.9,
        note=SETTINGS[setting].note,
        assumptions=SETTINGS[setting].assumptions,
    )


def fit_claim(seed: int, count: int) -> Claim:
    """The best linear fit of any joint critic: the law of total variance."""
    joint = [SETTINGS[name].pair for name in SETTINGS if name.startswith("joint critic")]
    pairs = [pair(np.random.default_rng((seed, n, i)), n) for pair in joint for n in (2, 5, 20) for i in range(count)]
    ratios = [g2.variance(NOISE) / g1.variance(NOISE) for g1, g2 in pairs]
    shift = max(abs(g1.mean(NOISE) - g2.mean(NOISE)) for g1, g2 in pairs)
    return Claim(
        name="Thm. 6, fit of any joint critic",
        claim="Var(g2) <= Var(g1), and E g2 = E g1",
        measured=f"Var(g2) / Var(g1) from {min(ratios):.1g} to {max(ratios):.4f}; means differ by {shift:.0e} at most",
        holds=max(ratios) <= 1 + EXACT and shift < EXACT,
        note="the best linear fit under mu has E[g_1 | a_i] for g_2; the reduction of variance depends on the critic",
        assumptions=False,
    )


def noiseless(pair: Pair) -> Pair:
    """Without noise on agent 0's own action."""
    return Pair(pair.g1.with_zero_input(0), pair.g2.with_zero_input(0))


def noiseless_claim(seed: int, count: int) -> Claim:
    """Eqs. 1 and 13 as written: a_i = pi_i(tau_i), without the noise of the theorem's mu_i."""
    pairs = [noiseless(with_fit(dense)(np.random.default_rng((seed, n, i)), n)) for n in (2, 5, 20) for i in range(count)]
    first, second = ([g.variance(NOISE) for g in each] for each in zip(*pairs, strict=True))
    return Claim(
        name="Thm. 6, a_i without noise",
        claim="Var(g2) = 0 < Var(g1) where a_i = pi_i(tau_i), as in Eqs. 1 and 13",
        measured=f"Var(g2) <= {max(second):.0e}; Var(g1) from {min(first):.0e} to {max(first):.0e}",
        holds=max(second) < EXACT and min(first) > 0,
        note="joint critic as above, the others' actions with noise, as from a replay; Eq. 13's terms do not depend on them",
        assumptions=False,
    )


def actor_slopes(rng: np.random.Generator) -> Float[np.ndarray, " feature"]:
    """grad_theta_i pi_i(tau_i) of pi_i = tanh(theta_i . features)."""
    features, theta = rng.normal(size=(2, 5))
    return (1 - np.tanh(theta @ features) ** 2) * features


def proof_bound(slopes: Float[np.ndarray, " feature"], n: int, mean: float, variance: float) -> float:
    """The last line of the proof, R and L being the largest and smallest entry of grad_theta_i pi_i."""
    high, low = slopes.max(), slopes.min()
    return float((high**2 * variance + (high - low) * mean**2) / (n * low**2 * variance - n**2 * (high - low) * mean**2))


def proof_bound_claim(seed: int, count: int) -> Claim:
    """Whether the proof's bound holds for its own terms, with mean 0 and with any mean."""
    rows = []
    for n, index in itertools.product(TEAMS, range(count)):
        rng = np.random.default_rng((seed, n, index))
        slopes, (g1, g2) = actor_slopes(rng), sums_of_copies(rng, n)
        variance = g2.variance(NOISE)
        bounds = np.array([proof_bound(slopes, n, mean, variance) for mean in (0, g2.mean(NOISE))])
        rows.append([*(variance / g1.variance(NOISE) > bounds * (1 + EXACT)), bounds[1] < 0])
    centred, any_mean, negative = np.mean(rows, axis=0)
    return Claim(
        name="Thm. 6, proof's bound",
        claim="Var(g2) / Var(g1) <= (R^2 v + (R - L) m^2) / (n L^2 v - n^2 (R - L) m^2)",
        measured=f"violated in {centred:.0%} if m = 0, in {any_mean:.0%} if not (bound negative in {negative:.0%})",
        holds=bool(centred == any_mean == 0),
        note="L <= grad_theta_i pi_i <= R over its entries, n = 2..20; entry by entry L = R, and the ratio is 1 / n exactly",
    )


def claims(seed: int, count: int) -> list[Claim]:
    """Every reading, the best linear fit, actions without own noise, and the proof's bound."""
    return [
        *(ratio_claim(seed, setting, count) for setting in SETTINGS),
        fit_claim(seed, count),
        noiseless_claim(seed, count),
        proof_bound_claim(seed, count),
    ]


def mean_ratios(seed: int, count: int) -> dict[str, list[float]]:
    """Var(g_1) / Var(g_2) for each of TEAMS, by setting, for the figure."""
    return {setting: [variance_ratio(seed, setting, n, max(1, count // 4)) for n in TEAMS] for setting in SETTINGS}
