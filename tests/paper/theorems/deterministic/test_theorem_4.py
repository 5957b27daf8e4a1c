"""Theorem 4: Eq. 13 by hand, and that every claim can fail."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop.paper.theorems.deterministic import theorem_4
from dop.paper.theorems.deterministic.teams import draw_teams, random_team
from theorem_helpers import verdicts

TEAMS = draw_teams(0, 6)


def test_equation_13_by_hand() -> None:
    # One state and agent, a = tanh(2 theta) at theta = 0: da/dtheta = 2; w = 3, k = 5, slope 7: 210.
    team = random_team(np.random.default_rng(0))._replace(features=np.full((1, 1, 1), 2.0), theta=np.zeros((1, 1, 1)))
    found = theorem_4.equation_13(team, jnp.array([3.0]), np.full((1, 1), 5.0), jnp.full((1, 1, 1), 7.0))
    assert float(found[0, 0, 0]) == pytest.approx(210)


def test_theorem_4_holds_for_the_critics_gradient_and_with_pis_states_and_slopes() -> None:
    assert verdicts(theorem_4.claims(TEAMS)) == {
        "Thm. 4, grad of Q_tot": True,
        "Thm. 4, Q^pi linear": True,
        "Thm. 4, replay's states": False,
        "Thm. 4, replay's objective": False,
        "Thm. 4, Q^pi not linear, its slopes": True,
        "Thm. 4, fit, noise 0.3": False,
        "Thm. 4, fit to old actors' data": False,
    }


def test_theorem_4_holds_where_its_assumptions_do() -> None:
    # A replay of pi's own data; no future; a Q^pi that is linear in every action (to 1e-8).
    on_policy = verdicts(theorem_4.claims(TEAMS._replace(behaviour=TEAMS.theta)))
    assert on_policy["Thm. 4, replay's states"] and not on_policy["Thm. 4, fit, noise 0.3"]
    flat = TEAMS._replace(
        discount=0 * TEAMS.discount, joint=0 * TEAMS.joint, layer=1e-4 * TEAMS.layer, head=1e4 * TEAMS.head, shift=0 * TEAMS.shift
    )
    holds = verdicts(theorem_4.claims(flat))
    assert holds["Thm. 4, replay's objective"] and holds["Thm. 4, fit, noise 0.3"] and holds["Thm. 4, fit to old actors' data"]


def test_theorem_4_fails_without_k_and_with_half_the_slopes(monkeypatch: pytest.MonkeyPatch) -> None:
    right = theorem_4.equation_13
    monkeypatch.setattr(theorem_4, "equation_13", lambda team, states, k, slopes: right(team, states, jnp.ones_like(k), 0.5 * slopes))
    monkeypatch.setattr(theorem_4, "gradients_of_all", jax.jit(jax.vmap(theorem_4.gradients)))  # traced again
    assert not any(verdicts(theorem_4.claims(TEAMS)).values())
