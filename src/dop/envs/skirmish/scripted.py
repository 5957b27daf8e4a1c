"""Scripted policies, to compare with: random play, and SMAC's `heuristic_ai`, which attacks the closest enemy."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from dop.envs.skirmish.battle import World
from dop.envs.skirmish.environment import Skirmish
from dop.envs.skirmish.observation import FIRST_TARGET, STOP, look


def attack_closest(env: Skirmish, world: World, target: Int[Array, " ally"]) -> tuple[Int[Array, " ally"], Int[Array, " ally"]]:
    """SMAC's `heuristic_ai`: keep a target until it is dead, then take the closest; medivacs, the closest wounded ally.

    It knows where all units are, and its orders ignore the shooting range: a unit walks to its target and attacks it. (`starcraft2.py` of
    oxwhirl/smac, `get_agent_action_heuristic`.)

    Args:
        target: each ally's present target, as the number of its action, or -1; -1 for all at the start.

    Returns:
        The actions, and the targets.
    """
    rules, n = env.rules, env.rules.n_allies
    facts, alive = rules.facts(world.unit_type), world.alive
    distance = look(facts, world).distance[:n]
    enemy = jnp.where(alive[n:] & (facts.damage[:n, n:] > 0.0), distance[:, n:], jnp.inf)
    wounded = alive[:n] & (world.health[:n] < facts.health[:n])
    ally = jnp.where(facts.heals[:n, :n] & wounded, distance[:, :n], jnp.inf)
    width = max(enemy.shape[1], ally.shape[1])
    cost = jnp.where((facts.heal[:n] > 0.0)[:, None], _wide(ally, width), _wide(enemy, width))
    valid = (target >= 0) & jnp.isfinite(jnp.take_along_axis(cost, jnp.maximum(target, 0)[:, None], axis=1)[:, 0])
    closest = jnp.where(jnp.any(jnp.isfinite(cost), axis=1), jnp.argmin(cost, axis=1), -1)
    chosen = jnp.where(valid, target, closest).astype(jnp.int32)
    action = jnp.where(chosen >= 0, FIRST_TARGET + chosen, STOP)
    return jnp.where(alive[:n], action, 0).astype(jnp.int32), chosen


def _wide(cost: Array, width: int) -> Array:
    return jnp.pad(cost, ((0, 0), (0, width - cost.shape[1])), constant_values=np.inf)
