"""Battles with outcomes worked out by hand: who hits whom how often, and what is left."""

from __future__ import annotations

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop.envs import skirmish
from dop.envs.skirmish import battle, damage
from dop.envs.skirmish.battle import NOBODY, Orders, World
from dop.envs.skirmish.environment import Skirmish
from dop.envs.skirmish.units import UNITS
from skirmish_maps import written

STOP, NORTH, EAST, FIRST_TARGET = 1, 2, 4, 6


@functools.lru_cache(maxsize=4)
def compiled(environment: Skirmish):
    return jax.jit(environment.step)


def loops(environment: Skirmish, world: World, target: list[int], count: int) -> World:
    """The battle after `count` game loops in which allies attack or heal these units, with no random delay of cooldowns."""
    rules = environment.rules
    object.__setattr__(rules, "step_loops", count)
    orders = Orders(target=jnp.array(target, jnp.int32), direction=jnp.zeros((rules.n_allies, 2)))
    return jax.jit(functools.partial(battle.fight, rules))(world, orders, jnp.zeros(rules.n_units))


def start(environment: Skirmish) -> World:
    return environment.reset(jax.random.key(0))[0]


def test_a_zealot_beats_a_marine_at_contact(tmp_path: Path) -> None:
    """The zealot deals 2 x 8 per attack: 45 health last 3 attacks, in loops 1, 1 + 19.3 and 1 + 38.5 (0.86 s is 19.264 loops; the
    weapon is ready once no more than 0 is left of it, so after 20 and 40 loops). The marine, ready every 0.61 s (13.664, so 14 loops), hits
    in loops 1, 15 and 29, and in loop 41 they hit each other no more: it died in loop 41 at the latest. 6 each go into 50 of shield.
    """
    environment = written(tmp_path, {"zealot": [[10, 10]]}, {"marine": [[10.9, 10]]})
    world = loops(environment, start(environment), [1], 1)
    np.testing.assert_allclose(world.health, [100.0, 45.0 - 16.0])
    np.testing.assert_allclose(world.shield, [50.0 - 6.0, 0.0])
    world = loops(environment, world, [1], 39)
    np.testing.assert_allclose(world.health, [100.0, 45.0 - 2 * 16.0])
    np.testing.assert_allclose(world.shield[0], 50.0 - 3 * 6.0)
    world = loops(environment, world, [1], 2)
    assert float(world.health[1]) == 0.0
    assert float(world.shield[0]) == 50.0 - 3 * 6.0


def test_a_stalker_hits_a_marauder_harder_and_its_shield_has_no_armour(tmp_path: Path) -> None:
    """Stalker: 10 (+4 armoured) less 1 of armour. Marauder: 10 + 10 against the armoured stalker, whole on its shield."""
    environment = written(tmp_path, {"stalker": [[10, 10]]}, {"marauder": [[15, 10]]})
    world = loops(environment, start(environment), [1], 1)
    np.testing.assert_allclose(world.health, [80.0, 125.0 - 13.0])
    np.testing.assert_allclose(world.shield, [60.0, 0.0])


def test_what_a_shield_does_not_take_is_reduced_by_armour_hit_by_hit(tmp_path: Path) -> None:
    """A zealot's two hits of 8 on a zealot with 5 of shield: 3 - 1 and 8 - 1 are left. On one with 12: 8, then 4 - 1."""
    environment = written(tmp_path, {"zealot": [[10, 10]]}, {"zealot": [[11, 10]]})
    world = start(environment)
    for shield, loss in ((5.0, 9.0), (12.0, 3.0), (16.0, 0.0), (0.0, 14.0)):
        hit = loops(environment, World(**{**vars(world), "shield": jnp.array([50.0, shield])}), [1], 1)
        assert float(hit.health[1]) == pytest.approx(100.0 - loss)
        assert float(hit.shield[1]) == pytest.approx(max(shield - 16.0, 0.0))


def one_after_another(
    raw: np.ndarray, hits: np.ndarray, armour: np.ndarray, shield: np.ndarray, health: np.ndarray, strikes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Brute force: every hit of every attacker on every target, in order."""
    shield, health = shield.copy(), health.copy()
    for attacker in range(len(raw)):
        for target in range(len(health)):
            for _ in range(int(hits[attacker]) if strikes[attacker, target] and raw[attacker, target] > 0 else 0):
                through = max(raw[attacker, target] - shield[target], 0.0)
                shield[target] = max(shield[target] - raw[attacker, target], 0.0)
                if through > 1e-4:
                    health[target] -= max(through - armour[target], 0.5)
    return shield, health


@pytest.mark.parametrize("name", [pytest.param("corridor", marks=pytest.mark.slow), "1c3s5z", "MMM2"])
def test_many_attacks_at_once_are_those_attacks_one_after_another(name: str) -> None:
    environment = skirmish.make(name)
    rules = environment.rules
    rng = np.random.default_rng(0)
    key = jax.random.key(3)
    facts = rules.facts(environment.reset(key)[0].unit_type)
    pairs = damage.pairs(facts)
    dealt = jax.jit(lambda hit, shield, health: damage.dealt(rules, facts, pairs, hit, shield, health))
    for _ in range(20):
        strikes = rng.random((rules.n_units, rules.n_units)) < 0.3
        shield = np.floor(rng.random(rules.n_units) * (np.asarray(facts.shield) + 1))
        health = np.asarray(facts.health, np.float64)
        expected = one_after_another(np.asarray(facts.damage), np.asarray(facts.hits), np.asarray(facts.armour), shield, health, strikes)
        found = dealt(jnp.asarray(strikes), jnp.asarray(shield, jnp.float32), jnp.asarray(health, jnp.float32))
        np.testing.assert_allclose(found[0], expected[0], atol=1e-3)
        np.testing.assert_allclose(found[1], expected[1], atol=1e-2)


def test_a_medivac_heals_until_its_energy_or_the_wound_is_gone(tmp_path: Path) -> None:
    """12.6 health per second, 22.4 loops each; every point costs energy, of which it regains some meanwhile."""
    environment = written(tmp_path, {"marine": [[10, 10]], "medivac": [[12, 10]]}, {"zealot": [[30, 30]]}, "target = [30, 30]")
    unit = UNITS["medivac"]
    wounded = World(**{**vars(start(environment)), "health": jnp.array([10.0, 150.0, 100.0])})
    after = loops(environment, wounded, [NOBODY, 0], 10)
    given = 10 * unit.heal / 22.4
    assert float(after.health[0]) == pytest.approx(10.0 + given, rel=1e-5)
    regained = 10 * unit.energy_regeneration / 22.4
    assert float(after.energy[1]) == pytest.approx(unit.start_energy - given * unit.heal_cost + regained, rel=1e-5)
    whole = loops(environment, after, [NOBODY, 0], 200)
    assert float(whole.health[0]) == 45.0
    empty = loops(environment, World(**{**vars(wounded), "energy": jnp.zeros(3)}), [NOBODY, 0], 1)
    assert float(empty.health[0]) == 10.0


def test_nobody_heals_machines_flyers_or_the_dead(tmp_path: Path) -> None:
    allies = {"marine": [[10, 10]], "medivac": [[11, 12], [11, 14]], "stalker": [[12, 10]]}
    environment = written(tmp_path, allies, {"zealot": [[30, 30]]}, "target = [30, 30]")
    world = start(environment)
    hurt = World(**{**vars(world), "health": jnp.array([0.0, 100.0, 100.0, 40.0, 100.0])})
    for patient in (0, 2, 3):
        after = loops(environment, hurt, [NOBODY, patient, NOBODY, NOBODY], 10)
        np.testing.assert_allclose(after.health[:4], [0.0, 100.0, 100.0, 40.0])
    mask = np.asarray(
        environment._time_step(environment.rules.facts(world.unit_type), world, jnp.zeros(()), won=jnp.array(False)).action_mask
    )
    assert mask[1, FIRST_TARGET:].tolist() == [True, False, False, False]  # the marine alone; SMAC forbids other medivacs only
    assert environment.spec.action_names[1][FIRST_TARGET] == "heal ally 0"


def test_a_colossus_burns_a_line_across_its_shot(tmp_path: Path) -> None:
    """The shot goes east: the line is 2.8 long from south to north at the target, 0.3 deep."""
    beside = [[16, 10], [16, 11.5], [16, 12.4], [15.6, 8.6], [17.3, 10]]
    environment = written(tmp_path, {"colossus": [[10, 10]]}, {"spine_crawler": beside[:1], "zergling": beside[1:]})
    world = start(environment)
    after = loops(environment, world, [1], 1)
    hurt = np.asarray(after.health < world.health)[1:]
    radius = UNITS["zergling"].radius
    expected = [True] + [bool(max(abs(y - 10) - 1.4, 0) ** 2 + max(abs(x - 16) - 0.15, 0) ** 2 <= radius**2) for x, y in beside[1:]]
    assert hurt.tolist() == expected == [True, True, False, True, False]


def test_banelings_explode_at_contact_and_when_killed(tmp_path: Path) -> None:
    """Enemies in 2.2 of its middle are hit, its comrades are not; killed by a marine it explodes all the same."""
    allies = {"marine": [[10, 10], [11.5, 10], [20, 10]]}
    environment = written(tmp_path, allies, {"baneling": [[10.6, 10.6], [10.4, 11.6]]})
    world = start(environment)
    after = loops(environment, world, [NOBODY] * 3, 1)
    assert np.asarray(after.health)[2] == 45.0
    assert np.all(np.asarray(after.health)[:2] == 0.0) or np.all(np.asarray(after.health)[:2] == 45.0 - 35.0)
    assert float(after.health[3]) == 0.0
    apart = World(**{**vars(world), "position": world.position.at[3].set(jnp.array([21.0, 11.9])).at[4].set(jnp.array([28.0, 28.0]))})
    weak = World(**{**vars(apart), "health": world.health.at[3].set(1.0)})
    killed = loops(environment, weak, [NOBODY, NOBODY, 3], 1)
    assert float(killed.health[3]) == 0.0
    assert float(killed.health[2]) == 45.0 - 35.0


def test_shields_come_back_after_a_while_and_zergs_heal_all_the_time(tmp_path: Path) -> None:
    environment = written(tmp_path, {"stalker": [[2, 2]]}, {"zergling": [[30, 30]]}, "target = [30, 30]")
    hurt = World(
        **{**vars(start(environment)), "shield": jnp.array([10.0, 0.0]), "unhurt": jnp.zeros(2), "health": jnp.array([80.0, 20.0])}
    )
    early = loops(environment, hurt, [NOBODY], 150)  # 7.14 s are 160 loops
    assert float(early.shield[0]) == 10.0
    assert float(early.health[1]) == pytest.approx(20.0 + 150 * UNITS["zergling"].regeneration / 22.4, rel=1e-4)
    late = loops(environment, early, [NOBODY], 34)
    assert float(late.shield[0]) == pytest.approx(10.0 + (184 - 159) * 2.8 / 22.4, rel=0.05)
    full = loops(environment, late, [NOBODY], 2000)
    np.testing.assert_allclose(full.health, [80.0, 35.0])
    assert float(full.shield[0]) == 80.0


def test_allies_that_stop_do_nothing_even_under_fire(tmp_path: Path) -> None:
    environment = written(tmp_path, {"marine": [[10, 10]]}, {"marine": [[14, 10]]})
    world, step = environment.reset(jax.random.key(0))
    for _ in range(3):
        world, step = compiled(environment)(jax.random.key(1), world, jnp.array([STOP]))
    assert float(world.health[1]) == 45.0
    assert float(world.health[0]) < 45.0
    np.testing.assert_allclose(world.position[0], [10.0, 10.0], atol=1e-5)
    assert not bool(step.terminated)


def test_units_walk_at_their_speed(tmp_path: Path) -> None:
    allies = {unit: [[4, 3 + 2.5 * i]] for i, unit in enumerate(("marine", "medivac", "colossus", "stalker"))}
    environment = written(tmp_path, allies, {"zergling": [[30, 30]]}, "target = [30, 30]")
    world, _ = compiled(environment)(jax.random.key(0), start(environment), jnp.full(4, EAST))
    expected = [4 + 8 * UNITS[unit].speed / 22.4 for unit in allies]
    np.testing.assert_allclose(world.position[:4, 0], expected, rtol=1e-5)


def test_melee_units_surround_what_cannot_move(tmp_path: Path) -> None:
    """All of six zealots in a row reach a spine crawler, around each other."""
    row = [[4 + i, 10] for i in range(6)]
    environment = written(tmp_path, {"zealot": row}, {"spine_crawler": [[14, 10]]})
    world = World(**{**vars(start(environment)), "health": jnp.array([100.0] * 6 + [1e6])})
    world = World(**{**vars(world), "shield": jnp.array([1e6] * 6 + [0.0])})
    after = loops(environment, world, [6] * 6, 400)
    gap = (
        np.linalg.norm(np.asarray(after.position[:6] - after.position[6]), axis=1) - UNITS["zealot"].radius - UNITS["spine_crawler"].radius
    )
    assert np.all(gap <= UNITS["zealot"].range + 0.05), gap


def test_a_zealot_gets_around_a_wall_of_others(tmp_path: Path) -> None:
    wall = [[12, 10 + 0.8 * i] for i in range(-2, 3)]
    environment = written(tmp_path, {"zealot": [[10, 10]]}, {"zealot": wall, "stalker": [[15, 10]]}, "target = [12, 10]")
    world = start(environment)
    still = World(**{**vars(world), "shield": jnp.full(7, 1e6)})
    object.__setattr__(environment.rules, "acquire", -100.0)
    after = loops(environment, still, [6], 150)
    assert float(np.linalg.norm(after.position[0] - after.position[6])) <= 0.5 + 0.625 + 0.1 + 0.05


WALLS = 'target = [28, 4]\nterrain = """\n' + "\n".join(["." * 32] * 8 + ["." * 14 + "####" + "." * 14] * 24) + '\n"""'


def test_enemies_walk_around_walls_and_nobody_through_them(tmp_path: Path) -> None:
    environment = written(tmp_path, {"marine": [[28, 6]]}, {"zergling": [[4, 4], [5, 4]], "medivac": [[6, 4]]}, WALLS)
    world, path = start(environment), []
    step = compiled(environment)
    for i in range(50):
        world, _ = step(jax.random.key(i), world, jnp.array([STOP]))
        path.append(np.asarray(world.position[1:3]))
    ground = np.concatenate(path)
    inside = (ground[:, 0] > 14) & (ground[:, 0] < 18) & (ground[:, 1] < 24)
    assert not inside.any()
    assert float(world.health[0]) < 45.0  # they arrived


def test_a_won_battle_returns_20_where_nobody_regenerates(tmp_path: Path) -> None:
    environment = written(tmp_path, {"marine": [[10, 8 + 0.8 * i] for i in range(5)]}, {"marine": [[14, 10]]})
    (world, step), total = environment.reset(jax.random.key(0)), 0.0
    for i in range(12):
        world, step = compiled(environment)(jax.random.key(i), world, jnp.full(5, FIRST_TARGET))
        total += float(step.reward)
        if bool(step.terminated):
            break
    assert total == pytest.approx(20.0, rel=1e-5)
    assert np.asarray(step.metrics).tolist() == [1.0, 0.0, 1.0]


def test_two_that_kill_each_other_at_once_are_a_draw(tmp_path: Path) -> None:
    environment = written(tmp_path, {"marine": [[10, 10]]}, {"marine": [[14, 10]]})
    world = World(**{**vars(start(environment)), "health": jnp.array([6.0, 6.0])})
    world, step = compiled(environment)(jax.random.key(0), world, jnp.array([FIRST_TARGET]))
    assert bool(step.terminated) and not bool(step.truncated)
    assert np.asarray(step.metrics).tolist() == [0.0, 1.0, 1.0]
    assert float(step.reward) == pytest.approx(20.0 * 16.0 / (45.0 + 10.0 + 200.0))


def test_medivacs_alone_have_lost(tmp_path: Path) -> None:
    environment = written(tmp_path, {"marine": [[10, 10]], "medivac": [[4, 10]]}, {"marine": [[14, 10]]})
    world = World(**{**vars(start(environment)), "health": jnp.array([6.0, 150.0, 45.0])})
    _, step = compiled(environment)(jax.random.key(0), world, jnp.array([STOP, STOP]))
    assert bool(step.terminated)
    assert float(step.metrics[0]) == 0.0


SIZES = {  # observation, state and actions, by SMAC's formulas (`get_obs_size`, `get_state_size`) from its table of maps
    **{"3m": (30, 48, 9), "8m": (80, 168, 14), "25m": (250, 950, 31), "5m_vs_6m": (55, 98, 12), "8m_vs_9m": (85, 179, 15)},
    **{"10m_vs_11m": (105, 243, 17), "27m_vs_30m": (285, 1170, 36), "MMM": (160, 290, 16), "MMM2": (176, 322, 18)},
    **{"2s3z": (80, 120, 11), "3s5z": (128, 216, 14), "3s5z_vs_3s6z": (136, 230, 15), "3s_vs_3z": (36, 54, 9), "3s_vs_4z": (42, 61, 10)},
    **{"3s_vs_5z": (48, 68, 11), "1c3s5z": (162, 270, 15), "2m_vs_1z": (16, 26, 7), "corridor": (156, 282, 30), "6h_vs_8z": (78, 140, 14)},
    **{"2s_vs_1sc": (17, 27, 7), "so_many_baneling": (202, 397, 38), "bane_vs_bane": (336, 984, 30), "2c_vs_64zg": (332, 342, 70)},
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_smacs(name: str) -> None:
    spec = skirmish.make(name).spec
    assert (spec.obs_size, spec.state_size, spec.action_size) == SIZES[name]
