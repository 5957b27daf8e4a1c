"""Rewards and ends of skirmishes as SMAC's `reward_battle` and `step` have them, and what holds in every battle."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop.envs import skirmish
from dop.envs.skirmish.battle import World
from dop.envs.skirmish.environment import Rewards, Skirmish
from skirmish_maps import written

N_WORLDS = 40
MARINES, ZEALOTS = {"marine": [[8, 8], [9, 10]], "stalker": [[4, 4]]}, {"zealot": [[20, 8], [20, 10], [20, 12]]}
MOST = 3 * (100 + 50 + 10) + 200
"""SMAC's `max_reward` of three zealots."""


def random_pair(rng: np.random.Generator, world: World) -> tuple[World, World]:
    """A world, and one that could follow it: some units fall, some regain shields."""
    health, shield = np.asarray(world.health), np.asarray(world.shield)
    alive = rng.random(health.shape) < 0.8
    before = alive * health * rng.uniform(0.1, 1.0, health.shape), alive * shield * rng.random(shield.shape)
    alive = alive & (rng.random(health.shape) < 0.6)
    after = alive * before[0] * rng.uniform(0.5, 1.0, health.shape), alive * shield * rng.random(shield.shape)

    def at(health: np.ndarray, shield: np.ndarray) -> World:
        return World(**{**vars(world), "health": jnp.asarray(health, jnp.float32), "shield": jnp.asarray(shield, jnp.float32)})

    return at(*before), at(*after)


def restated(rewards: Rewards, before: World, after: World, n: int) -> float:
    """SMAC's reward of a step, unit by unit, with the end's."""
    fallen_ally = fallen_enemy = lost_ally = lost_enemy = 0.0
    for unit in range(len(before.health)):
        if before.health[unit] == 0.0:
            continue
        whole = float(before.health[unit] + before.shield[unit])
        died = float(after.health[unit]) == 0.0
        lost = whole if died else whole - float(after.health[unit] + after.shield[unit])
        if unit < n:
            lost_ally, fallen_ally = lost_ally + lost, fallen_ally + died
        else:
            lost_enemy, fallen_enemy = lost_enemy + lost, fallen_enemy + died
    ours, theirs = (bool((after.health[side] > 0).any()) for side in (slice(0, n), slice(n, None)))
    won, lost_battle = ours and not theirs, theirs and not ours
    if rewards.reward_sparse:
        reward = float(won) - float(lost_battle)
    else:
        reward = lost_enemy + rewards.reward_death_value * fallen_enemy
        if rewards.reward_only_positive:
            reward = abs(reward)
        else:
            reward -= rewards.reward_negative_scale * (lost_ally + rewards.reward_death_value * fallen_ally)
        reward += rewards.reward_win * won + rewards.reward_defeat * lost_battle
    most = 3 * (100 + 50 + rewards.reward_death_value) + rewards.reward_win
    return reward * rewards.reward_scale_rate / most if rewards.reward_scale else reward


@pytest.mark.parametrize(
    "rewards",
    [
        Rewards(),
        Rewards(reward_only_positive=False, reward_negative_scale=0.3, reward_defeat=-7.0),
        Rewards(reward_scale=False, reward_death_value=3.0, reward_win=50.0),
        Rewards(reward_scale_rate=5.0, reward_death_value=3.0, reward_win=50.0),
        Rewards(reward_sparse=True),
        Rewards(reward_sparse=True, reward_scale=False),
    ],
)
def test_rewards_are_smacs(rewards: Rewards, tmp_path: Path) -> None:
    env = written(tmp_path, MARINES, ZEALOTS, **vars(rewards))
    rng, world = np.random.default_rng(1), env.reset(jax.random.key(0))[0]
    facts = env.rules.facts(world.unit_type)
    pairs = [random_pair(rng, world) for _ in range(N_WORLDS)]
    nobody = World(**{**vars(world), "health": world.health.at[3:].set(0.0), "shield": world.shield.at[3:].set(0.0)})
    gone = World(**{**vars(world), "health": world.health.at[:3].set(0.0), "shield": world.shield.at[:3].set(0.0)})
    pairs += [(world, nobody), (world, gone)]
    before, after = (jax.tree.map(lambda *leaves: jnp.stack(leaves), *side) for side in zip(*pairs, strict=True))
    found = jax.vmap(lambda one, two: env._reward(facts, one, two, *env._outcome(facts, two)))(before, after)
    expected = [restated(rewards, one, two, 3) for one, two in pairs]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert len({round(value, 5) for value in expected}) >= 3


def test_regained_shields_are_rewarded_by_their_absolute_value_as_in_smac(tmp_path: Path) -> None:
    for positive, sign in ((True, 1.0), (False, -1.0)):
        env = written(tmp_path, MARINES, ZEALOTS, reward_only_positive=positive)
        world = env.reset(jax.random.key(0))[0]
        low = World(**{**vars(world), "shield": world.shield.at[3].set(30.0)})
        no = jnp.array(False)
        reward = env._reward(env.rules.facts(world.unit_type), low, world, no, no)
        assert float(reward) == pytest.approx(sign * 20.0 * 20.0 / MOST)


def test_with_random_teams_regained_shields_earn_nothing_as_in_smacv2() -> None:
    """With `reward_only_positive` SMACv2 takes the positive part, where SMAC takes the absolute value."""
    env = skirmish.make("protoss_5_vs_5")
    world = env.reset(jax.random.key(0))[0]
    low = World(**{**vars(world), "shield": world.shield.at[5].add(-20.0)})
    facts, no = env.rules.facts(world.unit_type), jnp.array(False)
    assert float(env._reward(facts, low, world, no, no)) == 0.0
    most = float(jnp.sum((facts.health + facts.shield)[5:])) + 5 * 10 + 200
    assert float(env._reward(facts, world, low, no, no)) == pytest.approx(20.0 * 20.0 / most)


def test_the_time_limit_truncates_and_does_not_terminate() -> None:
    env = skirmish.make("3m", time_limit=2)
    world, step = env.reset(jax.random.key(0))
    ends = [(bool(step.terminated), bool(step.truncated))]
    advance = jax.jit(env.step)
    for i in range(2):
        world, step = advance(jax.random.key(i), world, jnp.ones(3, jnp.int32))
        ends.append((bool(step.terminated), bool(step.truncated)))
    assert ends == [(False, False), (False, False), (False, True)]
    last = World(**{**vars(world), "health": jnp.array([45.0, 45.0, 45.0, 0.0, 0.0, 0.0]), "steps": jnp.array(1, jnp.int32)})
    _, step = advance(jax.random.key(0), last, jnp.ones(3, jnp.int32))
    assert (bool(step.terminated), bool(step.truncated), float(step.metrics[0])) == (True, False, 1.0)


def played(env: Skirmish, battles: int, steps: int):
    """Worlds and time steps (battle, step, ...) of random play, which goes on after the end of a battle."""

    def battle(key):
        k_start, k_steps = jax.random.split(key)
        world, first = env.reset(k_start)

        def advance(carry, key):
            world, mask = carry
            k_action, k_step = jax.random.split(key)
            action = jax.random.categorical(k_action, jnp.where(mask, jnp.where(np.arange(mask.shape[1]) >= 6, 2.0, 0.0), -jnp.inf))
            world, step = env.step(k_step, world, action)
            return (world, step.action_mask), (world, step)

        return (world, first), jax.lax.scan(advance, (world, first.action_mask), jax.random.split(k_steps, steps))[1]

    start, rest = jax.jit(jax.vmap(battle))(jax.random.split(jax.random.key(4), battles))
    return jax.tree.map(lambda one, more: np.concatenate([np.asarray(one)[:, None], np.asarray(more)], axis=1), start, rest)


@pytest.mark.parametrize("name", ["MMM", "1c3s5z", "bane_vs_bane", "zerg_5_vs_5"])
def test_what_holds_in_every_battle(name: str) -> None:
    env = skirmish.make(name, difficulty="very-hard")
    world, step = played(env, 3, 40)
    n, (low_x, low_y, high_x, high_y) = env.rules.n_allies, env.rules.map.bounds
    facts = jax.tree.map(lambda *each: np.stack(each), *(env.rules.facts(types) for types in world.unit_type[:, 0]))
    most = {
        key: np.broadcast_to(np.asarray(getattr(facts, key)), world.health[:, 0].shape)[:, None] for key in ("health", "shield", "energy")
    }
    for key, full in most.items():
        values = getattr(world, key)
        assert np.all((values >= 0.0) & (values <= full * (1 + 1e-6))), key
    if name == "1c3s5z":
        assert np.all(np.diff(world.health, axis=1) <= 0.0)
    alive = world.health > 0.0
    assert np.any(~alive[:, -1])
    dead = ~alive[:, :-1]
    assert not np.any(dead & alive[:, 1:])
    for key in ("shield", "energy"):
        assert not getattr(world, key)[~alive].any()
    np.testing.assert_array_equal(world.position[:, 1:][dead], world.position[:, :-1][dead])
    assert np.all(world.target[:, 1:][dead] == -1)
    assert np.all(world.position >= [low_x, low_y]) and np.all(world.position <= [high_x, high_y])
    assert step.action_mask.any(axis=-1).all()
    np.testing.assert_array_equal(step.action_mask[..., 0], ~alive[..., :n])
    assert np.abs(step.obs).max() <= 1.0
    assert not step.obs[~alive[..., :n]].any()
    assert all(np.isfinite(leaf).all() for leaf in (step.obs, step.state, step.reward, world.position, world.cooldown))
    np.testing.assert_array_equal(step.metrics[..., 1], (~alive[..., :n]).sum(axis=-1))
    assert not np.any(step.terminated & step.truncated)
