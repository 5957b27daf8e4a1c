"""Conversion of Gymnasium's spaces: observations to vectors, actions, and refusals with the agent's name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from dop.envs.python.base import agent_spaces
from dop.errors import ConfigError

BOX = spaces.Box(-1, 1, (2, 3), np.float32)
UNIT = spaces.Box(0, 1, (2,), np.float64)


@pytest.mark.parametrize(
    ("space", "seen", "vector"),
    [
        (BOX, np.arange(6.0).reshape(2, 3), [0, 1, 2, 3, 4, 5]),
        (spaces.Discrete(3), 1, [0, 1, 0]),
        (spaces.MultiBinary(2), np.array([1, 0]), [1, 0]),
        (spaces.Tuple([spaces.Discrete(2), UNIT]), (0, np.array([0.25, 0.5])), [1, 0, 0.25, 0.5]),
        (spaces.Dict({"b": spaces.Discrete(2), "a": UNIT}), {"a": np.array([0.25, 0.5]), "b": 1}, [0.25, 0.5, 0, 1]),
        (spaces.Dict({"observation": BOX, "action_mask": spaces.MultiBinary(4)}), {"observation": np.ones((2, 3))}, [1] * 6),
        (spaces.Dict({"x": UNIT, "y": spaces.Discrete(2), "action_mask": BOX}), {"x": np.array([0, 1]), "y": 0}, [0, 1, 1, 0]),
    ],
)
def test_observations_become_vectors(space: Any, seen: Any, vector: list[float]):
    own = agent_spaces.observations(space, "me")
    read = own.read(seen)
    assert (own.size, read.dtype) == (len(vector), np.float32)
    np.testing.assert_allclose(read, vector)


@pytest.mark.parametrize(
    "space",
    [spaces.Box(0, 255, (8, 8, 3), np.uint8), spaces.Dict({"observation": spaces.Box(0, 255, (8, 8), np.uint8), "action_mask": BOX})],
)
def test_images_are_refused(space: Any):
    with pytest.raises(ConfigError, match=r"piston_0 observes images \(uint8\[8, 8.*vectors"):
        agent_spaces.observations(space, "piston_0")


def test_nested_images_are_refused_and_flat_bytes_are_not():
    with pytest.raises(ConfigError, match="images"):
        agent_spaces.observations(spaces.Tuple([UNIT, spaces.Dict({"eye": spaces.Box(0, 255, (8, 8), np.uint8)})]), "me")
    assert agent_spaces.observations(spaces.Box(0, 255, (8,), np.uint8), "me").size == 8


@pytest.mark.parametrize("space", [spaces.Sequence(UNIT), None])
def test_spaces_that_cannot_be_flattened_are_refused(space: Any):
    with pytest.raises(ConfigError, match=r"me observes .*cannot be flattened"):
        agent_spaces.observations(space, "me")


def test_discrete_actions_start_where_the_space_does():
    own = agent_spaces.actions(spaces.Discrete(3, start=5), "me")
    assert (own.kind, own.size, own.write(np.int32(2))) == ("discrete", 3, 7)
    assert isinstance(own.write(np.int32(2)), int)


def test_combinations_are_numbered_the_last_component_fastest():
    space = spaces.MultiDiscrete([2, 3], start=[0, 10])
    own = agent_spaces.actions(space, "me")
    assert (own.kind, own.size) == ("discrete", 6)
    assert [own.write(i).tolist() for i in range(6)] == [[0, 10], [0, 11], [0, 12], [1, 10], [1, 11], [1, 12]]
    assert all(space.contains(own.write(i)) for i in range(6))


def test_a_box_reaches_exactly_its_bounds():
    space = spaces.Box(np.array([0.1, -3], np.float32), np.array([0.7, 5], np.float32))
    own = agent_spaces.actions(space, "me")
    assert (own.kind, own.size) == ("box", 2)
    for vector, expected in (([-1, -1, 9], space.low), ([1, 1, 9], space.high), ([0, 0.5, 9], [0.4, 3])):
        np.testing.assert_allclose(own.write(np.array(vector, np.float32)), expected, rtol=1e-6)
        assert space.contains(own.write(np.array(vector, np.float32)))


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.MultiDiscrete([10, 10, 10]), "10 x 10 x 10 combinations; at most 256"),
        (spaces.Box(-np.inf, 1, (2,)), "bounds must be finite"),
        (spaces.Box(0, 3, (2,), np.int64), "must be of floating-point numbers"),
        (spaces.Dict({"a": spaces.Discrete(2)}), "only Discrete, MultiDiscrete and Box"),
    ],
)
def test_unsupported_action_spaces(space: Any, words: str):
    with pytest.raises(ConfigError, match=rf"me .*{words}"):
        agent_spaces.actions(space, "me")


def test_a_team_that_mixes_kinds_is_refused():
    found = [agent_spaces.actions(space, "me") for space in (spaces.Discrete(2), spaces.Discrete(3), UNIT)]
    with pytest.raises(ConfigError, match=r"game mixes kinds of action: a's are discrete, c's a box\. .* give c discrete"):
        agent_spaces.one_kind("game", ["a", "b", "c"], found)
    assert agent_spaces.one_kind("game", ["a", "b"], found[:2]) == "discrete"
