"""What actions are called: by the library's environments, compared with what they do, and by what other packages say."""

from __future__ import annotations

import enum
from typing import Any

import jax
import numpy as np
import pytest

import dop
from dop.cli.commands.check_env import describe
from dop.envs.python.base.action_names import names_of
from dop.envs.python.gymnasium import Gymnasium
from dop.envs.python.pettingzoo import PettingZoo
from odd_games import Rounds, Tuples

WAYS = {"up": (0, 1), "right": (1, 0), "down": (0, -1), "left": (-1, 0), "stay": (0, 0), "stop": (0, 0)}


def test_smax_moves_where_the_names_say_and_shoots_at_whom_they_say():
    env: Any = dop.make("smax:3m")
    names = env.spec.action_names[0]
    start, _ = env.reset(jax.random.key(0))
    step = jax.jit(env.step)
    stays = step(jax.random.key(1), start, np.array([4, 4, 4]))[0].state.unit_positions[0]  # others push it
    for number, name in enumerate(names[:5]):
        after, _ = step(jax.random.key(1), start, np.array([number, 4, 4]))
        moved = np.asarray(after.state.unit_positions[0] - stays)
        np.testing.assert_array_equal(np.sign(np.where(np.abs(moved) > 0.5, moved, 0)), WAYS[name.removeprefix("move ")])
    places = start.state.unit_positions
    near = start.replace(state=start.state.replace(unit_positions=places.at[3:].set(places[:3] + 0.1 * np.array([3.0, 3.0]))))
    for number, name in list(enumerate(names))[5:]:
        after, _ = step(jax.random.key(1), near, np.array([number, 4, 4]))
        hurt = np.flatnonzero(np.asarray(after.state.unit_health[3:]) < np.asarray(near.state.unit_health[3:]))
        assert [f"attack enemy {i}" for i in hurt] == [name]


@pytest.mark.parametrize(
    ("name", "options"),
    [("mpe:spread", {}), ("mpe:spread", {"actions": "box"}), ("aggregation", {"actions": "discrete"}), ("aggregation", {})],
)
def test_particles_are_pushed_where_the_names_say(name: str, options: Any):
    env: Any = dop.make(name, **options)
    spec = env.spec
    start, _ = env.reset(jax.random.key(0))
    step = jax.jit(env.step)
    for number, way in enumerate(spec.action_names[0]):
        action = np.full(spec.n_agents, number) if spec.action_kind == "discrete" else np.eye(5, dtype=np.float32)[[number] * spec.n_agents]
        after: Any = step(jax.random.key(1), start, action)[0]
        velocity = after.velocity if name == "aggregation" else after.p_vel
        np.testing.assert_array_equal(np.sign(velocity[0]), WAYS[way])


def test_words_of_mpe_are_said():
    for name, number in (("mpe:reference", 2 + 5 * 7), ("mpe:speaker-listener", 2)):
        env: Any = dop.make(name)
        after, _ = env.step(jax.random.key(1), env.reset(jax.random.key(0))[0], np.array([number, 0]))
        assert env.spec.action_names[0][number].endswith(f"say {int(np.argmax(after.c[0]))}")


@pytest.mark.parametrize("name", [name for name in dop.environments() if not name.startswith(("jumanji", "mabrax"))])
def test_the_librarys_own_environments_name_all_actions(name: str):
    spec = dop.make(name).spec
    assert tuple(map(len, spec.action_names)) == spec.action_sizes


def test_packages_with_an_enum_of_actions():
    pytest.importorskip("rware")
    pytest.importorskip("lbforaging")
    assert dop.make("gymnasium:lbforaging:Foraging-8x8-2p-3f-v3").spec.action_names[0] == ("none", "north", "south", "west", "east", "load")
    assert dop.make("gymnasium:rware:rware-tiny-2ag-v2").spec.action_names[1] == ("noop", "forward", "left", "right", "toggle load")


class Move(enum.Enum):
    GO_LEFT, GO_RIGHT = 0, 1


@pytest.mark.parametrize(
    ("meanings", "expected"),
    [
        (["l", "r"], (("l", "r"), ("l", "r"))),
        ([["l", "r"], ["x", "y"]], (("l", "r"), ("x", "y"))),
        ({"b": ["x", "y"], "a": ["l", "r"]}, (("l", "r"), ("x", "y"))),
        (["l", "r", "more"], ()),
        (["l", "l"], ()),
        (["l", "\x1b"], ()),
        (None, ()),
        (7, ()),
    ],
)
def test_meanings_are_names_if_they_fit(meanings: Any, expected: Any):
    class Meaning(Rounds):
        def get_action_meanings(self) -> Any:
            return meanings

    team = PettingZoo("meaning", Meaning(), version="1")
    assert team.spec.action_names == expected
    assert bool(team._remarks) == (expected == ())
    if meanings == ["l", "r", "more"]:
        assert team._remarks == ("get_action_meanings is not used: it has 3 for a, which has 2 actions",)


def test_an_enum_is_an_attribute_and_spaces_alone_have_no_names():
    game: Any = Tuples()
    game.actions = Move
    assert Gymnasium("moves", game, version="1").spec.action_names == (("go left", "go right"),) * 3
    assert Gymnasium("numbers", Tuples(), version="1").spec.action_names == ()
    game.actions = enum.Enum("Move", {"LEFT": 1, "RIGHT": 2})
    assert names_of(game, ["a"], [2]) == ()


def test_check_env_shows_them():
    def row(name: str) -> list[str]:
        return [line for line in describe(dop.make(name).spec, in_jax=True) if "action names" in line]

    assert row("mill") == ["  action names clockwise, counter-clockwise"]
    assert row("payoff-game:climbing") == ["  action names agent_0: a0, a1, a2; agent_1: b0, b1, b2"]
    assert "names" not in "".join(describe(Gymnasium("numbers", Tuples(), version="1").spec, in_jax=False))
    assert row("smax:3m") == [
        "  action names move up, move right, move down, move left, stop, attack enemy 0, attack enemy 1, attack enemy 2"
    ]
