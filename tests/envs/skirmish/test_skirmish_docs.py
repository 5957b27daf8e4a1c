"""What docs/environments.md says of units and maps of skirmishes is what the files say."""

from __future__ import annotations

import re
from pathlib import Path

from dop.envs.skirmish.maps import load
from dop.envs.skirmish.units import MULTIPLAYER, UNITS, Unit

PAGE = (Path(__file__).parents[3] / "docs" / "environments.md").read_text()


def attack(unit: Unit) -> str:
    if not unit.damage:
        return "-"
    times = f"{unit.attacks} x " if unit.attacks > 1 else ""
    return f"{times}{unit.damage:g}" + "".join(f" (+{extra:g} {attribute})" for attribute, extra in unit.bonus)


def cells(unit: Unit) -> dict[str, str]:
    return {
        "health": f"{unit.health:g} + {unit.shield:g}",
        "armour": f"{unit.armour:g}",
        "damage": attack(unit),
        "period": f"{unit.cooldown:.2f}" if unit.cooldown else "-",
        "range": f"{unit.range:g}",
        "speed": f"{unit.speed:.2f}",
    }


def row(name: str) -> str:
    own, other = cells(UNITS[name]), cells(MULTIPLAYER[name])
    changes = ", ".join(f"{key} {other[key]}" for key in own if other[key] != own[key])
    return f"| {name.replace('_', ' ')} | {' | '.join(own.values())} | {changes} |"


def test_the_table_of_units_is_that_of_the_file():
    for name in UNITS:
        assert row(name) in PAGE


def test_the_numbers_in_the_text_are_those_of_the_file():
    colossus, baneling, medivac = (UNITS[name] for name in ("colossus", "baneling", "medivac"))
    assert colossus.splash and f"a band of {colossus.splash.width:g} x {colossus.splash.depth:g} across" in PAGE
    assert baneling.splash and f"explodes with radius {baneling.splash.radius:g}" in PAGE
    assert f"starts with {medivac.start_energy:g} of {medivac.energy:g} energy" in PAGE
    assert f"heals {medivac.heal:g}/s for {medivac.heal_cost:g} energy each" in PAGE


def test_the_map_of_the_page_can_be_loaded_and_so_can_its_random_teams(tmp_path: Path):
    groups, random = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "own.toml"
    path.write_text(groups)
    loaded = load(str(path))
    assert (loaded.n_allies, loaded.n_enemies, loaded.time_limit) == (2, 3, 120)
    without_terrain = re.sub(r'terrain = """.*?"""', "", groups.split("[[allies]]")[0], flags=re.DOTALL)
    path.write_text(without_terrain + random)
    loaded = load(str(path))
    assert loaded.random is not None
    assert (loaded.n_allies, loaded.n_enemies, loaded.random.never_alone) == (5, 6, ("colossus",))
