"""What a battle is made of, fixed before it starts: `Rules`, the units' numbers as arrays.

Times are in game loops (22.4 a second at the speed 'faster', at which `units.toml` states its seconds), distances in cells of the map.
A `unit` axis has the allies first, then the enemies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dop.envs.skirmish import terrain
from dop.envs.skirmish.maps import Map
from dop.envs.skirmish.units import Unit

LOOPS_PER_SECOND = 22.4
LEAST_DAMAGE = 0.5
"""Of one hit, whatever the armour."""


class Facts(eqx.Module):
    """The numbers of the units in a battle. Those of pairs are (attacker, target)."""

    health: Float[Array, " unit"]
    shield: Float[Array, " unit"]
    energy: Float[Array, " unit"]
    """The most that a unit can have."""
    start_energy: Float[Array, " unit"]
    armour: Float[Array, " unit"]
    radius: Float[Array, " unit"]
    separation: Float[Array, " unit"]
    """The radius with which units push each other away."""
    reach: Float[Array, " unit"]
    """Range of the weapon or of healing, from edge to edge."""
    sight: Float[Array, " unit"]
    """How far it sees."""
    speed: Float[Array, " unit"]
    """Cells per game loop."""
    cooldown: Float[Array, " unit"]
    """Game loops between two attacks."""
    max_cooldown: Float[Array, " unit"]
    """The unit of cooldowns, or of a medivac's energy, in the state."""
    hits: Float[Array, " unit"]
    """Hits of one attack."""
    regeneration: Float[Array, " unit"]
    """Health per game loop."""
    heal: Float[Array, " unit"]
    """Health given per game loop; 0 for what cannot heal."""
    heal_cost: Float[Array, " unit"]
    """Energy per health given."""
    energy_regeneration: Float[Array, " unit"]
    ground: Bool[Array, " unit"]
    climbs: Bool[Array, " unit"]
    """Whether cliffs do not stop it."""
    fights: Bool[Array, " unit"]
    """Whether it has a weapon."""
    explodes: Bool[Array, " unit"]
    line: Bool[Array, " unit"]
    """Whether its attack hits a line across the shot."""
    type_bit: Int[Array, " unit"]
    """Its index in one-hot types."""
    damage: Float[Array, "unit unit"]
    """Of one hit, armour apart; 0 where the attacker cannot hit the target, and between units of one side."""
    heals: Bool[Array, "unit unit"]
    """Whether the first can heal the second."""


@dataclass(frozen=True)
class Splash:
    """The areas that attacks of the types in a battle hit."""

    line: tuple[float, float] | None
    """Width across the shot and depth along it."""
    around: float | None
    """Radius of an explosion."""


@dataclass(frozen=True, eq=False)
class Rules:
    """A map's rules."""

    map: Map
    time_limit: int
    """Environment steps of an episode."""
    step_loops: int
    """Game loops of one environment step."""
    move_amount: float
    """Distance, in cells, that an order to move goes."""
    acquire: float
    """Distance, from edge to edge, within which enemies look for a target."""
    reaction: int
    """Game loops from one look of an enemy around itself to the next."""
    units: Mapping[str, Unit]
    """The numbers of all types of units, by name."""

    @cached_property
    def types(self) -> tuple[Unit, ...]:
        """The types of units that can be in the battle, in the order of `units`."""
        return tuple(unit for name, unit in self.units.items() if name in (*self.map.ally_types, *self.map.enemy_types))

    @property
    def n_allies(self) -> int:
        return self.map.n_allies

    @property
    def n_units(self) -> int:
        return self.map.n_allies + self.map.n_enemies

    @cached_property
    def fixed_types(self) -> np.ndarray | None:
        """The type of each unit, as an index into `types`; None where teams are drawn for each battle."""
        if self.map.random is not None:
            return None
        names = [unit.name for unit in self.types]
        return np.array([names.index(group.unit) for side in (self.map.allies, self.map.enemies) for group in side for _ in group.at])

    def has(self, what: Callable[[Unit], object]) -> bool:
        """Whether some type has it."""
        return any(bool(what(unit)) for unit in self.types)

    @cached_property
    def shielded(self) -> slice | None:
        """The range of units that can have shields; None if none has."""
        allies, enemies = (self.has_shields(names) for names in (self.map.ally_types, self.map.enemy_types))
        if not allies and not enemies:
            return None
        return slice(0 if allies else self.n_allies, self.n_units if enemies else self.n_allies)

    def has_shields(self, names: Sequence[str]) -> bool:
        """Whether one of these types has a shield."""
        return any(self.units[name].shield for name in names)

    @property
    def ally_heals(self) -> bool:
        """Whether an ally may be one that heals."""
        return any(self.units[name].heal for name in self.map.ally_types)

    @cached_property
    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest x and y of a unit: the bounds, without the high edges, whose cells lie outside."""
        low, high = np.split(np.array(self.map.bounds, np.float32), 2)
        return low, np.nextafter(high, low)

    @cached_property
    def floor(self) -> np.ndarray | None:
        """The cells (x, y) on which all units walk; None where the map has no walls."""
        return None if self.map.terrain is None else terrain.cells(self.map.terrain, ".")

    @cached_property
    def cliff(self) -> np.ndarray | None:
        """The cells (x, y) that only some units climb."""
        return None if self.map.terrain is None else terrain.cells(self.map.terrain, "^")

    @cached_property
    def way(self) -> np.ndarray | None:
        """The direction (x, y) of the way to the point of the enemies' attack-move, for each cell."""
        return None if self.floor is None else terrain.way_to(self.map.target, self.floor)

    @cached_property
    def ways(self) -> terrain.Ways | None:
        """The ways between all cells for units that do not climb; None where there are no detours, or too many cells."""
        return None if self.floor is None else terrain.ways_between(self.floor)

    @cached_property
    def liners(self) -> np.ndarray:
        """The units whose attacks may hit a line."""
        return self._with_splash("line")

    @cached_property
    def exploders(self) -> np.ndarray:
        """The units that may explode."""
        return self._with_splash("around")

    def _with_splash(self, kind: str) -> np.ndarray:
        may = [unit.splash is not None and unit.splash.kind == kind for unit in self.types]
        if self.fixed_types is None:
            return np.arange(self.n_units) if any(may) else np.array([], int)
        return np.flatnonzero(np.array(may)[self.fixed_types])

    @cached_property
    def splash(self) -> Splash:
        found = {unit.splash.kind: unit.splash for unit in self.types if unit.splash is not None}
        line, around = found.get("line"), found.get("around")
        return Splash(line=line and (line.width, line.depth), around=around and around.radius)

    @cached_property
    def _facts(self) -> Facts:
        """One row for each type."""
        types, per_loop = self.types, 1.0 / LOOPS_PER_SECOND
        damage = np.array([[_damage(attacker, target) for target in types] for attacker in types], np.float32)
        return Facts(
            health=_column(types, lambda unit: unit.health),
            shield=_column(types, lambda unit: unit.shield),
            energy=_column(types, lambda unit: unit.energy),
            start_energy=_column(types, lambda unit: unit.start_energy),
            armour=_column(types, lambda unit: unit.armour),
            radius=_column(types, lambda unit: unit.radius),
            separation=_column(types, lambda unit: unit.separation),
            reach=_column(types, lambda unit: unit.range),
            sight=_column(types, lambda unit: unit.sight),
            speed=_column(types, lambda unit: unit.speed * per_loop),
            cooldown=_column(types, lambda unit: unit.cooldown * LOOPS_PER_SECOND),
            max_cooldown=_column(types, lambda unit: unit.max_cooldown),
            hits=_column(types, lambda unit: unit.attacks),
            regeneration=_column(types, lambda unit: unit.regeneration * per_loop),
            heal=_column(types, lambda unit: unit.heal * per_loop),
            heal_cost=_column(types, lambda unit: unit.heal_cost),
            energy_regeneration=_column(types, lambda unit: unit.energy_regeneration * per_loop),
            ground=_flags(types, lambda unit: not unit.flying),
            climbs=_flags(types, lambda unit: unit.climbs),
            fights=_flags(types, lambda unit: unit.hits),
            explodes=_flags(types, lambda unit: unit.splash is not None and unit.splash.kind == "around"),
            line=_flags(types, lambda unit: unit.splash is not None and unit.splash.kind == "line"),
            type_bit=np.zeros(len(types), np.int32),  # pyright: ignore[reportArgumentType]  # NumPy until a battle's units are known
            damage=damage,  # pyright: ignore[reportArgumentType]
            heals=np.array([[_heals(healer, target) for target in types] for healer in types]),  # pyright: ignore[reportArgumentType]
        )

    @cached_property
    def _type_bits(self) -> np.ndarray:
        """The place of each type among those of the allies, and among those of the enemies."""
        sides = (self.map.ally_types, self.map.enemy_types)
        return np.array([[side.index(unit.name) if unit.name in side else 0 for unit in self.types] for side in sides], np.int32)

    @cached_property
    def _fixed_facts(self) -> Facts:
        return self._facts_of(self.fixed_types, np)

    def facts(self, unit_type: Int[Array, " unit"]) -> Facts:
        """The numbers of the units with these types; constants where the map fixes the types."""
        return self._fixed_facts if self.fixed_types is not None else self._facts_of(unit_type, jnp)

    def _facts_of(self, unit_type: Any, numpy: Any) -> Facts:
        """The rows and pairs of these types, by NumPy or by JAX's."""
        of_types = self._facts
        is_ally = np.arange(self.n_units) < self.n_allies
        opposed = is_ally[:, None] != is_ally[None, :]
        comrades = ~opposed & ~np.eye(self.n_units, dtype=bool)

        def pairs(table: Any) -> Any:
            return numpy.asarray(table)[unit_type[:, None], unit_type[None, :]]

        rows = {name: numpy.asarray(value)[unit_type] for name, value in vars(of_types).items() if name not in _PAIRS}
        rows["type_bit"] = numpy.where(is_ally, numpy.asarray(self._type_bits[0])[unit_type], numpy.asarray(self._type_bits[1])[unit_type])
        return Facts(**rows, damage=pairs(of_types.damage) * opposed, heals=comrades & pairs(of_types.heals))


_PAIRS = ("damage", "heals")


def _column(types: Sequence[Unit], number: Callable[[Unit], float]) -> Array:
    return np.array([number(unit) for unit in types], np.float32)  # pyright: ignore[reportReturnType]


def _flags(types: Sequence[Unit], test: Callable[[Unit], object]) -> Array:
    return np.array([bool(test(unit)) for unit in types])  # pyright: ignore[reportReturnType]


def _damage(attacker: Unit, target: Unit) -> float:
    if not set(attacker.hits) & set(target.hit_as):
        return 0.0
    return attacker.damage + sum(more for attribute, more in attacker.bonus if attribute in target.attributes)


def _heals(healer: Unit, target: Unit) -> bool:
    return healer.heal > 0.0 and "biological" in target.attributes and not target.flying
