"""Hits: whom an attack strikes, and what shields and armour leave of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from dop.envs.skirmish.rules import LEAST_DAMAGE, Facts, Rules

if TYPE_CHECKING:
    from dop.envs.skirmish.battle import Geometry


class Pairs(eqx.Module):
    """What one attack does, (attacker, target)."""

    raw: Float[Array, "unit unit"]
    """All its hits, before armour: what a shield loses."""
    bare: Float[Array, "unit unit"]
    """All its hits on a target without a shield."""


def pairs(facts: Facts) -> Pairs:
    hits, hit = facts.hits[:, None], facts.damage
    bare = jnp.where(hit > 0.0, jnp.maximum(hit - facts.armour[None, :], LEAST_DAMAGE), 0.0)
    return Pairs(raw=hits * hit, bare=hits * bare)


def struck(
    rules: Rules, facts: Facts, seen: Geometry, shoots: Bool[Array, " unit"], aims: Bool[Array, "unit unit"], alive: Bool[Array, " unit"]
) -> Bool[Array, "unit unit"]:
    """Whom each attack of this loop strikes: its target, and who stands in the area that it hits."""
    hit = aims & shoots[:, None]
    if rules.splash.line is not None:
        rows = rules.liners
        area = _line(rules.splash.line, facts, seen, aims, rows)
        hit = hit.at[rows].set(hit[rows] | (area & (shoots & facts.line)[rows, None] & alive[None, :]))
    if rules.splash.around is not None:
        rows = rules.exploders
        hit = hit.at[rows].set(hit[rows] | (_around(rules, facts, seen) & (shoots & facts.explodes)[rows, None] & alive[None, :]))
    return hit


def _line(
    size: tuple[float, float], facts: Facts, seen: Geometry, aims: Bool[Array, "unit unit"], rows: np.ndarray
) -> Bool[Array, "attacker unit"]:
    """Who touches the rectangle across the shot, with its centre at the target."""
    width, depth = size
    x, y, aim = seen.x[rows], seen.y[rows], aims[rows]
    to_x, to_y = jnp.sum(jnp.where(aim, x, 0.0), axis=1, keepdims=True), jnp.sum(jnp.where(aim, y, 0.0), axis=1, keepdims=True)
    length = jnp.maximum(jnp.sqrt(to_x**2 + to_y**2), 1e-6)
    along = ((x - to_x) * to_x + (y - to_y) * to_y) / length
    across = ((y - to_y) * to_x - (x - to_x) * to_y) / length
    outside = jnp.maximum(jnp.abs(along) - depth / 2, 0.0) ** 2 + jnp.maximum(jnp.abs(across) - width / 2, 0.0) ** 2
    return outside <= facts.radius[None, :] ** 2


def _around(rules: Rules, facts: Facts, seen: Geometry) -> Bool[Array, "attacker unit"]:
    """Who touches the circle of an explosion."""
    assert rules.splash.around is not None
    return seen.distance[rules.exploders] <= rules.splash.around + facts.radius[None, :]


def dealt(
    rules: Rules,
    facts: Facts,
    pair: Pairs,
    hit: Bool[Array, "unit unit"],
    shield: Float[Array, " unit"],
    health: Float[Array, " unit"],
) -> tuple[Float[Array, " unit"], Float[Array, " unit"]]:
    """Shield and health after these attacks, which may be below 0.

    A shield takes a hit first, without armour; what is left of the hit is reduced by the armour, to no less than 0.5. Attacks on one target
    count one after another, in the order of the units; only the first hit of an attack to reach the health can be a part of one.
    """
    if rules.shielded is None:
        return shield, health - jnp.sum(jnp.where(hit, pair.bare, 0.0), axis=0)
    some = rules.shielded
    loss = jnp.sum(jnp.where(hit, pair.bare, 0.0), axis=0)
    raw = jnp.where(hit[:, some], pair.raw[:, some], 0.0)
    until = jnp.asarray(np.tri(len(raw), dtype=np.float32)) @ raw
    through = jnp.maximum(until - shield[some], 0.0) - jnp.maximum(until - raw - shield[some], 0.0)
    hit_size, armour = jnp.maximum(facts.damage[:, some], 1e-6), facts.armour[some]
    whole = jnp.maximum(jnp.ceil(through / hit_size - 1e-4) - 1.0, 0.0)
    first = jnp.where(through > 1e-4, jnp.maximum(through - whole * hit_size - armour, LEAST_DAMAGE), 0.0)
    armoured = first + whole * jnp.maximum(hit_size - armour, LEAST_DAMAGE)
    loss = loss.at[some].set(jnp.sum(jnp.where(raw > 0.0, armoured, 0.0), axis=0))
    left = jnp.maximum(shield[some] - until[-1], 0.0)
    return shield.at[some].set(left), health - loss


def dying_explosions(
    rules: Rules,
    facts: Facts,
    pair: Pairs,
    seen: Geometry,
    alive: Bool[Array, " unit"],
    shot: Bool[Array, " unit"],
    shield: Float[Array, " unit"],
    health: Float[Array, " unit"],
) -> tuple[Float[Array, " unit"], Float[Array, " unit"]]:
    """Shield and health after what is killed in this loop has exploded; whom that kills explodes with it, once."""
    rows = rules.exploders
    before, gone = jnp.zeros_like(alive), shot
    for _ in range(2):
        dying = alive & facts.explodes & (health <= 0.0) & ~gone & ~before
        hit = jnp.zeros_like(facts.heals).at[rows].set(_around(rules, facts, seen) & dying[rows, None] & alive[None, :])
        shield, health = dealt(rules, facts, pair, hit, shield, health)
        before = before | dying
    return shield, health
