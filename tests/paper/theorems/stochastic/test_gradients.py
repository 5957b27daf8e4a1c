"""Tabular policy gradients: finite differences of a function whose gradient is known."""

from __future__ import annotations

import numpy as np

from dop.paper.theorems.stochastic import gradients
from dop.paper.theorems.stochastic.cases import draw_cases

CASES = draw_cases(0, 8)


def test_differences_of_a_known_function() -> None:
    # J = sum of p_1 over agents and states: the gradient of a softmax, p_1 ([a = 1] - p_a).
    policy = CASES[0].policy
    expected = policy[..., :1] * (np.eye(3)[0] - policy)
    np.testing.assert_allclose(gradients.finite_differences(lambda p: float(p[..., 0].sum()), policy), expected, atol=1e-9)
