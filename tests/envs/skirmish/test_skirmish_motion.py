"""Orders to move, and what happens at the edges of a map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop.envs import skirmish
from dop.envs.skirmish import terrain
from dop.envs.skirmish.battle import World
from dop.envs.skirmish.environment import Skirmish
from skirmish_maps import written

STOP, NORTH, SOUTH, EAST, WEST = 1, 2, 3, 4, 5
FAR = {"spine_crawler": [[30, 2]]}


def after(environment: Skirmish, orders: list[list[int]]) -> World:
    """The battle after one step for each row of orders."""
    world, step = environment.reset(jax.random.key(0))[0], jax.jit(environment.step)
    for actions in orders:
        world, _ = step(jax.random.key(1), world, jnp.array(actions))
    return world


@pytest.mark.parametrize(
    ("options", "distance"),
    [
        ({}, 8 * 4.1343 / 22.4),
        ({"move_amount": 0.5}, 0.5),
        ({"step_mul": 100}, 2.0),
        ({"step_mul": 100, "move_amount": 3.0}, 3.0),
    ],
)
def test_an_order_to_move_goes_as_far_as_speed_and_move_amount_allow(options: dict[str, Any], distance: float, tmp_path: Path) -> None:
    """A stalker's speed is 4.1343 cells per second of 22.4 game loops."""
    environment = written(tmp_path, {"stalker": [[8, 16]]}, FAR, **options)
    for action, direction in ((NORTH, [0, 1]), (SOUTH, [0, -1]), (EAST, [1, 0]), (WEST, [-1, 0])):
        moved = after(environment, [[action]]).position[0] - np.array([8.0, 16.0])
        np.testing.assert_allclose(moved, distance * np.array(direction), atol=1e-4)


def test_at_the_high_edges_units_may_move_along_them_as_at_the_low_ones(tmp_path: Path) -> None:
    corners = [[0, 0], [0, 32], [32, 0], [32, 32]]
    environment = written(tmp_path, {"marine": corners}, {"spine_crawler": [[16, 16]]})
    mask = np.asarray(environment.reset(jax.random.key(0))[1].action_mask)
    assert mask[:, NORTH : WEST + 1].tolist() == [
        [True, False, True, False],
        [False, True, True, False],
        [True, False, False, True],
        [False, True, False, True],
    ]


def test_a_unit_that_walked_to_the_high_edge_can_walk_along_it(tmp_path: Path) -> None:
    environment = written(tmp_path, {"marine": [[8, 22.9]]}, FAR, "bounds = [0, 0, 32, 24]")
    world = after(environment, [[NORTH], [NORTH]])
    assert float(world.position[0, 1]) == pytest.approx(24.0)
    mask = environment._seen(environment.rules.facts(world.unit_type), world)[0]
    assert np.asarray(mask)[0, NORTH : WEST + 1].tolist() == [False, True, True, True]


def test_units_that_walk_into_one_corner_do_not_stay_at_one_point(tmp_path: Path) -> None:
    environment = written(tmp_path, {"marine": [[1, 0.2], [2, 0.2]]}, FAR)
    together = after(environment, [[WEST, WEST], [SOUTH, SOUTH]] * 4)
    stacked = World(**{**vars(together), "position": together.position.at[:2].set(0.0)})
    step = jax.jit(environment.step)
    for _ in range(3):
        stacked, _ = step(jax.random.key(1), stacked, jnp.array([STOP, STOP]))
    for world in (stacked, after(environment, [[WEST, WEST], [SOUTH, SOUTH]] * 4 + [[STOP, STOP]] * 3)):
        one, other = np.asarray(world.position)[:2]
        assert np.linalg.norm(one - other) > 0.7


WALL = ["." * 24] * 4 + ["....################...."] + ["." * 24] * 7
"""A wall with a gap at either end."""


def test_enemies_walk_around_a_wall_to_the_closest_ally(tmp_path: Path) -> None:
    """Straight towards it, they would stand behind the wall for ever."""
    more = 'size = [24, 12]\nenemy_order = "attack-closest"\nterrain = """\n' + "\n".join(WALL) + '\n"""'
    path = tmp_path / "wall.toml"
    marine = '[[allies]]\nunit = "marine"\nat = [[11.5, 10]]'
    zealots = '[[enemies]]\nunit = "zealot"\nat = [[12, 4], [13, 4]]'
    path.write_text(f"time_limit = 50\n{more}\n{marine}\n{zealots}\n")
    environment = skirmish.make(str(path))
    world = after(environment, [[STOP]] * 25)
    assert float(world.health[0]) == 0.0
    assert np.all(np.asarray(world.position)[1:, 1] > 8.0)


def test_ways_between_cells_lead_along_the_floor_to_where_no_detour_is_left() -> None:
    rng = np.random.default_rng(0)
    floor = rng.random((14, 11)) < 0.7
    ways = terrain.ways_between(floor)
    assert ways is not None
    none = len(ways.directions) - 1
    cells, longest = np.argwhere(floor), 0
    np.testing.assert_array_equal(ways.number[floor], np.arange(len(cells)))
    for goal in range(len(cells)):
        for start in np.flatnonzero(ways.step[:, goal] < none):
            at, count = cells[start], 0
            while ways.step[ways.number[tuple(at)], goal] < none:
                at = at + np.sign(ways.directions[ways.step[ways.number[tuple(at)], goal]]).astype(int)
                count += 1
                assert floor[tuple(at)] and count < len(cells)
            longest = max(longest, count)
    assert longest > 3


def test_a_floor_without_detours_needs_no_table() -> None:
    assert terrain.ways_between(np.ones((6, 5), bool)) is None
    assert terrain.ways_between(np.zeros((6, 5), bool)) is None
