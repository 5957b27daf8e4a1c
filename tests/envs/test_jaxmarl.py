"""JaxMARL's other environments: our adapter against JaxMARL's own step, ends at the limit and before it, options, and refused names."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import PRNGKeyArray

import dop.envs
from dop.envs.common import jaxmarl
from dop.envs.common.jaxmarl_tasks import REFUSED, TASKS
from dop.envs.jaxmarl import JaxMARL, variants
from dop.errors import ConfigError, UnknownNameError
from helpers import assert_trees_equal

compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiles in half the time
NOTHING, SWITCH, TELL = range(3)
DOCUMENTED = (Path(__file__).parents[2] / "docs" / "environments.md").read_text()
FAST_LIDAR = {"lidar_num_beams": 4, "lidar_max_range": 0.5}


def key(seed: int = 0) -> PRNGKeyArray:
    """A fresh one each time, so that JAX's check of key reuse stays quiet."""
    return jax.random.key(seed)


@functools.cache
def _made(variant: str, options: tuple[tuple[str, Any], ...]) -> tuple[JaxMARL, Any, Any]:
    environment = dop.envs.make(f"jaxmarl:{variant}", **dict(options))
    assert isinstance(environment, JaxMARL)
    game, agents = environment.game, environment.spec.agents

    def both(key: PRNGKeyArray, state: Any, action: Any) -> Any:
        with jaxmarl.quietly():
            return environment.step(key, state, action), game.step_env(key, state.inner, dict(zip(agents, action, strict=True)))

    return environment, compiled(environment.reset), compiled(both)


def made(variant: str, **options: Any) -> tuple[JaxMARL, Any, Any]:
    """The environment, its compiled `reset`, and its compiled `step`."""
    environment, reset, both = _made(variant, tuple(options.items()))
    return environment, reset, lambda *args: both(*args)[0]


def play(variant: str, actions: list[list[int]], seed: int = 0, **options: Any) -> tuple[Any, Any]:
    """The state and the step after these joint actions."""
    _, reset, step = made(variant, **options)
    state, answer = reset(key(seed))
    for t, action in enumerate(actions):
        state, answer = step(key(t), state, jnp.array(action))
    return state, answer


# ------------------------------------------------------------------------------------------------------------------------- names


def test_every_registered_name_is_taken_or_refused():
    registered = jaxmarl.import_quietly("jaxmarl").registered_envs
    assert set(TASKS) | set(REFUSED) == set(registered)
    assert not set(TASKS) & set(REFUSED)


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("MPE_simple_spread_v3", "family of its own: use the name mpe:spread"),
        ("humanoid_9|8", r"use the name mabrax:humanoid_9\|8"),
        ("HeuristicEnemySMAX", "use the name smax:MAP"),
        ("MPE_simple_tag_v3", "is competitive"),
        ("storm", "general-sum"),
        ("JaxRobotarium_rware", "needs jaxrobotarium"),
        ("make", "cannot be used directly"),
    ],
)
def test_refused_names_say_why(variant: str, words: str):
    with pytest.raises(ConfigError, match=words):
        dop.envs.make(f"jaxmarl:{variant}")


def test_names_that_the_refusals_give_exist():
    for sentence in REFUSED.values():
        if "use the name" in sentence:
            name = sentence.partition("use the name ")[2].split()[0].rstrip(".,").replace("smax:MAP", "smax:2s3z")
            assert name in dop.envs.names()


@pytest.mark.parametrize("variant", variants())
def test_specs_are_as_documented_and_made_again_from_their_options(variant: str):
    spec = made(variant)[0].spec
    assert dop.envs.make(spec.name, **dict(spec.options)).spec == spec
    row = next(line for line in DOCUMENTED.splitlines() if line.startswith(f"| `{spec.name}` |"))
    actions = f"{'box of ' if spec.action_kind == 'box' else ''}{spec.action_size}"
    sizes = (spec.n_agents, spec.obs_size, actions, spec.state_size, spec.time_limit)
    assert [cell.strip() for cell in row.split("|")[2:7]] == [str(size) for size in sizes]


@pytest.mark.parametrize(
    ("variant", "options", "words"),
    [
        ("overcooked", {"layout": "ring"}, "no layout 'ring'. Did you mean 'coord_ring'"),
        ("overcooked", {"reward": "mean"}, "all agents of jaxmarl:overcooked get the same reward"),
        ("overcooked", {"max_steps": 9}, "give time_limit=9 instead of max_steps"),
        ("overcooked", {"colour": 1}, r"cannot be made with these options: .*colour.* = \.\.\.,.*max_steps: int = 400"),
        ("overcooked", {"shaped_reward": float("nan")}, "shaped_reward is nan; it must be a finite number"),
        ("hanabi", {"shaped_reward": 1.0}, "has no shaped rewards; jaxmarl:overcooked, jaxmarl:overcooked_v2 have them"),
        ("hanabi", {"num_agents": 6}, "between 2 and 5"),
        ("switch_riddle", {"time_limit": 7}, "ends after 6 steps at the latest. Give at most 6"),
        ("switch_riddle", {"time_limit": 0}, "time_limit is 0"),
        ("coin_game", {"shared_rewards": False}, "a team needs jaxmarl:coin_game with True"),
        ("jaxnav", {"reward": "max"}, "reward is 'max'; it must be one of sum, mean"),
        ("switch_riddle", {"num_agents": 10**9}, "num_agents is 1000000000; it must be at most 10,000"),
        ("jaxnav", {"act_type": "discrete"}, "act_type is 'discrete'; it must be one of Discrete, Continuous"),
        ("MPE_simple_v3", {"num_agent": 1}, "no option of jaxmarl:MPE_simple_v3 called 'num_agent'. Did you mean 'num_agents'"),
        ("MPE_simple_facmac_v1", {"colours": 1}, "no option of jaxmarl:MPE_simple_facmac_v1 called 'colours'"),
        ("jaxnav", {"normalise_obs": False}, "cannot be made with these options: UnboundLocalError"),
    ],
)
def test_impossible_options(variant: str, options: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        dop.envs.make(f"jaxmarl:{variant}", **options)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'overcooked'"):
        dop.envs.make("jaxmarl:overcookd")


# ---------------------------------------------------------------------------------------------------------------- JaxMARL's own step


@pytest.mark.parametrize("variant", ["switch_riddle", "overcooked", "overcooked_v2", "hanabi", "coin_game"])
def test_a_step_is_jaxmarls_own(variant: str):
    environment, reset, both = _made(variant, ())
    agents, highest = environment.spec.agents, 1.0 if environment.highest is None else environment.highest
    state, answer = reset(key())
    assert not answer.reward
    for t in range(5):
        drawn = jax.random.uniform(key(t), answer.action_mask.shape) + answer.action_mask
        (state, answer), (obs, inner, rewards, dones, _) = both(key(t), state, jnp.argmax(drawn, axis=1))
        assert_trees_equal(jax.device_get(state.inner), jax.device_get(inner))
        assert {float(rewards[agent]) for agent in agents} == {float(answer.reward)}
        assert answer.terminated == dones["__all__"]
        np.testing.assert_allclose(answer.obs, [(obs[agent] / highest).ravel() for agent in agents], rtol=1e-6)
        if dones["__all__"]:
            break


# --------------------------------------------------------------------------------------------------------------------------- ends


def test_the_riddle_is_truncated_at_its_limit_unless_an_agent_tells():
    wait = [[NOTHING] * 3]
    _, step = play("switch_riddle", 5 * wait)
    assert not step.terminated
    assert not step.truncated
    _, step = play("switch_riddle", 6 * wait)
    assert step.truncated
    assert not step.terminated
    _, step = play("switch_riddle", [*5 * wait, [TELL] * 3])
    assert step.terminated
    assert not step.truncated
    assert abs(step.reward) == 1
    _, step = play("switch_riddle", [[TELL] * 3])
    assert step.terminated
    assert step.reward == -1  # nobody but the first was in the room


def test_only_the_agent_in_the_room_tells():
    _, reset, step = made("switch_riddle")
    state, _ = reset(key())
    tell = jnp.full(3, TELL).at[state.inner.agent_in_room].set(NOTHING)
    assert not step(key(), state, tell)[1].terminated


def test_a_shorter_limit_and_limits_that_terminate():
    assert play("switch_riddle", [[SWITCH] * 3] * 2, time_limit=2)[1].truncated
    step = play("switch_riddle", [[SWITCH] * 3] * 2, time_limit=2, limit_terminates=True)[1]
    assert step.terminated
    assert not step.truncated


@pytest.mark.parametrize("variant", ["overcooked", "overcooked_v2"])
def test_tasks_without_an_end_are_truncated(variant: str):
    for steps in (2, 3):
        step = play(variant, steps * [[4, 4]], time_limit=3)[1]
        assert step.truncated == (steps == 3)
        assert not step.terminated


def test_hanabi_terminates_and_its_limit_is_the_longest_game():
    environment, reset, step = made("hanabi")
    assert environment.spec.time_limit == 90  # 40 cards, 40 hints for discarding them, 8 hints at first, 2 last turns

    def longest(answer: Any) -> Any:
        """Hint while it is possible, else discard: no turn is cheaper."""
        hint = answer.action_mask[:, 10:20]
        discard = jnp.where(answer.action_mask[:, -1], 20, 0)
        return jnp.where(jnp.any(hint, axis=1), 10 + jnp.argmax(hint, axis=1), discard)

    turns, (state, answer) = 0, reset(key())
    while not answer.terminated:
        turns, (state, answer) = turns + 1, step(key(), state, longest(answer))
        assert not answer.truncated
    assert 88 <= turns <= 90


# ------------------------------------------------------------------------------------------------------------------ masks and rewards


def test_in_hanabi_all_but_one_can_only_do_nothing():
    _, reset, step = made("hanabi")
    state, answer = reset(key())
    for turn in range(3):
        waiting = answer.action_mask[1 - turn % 2]
        assert waiting[-1]
        assert waiting.sum() == 1
        assert not answer.action_mask[turn % 2, -1]
        action = jnp.array([20, 20]).at[turn % 2].set(5)  # plays its oldest card
        state, answer = step(key(), state, action)


def near_a_pot(state: Any) -> Any:
    """Both cooks of the cramped room hold an onion; the first looks at the pot from below."""
    inner = state.inner.replace(
        agent_pos=jnp.array([[2, 1], [3, 2]], jnp.uint32),
        agent_dir=jnp.array([[0, -1], [0, 1]], state.inner.agent_dir.dtype),
        agent_dir_idx=jnp.array([0, 1]),
        agent_inv=jnp.array([3, 3]),
    )
    return state._replace(inner=inner)


@pytest.mark.parametrize("coefficient", [None, 0.5])
def test_shaped_rewards_are_added_and_left_out_of_the_metric(coefficient: float | None):
    environment, reset, step = made("overcooked", **({} if coefficient is None else {"shaped_reward": coefficient}))
    interact = environment.spec.action_names[0].index("interact")
    _, answer = step(key(), near_a_pot(reset(key())[0]), jnp.array([interact, 4]))
    assert answer.reward == 3 * (coefficient or 0.0)  # JaxMARL's 3 for an onion in the pot
    assert answer.metrics == 0


def test_kitchens_are_scaled_and_their_state_is_what_one_cook_sees():
    environment, reset, _ = made("overcooked_v2")
    _, answer = reset(key())
    assert environment.spec.obs_bound == 1.0
    np.testing.assert_array_equal(answer.state, answer.obs[0])
    small = dop.envs.make("jaxmarl:overcooked_v2", agent_view_size=1).spec
    assert small.state_size == sum(small.obs_sizes) == 2 * 3 * 3 * 30
    features = dop.envs.make("jaxmarl:overcooked_v2", observation_type="featurized").spec
    assert features.obs_bound is None
    assert features.state_size == 2 * features.obs_sizes[0]


@pytest.mark.parametrize("variant", ["overcooked", "overcooked_v2"])
def test_layouts_have_names(variant: str):
    square, wide = (dop.envs.make(f"jaxmarl:{variant}", layout=layout).spec for layout in ("coord_ring", "asymm_advantages"))
    assert wide.obs_size / square.obs_size == 45 / 25


# ------------------------------------------------------------------------------------------------------------------------- JaxNav


@pytest.fixture(scope="module")
def robots() -> Any:
    """`robots(action, **fields)`: one step from a state with these fields of JaxNav's, at time `t` of 3."""
    _, reset, step = made("jaxnav", time_limit=3, **FAST_LIDAR)
    start, _ = reset(key())

    def run(t: int = 0, **fields: Any) -> Any:
        state = start._replace(inner=start.inner.replace(step=jnp.array(t), **fields), t=jnp.array(t))
        return step(key(), state, jnp.array([2, 2]))  # stand still

    return run


def test_robots_that_crashed_are_inactive(robots: Any):
    _, answer = robots(move_term=jnp.array([True, False]), goal_reached=jnp.array([False, False]))
    assert not answer.action_mask[0].any()
    assert answer.action_mask[1].all()
    np.testing.assert_array_equal(answer.metrics, [0, 0.5])
    assert not answer.terminated


@pytest.mark.parametrize("t", [0, 2])
def test_robots_that_all_arrived_or_crashed_terminate_even_at_the_limit(robots: Any, t: int):
    _, answer = robots(t, move_term=jnp.array([True, False]), goal_reached=jnp.array([False, True]))
    assert answer.terminated
    assert not answer.truncated
    np.testing.assert_array_equal(answer.metrics, [0.5, 0.5])


def test_robots_on_their_way_are_truncated(robots: Any):
    _, answer = robots(2, move_term=jnp.array([True, False]), goal_reached=jnp.array([False, False]))
    assert answer.truncated
    assert not answer.terminated


def test_rewards_of_robots_are_summed_or_averaged(robots: Any):
    _, answer = robots()
    rewards = dop.envs.make("jaxmarl:jaxnav", reward="mean", **FAST_LIDAR)
    assert isinstance(rewards, JaxMARL)
    own = [jnp.array(1.0), jnp.array(-4.0)]
    assert rewards._reward(own) == -1.5
    assert made("jaxnav", time_limit=3, **FAST_LIDAR)[0]._reward(own) == -3
    assert answer.reward.shape == ()


def test_boxes_are_scaled_to_jaxmarls_bounds():
    environment = made("jaxnav", act_type="Continuous", **FAST_LIDAR)[0]
    assert environment.spec.action_kind == "box"
    actions = environment._actions(jnp.array([[-1.0, -1.0], [1.0, 0.0]]))
    np.testing.assert_allclose(actions["agent_0"], [0, -np.pi / 6], rtol=1e-6)
    np.testing.assert_allclose(actions["agent_1"], [1, 0], atol=1e-6)


def test_the_state_of_robots_begins_with_the_map(robots: Any):
    state, answer = robots()
    walls = state.inner.map_data[1:-1, 1:-1].ravel()
    np.testing.assert_array_equal(answer.state[: walls.size], walls)
    np.testing.assert_array_equal(answer.state[-answer.obs.size :], answer.obs.ravel())


def test_nothing_is_printed(robots: Any, capsys: pytest.CaptureFixture[str]):
    environment = dop.envs.make("jaxmarl:jaxnav", **FAST_LIDAR)
    state, _ = jax.eval_shape(environment.reset, key())
    jax.eval_shape(environment.step, key(), state, jax.ShapeDtypeStruct((2,), jnp.int32))
    assert capsys.readouterr() == ("", "")


def test_hunters_are_the_team():
    environment = made("MPE_simple_facmac_v1")[0]
    actions = environment._actions(jnp.array([[-1.0, -1, -1, -1, -1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]))
    assert {agent: float(a[0]) for agent, a in actions.items()} == {"adversary_0": 0, "adversary_1": 1, "adversary_2": 0.5, "agent_0": 0}
    assert environment.spec.agents == tuple(actions)[:3]


def test_options_of_the_adapter_are_none_of_jaxmarls():
    own = set(inspect.signature(dop.envs.families()["jaxmarl"].make).parameters)
    environments = jaxmarl.import_quietly("jaxmarl.environments")
    for task in TASKS.values():
        assert not own & set(inspect.signature(getattr(environments, task.cls)).parameters) - {"options"}
