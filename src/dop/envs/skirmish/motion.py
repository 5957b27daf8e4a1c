"""How units walk, and how they make room for each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from dop.envs.skirmish.rules import Facts, Rules
from dop.envs.skirmish.terrain import Ways, cell

if TYPE_CHECKING:
    from dop.envs.skirmish.battle import Geometry, World

_SOFT = 0.1
"""How hard units that walk push each other, relative to others."""
_STANDS = 0.05
"""How easily a unit that stands is pushed, relative to one that walks."""
_ARRIVED = 0.5
"""Distance to the point of an attack-move at which a unit stops."""
_TOUCHING = 0.02
"""Distance of units that touch."""
_COINCIDENT = 1e-4
"""Distance below which units count as being at one point."""
_COMMITTED = 12.0
"""Game loops for which a unit that is free again keeps to the side on which it walks around others."""
_FOLLOWED = 2.0
"""Distance that a healer without a patient keeps to the comrade that it follows."""


class Walk(eqx.Module):
    """The allies' orders to move."""

    direction: Float[Array, "ally 2"]
    """0 without one."""
    left: Float[Array, " ally"]
    """Cells in that direction that are left to go; below 0 for those that were pushed further."""


def move(
    rules: Rules,
    facts: Facts,
    seen: Geometry,
    alive: Bool[Array, " unit"],
    aims: Bool[Array, "unit unit"],
    in_reach: Bool[Array, " unit"],
    world: World,
    walk: Walk,
) -> tuple[Float[Array, "unit 2"], Float[Array, " unit"]]:
    """The positions and detours after one game loop.

    Who has a target out of reach walks straight to it, or around walls that are in between. Other allies walk as ordered, other enemies
    towards the point of their attack-move.
    """
    n = rules.n_allies
    to_target = jnp.stack([jnp.sum(jnp.where(aims, seen.x, 0.0), axis=1), jnp.sum(jnp.where(aims, seen.y, 0.0), axis=1)], axis=1)
    has_target = jnp.any(aims, axis=1)
    if rules.ways is not None:
        to_target = _around_walls(rules.ways, facts, world.position, to_target)
    direction = jnp.where(walk.left[:, None] > 0.0, walk.direction, 0.0)
    otherwise = jnp.concatenate([direction, _attack_move(rules, facts, seen, alive, world.position[n:])])
    wish = _unit(jnp.where(has_target[:, None], to_target, otherwise))
    wish = jnp.where((alive & ~(has_target & in_reach))[:, None], wish, 0.0)
    walks = jnp.any(wish != 0.0, axis=1) & (facts.speed > 0.0)
    push, steered, detour = _contacts(facts, seen, alive, walks, wish, jnp.where(walks, world.detour, 0.0))
    left = jnp.where(jnp.any(direction != 0.0, axis=1), walk.left, jnp.inf)
    pace = jnp.minimum(facts.speed, jnp.concatenate([left, jnp.full(rules.n_units - n, jnp.inf)]))
    step = jnp.where(walks[:, None], pace[:, None] * steered, 0.0) + jnp.where((facts.speed > 0.0)[:, None], push, 0.0)
    return _within(rules, facts, world.position, world.position + jnp.where(alive[:, None], step, 0.0)), detour


def _unit(vector: Float[Array, "unit 2"]) -> Float[Array, "unit 2"]:
    """Vectors of length 1, or 0."""
    length = jnp.sqrt(jnp.sum(vector**2, axis=1, keepdims=True))
    return vector / jnp.maximum(length, 1e-6)


def _around_walls(ways: Ways, facts: Facts, position: Float[Array, "unit 2"], to_target: Float[Array, "unit 2"]) -> Float[Array, "unit 2"]:
    """The direction to each unit's target: for those on the ground, of the way over the floor if it is longer than without walls."""
    number = jnp.asarray(ways.number)
    here, there = number[cell(position, ways.number.shape)], number[cell(position + to_target, ways.number.shape)]
    way = jnp.asarray(ways.directions)[jnp.asarray(ways.step)[here, there].astype(jnp.int32)]
    walks_around = facts.ground & ~facts.climbs & jnp.any(way != 0.0, axis=1)
    return jnp.where(walks_around[:, None], way, to_target)


def _attack_move(
    rules: Rules, facts: Facts, seen: Geometry, alive: Bool[Array, " unit"], position: Float[Array, "enemy 2"]
) -> Float[Array, "enemy 2"]:
    """The direction in which an enemy without a target walks: to the point of the attack-move, around walls; healers follow a comrade."""
    to_point = np.asarray(rules.map.target, np.float32) - position
    near = jnp.sum(to_point**2, axis=1, keepdims=True) < _ARRIVED**2
    way = to_point if rules.way is None else jnp.asarray(rules.way)[cell(position, rules.way.shape[:2])]
    way = jnp.where(near, 0.0, way)
    if not rules.has(lambda unit: unit.heal):
        return way
    n = rules.n_allies
    leads = alive[n:] & facts.fights[n:]
    apart = jnp.where(leads[None, :], seen.distance[n:, n:], jnp.inf)
    nearest = jnp.argmin(apart, axis=1)[:, None]
    to_leader = jnp.concatenate([jnp.take_along_axis(part[n:, n:], nearest, axis=1) for part in (seen.x, seen.y)], axis=1)
    close = jnp.min(apart, axis=1, keepdims=True) < _FOLLOWED
    follows = (facts.heal[n:] > 0.0) & jnp.any(leads)
    return jnp.where(follows[:, None], jnp.where(close, 0.0, to_leader), way)


def _contacts(
    facts: Facts,
    seen: Geometry,
    alive: Bool[Array, " unit"],
    walks: Bool[Array, " unit"],
    wish: Float[Array, "unit 2"],
    detour: Float[Array, " unit"],
) -> tuple[Float[Array, "unit 2"], Float[Array, "unit 2"], Float[Array, " unit"]]:
    """What contacts do to each unit: the push out of overlaps, the direction in which it walks, and its detour.

    A unit that stands hardly gives way. One that walks into those that stand takes the smaller turn, to the left or to the right, that
    leads past all of them, along the last, and keeps to that side until it has walked freely for a while. In SC2, paths are planned around
    units that stand; this is a local rule that surrounds a target without a plan.
    """
    n = len(alive)
    together = alive[:, None] & alive[None, :] & (facts.ground[:, None] == facts.ground[None, :]) & ~np.eye(n, dtype=bool)
    overlap = facts.separation[:, None] + facts.separation[None, :] - seen.distance
    yields = jnp.where(walks, 1.0, _STANDS)
    scale = 1.0 / jnp.maximum(seen.distance, 1e-3)
    # Units at one point, as in a corner of the map, have no direction from one to the other: the later one goes to the right.
    to_x = jnp.where(seen.distance < _COINCIDENT, np.sign(np.arange(n)[None, :] - np.arange(n)[:, None]), seen.x * scale)
    soft = jnp.where(walks[:, None] & walks[None, :], _SOFT, 1.0)
    pushed = jnp.where(together, -soft * jnp.maximum(overlap, 0.0) * yields[:, None] / (yields[:, None] + yields[None, :]), 0.0)
    push = jnp.stack([jnp.sum(pushed * to_x, axis=1), jnp.sum(pushed * scale * seen.y, axis=1)], axis=1)
    ahead = (wish[:, :1] * seen.x + wish[:, 1:] * seen.y) * scale
    left = (wish[:, :1] * seen.y - wish[:, 1:] * seen.x) * scale
    blocks = together & (overlap > -_TOUCHING) & ~walks[None, :] & (ahead > 0.0)
    furthest_left = jnp.max(jnp.where(blocks, left, -1.0), axis=1)
    furthest_right = jnp.max(jnp.where(blocks, -left, -1.0), axis=1)
    smaller = jnp.where(furthest_left <= furthest_right, 1.0, -1.0)
    side = jnp.where(detour == 0.0, smaller, jnp.sign(detour))
    blocked = jnp.any(blocks, axis=1)
    back = jnp.where(side > 0.0, furthest_left, furthest_right)
    sideways = side * jnp.sqrt(jnp.maximum(1.0 - back**2, 0.0))
    around = jnp.stack([-back * wish[:, 0] - sideways * wish[:, 1], -back * wish[:, 1] + sideways * wish[:, 0]], axis=1)
    ends = jnp.sign(detour) * jnp.maximum(jnp.abs(detour) - 1.0, 0.0)
    return push, jnp.where(blocked[:, None], around, wish), jnp.where(blocked, side * _COMMITTED, ends)


def _within(rules: Rules, facts: Facts, before: Float[Array, "unit 2"], after: Float[Array, "unit 2"]) -> Float[Array, "unit 2"]:
    """The positions after a step that stays within the map's bounds and, on the ground, on floor; along a wall a unit slides."""
    after = jnp.clip(after, *rules.limits)
    if rules.floor is None:
        return after
    floor, cliff = jnp.asarray(rules.floor), jnp.asarray(rules.cliff)

    def open_to(position: Float[Array, "unit 2"]) -> Bool[Array, " unit"]:
        at = cell(position, rules.floor.shape)  # pyright: ignore[reportOptionalMemberAccess]
        return ~facts.ground | floor[at] | (facts.climbs & cliff[at])

    along_x = jnp.stack([after[:, 0], before[:, 1]], axis=1)
    x = jnp.where(open_to(along_x), after[:, 0], before[:, 0])
    along_y = jnp.stack([x, after[:, 1]], axis=1)
    y = jnp.where(open_to(along_y), after[:, 1], before[:, 1])
    return jnp.stack([x, y], axis=1)
