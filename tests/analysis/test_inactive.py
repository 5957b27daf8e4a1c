"""Lines of an agent end where it becomes inactive: in what is kept of an episode, in figures, films, tables and files."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import dop
from dop.analysis.playback import Player, Trajectory, active_agents
from dop.training.program import Program
from dop.visualise import credit_figures, film
from workers import small

T = 5
KEY = jax.random.key(0)


@dataclass(frozen=True)
class Mortal:
    """Agent a lives; b dies after two steps and has no legal action then; c dies after three, as in SMAC: it may stop, and sees zeros."""

    @property
    def spec(self) -> dop.EnvSpec:
        sizes: dict[str, Any] = {"obs_sizes": (1, 1, 1), "action_sizes": (3, 3, 3), "state_size": 1, "time_limit": T}
        return dop.EnvSpec(name="mortal", version="1", agents=("a", "b", "c"), action_names=(("wait", "shoot", "run"),) * 3, **sizes)

    def reset(self, key: Any) -> tuple[Any, dop.TimeStep]:
        return jnp.zeros((), jnp.int32), self._look(jnp.zeros((), jnp.int32), 0.0)

    def step(self, key: Any, state: Any, action: Any) -> tuple[Any, dop.TimeStep]:
        return state + 1, self._look(state + 1, 1.0)

    def _look(self, t: Any, reward: float) -> dop.TimeStep:
        dead = jnp.array([False, t >= 2, t >= 3])
        can = jnp.ones((3, 3), bool) & ~dead[:, None] | jnp.array([[False] * 3, [False] * 3, [True, False, False]])
        return dop.TimeStep(
            obs=jnp.where(dead, 0.0, t + 1.0)[:, None],
            state=jnp.ones(1) * t,
            action_mask=can,
            reward=jnp.float32(reward),
            terminated=jnp.zeros((), bool),
            truncated=t >= T,
            metrics=jnp.zeros(0),
        )


ACTIVE = np.arange(T)[:, None] < [T, 2, 3]


@pytest.fixture(scope="module")
def trajectory() -> Trajectory:
    program = Program(algorithm=small("stochastic-dop"), environment=Mortal())
    return Player(program)(program.algorithm.init(KEY, program.spec), KEY, 1)[0]


def test_who_is_inactive_is_read_off_what_it_sees_and_may_do(trajectory: Trajectory):
    np.testing.assert_array_equal(trajectory.active, ACTIVE)
    # With one component a box has one legal entry all the time, and an agent with one action never had more.
    box = replace(trajectory.spec, action_kind="box")
    assert active_agents(box, trajectory.steps)[:, 2].all()
    alone = replace(trajectory.spec, action_sizes=(3, 3, 1), action_names=())
    assert active_agents(alone, trajectory.steps)[:, 2].all()


@pytest.mark.parametrize("field", ["k", "q", "advantage", "credit", "values", "policy"])
def test_nothing_is_said_of_an_inactive_agent(trajectory: Trajectory, field: str):
    assert trajectory.credit_estimate is not None
    said = np.asarray(getattr(trajectory.credit_estimate, field), float)
    np.testing.assert_array_equal(np.isnan(said).reshape(T, 3, -1).all(axis=-1), ~ACTIVE)
    np.testing.assert_array_equal(np.isfinite(said).reshape(T, 3, -1).all(axis=-1), ACTIVE)
    assert np.isfinite(np.asarray(trajectory.credit_estimate.b, float)).all()


def test_lines_end_with_a_cross(trajectory: Trajectory):
    axes = Figure().subplots(4, 1)
    credit_figures._draw_lines(axes, trajectory)
    for row, (field, _) in zip(axes, credit_figures.ROWS, strict=True):
        lines = [line for line in row.lines if line.get_marker() != "x"]
        assert [np.isfinite(np.asarray(line.get_ydata(), float)).sum() for line in lines] == [T, 2, 3]
        crosses = [np.asarray(line.get_xydata()) for line in row.lines if line.get_marker() == "x"]
        assert [cross[:, 0].tolist() for cross in crosses] == [[], [1], [2]]
        assert crosses[1][0, 1] == getattr(trajectory.credit_estimate, field)[1, 1]


def test_actions_end_with_a_cross_and_have_names(trajectory: Trajectory):
    axes = Figure(figsize=(10, 2)).subplots()
    credit_figures._draw_actions(axes, trajectory, inches=10)
    assert len(axes.texts) == T + 2 + 3
    assert {text.get_text() for text in axes.texts} <= {"wait", "shoot", "run"}
    assert [np.asarray(line.get_xydata()).tolist() for line in axes.lines] == [[], [[2, 1]], [[3, 2]]]


def test_films_and_tables_leave_them_out(trajectory: Trajectory):
    assert [film.action_text(trajectory, 4, agent) for agent in (1, 2)] == ["inactive"] * 2
    for credit_estimate in (trajectory.credit_estimate, None):
        doing = film.table_values(replace(trajectory, credit_estimate=credit_estimate))
        np.testing.assert_array_equal(np.isnan(doing).all(axis=-1), ~ACTIVE)
        axes = Figure(figsize=(5, 4)).subplots()
        film.draw_table(axes, trajectory.spec, doing[4])
        assert sum(bool(text.get_text()) for text in axes.texts) == 3
    assert [label.get_text() for label in axes.get_xticklabels()] == ["wait", "shoot", "run"]


def test_means_are_over_steps_at_which_an_agent_is_active(trajectory: Trajectory):
    assert trajectory.credit_estimate is not None
    found, acted = credit_figures.by_agent([trajectory]), credit_figures.by_action([trajectory])
    np.testing.assert_allclose(
        found.mean, [np.mean(np.asarray(trajectory.credit_estimate.credit)[:n, i]) for i, n in enumerate((T, 2, 3))], rtol=1e-5
    )
    assert acted.times.sum(axis=1).tolist() == [T, 2, 3]


def test_files_have_null_for_them(trajectory: Trajectory):
    data = json.loads(json.dumps(credit_figures.as_data({"best": trajectory}, [trajectory], {}), allow_nan=False))
    best = data["episodes"]["best"]
    assert data["action_names"] == [["wait", "shoot", "run"]] * 3
    assert best["active"] == ACTIVE.tolist()
    for field in ("k", "q", "advantage", "credit", "action"):
        assert [[value is not None for value in row] for row in best[field]] == ACTIVE.tolist()
    assert None not in data["summary"]["credit"]


def test_all_figures_and_the_film_are_drawn(trajectory: Trajectory, tmp_path: Path):
    for figure in (
        credit_figures.episode_figure(Mortal(), trajectory, title="x"),
        credit_figures.summary_figure([trajectory], {0: [trajectory]}, title="x"),
    ):
        film.pixels(figure)
    film.write(film.film(Mortal(), trajectory, title="mortal"), tmp_path / "f.gif", per_second=4)
    words = [text.get_text() for text in credit_figures.episode_figure(Mortal(), trajectory, title="x").legends[0].get_texts()]
    assert words == ["a", "b", "c", "becomes inactive"]
