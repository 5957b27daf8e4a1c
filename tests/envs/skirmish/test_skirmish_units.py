"""The units of skirmishes: numbers of the game, and files that are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dop.envs.skirmish import units
from dop.envs.skirmish.units import MULTIPLAYER, UNITS, Splash, read_units
from dop.errors import DopError

GOOD = """
[units.marine]
race = "terran"
letter = "M"
source = "made up"
health = 45
speed = 3.15
sight = 9
radius = 0.375
separation = 0.375
hit_as = ["ground"]
max_cooldown = 15
"""


def test_types_of_a_race_are_in_smacs_order():
    assert list(UNITS) == list(MULTIPLAYER)
    by_race = {race: [name for name, unit in UNITS.items() if unit.race == race] for race in ("terran", "protoss", "zerg")}
    assert by_race == {
        "terran": ["marauder", "marine", "medivac"],
        "protoss": ["colossus", "stalker", "zealot"],
        "zerg": ["baneling", "zergling", "hydralisk", "spine_crawler"],
    }
    assert all(unit.name == name and unit.source for name, unit in UNITS.items())
    assert len({unit.letter for unit in UNITS.values()}) == len(UNITS)


@pytest.mark.parametrize(
    "name, health, shield, armour, damage, attacks, range_",
    [
        ("marauder", 125, 0, 1, 10, 1, 6),
        ("marine", 45, 0, 0, 6, 1, 5),
        ("medivac", 150, 0, 1, 0, 1, 4),
        ("colossus", 200, 150, 1, 20, 2, 6),
        ("stalker", 80, 80, 1, 10, 1, 6),
        ("zealot", 100, 50, 1, 8, 2, 0.1),
        ("baneling", 30, 0, 0, 20, 1, 0.25),
        ("zergling", 35, 0, 0, 5, 1, 0.1),
        ("hydralisk", 80, 0, 0, 12, 1, 5),
        ("spine_crawler", 300, 0, 2, 25, 1, 7),
    ],
)
def test_numbers_of_the_game(name: str, health: float, shield: float, armour: float, damage: float, attacks: int, range_: float):
    unit = UNITS[name]
    assert (unit.health, unit.shield, unit.armour, unit.damage, unit.attacks, unit.range) == (
        health,
        shield,
        armour,
        damage,
        attacks,
        range_,
    )


@pytest.mark.parametrize(
    "name, period, speed",
    [
        ("marauder", 1.5, 2.25),
        ("marine", 0.8608, 2.25),
        ("colossus", 2.2, 2.25),
        ("stalker", 1.44, 2.9531),
        ("zealot", 1.2, 2.25),
        ("zergling", 0.696, 2.9531),
        ("hydralisk", 0.83, 2.25),
        ("spine_crawler", 1.6, 0.0),
    ],
)
def test_the_game_data_are_in_normal_seconds_and_ours_in_faster_ones(name: str, period: float, speed: float):
    assert UNITS[name].cooldown == pytest.approx(period / 1.4, abs=1e-4)
    assert UNITS[name].speed == pytest.approx(speed * 1.4, abs=1e-4)


def test_bonuses_splash_and_layers():
    assert {name: dict(unit.bonus) for name, unit in UNITS.items() if unit.bonus} == {
        "marauder": {"armoured": 10.0},
        "stalker": {"armoured": 4.0},
        "baneling": {"light": 15.0},
        "spine_crawler": {"armoured": 5.0},
    }
    assert UNITS["colossus"].splash == Splash(kind="line", width=2.8, depth=0.3)
    assert UNITS["baneling"].splash == Splash(kind="around", radius=2.2)
    assert {name for name, unit in UNITS.items() if "air" in unit.hits} == {"marine", "stalker", "hydralisk"}
    assert {name for name, unit in UNITS.items() if "air" in unit.hit_as} == {"medivac", "colossus"}
    assert {name for name, unit in UNITS.items() if unit.flying or not unit.hits} == {"medivac"}


def test_a_medivac_heals_biological_units_for_energy():
    medivac = UNITS["medivac"]
    assert (medivac.start_energy, medivac.energy, medivac.energy_regeneration) == (50.0, 200.0, pytest.approx(0.5625 * 1.4))
    assert (medivac.heal, medivac.heal_cost) == (pytest.approx(9 * 1.4), 0.33)
    healable = {name for name, unit in UNITS.items() if unit.race == "terran" and "biological" in unit.attributes}
    assert healable == {"marine", "marauder"}


def test_shields_regenerate_two_per_normal_second_after_ten():
    assert pytest.approx(2 * 1.4) == units.SHIELD_REGENERATION
    assert pytest.approx(10 / 1.4, abs=1e-4) == units.SHIELD_DELAY


def test_a_multiplayer_game_differs_in_five_units():
    differences = {
        name: {key: value for key, value in dataclasses.asdict(unit).items() if value != dataclasses.asdict(UNITS[name])[key]}
        for name, unit in MULTIPLAYER.items()
    }
    assert {name: changed for name, changed in differences.items() if changed} == {
        "medivac": {"speed": 3.5},
        "colossus": {"damage": 10.0, "bonus": (("light", 5.0),), "cooldown": 1.0714, "range": 7.0},
        "stalker": {"damage": 13.0, "bonus": (("armoured", 5.0),), "cooldown": 1.3357},
        "hydralisk": {"health": 90.0, "cooldown": 0.5893},
        "spine_crawler": {"cooldown": 1.3214},
    }


def test_a_good_file_is_read_and_changes_apply_to_multiplayer_alone(tmp_path: Path):
    path = tmp_path / "units.toml"
    path.write_text(GOOD + "multiplayer = { health = 55 }\nbonus = { light = 1 }\n")
    smac, multiplayer = read_units(path)
    assert (smac["marine"].health, multiplayer["marine"].health) == (45.0, 55.0)
    assert smac["marine"].bonus == multiplayer["marine"].bonus == (("light", 1.0),)


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("health = 45\n", "", "health is missing; add a line `health = ...`"),
        ("health = 45", "helth = 45", "there is no key 'helth'. Did you mean 'health'?"),
        ("health = 45", 'health = "45"', "health must be a finite number, got '45'"),
        ("health = 45", "health = 0", "health must be positive, got 0.0"),
        ("speed = 3.15", "speed = -1", "speed must be at least 0, got -1.0"),
        ('race = "terran"', 'race = "human"', "There is no race 'human'"),
        ('hit_as = ["ground"]', 'hit_as = ["sea"]', "hit_as has 'sea'; known are ground, air"),
        ('hit_as = ["ground"]', "hit_as = []", "hit_as is empty"),
        ("health = 45", 'health = 45\nattributes = ["tiny"]', "attributes has 'tiny'; known are light, armoured"),
        ("health = 45", 'health = 45\nbonus = { light = "5" }', "bonus light must be a finite number, got '5'"),
        ("health = 45", "health = 45\nbonus = { huge = 5 }", "bonus has 'huge'; known are light"),
        ("health = 45", 'health = 45\nsplash = { kind = "cone" }', "There is no kind 'cone'"),
        ("health = 45", "health = 45\nstart_energy = 5", "start_energy is 5.0, more than energy, 0.0"),
        ("health = 45", "health = 45\nmultiplayer = { health = -1 }", "health must be positive, got -1.0"),
        ("[units.marine]", "[units.marine", "is not TOML"),
    ],
)
def test_a_bad_file_is_refused_with_its_table_key_and_value(tmp_path: Path, old: str, new: str, said: str):
    path = tmp_path / "units.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(DopError) as refused:
        read_units(path)
    assert said in str(refused.value)
    assert "units.toml" in str(refused.value)
