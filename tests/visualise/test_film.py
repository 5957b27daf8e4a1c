"""Films show what was played: the library's own greedy episodes, drawn by the environments, as files that are whole."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

import dop
from dop import views
from dop.analysis.playback import Player, Trajectory, best_and_worst
from dop.rollout.program import PythonProgram, Source
from dop.training.collect import collect
from dop.training.program import Program
from dop.types import Drawable
from dop.visualise import film
from python_environments import Walk
from workers import small

KEY = jax.random.key(0)
DRAWN = {"smax:3m": {}, "mpe:spread": {}, "mpe:reference": {}, "mpe:speaker-listener": {"actions": "box"}, "aggregation": {}, "mill": {}}


@pytest.mark.parametrize("name", DRAWN)
def test_environments_draw_every_agent_within_the_same_limits(name: str):
    env: Any = dop.make(name, **DRAWN[name])
    assert isinstance(dop.make(name, **DRAWN[name]), Drawable)
    spec, axes = env.spec, Figure().subplots()
    state, _ = jax.jit(env.reset)(KEY)
    action = np.zeros(spec.action_shape, np.int32 if spec.action_kind == "discrete" else np.float32)
    later, _ = jax.jit(env.step)(KEY, state, action)
    limits = []
    for moment, done in ((state, action), (later, None)):
        env.draw(axes, jax.tree.map(np.asarray, moment), done, film.colours_of(spec.n_agents))
        limits.append((axes.get_xlim(), axes.get_ylim()))
        discs = [patch for patch in axes.patches if type(patch).__name__ == "Circle"]
        assert len(discs) >= spec.n_agents
        axes.clear()
    assert limits[0] == limits[1]


@pytest.mark.parametrize("name", ["mpe:reference", "mpe:speaker-listener"])
def test_a_filled_landmark_is_where_the_agent_of_its_colour_earns_the_most(name: str):
    """Put the agent of each filled landmark's colour onto it: that is worth more than to put it onto any other landmark."""
    env: Any = dop.make(name)
    n, colours = env.spec.n_agents, ["#ff0000", "#00ff00"]
    state: Any = jax.jit(env.reset)(jax.random.key(5))[0]
    axes = Figure().subplots()
    env.draw(axes, jax.tree.map(np.asarray, state), None, colours)
    faces: Any = [patch.get_facecolor() for patch in axes.patches[:3]]
    filled = [place for place, face in enumerate(faces) if face[3] > 0]
    assert len(filled) == (2 if name == "mpe:reference" else 1)
    earns: Any = jax.jit(lambda state: sum(env.game.rewards(state).values()))
    for place in filled:
        agent = colours.index(to_hex(faces[place]))
        worth = [earns(state.replace(p_pos=state.p_pos.at[agent].set(state.p_pos[n + other]))) for other in range(3)]
        assert int(np.argmax(worth)) == place


@dataclass(frozen=True)
class Countdown:
    """Terminates after 3 of at most 5 steps, and pays what step it is."""

    @property
    def spec(self) -> dop.EnvSpec:
        sizes = {"obs_sizes": (1,), "action_sizes": (2,), "state_size": 1}
        return dop.EnvSpec(name="countdown", version="1", agents=("one",), time_limit=5, metrics=("left",), **sizes)

    def reset(self, key: Any) -> tuple[Any, dop.TimeStep]:
        return jax.numpy.zeros((), jax.numpy.int32), self._look(jax.numpy.zeros((), jax.numpy.int32), 0.0)

    def step(self, key: Any, state: Any, action: Any) -> tuple[Any, dop.TimeStep]:
        return state + 1, self._look(state + 1, 1.0)

    def _look(self, t: Any, pays: float) -> dop.TimeStep:
        jnp = jax.numpy
        seen = jnp.ones(1) * t
        return dop.TimeStep(
            obs=seen[None],
            state=seen,
            action_mask=jnp.ones((1, 2), bool),
            reward=pays * t.astype(jnp.float32),
            terminated=t >= 3,
            truncated=jnp.zeros((), bool),
            metrics=3 - seen,
        )


def test_an_episode_is_cut_where_it_ended_and_keeps_everything():
    algorithm = small("vdn")
    program = Program(algorithm=algorithm, environment=Countdown())
    learner = algorithm.init(KEY, program.spec)
    (trajectory,) = Player(program)(learner, KEY, 1)
    assert (trajectory.length, trajectory.undiscounted_return, trajectory.metrics) == (3, 6.0, {"left": 0.0})
    assert trajectory.states.tolist() == [0, 1, 2, 3]
    assert trajectory.steps.obs[:, 0, 0].tolist() == [0, 1, 2, 3]
    episode, _ = jax.jit(lambda: collect(algorithm, program.environment, learner, KEY, episodes=1, explore=False))()
    np.testing.assert_array_equal(trajectory.actions, episode.action[0, :3])
    assert trajectory.credit_estimate is not None
    assert trajectory.credit_estimate.values.shape == (3, 1, 2)


def test_examples_are_chosen_by_return():
    def trajectory(earned: float) -> Any:
        return type("T", (), {"undiscounted_return": earned})()

    a, b, c = trajectory(1.0), trajectory(3.0), trajectory(2.0)
    assert best_and_worst([a, b, c]) == {"best": b, "worst": a}
    assert best_and_worst([a, trajectory(1.0)]) == {"best": a}


class Painted(Walk):
    def render(self) -> np.ndarray | None:
        return np.full((20, 30, 3), 10 * self._t, np.uint8)


@pytest.mark.parametrize("painted", [True, False])
def test_environments_outside_jax_are_played_and_draw_themselves(painted: bool, tmp_path: Path):
    made: list[Walk] = []

    def make() -> Walk:
        made.append((Painted if painted else Walk)(time_limit=4))
        return made[-1]

    program = PythonProgram(algorithm=small("stochastic-dop"), environment=Source(Walk(time_limit=4).spec, make))  # pyright: ignore[reportArgumentType]
    trajectories = Player(program)(program.algorithm.init(KEY, program.spec), KEY, 3)
    assert [walk.closed for walk in made] == [1]
    resets = [place for place, (asked, _, _) in enumerate(made[0].seen) if asked == "reset"]
    assert np.diff([*resets, len(made[0].seen)]).tolist() == [trajectory.length + 1 for trajectory in trajectories]
    for trajectory in trajectories:
        assert [picture.max() for picture in trajectory.pictures] == ([10 * t for t in range(trajectory.length + 1)] if painted else [])
        assert trajectory.credit_estimate is not None
        film.write(film.film(program.environment, trajectory, title="walk"), tmp_path / "walk.gif", per_second=4)


def test_dop_render_films_a_game_of_one_step_over_its_training(trained: Path, tmp_path: Path):
    written = views.render(trained, trust=True, out=tmp_path, episodes=4)
    assert [path.name for path in tmp_path.iterdir()] == ["training.gif"]
    with Image.open(written["training"]) as found:
        assert getattr(found, "n_frames", 1) == len(views.load(trained, trust=True).snapshots)


def frames(count: int) -> list[np.ndarray]:
    return [np.full((21, 31, 3), 20 * place, np.uint8) for place in range(count)]


def test_a_gif_has_every_frame_and_rests_at_the_end(tmp_path: Path):
    (tmp_path / "f.gif").write_text("an old film")
    film.write(frames(5), tmp_path / "f.gif", per_second=4)
    durations = []
    with Image.open(tmp_path / "f.gif") as found:
        for place in range(getattr(found, "n_frames", 1)):
            found.seek(place)
            durations.append(found.info["duration"])
    assert durations == [250] * 4 + [1250]
    assert [path.name for path in tmp_path.iterdir()] == ["f.gif"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")
def test_an_mp4_can_be_read_back(tmp_path: Path):
    film.write(frames(8), tmp_path / "f.mp4", per_second=4)
    probe = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0", tmp_path / "f.mp4"]
    assert subprocess.run(probe, capture_output=True, text=True, check=True).stdout.strip() == "h264,30,20"


def test_what_cannot_be_written_is_refused_before_anything_is_played(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(dop.ConfigError, match="MP4 needs the program ffmpeg"):
        views.render(trained, trust=True, out=tmp_path, kind="mp4")
    with pytest.raises(dop.ConfigError, match="gif or mp4, not as 'avi'"):
        views.render(trained, trust=True, out=tmp_path, kind="avi")
    with pytest.raises(dop.ConfigError, match="episodes must be positive, got 0"):
        views.render(trained, trust=True, out=tmp_path, episodes=0)
    assert not list(tmp_path.iterdir())


def test_a_film_that_fails_leaves_the_old_one(tmp_path: Path):
    (tmp_path / "f.gif").write_text("an old film")

    def broken() -> Any:
        yield frames(1)[0]
        raise RuntimeError("no ink")

    with pytest.raises(RuntimeError, match="no ink"):
        film.write(broken(), tmp_path / "f.gif", per_second=4)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("f.gif", "an old film")]


def test_what_a_run_lacks_is_said(trained: Path, tmp_path: Path):
    with pytest.raises(dop.RunError, match="not a run directory"):
        views.load(tmp_path, trust=True)
    with pytest.raises(dop.RunError, match="has no seed 4; its seeds are 3, 5"):
        views.load(trained, trust=True, run_seed=4)
    shutil.copy(trained / "config.json", tmp_path)
    with pytest.raises(dop.RunError, match="has no checkpoint yet"):
        views.load(tmp_path, trust=True)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    shutil.copytree(trained / "checkpoints", tmp_path / "checkpoints")
    for path in (tmp_path / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(dop.RunError, match="damaged"):
        views.load(tmp_path, trust=True)


def test_more_agents_than_colours_still_differ():
    assert len(set(film.colours_of(27))) == 27


def test_a_take_knows_its_state_at_any_step():
    nothing: Any = None
    states, actions = {"x": np.arange(4)}, np.zeros(3)
    trajectory = Trajectory(spec=Countdown().spec, states=states, pictures=(), steps=nothing, actions=actions, credit_estimate=None)
    assert trajectory.state(2) == {"x": 2}
