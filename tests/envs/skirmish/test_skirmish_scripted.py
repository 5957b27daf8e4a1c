"""`attack_closest`, and what `make` refuses and accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dop
from dop.envs.skirmish.battle import World
from dop.envs.skirmish.scripted import attack_closest
from dop.errors import ConfigError, DopError, UnknownNameError
from skirmish_maps import written

NO_OP, STOP, FIRST_TARGET = 0, 1, 6


def moved(world: World, **changes: Any) -> World:
    return World(**{**vars(world), **changes})


def test_a_target_is_kept_until_it_is_dead_then_comes_the_closest(tmp_path: Path) -> None:
    env = written(tmp_path, {"marine": [[10, 10]]}, {"marine": [[20, 10], [17, 10], [10, 25]]})
    world = env.reset(jax.random.key(0))[0]
    action, target = attack_closest(env, world, jnp.array([-1]))
    assert (action.tolist(), target.tolist()) == ([FIRST_TARGET + 1], [1])  # 7 cells away, out of range: it walks there
    nearer = moved(world, position=world.position.at[1].set(jnp.array([12.0, 10.0])))
    action, target = attack_closest(env, nearer, target)
    assert (action.tolist(), target.tolist()) == ([FIRST_TARGET + 1], [1])
    action, target = attack_closest(env, moved(nearer, health=nearer.health.at[2].set(0.0)), target)
    assert (action.tolist(), target.tolist()) == ([FIRST_TARGET], [0])
    nobody = moved(world, health=world.health.at[1:].set(0.0))
    action, target = attack_closest(env, nobody, target)
    assert (action.tolist(), target.tolist()) == ([STOP], [-1])
    action, _ = attack_closest(env, moved(world, health=world.health.at[0].set(0.0)), target)
    assert action.tolist() == [NO_OP]


def test_medivacs_take_the_closest_wounded_until_it_is_whole_or_dead(tmp_path: Path) -> None:
    """Allies are, by type: marauder 0 (cannot hit the enemy's medivac), marines 1 and 2, medivac 3."""
    allies = {"marauder": [[10, 10]], "marine": [[8, 10], [14, 10]], "medivac": [[10, 12]]}
    env = written(tmp_path, allies, {"medivac": [[11, 10]], "marine": [[25, 10]]})
    world = env.reset(jax.random.key(0))[0]
    none = jnp.full(4, -1)
    action, _ = attack_closest(env, world, none)
    assert action.tolist() == [FIRST_TARGET + 1, FIRST_TARGET, FIRST_TARGET, STOP]
    hurt = moved(world, health=world.health.at[1].set(20.0).at[2].set(20.0))
    action, target = attack_closest(env, hurt, none)
    assert int(action[3]) == FIRST_TARGET + 1
    also = moved(hurt, health=hurt.health.at[0].set(20.0))
    assert int(attack_closest(env, also, target)[0][3]) == FIRST_TARGET + 1
    for healed in (45.0, 0.0):
        assert int(attack_closest(env, moved(also, health=also.health.at[1].set(healed)), target)[0][3]) == FIRST_TARGET


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("skirmish:3m", {"reward_deth_value": 1.0}, ("no option", "reward_deth_value", "reward_death_value")),
        ("skirmish:3m", {"difficulty": "cheater"}, ("difficulty", "cheater", "very-hard")),
        ("skirmish:3m", {"units": "blizzard"}, ("units", "blizzard", "multiplayer")),
        ("skirmish:3m", {"step_mul": 0}, ("step_mul", "0")),
        ("skirmish:3m", {"time_limit": -1}, ("time_limit", "-1")),
        ("skirmish:3m", {"move_amount": 0.0}, ("move_amount", "0")),
        ("skirmish:3m", {"reward_win": float("nan")}, ("reward_win", "nan")),
        ("skirmish:3m", {"reward_scale_rate": "much"}, ("reward_scale_rate", "much")),
        ("skirmish:3m", {"obs_own_pos": 3}, ("obs_own_pos", "3")),
        ("skirmish:MMM3", {}, ("MMM3", "Did you mean 'MMM'", "corridor")),
        ("skirmish:missing/my_map.toml", {}, ("missing/my_map.toml",)),
        ("skirmish", {}, ("needs a map", "dop list")),
        ("skirmish:", {}, ("needs a map", "dop list")),
    ],
)
def test_what_cannot_be_made_is_refused_in_a_sentence(name: str, options: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(DopError) as refusal:
        dop.make(name, **options)
    message = str(refusal.value)
    assert all(word in message for word in words), message
    assert message.endswith("."), message


def test_an_unknown_map_is_an_unknown_name() -> None:
    assert issubclass(UnknownNameError, ConfigError)
    with pytest.raises(UnknownNameError):
        dop.make("skirmish:2s3zz")


def test_options_are_accepted_and_recorded() -> None:
    spec = dop.make("skirmish:3m", difficulty="easy", units="multiplayer", time_limit=7, reward_win=100, obs_last_action=True).spec
    recorded = dict(spec.options)
    assert (recorded["difficulty"], recorded["units"], recorded["time_limit"]) == ("easy", "multiplayer", 7)
    assert (recorded["reward_win"], recorded["obs_last_action"], spec.time_limit) == (100, True, 7)


def test_a_map_of_ones_own_has_a_version_of_its_own(tmp_path: Path) -> None:
    team = {"marine": [[10, 10]]}
    first = written(tmp_path, team, {"zealot": [[20, 10]]})
    assert first.spec.name == f"skirmish:{tmp_path / 'map.toml'}"
    assert (first.spec.n_agents, first.spec.time_limit) == (1, 50)
    assert written(tmp_path, team, {"zealot": [[20, 10]]}).spec.version == first.spec.version
    assert written(tmp_path, team, {"zealot": [[20, 11]]}).spec.version != first.spec.version
    assert np.asarray(first.reset(jax.random.key(0))[0].position).tolist() == [[10.0, 10.0], [20.0, 10.0]]
