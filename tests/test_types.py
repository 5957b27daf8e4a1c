"""`EnvSpec`: agent types by names and sizes, and groups that share parameters."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from dop.errors import ConfigError
from dop.types import EnvSpec


def spec(*agents: str, obs_sizes: tuple[int, ...] = (), types: tuple[str, ...] = ()) -> EnvSpec:
    sizes: dict[str, Any] = {"obs_sizes": obs_sizes or (2,) * len(agents), "action_sizes": (3,) * len(agents)}
    return EnvSpec(name="x", version="1", agents=agents, types=types, state_size=1, time_limit=1, **sizes)


@pytest.mark.parametrize(
    ("found", "types", "groups"),
    [
        (spec("a_0", "a_1", "b_0"), ("a", "a", "b"), (0, 0, 1)),
        (spec("b-10", "a2", "a1"), ("b", "a", "a"), (0, 1, 1)),
        (spec("left", "right"), ("left", "right"), (0, 1)),
        (spec("a_0", "a_1", "a_2", obs_sizes=(2, 4, 2)), ("a:2x3", "a:4x3", "a:2x3"), (0, 1, 0)),
        (spec("0", "1"), ("", ""), (0, 0)),
        (spec("a_0", "a_1", types=("scout", "tank")), ("scout", "tank"), (0, 1)),
    ],
)
def test_types_come_from_names_and_sizes_unless_given(found: EnvSpec, types: tuple[str, ...], groups: tuple[int, ...]):
    assert found.agent_types == types
    assert found.groups("by_type") == groups
    assert found.groups("all") == (0,) * len(groups)
    assert found.groups("none") == tuple(range(len(groups)))


def test_types_are_for_all_agents_or_none():
    with pytest.raises(ConfigError, match=r"types must name one for each of the 2 agents, or none at all; got \('scout',\)"):
        spec("a", "b", types=("scout",))


@pytest.mark.parametrize("name", ["red/1", "../x", "a b", "Späher", "漢", ".x", "a\\b", "<b>", "x" * 1000])
def test_printable_names_are_accepted(name: str):
    assert spec(name, "other", types=("t", name)).agents == (name, "other")


@pytest.mark.parametrize("name", ["", "\0", "a\nb", "\x1b[2J", "a\x7f", "\x9b", "\ud800", "\u202e", "\u2028"])
@pytest.mark.parametrize("field", ["name", "version", "agents", "types", "metrics"])
def test_unprintable_names_are_refused(field: str, name: str):
    named = name if field in ("name", "version") else (name, "other")
    with pytest.raises(ConfigError, match=rf"{field}.* must be names of letters that can be printed; got ") as error:
        dataclasses.replace(spec("a", "b"), **{field: named})
    assert str(error.value).isprintable()


def test_options_are_pairs():
    with pytest.raises(ConfigError, match="options must be pairs of a name and a value"):
        dataclasses.replace(spec("a"), options=((1, 2),))
    with pytest.raises(ConfigError, match="options must be pairs of a name and a value"):
        dataclasses.replace(spec("a"), options=(0,))


@pytest.mark.parametrize("sizes", [(2**31,), (10**5000,), (-(10**5000),)])
def test_invalid_sizes_are_refused(sizes: tuple[int, ...]):
    with pytest.raises(ConfigError, match="obs_sizes must hold one positive size"):
        spec("a", obs_sizes=sizes)


def named(*names: tuple[str, ...]) -> EnvSpec:
    return dataclasses.replace(spec("a", "b"), action_names=names)


def test_actions_have_names_or_numbers():
    found = named(("left", "right", "stay"), ("up", "down", "stay"))
    assert [found.action_name(agent, 1) for agent in range(2)] == ["right", "down"]
    assert named().action_name(1, 2) == "2"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((("x", "y", "z"),), r"action_names must hold one tuple of names for each of the 2 agents, or nothing; got \(\('x'"),
        ((("x", "y", "z"), ("x", "y")), r"action_names of b must be 3 different names, one for each of its actions; got \('x', 'y'\)"),
        ((("x", "y", "z"), ("x", "y", "x")), "action_names of b must be 3 different names"),
        ((("x", "y", "z"), ()), "action_names of b must be 3 different names"),
        ((("x", "y", "z"), ("x", "y", "")), "action_names must be names of letters that can be printed; got ''"),
        ((("x", "y", "z"), ("x", "y", "\x1b")), ".*that can be printed"),
        ((["x", "y", "z"], ("x", "y", "z")), "action_names must be a tuple of tuples of strings, got "),
        ((("x", "y", 3), ("x", "y", "z")), "action_names must be a tuple of tuples of strings, got "),
        ("xyz", "action_names must be a tuple of tuples of strings, got 'xyz'"),
    ],
)
def test_names_of_actions_that_do_not_fit_are_refused(names: Any, words: str):
    with pytest.raises(ConfigError, match=f"x: {words}"):
        dataclasses.replace(spec("a", "b"), action_names=names)
