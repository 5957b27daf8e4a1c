from __future__ import annotations

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from dop import losses

NAN = float("nan")


class Team(NamedTuple):
    """One random episode: the arguments of the losses."""

    logits: Array
    q: Array
    k: Array
    action: Array
    mask: Array

    @property
    def policy(self) -> Array:
        return jax.nn.softmax(self.logits)


def make_team(seed: int = 0, *, time: int = 4, n: int = 3, n_actions: int = 4) -> Team:
    rng = np.random.default_rng(seed)
    logits, q = (jnp.asarray(rng.normal(size=(time, n, n_actions)), jnp.float32) for _ in range(2))
    k = jnp.asarray(rng.random((time, n)), jnp.float32)
    action = jnp.asarray(rng.integers(n_actions, size=(time, n)), jnp.int32)
    return Team(logits=logits, q=q, k=k, action=action, mask=jnp.arange(time) < max(1, time - 1))


def sampled(team: Team) -> Array:
    return losses.stochastic_dop_actor(team.policy, team.q, team.k, team.action, team.mask)


def expected(team: Team) -> Array:
    return losses.stochastic_dop_actor_expected(team.policy, team.q, team.k, team.mask)


@jax.jit
def sampled_gradient(team: Team) -> Array:
    return jax.grad(lambda logits: sampled(team._replace(logits=logits)))(team.logits)


@jax.jit
def expected_gradient(team: Team) -> Array:
    return jax.grad(lambda logits: expected(team._replace(logits=logits)))(team.logits)


BOTH = pytest.mark.parametrize("loss", [sampled, expected])


# ---------------------------------------------------------------------------------------------------------------- masked_mean


def test_masked_mean_by_hand() -> None:
    # (1 + 3 + 5 + 7) / 4; the second step is not valid
    x = jnp.array([[1.0, 3.0], [NAN, NAN], [5.0, 7.0]])
    for mask in (jnp.array([True, False, True]), jnp.array([1.0, 0.0, 1.0]), jnp.array([1, 0, 1])):
        assert losses.masked_mean(x, mask) == 4.0


def test_masked_mean_has_no_nan_in_its_gradient() -> None:
    x = jnp.array([1.0, NAN, 3.0])
    gradient = jax.grad(lambda x: losses.masked_mean(x, jnp.array([True, False, True])))(x)
    np.testing.assert_array_equal(gradient, [0.5, 0.0, 0.5])


def test_masked_mean_of_nothing_is_0() -> None:
    nothing = jnp.zeros(2, bool)
    value, gradient = jax.value_and_grad(lambda x: losses.masked_mean(x, nothing))(jnp.array([NAN, 1.0]))
    assert value == 0.0
    np.testing.assert_array_equal(gradient, [0.0, 0.0])


def test_masked_mean_with_a_mask_of_two_axes() -> None:
    x = jnp.arange(12.0).reshape(2, 2, 3)
    mask = jnp.array([[True, False], [False, True]])
    assert losses.masked_mean(x, mask) == np.mean([0, 1, 2, 9, 10, 11])


# ----------------------------------------------------------------------------------------------------------------- the actors


def test_gradient_is_equation_9_with_the_aristocrat_utility() -> None:
    """d log softmax_a / d logits = onehot(a) - pi, so Eq. 9 can be written out term by term."""
    team = make_team()
    pi, q, k, action = (np.asarray(x) for x in (team.policy, team.q, team.k, team.action))
    time, n = action.shape
    ascent = np.zeros_like(pi)
    for t, i in itertools.product(range(time - 1), range(n)):
        a = action[t, i]
        baseline = np.sum(pi[t, i] * q[t, i])
        ascent[t, i] = k[t, i] * (q[t, i, a] - baseline) * (np.eye(pi.shape[-1])[a] - pi[t, i])
    np.testing.assert_allclose(sampled_gradient(team), -ascent / ((time - 1) * n), atol=1e-6)


def test_expected_gradient_is_the_mean_sampled_gradient() -> None:
    team = make_team(time=1, n=2, n_actions=3)
    joint = jnp.array(list(itertools.product(range(3), repeat=2)), jnp.int32)
    probability = jnp.prod(team.policy[0][jnp.arange(2), joint], axis=-1)
    gradients = jax.vmap(lambda a: sampled_gradient(team._replace(action=a[None])))(joint)
    mean = jnp.tensordot(probability, gradients, axes=1)
    np.testing.assert_allclose(expected_gradient(team), mean, atol=1e-6)
    assert jnp.max(jnp.abs(mean)) > 1e-3


def test_expected_gradient_matches_finite_differences() -> None:
    """In logits, of E_pi[Q_tot] with q and k held fixed: the baseline has no gradient in expectation."""
    team = make_team(time=1, n=2, n_actions=3)

    def value(logits: np.ndarray) -> float:
        weight = np.exp(logits - logits.max(axis=-1, keepdims=True))
        pi = weight / weight.sum(axis=-1, keepdims=True)
        return float(np.sum(np.asarray(team.k, np.float64) * np.sum(pi * np.asarray(team.q, np.float64), axis=-1)))

    logits, h = np.asarray(team.logits, np.float64), 1e-5
    slope = np.zeros_like(logits)
    for index in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[index] = h
        slope[index] = (value(logits + step) - value(logits - step)) / (2 * h)
    np.testing.assert_allclose(expected_gradient(team), -slope / 2, atol=1e-6)


def test_utility_averages_to_0_under_the_policy() -> None:
    team = make_team()
    utility = losses.aristocrat_utility(team.policy, team.q, team.k)
    np.testing.assert_allclose(jnp.sum(team.policy * utility, axis=-1), 0.0, atol=1e-6)
    assert jnp.max(jnp.abs(utility)) > 0.1


@BOTH
def test_padding_changes_nothing(loss) -> None:
    team = make_team()
    short = Team(*(x[:-1] for x in team))
    padding = ~team.mask
    garbage = team._replace(
        q=jnp.where(padding[:, None, None], NAN, team.q),
        k=jnp.where(padding[:, None], NAN, team.k),
        logits=jnp.where(padding[:, None, None], NAN, team.logits),
    )

    def of_policy(team: Team, policy: Array) -> Array:
        if loss is sampled:
            return losses.stochastic_dop_actor(policy, team.q, team.k, team.action, team.mask)
        return losses.stochastic_dop_actor_expected(policy, team.q, team.k, team.mask)

    value, gradient = jax.value_and_grad(lambda p: of_policy(short, p))(short.policy)
    padded_value, padded_gradient = jax.value_and_grad(lambda p: of_policy(garbage, p))(garbage.policy)
    np.testing.assert_allclose(padded_value, value, rtol=1e-6)
    np.testing.assert_allclose(padded_gradient[:-1], gradient, rtol=1e-6)
    np.testing.assert_array_equal(padded_gradient[-1], jnp.zeros_like(gradient[0]))


@pytest.mark.parametrize("gradient", [sampled_gradient, expected_gradient])
def test_permuting_agents_permutes_the_gradient(gradient) -> None:
    team, order = make_team(), jnp.array([2, 0, 1])
    permuted = Team(*(x[:, order] for x in team[:-1]), mask=team.mask)
    np.testing.assert_allclose(gradient(permuted), gradient(team)[:, order], atol=1e-7)


@pytest.mark.parametrize("gradient", [sampled_gradient, expected_gradient])
def test_k_scales_the_gradient(gradient) -> None:
    team = make_team()
    np.testing.assert_allclose(gradient(team._replace(k=3 * team.k)), 3 * gradient(team), rtol=1e-4, atol=1e-6)
    without_first = gradient(team._replace(k=team.k.at[:, 0].set(0)))
    np.testing.assert_array_equal(without_first[:, 0], 0.0)
    np.testing.assert_allclose(without_first[:, 1:], gradient(team)[:, 1:], rtol=1e-6)


@BOTH
def test_no_gradient_flows_into_the_critic(loss) -> None:
    team = make_team()
    to_q, to_k = jax.grad(lambda q, k: loss(team._replace(q=q, k=k)), argnums=(0, 1))(team.q, team.k)
    np.testing.assert_array_equal(to_q, 0.0)
    np.testing.assert_array_equal(to_k, 0.0)


def test_ratio_weights_the_steps_and_has_no_gradient() -> None:
    team = make_team()
    ratio = jnp.array([0.5, 2.0, 1.0, NAN])

    def weighted(logits: Array, ratio: Array) -> Array:
        return losses.stochastic_dop_actor(jax.nn.softmax(logits), team.q, team.k, team.action, team.mask, ratio)

    to_logits, to_ratio = jax.grad(weighted, argnums=(0, 1))(team.logits, ratio)
    np.testing.assert_allclose(to_logits[:3], sampled_gradient(team)[:3] * ratio[:3, None, None], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(to_ratio, 0.0)
    np.testing.assert_allclose(weighted(team.logits, jnp.ones(4)), sampled(team), rtol=1e-6)


# --------------------------------------------------------------------------------------------------------- entropy and scales


def test_entropy() -> None:
    policy = jnp.array([[0.25, 0.25, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0], [0.5, 0.25, 0.25, 0.0]])
    # 1/2 log 2 + 2/4 log 4 = 3/2 log 2
    np.testing.assert_allclose(losses.entropy(policy), [np.log(4), 0.0, 1.5 * np.log(2)], rtol=1e-6)


def test_entropy_has_a_finite_gradient_at_probability_0() -> None:
    gradient = jax.grad(losses.entropy)(jnp.array([0.0, 0.25, 0.75]))
    # -log p - 1, and 0 where the action is impossible
    np.testing.assert_allclose(gradient, [0.0, np.log(4) - 1, np.log(4 / 3) - 1], rtol=1e-5)


def test_utility_rms_equals_the_sums_written_out() -> None:
    rng = np.random.default_rng(0)
    utility, action_mask = rng.normal(size=(4, 3, 5)).astype(np.float32), rng.random((4, 3, 5)) < 0.5
    action_mask[..., 0] = True
    mask = np.array([True, True, False, True])
    utility[2] = np.nan
    squares = [np.mean(utility[t, i][action_mask[t, i]] ** 2) for t in range(4) if mask[t] for i in range(3)]
    got = losses.utility_rms(jnp.asarray(utility), jnp.asarray(action_mask), jnp.asarray(mask))
    np.testing.assert_allclose(got, np.sqrt(np.mean(squares)), rtol=1e-5)


# ------------------------------------------------------------------------------------------------------------- critic_weights

STEPS = jnp.array([[True, True, True, True], [True, False, True, False]])
OFF_POLICY = jnp.array([[False, False, True, True], [False, False, True, True]])


def test_critic_weights_without_kappa_are_one_mean() -> None:
    got = losses.critic_weights(STEPS, OFF_POLICY, None, 1)
    np.testing.assert_allclose(got, [[1 / 4, 1 / 4, 1 / 4, 1 / 4], [1 / 2, 0, 1 / 2, 0]])


def test_critic_weights_with_kappa_are_split_by_kind() -> None:
    got = losses.critic_weights(STEPS, OFF_POLICY, 0.75, 1)
    np.testing.assert_allclose(got, [[1 / 8, 1 / 8, 3 / 8, 3 / 8], [1 / 4, 0, 3 / 4, 0]])


@pytest.mark.parametrize("kappa", [None, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
def test_critic_weights_sum_to_1_with_both_kinds(kappa: float | None, axis: int | tuple[int, ...]) -> None:
    both = jnp.array([[True, False], [False, True]])
    weights = losses.critic_weights(jnp.ones((2, 2), bool), both, kappa, axis)
    np.testing.assert_allclose(jnp.sum(weights, axis=axis), 1.0)


def test_critic_weights_over_both_axes() -> None:
    # 3 on-policy steps have total weight 1/4, 3 off-policy steps 3/4
    got = losses.critic_weights(STEPS, OFF_POLICY, 0.75, (0, 1))
    np.testing.assert_allclose(got, [[1 / 12, 1 / 12, 1 / 4, 1 / 4], [1 / 12, 0, 1 / 4, 0]], rtol=1e-6)


def test_critic_weights_of_a_missing_kind_are_lost() -> None:
    only_on = jnp.array([[True, True, False, False], [False, False, False, False]])
    np.testing.assert_allclose(losses.critic_weights(only_on, OFF_POLICY, 0.75, 1), [[1 / 8, 1 / 8, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(losses.critic_weights(only_on, OFF_POLICY, None, 1), [[1 / 2, 1 / 2, 0, 0], [0, 0, 0, 0]])


# --------------------------------------------------------------------------------------------------------------------- PPO


def test_clipped_actor_by_hand() -> None:
    # clip 0.2; min(rho A, clip(rho) A): 1.1 2 = 2.2;  1.2 2 = 2.4 for rho = 1.5;  -1.5 2 = -3;  0.8 (-1) = -0.8 for rho = 0.5
    # mean (2.2 + 2.4 - 3 - 0.8) / 4 = 0.2; the last entry does not count
    ratio, advantage = jnp.array([1.1, 1.5, 1.5, 0.5, NAN]), jnp.array([2.0, 2.0, -2.0, -1.0, NAN])
    mask = jnp.array([True, True, True, True, False])
    assert float(losses.clipped_actor(ratio, advantage, 0.2, mask)) == pytest.approx(-0.2, abs=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "slope"),
    [(1.19, 1.0, -1), (1.21, 1.0, 0), (1.21, -1.0, 1), (0.81, -1.0, 1), (0.79, -1.0, 0), (0.79, 1.0, -1)],
)
def test_a_ratio_beyond_the_clip_has_no_gradient_on_its_advantages_side(ratio: float, advantage: float, slope: float) -> None:
    loss = lambda ratio, advantage: losses.clipped_actor(ratio, advantage, 0.2, jnp.ones(1, bool))  # noqa: E731
    of_ratio, of_advantage = jax.grad(loss, (0, 1))(jnp.array([ratio]), jnp.array([advantage]))
    np.testing.assert_allclose(of_ratio, [slope * abs(advantage)])
    assert float(of_advantage[0]) == 0


def test_clipped_critic_by_hand() -> None:
    # clip 0.5, old 0. V = 0.4, y = 1: 0.36;  V = 2, y = 1: clipped 0.5, max(1, 0.25) = 1;  V = 2, y = 2: max(0, 2.25) = 2.25
    # 1/2 mean = (0.36 + 1 + 2.25) / 6; the last entry does not count
    value, target, old = jnp.array([0.4, 2.0, 2.0, NAN]), jnp.array([1.0, 1.0, 2.0, NAN]), jnp.zeros(4)
    mask = jnp.array([True, True, True, False])
    assert float(losses.clipped_critic(value, old, target, 0.5, mask)) == pytest.approx(3.61 / 6, rel=1e-6)
    assert float(losses.clipped_critic(value, old, target, None, mask)) == pytest.approx(1.36 / 6, rel=1e-6)


@pytest.mark.parametrize(("value", "target", "slope"), [(0.4, 1.0, -0.6), (0.6, 1.0, 0.0), (0.6, 0.2, 0.4), (-0.6, -1.0, 0.0)])
def test_a_value_beyond_the_clip_has_no_gradient_towards_its_target(value: float, target: float, slope: float) -> None:
    loss = lambda value, target: losses.clipped_critic(value, jnp.zeros(1), target, 0.5, jnp.ones(1, bool))  # noqa: E731
    of_value, of_target = jax.grad(loss, (0, 1))(jnp.array([value]), jnp.array([target]))
    np.testing.assert_allclose(of_value, [slope], rtol=1e-5)
    assert float(of_target[0]) == 0
