"""What the units of StarCraft II can do: numbers of the game from `units.toml`, which says where each comes from.

Seconds are those of the game speed "faster", 22.4 game loops each. Lengths are in cells of the map. A range is from edge to edge.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from dop.envs.skirmish.tables import checked_table, from_table, read_toml
from dop.errors import ConfigError, is_finite, shown

LAYERS = ("ground", "air")
ATTRIBUTES = ("light", "armoured", "biological", "mechanical", "massive", "structure")


@dataclass(frozen=True, kw_only=True)
class Splash:
    """Damage to more than the target."""

    kind: Literal["line", "around"]
    """`line`: a band at the target, across the shot. `around`: a disc around the attacker, which explodes when it attacks or is killed.

    Both spare the attacker's own team."""
    width: float = 0.0
    """Length of the band across the shot."""
    depth: float = 0.0
    """Length of the band along the shot."""
    radius: float = 0.0
    """Radius of the disc."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A type of unit."""

    name: str
    race: Literal["terran", "protoss", "zerg"]
    letter: str
    """One or two letters for pictures."""
    source: str
    """Where the numbers come from."""
    health: float
    shield: float = 0.0
    armour: float = 0.0
    """Taken off every hit on health. Shields have none."""
    damage: float = 0.0
    """Of one hit, before armour."""
    bonus: tuple[tuple[str, float], ...] = ()
    """Attributes, and the damage that is added against units with them."""
    attacks: int = 1
    """Hits per attack, each reduced by armour."""
    cooldown: float = 0.0
    """Seconds from one attack to the next."""
    range: float = 0.0
    sight: float
    """How far it sees."""
    speed: float
    """Cells per second."""
    radius: float
    """For ranges."""
    separation: float
    """The radius at which units of one layer push each other away."""
    attributes: tuple[str, ...] = ()
    flying: bool = False
    climbs: bool = False
    """Whether cliffs do not stop it."""
    hits: tuple[str, ...] = ()
    """The layers that it can attack; none: it cannot attack."""
    hit_as: tuple[str, ...]
    """The layers of the attacks that reach it."""
    regeneration: float = 0.0
    """Health per second."""
    energy: float = 0.0
    start_energy: float = 0.0
    energy_regeneration: float = 0.0
    heal: float = 0.0
    """Health per second that it gives to one biological ally."""
    heal_cost: float = 0.0
    """Energy per health given."""
    splash: Splash | None = None
    max_cooldown: float
    """SMAC's scale of a unit's cooldown in observations and states, in game loops; of a medivac, its energy."""


def read_units(path: Path) -> tuple[Mapping[str, Unit], Mapping[str, Unit]]:
    """The units by name: as SMAC's maps have them, and as a multiplayer game has them.

    Raises:
        ConfigError: a key is missing, unknown, of the wrong type or out of range.
    """
    units, multiplayer = {}, {}
    tables = checked_table(read_toml(path).get("units"), f"{path.name}, [units]: ")
    for name, table in tables.items():
        where = f"{path.name}, [units.{name}]: "
        values = dict(checked_table(table, where))
        changes = checked_table(values.pop("multiplayer", {}), f"{where}multiplayer: ")
        units[name] = _unit(name, values, where)
        multiplayer[name] = _unit(name, values | changes, where)
    return MappingProxyType(units), MappingProxyType(multiplayer)


def _shields(path: Path) -> tuple[float, float]:
    """Regeneration and delay of shields.

    Raises:
        ConfigError: one of them is missing or is not a number of at least 0.
    """
    table = checked_table(read_toml(path).get("shields"), f"{path.name}, [shields]: ")
    for key in ("regeneration", "delay"):
        if not is_finite(table.get(key)) or table[key] < 0.0:
            raise ConfigError(f"{path.name}, [shields]: {key} must be a number of at least 0, got {shown(table.get(key))}.")
    return float(table["regeneration"]), float(table["delay"])


def _unit(name: str, table: dict[str, Any], where: str) -> Unit:
    """One type of unit from its table."""
    bonus = checked_table(table.get("bonus", {}), f"{where}bonus: ")
    for attribute, extra in bonus.items():
        if not is_finite(extra):
            raise ConfigError(f"{where}bonus {attribute} must be a finite number, got {shown(extra)}.")
    splash = from_table(Splash, table["splash"], f"{where}splash: ") if "splash" in table else None
    plain = {key: value for key, value in table.items() if key not in ("bonus", "splash")}
    unit = from_table(Unit, plain, where, name=name, bonus=tuple((key, float(extra)) for key, extra in bonus.items()), splash=splash)
    _check_known(unit, where)
    _check_numbers(unit, where)
    return unit


def _check_known(unit: Unit, where: str) -> None:
    """Refuse layers and attributes that nothing has."""
    bonus = tuple(attribute for attribute, _ in unit.bonus)
    listed = (
        ("hits", unit.hits, LAYERS),
        ("hit_as", unit.hit_as, LAYERS),
        ("attributes", unit.attributes, ATTRIBUTES),
        ("bonus", bonus, ATTRIBUTES),
    )
    for key, values, known in listed:
        for value in values:
            if value not in known:
                raise ConfigError(f"{where}{key} has {shown(value)}; known are {', '.join(known)}.")
    if not unit.hit_as:
        raise ConfigError(f"{where}hit_as is empty; name at least one of {', '.join(LAYERS)}.")


def _check_numbers(unit: Unit, where: str) -> None:
    """Refuse numbers that no unit can have."""
    for key in ("health", "radius", "separation", "max_cooldown", "attacks"):
        if getattr(unit, key) <= 0:
            raise ConfigError(f"{where}{key} must be positive, got {getattr(unit, key)}.")
    for field in dataclasses.fields(unit):
        value = getattr(unit, field.name)
        if isinstance(value, float) and value < 0.0:
            raise ConfigError(f"{where}{field.name} must be at least 0, got {value}.")
    if unit.start_energy > unit.energy:
        raise ConfigError(f"{where}start_energy is {unit.start_energy}, more than energy, {unit.energy}.")


_FILE = Path(__file__).parent / "units.toml"

UNITS, MULTIPLAYER = read_units(_FILE)
"""The units as SMAC's maps have them, in the order of SMAC's types within a team; and as a multiplayer game of version 4.10 has them."""

SHIELD_REGENERATION, SHIELD_DELAY = _shields(_FILE)
"""Health per second that shields gain, and the seconds without damage before they do."""
