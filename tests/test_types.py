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


@pytest.mark.parametrize("sizes", [(2**31,), (10**5000,), (-(10**5000),)])
def test_invalid_sizes_are_refused(sizes: tuple[int, ...]):
    with pytest.raises(ConfigError, match="obs_sizes must hold one positive size"):
        spec("a", obs_sizes=sizes)
