"""Floor, walls and cliffs, and the way around them."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

if TYPE_CHECKING:
    from dop.envs.skirmish.rules import Facts, Rules

_STEPS = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if (x, y) != (0, 0)]


def cells(terrain: tuple[str, ...], kinds: str) -> np.ndarray:
    """Which cells (x, y) are of one of these kinds."""
    rows = np.array([list(row) for row in reversed(terrain)])
    return np.isin(rows, list(kinds)).T


def cell(position: Float[Array, "*point 2"], shape: tuple[int, ...]) -> tuple[Array, Array]:
    """The indices x and y of the cell of each position."""
    index = jnp.floor(position).astype(jnp.int32)
    return jnp.clip(index[..., 0], 0, shape[0] - 1), jnp.clip(index[..., 1], 0, shape[1] - 1)


def is_floor(rules: Rules, facts: Facts, position: Float[Array, "ally point 2"]) -> Bool[Array, "ally point"]:
    """Whether an ally could stand at each of its points, as far as the ground and the map's bounds go."""
    low_x, low_y, high_x, high_y = rules.map.bounds
    x, y = position[..., 0], position[..., 1]
    inside = (x >= low_x) & (x < high_x) & (y >= low_y) & (y < high_y)
    if rules.floor is None or rules.cliff is None:
        return inside
    at = cell(position, rules.floor.shape)
    n = rules.n_allies
    free = jnp.asarray(rules.floor)[at] | (facts.climbs[:n, None] & jnp.asarray(rules.cliff)[at]) | ~facts.ground[:n, None]
    return inside & free


def way_to(target: tuple[float, float], floor: np.ndarray) -> np.ndarray:
    """The direction (x, y) of the shortest way over the floor to `target`, for each cell; 0 where there is none.

    Steps go to the eight cells around, never across the corner of a wall.
    """
    width, height = floor.shape
    goal = min(int(target[0]), width - 1), min(int(target[1]), height - 1)
    distance = np.full(floor.shape, np.inf)
    distance[goal] = 0.0
    waiting = [(0.0, goal)]
    while waiting:
        far, at = heapq.heappop(waiting)
        if far > distance[at]:
            continue
        for step in _STEPS:
            there = at[0] + step[0], at[1] + step[1]
            length = far + float(np.hypot(*step))
            if _can_step(floor, at, step) and length < distance[there] - 1e-9:
                distance[there] = length
                heapq.heappush(waiting, (length, there))
    way = np.zeros((*floor.shape, 2), np.float32)
    for at in zip(*np.nonzero(floor), strict=True):
        steps = [step for step in _STEPS if _can_step(floor, at, step)]
        if steps and np.isfinite(distance[at]) and distance[at] > 0.0:
            best = min(steps, key=lambda step: distance[at[0] + step[0], at[1] + step[1]] + np.hypot(*step))
            way[at] = np.array(best) / np.hypot(*best)
    return way


def _can_step(floor: np.ndarray, at: tuple[int, ...], step: tuple[int, int]) -> bool:
    """Whether the cell next to this one, and those that a diagonal step touches, are floor."""
    x, y = at[0] + step[0], at[1] + step[1]
    if not (0 <= x < floor.shape[0] and 0 <= y < floor.shape[1]):
        return False
    return bool(floor[x, y] and floor[at[0], y] and floor[x, at[1]])
