"""COMA: the counterfactual critic and advantage against sums over joint actions, and targets by hand."""

from __future__ import annotations

import functools
import itertools
from dataclasses import fields, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from dop import losses
from dop.algorithms.base.actor_critic import ActorCritic
from dop.algorithms.coma import COMA, COMALearner
from dop.algorithms.stochastic_dop import StochasticDOP
from dop.networks.gru import GRU
from dop.networks.mlp import MLP
from dop.networks.split_critics import CounterfactualCritic
from dop.networks.teams import recurrent
from helpers import assert_trees_close, make_episodes, make_spec

SPEC = make_spec(time_limit=4)
SMALL = COMA(critic=MLP(hidden_size=8), actor=GRU(hidden_size=8), on_policy_batch=3, td_lambda=0.5, gamma=0.5)
LENGTHS = (2, 4, 1)
"""The second is cut by the time limit, the others terminate."""
KEY = jax.random.key(0)
assert_close = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-6)


@functools.cache
def critic() -> CounterfactualCritic:
    make = lambda key: CounterfactualCritic(SPEC.state_size, SPEC.obs_size, SPEC.action_size, SPEC.n_agents, 8, key=key)  # noqa: E731
    return jax.jit(make)(KEY)


@functools.cache
def answer() -> Any:
    """(state, obs, action) -> all that the critic says."""
    return eqx.filter_jit(critic())


@functools.cache
def learner() -> COMALearner:
    return jax.jit(SMALL.init, static_argnums=1)(KEY, SPEC)


@jax.jit
def inputs() -> tuple[Array, Array]:
    """State and observations."""
    k_state, k_obs = jax.random.split(jax.random.key(1))
    return jax.random.normal(k_state, (SPEC.state_size,)), jax.random.normal(k_obs, (SPEC.n_agents, SPEC.obs_size))


def a_policy() -> Array:
    """Of three agents with four actions."""
    return jax.nn.softmax(jax.random.normal(jax.random.key(3), (3, 4)))


def test_an_agents_row_does_not_depend_on_what_it_does_itself() -> None:
    state, obs = inputs()
    base = answer()(state, obs, np.asarray([0, 1, 2]))
    for agent in range(3):
        other = answer()(state, obs, np.where(np.arange(3) == agent, 3, [0, 1, 2]))
        same = np.isclose(other, base, rtol=1e-5).all(axis=1)
        np.testing.assert_array_equal(same, np.arange(3) == agent)


def test_the_first_layer_is_that_of_the_concatenated_inputs() -> None:
    """State, own observation, one-hot actions of the others with the own place empty, one-hot id: one matrix."""
    state, obs = jax.device_get(inputs())
    action, net = np.array([3, 0, 2]), critic()
    weight = np.concatenate(
        [net.from_state.weight, net.from_obs.weight, np.reshape(net.from_action, (-1, 8)).T, np.transpose(net.from_id)], axis=1
    )
    last_layers = jax.jit(lambda hidden: net.action_layer(jax.nn.relu(net.hidden_layers[0](hidden))))
    for agent in range(3):
        joint = np.eye(4)[action]
        joint[agent] = 0
        x = np.concatenate([state, obs[agent], joint.ravel(), np.eye(3)[agent]])
        hidden = np.maximum(weight @ x + np.asarray(net.from_state.bias), 0)
        assert_close(answer()(state, obs, action)[agent], last_layers(hidden), rtol=1e-3, atol=1e-5)


def test_advantage_averages_to_zero_under_the_policy_for_all_joint_actions_of_the_others() -> None:
    policy, net = a_policy(), critic()
    state, obs = inputs()

    @jax.jit
    def mean_advantage(action: Array) -> Array:
        q = net(state, obs, action)
        advantage = losses.aristocrat_utility(policy[None], q[None], jnp.ones((1, 3)))[0]
        return jnp.sum(policy * advantage, axis=-1)

    for action in itertools.product(range(4), repeat=3):
        assert_close(mean_advantage(np.asarray(action)), 0, atol=1e-5)


def test_without_pi_in_the_baseline_the_advantage_would_not() -> None:
    """Eq. 2 of the DOP paper as printed: Q - sum_x Q(x)."""
    q = np.asarray(answer()(*inputs(), np.asarray([0, 0, 0])))
    printed = q - np.sum(q, axis=-1, keepdims=True)
    assert np.abs(np.sum(np.asarray(a_policy()) * printed, axis=-1)).max() > 0.05


def test_targets_by_hand() -> None:
    """G_t = r_t + 1/2 (1/2 q_{t+1} + 1/2 G_{t+1}), cut at a terminal step and bootstrapped at the time limit."""
    episodes = jax.device_get(make_episodes(jax.random.key(1), SPEC, LENGTHS))
    critic_targets = jax.jit(lambda learner, batch: SMALL.critic_targets(learner, recurrent.time_first(batch)))
    target = np.asarray(critic_targets(learner(), episodes))
    critic_says = jax.jit(lambda critic, state, obs, action: losses.gather_actions(critic(state, obs, action), action))
    taken = functools.partial(critic_says, learner().target)
    for e, length in enumerate(LENGTHS):
        action = np.concatenate([episodes.action[e, :length], episodes.final_action[None, e]])
        q = np.stack([taken(episodes.state[e, t], episodes.obs[e, t], action[t]) for t in range(length + 1)])
        g = q[length]
        for t in reversed(range(length)):
            ends = float(episodes.terminated[e, t])
            g = episodes.reward[e, t] + 0.5 * (1 - ends) * (0.5 * q[t + 1] + 0.5 * g)
            assert_close(target[t, e], g, rtol=1e-3, atol=1e-5)


def test_sampled_gradient_is_the_expected_one_in_expectation() -> None:
    """One agent, one step: the loss's gradient by every action, weighed by the policy's probability of it."""
    spec = make_spec(n_agents=1, time_limit=1)
    start = jax.jit(SMALL.init, static_argnums=1)(KEY, spec)
    episode = recurrent.time_first(make_episodes(jax.random.key(2), spec, (1,)))

    @functools.partial(jax.jit, static_argnums=0)
    def gradient(how: Any, action: Array) -> Any:
        acted, values = replace(episode, action=jnp.full((1, 1, 1), action)), SMALL._values(start, start.critic, episode, jnp.asarray(1))
        algorithm = replace(SMALL, policy_gradient=how, epsilon_start=0.0, epsilon_end=0.0)
        return jax.grad(algorithm._actor_loss, has_aux=True)(start.actor, jnp.zeros(()), acted, values, jnp.asarray(1))[0]

    @jax.jit
    def policy_of(episode: Any) -> Array:
        return SMALL._policy(recurrent.unroll(start.actor, episode, jnp.asarray(1)), episode.action_mask, jnp.zeros(()))[0, 0, 0]

    policy = np.asarray(policy_of(episode))
    action_mask = [action for action in range(4) if policy[action] > 0]
    assert len(action_mask) > 1
    weighed = [jax.tree.map(lambda g, a=a: policy[a] * np.asarray(g), gradient("sampled", a)) for a in action_mask]
    total = jax.tree.map(lambda *g: sum(g), *weighed)
    assert_trees_close(total, gradient("expected", 0), rtol=1e-3, atol=1e-6)
    assert max(np.max(np.abs(g)) for g in jax.tree.leaves(total)) > 1e-4


def test_presets_are_pymarls_and_on_policy_dops() -> None:
    default, as_dop, dop = COMA.presets()["default"], COMA.presets()["as-dop"], StochasticDOP.presets()["on-policy"]
    pymarl = {
        "td_lambda": 0.8,
        "target_interval": 200,
        "critic": MLP(hidden_size=128),
        "epsilon_start": 0.5,
        "epsilon_end": 0.01,
        "epsilon_anneal_steps": 100_000,
        "epsilon_in": "policy",
        "episodes_per_iteration": 8,
        "on_policy_batch": 8,
        "max_grad_norm": 10.0,
        "critic_lr": 5e-4,
        "actor_lr": 5e-4,
        "policy_gradient": "sampled",
    }
    assert {name: getattr(default, name) for name in pymarl} == pymarl
    common = [field.name for field in fields(ActorCritic)]
    assert {name: getattr(as_dop, name) for name in common} == {name: getattr(dop, name) for name in common}


@pytest.mark.parametrize("preset", ["default", "as-dop"])
def test_the_replay_holds_what_is_collected_and_learned_from(preset: str) -> None:
    algorithm = COMA.presets()[preset]
    assert algorithm.replay_capacity == algorithm.warmup_episodes == algorithm.on_policy_batch
    assert replace(algorithm, episodes_per_iteration=64).replay_capacity == 64
