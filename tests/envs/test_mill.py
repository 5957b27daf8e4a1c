"""Mill: the stone's dynamics, the rewards, and the best return."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, PRNGKeyArray

import dop.envs
from dop import policies
from dop.envs.mill import Mill, Stone, make
from dop.errors import ConfigError, UnknownNameError
from dop.types import TimeStep

FULL, NONE, BACK = (1.0, 0.0), (0.5, 0.5), (0.0, 1.0)


def key(seed: int = 0) -> PRNGKeyArray:
    """A fresh one each time, so that JAX's check of key reuse stays quiet."""
    return jax.random.key(seed)


def team(*actions: tuple[float, float], n: int = 10) -> Float[Array, "agent 2"]:
    """The first agents' actions as given, the others' as the last of them."""
    return jnp.array([*actions, *[actions[-1]] * (n - len(actions))])


def play(game: Mill, actions: Float[Array, "time agent 2"]) -> tuple[Stone, TimeStep]:
    """The state and step after each joint action, also past the end of the episode."""
    state, _ = game.reset(key())

    def advance(state: Stone, action: Array) -> tuple[Stone, tuple[Stone, TimeStep]]:
        state, step = game.step(key(), state, action)
        return state, (state, step)

    return jax.lax.scan(advance, state, actions)[1]


def one_step(omega: float, *, steps: int = 0, action: tuple[float, float] = NONE) -> tuple[Stone, TimeStep]:
    state = Stone(omega=jnp.array(omega), steps=jnp.array(steps, jnp.int32))
    return make().step(key(), state, team(action))


def test_the_papers_sizes():
    spec = dop.envs.make("mill").spec
    assert (spec.n_agents, spec.time_limit, spec.action_kind, spec.action_size) == (10, 10, "simplex", 2)
    assert (spec.obs_size, spec.state_size) == (12, 2)


def test_three_steps_by_hand():
    # 2 * 10 = 20;   0.95 * 20 + 2 * (9 - 1) = 35;   0.95 * 35 + 2 * 10 * (0.25 - 0.75) = 23.25
    stones, steps = play(make(), jnp.stack([team(FULL), team(BACK, FULL), team((0.25, 0.75))]))
    np.testing.assert_allclose(stones.omega, [20.0, 35.0, 23.25], rtol=1e-6)
    np.testing.assert_array_equal(steps.reward, [0.0, 3.0, 0.0])
    np.testing.assert_allclose(steps.state, [[0.2, 0.1], [0.35, 0.2], [0.2325, 0.3]], rtol=1e-6)
    np.testing.assert_allclose(steps.obs[1], np.concatenate([np.tile([0.35, 0.2], (10, 1)), np.eye(10)], axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    ("before", "steps", "reward", "ended"),
    [
        # 0.95 of the previous omega, since the forces sum to 0
        (31.0, 0, 0.0, False),  # 29.45
        (32.0, 0, 3.0, False),  # 30.4
        (105.0, 0, 3.0, False),  # 99.75
        (106.0, 0, 10.0, True),  # 100.7: the 10 alone
        (50.0, 8, 3.0, False),  # the ninth step
        (50.0, 9, -10.0, True),  # the tenth: lost, though it turns
        (106.0, 9, 10.0, True),
    ],
)
def test_the_reward_of_a_step(before: float, steps: int, reward: float, ended: bool):
    _, step = one_step(before, steps=steps)
    assert (float(step.reward), bool(step.terminated), bool(step.truncated)) == (reward, ended, False)
    assert float(step.metrics[0]) == (reward == 10.0)


def test_discrete_actions_are_the_corners():
    numbers = make(actions="discrete")
    state, _ = numbers.step(key(), Stone(omega=jnp.array(0.0), steps=jnp.array(0)), jnp.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
    assert state.omega == 16.0


def length_and_return(wrong: int, *, n_steps: int = 10) -> tuple[int | None, float]:
    """The fastest play if `wrong` agents always push the wrong way: the winning step, if any, and the return."""
    _, steps = play(make(), jnp.tile(team(*[BACK] * wrong, FULL), (n_steps, 1, 1)))
    end = int(np.argmax(steps.terminated))
    return (end + 1 if steps.metrics[end, 0] else None), float(steps.reward[: end + 1].sum())


def test_one_agent_may_be_wrong_and_two_may_not():
    # omega_t is 400, 320 and 240 times 1 - 0.95^t. It passes 100 at t = 6, at t = 8, and not at all (96.3 at t = 10); it passes 30 at
    # t = 2, 2 and 3. Returns: 4 x 3 + 10,  6 x 3 + 10,  7 x 3 - 10.
    assert [length_and_return(wrong) for wrong in (0, 1, 2)] == [(6, 22.0), (8, 28.0), (None, 11.0)]


def test_the_best_return_is_34_and_the_script_reaches_it():
    game = make()

    def advance(carry: tuple[Stone, TimeStep], _: None) -> tuple[tuple[Stone, TimeStep], TimeStep]:
        state, step = carry
        carry = game.step(key(), state, jax.vmap(game.scripted)(step.obs))
        return carry, carry[1]

    _, steps = jax.lax.scan(advance, game.reset(key()), length=10)
    np.testing.assert_array_equal(steps.reward, [0, 3, 3, 3, 3, 3, 3, 3, 3, 10])
    np.testing.assert_array_equal(steps.terminated, [False] * 9 + [True])
    assert best_return(game) == 34.0 == steps.reward.sum()


def best_return(game: Mill) -> float:
    """An upper bound on the return: the interval of reachable omegas after each step, for each sum of rewards."""
    push = game.n_agents * game.alpha
    reach = {0.0: (0.0, 0.0)}
    ends: set[float] = set()
    for t in range(1, 11):
        after: dict[float, tuple[float, float]] = {}
        for total, (low, high) in reach.items():
            low_now, high_now = (1 - game.friction) * low - push, (1 - game.friction) * high + push
            if high_now > 100:
                ends.add(total + 10)
            if t == 10:
                ends.add(total - 10)
            for reward, bottom, top in ((0.0, -np.inf, 30.0), (3.0, 30.0, 100.0)):
                if max(low_now, bottom) < min(high_now, top):
                    was_low, was_high = after.get(total + reward, (np.inf, -np.inf))
                    # The union of two intervals may have a hole; filling it only adds reachable omegas, so the bound stays valid.
                    after[total + reward] = min(was_low, max(low_now, bottom)), max(was_high, min(high_now, top))
        reach = after
    return max(ends)


def fraction_that_turns(game: Mill, episodes: int) -> float:
    """The fraction of random episodes in which omega exceeds 30."""
    draw = functools.partial(policies.random_action, kind=game.spec.action_kind)
    action_mask = jnp.ones((10, 10, 2), bool)

    def episode(start: PRNGKeyArray) -> Array:
        actions = jax.vmap(jax.vmap(draw))(jax.random.split(start, (10, 10)), action_mask)
        return jnp.any(play(game, actions)[0].omega > 30.0)

    return float(jax.jit(jax.vmap(episode))(jax.random.split(key(), episodes)).mean())


@pytest.mark.parametrize(("actions", "fraction", "error"), [("simplex", 0.00104, 0.0005), ("discrete", 0.059, 0.005)])
def test_how_often_random_play_turns_the_stone(actions: str, fraction: float, error: float):
    """The documented figures; of 100,000 episodes the standard errors are 0.0001 and 0.0007."""
    assert fraction_that_turns(make(actions=actions), 100_000) == pytest.approx(fraction, abs=error)


def test_the_bound_of_observations_holds_at_full_force_backwards():
    game = make(n_agents=4, alpha=20.0, friction=0.2)
    _, steps = play(game, jnp.tile(team(BACK, n=4), (10, 1, 1)))
    bound = game.spec.obs_bound
    assert bound is not None
    assert 0.9 * bound < jnp.abs(steps.state).max() <= bound


def test_the_options_of_the_spec_make_the_same_game():
    game = make(n_agents=3, alpha=7.0, friction=0.0, actions="discrete")
    assert dop.envs.make("mill", **dict(game.spec.options)) == game
    for options in ({}, dict(game.spec.options)):
        dop.envs.validate(dop.envs.make("mill", **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_agents": 0}, "n_agents is 0"),
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"friction": 1.5}, r"friction is 1.5; it must lie in \[0, 1\]"),
        ({"friction": float("nan")}, "friction is nan"),
        ({"actions": "box"}, "actions is 'box'; it must be one of simplex, discrete"),
    ],
)
def test_impossible_options(options: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_it_has_no_variants():
    with pytest.raises(UnknownNameError, match="mill:big"):
        dop.envs.make("mill:big")
