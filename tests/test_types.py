"""What an `EnvSpec` says of its agents: types by names and sizes, and who shares parameters with whom."""

from __future__ import annotations

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
def test_types_are_read_off_names_and_sizes_unless_given(found: EnvSpec, types: tuple[str, ...], groups: tuple[int, ...]):
    assert found.agent_types == types
    assert found.groups("by_type") == groups
    assert found.groups("all") == (0,) * len(groups)
    assert found.groups("none") == tuple(range(len(groups)))


def test_types_are_of_all_agents_or_of_none():
    with pytest.raises(ConfigError, match=r"types must name one for each of the 2 agents, or none at all; got \('scout',\)"):
        spec("a", "b", types=("scout",))
