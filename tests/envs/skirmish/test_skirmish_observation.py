"""Observations, states and masks against SMAC's definitions, stated once more unit by unit (oxwhirl/smac, `starcraft2.py`)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop.envs import skirmish
from dop.envs.skirmish.battle import World
from dop.envs.skirmish.environment import Skirmish
from dop.envs.skirmish.units import UNITS
from skirmish_maps import written

N_WORLDS = 12
ORDER = ["marauder", "marine", "medivac", "colossus", "stalker", "zealot", "baneling", "zergling", "hydralisk", "spine_crawler"]
MAX_COOLDOWN = {"marauder": 25, "marine": 15, "medivac": 200, "stalker": 35, "zealot": 22, "colossus": 24, "baneling": 1}
MAX_SHIELD = {"stalker": 80, "zealot": 50, "colossus": 150}
RANGE = {"stalker": 6, "zealot": 2, "colossus": 6, "marine": 5, "marauder": 6, "medivac": 4}  # SMACv2's, where a colossus has 7
SIGHT = {"stalker": 10, "zealot": 9, "colossus": 10, "marine": 9, "marauder": 10, "medivac": 11}
MACHINES = ("medivac", "stalker", "colossus")

EVERYTHING = {
    **{"obs_last_action": True, "obs_pathing_grid": True, "obs_timestep_number": True, "state_timestep_number": True},
    **{"obs_own_pos": True, "use_unit_ranges": True},
}
OWN_HEALTH = {"obs_all_health": False, "obs_last_action": True, "state_last_action": False}
LITTLE = {"obs_all_health": False, "obs_own_health": False, "obs_pathing_grid": True, "obs_instead_of_state": True}
WALLS = 'terrain = """\n' + "\n".join([".." * 16] * 10 + ["." * 10 + "##^^" + "." * 14 + "^###"] * 14 + ["#." * 16] * 8) + '\n"""'


def made(name: str, folder: Path, options: dict[str, Any]) -> Skirmish:
    if name != "own":
        return skirmish.make(name, **options)
    allies = {"medivac": [[5, 28], [7, 28]], "marine": [[5, 26]], "colossus": [[8, 26]], "stalker": [[2, 26]]}
    enemies = {"baneling": [[20, 28], [22, 28], [24, 28]], "spine_crawler": [[20, 25]], "stalker": [[26, 28]]}
    return written(folder, allies, enemies, WALLS, **options)


def names(env: Skirmish) -> list[str]:
    assert env.rules.fixed_types is not None
    return [env.rules.types[i].name for i in env.rules.fixed_types]


def random_worlds(env: Skirmish) -> World:
    """A stack of worlds. In each, units are everywhere (many of them close together), some are dead, and the first is at its first step."""
    rng, units, n = np.random.default_rng(7), names(env), env.rules.n_allies
    shape = (N_WORLDS, len(units))
    low, high = np.array(env.rules.map.bounds[:2]), np.array(env.rules.map.bounds[2:])
    near = rng.uniform(low, high, (N_WORLDS, 1, 2)) + rng.normal(0, 4, (*shape, 2))
    alive = rng.random(shape) < 0.75
    most = {key: np.array([getattr(UNITS[unit], key) for unit in units]) for key in ("health", "shield", "energy")}
    numbers = {key: alive * rng.random(shape) * value for key, value in most.items()}
    width = env.spec.action_size
    return World(
        position=jnp.asarray(np.clip(near, low, high - 1e-3), jnp.float32),
        **{key: jnp.asarray(value, jnp.float32) for key, value in numbers.items()},
        cooldown=jnp.asarray(rng.random(shape) * 20, jnp.float32),
        unhurt=jnp.zeros(shape),
        detour=jnp.zeros(shape),
        target=jnp.full(shape, -1, jnp.int32),
        unit_type=jnp.tile(jnp.asarray(env.rules.fixed_types, jnp.int32), (N_WORLDS, 1)),
        last_action=jnp.asarray(rng.integers(0, width, (N_WORLDS, n)) * (np.arange(N_WORLDS) > 0)[:, None], jnp.int32),
        steps=jnp.arange(N_WORLDS, dtype=jnp.int32) * 3,
    )


class Restated:
    """SMAC's definitions for one world."""

    def __init__(self, env: Skirmish, world: World) -> None:
        self.env, self.shown, self.map = env, env.shown, env.rules.map
        self.at = np.asarray(world.position, np.float64)
        self.health, self.shield, self.energy, self.cooldown = (
            np.asarray(values, np.float64) for values in (world.health, world.shield, world.energy, world.cooldown)
        )
        self.steps = int(world.steps)
        self.last = np.asarray(world.last_action)
        self.units, self.n = names(env), env.rules.n_allies
        self.sides = [sorted(set(side), key=ORDER.index) for side in (self.units[: self.n], self.units[self.n :])]
        self.n_actions = env.spec.action_size

    def side(self, unit: int) -> list[str]:
        return self.sides[0] if unit < self.n else self.sides[1]

    def is_floor(self, unit: int, x: int, y: int) -> bool:
        """A cell in SMAC's pathing grid; with what flyers and colossi cross, which SMAC leaves out."""
        low_x, low_y, high_x, high_y = self.map.bounds
        if not (low_x <= x < high_x and low_y <= y < high_y):
            return False
        kind = "." if self.map.terrain is None else self.map.terrain[int(self.map.size[1]) - 1 - y][x]
        return kind == "." or self.units[unit] == "medivac" or (kind == "^" and self.units[unit] == "colossus")

    def distance(self, one: int, other: int) -> float:
        return math.dist(self.at[one], self.at[other])

    def mask(self, unit: int) -> list[int]:
        available = [0] * self.n_actions
        if self.health[unit] <= 0:
            available[0] = 1
            return available
        available[1] = 1
        x, y = self.at[unit]
        for action, (px, py) in enumerate([(x, y + 1), (x, y - 1), (x + 1, y), (x - 1, y)], start=2):
            available[action] = int(self.is_floor(unit, int(px), int(py)))
        furthest = RANGE[self.units[unit]] if self.shown.use_unit_ranges else 6
        heals = self.units[unit] == "medivac"
        for number, target in enumerate(range(self.n) if heals else range(self.n, len(self.units))):
            refused = heals and self.units[target] in MACHINES
            if self.health[target] > 0 and self.distance(unit, target) <= furthest and not refused:
                available[6 + number] = 1
        return available

    def vital(self, unit: int) -> list[float]:
        numbers = [self.health[unit] / UNITS[self.units[unit]].health]
        return numbers + self.shields(unit)

    def shields(self, unit: int) -> list[float]:
        if not set(self.side(unit)) & set(MAX_SHIELD):
            return []
        most = MAX_SHIELD.get(self.units[unit])
        return [self.shield[unit] / most if most else 0.0]

    def kind(self, unit: int) -> list[float]:
        bits = max(len(side) for side in self.sides)
        return [] if bits == 1 else [float(self.side(unit).index(self.units[unit]) == i) for i in range(bits)]

    def last_action(self, ally: int) -> list[float]:
        return [float(self.steps > 0 and self.last[ally] == action) for action in range(self.n_actions)]

    def grid(self, unit: int) -> list[float]:
        x, y = int(self.at[unit][0]), int(self.at[unit][1])
        points = [(x, y + 4), (x, y - 4), (x + 4, y), (x - 4, y), (x + 2, y + 2), (x - 2, y - 2), (x + 2, y - 2), (x - 2, y + 2)]
        width, height = self.map.size
        return [float(self.is_floor(unit, px, py)) if 0 <= px < width and 0 <= py < height else 1.0 for px, py in points]

    def seen(self, unit: int, other: int) -> list[float]:
        """What a unit sees of another, zeros of one that is dead or out of sight."""
        sight = SIGHT[self.units[unit]] if self.shown.use_unit_ranges else 9
        place = [self.distance(unit, other), *(self.at[other] - self.at[unit])]
        first = 1.0
        if other >= self.n:
            first = float(self.mask(unit)[6 + other - self.n])
        numbers = [first, *(value / sight for value in place)]
        if self.shown.obs_all_health:
            numbers += self.vital(other)
        numbers += self.kind(other)
        if other < self.n and self.shown.obs_last_action:
            numbers += self.last_action(other)
        visible = self.health[other] > 0 and self.distance(unit, other) < sight
        return numbers if visible else [0.0] * len(numbers)

    def obs(self, unit: int) -> list[float]:
        shown = self.shown
        numbers: list[float] = [*self.mask(unit)[2:6]]
        if shown.obs_pathing_grid:
            numbers += self.grid(unit)
        for other in [*range(self.n, len(self.units)), *(ally for ally in range(self.n) if ally != unit)]:
            numbers += self.seen(unit, other)
        if shown.obs_all_health or shown.obs_own_health:
            numbers += self.vital(unit)
        if shown.obs_own_pos:
            numbers += [self.at[unit][axis] / self.map.size[axis] for axis in (0, 1)]
        numbers += self.kind(unit)
        if shown.obs_timestep_number:
            numbers.append(self.steps / self.env.spec.time_limit)
        return numbers if self.health[unit] > 0 else [0.0] * len(numbers)

    def state(self) -> list[float]:
        if self.shown.obs_instead_of_state:
            return [number for unit in range(self.n) for number in self.obs(unit)]
        state: list[float] = []
        for unit, name in enumerate(self.units):
            numbers = [self.health[unit] / UNITS[name].health]
            if unit < self.n:
                numbers.append((self.energy if name == "medivac" else self.cooldown)[unit] / MAX_COOLDOWN[name])
            numbers += [(self.at[unit][axis] - self.map.size[axis] / 2) / self.map.size[axis] for axis in (0, 1)]
            numbers += self.shields(unit) + self.kind(unit)
            state += numbers if self.health[unit] > 0 else [0.0] * len(numbers)
        if self.shown.state_last_action:
            state += [number for ally in range(self.n) for number in self.last_action(ally)]
        if self.shown.state_timestep_number:
            state.append(self.steps / self.env.spec.time_limit)
        return state


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, options) for name in ("2s3z", "MMM2", "own") for options in ({}, EVERYTHING, OWN_HEALTH, LITTLE)),
        *((name, options) for name in ("corridor", "3m") for options in ({}, EVERYTHING)),
    ],
)
def test_what_units_see_and_may_do_is_smacs(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    env = made(name, tmp_path, options)
    worlds = random_worlds(env)
    mask, obs, state = jax.jit(jax.vmap(lambda world: env._seen(env.rules.facts(world.unit_type), world)))(worlds)
    allies = range(env.rules.n_allies)
    for i in range(N_WORLDS):
        world = jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], worlds)
        expected = Restated(env, world)
        np.testing.assert_array_equal(mask[i], np.array([expected.mask(unit) for unit in allies], bool))
        np.testing.assert_allclose(obs[i], [expected.obs(unit) for unit in allies], rtol=0, atol=1e-6)
        np.testing.assert_allclose(state[i], expected.state(), rtol=1e-6, atol=1e-6)
    assert float(np.abs(obs).max()) <= 1.0
    dead = np.asarray(worlds.health)[:, : len(allies)] == 0.0
    assert dead.any() and not np.asarray(obs)[dead].any()
    assert (np.asarray(mask)[dead] == (np.arange(env.spec.action_size) == 0)).all()


def test_ranges_end_where_smacs_do(tmp_path: Path) -> None:
    """A target at 6 cells is in range; a unit at 9 is out of sight, since it is seen below that distance alone."""
    env = written(tmp_path, {"marine": [[10, 16]]}, {"marine": [[16, 16], [19, 16], [16.0001, 16.9]]})
    step = env.reset(jax.random.key(0))[1]
    assert np.asarray(step.action_mask)[0, 6:].tolist() == [True, False, False]
    assert np.asarray(step.obs)[0, 4:].reshape(-1)[[0, 1, 5, 6, 10]].tolist() == pytest.approx([1.0, 6 / 9, 0.0, 0.0, 0.0])


def test_before_the_first_step_there_is_no_last_action() -> None:
    env = skirmish.make("3m", obs_last_action=True)
    world, first = env.reset(jax.random.key(0))
    stops = jnp.ones(3, jnp.int32)
    _, second = env.step(jax.random.key(1), world, stops)
    width = env.spec.action_size
    others = 4 + 3 * 5
    last = slice(others + 5, others + 5 + width)
    assert not np.asarray(first.obs)[0, last].any() and not np.asarray(first.state)[-3 * width :].any()
    assert np.flatnonzero(np.asarray(second.obs)[0, last]).tolist() == [1]
    assert np.flatnonzero(np.asarray(second.state)[-3 * width :]).tolist() == [1, 1 + width, 1 + 2 * width]


@pytest.mark.parametrize(("unit", "bound"), [("marine", 1.0), ("marauder", 1.0), ("stalker", 1.0), ("hydralisk", 1.43), ("colossus", 1.51)])
def test_the_bound_holds_where_cooldowns_exceed_smacs_scale(tmp_path: Path, unit: str, bound: float):
    """By hand: a colossus is loaded after 1.57 s * 22.4 + 2 - 1 = 36.2 loops at most, by SMAC's scale of 24 that is 1.508."""
    env = written(tmp_path, {unit: [[16, 16]]}, {"spine_crawler": [[20, 16]]})
    assert env.spec.obs_bound == bound
    attack = len(env.spec.action_names[0]) - 1

    def step(world: World, key: jax.Array) -> tuple[World, jax.Array]:
        world, seen = env.step(key, world, jnp.array([attack]))
        return world, jnp.max(jnp.abs(seen.state))

    world, _ = env.reset(jax.random.key(0))
    largest = jax.jit(lambda world, keys: jax.lax.scan(step, world, keys)[1])(world, jax.random.split(jax.random.key(1), 12))
    assert jnp.max(largest) <= bound
    assert bound == 1.0 or jnp.max(largest) > 1.0
