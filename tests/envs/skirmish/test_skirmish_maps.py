"""The maps of skirmishes: SMAC's counts and limits, starts without overlaps, maps of one's own, and files that are refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from dop.envs.skirmish import maps
from dop.envs.skirmish.maps import Group, Map, load
from dop.envs.skirmish.placing import Circle
from dop.errors import DopError, UnknownNameError

SMAC = {  # allies, enemies, limit and unit_type_bits in SMAC's smac_maps.py
    "3m": (3, 3, 60, 0),
    "8m": (8, 8, 120, 0),
    "25m": (25, 25, 150, 0),
    "5m_vs_6m": (5, 6, 70, 0),
    "8m_vs_9m": (8, 9, 120, 0),
    "10m_vs_11m": (10, 11, 150, 0),
    "27m_vs_30m": (27, 30, 180, 0),
    "MMM": (10, 10, 150, 3),
    "MMM2": (10, 12, 180, 3),
    "2s3z": (5, 5, 120, 2),
    "3s5z": (8, 8, 150, 2),
    "3s5z_vs_3s6z": (8, 9, 170, 2),
    "3s_vs_3z": (3, 3, 150, 0),
    "3s_vs_4z": (3, 4, 200, 0),
    "3s_vs_5z": (3, 5, 250, 0),
    "1c3s5z": (9, 9, 180, 3),
    "2m_vs_1z": (2, 1, 150, 0),
    "corridor": (6, 24, 400, 0),
    "6h_vs_8z": (6, 8, 150, 0),
    "2s_vs_1sc": (2, 1, 300, 0),
    "so_many_baneling": (7, 32, 100, 0),
    "bane_vs_bane": (24, 24, 200, 2),
    "2c_vs_64zg": (2, 64, 400, 0),
}
GOOD = """
time_limit = 10
size = [8, 6]
terrain = '''
########
#......#
#..##..#
#..##..#
#......#
########
'''

[[allies]]
unit = "marine"
count = 2
around = [1.5, 3]

[[enemies]]
unit = "zealot"
at = [[6.5, 1.5], [6.5, 4.5]]
"""


def counts(groups: tuple[Group, ...]) -> dict[str, int]:
    return {group.unit: len(group.at) for group in groups}


def circles(groups: tuple[Group, ...]) -> list[Circle]:
    return [Circle.of(group.unit, point) for group in groups for point in group.at]


def saved(folder: Path, text: str) -> str:
    path = folder / "own.toml"
    path.write_text(text)
    return str(path)


# ------------------------------------------------------------------------------------------------------------------- listed maps


def test_every_map_of_smac_and_smacv2_is_listed():
    sizes = ("5_vs_5", "10_vs_10", "10_vs_11", "20_vs_20", "20_vs_23")
    random = {f"{race}_{size}" for race in ("protoss", "terran", "zerg") for size in sizes}
    assert set(maps.names()) == set(SMAC) | random
    assert len(maps.names()) == len(set(maps.names()))


@pytest.mark.parametrize("name", SMAC)
def test_a_map_has_smacs_counts_limit_and_type_bits(name: str):
    loaded = load(name)
    assert loaded.name == name
    assert (loaded.n_allies, loaded.n_enemies, loaded.time_limit, loaded.type_bits) == SMAC[name]
    assert loaded.size == (32.0, 32.0)
    assert "SMAC" in loaded.source and loaded.random is None


@pytest.mark.parametrize("name", SMAC)
def test_units_start_on_floor_without_overlaps(name: str):
    loaded = load(name)
    ground = maps.Ground(bounds=loaded.bounds, terrain=loaded.terrain)
    for group in (*loaded.allies, *loaded.enemies):
        assert ground.free(group.unit, np.array(group.at)).all()
    for one, other in itertools.combinations(circles(loaded.allies) + circles(loaded.enemies), 2):
        assert not one.overlaps(other), (one, other)
    assert ground.free("marine", np.array([loaded.target]))[0]


@pytest.mark.parametrize("name", SMAC)
def test_enemies_can_walk_to_the_allies_and_to_their_target(name: str):
    loaded = load(name)
    ground = maps.Ground(bounds=loaded.bounds, terrain=loaded.terrain)
    middles = np.stack(np.meshgrid(np.arange(32) + 0.5, np.arange(32) + 0.5, indexing="ij"), axis=-1).reshape(-1, 2)
    floor = {tuple(cell) for cell in middles[ground.free("zergling", middles)].astype(int).tolist()}
    wanted = {(int(x), int(y)) for group in (*loaded.allies, *loaded.enemies) for x, y in (*group.at, loaded.target)}
    seen, todo = set(), [next(iter(wanted))]
    while todo:
        x, y = todo.pop()
        if (x, y) in floor - seen:
            seen.add((x, y))
            todo += [(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)]
    assert wanted <= seen == floor


def test_agents_are_in_smacs_order():
    loaded = load("MMM")
    assert counts(loaded.allies) == {"marauder": 2, "marine": 7, "medivac": 1}
    assert list(counts(loaded.allies)) == list(loaded.ally_types) == ["marauder", "marine", "medivac"]
    assert list(counts(loaded.enemies)) == ["marine", "marauder", "medivac"]
    for group in loaded.allies:
        assert list(group.at) == sorted(group.at)


@pytest.mark.parametrize("name", ["3m", "MMM", "27m_vs_30m", "2s3z"])
def test_units_stand_around_the_points_of_smacs_map(name: str):
    loaded = load(name)
    for groups, point in ((loaded.allies, (9, 16)), (loaded.enemies, (23, 16))):
        middle = np.mean([at for group in groups for at in group.at], axis=0)
        assert np.linalg.norm(middle - point) < 0.6
        assert max(np.linalg.norm(np.subtract(at, point)) for group in groups for at in group.at) < 3.0
    assert loaded.target == (9.0, 16.0)


def test_the_terrain_is_where_smac_has_it():
    corridor = load("corridor").terrain
    assert corridor is not None and len(corridor) == 32
    choke = corridor[31 - 12]
    assert (choke[12], choke[10], choke[20]) == (".", ".", "#")
    assert load("3m").bounds == (0.0, 8.0, 32.0, 24.0) and load("3m").terrain is None
    cliff = load("2c_vs_64zg").terrain
    assert cliff is not None
    assert [row[16] for row in cliff[31 - 14 : 31 - 10]] == [".", "^", "^", "."]


def test_colossi_walk_cliffs_others_do_not_and_medivacs_fly():
    ground = maps.Ground(bounds=(0.0, 0.0, 3.0, 1.0), terrain=(".^#",))
    points = np.array([[0.5, 0.5], [1.5, 0.5], [2.5, 0.5], [3.5, 0.5]])
    assert ground.free("marine", points).tolist() == [True, False, False, False]
    assert ground.free("colossus", points).tolist() == [True, True, False, False]
    assert ground.free("medivac", points).tolist() == [True, True, True, False]


def test_orders_of_enemies():
    assert load("3m").enemy_order == "attack-move"
    assert load("2c_vs_64zg").enemy_order == load("zerg_5_vs_5").enemy_order == "attack-closest"


# ------------------------------------------------------------------------------------------------------------------- random teams


@pytest.mark.parametrize(
    "race, probabilities, never_alone",
    [
        ("protoss", {"colossus": 0.1, "stalker": 0.45, "zealot": 0.45}, ()),
        ("terran", {"marauder": 0.45, "marine": 0.45, "medivac": 0.1}, ("medivac",)),
        ("zerg", {"baneling": 0.1, "zergling": 0.45, "hydralisk": 0.45}, ("baneling",)),
    ],
)
def test_random_teams_are_smacv2s(race: str, probabilities: dict[str, float], never_alone: tuple[str, ...]):
    loaded = load(f"{race}_10_vs_11")
    assert loaded.name == f"{race}_10_vs_11"
    assert (loaded.n_allies, loaded.n_enemies, loaded.time_limit, loaded.type_bits) == (10, 11, 200, 3)
    assert loaded.random is not None
    assert dict(zip(loaded.random.units, loaded.random.probabilities, strict=True)) == probabilities
    assert (loaded.random.never_alone, loaded.random.surrounded) == (never_alone, 0.5)
    assert loaded.allies == loaded.enemies == ()
    assert loaded.ally_types == loaded.enemy_types == tuple(probabilities)


# ------------------------------------------------------------------------------------------------------------------- maps of one's own


def test_a_map_of_ones_own(tmp_path: Path):
    loaded = load(saved(tmp_path, GOOD))
    assert isinstance(loaded, Map)
    assert (loaded.name, loaded.n_allies, loaded.n_enemies, loaded.time_limit) == ("own", 2, 2, 10)
    assert loaded.bounds == (0.0, 0.0, 8.0, 6.0)
    assert loaded.enemies == (Group(unit="zealot", at=((6.5, 1.5), (6.5, 4.5))),)
    middle = np.mean(loaded.allies[0].at, axis=0)
    assert loaded.target == pytest.approx(tuple(middle))
    assert hash(loaded) == hash(load(saved(tmp_path, GOOD)))


def test_units_at_one_point_make_room_for_those_with_a_place_of_their_own(tmp_path: Path):
    own = '\n[[allies]]\nunit = "marine"\nat = [[1.5, 3]]\n'
    (group,) = load(saved(tmp_path, GOOD + own)).allies
    assert (1.5, 3.0) in group.at and len(set(group.at)) == 3


def test_a_random_map_of_ones_own(tmp_path: Path):
    text = (
        GOOD.split("terrain", maxsplit=1)[0]
        + '[random]\nunits = ["marine"]\nprobabilities = [1]\nn_allies = 2\nn_enemies = 3\nsurrounded = 0\n'
    )
    loaded = load(saved(tmp_path, text))
    assert (loaded.n_allies, loaded.n_enemies) == (2, 3)


def test_an_unknown_map_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"There is no map '2s3zz'. Did you mean '2s3z'\?"):
        load("2s3zz")
    with pytest.raises(DopError, match=r"There is no map file 'nowhere\.toml'"):
        load("nowhere.toml")


RANDOM = """
[random]
units = ["marine", "medivac"]
probabilities = [0.5, 0.5]
n_allies = 2
n_enemies = 3
surrounded = 0.5
never_alone = ["medivac"]
"""


@pytest.mark.parametrize(
    "old, new, said",
    [
        ('"marine"', '"marin"', "There is no unit (in "),
        ('unit = "marine"\n', "", "[[allies]] 1: unit must be the name of a unit, got None"),
        ("count = 2", "count = 0", "[[allies]] 1: count must be a whole number from 1 to 200, got 0"),
        ("count = 2", "count = 2\ncolour = 1", "[[allies]] 1: there is no key 'colour'"),
        ("count = 2\n", "", "give either at = [[x, y], ...], or count and around = [x, y]; got around, unit"),
        ("count = 2", "count = 2000", "from 1 to 200"),
        ("around = [1.5, 3]", 'around = ["a", 3]', "around must be a list of 2 numbers, got ['a', 3]"),
        ("at = [[6.5, 1.5], [6.5, 4.5]]", "at = []", "[[enemies]] 1: at must be a list of positions"),
        ("[6.5, 4.5]", "[6.5, 1.6]", "[[enemies]] 1: position [6.5, 1.6] overlaps the unit at [6.5, 1.5]"),
        ("[6.5, 4.5]", "[9, 4.5]", "[[enemies]] 1: position [9.0, 4.5] is outside of the bounds [0.0, 0.0, 8.0, 6.0]"),
        ("[6.5, 4.5]", "[3.5, 3.5]", "[[enemies]] 1: position [3.5, 3.5] is not on floor"),
        ("time_limit = 10", "time_limit = -1", "time_limit must be at least 1 step, got -1"),
        ("time_limit = 10", "time_limit = 10.0", "time_limit must be a whole number, got 10.0. Write 10."),
        ("time_limit = 10", "", "time_limit is missing"),
        ("time_limit = 10", "time_limits = 10", "there is no key 'time_limits'. Did you mean 'time_limit'?"),
        ("time_limit = 10", "time_limit = 10\ntrget = [1, 1]", "there is no key 'trget'. Did you mean 'target'?"),
        ("[6.5, 4.5]", "[1.5, 3.1]", "[[enemies]] 1: position [1.5, 3.1] overlaps the unit at [1.5, 3.0]"),
        ("time_limit = 10", "time_limit = 10\ntarget = [99, 0]", "target [99.0, 0.0] is outside of the bounds"),
        ("time_limit = 10", "time_limit = 10\ntarget = false", "target must be a list of 2 numbers, got False"),
        ("time_limit = 10", "time_limit = 10\ntarget = []", "target must be a list of 2 numbers, got []"),
        ("time_limit = 10", "time_limit = 1" + 5000 * "0", "has a number of too many digits"),
        ('unit = "marine"', 'unit = "medivac"', "no unit of the allies can attack"),
        ('unit = "zealot"', 'unit = "medivac"', "no unit of the enemies can attack"),
        ("time_limit = 10", 'time_limit = 10\nenemy_order = "flee"', "There is no enemy_order 'flee'"),
        ("time_limit = 10", "time_limit = 10\nbounds = [5, 0, 1, 6]", "bounds must be [low x, low y, high x, high y]"),
        ("size = [8, 6]", "size = [8]", "size must be a list of 2 numbers, got [8]"),
        ("size = [8, 6]", "size = [0, 6]", "size must be at least 1 on each axis"),
        (
            "#......#\n#..##..#",
            "#.....#\n#..##..#",
            "terrain must have 6 rows of 8 characters, as size says; it has 6 of 7 or 8 characters",
        ),
        ("#..##..#", "#..~~..#", "row 3 of terrain has '~'; '.' is floor"),
        ('[[enemies]]\nunit = "zealot"\nat = [[6.5, 1.5], [6.5, 4.5]]', "", "there are no enemies; add a group under [[enemies]]"),
        ("[[enemies]]", "[[enemy]]", "there is no key 'enemy'. Did you mean 'enemies'?"),
        ('unit = "marine"', 'unit = "medivac"', "no unit of the allies can attack (medivac), so a battle would end at its start"),
        ("[[allies]]", RANDOM + "[[allies]]", "there are [[allies]], and [random]"),
        ("[[enemies]]", "[enemies]", "enemies must be groups, each under [[enemies]]"),
    ],
)
def test_a_bad_map_is_refused_with_its_file_key_and_value(tmp_path: Path, old: str, new: str, said: str):
    assert old in GOOD
    with pytest.raises(DopError) as refused:
        load(saved(tmp_path, GOOD.replace(old, new)))
    assert said in str(refused.value)
    assert "own.toml" in str(refused.value)


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("[0.5, 0.5]", "[0.5, 0.4]", "probabilities must be at least 0 and sum to 1, got [0.5, 0.4]"),
        ("[0.5, 0.5]", "[1.5, -0.5]", "probabilities must be at least 0 and sum to 1"),
        ("[0.5, 0.5]", "[1]", "there are 2 units and 1 probabilities"),
        ('"medivac"', '"marine"', "units has 'marine' twice"),
        ('"medivac"', '"scv"', "There is no unit (in "),
        ("n_allies = 2", "n_allies = 0", "n_allies must be at least 1, got 0"),
        ("surrounded = 0.5", "surrounded = 2", "surrounded is a probability, from 0 to 1; got 2.0"),
        ('never_alone = ["medivac"]', 'never_alone = ["marine", "medivac"]', "never_alone has every unit"),
        ("[0.5, 0.5]", "[0.001, 0.999]", "have the probability 0.001, so that draws would be repeated for long; give them at least 0.01"),
        (
            'never_alone = ["medivac"]',
            "",
            "medivac has no weapon, so a team of it alone would have lost at the start; put it into never_alone",
        ),
        ("[random]", 'terrain = """\n' + "........\n" * 6 + '"""\n[random]', "there are terrain and [random]"),
    ],
)
def test_bad_random_teams_are_refused(tmp_path: Path, old: str, new: str, said: str):
    with pytest.raises(DopError) as refused:
        load(saved(tmp_path, GOOD.split("terrain", maxsplit=1)[0] + RANDOM.replace(old, new)))
    assert said in str(refused.value)
    assert "[random]" in str(refused.value)
