from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dop import policies
from dop.networks.teams import feed_forward
from dop.types import ActionKind

KINDS: tuple[ActionKind, ...] = ("discrete", "box", "simplex")
N_ACTIONS = 4
LOGITS = st.lists(st.floats(-(2.0**127), 2.0**127, width=32), min_size=N_ACTIONS, max_size=N_ACTIONS)
MODEST_LOGITS = st.lists(st.floats(-16, 16, width=32), min_size=N_ACTIONS, max_size=N_ACTIONS)
LEGAL = st.lists(st.booleans(), min_size=N_ACTIONS, max_size=N_ACTIONS)
EPSILON = st.floats(0, 1, width=32)

masked_softmax = jax.jit(policies.masked_softmax)
slope = jax.jit(jax.jacobian(policies.masked_softmax))


@given(logits=LOGITS, action_mask=LEGAL)
@settings(max_examples=200, deadline=None)
def test_masked_softmax_of_any_finite_logits(logits: list[float], action_mask: list[bool]) -> None:
    x, m = jnp.array(logits, jnp.float32), jnp.array(action_mask)
    policy = masked_softmax(x, m)
    np.testing.assert_array_equal(policy[~m], 0.0)
    np.testing.assert_allclose(jnp.sum(policy), 1.0 if any(action_mask) else 0.0, rtol=1e-6)
    gradient = slope(x, m)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(gradient[:, ~m], 0.0)


@given(logits=MODEST_LOGITS, action_mask=LEGAL, shift=st.floats(-32, 32, width=32))
@settings(max_examples=50, deadline=None)
def test_masked_softmax_is_invariant_to_a_shift(logits: list[float], action_mask: list[bool], shift: float) -> None:
    x, m = jnp.array(logits, jnp.float32), jnp.array(action_mask)
    np.testing.assert_allclose(masked_softmax(x + shift, m), masked_softmax(x, m), rtol=1e-4, atol=1e-7)


def test_masked_softmax_is_the_softmax_of_the_legal_actions() -> None:
    logits = jnp.array([1.0, -2.0, 0.5, 3.0])
    np.testing.assert_allclose(policies.masked_softmax(logits, jnp.ones(4, bool)), jax.nn.softmax(logits), rtol=1e-6)
    got = policies.masked_softmax(logits, jnp.array([True, False, True, False]))
    # e^1 / (e^1 + e^0.5) and e^0.5 / (e^1 + e^0.5)
    np.testing.assert_allclose(got, [0.6224593, 0.0, 0.3775407, 0.0], rtol=1e-6)


def test_epsilon_mixture_by_hand() -> None:
    policy, action_mask = jnp.array([0.8, 0.2, 0.0, 0.0]), jnp.array([True, True, False, True])
    # 0.7 policy + 0.3 / 3
    np.testing.assert_allclose(policies.epsilon_mixture(policy, action_mask, 0.3), [0.66, 0.24, 0.0, 0.1], rtol=1e-6)
    np.testing.assert_array_equal(policies.epsilon_mixture(jnp.zeros(4), jnp.zeros(4, bool), 0.3), 0.0)


@jax.jit
def released_policy(logits: jax.Array, action_mask: jax.Array, epsilon: jax.Array) -> jax.Array:
    """The released code's policy: mix, mask, renormalise."""
    u = (1 - epsilon) * jax.nn.softmax(logits) + epsilon / logits.size
    p = jnp.where(action_mask, u, 0)
    return p / jnp.sum(p)


@jax.jit
def policy_by_epsilon(logits: jax.Array, action_mask: jax.Array, epsilon: jax.Array) -> jax.Array:
    masked_epsilon = policies.unmasked_epsilon(logits, action_mask, epsilon)
    return policies.epsilon_mixture(policies.masked_softmax(logits, action_mask), action_mask, masked_epsilon)


@given(logits=MODEST_LOGITS, action_mask=LEGAL, epsilon=EPSILON)
@settings(max_examples=100, deadline=None)
def test_unmasked_epsilon_gives_the_released_policy(logits: list[float], action_mask: list[bool], epsilon: float) -> None:
    assume(any(action_mask))
    x, m, e = jnp.array(logits, jnp.float32), jnp.array(action_mask), jnp.float32(epsilon)
    np.testing.assert_allclose(policy_by_epsilon(x, m, e), released_policy(x, m, e), rtol=1e-4, atol=1e-6)


def test_unmasked_epsilon_is_epsilon_if_all_actions_are_legal() -> None:
    np.testing.assert_allclose(policies.unmasked_epsilon(jnp.arange(4.0), jnp.ones(4, bool), 0.3), 0.3, rtol=1e-6)


@pytest.mark.parametrize("action_mask", [[False] * 4, [True, False, False, False]])
def test_unmasked_epsilon_is_finite_without_mass_on_legal_actions(action_mask: list[bool]) -> None:
    logits = jnp.array([0.0, 1e4, 0.0, 0.0])
    value, gradient = jax.value_and_grad(policies.unmasked_epsilon)(logits, jnp.array(action_mask), 0.0)
    assert value == 0.0
    assert np.all(np.isfinite(gradient))


def test_sample_follows_the_policy() -> None:
    policy = jnp.array([0.0, 0.5, 0.2, 0.0, 0.3])
    drawn = jax.vmap(lambda key: policies.sample(key, policy))(jax.random.split(jax.random.key(0), 10_000))
    frequency = np.bincount(drawn, minlength=5) / 10_000
    assert frequency[0] == frequency[3] == 0
    # Five standard deviations of a frequency are at most 0.025.
    np.testing.assert_allclose(frequency, policy, atol=0.025)


def test_sample_without_an_action_is_0() -> None:
    assert policies.sample(jax.random.key(0), jnp.zeros(3)) == 0


def test_greedy() -> None:
    logits = jnp.array([1.0, 5.0, 3.0])
    assert policies.greedy(logits, jnp.array([True, True, True])) == 1
    assert policies.greedy(logits, jnp.array([True, False, True])) == 2
    assert policies.greedy(jnp.array([-3e38, 3e38]), jnp.array([True, False])) == 0
    assert policies.greedy(logits, jnp.zeros(3, bool)) == 0


def test_sample_many_has_the_policys_frequencies() -> None:
    policy = jnp.array([0.5, 0.0, 0.2, 0.3])
    drawn = jax.jit(lambda key: policies.sample_many(key, policy, 20_000))(jax.random.key(0))
    frequency = np.bincount(drawn, minlength=4) / 20_000
    assert frequency[1] == 0
    np.testing.assert_allclose(frequency, policy, atol=4 * np.sqrt(0.25 / 20_000))


@pytest.mark.parametrize("policy", [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1e-30, 0.0, 0.0]])
def test_sample_many_never_draws_actions_of_probability_0(policy: list[float]) -> None:
    drawn = policies.sample_many(jax.random.key(0), jnp.asarray(policy), 1000)
    np.testing.assert_array_equal(drawn, np.argmax(policy))


def test_mix_before_the_mask_is_the_released_codes_policy() -> None:
    logits, action_mask = jnp.array([1.0, 0.0, 3.0, -1.0]), jnp.array([True, True, False, True])
    mixed = 0.7 * jax.nn.softmax(logits) + 0.3 / 4
    expected = jnp.where(action_mask, mixed, 0) / jnp.sum(jnp.where(action_mask, mixed, 0))
    np.testing.assert_allclose(policies.mix(logits, action_mask, 0.3, before_mask=True), expected, rtol=1e-5)
    after = policies.epsilon_mixture(policies.masked_softmax(logits, action_mask), action_mask, 0.3)
    np.testing.assert_array_equal(policies.mix(logits, action_mask, 0.3, before_mask=False), after)


def test_epsilon_greedy_by_hand() -> None:
    # Action 2 has the largest value but is illegal; of the others action 1 is best: 0.7 and 0.3 / 3 each.
    q, action_mask = jnp.array([1.0, 2.0, 9.0, -1.0]), jnp.array([True, True, False, True])
    np.testing.assert_allclose(policies.epsilon_greedy(q, action_mask, 0.3), [0.1, 0.8, 0.0, 0.1], rtol=1e-6)
    np.testing.assert_array_equal(policies.epsilon_greedy(q, jnp.zeros(4, bool), 0.3), 0.0)


def test_random_actions_are_of_their_kind():
    action_mask, keys = jnp.array([True, False, True]), jax.random.split(jax.random.key(0), 2000)
    number, box, simplex = (jax.vmap(partial(policies.random_action, kind=kind), (0, None))(keys, action_mask) for kind in KINDS)
    np.testing.assert_allclose(np.bincount(number, minlength=3) / 2000, [0.5, 0, 0.5], atol=0.05)
    assert not box[:, 1].any() and (jnp.abs(box) <= 1).all() and not simplex[:, 1].any() and (simplex >= 0).all()
    np.testing.assert_allclose(box[:, [0, 2]].mean(axis=0), 0, atol=0.06)
    np.testing.assert_allclose(box[:, [0, 2]].var(axis=0), 1 / 3, atol=0.03)
    np.testing.assert_allclose(simplex.sum(axis=1), 1, rtol=1e-6)
    # Uniform on the segment between two corners.
    np.testing.assert_allclose(simplex[:, [0, 2]].var(axis=0), 1 / 12, atol=0.01)


def test_random_points_of_a_simplex_without_components_are_zero():
    point = policies.random_action(jax.random.key(0), jnp.zeros(3, bool), "simplex")
    np.testing.assert_array_equal(point, 0)


EXTREME = st.lists(
    st.one_of(st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from([3.4e38, -3.4e38, 1e-45, 0.0, -0.0])),
    min_size=N_ACTIONS,
    max_size=N_ACTIONS,
)
TEMPERATURE = jnp.asarray(0.01)
POLICIES = {
    "softmax": lambda x, m, e, k: policies.masked_softmax(x, m),
    "mixed after the mask": lambda x, m, e, k: policies.mix(x, m, e, before_mask=False),
    "mixed before the mask": lambda x, m, e, k: policies.mix(x, m, e, before_mask=True),
    "epsilon-greedy": lambda x, m, e, k: policies.epsilon_greedy(x, m, e),
    "Gumbel-softmax": lambda x, m, e, k: policies.gumbel_softmax(k, x, m, TEMPERATURE),
    "deterministic": lambda x, m, e, k: feed_forward.choose("discrete", x, m, TEMPERATURE),
    "exploring": lambda x, m, e, k: feed_forward.explore("discrete", k, x, m, TEMPERATURE, 0.1),
    "simplex": lambda x, m, e, k: feed_forward.choose("simplex", x, m, TEMPERATURE),
    "simplex, exploring": lambda x, m, e, k: feed_forward.explore("simplex", k, x, m, TEMPERATURE, 0.1),
}
all_policies = jax.jit(lambda x, m, e, k: {name: policy(x, m, e, k) for name, policy in POLICIES.items()})


@given(logits=EXTREME, action_mask=LEGAL, epsilon=EPSILON, seed=st.integers(0, 2**31 - 1))
@settings(max_examples=300, deadline=None)
def test_illegal_actions_have_probability_0(logits: list[float], action_mask: list[bool], epsilon: float, seed: int) -> None:
    """Exactly 0 for any finite float32 logits, and a distribution over legal actions if there are any."""
    x, m = jnp.array(logits, jnp.float32), jnp.array(action_mask)
    for name, policy in all_policies(x, m, jnp.float32(epsilon), jax.random.key(seed)).items():
        np.testing.assert_array_equal(policy[~m], 0.0, err_msg=name)
        assert (policy >= 0).all(), name
        np.testing.assert_allclose(jnp.sum(policy), 1.0 if any(action_mask) else 0.0, rtol=1e-5, err_msg=name)
