"""One battle: `World`, and the game loop that moves, aims, hits and heals.

Facts about units: `units.toml`. Orders and behaviour of both sides: the scripts and unit catalogues inside SMAC's maps (Samvelyan et al.
2019; repository oxwhirl/smac, `smac/env/starcraft2/maps`). Learning units do what their order says and nothing else: they neither look for
targets nor answer fire. Enemies have one order, to attack-move to the team's start.

In each loop, all units act on what they see at its start: enemies choose targets, then who is in range with its weapon ready hits, who is
not in range walks, then hits, healing and explosions count at once. So two units can kill each other in one loop.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dop.envs.skirmish import damage, motion, targets
from dop.envs.skirmish.rules import LOOPS_PER_SECOND, Facts, Rules
from dop.envs.skirmish.units import SHIELD_DELAY, SHIELD_REGENERATION

NOBODY = -1


class World(eqx.Module):
    """The state of a battle. A `unit` axis has the allies first, then the enemies."""

    position: Float[Array, "unit 2"]
    health: Float[Array, " unit"]
    """0 for the dead."""
    shield: Float[Array, " unit"]
    energy: Float[Array, " unit"]
    cooldown: Float[Array, " unit"]
    """Game loops until its weapon is ready."""
    unhurt: Float[Array, " unit"]
    """Game loops since it was last hit."""
    detour: Float[Array, " unit"]
    """Game loops for which it keeps to the left (to the right, if negative) of those in its way."""
    target: Int[Array, " unit"]
    """The unit that it attacks or heals, as an index of all units, or `NOBODY`."""
    unit_type: Int[Array, " unit"]
    """Index into `Rules.types`."""
    last_action: Int[Array, " ally"]
    """The allies' last actions; 0 at the start."""
    steps: Int[Array, ""]

    @property
    def alive(self) -> Bool[Array, " unit"]:
        return self.health > 0.0


class Orders(eqx.Module):
    """What the allies are to do during one step."""

    target: Int[Array, " ally"]
    """The unit to attack or heal, or `NOBODY`."""
    direction: Float[Array, "ally 2"]
    """The direction to walk in, for `Rules.move_amount`; 0 for those that do not."""


class Geometry(eqx.Module):
    """Where units are, seen from each other: (from, to)."""

    x: Float[Array, "unit unit"]
    y: Float[Array, "unit unit"]
    distance: Float[Array, "unit unit"]
    gap: Float[Array, "unit unit"]
    """The distance from edge to edge."""


def geometry(position: Float[Array, "unit 2"], radius: Float[Array, " unit"]) -> Geometry:
    x = position[None, :, 0] - position[:, None, 0]
    y = position[None, :, 1] - position[:, None, 1]
    distance = jnp.sqrt(x**2 + y**2)
    return Geometry(x=x, y=y, distance=distance, gap=distance - radius[:, None] - radius[None, :])


def start(rules: Rules, position: Float[Array, "unit 2"], unit_type: Int[Array, " unit"]) -> World:
    """A battle at its start."""
    facts, n = rules.facts(unit_type), rules.n_units
    return World(
        position=position,
        health=jnp.asarray(facts.health),
        shield=jnp.asarray(facts.shield),
        energy=jnp.asarray(facts.start_energy),
        cooldown=jnp.zeros(n),
        unhurt=jnp.full(n, jnp.inf),
        detour=jnp.zeros(n),
        target=jnp.full(n, NOBODY, jnp.int32),
        unit_type=unit_type,
        last_action=jnp.zeros(rules.n_allies, jnp.int32),
        steps=jnp.zeros((), jnp.int32),
    )


def fight(rules: Rules, world: World, orders: Orders, delay: Float[Array, " unit"]) -> World:
    """One environment step: `Rules.step_loops` game loops.

    Args:
        delay: game loops that each unit's next cooldown takes longer.
    """
    facts = rules.facts(world.unit_type)
    pairs, first = damage.pairs(facts), world.steps * rules.step_loops
    goal = world.position[: rules.n_allies] + rules.move_amount * orders.direction

    def one(loop: Int[Array, ""], now: World) -> World:
        walk = motion.Walk(direction=orders.direction, left=jnp.sum((goal - now.position[: rules.n_allies]) * orders.direction, axis=1))
        return _game_loop(rules, facts, pairs, now, orders.target, walk, delay, first + loop)

    return jax.lax.fori_loop(0, rules.step_loops, one, world)


def _game_loop(
    rules: Rules,
    facts: Facts,
    pairs: damage.Pairs,
    world: World,
    ordered: Int[Array, " ally"],
    walk: motion.Walk,
    delay: Float[Array, " unit"],
    loop: Int[Array, ""],
) -> World:
    alive = world.alive
    seen = geometry(world.position, facts.radius)
    target = targets.choose(rules, facts, seen.gap, alive, world, ordered, loop)
    aims = (target[:, None] == np.arange(rules.n_units)) & alive[:, None]
    in_reach = jnp.any(aims & (seen.gap <= facts.reach[:, None]), axis=1)
    shoots = in_reach & facts.fights & (world.cooldown <= 0.0)
    position, detour = motion.move(rules, facts, seen, alive, aims, in_reach, world, walk)
    struck = damage.struck(rules, facts, seen, shoots, aims, alive)
    shield, health = damage.dealt(rules, facts, pairs, struck, world.shield, world.health)
    health = jnp.where(shoots & facts.explodes, 0.0, health)
    if rules.splash.around is not None:
        shield, health = damage.dying_explosions(rules, facts, pairs, seen, alive, shoots, shield, health)
    hurt = (health < world.health) | (shield < world.shield)
    unhurt = jnp.where(hurt, 0.0, world.unhurt + 1.0)
    health, energy = _heal(rules, facts, aims, in_reach, alive, health, world.energy)
    dead = ~alive | (health <= 0.0)
    if rules.has(lambda unit: unit.regeneration):
        health = jnp.minimum(health + facts.regeneration, facts.health)
    if rules.shielded is not None:
        grown = jnp.where(unhurt >= round(SHIELD_DELAY * LOOPS_PER_SECOND), SHIELD_REGENERATION / LOOPS_PER_SECOND, 0.0)
        shield = jnp.minimum(shield + grown, facts.shield)
    return World(
        position=position,
        health=jnp.where(dead, 0.0, health),
        shield=jnp.where(dead, 0.0, shield),
        energy=jnp.where(dead, 0.0, energy),
        cooldown=jnp.maximum(jnp.where(shoots, facts.cooldown + delay, world.cooldown) - 1.0, 0.0),
        unhurt=unhurt,
        detour=detour,
        target=target,
        unit_type=world.unit_type,
        last_action=world.last_action,
        steps=world.steps,
    )


def _heal(
    rules: Rules,
    facts: Facts,
    aims: Bool[Array, "unit unit"],
    in_reach: Bool[Array, " unit"],
    alive: Bool[Array, " unit"],
    health: Float[Array, " unit"],
    energy: Float[Array, " unit"],
) -> tuple[Float[Array, " unit"], Float[Array, " unit"]]:
    """Health and energy after one loop of healing. Healers cannot raise the dead; what several give beyond full health is lost."""
    if not rules.has(lambda unit: unit.heal):
        return health, energy
    patients = aims & facts.heals & in_reach[:, None] & (alive & (health > 0.0))[None, :]
    missing = jnp.max(jnp.where(patients, facts.health - health, 0.0), axis=1)
    given = jnp.minimum(jnp.minimum(facts.heal, missing), energy / jnp.maximum(facts.heal_cost, 1e-6))
    received = jnp.sum(jnp.where(patients, given[:, None], 0.0), axis=0)
    left = jnp.minimum(energy - given * facts.heal_cost + facts.energy_regeneration, facts.energy)
    return jnp.minimum(health + received, facts.health), left
