"""The random problems: reproducible, with the documented shapes."""

from __future__ import annotations

import numpy as np

from dop.paper.theorems.stochastic.cases import draw_cases
from dop.paper.theorems.stochastic.tabular import Problem

CASES = draw_cases(0, 8)


def test_a_case_depends_on_seed_and_index_only() -> None:
    again, other = draw_cases(0, 3), draw_cases(1, 3)
    np.testing.assert_array_equal(again[2].policy, CASES[2].policy)
    assert not np.array_equal(other[2].policy, CASES[2].policy)


def test_a_problem_has_the_documented_shapes() -> None:
    problem: Problem = CASES[1].problem
    assert problem.reward.shape == (3, problem.actions**problem.agents)
    np.testing.assert_allclose(problem.transition.sum(axis=-1), 1)
