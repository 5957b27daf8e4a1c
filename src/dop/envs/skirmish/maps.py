"""Maps as data: who fights whom, where they stand, on what ground, and for how long. One TOML file each, in `maps/` or anywhere.

    source = "Where the facts come from"
    time_limit = 60             # environment steps
    size = [32, 32]             # cells; x to the right, y up
    bounds = [0, 0, 32, 32]     # the part in which units may be: low x, low y, high x, high y; the whole map by default
    target = [9, 16]            # where enemies attack-move to; the allies' mean position by default
    enemy_order = "attack-move" # the default; or "attack-closest": every idle enemy attacks the closest ally, wherever it is

    [[allies]]                  # a group of units of one type; as many groups as you like
    unit = "marine"
    count = 3                   # placed as close to this point as they fit
    around = [9, 16]

    [[enemies]]
    unit = "zealot"
    at = [[23, 15], [23, 17]]   # or one position per unit

`terrain`, if given, is a text of one line per row of cells, from the highest y to the lowest, and one character per cell; `TERRAIN` lists
them. A map with a table `[random]` in the place of groups and terrain draws teams and starts in every episode, as SMACv2 does: see
`RandomTeams`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dop.envs.skirmish.placing import Circle, place
from dop.envs.skirmish.tables import check_keys, checked_table, from_table, read_toml
from dop.envs.skirmish.units import UNITS
from dop.errors import ConfigError, UnknownNameError, is_finite, shown

TERRAIN = {".": "floor", "#": "blocked for ground units", "^": "a cliff: blocked for ground units other than the colossus"}
CLIFF_WALKERS = ("colossus",)

SUFFIX = ".toml"
"""Of map files."""
MOST_CELLS, MOST_UNITS = 256, 200
"""Of a map on each axis, as in StarCraft II; and of a team. Larger numbers are typing errors that would exhaust the memory."""
_LEAST_OTHERS = 0.01
"""Of the probabilities of all types that can be alone."""
_FOLDER = Path(__file__).parent / "maps"
_RACES = ("protoss", "terran", "zerg")
_SIZES = ((5, 5), (10, 10), (10, 11), (20, 20), (20, 23))

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Units of one type and one team."""

    unit: str
    at: tuple[Point, ...]
    """One position per unit."""


@dataclass(frozen=True, kw_only=True)
class RandomTeams:
    """Teams and starts that are drawn anew in every episode, as in SMACv2.

    Every ally's type is drawn independently. The first enemies have the allies' types; any more are drawn likewise.

    Starts on a map of width w and height h are of two kinds.

    Surrounded: all allies stand in the middle (w/2, h/2). Enemies form 1 to 4 groups, each number as likely as another, and every enemy
    is in each of them with the same probability. A group is on a diagonal of its own, at (1 - t) corner + t (middle, moved by 2 towards
    the corner on each axis), with t uniform in [0, 1].

    Reflected: allies are uniform, x in [0, w/2 - 1] and y in [0, h]. Enemies are at (w - x, y); more enemies than allies are uniform in
    the right half.
    """

    units: tuple[str, ...]
    probabilities: tuple[float, ...]
    """Of each type."""
    never_alone: tuple[str, ...] = ()
    """Types that cannot make up a whole draw, nor all enemies; such a draw is repeated. Those without a weapon must be here."""
    n_allies: int
    n_enemies: int
    surrounded: float
    """Probability of the first kind of start."""


@dataclass(frozen=True, kw_only=True)
class Map:
    """A battlefield."""

    name: str
    source: str = ""
    """Where the facts come from, and what is our choice."""
    time_limit: int
    """Environment steps per episode."""
    size: Point
    bounds: tuple[float, float, float, float]
    """Low x, low y, high x, high y of the part in which units may be."""
    allies: tuple[Group, ...]
    """In SMAC's order of agents: by type, then x, then y."""
    enemies: tuple[Group, ...]
    """In the order of the file, which is that of their creation in SMAC."""
    target: Point
    """Where enemies attack-move to."""
    enemy_order: Literal["attack-move", "attack-closest"] = "attack-move"
    """What enemies are ordered: once, at the start, to move to the target and attack what they meet; or to attack the closest ally whenever
    they are idle."""
    terrain: tuple[str, ...] | None
    """Rows of cells of side 1, from the highest y to the lowest; none: all floor."""
    random: RandomTeams | None

    @property
    def n_allies(self) -> int:
        return self.random.n_allies if self.random else sum(len(group.at) for group in self.allies)

    @property
    def n_enemies(self) -> int:
        return self.random.n_enemies if self.random else sum(len(group.at) for group in self.enemies)

    @property
    def ally_types(self) -> tuple[str, ...]:
        """The types of allies that there may be, in the order of `UNITS`."""
        return _ordered(self.random.units if self.random else [group.unit for group in self.allies])

    @property
    def enemy_types(self) -> tuple[str, ...]:
        """The types of enemies that there may be, in the order of `UNITS`."""
        return _ordered(self.random.units if self.random else [group.unit for group in self.enemies])

    @property
    def type_bits(self) -> int:
        """SMAC's `unit_type_bits`: the largest number of types within a team, or 0 if no team has more than one."""
        most = max(len(self.ally_types), len(self.enemy_types))
        return 0 if most == 1 else most


def _ordered(units: Any) -> tuple[str, ...]:
    return tuple(name for name in UNITS if name in units)


def names() -> tuple[str, ...]:
    """Every map of SMAC, and the maps of random teams of SMACv2."""
    fixed = sorted(path.stem for path in _FOLDER.glob("*.toml") if path.stem not in _RACES)
    return (*fixed, *(f"{race}_{allies}_vs_{enemies}" for race in _RACES for allies, enemies in _SIZES))


def full_name(name: str) -> str:
    """The name that means the same map in every working directory: that of a file is its absolute path."""
    return str(Path(name).expanduser().absolute()) if name.endswith(SUFFIX) else name


def load(name: str) -> Map:
    """A listed map, or the map in a file of one's own, whose name ends in `.toml`.

    Raises:
        UnknownNameError: there is no such map; the message has the nearest name.
        ConfigError: a file that does not describe a map; the message names the file, the key and the value.
    """
    if name.endswith(SUFFIX):
        if not _exists(name):
            raise ConfigError(
                f"There is no map file {shown(name, 300)}. Check the path; a run with a map of your own needs its file where it was."
            )
        return read(Path(name))
    if name not in names():
        other_case = next((known for known in names() if known.lower() == name.lower()), None)
        if other_case is not None:
            raise ConfigError(f"There is no map {shown(name)}. Did you mean {other_case!r}?")
        if "/" in name:
            raise ConfigError(f"There is no map {shown(name, 300)}. The path of a map of your own must end in {SUFFIX}; rename the file.")
        raise UnknownNameError("map", name, names())
    race, _, size = name.partition("_")
    if race not in _RACES:
        return read(_FOLDER / f"{name}.toml")
    loaded = read(_FOLDER / f"{race}.toml")
    assert loaded.random is not None
    n_allies, n_enemies = map(int, size.split("_vs_"))
    random = dataclasses.replace(loaded.random, n_allies=n_allies, n_enemies=n_enemies)
    return dataclasses.replace(loaded, name=name, random=random)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def read(path: Path) -> Map:
    """The map in this file.

    Raises:
        ConfigError: the file does not describe a map.
    """
    table, where = read_toml(path), f"{path}: "
    check_keys(Map, table, where)
    size = _numbers(table.pop("size", None), 2, f"{where}size")
    if min(size) < 1.0:
        raise ConfigError(f"{where}size must be at least 1 on each axis, got {list(size)}.")
    if max(size) > MOST_CELLS:
        raise ConfigError(f"{where}size must be at most {MOST_CELLS} on each axis, got {list(size)}.")
    bounds = _numbers(table.pop("bounds", [0.0, 0.0, *size]), 4, f"{where}bounds")
    if not (0.0 <= bounds[0] < bounds[2] <= size[0] and 0.0 <= bounds[1] < bounds[3] <= size[1]):
        raise ConfigError(f"{where}bounds must be [low x, low y, high x, high y] within size {list(size)}, got {list(bounds)}.")
    terrain = _terrain(table.pop("terrain", None), size, where)
    random = _random(table.pop("random"), where) if "random" in table else None
    ground = Ground(bounds=bounds, terrain=terrain)
    taken: list[Circle] = []
    teams = {side: _team(side, table.pop(side, []), ground, taken, where) for side in ("allies", "enemies")}
    teams["allies"] = _by_type(teams["allies"])
    _check_teams(teams, random, where)
    if random is not None and terrain is not None:
        raise ConfigError(f"{where}there are terrain and [random], whose starts may be anywhere; remove one of the two.")
    middle = [(bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2]
    target = table.pop("target", _mean(teams["allies"]) or middle)
    found = from_table(
        Map,
        table,
        where,
        name=path.stem,
        size=size,
        bounds=bounds,
        terrain=terrain,
        random=random,
        target=_inside(_numbers(target, 2, f"{where}target"), bounds, f"{where}target"),
        **teams,
    )
    if found.time_limit < 1:
        raise ConfigError(f"{where}time_limit must be at least 1 step, got {found.time_limit}.")
    return found


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Where units may stand."""

    bounds: tuple[float, ...]
    terrain: tuple[str, ...] | None

    def free(self, unit: str, points: np.ndarray) -> np.ndarray:
        """At which of these points, by row x and y, the middle of such a unit may be."""
        low, high = np.array(self.bounds[:2]), np.array(self.bounds[2:])
        inside = np.all((low <= points) & (points <= high), axis=-1)
        if self.terrain is None or UNITS[unit].flying:
            return inside
        cells = np.array([list(row) for row in reversed(self.terrain)])
        x, y = np.clip(points.astype(int), 0, np.array(cells.shape[::-1]) - 1).T
        walkable = ".^" if unit in CLIFF_WALKERS else "."
        return inside & np.isin(cells[y, x], list(walkable))


def _numbers(value: Any, count: int, what: str) -> tuple[Any, ...]:
    """A list of `count` finite numbers."""
    if not isinstance(value, list | tuple) or len(value) != count or not all(is_finite(item) for item in value):
        raise ConfigError(f"{what} must be a list of {count} numbers, got {shown(value)}.")
    return tuple(float(item) for item in value)


def _inside(point: Point, bounds: tuple[float, ...], what: str) -> Point:
    if not (bounds[0] <= point[0] <= bounds[2] and bounds[1] <= point[1] <= bounds[3]):
        raise ConfigError(f"{what} {list(point)} is outside of the bounds {list(bounds)}.")
    return point


def _terrain(text: Any, size: Point, where: str) -> tuple[str, ...] | None:
    """The rows of a drawing of the ground."""
    if text is None:
        return None
    if not isinstance(text, str):
        raise ConfigError(f"{where}terrain must be a text of one line per row of cells, got {shown(text)}.")
    rows = tuple(text.strip("\n").split("\n"))
    if len(rows) != size[1] or any(len(row) != size[0] for row in rows):
        widths = " or ".join(map(str, sorted({len(row) for row in rows})))
        raise ConfigError(
            f"{where}terrain must have {size[1]:g} rows of {size[0]:g} characters, as size says; it has {len(rows)} of {widths} characters."
        )
    for number, row in enumerate(rows, start=1):
        for character in row:
            if character not in TERRAIN:
                known = "; ".join(f"{symbol!r} is {meaning}" for symbol, meaning in TERRAIN.items())
                raise ConfigError(f"{where}row {number} of terrain has {character!r}; {known}.")
    return rows


def _team(side: str, tables: Any, ground: Ground, taken: list[Circle], where: str) -> tuple[Group, ...]:
    """The groups of a side. Units with a position of their own come first, the others find room around them; all are added to `taken`."""
    if not isinstance(tables, list):
        raise ConfigError(f"{where}{side} must be groups, each under [[{side}]], got {shown(tables)}.")
    specs = [_spec(table, f"{where}[[{side}]] {number}: ") for number, table in enumerate(tables, start=1)]
    for spec in specs:
        for point in spec.at:
            taken.append(_own_place(spec, point, ground, taken))
    groups = []
    for spec in specs:
        at = spec.at or place(spec.unit, spec.count, spec.around, ground.free, taken)
        if len(at) < max(spec.count, len(spec.at)):
            raise ConfigError(
                f"{spec.where}there is room for {len(at)} of {spec.count} units of type {spec.unit} around {list(spec.around)}."
            )
        groups.append(Group(unit=spec.unit, at=at))
    return tuple(groups)


@dataclass(frozen=True, kw_only=True)
class _Spec:
    """A group as a file describes it."""

    unit: str
    at: tuple[Point, ...]
    count: int
    around: Point
    where: str


def _spec(table: Any, where: str) -> _Spec:
    """One group: a unit, and either `at` or `count` and `around`."""
    values = checked_table(table, where)
    for key in values:
        if key not in ("unit", "at", "count", "around"):
            raise ConfigError(f"{where}there is no key {shown(key)}. Known: unit, at, count, around.")
    unit = values.get("unit")
    if not isinstance(unit, str):
        raise ConfigError(f"{where}unit must be the name of a unit, got {shown(unit)}.")
    if unit not in UNITS:
        raise UnknownNameError(f"unit (in {where.rstrip(': ')})", unit, UNITS)
    if ("at" in values) == ("count" in values) or ("around" in values) != ("count" in values):
        raise ConfigError(f"{where}give either at = [[x, y], ...], or count and around = [x, y]; got {', '.join(sorted(values))}.")
    if "at" in values:
        at = values["at"]
        if not isinstance(at, list) or not at:
            raise ConfigError(f"{where}at must be a list of positions [[x, y], ...], got {shown(at)}.")
        return _Spec(unit=unit, at=tuple(_numbers(point, 2, f"{where}at") for point in at), count=0, around=(0.0, 0.0), where=where)
    count = values["count"]
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_UNITS:
        raise ConfigError(f"{where}count must be a whole number from 1 to {MOST_UNITS}, got {shown(count)}.")
    return _Spec(unit=unit, at=(), count=count, around=_numbers(values["around"], 2, f"{where}around"), where=where)


def _own_place(spec: _Spec, point: Point, ground: Ground, taken: list[Circle]) -> Circle:
    """The circle of a unit at a position of its own."""
    _inside(point, ground.bounds, f"{spec.where}position")
    if not ground.free(spec.unit, np.array([point]))[0]:
        raise ConfigError(f"{spec.where}position {list(point)} is not on floor; move it, or change terrain.")
    circle = Circle.of(spec.unit, point)
    other = next((other for other in taken if circle.overlaps(other)), None)
    if other is not None:
        raise ConfigError(f"{spec.where}position {list(point)} overlaps the unit at {[other.x, other.y]}; move one of them.")
    return circle


def _by_type(groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """One group per type, in the order of `UNITS`, each sorted by x and then y."""
    at = {unit: sorted(point for group in groups if group.unit == unit for point in group.at) for unit in UNITS}
    return tuple(Group(unit=unit, at=tuple(points)) for unit, points in at.items() if points)


def _check_teams(teams: dict[str, tuple[Group, ...]], random: RandomTeams | None, where: str) -> None:
    for side, groups in teams.items():
        drawn = 0 if random is None else random.n_allies if side == "allies" else random.n_enemies
        if max(drawn, sum(len(group.at) for group in groups)) > MOST_UNITS:
            raise ConfigError(f"{where}there are more than {MOST_UNITS} {side}; make the team smaller.")
        if random is None and not groups:
            raise ConfigError(f"{where}there are no {side}; add a group under [[{side}]], or a table [random].")
        if random is not None and groups:
            raise ConfigError(f"{where}there are [[{side}]], and [random], which draws teams; remove one of the two.")
        if groups and not any(UNITS[group.unit].hits for group in groups):
            only = ", ".join(_ordered([group.unit for group in groups]))
            raise ConfigError(f"{where}no unit of the {side} can attack ({only}), so a battle would end at its start; add one that can.")


def _mean(groups: tuple[Group, ...]) -> list[float] | None:
    """The mean position of a team."""
    points = [point for group in groups for point in group.at]
    return [sum(axis) / len(points) for axis in zip(*points, strict=True)] if points else None


def _random(table: Any, where: str) -> RandomTeams:
    """The random teams of a table."""
    where = f"{where}[random]: "
    teams = from_table(RandomTeams, table, where)
    for unit in (*teams.units, *teams.never_alone):
        if unit not in UNITS:
            raise UnknownNameError(f"unit (in {where.rstrip(': ')})", unit, UNITS)
    repeated = [unit for unit, count in Counter(teams.units).items() if count > 1]
    if repeated:
        raise ConfigError(f"{where}units has {repeated[0]!r} twice; list every type once.")
    if len(teams.units) != len(teams.probabilities) or not teams.units:
        raise ConfigError(f"{where}there are {len(teams.units)} units and {len(teams.probabilities)} probabilities; give one each.")
    if any(p < 0.0 for p in teams.probabilities) or abs(sum(teams.probabilities) - 1.0) > 1e-6:
        raise ConfigError(f"{where}probabilities must be at least 0 and sum to 1, got {list(teams.probabilities)}.")
    others = sum(p for unit, p in zip(teams.units, teams.probabilities, strict=True) if unit not in teams.never_alone)
    if others <= 0.0:
        raise ConfigError(f"{where}never_alone has every unit that can be drawn, {list(teams.never_alone)}; leave one out.")
    if others < _LEAST_OTHERS:
        raise ConfigError(
            f"{where}the units that are not in never_alone have the probability {others:g}, so that draws would be repeated for long; "
            f"give them at least {_LEAST_OTHERS}."
        )
    unarmed = [unit for unit in teams.units if not UNITS[unit].hits and unit not in teams.never_alone]
    if unarmed:
        raise ConfigError(
            f"{where}{unarmed[0]} has no weapon, so a team of it alone would have lost at the start; put it into never_alone."
        )
    if not 0.0 <= teams.surrounded <= 1.0:
        raise ConfigError(f"{where}surrounded is a probability, from 0 to 1; got {teams.surrounded}.")
    for key in ("n_allies", "n_enemies"):
        if getattr(teams, key) < 1:
            raise ConfigError(f"{where}{key} must be at least 1, got {getattr(teams, key)}.")
    return teams
