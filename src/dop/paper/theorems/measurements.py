"""All claims in the order of the table, and the data of the figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dop.paper.theorems.claims import Claim
from dop.paper.theorems.deterministic import appendix_d2, lemma_3, theorem_4, theorem_5, theorem_6
from dop.paper.theorems.deterministic.places import draw_places
from dop.paper.theorems.deterministic.teams import draw_teams
from dop.paper.theorems.stochastic import equation_16, proposition_1, proposition_2, theorem_1, theorem_2, theorem_3, theorem_7
from dop.paper.theorems.stochastic.cases import draw_cases


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """The claims with their verdicts, and the data of the figure."""

    claims: list[Claim]
    theorem_2_changes: Float[np.ndarray, "step case"]
    """The change of J by one update, by step size (`theorem_2.STEP_SIZES`) and problem."""
    theorem_3_ratios: dict[str, list[float]]
    """The median Var(g_1) / Var(g_2) for each of TEAMS, by setting."""
    theorem_5_errors: dict[str, list[float]]
    """The median largest error for each of `theorem_5.DELTAS`, by fit."""
    theorem_5_errors_over_bound: dict[str, list[float]]
    """The largest error over the bound for each of TEAMS, by fit."""
    theorem_6_ratios: dict[str, list[float]]
    """Var(g_1) / Var(g_2) for each of TEAMS, by setting."""


def measure(seed: int, problems: int) -> Measurements:
    """Measure Eq. 16, Proposition 2 and Theorem 2 on `problems` random problems, the rest on a tenth as many."""
    cases = draw_cases(seed, problems)
    few = cases[: max(1, problems // 10)]
    count = len(few)
    places = draw_places(seed, count)
    changes = theorem_2.changes(cases)
    return Measurements(
        claims=[
            *equation_16.claims(cases),
            *proposition_1.claims(few),
            *proposition_2.claims(cases, few),
            *theorem_1.claims(few),
            *theorem_2.claims(cases, changes),
            *theorem_3.claims(seed, count),
            *theorem_4.claims(draw_teams(seed, count)),
            *lemma_3.claims(places),
            *theorem_5.claims(places),
            *appendix_d2.claims(seed, count),
            *theorem_6.claims(seed, count),
            *theorem_7.claims(few),
        ],
        theorem_2_changes=changes,
        theorem_3_ratios=theorem_3.median_ratios(seed, count),
        theorem_5_errors=theorem_5.median_errors(places),
        theorem_5_errors_over_bound=theorem_5.errors_over_bound(places),
        theorem_6_ratios=theorem_6.mean_ratios(seed, count),
    )
