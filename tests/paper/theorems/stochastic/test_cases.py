"""The random problems: what they depend on, and their shapes."""

from __future__ import annotations

import numpy as np

from dop.paper.theorems.stochastic.cases import draw
from dop.paper.theorems.stochastic.tabular import Problem

CASES = draw(0, 8)


def test_a_case_depends_on_its_seed_and_number_only() -> None:
    again, other = draw(0, 3), draw(1, 3)
    np.testing.assert_array_equal(again[2].policy, CASES[2].policy)
    assert not np.array_equal(other[2].policy, CASES[2].policy)


def test_a_problem_is_what_its_record_says() -> None:
    problem: Problem = CASES[1].problem
    assert problem.reward.shape == (3, problem.actions**problem.agents)
    np.testing.assert_allclose(problem.transition.sum(axis=-1), 1)
