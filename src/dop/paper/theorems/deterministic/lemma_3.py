"""Lemma 3 (App. D.1): for every (tau, a), infinitely many tuples of Q_i give Q_tot^phi(tau, a) = Q^pi(tau, a).

The proof scales arbitrary f_i:

    Q^pi(tau, a) = sum_i K(tau, a) f_i(tau, a_i),    K(tau, a) = Q^pi(tau, a) / sum_i f_i(tau, a_i)    (Eq. 27)

In deterministic DOP a = pi(tau), so K depends on tau alone (Eq. 28).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from dop.paper.theorems.claims import EXACT, Claim
from dop.paper.theorems.deterministic.places import Place
from dop.paper.theorems.deterministic.waves import Waves


def scale(p: Place, f: Waves) -> float:
    """K = Q^pi / sum_i f_i at pi(tau) (Eq. 27)."""
    return p.value / float(f(p.origin)[0])


def claims(places: Sequence[Place]) -> list[Claim]:
    """One joint action; the proof's K; all joint actions at once, as Eq. 28 may be read."""
    errors, distances, scales = [], [], []
    for p in places:
        fits = [f.scaled(scale(p, f)) for f in p.f]
        errors += [abs(float(fit(p.origin)[0]) - p.value) for fit in fits]
        distances += [np.abs(first(p.box) - second(p.box)).max() for first, second in itertools.combinations(fits, 2)]
        scales += [scale(p, f) for f in p.f]
    unexplained = {
        n: float(
            np.median([1 - sum(p.q.conditional_mean(i, 1).variance(1) for i in range(n)) / p.q.variance(1) for p in places if p.n == n])
        )
        for n in (min(p.n for p in places), max(p.n for p in places))
    }
    negative = float(np.mean(np.array(scales) < 0))
    return [
        Claim(
            name="Lemma 3",
            claim="many tuples of Q_i give Q_tot^phi = Q^pi at one (tau, a)",
            measured=f"largest difference {max(errors):.0e} over {len(errors)} random tuples; no two equal",
            holds=bool(max(errors) < EXACT and min(distances) > EXACT),
            note="one factor matches one number; if K < 0 the sign is moved into f_i",
        ),
        Claim(
            name="Lemma 3, proof's K",
            claim="for arbitrary f_i, K = Q^pi / sum_i f_i is a k_i of Eq. 4, so >= 0",
            measured=f"K < 0 for {negative:.0%} of random f_i",
            holds=negative == 0,
            note="Eq. 4 needs k_i >= 0, and Eq. 27 sum_i f_i != 0; negating f_i, or b(tau), repairs it",
        ),
        Claim(
            name="Lemma 3, all a at once",
            claim="the tuple fits every a of one tau (Eq. 28 with a free)",
            measured="best tuple misses "
            + ", ".join(f"{fraction:.0%} (n = {n})" for n, fraction in unexplained.items())
            + " of Q^pi's variance",
            holds=max(unexplained.values()) < EXACT,
            note="a ~ N(0, 1), random smooth Q^pi; K(tau, a) of Eq. 27 becomes K(tau) at a = pi(tau) only",
            assumptions=False,
        ),
    ]
