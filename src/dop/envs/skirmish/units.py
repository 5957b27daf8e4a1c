"""What the units of StarCraft II can do: numbers of the game from `units.toml`, which says where each comes from.

Seconds are those of the game speed "faster", 22.4 game loops each. Lengths are in cells of the map. A range is from edge to edge.
"""

from __future__ import annotations

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
    """`line`: a band at the target, across the shot. `around`: a disc around the attacker, which explodes and dies."""
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
    speed: float
    """Cells per second."""
    radius: float
    """For ranges."""
    separation: float
    """The radius at which units of one layer push each other away."""
    attributes: tuple[str, ...] = ()
    flying: bool = False
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


def _load(path: Path) -> tuple[Mapping[str, Unit], float, float]:
    """The units by name, and the regeneration and delay of shields.

    Raises:
        ConfigError: a key is missing, unknown, of the wrong type or out of range.
    """
    tables = read_toml(path)
    shields = checked_table(tables.pop("shields", None), f"{path.name}, [shields]: ")
    rates = []
    for key in ("regeneration", "delay"):
        if not is_finite(shields.get(key)) or shields[key] < 0.0:
            raise ConfigError(f"{path.name}, [shields]: {key} must be a number of at least 0, got {shown(shields.get(key))}.")
        rates.append(float(shields[key]))
    units = {
        name: _unit(name, table, f"{path.name}, [units.{name}]: ") for name, table in checked_table(tables.get("units"), path.name).items()
    }
    return MappingProxyType(units), rates[0], rates[1]


def _unit(name: str, table: Any, where: str) -> Unit:
    """One type of unit from its table."""
    values = dict(checked_table(table, where))
    bonus = checked_table(values.pop("bonus", {}), f"{where}bonus: ")
    for attribute, extra in bonus.items():
        if not is_finite(extra):
            raise ConfigError(f"{where}bonus {attribute} must be a finite number, got {shown(extra)}.")
    splash = from_table(Splash, values.pop("splash"), f"{where}splash: ") if "splash" in values else None
    unit = from_table(Unit, values, where, name=name, bonus=tuple((a, float(x)) for a, x in bonus.items()), splash=splash)
    _check(unit, where)
    return unit


def _check(unit: Unit, where: str) -> None:
    """Refuse what no unit can be."""
    for key, known in (("hits", LAYERS), ("hit_as", LAYERS), ("attributes", ATTRIBUTES), ("bonus", ATTRIBUTES)):
        values = [attribute for attribute, _ in unit.bonus] if key == "bonus" else getattr(unit, key)
        for value in values:
            if value not in known:
                raise ConfigError(f"{where}{key} has {shown(value)}; known are {', '.join(known)}.")
    for key in ("health", "radius", "separation", "max_cooldown"):
        if getattr(unit, key) <= 0.0:
            raise ConfigError(f"{where}{key} must be positive, got {getattr(unit, key)}.")
    for key in ("shield", "armour", "damage", "cooldown", "range", "speed", "regeneration", "energy", "start_energy", "heal", "heal_cost"):
        if getattr(unit, key) < 0.0:
            raise ConfigError(f"{where}{key} must be at least 0, got {getattr(unit, key)}.")
    if not unit.hit_as:
        raise ConfigError(f"{where}hit_as is empty; name at least one of {', '.join(LAYERS)}.")


UNITS, SHIELD_REGENERATION, SHIELD_DELAY = _load(Path(__file__).parent / "units.toml")
"""The units, in the order of SMAC's types within a team; health per second that shields gain; seconds without damage before they do."""
