"""Random problems for Lemma 3 and Theorem 5: teams of n agents at one tau, with a smooth Q^pi and candidates for the critic's Q_i."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dop.paper.theorems.claims import TEAMS
from dop.paper.theorems.deterministic.waves import Waves, decomposed, dense


@dataclass(frozen=True, kw_only=True)
class Place:
    """A team of n agents at one tau. Actions are relative to pi(tau), which is 0."""

    q: Waves
    """Q^pi."""
    f: tuple[Waves, ...]
    """Sums of random f_i(a_i), independent of Q^pi."""
    box: Float[np.ndarray, "point agent"]
    """Joint actions with |a|_inf <= 1: interior points, corners, and the corners along and against Q^pi's gradient."""

    @property
    def n(self) -> int:
        return self.box.shape[1]

    @property
    def origin(self) -> Float[np.ndarray, "1 agent"]:
        return np.zeros((1, self.n))

    @property
    def value(self) -> float:
        """Q^pi at pi(tau)."""
        return float(self.q(self.origin)[0])

    def slopes(self, delta: float) -> Float[np.ndarray, "point agent"]:
        """|dQ^pi / da_i| within delta."""
        return np.abs(self.q.gradient(np.vstack([self.origin, delta * self.box])))

    def lipschitz(self, delta: float) -> float:
        """L of SMOOTH, |Q(a') - Q(a)| <= L |a' - a|_inf: the largest 1-norm of the gradient, over samples, so a lower bound."""
        return float(self.slopes(delta).sum(axis=1).max())


def place(rng: np.random.Generator, n: int) -> Place:
    q = dense(rng, n)
    interior, corners = rng.uniform(-1, 1, size=(64, n)), rng.choice((-1.0, 1.0), size=(64, n))
    ascent = np.sign(q.gradient(np.zeros((1, n))))
    return Place(q=q, f=tuple(decomposed(rng, n) for _ in range(4)), box=np.vstack([interior, corners, ascent, -ascent]))


def draw_places(seed: int, count: int, teams: Sequence[int] = TEAMS) -> list[Place]:
    """`count` places for each team size."""
    return [place(np.random.default_rng((seed, n, index)), n) for n in teams for index in range(count)]
