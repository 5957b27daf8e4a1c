"""Eq. 16: against the library's `expected_q`, and that it can fail."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop import returns
from dop.paper.theorems.stochastic import equation_16
from dop.paper.theorems.stochastic.cases import draw_cases

CASES = draw_cases(0, 8)


def test_equation_16_holds_and_equals_the_librarys_expectation() -> None:
    case = CASES[1]
    found = jax.vmap(returns.expected_q, in_axes=(0, 0, 1, 1))(
        *(jnp.asarray(x) for x in (case.critic.k, case.critic.b, case.policy, case.critic.q))
    )
    np.testing.assert_allclose(found, equation_16.decomposed_expectation(case.policy, case.critic), rtol=1e-5, atol=1e-5)
    assert equation_16.independent_claim(CASES).holds
    assert equation_16.correlated_claim(CASES).holds


def test_equation_16_fails_without_the_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equation_16, "decomposed_expectation", lambda policy, critic: (policy * critic.credit).sum(axis=(0, 2)))
    assert not equation_16.independent_claim(CASES).holds
    assert not equation_16.correlated_claim(CASES).holds
