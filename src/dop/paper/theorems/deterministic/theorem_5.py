"""Theorem 5: within delta of pi(tau), infinitely many tuples of Q_i make Q_tot^phi close to Q^pi.

    |Q_tot^phi(tau, a) - Q^pi(tau, a)| <= 2 L n delta = O(n delta)    for |a - pi(tau)| <= delta    (Eq. 14)

L is that of the SMOOTH assumption: Q^pi has a first derivative, and |Q^pi(tau, a') - Q^pi(tau, a)| <= L |a' - a|_inf. The bound is
measured for the first-order fit and for the proof's construction (App. D.1: Lemma 3, Eqs. 30 and 31), as are another reading of L and
the order of the error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from dop.paper.theorems.claims import EXACT, TEAMS, Claim
from dop.paper.theorems.deterministic.lemma_3 import scale
from dop.paper.theorems.deterministic.places import Place

Fit = Callable[[Place, float], Float[np.ndarray, " point"]]
"""The error |Q_tot^phi - Q^pi| of a critic, at the place's joint actions within delta."""
DELTA = 0.1
"""delta of the claims on Eq. 14."""
DELTAS = tuple(float(f"{delta:.3g}") for delta in np.logspace(-3, 0, 13))
FIGURE_TEAM = 5
"""n of the figure on Theorem 5."""
KINK = 1.5
"""|a|^KINK is once but not twice differentiable at 0."""


def tangent_errors(p: Place, delta: float) -> Float[np.ndarray, " point"]:
    """|Q^phi - Q^pi| of the first-order fit: k_i Q_i = a_i dQ^pi / da_i, b = Q^pi at pi(tau)."""
    x = delta * p.box
    return np.abs(p.value + x @ p.q.gradient(p.origin)[0] - p.q(x))


def bounded_errors(p: Place, delta: float, limit: float = 1) -> Float[np.ndarray, " point"]:
    """The same for the proof's construction with constants in the f_i and K so small that no k_i Q_i is steeper than limit x L."""
    f, x = p.f[0], delta * p.box
    steepest = (np.abs(f.amplitude) @ np.abs(f.frequency)).max()
    return np.abs(p.value + limit * p.lipschitz(delta) / steepest * (f(x) - f(p.origin)) - p.q(x))


def arbitrary_errors(p: Place, delta: float) -> Float[np.ndarray, " point"]:
    """The same for the proof's construction as written: arbitrary f_i, K by Eq. 27."""
    f, x = p.f[0], delta * p.box
    return np.abs(scale(p, f) * f(x) - p.q(x))


def kinked_errors(p: Place, delta: float) -> Float[np.ndarray, " point"]:
    """The same for the first-order fit of Q^pi + sum_i |a_i|^KINK, a term with slope 0 at pi(tau)."""
    x = delta * p.box
    return np.abs(p.value + x @ p.q.gradient(p.origin)[0] - p.q(x) - (np.abs(x) ** KINK).sum(axis=1))


FITS: dict[str, Fit] = {
    "first-order fit": tangent_errors,
    "proof's fit, slopes <= L": bounded_errors,
    "proof's fit, any f_i": arbitrary_errors,
}
"""The fits for which Eq. 14 is measured."""


def error_over_bound(p: Place, fit: Fit, factor: float) -> float:
    """The largest error over 2 L factor delta; factor is n in Eq. 14."""
    return float(fit(p, DELTA).max()) / (2 * p.lipschitz(DELTA) * factor * DELTA)


def bound_claim(places: Sequence[Place], fit: Fit, name: str, note: str, *, assumptions: bool = True, with_n: bool = True) -> Claim:
    """Whether Eq. 14 bounds the error of a fit at all joint actions with |a - pi(tau)|_inf <= delta."""
    ratios = np.array([error_over_bound(p, fit, p.n if with_n else 1) for p in places])
    ends = [f"{ratios[[p.n == n for p in places]].max():.2g} (n = {n})" for n in (places[0].n, places[-1].n)]
    return Claim(
        name=f"Thm. 5, {name}",
        claim=f"|Q_tot^phi - Q^pi| <= 2 L {'n ' if with_n else ''}delta",
        measured=f"violated in {np.mean(ratios > 1):.1%}; error / bound at most {ratios.max():.2g}; {', '.join(ends)}",
        holds=bool(ratios.max() <= 1),
        note=note,
        assumptions=assumptions,
    )


def one_agents_lipschitz(places: Sequence[Place]) -> Claim:
    """Whether SMOOTH's inequality holds with the L of one agent's action, the reading in which Eq. 30 needs its n."""
    ratios, n = [], np.array([p.n for p in places])
    for p in places:
        ratios.append(np.abs(p.q(DELTA * p.box) - p.value).max() / (p.slopes(DELTA).max() * DELTA))
    found = np.array(ratios)
    ends = [f"{found[n == size].max():.1f} (n = {size})" for size in (min(n), max(n))]
    return Claim(
        name="Thm. 5, L of one agent's action",
        claim="|Q^pi(a) - Q^pi(pi(tau))| <= L |a - pi(tau)|_inf",
        measured=f"violated in {np.mean(found > 1 + EXACT):.0%}; up to {', '.join(ends)} times L delta; above n: {np.mean(found > n):.0%}",
        holds=bool((found <= 1 + EXACT).all()),
        note="L = max |dQ^pi / da_i|. SMOOTH's L is for all agents at once and grows with n, so Eq. 30 needs no n",
        assumptions=False,
    )


def order(p: Place, fit: Fit) -> float:
    """e of error ~ delta^e, between the smallest delta and ten times that."""
    small, large = DELTAS[0], 10 * DELTAS[0]
    return float(np.log10(fit(p, large).max() / fit(p, small).max()))


def order_claim(places: Sequence[Place], fit: Fit, name: str, note: str) -> Claim:
    """Whether the first-order fit's error is of second order."""
    found = [order(p, fit) for p in places]
    return Claim(
        name=f"Thm. 5, order, {name}",
        claim="the first-order fit's error falls as delta^2 (Eq. 14: delta)",
        measured=f"as delta^{min(found):.2f} to delta^{max(found):.2f}",
        holds=min(found) > 1.9,
        note=note,
        assumptions=False,
    )


def claims(places: Sequence[Place]) -> list[Claim]:
    """Eq. 14 for the first-order fit and the proof's construction, the reading of L, and the order of the error."""
    return [
        bound_claim(
            places,
            tangent_errors,
            "first-order fit",
            "random smooth Q^pi, n = 2..20, delta 0.1 in the maximum norm; any k_i > 0 with Q_i = a_i dQ^pi / da_i / k_i",
        ),
        bound_claim(places, bounded_errors, "proof's fit, slopes <= L", "Lemma 3's K f_i with each slope at most L, which Eq. 31 assumes"),
        bound_claim(
            places,
            arbitrary_errors,
            "proof's fit, any f_i",
            "Eq. 31 needs L for Q_tot^phi too; Lemma 3's f_i are arbitrary, and K is large if they nearly cancel",
        ),
        bound_claim(
            places,
            tangent_errors,
            "first-order fit, no n",
            "L of SMOOTH already covers all agents' actions together, so this fit meets the bound without n",
            assumptions=False,
            with_n=False,
        ),
        one_agents_lipschitz(places),
        order_claim(places, tangent_errors, "smooth", "the error is of second order if Q^pi has second derivatives"),
        order_claim(places, kinked_errors, "Q^pi differentiable once", f"Q^pi plus sum_i |a_i|^{KINK}: SMOOTH requires no more"),
    ]


CURVES: dict[str, Callable[[Place, float], float]] = {
    "bound 2 L n delta": lambda p, delta: 2 * p.lipschitz(delta) * p.n * delta,
    "proof's fit, slopes <= L": lambda p, delta: float(bounded_errors(p, delta).max()),
    "first-order fit, Q differentiable once": lambda p, delta: float(kinked_errors(p, delta).max()),
    "first-order fit, smooth Q": lambda p, delta: float(tangent_errors(p, delta).max()),
}
"""The curves of the figure on Theorem 5."""


def median_errors(places: Sequence[Place]) -> dict[str, list[float]]:
    """The median largest error for each of DELTAS, by fit, for the figure."""
    some = [p for p in places if p.n == FIGURE_TEAM]
    return {name: [float(np.median([error(p, delta) for p in some])) for delta in DELTAS] for name, error in CURVES.items()}


def errors_over_bound(places: Sequence[Place]) -> dict[str, list[float]]:
    """The largest error over Eq. 14's bound for each of TEAMS, by fit."""
    return {name: [max(error_over_bound(p, fit, p.n) for p in places if p.n == n) for n in TEAMS] for name, fit in FITS.items()}
