"""Floor, walls and cliffs, and the way around them."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

if TYPE_CHECKING:
    from dop.envs.skirmish.rules import Facts, Rules

MOST_FLOOR = 2048
"""Cells of the largest floor between all of which ways are known: 4 MB."""
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


@dataclass(frozen=True, eq=False)
class Ways:
    """The first steps of the shortest ways between all pairs of cells of a floor."""

    number: np.ndarray
    """The number of each cell (x, y); of one that is not floor, that of the nearest which is."""
    step: np.ndarray
    """(from, to): the index into `directions` of the first step; the last, none, where the way is as short as without walls, or where
    there is none."""

    directions = np.array([*(np.array(step) / np.hypot(*step) for step in _STEPS), (0.0, 0.0)], np.float32)


def ways_between(floor: np.ndarray) -> Ways | None:
    """The ways on a floor; None if it has more than `MOST_FLOOR` cells, whose table would be too large, or no detours."""
    import scipy  # noqa: PLC0415  # loaded for maps with terrain alone

    at = np.argwhere(floor)
    if not 0 < len(at) <= MOST_FLOOR:
        return None
    nearest = scipy.ndimage.distance_transform_edt(~floor, return_distances=False, return_indices=True)
    number = np.full(floor.shape, -1, np.int32)
    number[tuple(at.T)] = np.arange(len(at))
    number = number[tuple(nearest)]
    edges = [
        (number[x, y], number[x + step[0], y + step[1]], np.hypot(*step))
        for x, y in at
        for step in _STEPS
        if _can_step(floor, (x, y), step)
    ]
    if not edges:
        return None
    start, end, length = zip(*edges, strict=True)
    graph = scipy.sparse.csr_matrix((length, (start, end)), shape=(len(at), len(at)))
    distance, before = scipy.sparse.csgraph.dijkstra(graph, return_predecessors=True)
    apart = np.abs(at[:, None] - at[None, :])
    octile = apart.max(axis=-1) + (np.sqrt(2.0) - 1.0) * apart.min(axis=-1)
    detour = np.isfinite(distance) & (distance > octile + 1e-6)
    if not detour.any():
        return None
    # Ways are the same in both directions: the cell before i on the way from j is the first on the way from i to j.
    first = at[np.where(detour, before.T, 0)] - at[:, None]
    step = np.full(detour.shape, len(_STEPS), np.int8)
    for index, offset in enumerate(_STEPS):
        step[detour & (first == offset).all(axis=-1)] = index
    return Ways(number, step)


def _can_step(floor: np.ndarray, at: tuple[int, ...], step: tuple[int, int]) -> bool:
    """Whether the cell next to this one, and those that a diagonal step touches, are floor."""
    x, y = at[0] + step[0], at[1] + step[1]
    if not (0 <= x < floor.shape[0] and 0 <= y < floor.shape[1]):
        return False
    return bool(floor[x, y] and floor[at[0], y] and floor[x, at[1]])
