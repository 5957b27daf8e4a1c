"""Starts of skirmishes: random teams as in SMACv2, fixed ones as the map says, and what the order of units changes."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop.envs import skirmish
from dop.envs.skirmish import environment as environment_module
from dop.envs.skirmish import starts
from dop.envs.skirmish.battle import World
from dop.envs.skirmish.rules import Rules
from helpers import assert_trees_close, assert_trees_equal
from skirmish_maps import written

N_DRAWS = 2000
STALKER = {"stalker": [[4, 16]]}


def drawn(name: str, count: int, seed: int = 0) -> tuple[Rules, np.ndarray, np.ndarray]:
    """The rules of a map, and positions and names of types at many starts."""
    rules = skirmish.make(name).rules
    position, unit_type = jax.jit(jax.vmap(lambda key: starts.start(rules, key)))(jax.random.split(jax.random.key(seed), count))
    return rules, np.asarray(position), np.array([unit.name for unit in rules.types])[np.asarray(unit_type)]


def test_types_are_drawn_with_their_probabilities_and_never_bane_alone() -> None:
    """A team of banelings alone is drawn again: never of ten in effect, but often for the one enemy more than allies."""
    rules, _, types = drawn("zerg_10_vs_11", N_DRAWS)
    teams = rules.map.random
    assert teams is not None
    allies, extra = types[:, :10], types[:, 20]
    for sample in (allies, extra[:, None]):
        lone = sample.shape[1] == 1
        kept = 0.9 if lone else 1.0
        for unit, probability in zip(teams.units, teams.probabilities, strict=True):
            expected = 0.0 if lone and unit == "baneling" else probability / kept
            sigma = np.sqrt(expected * (1.0 - expected) / sample.size)
            assert abs(np.mean(sample == unit) - expected) <= 4.0 * sigma, (unit, np.mean(sample == unit), expected)
    np.testing.assert_array_equal(np.sort(allies, axis=1), np.sort(types[:, 10:20], axis=1))
    assert not (allies == "baneling").all(axis=1).any()


def test_allies_of_random_teams_are_in_smacs_order_by_type_then_x_then_y() -> None:
    rules, position, types = drawn("terran_10_vs_11", 50)
    order = {unit.name: i for i, unit in enumerate(rules.types)}
    for at, names in zip(position[:, :10].tolist(), types[:, :10], strict=True):
        rows = [(order[name], *point) for name, point in zip(names, at, strict=True)]
        assert rows == sorted(rows)


def test_fewer_enemies_than_allies_are_never_those_alone_that_cannot_fight(tmp_path: Path) -> None:
    """Of two allies, a medivac one time in two, the first is the only enemy."""
    path = tmp_path / "random.toml"
    path.write_text(
        'time_limit = 5\nsize = [32, 32]\n[random]\nunits = ["marine", "medivac"]\nprobabilities = [0.5, 0.5]\n'
        'never_alone = ["medivac"]\nn_allies = 2\nn_enemies = 1\nsurrounded = 0.5\n'
    )
    _, _, types = drawn(str(path), 200)
    assert np.all(types[:, 2] == "marine") and np.any(types[:, :2] == "medivac")


def test_random_starts_are_mirror_images_or_surrounded_groups_on_diagonals() -> None:
    n, count = 5, 200
    rules, position, _ = drawn("protoss_5_vs_5", count)
    middle = np.array(rules.map.size) / 2
    mirrored = position[:, :n] * [-1, 1] + [32, 0]
    apart = np.abs(mirrored[:, :, None] - position[:, None, n:]).max(axis=-1)
    is_mirror = (apart.min(axis=1) < 2.5).all(axis=1) & (apart.min(axis=2) < 2.5).all(axis=1)
    is_surrounded = np.linalg.norm(position[:, :n] - middle, axis=-1).max(axis=1) < 4.0
    assert np.all(is_mirror | is_surrounded)
    assert abs(np.mean(is_surrounded) - 0.5) < 4 * np.sqrt(0.25 / count)
    away = np.abs(position[is_surrounded][:, n:] - middle)
    assert np.all(np.abs(away[..., 0] - away[..., 1]) < 4.0)
    reflected = position[is_mirror & ~is_surrounded]
    assert np.all(reflected[:, :n, 0] < 17.5) and np.all(reflected[:, n:, 0] > 14.5)
    assert np.ptp(reflected[:, :n, 0]) > 13.0 and np.ptp(reflected[:, :n, 1]) > 28.0


def test_groups_that_surround_are_each_on_one_diagonal() -> None:
    """Before units make room: 1 to 4 places, no nearer to the middle than 2 on each axis, each on another diagonal."""
    rules = skirmish.make("terran_10_vs_11").rules
    position = np.asarray(jax.vmap(lambda key: starts._surrounded(rules, key))(jax.random.split(jax.random.key(1), 300)))
    assert np.all(position[:, :10] == 16.0)
    away = position[:, 10:] - 16.0
    np.testing.assert_allclose(np.abs(away[..., 0]), np.abs(away[..., 1]), atol=1e-4)
    assert np.abs(away).min() >= 2.0 - 1e-4 and np.abs(away).max() <= 16.0
    places = [len({tuple(point) for point in start.round(4)}) for start in away]
    diagonals = [len({tuple(point) for point in np.sign(start)}) for start in away]
    assert places == diagonals
    assert set(places) == {1, 2, 3, 4}
    assert abs(np.mean(np.array(places) == 1) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 300)


@pytest.mark.parametrize("name", ["zerg_20_vs_23", "terran_5_vs_5"])
def test_random_starts_are_within_bounds_with_hardly_an_overlap(name: str) -> None:
    rules, position, types = drawn(name, 40)
    assert np.all(position >= 0.0) and np.all(position <= 32.0)
    for at, names in zip(position, types, strict=True):
        units = [rules.units[unit] for unit in names]
        radius, flying = np.array([unit.separation for unit in units]), np.array([unit.flying for unit in units])
        overlap = radius[:, None] + radius[None, :] - np.linalg.norm(at[:, None] - at[None, :], axis=-1)
        overlap[(flying[:, None] != flying[None, :]) | np.eye(len(units), dtype=bool)] = 0.0
        assert overlap.max() < 0.15, overlap.max()


def test_fixed_starts_are_the_maps() -> None:
    for name in ("MMM2", "corridor"):
        environment = skirmish.make(name)
        battlefield = environment.rules.map
        world = environment.reset(jax.random.key(5))[0]
        points = [point for groups in (battlefield.allies, battlefield.enemies) for group in groups for point in group.at]
        np.testing.assert_allclose(world.position, points, rtol=1e-6)
        assert_trees_equal(world, environment.reset(jax.random.key(6))[0])


def test_the_same_key_gives_the_same_battle_alone_or_in_a_batch() -> None:
    """To rounding, since a batch is another compiled program."""
    environment = skirmish.make("terran_5_vs_5")
    orders = jnp.array([1, 6, 7, 4, 2])

    def battle(key):
        k_start, *k_steps = jax.random.split(key, 4)
        world, step = environment.reset(k_start)
        return jax.lax.scan(lambda world, key: environment.step(key, world, orders), world, jnp.stack(k_steps)), step

    keys = jax.random.split(jax.random.key(2), 3)
    alone, together = jax.jit(battle), jax.jit(jax.vmap(battle))(keys)
    for i in range(3):
        assert_trees_equal(alone(keys[i]), alone(keys[i]))
        assert_trees_close(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone(keys[i]), rtol=1e-4, atol=1e-4)
    assert not np.array_equal(together[0][0].position[0], together[0][0].position[1])


def by_ally(obs: np.ndarray) -> np.ndarray:
    """What each of 4 allies sees of each other, 8 numbers, after 4 moves and 2 enemies of 8 numbers; zeros of itself."""
    seen = np.zeros((4, 4, 8))
    for i in range(4):
        seen[i, [j for j in range(4) if j != i]] = obs[i, 20:44].reshape(3, 8)
    return seen


def test_permuting_allies_permutes_observations_and_changes_no_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map's allies are sorted, so the permutation is one of the world. Delays of cooldowns, drawn by a unit's number, are none here."""
    monkeypatch.setattr(environment_module, "LEAST_DELAY", 0.0)
    monkeypatch.setattr(environment_module, "MOST_DELAY", 0.0)
    environment = written(tmp_path, {"marine": [[10, 14], [10.3, 16], [9.6, 18]], **STALKER}, {"zealot": [[13, 15], [14, 17.2]]})
    world, _ = environment.reset(jax.random.key(0))
    order = np.array([2, 0, 1, 3])
    place, units = np.argsort(order), np.array([*order, 4, 5])
    other = World(**{name: value[units] if value.shape[:1] == (6,) else value for name, value in vars(world).items()})
    step = jax.jit(environment.step)
    actions = jnp.array([6, 7, 2, 6])
    total = 0.0
    for i in range(5):
        world, one = step(jax.random.key(i), world, actions)
        other, two = step(jax.random.key(i), other, actions[order])
        total += float(one.reward)
        assert float(one.reward) == pytest.approx(float(two.reward), abs=1e-4)
        np.testing.assert_array_equal(np.asarray(two.action_mask)[place], one.action_mask)
        before, after = np.asarray(one.obs), np.asarray(two.obs)
        np.testing.assert_allclose(after[place][:, :20], before[:, :20], atol=1e-3)
        np.testing.assert_allclose(after[place][:, 44:], before[:, 44:], atol=1e-3)
        np.testing.assert_allclose(by_ally(after)[place][:, place], by_ally(before), atol=1e-3)
    assert total > 0.0


def test_a_map_file_may_list_allies_in_any_order(tmp_path: Path) -> None:
    points, enemies = [[10, 14], [9, 16], [10, 18]], {"zealot": [[13, 15]]}
    one = written(tmp_path, {"marine": points}, enemies)
    two = written(tmp_path, {"marine": points[::-1]}, enemies)
    assert one.spec.version == two.spec.version
    assert_trees_equal(one.reset(jax.random.key(0)), two.reset(jax.random.key(0)))
