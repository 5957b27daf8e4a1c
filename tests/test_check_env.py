"""`dop check-env`: its report on environments that can be used, and on every kind of fault."""

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

import dop
import dop.api
import dop.envs
import odd_games
import python_games
from dop import plugins
from dop.api import programs
from dop.cli.commands import check_env
from dop.envs.common import jaxmarl
from dop.envs.making import listing
from dop.envs.matrix_game import MatrixGame
from dop.envs.two_step import TwoStepGame
from dop.envs.validation import scale
from dop.envs.validation.faults import PROMISES
from dop.envs.validation.pictures import picture_notes
from dop.envs.validation.scale import no_op, same_end
from dop.envs.validation.sides import opposing
from dop.envs.validation.survey import survey
from dop.errors import ConfigError

LIGHTS = "python_games:Lights"


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The printed report on an environment that can be used."""
    check_env.run(arguments)
    return capsys.readouterr().out


@pytest.mark.parametrize("name", [LIGHTS, "matrix-game", "pymarl:python_games:Skirmish"])
def test_environments_that_can_be_used(capsys: pytest.CaptureFixture[str], name: str):
    shown = report(capsys, name)
    assert "it can be used" in shown
    unbounded = "not checked: the environment gives no obs_bound" in shown
    assert unbounded == (name == "pymarl:python_games:Skirmish")
    assert shown.count("  ok     ") == len(PROMISES) - unbounded
    assert "WRONG" not in shown
    assert "not deterministic" not in shown
    assert ("steps/s" in shown) == ("Python environment" in shown)


def test_it_describes_the_spec(capsys: pytest.CaptureFixture[str]):
    shown = report(capsys, LIGHTS, "--episodes", "2")
    for line in (
        "lights, version 1, Python environment",
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
    assert "JAX environment" in report(capsys, "matrix-game", "--env-args", "n_agents=2")


def test_it_names_numbers_that_are_not_metrics(capsys: pytest.CaptureFixture[str]):
    shown = report(capsys, "pymarl:python_games:Skirmish")
    assert "its infos also have dead_allies: add them to the option metrics to report them" in shown
    assert "metrics      battle_won" in shown


FAULTS = {
    "raises": ("runs", "ValueError at .*python_games.py:[0-9]+: the lamp broke"),
    "shape": ("shapes", r"reset gives obs as float32\[2, 2\], its spec says float\[2, 3\]"),
    "type": ("shapes", r"reset gives action_mask as float32\[2, 3\], its spec says bool\[2, 3\]"),
    "number": ("shapes", "reset gives reward as float, not as an array"),
    "nan": ("finite", "state has nan after reset"),
    "bound": ("bound", r"an entry of observation or state has magnitude 1 after reset; obs_bound is 0\.5"),
    "padding": ("padding", "left observes 2 numbers, but its padding is not 0"),
    "beyond": ("padding", "left has 2 actions, but its mask allows one beyond them"),
    "nobody": ("action_mask", "no agent has a legal action after reset, though the episode continues"),
    "never": ("action_mask", "right never had a legal action"),
    "start": ("start", "reset gives a reward of 1"),
    "both": ("end", "step 5 is both terminated and truncated"),
    "endless": ("end", "the episode continues after 5 steps, its time limit"),
    "kept": ("kept", "obs of step [0-9] was changed by a later step"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_reported(capsys: pytest.CaptureFixture[str], fault: str):
    promise, words = FAULTS[fault]
    with pytest.raises(ConfigError, match=r"lights cannot be used: 1 of 9 requirements are violated"):
        check_env.run([LIGHTS, "--env-args", f"fault={fault}"])
    shown = capsys.readouterr().out
    assert f"WRONG  {PROMISES[promise]}\n" in shown
    assert "it cannot be used" in shown
    found = survey(lambda: python_games.Lights(fault=fault), episodes=2, seed=0)
    assert list(found.faults) == [promise]
    assert re.search(words, found.faults[promise])


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - {"raises", "never"}))
def test_the_short_validation_refuses_the_same_faults(fault: str):
    """All but exceptions, and faults that need longer play."""
    with pytest.raises(ConfigError, match=r"lights: .*Run `dop check-env` for details"):
        dop.envs.validate(python_games.Lights(fault=fault))


@pytest.mark.parametrize(("function", "answer"), [("reset", (3,)), ("reset", None), ("step", {"obs": 1})])
def test_a_result_that_is_not_a_state_and_a_time_step_is_refused(function: str, answer: Any):
    game = dop.make("matrix-game", n_agents=2, n_actions=2)
    broken: Any = type("Broken", (type(game),), {function: lambda *_: answer})
    with pytest.raises(ConfigError, match=f"matrix-game: {function} returns {type(answer).__name__}, not a state and a TimeStep"):
        dop.envs.validate(broken(n_agents=2, n_actions=2))


def test_every_promise_has_a_fault_that_breaks_it():
    assert {promise for promise, _ in FAULTS.values()} == set(PROMISES)


def test_nondeterminism_gives_a_note(capsys: pytest.CaptureFixture[str]):
    shown = report(capsys, LIGHTS, "--env-args", "fault=random")
    assert "note   not deterministic: " in shown
    assert "such a run cannot be repeated" in shown


class Bad:
    """A JAX environment with a NaN observation."""

    def __init__(self) -> None:
        self.game = MatrixGame()
        self.spec, self.step = self.game.spec, self.game.step

    def reset(self, key: Any) -> Any:
        state, step = self.game.reset(key)
        return state, eqx.tree_at(lambda s: s.obs, step, step.obs * jnp.nan)


class Misshapen:
    """A JAX environment with a reward per agent."""

    def __init__(self) -> None:
        self.game = MatrixGame()
        self.spec, self.reset = self.game.spec, self.game.reset

    def step(self, key: Any, state: Any, action: Any) -> Any:
        state, step = self.game.step(key, state, action)
        return state, dataclasses.replace(step, reward=step.reward * jnp.ones(3))


class Unspecified(Misshapen):
    """Its spec is not an `EnvSpec`."""

    def __init__(self) -> None:
        super().__init__()
        self.spec: Any = {}


def test_faults_of_jax_environments():
    assert list(survey(Bad, episodes=1, seed=0).faults) == ["finite"]
    with pytest.raises(ConfigError, match="step gives reward as float32"):
        survey(Misshapen, episodes=1, seed=0)


@pytest.mark.parametrize("kind", [OSError, SystemExit])
def test_exceptions_of_foreign_code_become_messages(monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]):
    def broken(*_: Any) -> Any:
        raise kind("no simulator")

    words = rf"{kind.__name__} at .*test_check_env\.py:[0-9]+: no simulator"

    for function in ("reset", "step", "close"):
        with monkeypatch.context() as patch:
            patch.setattr(python_games.Lights, function, broken)
            found = survey(python_games.Lights, episodes=2, seed=0)
            assert list(found.faults) == ["runs"]
            assert re.fullmatch(words, found.faults["runs"])
    with pytest.raises(ConfigError, match=f"The environment cannot be made: {words}"):
        survey(broken, episodes=1, seed=0)
    monkeypatch.setattr(Misshapen, "step", broken)
    with pytest.raises(ConfigError, match=f"counts as a JAX environment.*, but its step does not compile: {words}"):
        survey(Misshapen, episodes=1, seed=0)


def test_an_environment_whose_spec_changes_is_refused():
    """As in training."""
    makes = iter([python_games.Lights(), python_games.Lights(fault="bound")])
    with pytest.raises(ConfigError, match=r"must have the same spec whenever it is made: its obs_bound was 1\.0, then 0\.5"):
        survey(lambda: next(makes), episodes=1, seed=0)


def test_it_reports_returns_of_random_and_no_op_play(capsys: pytest.CaptureFixture[str]):
    """In this game the right actions are random: a constant action is right half of the time."""
    shown = report(capsys, LIGHTS)
    found = survey(python_games.Lights, episodes=3, seed=0).scales
    assert [scale.policy for scale in found] == ["random play", "no-op play"]
    assert all(str(scale) in shown for scale in found)
    random, still = found
    assert len(random.returns) == len(still.returns) == 32
    assert random.lengths == [5] * 32
    by_hand = []
    for seed in range(32):
        game = python_games.Lights()
        game.reset(seed)
        by_hand.append(sum(float(game.step(np.zeros(2, int)).reward) for _ in range(5)))
    assert still.returns == pytest.approx(by_hand)
    assert str(still) == (
        f"return of no-op play: mean {np.mean(by_hand):.4g}, min {min(by_hand):.4g}, max {max(by_hand):.4g} (32 episodes); "
        "reward per step: min 0, max 1"
    )


def test_returns_of_the_matrix_game(capsys: pytest.CaptureFixture[str]):
    """+10 if all take the first action, the no-op; else -10."""
    shown = report(capsys, "matrix-game")
    assert "return of no-op play: mean 10, min 10, max 10 (32 episodes); reward per step: min 10, max 10" in shown
    assert "return of random play: mean -10, min -10" in shown
    assert "terminated at the same length" not in shown  # nor is one step a time limit


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("discrete", [1, 0, 0]), ("box", [[0, 0, 0]] * 3), ("simplex", [[0, 0.5, 0.5], [1, 0, 0], [0, 0, 0]])],
)
def test_no_op_actions(kind: Any, expected: Any):
    sizes: dict[str, Any] = {"obs_sizes": (1,) * 3, "action_sizes": (3,) * 3, "state_size": 1, "time_limit": 1}
    spec = dop.EnvSpec(name="x", version="1", agents=("a", "b", "c"), action_kind=kind, **sizes)
    action_mask = np.array([[False, True, True], [True, False, False], [False, False, False]])
    np.testing.assert_allclose(no_op(spec, action_mask), expected)


def test_slow_environments_play_fewer_episodes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scale, "SECONDS", 0.0)
    assert [len(scale.returns) for scale in survey(python_games.Lights, episodes=3, seed=0).scales] == [3, 1]


def test_a_fault_in_a_later_episode_counts():
    class Tires(python_games.Lights):
        resets = 0

        def reset(self, seed: int) -> Any:
            Tires.resets += 1
            if Tires.resets > 9:
                raise SystemExit(0)
            return super().reset(seed)

    assert re.match(r"SystemExit at .*test_check_env\.py", survey(Tires, episodes=3, seed=0).faults["runs"])


@pytest.mark.parametrize(
    ("lengths", "terminated", "limit", "words"),
    [
        ([5, 5, 5], [True] * 3, 9, "every episode terminated at the same length, after 5 steps: .*time_limit=5.*limit_terminates=true"),
        ([3, 9, 9], [True] * 3, 9, "2 of 3 episodes terminated exactly at the time limit, 9 steps"),
        ([3, 9, 4], [True] * 3, 9, None),
        ([5, 5, 5], [True, True, False], 9, None),
        ([1, 1, 1], [True] * 3, 9, None),
        ([1, 1, 1], [True] * 3, 1, None),
        ([5], [True], 9, None),
    ],
)
def test_ends_that_look_like_a_time_limit(lengths: list[int], terminated: list[bool], limit: int, words: str | None):
    found = same_end(lengths, terminated, limit)
    assert found is None if words is None else re.match(words, found or "")


def test_they_give_a_note_unless_the_limit_terminates(capsys: pytest.CaptureFixture[str]):
    assert "every episode terminated at the same length, after 2 steps" in report(capsys, "two-step")
    game = "pymarl:python_games:Skirmish"
    for options in (["limit=2", "limit_terminates=true"], ["limit=2"]):
        assert "terminated at the same length" not in report(capsys, game, "--env-args", *options)


class Seeded(python_games.Lights):
    """`reset` ignores its seed: the episodes follow from the maker's seed."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.drawn = np.random.default_rng(seed)

    def reset(self, seed: int) -> Any:
        return super().reset(int(self.drawn.integers(2**31)))


class Fixed(python_games.Lights):
    """Every episode is the same."""

    def reset(self, seed: int) -> Any:
        return super().reset(7)


class Later(python_games.Lights):
    """Every episode starts the same."""

    def reset(self, seed: int) -> Any:
        step = super().reset(7)
        self.rng = np.random.default_rng(seed)
        return step


COPIES, SAME, STARTS = "seed of an episode has no effect", "every episode is the same", "every episode starts the same"
AGAIN = "in a used environment the same seed gives another episode"


@pytest.mark.parametrize(
    ("make", "expected"),
    [(Seeded, {COPIES, AGAIN}), (Fixed, {SAME}), (Later, {STARTS}), (python_games.Lights, set()), (MatrixGame, {SAME})],
)
def test_the_effect_of_seeds(make: Any, expected: set[str]):
    found = survey(make, episodes=2, seed=0)
    assert not found.faults
    notes = " ".join(found.notes)
    assert {words for words in (COPIES, SAME, STARTS, AGAIN) if words in notes} == expected


@pytest.mark.parametrize(("maker", "option", "warned"), [("Seeded", 7, True), ("Seeded", None, False), ("Own", 7, False)])
def test_training_warns_of_copies_where_a_seed_was_given(caplog: pytest.LogCaptureFixture, maker: str, option: int | None, warned: bool):
    algorithm = dop.VDN(actor=dop.GRU(hidden_size=8), episodes_per_iteration=1, replay_capacity=2, replay_batch=1)
    options = {} if option is None else {"seed": option}
    dop.preflight(algorithm, f"test_check_env:{maker}", environment_options=options)
    assert ("a seed is among its options, and episodes with other seeds start the same" in caplog.text) == warned


class Own(python_games.Lights):
    """Its episodes depend on the maker's seed and on their own."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.own = seed

    def reset(self, seed: int) -> Any:
        return super().reset(seed + self.own)


def test_it_reports_the_precision_of_stored_observations(capsys: pytest.CaptureFixture[str]):
    assert "replay       keeps observations in half precision (obs_bound 1.0)" in report(capsys, LIGHTS)
    assert "keeps observations in full precision (the environment gives no obs_bound)" in report(capsys, "pymarl:python_games:Skirmish")

    class Small(python_games.Lights):
        def _look(self, reward: float) -> Any:
            step: Any = super()._look(reward)
            return dataclasses.replace(step, obs=step.obs * np.float32(1e-7))

    found = survey(Small, episodes=1, seed=0)
    assert found.smallest == pytest.approx(1e-7)
    assert "as small as 1e-07; half precision loses digits below" in check_env.verdict(found)[-2]
    assert "half precision" not in check_env.verdict(survey(python_games.Lights, episodes=1, seed=0))[-2]


def test_inactive_agents_give_a_note():
    """Dead agents of Skirmish have an action; an empty mask means inactive."""

    class Leaves(python_games.Lights):
        def _look(self, reward: float) -> Any:
            step: Any = super()._look(reward)
            return dataclasses.replace(step, action_mask=step.action_mask & np.array([[True], [self.t < 2]]))

    found = survey(Leaves, episodes=1, seed=0)
    assert not found.faults
    assert "right was inactive (no legal action) in 67% of the steps" in found.notes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["smax:3n"], "Did you mean '3m'"),
        ([LIGHTS, "--env-args", "no_such=1"], "cannot be made with these options"),
        ([LIGHTS, "--env-args", "fault"], "--env-args takes name=value"),
        ([LIGHTS, "--episodes", "0"], "episodes must be positive, got 0"),
        (["python_games:Skirmish"], r"returned Skirmish, which is not .*environment.*use the name pymarl:python_games:Skirmish"),
        (["test_check_env:Unspecified"], "has dict as its spec; it must be a dop.EnvSpec"),
    ],
)
def test_mistakes(arguments: list[str], words: str):
    with pytest.raises(dop.DopError, match=words):
        check_env.run(arguments)


# ------------------------------------------------------------------------------------------------------------ users' own makers


def test_pettingzoo_and_gymnasium_environments_are_adapted():
    environment = dop.envs.make("odd_games:silent", names=["x", "y", "z"], reward="mean", team="x")
    spec = environment.spec
    assert (spec.name, spec.version, spec.agents, spec.time_limit) == ("odd_games:silent", "1-odd_games", ("x",), 3)
    assert dop.envs.make(spec.name, **dict(spec.options)).spec == spec
    assert dop.envs.make("odd_games:Tuples", metrics=["won"]).spec.n_agents == 3
    assert dop.envs.make("odd_games:limited", time_limit=2).spec.time_limit == 2  # the maker's own option
    assert dop.envs.make("odd_games:anything", time_limit=2).spec.time_limit == 2  # the adapter's: the maker has no such parameter


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("odd_games:Turns", {}, r"returned Turns, .*act in turn \(AEC\).*aec_to_parallel.* my_module:make"),
        ("odd_games:Marl", {}, "returned Marl, .* use the name pymarl:odd_games:Marl"),
        ("odd_games:silent", {"nams": ["x"]}, "odd_games:silent cannot be made with these options: .*nams"),
        ("python_games:Lights", {"team": "left"}, "python_games:Lights cannot be made with these options: .*team"),
        ("jaxmarl:make", {"env_id": "MPE_simple_spread_v3"}, r"JaxMARL's environments cannot be used directly. jaxmarl:.* smax:.* mpe:"),
        ("test_check_env:jaxmarls", {}, r"returned SimpleSpreadMPE.* spec, reset and step"),
    ],
)
def test_unsupported_environments_get_advice(name: str, options: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        dop.envs.make(name, **options)


def jaxmarls() -> Any:
    return jaxmarl.import_quietly("jaxmarl.environments.mpe").SimpleSpreadMPE()


def test_adaptation_from_python():
    maker: Any = odd_games.Silent
    program = programs.make_program(dop.VDN(), maker, {}, dop.TrainConfig())
    assert program.spec.agents == ("a", "b")
    assert pickle.loads(pickle.dumps(program.environment.make))().spec == program.spec  # type: ignore  # noqa: S301
    objects: list[tuple[Any, str]] = [
        (odd_games.Silent(), "function that makes it"),
        (odd_games.Tuples(), "several copies"),
        (odd_games.Turns(), "AEC"),
    ]
    for environment, words in objects:
        with pytest.raises(ConfigError, match=words):
            programs.make_program(dop.VDN(), environment, {}, dop.TrainConfig())


# ------------------------------------------------------------------------------------------------------------- hundreds of agents


def test_hundreds_of_agents_are_counted(capsys: pytest.CaptureFixture[str]):
    shown = report(capsys, "odd_games:crowd", "--episodes", "1")
    for line in (
        "agents       300: ant_* x 200, bee_* x 100",
        "types        ant x 200, bee x 100",
        "action       discrete, 2 x 200, 3 x 100 actions",
        "note   ant_* x 100, bee_* x 50 were inactive (no legal action) in 75% of the steps",
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
    assert listing.listed(names) == words


def test_patterns_match_these_and_no_others():
    agents = ["red_0", "red_1", "redder_0", "blue_0", "x1", "x2"]
    assert listing.patterns(["red_0", "red_1"], agents) == ["red_*"]
    assert listing.patterns(["x1"], agents) == ["x1"]
    assert listing.patterns(["x1", "x2", "blue_0"], agents) == ["x*", "blue_0"]
    assert listing.patterns(["a1", "a2"], ["a1", "a2", "ab"]) == ["a1", "a2"]


# ------------------------------------------------------------------------------------------------------------------------- sides


def rewards(*agents: Any, episodes: int = 3, steps: int = 20) -> list[np.ndarray]:
    """Rewards by episode: each agent's are a function of a random vector with an entry per agent."""
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
        ([lambda x, i=i: (np.arange(20) == 3 * i).astype(float) for i in range(3)], "abc"),  # once for each agent, like collected food
        ([lambda x: np.zeros(20), lambda x: np.zeros(20)], "ab"),
        ([lambda x: x[0]], "a"),
    ],
)
def test_rewards_that_do_not(agents: Any, types: str):
    assert opposing(rewards(*agents), types) is None


def test_few_steps_are_inconclusive():
    assert opposing([], "ab") is None
    assert opposing(rewards(lambda x: x[0], lambda x: -x[0] + x[1] / 9, episodes=1, steps=5), "ab") is None


# ------------------------------------------------------------------------------------------------------- source locations


def test_frozen_modules_are_not_locations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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


def test_an_error_without_a_traceback_has_no_location():
    assert plugins.explain(ValueError("bad")) == "ValueError: bad"
    assert "<string>" not in plugins.explain(raised_by(lambda: exec("raise ValueError('bad')")))  # noqa: S102


def raised_by(function: Any) -> Exception:
    with pytest.raises(ValueError, match="bad") as raised:
        function()
    return raised.value


# ------------------------------------------------------------------------------------------------------------ pictures


class Draws(TwoStepGame):
    """A JAX environment that draws itself, with a fault of its method or without."""

    fault = ""

    def draw(self, axes: Any, state: Any, action: Any, colours: Any) -> None:
        if self.fault == "last" and action is None:
            raise ValueError("no action")
        axes.plot([0, 1], color=colours[1])


class Renders(python_games.Lights):
    """A Python environment with this picture."""

    def __init__(self, picture: Any) -> None:
        super().__init__()
        self.picture = picture

    def render(self) -> Any:
        return self.picture


def test_the_first_state_is_drawn():
    assert list(picture_notes(Draws, 0)) == []
    broken = Draws()
    broken.fault = "last"
    (note,) = picture_notes(lambda: broken, 0)
    assert re.fullmatch(r"it cannot be drawn, .* fail: ValueError at .*test_check_env\.py:\d+: no action", note)
    assert list(picture_notes(TwoStepGame, 0)) == []  # the table of actions is meant


@pytest.mark.parametrize(
    ("picture", "note"),
    [
        (np.zeros((4, 4, 3), np.uint8), None),
        (None, "it draws no picture: render gave None. Films and reports show a table of actions in its place"),
        (np.zeros((4, 4, 3)), "render gave an array of float64; it should give an array of uint8"),
        (np.zeros((4, 4), np.uint8), r"render gave an array of the shape \(4, 4\)"),
    ],
)
def test_the_first_picture_is_examined(picture: Any, note: str | None):
    found = list(picture_notes(lambda: Renders(picture), 0))
    assert (len(found) == 0) if note is None else re.search(note, found[0])
