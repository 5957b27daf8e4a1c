"""All measurements: complete, without two claims of one name, and the same for the same seed."""

from __future__ import annotations

from dop.paper.theorems.deterministic import theorem_5, theorem_6
from dop.paper.theorems.measurements import measure
from dop.paper.theorems.stochastic import theorem_1, theorem_2, theorem_3
from dop.paper.theorems.stochastic.cases import draw_cases


def test_equal_seeds_give_equal_claims() -> None:
    first, again, other = (draw_cases(seed, 4) for seed in (0, 0, 1))
    assert theorem_1.claims(first) == theorem_1.claims(again) != theorem_1.claims(other)
    assert theorem_3.claims(0, 4) == theorem_3.claims(0, 4) != theorem_3.claims(1, 4)


def test_measurements_cover_every_team_and_delta_and_depend_on_the_seed() -> None:
    found = measure(0, 1)
    names = [claim.name for claim in found.claims]
    assert len(names) == len(set(names))
    by_team = (found.theorem_3_ratios, found.theorem_5_errors_over_bound, found.theorem_6_ratios)
    assert all(len(each) == 19 for curves in by_team for each in curves.values())
    assert found.theorem_2_changes.shape == (len(theorem_2.STEP_SIZES), 1)
    assert all(len(each) == len(theorem_5.DELTAS) for each in found.theorem_5_errors.values())
    assert theorem_6.fit_claim(0, 2) == theorem_6.fit_claim(0, 2) != theorem_6.fit_claim(1, 2)
