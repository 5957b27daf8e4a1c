"""Rewards in all forms: numbers, arrays of one, lists of the agents', and vectors of objectives, which need weights."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import dop.envs
from dop.envs.python.base import team_rewards
from dop.envs.python.base.common import Common
from dop.envs.python.gymnasium import Gymnasium
from dop.envs.python.pettingzoo import PettingZoo
from dop.envs.python.pymarl import PyMARL
from dop.errors import ConfigError
from python_games import Marl, Parallel, Script, Tuples


@pytest.mark.parametrize(
    ("given", "weights", "reward"),
    [
        (3, None, (3,)),
        (np.float32(0.5), None, (0.5,)),
        ([3.0], None, (3,)),
        (np.array([[3]]), None, (3,)),
        ([1, 2], None, (1, 2)),
        ([[1], [2]], None, (1, 2)),
        ([np.array([1.5]), np.array(2)], None, (1.5, 2)),  # of two shapes
        ([Decimal(1), Decimal(2)], None, (1, 2)),
        ([[1, -5], [2, 7]], (1, 0.5), (-1.5, 5.5)),
        ([1, 2, 3], (1, 10, 100), (321,)),
        ([1, 2], (1, 10), (21,)),  # with weights for so many, they are objectives
        ([1, 2], (10,), (10, 20)),
        ([[1, -5], [2, 7]], None, None),
        ([[1, -5], [2, 7]], (1, 1, 1), None),
        ([1, 2, 3], None, None),
        ([1, 2], (1, 1, 1), None),
        (3, (1, 1), None),
        ([[1, 2], [3]], None, None),
        ([[[1, 2], [3, 4]], [[1, 2], [3, 4]]], (1, 1, 1, 1), None),
        ([[1, 2]], None, None),
        (None, None, None),
        ([None, 1], None, None),
        ("3", None, None),
        ({"agent_0": 1}, None, None),
        ([], None, None),
    ],
)
def test_of_two_agents(given: Any, weights: tuple[float, ...] | None, reward: tuple[float, ...] | None):
    if reward is not None:
        assert team_rewards.agent_rewards("game", given, 2, weights) == pytest.approx(reward)
        return
    with pytest.raises(ConfigError, match=r"game: step gave (agent [01] )?the reward "):
        team_rewards.agent_rewards("game", given, 2, weights)


def test_of_one_agent():
    assert team_rewards.reward_of("game", "a", np.array([2.5]), None) == 2.5
    assert team_rewards.reward_of("game", "a", [1, -4], (1, 0.25)) == 0
    with pytest.raises(ConfigError, match=r"reward \[1, -5\], which has 2 objectives\. .* reward_weights='\[1, 1\]'"):
        team_rewards.reward_of("game", "a", [1, -5], None)
    with pytest.raises(ConfigError, match="with one number; reward_weights has 2"):
        team_rewards.reward_of("game", "a", 1, (1, 1))


def adapted(kind: str, given: Any, **common: Any) -> Any:
    """A game of two agents whose step returns `given` as its reward."""
    script = Script(seed=0, n_agents=2, length=3, own_limit=3, equal=True, masks="none", has_state=False)
    chosen = Common(**common)
    if kind == "pymarl":
        marl = type("Rewarding", (Marl,), {"step": lambda self, _: (setattr(self, "t", 1), (given, False, {}))[1]})
        options = {"script": script, "answers": 3, "says_limit": False}
        return PyMARL("game", marl, options, version="1", common=chosen)
    raw: Any = Parallel(script) if kind == "pettingzoo" else Tuples(script)
    own_step = raw.step

    def step(actions: Any) -> tuple:
        obs, _, *rest = own_step(actions)
        return obs, dict(zip(raw.possible_agents, given, strict=True)) if kind == "pettingzoo" else given, *rest

    raw.step = step
    return (PettingZoo if kind == "pettingzoo" else Gymnasium)("game", raw, version="1", common=chosen)


@pytest.mark.parametrize("kind", ["gymnasium", "pettingzoo", "pymarl"])
def test_adapters_refuse_objectives_or_weight_them(kind: str):
    vectors, actions = [[1.0, -5.0], [2.0, 7.0]], np.zeros(2, np.int32)

    def reward(**common: Any) -> float:
        environment = adapted(kind, vectors, **common)
        environment.reset(0)
        return float(environment.step(actions).reward)

    assert reward(reward_weights=[1, 0.5]) == pytest.approx(4.0)  # (1 - 2.5) + (2 + 3.5)
    assert reward(reward_weights=[1, 0.5], reward="mean") == pytest.approx(2.0)
    with pytest.raises(ConfigError, match=r"game: step gave the reward .* which has 2 objectives"):
        reward()
    with pytest.raises(ConfigError, match="reward_weights has 3"):
        reward(reward_weights=[1, 0.5, 2])


@pytest.mark.parametrize("kind", ["gymnasium", "pettingzoo", "pymarl"])
def test_adapters_take_arrays_of_one(kind: str):
    environment = adapted(kind, [np.array([1.0]), np.array([2.0])])
    environment.reset(0)
    assert float(environment.step(np.zeros(2, np.int32)).reward) == 3.0


@pytest.mark.parametrize("given", [0.5, "1", [], [1, "a"], [float("nan")], [True]])
def test_weights_are_numbers(given: Any):
    with pytest.raises(ConfigError, match="reward_weights is"):
        dop.envs.make("pymarl:python_games:Skirmish", reward_weights=given)


def test_weights_are_an_option_that_a_run_keeps():
    spec = dop.envs.make("pymarl:python_games:Skirmish", reward_weights=[2]).spec
    assert dict(spec.options)["reward_weights"] == (2.0,)
