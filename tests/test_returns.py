from __future__ import annotations

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dop import policies
from dop.returns import expected_q, gae, sampled_q, td_lambda, tree_backup

SEEDS = st.integers(0, 2**31 - 1)
REWARD = jnp.array([1.0, 2.0, 3.0])
Q_NEXT = jnp.array([4.0, 6.0, 8.0])


def test_td_lambda_by_hand() -> None:
    # gamma = lambda = 1/2, truncated by the time limit after the third step:
    #   G_2 = 3 + 1/2 (1/2 8 + 1/2 8)    = 7
    #   G_1 = 2 + 1/2 (1/2 6 + 1/2 7)    = 5.25
    #   G_0 = 1 + 1/2 (1/2 4 + 1/2 5.25) = 3.3125
    got = td_lambda(REWARD, jnp.full(3, 0.5), Q_NEXT, 0.5)
    np.testing.assert_allclose(got, [3.3125, 5.25, 7.0])


def test_td_lambda_by_hand_terminated() -> None:
    # The same, but the third step terminates: its discount is 0 and the 8 is ignored.
    #   G_2 = 3,   G_1 = 2 + 1/2 (1/2 6 + 1/2 3) = 4.25,   G_0 = 1 + 1/2 (1/2 4 + 1/2 4.25) = 3.0625
    got = td_lambda(REWARD, jnp.array([0.5, 0.5, 0.0]), Q_NEXT, 0.5)
    np.testing.assert_allclose(got, [3.0625, 4.25, 3.0])


def test_td_lambda_at_0_is_one_step() -> None:
    np.testing.assert_allclose(td_lambda(REWARD, jnp.full(3, 0.9), Q_NEXT, 0.0), REWARD + 0.9 * Q_NEXT)


def test_td_lambda_at_1_is_monte_carlo_with_a_bootstrap() -> None:
    # 1 + .9 2 + .81 3 + .729 8,   2 + .9 3 + .81 8,   3 + .9 8
    got = td_lambda(REWARD, jnp.full(3, 0.9), Q_NEXT, 1.0)
    np.testing.assert_allclose(got, [11.062, 11.18, 10.2], rtol=1e-6)


def test_td_lambda_per_step_ignores_padding() -> None:
    garbage = jnp.array([1e3, -1e3])
    lambdas = jnp.array([0.5, 0.5, 0.0, 0.5, 0.5])
    got = td_lambda(jnp.append(REWARD, garbage), jnp.full(5, 0.5), jnp.append(Q_NEXT, garbage), lambdas)
    np.testing.assert_allclose(got[:3], td_lambda(REWARD, jnp.full(3, 0.5), Q_NEXT, 0.5))


def test_gae_by_hand() -> None:
    # gamma = lambda = 1/2, V = (2, 4, 6), cut by the time limit after the third step, where V = 8:
    #   delta = r + 1/2 V' - V = (1 + 2 - 2, 2 + 3 - 4, 3 + 4 - 6) = (1, 1, 1)
    #   A_2 = 1,   A_1 = 1 + 1/4 1 = 1.25,   A_0 = 1 + 1/4 1.25 = 1.3125
    value = jnp.array([2.0, 4.0, 6.0])
    np.testing.assert_allclose(gae(REWARD, jnp.full(3, 0.5), value, Q_NEXT, 0.5), [1.3125, 1.25, 1.0])
    # Terminated instead: delta_2 = 3 - 6 = -3,   A_1 = 1 - 3/4 = 0.25,   A_0 = 1 + 1/16 = 1.0625
    np.testing.assert_allclose(gae(REWARD, jnp.array([0.5, 0.5, 0.0]), value, Q_NEXT, 0.5), [1.0625, 0.25, -3.0])


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, lambda_=st.sampled_from([0.0, 0.3, 0.95, 1.0]))
def test_gae_is_the_decayed_sum_of_td_errors(seed: int, lambda_: float) -> None:
    """By brute force. At lambda 0 it is the TD error, at 1 the discounted return with its bootstrap, minus the value."""
    rng = np.random.default_rng(seed)
    reward, values, gamma = rng.normal(size=6), rng.normal(size=7), 0.9
    delta = reward + gamma * values[1:] - values[:-1]
    expected = [sum((gamma * lambda_) ** (j - t) * delta[j] for j in range(t, 6)) for t in range(6)]
    given = {"reward": reward, "discount": np.full(6, gamma), "value": values[:-1], "value_next": values[1:]}
    got = gae(**{name: jnp.asarray(x) for name, x in given.items()}, lambda_=lambda_)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    if lambda_ == 0:
        np.testing.assert_allclose(got, delta, rtol=1e-4, atol=1e-5)
    if lambda_ == 1:
        returned = [sum(gamma ** (j - t) * reward[j] for j in range(t, 6)) + gamma ** (6 - t) * values[6] for t in range(6)]
        np.testing.assert_allclose(got, returned - values[:-1], rtol=1e-4, atol=1e-5)


# delta = r + 1/2 E - q = (1 + 2 - 2, 3 + 3 - 4, 5 + 4 - 6) = (1, 2, 3);  decay_t = 1/2 trace_{t+1} = (1/4, 1/8)
BACKUP = {
    "reward": jnp.array([1.0, 3.0, 5.0]),
    "q_taken": jnp.array([2.0, 4.0, 6.0]),
    "expected_q_next": jnp.array([4.0, 6.0, 8.0]),
    "trace": jnp.array([99.0, 0.5, 0.25]),
}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, [3.0, 6.0, 9.0]),  # q + delta, the one-step expected SARSA target
        (2, [3.5, 6.375, 9.0]),  # 3 + 1/4 2,  6 + 1/8 3
        (3, [3.59375, 6.375, 9.0]),  # 3.5 + 1/4 1/8 3
        (8, [3.59375, 6.375, 9.0]),  # more steps than the episode has
    ],
)
def test_tree_backup_by_hand(steps: int, expected: list[float]) -> None:
    np.testing.assert_allclose(tree_backup(**BACKUP, discount=jnp.full(3, 0.5), steps=steps), expected)


def test_tree_backup_by_hand_terminated() -> None:
    # The second step terminates: delta = (1, 3 - 4, 3), decay = (1/4, 0). y_0 = 3 - 1/4, y_1 = 4 - 1.
    got = tree_backup(**BACKUP, discount=jnp.array([0.5, 0.0, 0.5]), steps=3)
    np.testing.assert_allclose(got, [2.75, 3.0, 9.0])


def test_tree_backup_stops_at_a_trace_of_0() -> None:
    padded = {name: jnp.append(x, jnp.array([1e3, -1e3])) for name, x in BACKUP.items()} | {
        "trace": jnp.append(BACKUP["trace"], jnp.zeros(2))
    }
    got = tree_backup(**padded, discount=jnp.full(5, 0.5), steps=5)
    np.testing.assert_allclose(got[:3], tree_backup(**BACKUP, discount=jnp.full(3, 0.5), steps=5))


@given(seed=SEEDS, time=st.integers(1, 6), steps=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_tree_backup_equals_the_formula(seed: int, time: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    reward, q, expected, trace = rng.normal(size=(4, time)).astype(np.float32)
    discount = (0.9 * (rng.random(time) < 0.8)).astype(np.float32)
    delta = reward + discount * expected - q
    y = q.copy()
    for t in range(time):
        for j in range(min(steps, time - t)):
            y[t] += np.prod([discount[t + m - 1] * trace[t + m] for m in range(1, j + 1)]) * delta[t + j]
    f32 = [jnp.asarray(x) for x in (reward, discount, q, expected, trace)]
    got = tree_backup(*f32, steps=steps)
    np.testing.assert_allclose(got, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [0, -1])
def test_tree_backup_needs_a_step(steps: int) -> None:
    with pytest.raises(ValueError, match=f"steps >= 1, got {steps}"):
        tree_backup(**BACKUP, discount=jnp.ones(3), steps=steps)


@given(seed=SEEDS, n=st.integers(1, 4), n_actions=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_expected_q_equals_the_sum_over_all_joint_actions(seed: int, n: int, n_actions: int) -> None:
    rng = np.random.default_rng(seed)
    k, b, q = rng.random(n), rng.normal(), rng.normal(size=(n, n_actions))
    policy = rng.dirichlet(np.ones(n_actions), size=n)
    agents = np.arange(n)
    brute = sum(
        np.prod(policy[agents, joint]) * (np.sum(k * q[agents, joint]) + b) for joint in itertools.product(range(n_actions), repeat=n)
    )
    f32 = [jnp.asarray(x, jnp.float32) for x in (k, b, policy, q)]
    np.testing.assert_allclose(expected_q(*f32), brute, rtol=1e-4, atol=1e-5)


def test_expected_q_is_invariant_to_the_order_of_agents() -> None:
    rng = np.random.default_rng(0)
    k, q, policy = (jnp.asarray(x, jnp.float32) for x in (rng.random(3), rng.normal(size=(3, 4)), rng.dirichlet(np.ones(4), size=3)))
    b, order = jnp.float32(0.7), jnp.array([2, 0, 1])
    np.testing.assert_allclose(expected_q(k[order], b, policy[order], q[order]), expected_q(k, b, policy, q), rtol=1e-6)
    assert not np.isclose(expected_q(k[order], b, policy, q), expected_q(k, b, policy, q), rtol=1e-3)


def test_exact_values_are_fixed_points_of_both_targets() -> None:
    """With q = Q^pi the expected target after (s_0, a_0) is Q^pi(s_0, a_0): of TD(lambda) under pi, of tree backup under any
    behaviour policy. A random task of 2 states and 3 joint actions; all continuations of three steps, by their probabilities."""
    rng = np.random.default_rng(3)
    n_states, n_actions, gamma, lambda_ = 2, 3, 0.9, 0.7
    move = rng.dirichlet(np.ones(n_states), size=(n_states, n_actions))
    reward = rng.normal(size=(n_states, n_actions))
    pi, uniform = rng.dirichlet(np.ones(n_actions), size=n_states), np.full((n_states, n_actions), 1 / n_actions)
    follow = np.einsum("sax,xb->saxb", move, pi).reshape(n_states * n_actions, -1)
    q = np.linalg.solve(np.eye(n_states * n_actions) - gamma * follow, reward.ravel()).reshape(n_states, n_actions)
    value = np.sum(pi * q, axis=1)

    paths = np.array(list(itertools.product(*[range(n_states), range(n_actions)] * 4)))
    s, a = paths[:, ::2], paths[:, 1::2]
    moves = np.prod(move[s[:, :-1], a[:, :-1], s[:, 1:]], axis=1)
    f32 = lambda x: jnp.asarray(x, jnp.float32)  # noqa: E731
    r, q_now, q_next, v_next = (f32(x) for x in (reward[s, a][:, :-1], q[s, a][:, :-1], q[s, a][:, 1:], value[s][:, 1:]))
    discount = jnp.full_like(r, gamma)
    by_td = jax.vmap(partial(td_lambda, lambda_=lambda_))(r, discount, q_next)[:, 0]
    for steps in (1, 2, 3):
        by_backup = jax.vmap(partial(tree_backup, steps=steps))(r, discount, q_now, v_next, f32(lambda_ * pi[s, a][:, :-1]))[:, 0]
        for behaviour, target in ((pi, by_td), (pi, by_backup), (uniform, by_backup)):
            probability = moves * np.prod(behaviour[s, a][:, 1:], axis=1)
            mean = np.zeros_like(q)
            np.add.at(mean, (s[:, 0], a[:, 0]), probability * np.asarray(target))
            np.testing.assert_allclose(mean, q, rtol=1e-5, atol=1e-5)


def team(n: int, n_actions: int, seed: int = 0) -> tuple[jax.Array, ...]:
    """k (summing to 1), b, policy and q of a random team."""
    k_k, k_policy, k_q = jax.random.split(jax.random.key(seed), 3)
    k = jax.nn.softmax(jax.random.normal(k_k, (n,)))
    return k, jnp.asarray(0.5), jax.nn.softmax(jax.random.normal(k_policy, (n, n_actions))), jax.random.normal(k_q, (n, n_actions))


def estimates(n: int, samples: int, *, repeats: int, scale: float = 1.0) -> tuple[jax.Array, jax.Array]:
    """E_pi[Q_tot], and `repeats` estimates of it from `samples` joint actions each. k_i is 1/n times `scale`."""
    _, b, policy, q = team(n, 4)
    k = jnp.full((n,), scale / n)

    def estimate(key: jax.Array) -> jax.Array:
        draw = lambda key, p: policies.sample_many(key, p, samples)  # noqa: E731
        return sampled_q(k, b, q, jax.vmap(draw, out_axes=1)(jax.random.split(key, n), policy))

    return expected_q(k, b, policy, q), jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(7), repeats))


def test_sampled_q_by_hand() -> None:
    # Q_tot of (0, 1) and (1, 1): 1/4 1 + 3/4 4 + 2 = 5.25 and 1/4 2 + 3/4 4 + 2 = 5.5
    k, b, q = jnp.array([0.25, 0.75]), jnp.asarray(2.0), jnp.array([[1.0, 2.0], [3.0, 4.0]])
    assert float(sampled_q(k, b, q, jnp.array([[0, 1], [1, 1]]))) == 5.375


def test_sampled_q_over_all_joint_actions_is_the_uniform_expectation() -> None:
    k, b, _, q = team(3, 4)
    every = jnp.asarray(list(itertools.product(range(4), repeat=3)))
    np.testing.assert_allclose(sampled_q(k, b, q, every), expected_q(k, b, jnp.full((3, 4), 0.25), q), rtol=1e-5)


def test_sampled_q_converges_to_the_decomposed_expectation() -> None:
    """Its standard deviation falls as 1 / sqrt(samples), and it is unbiased."""
    deviations = []
    for samples in (25, 400):
        exact, found = estimates(3, samples, repeats=400)
        deviations.append(float(jnp.std(found)))
        assert abs(float(jnp.mean(found) - exact)) < 4 * deviations[-1] / np.sqrt(400)
    assert deviations[0] / deviations[1] == pytest.approx(4, rel=0.2)


def test_sampled_qs_variance_grows_with_the_agents() -> None:
    """With k_i = 1 (as in VDN) the variance grows as n; with normalised k it falls as 1/n."""
    of = {n: float(jnp.var(estimates(n, 20, repeats=2000, scale=float(n))[1])) for n in (2, 8, 32)}
    assert of[8] / of[2] > 2
    assert of[32] / of[8] > 2
    assert float(jnp.var(estimates(32, 20, repeats=2000)[1])) < of[2]
