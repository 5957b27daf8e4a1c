"""SMAX: our adapter against JaxMARL's own step, and the ends of constructed battles."""

import functools
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import PRNGKeyArray

from dop.envs.common import jaxmarl
from dop.envs.smax import Smax, make, variants
from dop.errors import ConfigError

compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiles in half the time
STOP = 4
SHOOT_FIRST = 5
N = 3  # allies, and enemies, of 3m


def key() -> PRNGKeyArray:
    """A fresh one each time, so that JAX's check of key reuse stays quiet."""
    return jax.random.key(0)


@pytest.fixture(scope="module")
def marines() -> Smax:
    return make("3m")


@pytest.fixture(scope="module")
def start(marines: Smax) -> Any:
    return compiled(marines.reset)(key())[0]


@pytest.fixture(scope="module")
def play(marines: Smax, start: Any) -> Any:
    """One step from a constructed battle: `play(action, **fields)` with `fields` of JaxMARL's battle state."""
    step = compiled(marines.step)

    def run(action: int, **fields: Any) -> tuple[Any, Any]:
        return step(key(), start.replace(state=start.state.replace(**fields)), jnp.full(N, action))

    return run


def battle_fields(*, allies: list[float], enemies: list[float], **fields: Any) -> dict[str, Any]:
    """All units in range of each other, with the given health; 0 is dead."""
    health = jnp.array([*allies, *enemies])
    x = jnp.array([14.0] * N + [16.0] * N)
    y = jnp.array([14.0, 16.0, 18.0] * 2)
    return {"unit_health": health, "unit_alive": health > 0, "unit_positions": jnp.stack([x, y], axis=1)} | fields


def test_every_map_of_jaxmarl_is_listed_and_one_of_the_paper():
    table = jaxmarl.import_quietly("jaxmarl.environments.smax.smax_env").MAP_NAME_TO_SCENARIO
    assert set(variants()) == {*table, "3s_vs_3z"}


def test_importing_jaxmarl_prints_nothing_and_leaves_the_streams_alone(capsys: pytest.CaptureFixture[str]):
    before = (sys.stdout, sys.stderr, sys.__stdout__)
    for module in [name for name in sys.modules if name == "jaxmarl" or name == "jaxmarl.environments"]:
        pytest.MonkeyPatch().delitem(sys.modules, module)
    jaxmarl.import_quietly("jaxmarl.environments")
    assert (sys.stdout, sys.stderr, sys.__stdout__) == before
    assert capsys.readouterr().out == ""


def test_three_stalkers_against_three_zealots():
    environment = make("3s_vs_3z")
    _, first = compiled(environment.reset)(key())
    types = first.state.reshape(6, 10)[:, 4:]
    np.testing.assert_array_equal(jnp.argmax(types, axis=1), [2, 2, 2, 3, 3, 3])
    assert (environment.spec.n_agents, environment.spec.action_size) == (3, 8)


@pytest.mark.parametrize(("variant", "limit"), [("3m", 60), ("2s3z", 100), ("27m_vs_30m", 100)])
def test_time_limits(variant: str, limit: int):
    assert make(variant).spec.time_limit == limit


def test_a_step_is_jaxmarls_own(marines: Smax, start: Any, play: Any):
    battle, step = play(STOP)
    actions = {agent: jnp.array(STOP) for agent in marines.spec.agents}
    obs, theirs, reward, _, _ = compiled(marines.game.step_env)(key(), start, actions)
    np.testing.assert_allclose(battle.state.unit_positions, theirs.state.unit_positions, rtol=1e-6)
    np.testing.assert_allclose(step.obs, np.stack([obs[agent] for agent in marines.spec.agents]), rtol=1e-6)
    np.testing.assert_allclose(step.reward, 10 * reward["ally_0"])


def test_the_state_is_the_scaled_world_state(play: Any):
    fields = battle_fields(allies=[45.0, 9.0, 0.0], enemies=[45.0, 45.0, 45.0], unit_weapon_cooldowns=jnp.array([50.0, -50.0, 0, 0, 0, 0]))
    battle, step = play(STOP, **fields)
    units = step.state.reshape(2 * N, 10)
    alive = np.asarray(battle.state.unit_alive)
    np.testing.assert_allclose(units[:, 0], battle.state.unit_health / 45, rtol=1e-6)
    np.testing.assert_allclose(units[alive, 1:3], battle.state.unit_positions[alive] / 32, rtol=1e-6)
    np.testing.assert_array_equal(units[:2, 3], [1.0, 0.0])
    np.testing.assert_array_equal(units[~alive], np.zeros((int((~alive).sum()), 10)))


def test_a_victory_terminates_with_a_reward(play: Any):
    # Three marines hit the first enemy, the last one alive, for 9 each: its 9 of 45 are lost, a third of 1/5 of the enemies' health.
    _, step = play(SHOOT_FIRST, **battle_fields(allies=[45.0] * 3, enemies=[9.0, 0.0, 0.0]))
    assert (step.terminated, step.truncated) == (True, False)
    np.testing.assert_array_equal(step.metrics, [1.0])
    assert step.reward == pytest.approx(10 * (1 + 9 / 45 / 3))


def test_a_defeat_terminates_and_is_not_won(play: Any):
    _, step = play(STOP, **battle_fields(allies=[9.0, 0.0, 0.0], enemies=[45.0] * 3))
    assert (step.terminated, step.truncated, step.reward) == (True, False, 0.0)
    np.testing.assert_array_equal(step.metrics, [0.0])


def test_a_draw_is_not_won(play: Any):
    # Both last marines shoot at once, 9 each, and both die.
    battle, step = play(SHOOT_FIRST, **battle_fields(allies=[9.0, 0.0, 0.0], enemies=[9.0, 0.0, 0.0]))
    assert not battle.state.unit_alive.any()
    assert (step.terminated, step.truncated) == (True, False)
    assert step.reward == pytest.approx(10 * 9 / 45 / 3)
    np.testing.assert_array_equal(step.metrics, [0.0])


def test_the_time_limit_truncates_exactly(play: Any):
    for taken, truncated in [(58, False), (59, True)]:
        _, step = play(STOP, step=jnp.array(taken))
        assert (step.terminated, step.truncated) == (False, truncated)


def test_an_end_at_the_time_limit_is_termination(play: Any):
    _, step = play(SHOOT_FIRST, **battle_fields(allies=[45.0] * 3, enemies=[9.0, 0.0, 0.0], step=jnp.array(59)))
    assert (step.terminated, step.truncated) == (True, False)


def test_the_dead_only_stop_and_the_living_shoot_at_the_living(play: Any):
    fields = battle_fields(allies=[45.0, 45.0, 0.0], enemies=[45.0, 45.0, 0.0])
    _, step = play(STOP, **fields)
    np.testing.assert_array_equal(step.action_mask[2], [0, 0, 0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(step.action_mask[0], [1, 1, 1, 1, 1, 1, 1, 0])


def test_positions_off_the_map_are_clipped(marines: Smax, start: Any):
    positions = start.state.unit_positions.at[0].set(jnp.array([-2.0, 33.0]))
    off_map = start.replace(state=start.state.replace(unit_positions=positions))

    @compiled
    def observe(state: Any) -> Any:
        raw = {**marines.game.get_obs(state), "world_state": marines.game.get_world_state(state)}
        return raw, marines._time_step(state, raw, jnp.zeros(()))

    raw, step = observe(off_map)
    assert raw["ally_0"][-8] > 1.0
    np.testing.assert_array_equal(step.obs[0, -9:-7], [-2.0 / 32, 1.0])
    np.testing.assert_array_equal(step.state[1:3], [0.0, 1.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time_limit": 0}, "time_limit is 0"),
        ({"time_limit": True}, "time_limit is True"),
        ({"reward_scale": 0.0}, "reward_scale is 0.0"),
        ({"reward_scale": float("inf")}, "reward_scale is inf"),
        ({"attack_mode": "weakest"}, "attack_mode is 'weakest'.*closest, random"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        make("3m", **options)


def test_hidden_enemy_actions_change_only_observations_of_enemies(play: Any):
    state, seen = play(STOP, **battle_fields(allies=[45.0] * 3, enemies=[45.0] * 3))
    hidden = compiled(make("3m", see_enemy_actions=False).game.get_obs)(state)["ally_0"]
    n_allies, moves_and_target = 2, slice(3, 6)
    ours, theirs = hidden[:-10].reshape(5, 13), seen.obs[0, :-10].reshape(5, 13)
    np.testing.assert_array_equal(ours[n_allies:, moves_and_target], np.zeros((3, 3)))
    assert jnp.abs(theirs[n_allies:, moves_and_target]).max() > 0
    np.testing.assert_allclose(ours[:n_allies], theirs[:n_allies], rtol=1e-6)


def test_agents_have_unit_types_unless_these_are_drawn():
    assert make("2s3z").spec.types == ("stalker",) * 2 + ("zealot",) * 3
    assert make("smacv2_5_units").spec.types == ()
