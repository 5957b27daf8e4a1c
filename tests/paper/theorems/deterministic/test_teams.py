"""The random teams: reproducible, with the documented Q^pi."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from dop.paper.theorems.deterministic import teams
from dop.paper.theorems.deterministic.teams import Team, draw_teams

TEAMS = draw_teams(0, 6)


def first(team: Team) -> Team:
    return Team(*(each[0] for each in team))


def test_a_team_depends_on_seed_and_index_only() -> None:
    np.testing.assert_array_equal(draw_teams(0, 2).theta, TEAMS.theta[:2])
    assert not np.array_equal(draw_teams(1, 2).theta, TEAMS.theta[:2])


def test_true_value_is_q_pi() -> None:
    # V(s) = Q(s, pi(s)) at pi, and J is the occupancy's sum of rewards; d sums to 1 / (1 - gamma).
    team = first(TEAMS)
    with jax.enable_x64(True):
        value = teams.values(team, team.theta)
        np.testing.assert_allclose(value, teams.true_value(team, teams.joint_action(team, team.theta)), atol=1e-12)
        assert float(teams.occupancy(team, team.behaviour).sum()) == pytest.approx(10)
