"""What SMAX, skirmish and MPE state about entities: blocks have the numbers of their units, to which the actions refer."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

import dop
from dop.types import EntityBlocks, EnvSpec, TimeStep

QUICKLY = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
STEPS = 20
BATTLES: dict[str, dict[str, Any]] = {
    "smax:2s3z": {"health": 0, "place": (1, 2), "state_place": {"ally": (1, 2), "enemy": (1, 2)}},
    "skirmish:MMM": {"health": 4, "place": (2, 3), "state_place": {"ally": (2, 3), "enemy": (1, 2)}},
}
"""Indices, in the blocks, of the health (the first number of state blocks) and of x and y."""


@functools.cache
def played(name: str) -> tuple[EnvSpec, list[TimeStep]]:
    """Random steps that lead units together."""
    environment, rng = dop.make(name), np.random.default_rng(0)
    step = jax.jit(environment.step, compiler_options=QUICKLY)
    state, first = environment.reset(jax.random.key(0))
    steps = [jax.device_get(first)]
    for key in jax.random.split(jax.random.key(1), STEPS):
        mask = steps[-1].action_mask
        east = 1 if name.startswith("smax") else 4
        action = [advance(row, east, rng) for row in mask]
        state, after = step(key, state, np.array(action, np.int32))
        steps.append(jax.device_get(after))
    return environment.spec, steps


def advance(mask: np.ndarray, east: int, rng: np.random.Generator) -> int:
    """A random target if there is one; else to the east."""
    targets = np.flatnonzero(mask[6:]) + 6
    return int(rng.choice(targets)) if len(targets) else east if mask[east] else int(np.flatnonzero(mask)[0])


def rows(x: Any, block: EntityBlocks) -> np.ndarray:
    return np.asarray(x)[block.start : block.end].reshape(block.count, block.size)


def of_kind(blocks: tuple[EntityBlocks, ...], kind: str) -> EntityBlocks:
    return next(block for block in blocks if block.kind == kind)


def visible(name: str, kind: str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Blocks of units in sight of an agent: that of the observation, that of the state, and the agent's own of the state."""
    spec, steps = played(name)
    for step in steps:
        units, own = rows(step.state, of_kind(spec.state_entities, kind)), rows(step.state, of_kind(spec.state_entities, "ally"))
        for agent in range(spec.n_agents):
            numbers = [j for j in range(len(units)) if kind == "enemy" or j != agent]
            for j, seen in zip(numbers, rows(step.obs[agent], of_kind(spec.obs_entities, kind)), strict=True):
                if np.any(seen):
                    yield seen, units[j], own[agent]


@pytest.mark.parametrize("kind", ["ally", "enemy"])
@pytest.mark.parametrize("name", BATTLES)
def test_blocks_of_an_observation_and_the_state_are_of_the_same_unit(name: str, kind: str):
    indices, found = BATTLES[name], list(visible(name, kind))
    place, own_place = indices["state_place"][kind], indices["state_place"]["ally"]
    for seen, unit, own in found:
        np.testing.assert_allclose(seen[indices["health"]], unit[0], atol=1e-5)
        towards = unit[list(place)] - own[list(own_place)]
        shown = seen[list(indices["place"])]
        far = np.abs(towards) > 1e-4
        np.testing.assert_array_equal(np.sign(shown[far]), np.sign(towards[far]))
    assert len(found) > 20
    assert len({float(unit[0]) for _, unit, _ in found}) > 3  # they have been hurt, so that units differ


@pytest.mark.parametrize("name", BATTLES)
def test_only_what_is_seen_can_be_attacked(name: str):
    spec, steps = played(name)
    enemies = of_kind(spec.obs_entities, "enemy")
    attacked = 0
    for step in steps:
        for agent, row in enumerate(enemies.actions_by_agent(spec.n_agents)):
            may = [number >= 0 and bool(step.action_mask[agent, number]) for number in row]
            assert all(np.any(block) for block, one in zip(rows(step.obs[agent], enemies), may, strict=True) if one)
            attacked += sum(may)
    assert attacked > 5


@pytest.mark.parametrize("name", ["smax:5m_vs_6m", "smax:smacv2_10_units", "skirmish:MMM2", "skirmish:3s_vs_5z", "skirmish:terran_5_vs_5"])
def test_actions_refer_to_what_their_names_say(name: str):
    spec = dop.make(name).spec
    for block in (*spec.obs_entities, *spec.state_entities):
        for agent, row in enumerate(block.actions_by_agent(spec.n_agents)):
            numbers = [j + (block.count < spec.n_agents and j >= agent) for j in range(block.count)] if block.kind == "ally" else range(99)
            for j, action in zip(numbers, row, strict=False):
                verb = "attack enemy" if block.kind == "enemy" else "heal ally"
                assert action == -1 or f"{verb} {j}" in spec.action_name(agent, action).split(" or "), (agent, j, action)


def test_fighters_attack_and_healers_heal():
    spec = dop.make("skirmish:MMM2").spec
    enemies, allies = (of_kind(spec.obs_entities, kind).actions_by_agent(spec.n_agents) for kind in ("enemy", "ally"))
    medivacs = [kind == "medivac" for kind in spec.types]
    assert any(medivacs)
    assert [max(row) > 0 for row in allies] == medivacs
    assert [max(row) < 0 for row in enemies] == medivacs


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"obs_last_action": True, "obs_pathing_grid": True, "obs_timestep_number": True, "obs_own_pos": True},
        {"obs_all_health": False},
        {"obs_all_health": False, "obs_own_health": False},
        {"state_last_action": False, "state_timestep_number": True},
        {"obs_instead_of_state": True},
    ],
    ids=str,
)
def test_blocks_of_skirmishes_follow_their_options(options: dict[str, Any]):
    """What is left outside of blocks is the agent's own: moves, cells, health, shield, place, type, time."""
    spec = dop.make("skirmish:2s3z", **options).spec
    own = spec.obs_size - sum(block.size * block.count for block in spec.obs_entities)
    health = options.get("obs_all_health", True) or options.get("obs_own_health", True)
    more = 8 * ("obs_pathing_grid" in options) + 2 * ("obs_own_pos" in options) + ("obs_timestep_number" in options)
    assert own == 4 + 2 * health + 2 + more
    assert spec.state_size - sum(block.size * block.count for block in spec.state_entities) == ("state_timestep_number" in options)


def test_spread_states_landmarks_and_the_other_agents():
    environment = dop.make("mpe:spread")
    spec = environment.spec
    state, step = environment.reset(jax.random.key(0))
    landmarks, others, _ = spec.obs_entities
    for agent in range(3):
        place = np.asarray(state.p_pos)
        np.testing.assert_allclose(rows(step.obs[agent], landmarks), place[3:] - place[agent], atol=1e-6)
        relative = {tuple(np.round(place[j] - place[agent], 4)) for j in range(3) if j != agent}
        assert {tuple(row) for row in np.round(rows(step.obs[agent], others), 4)} == relative
    (team,) = spec.state_entities
    np.testing.assert_array_equal(rows(step.state, team), step.obs)
