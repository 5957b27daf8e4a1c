"""`dop check-env`: what it says of environments that can be used, and of every kind that cannot."""

from __future__ import annotations

import dataclasses
import importlib
import pickle
import re
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import dop.api
import dop.envs
import host_games
import odd_games
from dop.commands import check_env
from dop.envs import _checks, _jaxmarl, _names
from dop.envs._checks import PROMISES, survey
from dop.envs._sides import opposing
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
        ([LIGHTS, "--episodes", "0"], "episodes is 0"),
        (["host_games:Skirmish"], r"returned Skirmish, which is not an environment.*name it pymarl:host_games:Skirmish"),
        (["test_check_env:Unspecified"], "has dict as its spec; it must be a dop.EnvSpec"),
    ],
)
def test_mistakes(arguments: list[str], words: str):
    with pytest.raises(dop.DopError, match=words):
        check_env.run(arguments)


# ------------------------------------------------------------------------------------------------- what users' own makers return


def test_what_pettingzoo_and_gymnasium_have_is_adapted():
    environment = dop.envs.make("odd_games:silent", names=["x", "y", "z"], reward="mean", team="x")
    spec = environment.spec
    assert (spec.name, spec.version, spec.agents, spec.time_limit) == ("odd_games:silent", "1-odd_games", ("x",), 3)
    assert dop.envs.make(spec.name, **dict(spec.options)).spec == spec
    assert dop.envs.make("odd_games:Tuples", metrics=["won"]).spec.n_agents == 3
    assert dop.envs.make("odd_games:limited", time_limit=2).spec.time_limit == 2  # the maker's own option
    assert dop.envs.make("odd_games:anything", time_limit=2).spec.time_limit == 2  # the adapter's: the maker names none


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("odd_games:Turns", {}, r"returned Turns, .*act in turn \(AEC\).*aec_to_parallel.* my_module:make"),
        ("odd_games:Marl", {}, "returned Marl, .* name it pymarl:odd_games:Marl"),
        ("odd_games:silent", {"nams": ["x"]}, "odd_games:silent cannot be made with these options: .*nams"),
        ("host_games:Lights", {"team": "left"}, "host_games:Lights cannot be made with these options: .*team"),
        ("jaxmarl:make", {"env_id": "MPE_simple_spread_v3"}, r"JaxMARL's environments cannot be used as they are: smax:.* mpe:"),
        ("test_check_env:jaxmarls", {}, r"returned SimpleSpreadMPE.* spec, reset and step"),
    ],
)
def test_others_get_the_way_out(name: str, options: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        dop.envs.make(name, **options)


def jaxmarls() -> Any:
    return _jaxmarl.import_quietly("jaxmarl.environments.mpe").SimpleSpreadMPE()


def test_from_python_too():
    maker: Any = odd_games.Silent
    program = dop.api._program(dop.VDN(), maker, {}, dop.Protocol())
    assert program.spec.agents == ("a", "b")
    assert pickle.loads(pickle.dumps(program.environment.make))().spec == program.spec  # type: ignore  # noqa: S301
    objects: list[tuple[Any, str]] = [
        (odd_games.Silent(), "function that makes it"),
        (odd_games.Tuples(), "at once"),
        (odd_games.Turns(), "AEC"),
    ]
    for one, words in objects:
        with pytest.raises(ConfigError, match=words):
            dop.api._program(dop.VDN(), one, {}, dop.Protocol())


# ------------------------------------------------------------------------------------------------------------- hundreds of agents


def test_hundreds_of_agents_are_counted(capsys: pytest.CaptureFixture[str]):
    shown = ask(capsys, "odd_games:crowd", "--episodes", "1")
    for line in (
        "agents       300: ant_* x 200, bee_* x 100",
        "types        ant x 200, bee x 100",
        "action       discrete, 2 x 200, 3 x 100 actions",
        "note   ant_* x 100, bee_* x 50 were not there (no legal action) in 75% of the steps",
    ):
        assert line in shown
    assert max(map(len, shown.splitlines())) < 200


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "b"], "a, b"),
        ([f"u{i}" for i in range(9)], "u* x 9"),
        (["boss", *(f"u_{i}" for i in range(9))], "boss, u_* x 9"),
        ([chr(97 + i) for i in range(12)], "a, b, c, d, e, f, g and 5 more"),
    ],
)
def test_names_are_listed_or_counted(names: list[str], words: str):
    assert _names.listed(names) == words


def test_patterns_match_these_and_no_others():
    everybody = ["red_0", "red_1", "redder_0", "blue_0", "x1", "x2"]
    assert _names.patterns(["red_0", "red_1"], everybody) == ["red_*"]
    assert _names.patterns(["x1"], everybody) == ["x1"]
    assert _names.patterns(["x1", "x2", "blue_0"], everybody) == ["x*", "blue_0"]
    assert _names.patterns(["a1", "a2"], ["a1", "a2", "ab"]) == ["a1", "a2"]


# ------------------------------------------------------------------------------------------------------------------------- sides


def rewards(*agents: Any, episodes: int = 3, steps: int = 20) -> list[np.ndarray]:
    """Of episodes: each agent's are a function of a random number, of which there are as many as agents."""
    rng = np.random.default_rng(0)
    return [np.stack([agent(x) for agent in agents], axis=1) for x in rng.normal(size=(episodes, len(agents), steps))]


@pytest.mark.parametrize(
    ("agents", "types", "sides"),
    [
        ([lambda x: x[0], lambda x: -x[0]], "ab", ((0,), (1,))),
        ([lambda x: x[0], lambda x: -x[0] + 0.5 * x[1]], "aa", ((0,), (1,))),
        ([lambda x: x[0] + 0.1 * x[1], lambda x: -x[0], lambda x: x[0], lambda x: -x[0]], "aaaa", ((0, 2), (1, 3))),
        ([lambda x: x[0], lambda x: x[0], lambda x: -2 * x[0]], "aab", ((0, 1), (2,))),
        ([lambda x: x[0], lambda x: -x[0] + x[1] / 2, lambda x: x[0] + x[2] / 9], "abc", ((0, 2), (1,))),
        ([lambda x: np.ones(20), lambda x: -np.ones(20)], "ab", ((0,), (1,))),
    ],
)
def test_rewards_that_oppose(agents: Any, types: str, sides: Any):
    found = opposing(rewards(*agents), types)
    assert found is not None
    assert {found.one, found.other} == set(sides)


@pytest.mark.parametrize(
    ("agents", "types"),
    [
        ([lambda x: x[0], lambda x: x[0]], "ab"),
        ([lambda x: x[0], lambda x: x[1]], "ab"),
        ([lambda x, i=i: x[i] for i in range(8)], "aaaaaaaa"),
        ([lambda x, i=i: np.cumsum(x[i]) for i in range(4)], "aabb"),  # they drift
        ([lambda x, i=i: (np.arange(20) == 3 * i).astype(float) for i in range(3)], "abc"),  # each once, like food that is found
        ([lambda x: np.zeros(20), lambda x: np.zeros(20)], "ab"),
        ([lambda x: x[0]], "a"),
    ],
)
def test_rewards_that_do_not(agents: Any, types: str):
    assert opposing(rewards(*agents), types) is None


def test_too_little_says_nothing():
    assert opposing([], "ab") is None
    assert opposing(rewards(lambda x: x[0], lambda x: -x[0] + x[1] / 9, episodes=1, steps=5), "ab") is None


# ------------------------------------------------------------------------------------------------------------- where it was


def test_a_frozen_module_is_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "unreadable_game.py").write_text("x = 1\ndef (:\n")

    def imports_what_is_not_there() -> Any:
        importlib.import_module("no_such_simulator")

    def imports_what_cannot_be_read() -> Any:
        importlib.import_module("unreadable_game")

    for maker, words in (
        (imports_what_is_not_there, r"ModuleNotFoundError at .*test_check_env\.py:[0-9]+: No module named 'no_such_simulator'"),
        (imports_what_cannot_be_read, r"SyntaxError at .*unreadable_game\.py:2: "),
    ):
        with pytest.raises(ConfigError, match=f"The environment cannot be made: {words}") as raised:
            survey(maker, episodes=1, seed=0)
        assert "<frozen" not in str(raised.value)


def test_an_error_from_nowhere_has_no_place():
    assert _checks._plain(ValueError("bad")) == "ValueError: bad"
    assert "<string>" not in _checks._plain(raised_by(lambda: exec("raise ValueError('bad')")))  # noqa: S102


def raised_by(function: Any) -> Exception:
    with pytest.raises(ValueError, match="bad") as raised:
        function()
    return raised.value
