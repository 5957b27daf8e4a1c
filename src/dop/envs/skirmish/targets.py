"""Whom units attack or heal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dop.envs.skirmish.rules import Facts, Rules

if TYPE_CHECKING:
    from dop.envs.skirmish.battle import World

STICKINESS = 0.5
"""By how many cells another target must be nearer than an enemy's present one."""
_APART = 3
"""Game loops between the looks of an enemy and those of the next."""


def choose(
    rules: Rules,
    facts: Facts,
    gap: Float[Array, "unit unit"],
    alive: Bool[Array, " unit"],
    world: World,
    ordered: Int[Array, " ally"],
    loop: Int[Array, ""],
) -> Int[Array, " unit"]:
    """The target of each unit, -1 for none: of allies as ordered while it lives and they can hit or heal it, of enemies the nearest that
    they can hit.

    An enemy looks around every `Rules.reaction` game loops, not all in the same one; in between it keeps its target while that lives and is
    near. It looks within `Rules.acquire`, or within its range if that is longer, and at any distance at whoever attacks it. Targets that
    need no walk come first, then the nearest, where the present one counts as `STICKINESS` nearer. An enemy that heals takes its nearest
    wounded comrade.

    Args:
        loop: the number of this game loop in the battle.
    """
    n = rules.n_allies
    able = ((facts.damage[:n] > 0.0) | facts.heals[:n]) & alive[None, :]
    kept = jnp.where(jnp.any(able & (ordered[:, None] == np.arange(rules.n_units)), axis=1), ordered, -1)
    cost = _attack_cost(rules, facts, gap, alive, world.target, kept)
    if rules.has(lambda unit: unit.heal):
        cost = jnp.concatenate([cost, _heal_cost(rules, facts, gap, alive, world.health)], axis=1)
    looks = (loop + _APART * np.arange(rules.n_units - n)) % rules.reaction == 0
    is_present = world.target[n:, None] == np.arange(cost.shape[1])
    cost = jnp.where(looks[:, None] | is_present, cost, jnp.inf)
    found = jnp.isfinite(jnp.min(cost, axis=1)) & alive[n:]
    best = jnp.argmin(cost, axis=1).astype(jnp.int32)
    return jnp.concatenate([jnp.where(alive[:n], kept, -1), jnp.where(found, best, -1)])


def _attack_cost(
    rules: Rules,
    facts: Facts,
    gap: Float[Array, "unit unit"],
    alive: Bool[Array, " unit"],
    present: Int[Array, " unit"],
    ordered: Int[Array, " ally"],
) -> Float[Array, "enemy ally"]:
    n = rules.n_allies
    away, reach = gap[n:, :n], facts.reach[n:, None]
    attacked_by = ordered[None, :] == np.arange(n, rules.n_units)[:, None]
    noticed = (away <= jnp.maximum(reach, rules.acquire)) | attacked_by | (rules.map.enemy_order == "attack-closest")
    possible = noticed & alive[None, :n] & (facts.damage[n:, :n] > 0.0)
    is_present = present[n:, None] == np.arange(n)
    walk = jnp.where(away > reach, _FAR, 0.0)
    return jnp.where(possible, away + walk - jnp.where(is_present, STICKINESS, 0.0), jnp.inf)


def _heal_cost(
    rules: Rules, facts: Facts, gap: Float[Array, "unit unit"], alive: Bool[Array, " unit"], health: Float[Array, " unit"]
) -> Float[Array, "enemy enemy"]:
    n = rules.n_allies
    wounded = alive[n:] & (health[n:] < facts.health[n:])
    noticed = gap[n:, n:] <= rules.acquire + facts.reach[n:, None]
    return jnp.where(facts.heals[n:, n:] & wounded[None, :] & noticed, gap[n:, n:], jnp.inf)


_FAR = 1000.0
"""More than any distance on a map."""
