"""MAPPO and IPPO: estimates by hand and by brute force, what each critic sees, minibatches, learning rates, and refusals."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dop.algorithms.base.ppo import PPOLearner, normalised
from dop.algorithms.ippo import IPPO
from dop.algorithms.mappo import MAPPO
from dop.errors import ConfigError
from dop.networks import value_critics
from dop.networks.mlp import MLP
from dop.networks.teams import recurrent
from dop.types import Episode
from helpers import make_episodes, make_spec

SPEC = make_spec(time_limit=4)
LENGTHS = (2, 4, 1, 3)
"""The second is cut by the time limit, the others terminate."""
KEY = jax.random.key(0)
SIZES: dict[str, Any] = {"actor": MLP(hidden_size=8), "critic": MLP(hidden_size=8), "episodes_per_iteration": 4}
CRITICS = {
    "mappo": MAPPO(**SIZES),
    "agent-specific": MAPPO(**SIZES, critic_inputs="state_and_obs"),
    "ippo": IPPO(**SIZES),
}
every_critic = pytest.mark.parametrize("which", CRITICS)


@functools.cache
def episodes() -> Episode:
    """With the axes time, episode; dense rewards, all agents active."""
    return recurrent.time_first(make_episodes(jax.random.key(1), SPEC, LENGTHS))


@functools.cache
def learner(which: str) -> PPOLearner:
    """Its targets so far have mean 3 and standard deviation 2."""
    start = jax.jit(CRITICS[which].init, static_argnums=1)(KEY, SPEC)
    seen = start.value_normaliser.update(jnp.array([[1.0], [5.0]]), jnp.ones(2, bool))
    return replace(start, value_normaliser=seen)


@functools.cache
def values(which: str) -> np.ndarray:
    """What the critic's network gives. Axes: time + 1, episode, agent."""
    return np.asarray(jax.jit(value_critics.unroll)(learner(which).critic, episodes(), jnp.asarray(5)))


@functools.cache
def estimates(which: str, **changes: Any) -> Any:
    return jax.jit(replace(CRITICS[which], **changes)._estimates)(learner(which), episodes())


@every_critic
def test_advantages_and_targets_by_brute_force(which: str) -> None:
    """Each episode by itself, as a sum of TD errors; the time limit bootstraps, a termination does not."""
    algorithm, value, data = CRITICS[which], 3 + 2 * values(which), jax.device_get(episodes())
    _, found, _ = estimates(which, normalise_advantage=False)
    after, with_target, _ = estimates(which)
    for i, length in enumerate(LENGTHS):
        continues = algorithm.gamma * (1 - data.terminated[:length, i])
        delta = data.reward[:length, i, None] + continues[:, None] * value[1 : length + 1, i] - value[:length, i]
        decay = algorithm.gamma * algorithm.td_lambda
        expected = [sum(decay ** (j - t) * delta[j] for j in range(t, length)) for t in range(length)]
        np.testing.assert_allclose(found.advantage[:length, i], expected, rtol=2e-4, atol=1e-5)
        targets = (np.asarray(expected) + value[:length, i] - after.value_normaliser.mean) / after.value_normaliser.scale
        np.testing.assert_allclose(with_target.target[:length, i], targets, rtol=2e-4, atol=1e-4)
    np.testing.assert_allclose(found.value, values(which)[:-1], rtol=1e-5)
    assert float(after.value_normaliser.count) == 2 + sum(LENGTHS) * SPEC.n_agents


def test_without_normalisation_values_and_targets_are_the_critics_own() -> None:
    after, found, _ = estimates("mappo", normalise_value=False, normalise_advantage=False)
    np.testing.assert_allclose(found.target, found.advantage + values("mappo")[:-1], rtol=1e-4, atol=1e-5)
    assert float(after.value_normaliser.count) == 2


def test_advantages_are_normalised_over_what_counts() -> None:
    advantage, counts = jnp.array([1.0, 3.0, 1e6]), jnp.array([True, True, False])
    np.testing.assert_allclose(normalised(advantage, counts)[:2], [-1, 1], rtol=1e-4)
    np.testing.assert_array_equal(normalised(jnp.full(3, 2.0), counts)[:2], [0, 0])


@pytest.mark.parametrize(
    ("which", "sees_state", "sees_obs"), [("mappo", True, False), ("agent-specific", True, True), ("ippo", False, True)]
)
def test_what_a_critic_sees(which: str, sees_state: bool, sees_obs: bool) -> None:
    """One value of the team, or one per agent, which depends on this agent's observation alone."""
    critic, active = learner(which).critic, jnp.ones(3, bool)
    state, obs = jnp.ones(SPEC.state_size), jnp.ones((3, SPEC.obs_size))
    value = lambda state, obs: critic(critic.init_state(), state, obs, active)[1]  # noqa: E731
    of_state, of_obs = jax.jit(jax.jacobian(value, (0, 1)))(state, obs)
    assert bool(jnp.any(of_state != 0)) == sees_state
    depends = np.asarray(jnp.any(of_obs != 0, axis=-1))
    np.testing.assert_array_equal(depends, np.eye(3, dtype=bool) & sees_obs)
    same = np.unique(value(state, obs)).size == 1
    assert same == (which == "mappo")


@every_critic
def test_an_inactive_agent_has_the_value_of_the_others(which: str) -> None:
    critic, active = learner(which).critic, jnp.array([True, True, False])
    obs = jax.random.normal(KEY, (3, SPEC.obs_size)).at[2].set(jnp.nan)
    _, value = critic(critic.init_state(), jnp.ones(SPEC.state_size), obs, active)
    assert float(value[2]) == pytest.approx(float(value[0] + value[1]) / 2, rel=1e-5)


def test_the_first_step_of_fresh_episodes_has_ratio_1() -> None:
    """With the probabilities of the policy that plays, nothing is clipped, and the mean of normalised advantages is 0."""
    algorithm, state = CRITICS["mappo"], learner("mappo")
    logits = recurrent.unroll(state.actor, episodes(), jnp.asarray(5))[:-1]
    policy = jax.nn.softmax(jnp.where(episodes().action_mask[:-1], logits, -jnp.inf))
    own = jnp.take_along_axis(policy, episodes().action[..., None], axis=-1)[..., 0]
    fresh = eqx.tree_at(lambda e: e.behaviour_prob, episodes(), jnp.where(episodes().mask[..., None], own, 0))
    loss, metrics = algorithm._actor_loss(state.actor, fresh, estimates("mappo")[1], jnp.asarray(4))
    assert float(metrics["clip_fraction"]) == 0
    assert float(metrics["actor_loss"]) == pytest.approx(0, abs=1e-6)
    assert float(loss) == pytest.approx(-algorithm.entropy_bonus * float(metrics["policy_entropy"]), abs=1e-6)


def test_learning_rates_fall_to_0() -> None:
    algorithm, state = replace(CRITICS["ippo"], lr_anneal_steps=100, minibatches=1, epochs=1), learner("ippo")
    batch = make_episodes(jax.random.key(1), SPEC, LENGTHS)
    update = jax.jit(lambda steps: algorithm.update(replace(state, env_steps=steps), batch, KEY)[0].actor)

    def change(steps: int) -> list[np.ndarray]:
        return [np.asarray(new - old) for new, old in zip(*map(jax.tree.leaves, (update(jnp.asarray(steps)), state.actor)), strict=True)]

    full, half, none = change(0), change(50), change(100)
    for whole, part, nothing in zip(full, half, none, strict=True):
        np.testing.assert_allclose(part, whole / 2, rtol=1e-2, atol=1e-7)
        assert not nothing.any()
    assert any(x.any() for x in full)


@pytest.mark.parametrize("cls", [MAPPO, IPPO])
def test_what_cannot_be_used_is_refused(cls: Any) -> None:
    cls().check(SPEC)
    cls(minibatches=8, episodes_per_iteration=2).check(SPEC)  # at most one per episode
    with pytest.raises(ConfigError, match=r"minibatches \(4\) must divide episodes_per_iteration \(30\)"):
        cls(episodes_per_iteration=30).check(SPEC)
    for field, value in {"clip": 0.0, "epochs": 0, "minibatches": 0, "actor_lr": -1.0, "lr_anneal_steps": -1, "td_lambda": 1.1}.items():
        with pytest.raises(ConfigError, match=rf"{field} must .*{value}"):
            cls(**{field: value}).check(SPEC)
    box = replace(SPEC, name="a box", action_kind="box")
    with pytest.raises(ConfigError, match=rf"{cls.__name__.lower()} needs discrete actions, but those of a box are a box"):
        cls().check(box)
