"""Two time limits, a wrapper's and the environment's own: unexplained termination exactly at either is truncation."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest

import dop.envs
from dop.envs.python.base.common import Common
from dop.envs.python.base.limits import Limits
from dop.envs.python.gymnasium import Gymnasium
from dop.envs.python.pettingzoo import PettingZoo
from dop.envs.python.pymarl import PyMARL
from dop.types import TimeStep
from python_games import Parallel, Script, Tuples

FORAGING = "gymnasium:lbforaging:Foraging-8x8-2p-3f-v3"
WAREHOUSE = "gymnasium:rware:rware-tiny-2ag-v2"


def ended(environment: Any) -> tuple[int, TimeStep]:
    """The length of a no-op episode, and its last step."""
    step, t = environment.reset(0), 0
    while not (step.terminated or step.truncated):
        step, t = environment.step(np.zeros(environment.spec.action_shape, np.int32)), t + 1
    return t, step


@pytest.mark.parametrize(
    ("name", "options", "length"),
    [
        (FORAGING, {}, 50),
        (FORAGING, {"max_episode_steps": 20}, 20),
        (FORAGING, {"max_episode_steps": 50}, 50),
        (FORAGING, {"max_episode_steps": 100}, 50),
        (FORAGING, {"max_episode_steps": 100, "time_limit": 50}, 50),
        (FORAGING, {"time_limit": 7}, 7),
        (WAREHOUSE, {"max_steps": 9, "max_episode_steps": 30}, 9),
        (WAREHOUSE, {"max_episode_steps": 600}, 500),
    ],
)
def test_no_op_episodes_are_truncated_at_the_limit(name: str, options: dict[str, Any], length: int):
    environment = dop.envs.make(name, **options)
    assert environment.spec.time_limit == length
    t, step = ended(environment)
    assert (t, bool(step.terminated), bool(step.truncated)) == (length, False, True)
    assert step.action_mask.any(axis=1).all()


@pytest.mark.parametrize("options", [{}, {"max_episode_steps": 60}])
def test_a_limit_that_is_the_end_of_the_task(options: dict[str, Any]):
    _, step = ended(dop.envs.make(FORAGING, limit_terminates=True, **options))
    assert (bool(step.terminated), bool(step.truncated)) == (True, False)


def script(length: int, own_limit: int | None) -> Script:
    """An episode that the environment itself reports as terminated."""
    made = Script(seed=1, n_agents=2, length=length, own_limit=own_limit, equal=True, masks="none")
    made.terminates[:], made.truncates[:] = True, False
    return made


class Wrapper:
    """Forwards everything and has a limit, which it does not enforce."""

    def __init__(self, env: Any, limit: int) -> None:
        self.env, self.unwrapped, self.max_steps = env, env, limit

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # not set yet while it is made or copied
            raise AttributeError(name)
        return getattr(self.env, name)


class Gymma:
    """PyMARL's interface around a Gymnasium environment, as in EPyMARL: its own limit, and that of the wrapped environment."""

    def __init__(self, env: Any, limit: int) -> None:
        self._env, self.episode_limit = env, limit

    def get_env_info(self) -> dict[str, Any]:
        return {"n_agents": 2, "n_actions": 3, "obs_shape": 3, "state_shape": 4, "episode_limit": self.episode_limit}

    def get_obs(self) -> Any:
        return self.seen

    def get_state(self) -> np.ndarray:
        return np.zeros(4)

    def get_avail_actions(self) -> list[list[int]]:
        return [[1, 1, 1]] * 2

    def reset(self) -> None:
        self.seen, _ = self._env.reset()

    def step(self, actions: list[int]) -> tuple:
        self.seen, rewards, terminated, truncated, info = self._env.step(tuple(actions))
        return float(sum(rewards)), terminated or truncated, info

    def close(self) -> None: ...


def played(kind: str, length: int, own: int | None, around: int | None, **common: Any) -> tuple[int, bool, bool]:
    """The length and end of an episode that the environment reports as terminated after `length` steps, under these limits."""
    chosen, made = Common(**common), script(length, own)
    if kind == "pymarl":
        raw = Tuples(made)
        environment: Any = PyMARL("game", lambda: Gymma(raw, around or 100), {}, version="1", common=chosen)
    else:
        raw = Parallel(made) if kind == "pettingzoo" else Tuples(made)
        wrapped: Any = raw if around is None else Wrapper(raw, around)
        environment = (PettingZoo if kind == "pettingzoo" else Gymnasium)("game", wrapped, version="1", common=chosen)
    t, step = ended(environment)
    return t, bool(step.terminated), bool(step.truncated)


@pytest.mark.parametrize("kind", ["gymnasium", "pettingzoo", "pymarl"])
def test_unexplained_termination_at_either_limit_is_truncation(kind: str):
    truncated, terminated = (False, True), (True, False)
    assert played(kind, 5, 5, 9)[1:] == truncated  # its own, shorter than the wrapper's
    assert played(kind, 5, 5, 5)[1:] == truncated
    assert played(kind, 5, None, 5)[1:] == truncated  # the wrapper's
    assert played(kind, 4, 5, 9)[1:] == terminated  # done before either
    assert played(kind, 5, 5, 9, limit_terminates=True)[1:] == terminated


@pytest.mark.parametrize("kind", ["gymnasium", "pettingzoo", "pymarl"])
def test_the_limit_of_the_option_counts_where_the_environment_has_none(kind: str):
    around = None if kind != "pymarl" else 100
    assert played(kind, 5, None, around, time_limit=5) == (5, False, True)
    assert played(kind, 4, None, around, time_limit=5) == (4, True, False)
    assert played(kind, 5, None, around, time_limit=5, limit_terminates=True) == (5, True, False)
    assert played(kind, 5, 8, around, time_limit=5) == (5, True, False)  # it has another limit, so this is termination


def test_a_truncating_wrapper_does_not_report_termination():
    """Gymnasium's TimeLimit sets `truncated`, whatever the environment reports; an environment that sets both itself is believed."""

    class Team(gymnasium.Env):
        def __init__(self, own: Tuples) -> None:
            self.own = own
            self.observation_space, self.action_space = own.observation_space, own.action_space

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            return self.own.reset(seed)

        def step(self, action: Any) -> Any:
            return self.own.step(action)

    both = script(4, None)
    both.truncates[:] = True
    limited = gymnasium.wrappers.TimeLimit(Team(Tuples(script(4, None))), 4)
    for env, terminated in ((limited, False), (Tuples(both), True)):
        step = ended(Gymnasium("game", env, version="1", common=Common(time_limit=9)))[1]
        assert bool(step.terminated) is terminated
        assert bool(step.truncated) is not terminated


def test_limits_are_found_under_wrappers_by_name():
    raw = Parallel(script(3, 7))
    assert Limits.of(raw) == Limits(own=frozenset({7}), around=frozenset())
    assert Limits.of(Wrapper(Wrapper(raw, 5), 9)) == Limits(own=frozenset({7}), around=frozenset({5, 9}))
    assert Limits.of(copy.copy(raw), episode_limit=12).own == {7, 12}
    raw.max_cycles = True  # type: ignore  # not a number of steps, like a negative one
    assert not Limits.of(raw).own
    raw.max_cycles = -1
    assert not Limits.of(raw).own
