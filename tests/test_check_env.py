"""`dop check-env`: what it says of environments that can be used, and of every kind that cannot."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import dop.envs
import host_games
from dop.commands import check_env
from dop.envs._checks import PROMISES, survey
from dop.envs.matrix_game import MatrixGame
from dop.errors import ConfigError

LIGHTS = "host_games:Lights"


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What it prints of an environment that can be used."""
    check_env.run(arguments)
    return capsys.readouterr().out


@pytest.mark.parametrize("name", [LIGHTS, "matrix-game", "pymarl:host_games:Skirmish"])
def test_what_can_be_used(capsys: pytest.CaptureFixture[str], name: str):
    shown = ask(capsys, name)
    assert "it can be used" in shown
    assert shown.count("  ok     ") == len(PROMISES)
    assert "WRONG" not in shown
    assert "not deterministic" not in shown
    assert ("steps/s" in shown) == ("outside JAX" in shown)


def test_it_describes_what_it_was_given(capsys: pytest.CaptureFixture[str]):
    shown = ask(capsys, LIGHTS, "--episodes", "2")
    for line in (
        "lights, version 1, outside JAX",
        "agents       2: left, right",
        "types        left x 1, right x 1",
        "observation  2 / 3 numbers",
        "action       discrete, 2 / 3 actions",
        "state        2 numbers",
        "time limit   5 steps",
        "metrics      none",
        "2 random episodes, 10 steps",
        "note   observations were between 0 and 1; obs_bound is 1.0",
        "note   0 episodes terminated, 2 were truncated",
    ):
        assert line in shown
    assert "in JAX" in ask(capsys, "matrix-game", "--env-args", "n_agents=2")


def test_it_names_the_numbers_that_nobody_reports(capsys: pytest.CaptureFixture[str]):
    shown = ask(capsys, "pymarl:host_games:Skirmish")
    assert "its infos also have dead_allies: metrics, if the option metrics names them" in shown
    assert "metrics      battle_won" in shown


FAULTS = {
    "raises": ("runs", "ValueError at .*host_games.py:[0-9]+: the lamp broke"),
    "shape": ("shapes", r"reset gives obs as float32\[2, 2\], its spec says float\[2, 3\]"),
    "type": ("shapes", r"reset gives legal as float32\[2, 3\], its spec says bool\[2, 3\]"),
    "number": ("shapes", "reset gives reward as float, not as an array"),
    "nan": ("finite", "state has nan after reset"),
    "bound": ("bound", r"an entry of observation or state is 1 in size after reset; obs_bound is 0\.5"),
    "padding": ("padding", "left sees 2 numbers, but has others than 0 after them"),
    "beyond": ("padding", "left has 2 actions, but may take one beyond them"),
    "nobody": ("legal", "nobody has a legal action after reset, though it goes on"),
    "never": ("legal", "right never had a legal action"),
    "start": ("start", "reset gives a reward of 1"),
    "both": ("end", "step 5 is both terminated and truncated"),
    "endless": ("end", "it goes on after 5 steps, its time limit"),
    "kept": ("kept", "obs of step [0-9] was changed by a later step"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_told(capsys: pytest.CaptureFixture[str], fault: str):
    promise, words = FAULTS[fault]
    with pytest.raises(ConfigError, match=r"lights cannot be used as it is: 1 of 9 promises are broken"):
        check_env.run([LIGHTS, "--env-args", f"fault={fault}"])
    shown = capsys.readouterr().out
    assert f"WRONG  {PROMISES[promise]}\n" in shown
    assert "it cannot be used" in shown
    found = survey(lambda: host_games.Lights(fault=fault), episodes=2, seed=0)
    assert list(found.faults) == [promise]
    assert re.search(words, found.faults[promise])


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - {"raises", "never"}))
def test_the_short_check_refuses_the_same_faults(fault: str):
    """All but what raises by itself, and what only longer play can show."""
    with pytest.raises(ConfigError, match=r"lights: .*`dop check-env` tells more"):
        dop.envs.check(host_games.Lights(fault=fault))


@pytest.mark.parametrize(("function", "answer"), [("reset", (3,)), ("reset", None), ("step", {"obs": 1})])
def test_what_is_no_state_and_time_step_is_refused_by_name(function: str, answer: Any):
    game = dop.make("matrix-game", n_agents=2, n_actions=2)
    broken: Any = type("Broken", (type(game),), {function: lambda *_: answer})
    with pytest.raises(ConfigError, match=f"matrix-game: {function} gives {type(answer).__name__}, not a state and a TimeStep"):
        dop.envs.check(broken(n_agents=2, n_actions=2))


def test_every_promise_has_a_fault_that_breaks_it():
    assert {promise for promise, _ in FAULTS.values()} == set(PROMISES)


def test_what_is_not_deterministic_can_be_used_but_is_told(capsys: pytest.CaptureFixture[str]):
    shown = ask(capsys, LIGHTS, "--env-args", "fault=random")
    assert "note   not deterministic: " in shown
    assert "such a run cannot be repeated" in shown


class Bad:
    """In JAX, with an observation that is not a number."""

    def __init__(self) -> None:
        self.game = MatrixGame()
        self.spec, self.step = self.game.spec, self.game.step

    def reset(self, key: Any) -> Any:
        state, step = self.game.reset(key)
        return state, eqx.tree_at(lambda s: s.obs, step, step.obs * jnp.nan)


class Misshapen:
    """In JAX, with a reward for each agent."""

    def __init__(self) -> None:
        self.game = MatrixGame()
        self.spec, self.reset = self.game.spec, self.game.reset

    def step(self, key: Any, state: Any, action: Any) -> Any:
        state, step = self.game.step(key, state, action)
        return state, dataclasses.replace(step, reward=step.reward * jnp.ones(3))


class Unspecified(Misshapen):
    """Its spec is no `EnvSpec`."""

    def __init__(self) -> None:
        super().__init__()
        self.spec: Any = {}


def test_environments_in_jax_too():
    assert list(survey(Bad, episodes=1, seed=0).faults) == ["finite"]
    with pytest.raises(ConfigError, match="step gives reward as float32"):
        survey(Misshapen, episodes=1, seed=0)


@pytest.mark.parametrize("kind", [OSError, SystemExit])
def test_what_somebody_elses_code_raises_is_told_in_plain_words(monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]):
    def broken(*_: Any) -> Any:
        raise kind("no simulator")

    told = rf"{kind.__name__} at .*test_check_env\.py:[0-9]+: no simulator"

    for function in ("reset", "step", "close"):
        with monkeypatch.context() as patch:
            patch.setattr(host_games.Lights, function, broken)
            found = survey(host_games.Lights, episodes=2, seed=0)
            assert list(found.faults) == ["runs"]
            assert re.fullmatch(told, found.faults["runs"])
    with pytest.raises(ConfigError, match=f"The environment cannot be made: {told}"):
        survey(broken, episodes=1, seed=0)
    monkeypatch.setattr(Misshapen, "step", broken)
    with pytest.raises(ConfigError, match=f"taken to be in JAX .*, but does not compile: {told}"):
        survey(Misshapen, episodes=1, seed=0)


def test_an_environment_that_is_not_the_same_again_is_refused():
    """As it is in training."""
    makes = iter([host_games.Lights(), host_games.Lights(fault="bound")])
    with pytest.raises(ConfigError, match=r"not the same whenever it is made: its obs_bound was 1\.0, then 0\.5"):
        survey(lambda: next(makes), episodes=1, seed=0)


def test_who_is_not_there_is_told():
    """Skirmish's dead have an action; a mask without any is absence."""

    class Leaves(host_games.Lights):
        def _look(self, reward: float) -> Any:
            step: Any = super()._look(reward)
            return dataclasses.replace(step, legal=step.legal & np.array([[True], [self.t < 2]]))

    found = survey(Leaves, episodes=1, seed=0)
    assert not found.faults
    assert "right was not there (no legal action) in 67% of the steps" in found.notes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["smax:3n"], "Did you mean '3m'"),
        ([LIGHTS, "--env-args", "no_such=1"], "cannot be made with these options"),
        ([LIGHTS, "--env-args", "fault"], "--env-args takes name=value"),
        ([LIGHTS, "--episodes", "0"], "episodes must be positive, got 0"),
        (["host_games:Skirmish"], "returned Skirmish, which is not an environment"),
        (["test_check_env:Unspecified"], "has dict as its spec; it must be a dop.EnvSpec"),
    ],
)
def test_mistakes(arguments: list[str], words: str):
    with pytest.raises(dop.DopError, match=words):
        check_env.run(arguments)
