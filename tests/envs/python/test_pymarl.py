"""PyMARL's interface, with an environment like SMAC: dead units have only the no-op, and illegal actions raise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dop.envs
from dop.envs.python.pymarl import PyMARL
from dop.envs.validation.episodes import Played, play
from dop.envs.validation.faults import faults
from dop.errors import ConfigError, UnknownNameError

SKIRMISH = "pymarl:python_games:Skirmish"


def make(**options: Any) -> PyMARL:
    return dop.envs.make(SKIRMISH, **options)


def played(environment: PyMARL, seed: int) -> Played:
    record = Played()
    play(environment, record, seed=seed, rng=np.random.default_rng(seed))
    assert list(faults(environment.spec, record)) == []
    return record


def test_the_spec_is_that_of_the_info():
    spec = make(n_units=4, limit=20).spec
    assert (spec.n_agents, spec.obs_sizes, spec.action_sizes, spec.state_size) == (4, (9,) * 4, (5,) * 4, 7)
    assert (spec.time_limit, spec.action_kind, spec.metrics) == (20, "discrete", ("battle_won",))
    assert dict(spec.options) == {"reward": "sum", "limit_terminates": False, "n_units": 4, "limit": 20}
    assert make(time_limit=5).spec.time_limit == 5


@pytest.mark.parametrize("answers", [3, 5])
def test_battles_are_won_lost_and_truncated(answers: int):
    environment = make(answers=answers)
    dop.envs.validate(environment)
    records = [played(environment, seed) for seed in range(30)]
    ends = [record.copies[-1] for record in records]
    assert {float(end.metrics[0]) for end in ends} == {0.0, 1.0}
    dead = np.array([step.action_mask[:, 0] for record in records for step in record.copies])
    alone = np.array([step.action_mask[:, 1:].any(axis=1) for record in records for step in record.copies])
    assert dead.any()
    np.testing.assert_array_equal(dead, ~alone)
    assert all(sum(float(step.reward) for step in record.copies) == pytest.approx(9 - health_left(record)) for record in records)


def health_left(record: Played) -> float:
    """The enemies' final health, the last entries of the state."""
    return float(record.copies[-1].state[-3:].sum())


def test_a_time_limit_is_termination_by_option():
    ends = [played(make(limit=2, limit_terminates=True, continuing=continuing), 0).copies[-1] for continuing in (False, True)]
    assert [(bool(end.terminated), bool(end.truncated)) for end in ends] == [
        (True, False),
        (False, True),
    ]  # the environment's report has priority


@pytest.mark.parametrize("continuing", [False, True])
def test_a_time_limit_that_smac_reports_as_termination_is_truncation(continuing: bool):
    environment = make(limit=2, continuing=continuing)
    end = played(environment, 0).copies[-1]
    assert (bool(end.terminated), bool(end.truncated)) == (False, True)
    assert end.action_mask.any(axis=1).all()


def test_a_shorter_limit_truncates():
    record = played(make(time_limit=1), 0)
    assert len(record.actions) == 1
    assert record.copies[-1].truncated


def test_the_first_seed_goes_to_the_maker():
    """SMAC's reset has no seed. The same seed in a new environment gives the same battle."""

    def states(first: int, **options: Any) -> list[list[float]]:
        return [step.state.tolist() for step in played(make(**options), first).copies]

    assert states(3) == states(3)
    assert any(states(3, seed=seed) != states(3, seed=0) for seed in range(1, 6))  # its own option wins


def test_it_is_closed_once_and_can_save_a_replay():
    environment = make()
    first = environment.env
    environment.reset(1)
    assert (first.closed, environment.env is first) == (1, False)
    environment.reset(2)
    environment.save_replay()
    environment.close()
    environment.close()
    assert (environment.env.closed, environment.env.replays) == (1, 1)
    assert environment.render() is None


def test_metrics_can_be_named_and_others_are_unreported():
    environment = make(metrics=["dead_allies", "battle_won"])
    end = played(environment, 0).copies[-1]
    assert end.metrics[0] == (end.state[:3] <= 0).sum()
    assert not environment.unreported
    other = make()
    played(other, 0)
    assert other.unreported == {"dead_allies"}


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("pymarl", {}, "has no function"),
        ("pymarl:python_games", {}, "has no function"),
        ("pymarl:no_such_module:make", {}, "Cannot load the environment"),
        ("pymarl:python_games:Lights", {}, "is not a MultiAgentEnv: it lacks get_env_info, get_obs"),
        (SKIRMISH, {"no_such": 1}, "cannot be made with these options"),
        (SKIRMISH, {"answers": 4}, r"step returned \(int, bool, dict, int\); it must return 3 or 5 values, the last one a dict"),
        (SKIRMISH, {"limit": 0}, r"has no time limit of its own \(as episode_limit in get_env_info"),
    ],
)
def test_unusable_environments_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, options: dict, words: str):
    if options.get("answers") == 4:
        import python_games  # noqa: PLC0415

        monkeypatch.setattr(python_games.Skirmish, "step", lambda self, _: (0, False, {}, 0))
    with pytest.raises(ConfigError, match=words):
        played(dop.envs.make(name, **options), 0)


def test_an_unknown_family_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="pymarl:MODULE:FUNCTION"):
        dop.envs.make("pymarll")
