"""What units observe and may do, as SMAC defines it (Samvelyan et al. 2019; repository oxwhirl/smac, `starcraft2.py`).

Observation of a living ally; zeros when dead:

    4              whether it can move north, south, east, west
    8              with `obs_pathing_grid`: whether the cells around it are floor; cells outside of the map count as floor, as in SMAC
    each enemy     whether it can be attacked, distance, x, y relative to the ally, health, shield, type     if alive and in sight
    each other ally  in sight (1), distance, x, y relative to the ally, health, shield, type, last action    if alive and in sight
    own            health, shield, with `obs_own_pos` its position, type
    1              with `obs_timestep_number`: the time

State: for each ally health, cooldown (a medivac's energy), x, y from the middle of the map, shield, type; for each enemy the same without
the cooldown; zeros for the dead; then the allies' last actions, one-hot; then, with `state_timestep_number`, the time.

Distances are divided by the sight range, positions by the size of the map, health, shield and cooldown by their largest values, time by the
time limit. Shields stand where the side's race is Protoss, types where a side has more than one. Cooldowns that a random delay makes longer
than SMAC's largest exceed 1.

What differs from SMAC: one-hot types have the same order on both sides, where SMAC reverses stalkers and zealots on one of them; flyers may
move over all ground, and colossi over cliffs; a medivac cannot heal machines; the dead do not see the time.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from dop.envs.skirmish.battle import Geometry, World, geometry
from dop.envs.skirmish.rules import Facts, Rules
from dop.envs.skirmish.terrain import is_floor
from dop.types import EntityBlocks
from dop.types.entities import NO_ACTION

SIGHT, SHOOTING = 9.0, 6.0
"""SMAC's ranges, between centres, the same for all units."""
NO_OP, STOP, FIRST_MOVE, FIRST_TARGET = 0, 1, 2, 6
DIRECTIONS = np.array([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]], np.float32)
"""North, south, east, west: actions 2 to 5."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What observations and states contain; SMAC's options of the same names, and SMACv2's last two."""

    obs_all_health: bool = True
    """Health and shields of all units in sight."""
    obs_own_health: bool = True
    """Its own health and shield; implied by `obs_all_health`."""
    obs_last_action: bool = False
    """The last actions of allies in sight."""
    obs_pathing_grid: bool = False
    """Whether the eight cells around it are floor."""
    obs_timestep_number: bool = False
    obs_instead_of_state: bool = False
    """The state is all observations, one after another."""
    state_last_action: bool = True
    state_timestep_number: bool = False
    obs_own_pos: bool = False
    """Its own position."""
    use_unit_ranges: bool = False
    """Units see and attack as far as their own type can (attacks at least 2), not 9 and 6. A colossus has 6, in SMACv2 7."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))


class View:
    """The observations, states and masks of a map."""

    def __init__(self, rules: Rules, shown: Shown) -> None:
        self.rules, self.shown = rules, shown
        n, allies, enemies = rules.n_allies, rules.map.ally_types, rules.map.enemy_types
        self.n_actions = FIRST_TARGET + (max(rules.map.n_enemies, n) if rules.ally_heals else rules.map.n_enemies)
        self.type_bits = rules.map.type_bits
        self.ally_shields, self.enemy_shields = (rules.has_shields(names) for names in (allies, enemies))

    def mask(self, facts: Facts, seen: Geometry, world: World) -> Bool[Array, "ally action"]:
        """The available actions: no-op for the dead alone, else stop, moves onto floor, and targets alive and in range."""
        n, alive = self.rules.n_allies, world.alive
        near = seen.distance[:n] <= self._shooting(facts)[:, None]
        may = near & alive[None, :]
        attack = may[:, n:] & facts.fights[:n, None]
        if self.rules.ally_heals:
            heal = may[:, :n] & facts.heals[:n, :n]
            width = self.n_actions - FIRST_TARGET
            attack = _padded(attack, width) | _padded(heal, width)
        moves = is_floor(self.rules, facts, _towards_zero(world.position[:n, None] + 0.5 * self.rules.move_amount * DIRECTIONS))
        living = jnp.concatenate([jnp.zeros((n, 1), bool), jnp.ones((n, 1), bool), moves, attack], axis=1)
        return jnp.where(alive[:n, None], living, np.arange(self.n_actions) == NO_OP)

    def obs(self, facts: Facts, seen: Geometry, world: World, mask: Bool[Array, "ally action"]) -> Float[Array, "ally obs"]:
        n, shown, alive = self.rules.n_allies, self.shown, world.alive
        attackable = mask[:, FIRST_TARGET : FIRST_TARGET + self.rules.map.n_enemies].astype(jnp.float32)
        sight = self._sight(facts)
        visible = (seen.distance[:n] < sight[:, None]) & alive[None, :]
        enemies = self._others(facts, seen, world, visible, sight, slice(n, None), attackable)
        allies = self._others(facts, seen, world, visible, sight, slice(0, n), jnp.ones((n, n)))
        if shown.obs_last_action:
            last = jnp.where(visible[:, :n, None], self._last_actions(world)[None], 0.0)
            allies = jnp.concatenate([allies, last], axis=-1)
        others = np.array([[j for j in range(n) if j != i] for i in range(n)], int).reshape(n, n - 1)
        allies = jnp.take_along_axis(allies, others[:, :, None], axis=1)
        parts = [mask[:, FIRST_MOVE:FIRST_TARGET].astype(jnp.float32)]
        if shown.obs_pathing_grid:
            parts.append(self._pathing_grid(facts, world))
        parts += [enemies.reshape(n, -1), allies.reshape(n, -1), *self._own(facts, world)]
        if shown.obs_timestep_number:
            parts.append(jnp.broadcast_to(world.steps / self.rules.time_limit, (n, 1)))
        return jnp.where(alive[:n, None], jnp.concatenate(parts, axis=1), 0.0)

    def state(self, facts: Facts, world: World, obs: Float[Array, "ally obs"]) -> Float[Array, " state"]:
        n, shown = self.rules.n_allies, self.shown
        if shown.obs_instead_of_state:
            return obs.flatten()
        size = np.array(self.rules.map.size, np.float32)
        place = (world.position - size / 2) / size
        health = (world.health / facts.health)[:, None]
        loaded = jnp.where(facts.heal > 0.0, world.energy, world.cooldown) / facts.max_cooldown
        allies = [health[:n], loaded[:n, None], place[:n], *self._shield(facts, world, slice(0, n)), *self._type(facts, slice(0, n))]
        enemies = [health[n:], place[n:], *self._shield(facts, world, slice(n, None)), *self._type(facts, slice(n, None))]
        alive = world.alive[:, None]
        parts = [
            jnp.where(alive[:n], jnp.concatenate(allies, axis=1), 0.0).flatten(),
            jnp.where(alive[n:], jnp.concatenate(enemies, axis=1), 0.0).flatten(),
        ]
        if shown.state_last_action:
            parts.append(self._last_actions(world).flatten())
        if shown.state_timestep_number:
            parts.append((world.steps / self.rules.time_limit)[None])
        return jnp.concatenate(parts)

    def obs_entities(self) -> tuple[EntityBlocks, ...]:
        """The blocks of `obs`."""
        n, enemies, shown = self.rules.n_allies, self.rules.map.n_enemies, self.shown
        each = 4 + self.type_bits + (1 if shown.obs_all_health else 0)
        enemy = each + (self.enemy_shields and shown.obs_all_health)
        ally = each + (self.ally_shields and shown.obs_all_health) + (self.n_actions if shown.obs_last_action else 0)
        start = FIRST_TARGET - FIRST_MOVE + (len(_AROUND) if shown.obs_pathing_grid else 0)
        attack, heal = self._targets()
        others = tuple(tuple(number for j, number in enumerate(row) if j != i) for i, row in enumerate(heal))
        blocks = [EntityBlocks(kind="enemy", start=start, size=enemy, count=enemies, actions=attack)]
        if n > 1:
            blocks.append(EntityBlocks(kind="ally", start=blocks[0].end, size=ally, count=n - 1, actions=others))
        return tuple(blocks)

    def state_entities(self, obs_size: int) -> tuple[EntityBlocks, ...]:
        """The blocks of `state`, where observations have `obs_size` numbers."""
        n, enemies = self.rules.n_allies, self.rules.map.n_enemies
        attack, heal = self._targets()
        side: dict[str, Any] = {"kind": "ally", "count": n, "actions": heal, "agents": True}
        if self.shown.obs_instead_of_state:
            return (EntityBlocks(start=0, size=obs_size, **side),)
        allies = EntityBlocks(start=0, size=4 + self.ally_shields + self.type_bits, **side)
        foes = EntityBlocks(kind="enemy", start=allies.end, size=3 + self.enemy_shields + self.type_bits, count=enemies, actions=attack)
        last = (EntityBlocks(start=foes.end, size=self.n_actions, **side),) if self.shown.state_last_action else ()
        return (allies, foes, *last)

    def _targets(self) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
        """For each ally the actions that target the enemies, and those of a healer that target other allies; no healer: empty."""
        n, types = self.rules.n_allies, self.rules.fixed_types
        attack = tuple(range(FIRST_TARGET, FIRST_TARGET + self.rules.map.n_enemies))
        if not self.rules.ally_heals:
            return (attack,) * n, ()
        # Where types are drawn, every ally may be of either kind.
        heals = [types is None or self.rules.types[types[i]].heal > 0 for i in range(n)]
        fights = [types is None or not healer for healer in heals]
        none = (NO_ACTION,) * max(n, len(attack))
        heal = [[FIRST_TARGET + j if healer and i != j else NO_ACTION for j in range(n)] for i, healer in enumerate(heals)]
        return tuple(attack if one else none[: len(attack)] for one in fights), tuple(map(tuple, heal))

    def _last_actions(self, world: World) -> Float[Array, "ally action"]:
        """One-hot; zeros before the first step."""
        return jnp.where(world.steps > 0, _one_hot(world.last_action, self.n_actions), 0.0)

    def _pathing_grid(self, facts: Facts, world: World) -> Float[Array, "ally 8"]:
        """Whether the cells around each ally's are floor, or outside of the map."""
        around = jnp.floor(world.position[: self.rules.n_allies, None]) + self.rules.move_amount * _AROUND
        outside = jnp.any((around < 0.0) | (around >= np.array(self.rules.map.size, np.float32)), axis=-1)
        return (is_floor(self.rules, facts, around) | outside).astype(jnp.float32)

    def _others(
        self,
        facts: Facts,
        seen: Geometry,
        world: World,
        visible: Bool[Array, "ally unit"],
        sight: Float[Array, " ally"],
        side: slice,
        first: Float[Array, "ally other"],
    ) -> Float[Array, "ally other number"]:
        """The numbers of the units of one side, as each ally sees them.

        Args:
            first: the first number of each; of enemies, whether the action of that number is available. (Of a healer it heals an ally.)
        """
        n, scale = self.rules.n_allies, sight[:, None]
        numbers = [first, seen.distance[:n, side] / scale, seen.x[:n, side] / scale, seen.y[:n, side] / scale]
        columns = [part[..., None] for part in numbers]
        own = []
        if self.shown.obs_all_health:
            own += [(world.health / facts.health)[side, None], *self._shield(facts, world, side)]
        own += self._type(facts, side)
        columns += [jnp.broadcast_to(part[None], (n, *part.shape)) for part in own]
        return jnp.where(visible[:, side, None], jnp.concatenate(columns, axis=-1), 0.0)

    def _own(self, facts: Facts, world: World) -> list[Float[Array, "ally number"]]:
        side = slice(0, self.rules.n_allies)
        parts = []
        if self.shown.obs_all_health or self.shown.obs_own_health:
            parts += [(world.health / facts.health)[side, None], *self._shield(facts, world, side)]
        if self.shown.obs_own_pos:
            parts.append(world.position[side] / np.array(self.rules.map.size, np.float32))
        return parts + self._type(facts, side)

    def _shield(self, facts: Facts, world: World, side: slice) -> list[Float[Array, "unit 1"]]:
        has = self.ally_shields if side.start == 0 else self.enemy_shields
        return [(world.shield / jnp.maximum(facts.shield, 1.0))[side, None]] if has else []

    def _type(self, facts: Facts, side: slice) -> list[Float[Array, "unit type"]]:
        if self.type_bits == 0:
            return []
        return [_one_hot(facts.type_bit[side], self.type_bits)]

    def _sight(self, facts: Facts) -> Float[Array, " ally"]:
        n = self.rules.n_allies
        return facts.sight[:n] if self.shown.use_unit_ranges else jnp.full(n, SIGHT)

    def _shooting(self, facts: Facts) -> Float[Array, " ally"]:
        n = self.rules.n_allies
        return jnp.maximum(facts.reach[:n], 2.0) if self.shown.use_unit_ranges else jnp.full(n, SHOOTING)


_AROUND = np.array([[0, 2], [0, -2], [2, 0], [-2, 0], [1, 1], [-1, -1], [1, -1], [-1, 1]], np.float32)
"""SMAC's points of the pathing grid, in units of `move_amount`."""


def _towards_zero(point: Float[Array, "ally point 2"]) -> Float[Array, "ally point 2"]:
    """Points less than a cell beyond the low edges of the map count as on them, since SMAC finds a point's cell by rounding to zero."""
    return jnp.where(point > -1.0, jnp.maximum(point, 0.0), point)


def _one_hot(index: Array, size: int) -> Array:
    return (index[..., None] == np.arange(size)).astype(jnp.float32)


def _padded(mask: Bool[Array, "ally target"], width: int) -> Bool[Array, "ally width"]:
    return jnp.pad(mask, ((0, 0), (0, width - mask.shape[1])))


def look(facts: Facts, world: World) -> Geometry:
    """Where all units are, seen from each other."""
    return geometry(world.position, facts.radius)
