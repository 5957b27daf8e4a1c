"""Figures of Aggregation and Mill: trajectories match the environments' docstrings, and everything is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dop import envs
from dop.paper import environments
from dop.paper.environments import Options

KEY = jax.random.key(0)


def test_a_trajectory_is_one_whole_episode() -> None:
    """All clockwise: 20, 39, 57.05, ..., past 100 in step 6 after four rewards of 3."""
    trajectory = environments.play_episode(envs.make("mill"), environments.pushing(wrong=0), KEY)
    assert trajectory.outcome == "won in step 6, return 22"
    np.testing.assert_allclose(trajectory.states.omega[:4], [0, 20, 39, 57.05], rtol=1e-6)
    assert len(trajectory.states.omega) == len(trajectory.reward) + 1


def test_a_lost_episode_lasts_to_the_time_limit() -> None:
    trajectory = environments.play_episode(
        envs.make("aggregation", time_limit=3, n_agents=2), lambda _, step: jnp.zeros((2, 5)).at[:, 1].set(1.0), KEY
    )
    assert (len(trajectory.reward), trajectory.outcome) == (3, "lost in step 3, return -10")
    assert trajectory.states.position.shape == (4, 2, 2)


def test_win_rates() -> None:
    game = envs.make("aggregation", n_agents=2)
    away = environments.evaluate(game, lambda _, step: jnp.zeros((2, 5)).at[:, 1].set(1.0), KEY, 50)
    assert away.startswith("won   8.000% +- 3.837%, return  -8.40")  # 4 of 50 agents crossed the landmark by chance
    assert (
        environments.evaluate(envs.make("mill"), environments.pushing(wrong=1), KEY, 2)
        == "won 100.000% +- 0.000%, return  28.00, length  8.00"
    )


def test_pictures_of_every_family(tmp_path: Path) -> None:
    lines: list[str] = []
    environments.reproduce(Options(out=tmp_path, episodes=0), lines.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["aggregation.png", "mill.png", "skirmish.png"]
    assert all(path.stat().st_size > 10_000 for path in tmp_path.iterdir())
    assert len(lines) == 3


def test_mill_has_a_line_for_every_team() -> None:
    left, right = environments.draw_mill(KEY).axes
    legend: Any = right.get_legend()
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[:3] == [
        "hold, then win: won in step 10, return 34",
        "all clockwise: won in step 6, return 22",
        "one the wrong way: won in step 8, return 28",
    ]
    assert len(left.lines) == 5 + 2  # and the two thresholds
