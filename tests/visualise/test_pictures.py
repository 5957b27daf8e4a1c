"""Films show an environment as it draws itself: its pictures where they are some, a table and a warning where they are not."""

from __future__ import annotations

import importlib
import logging
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest

import dop
from dop import views
from dop.analysis.playback import Pictures, Player, best_and_worst
from dop.envs.making import makers
from dop.envs.python.base import drawn_pictures
from dop.rollout.program import PythonProgram, Source
from dop.training.program import Program
from dop.types import Drawable
from dop.visualise import film
from odd_games import Rounds, Tuples
from python_environments import Walk
from workers import small

KEY = jax.random.key(0)
PAGE = (Path(__file__).parents[2] / "docs" / "own-environment.md").read_text()
GOOD = np.zeros((4, 6, 3), np.uint8)


def player(make: Any) -> Player:
    return Player(PythonProgram(algorithm=small("vdn"), environment=Source(make().spec, make)))


def play(make: Any, episodes: int = 3, pictures: Pictures = "all") -> list[Any]:
    found = player(make)
    return found(found.program.algorithm.init(KEY, found.program.spec), KEY, episodes, pictures=pictures)


def drawing(given: Any) -> Any:
    """A walk that draws this."""

    class Draws(Walk):
        def render(self) -> Any:
            return given(self._t) if callable(given) else given

    return lambda: Draws(time_limit=4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "render gave None; it should"),
        (GOOD / 255, "an array of float64"),
        (GOOD[..., 0], r"an array of the shape \(4, 6\)"),
        (np.zeros((4, 6, 4), np.uint8), r"of the shape \(4, 6, 4\)"),
        (np.zeros((0, 6, 3), np.uint8), r"of the shape \(0, 6, 3\)"),
        ([[0]], "list, not an array"),
        (lambda t: GOOD if t == 0 else None, "render gave None"),
    ],
)
def test_what_is_no_picture_is_told_once_and_the_table_shown(given: Any, words: str, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "dop"):
        trajectories = play(drawing(given))
    assert [trajectory.pictures for trajectory in trajectories] == [()] * 3
    assert len(caplog.records) == 1
    assert re.search(rf"Walk draws no picture, and a table of actions is shown in its place: .*{words}", caplog.text)
    assert len(list(film.film(None, trajectories[0], title="walk"))) == trajectories[0].length + 1


def test_of_many_episodes_only_the_examples_keep_pictures(caplog: pytest.LogCaptureFixture):
    trajectories = play(drawing(GOOD), 6, "examples")
    shown = best_and_worst(trajectories)
    assert len(shown) == 2
    assert all(trajectory.pictures for trajectory in shown.values())
    assert sum(bool(trajectory.pictures) for trajectory in trajectories) == 2
    assert not caplog.records


def test_who_looks_at_nothing_asks_for_no_picture():
    def never(_: Any) -> Any:
        raise AssertionError("it was drawn")

    assert [trajectory.pictures for trajectory in play(drawing(never), 2, "none")] == [()] * 2
    with pytest.raises(dop.ConfigError, match=r"Walk: render raised: AssertionError .*: it was drawn"):
        play(drawing(never), 1)


# ---------------------------------------------------------------------------------------------------------------- render_mode


class Told(Rounds):
    """Draws if it was told to when it was made."""

    metadata: Any = {"render_modes": ["human", "rgb_array"]}  # noqa: RUF012

    def __init__(self, render_mode: Any = None) -> None:
        super().__init__()
        self.render_mode = render_mode

    def render(self) -> Any:
        assert self.render_mode == "rgb_array"
        return GOOD


class Later(Told):
    """Does not take the mode when it is made."""

    def __init__(self) -> None:
        super().__init__()


class Silent(Rounds):
    """Says nothing of modes, and can draw."""

    def render(self) -> Any:
        return GOOD


class Parts(Tuples):
    """With Gymnasium's interface."""

    metadata: Any = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.render_mode = options.get("render_mode")

    def render(self) -> Any:
        return GOOD


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes an environment of these classes by its name, as `dop.make` does."""
    module = ModuleType("my_drawings")
    for kind in (Told, Later, Silent, Parts):
        setattr(module, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "my_drawings", module)
    monkeypatch.setattr(makers, "version_of", lambda *_, **__: "1")
    return lambda name, **options: dop.make(f"my_drawings:{name}", **options)


@pytest.mark.parametrize("name", ["Told", "Later", "Silent", "Parts"])
def test_environments_are_made_to_draw_only_while_somebody_looks(named: Any, name: str):
    trained = named(name)
    trained.reset(0)
    assert trained.render() is None
    with drawn_pictures.wanted():
        shown = named(name)
        shown.reset(0)
        assert drawn_pictures.fault(shown.render()) is None
    assert shown.spec == trained.spec
    assert named(name).env.render_mode is None if name != "Silent" else True


def test_a_mode_of_the_users_own_stays(named: Any):
    with drawn_pictures.wanted():
        assert named("Told", render_mode="human").env.render_mode == "human"


def test_a_maker_that_fails_with_the_mode_is_used_without(caplog: pytest.LogCaptureFixture):
    def maker(render_mode: Any = None) -> Any:
        if render_mode:
            raise ImportError("no pygame")
        return Told()

    with drawn_pictures.wanted():
        env = drawn_pictures.ready("x", maker, maker, {})
    assert env.render_mode is None
    assert "x cannot be made with render_mode='rgb_array', and renders nothing: ImportError" in caplog.text


def test_an_environment_that_can_only_open_windows_is_left_alone():
    class Window(Told):
        metadata: Any = {"render_modes": ["human"]}  # noqa: RUF012

    with drawn_pictures.wanted():
        assert drawn_pictures.ready("x", Window, Window, {}).render_mode is None


def test_packages_draw(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("mpe2")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    trajectory = play(lambda: dop.make("pettingzoo:mpe2.simple_spread_v3", max_cycles=2), 1)[0]
    assert len(trajectory.pictures) == trajectory.length + 1 == 3


# --------------------------------------------------------------------------------------------------------------- documentation


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """The file of the page that has this name, as a module that can be imported."""
    name = request.param
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if code.startswith(f"# {name}.py"))
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module(name)


@pytest.mark.parametrize("example", ["my_lights"], indirect=True)
def test_the_python_environment_of_the_page_draws_itself(example: Any, tmp_path: Path):
    assert example.make is example.Lights
    run = dop.train(small("vdn"), "my_lights:make", env_steps=1, run_dir=tmp_path / "run", quiet=True, chunk_iterations=1, eval_episodes=1)
    trained = views.load(run.path, trust=True)
    assert trained.program.spec.action_names == (("press blue", "press red"),) * 2
    (trajectory,) = Player(trained.program)(trained.learner, KEY, 1)
    burns = trajectory.steps.obs.argmax(axis=-1)
    for picture, (left, right) in zip(trajectory.pictures, burns, strict=True):
        assert [picture[20, 20].tolist(), picture[20, 60].tolist()] == [[[0, 0, 255], [255, 0, 0]][light] for light in (left, right)]
    assert views.render(run.path, episodes=2, trust=True)["best"].read_bytes()[:6] == b"GIF89a"


@pytest.mark.parametrize("example", ["my_walk"], indirect=True)
def test_the_jax_environment_of_the_page_draws_itself(example: Any):
    env: Any = example.make()
    assert isinstance(env, Drawable)
    program = Program(algorithm=small("vdn"), environment=example.make())
    (trajectory,) = Player(program)(program.algorithm.init(KEY, program.spec), KEY, 1)
    assert len(list(film.film(env, trajectory, title="walk"))) == trajectory.length + 1 == 5
