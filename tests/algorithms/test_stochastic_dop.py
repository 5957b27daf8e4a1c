"""Stochastic DOP: what `update` does, step by step, against sums over rows, joint actions and samples written out by hand."""

from __future__ import annotations

import functools
from dataclasses import fields, replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, PyTree

import dop
from dop import losses, policies
from dop.algorithms import stochastic_dop
from dop.algorithms.stochastic_dop import Batch, DOPLearner, StochasticDOP
from dop.errors import ConfigError
from dop.networks.teams import recurrent
from dop.networks.teams.recurrent import max_length
from dop.types import Episode, TimeStep
from helpers import assert_trees_close, assert_trees_equal, make_episodes, make_spec

SPEC = make_spec(time_limit=4)
SMALL = StochasticDOP(
    critic=dop.MLP(hidden_size=8),
    actor=dop.GRU(hidden_size=8),
    on_policy_batch=3,
    off_policy_batch=2,
    actor_steps=1,
    target_interval=3,
    critic_schedule="timestep",
    scale_advantage=False,
    entropy_bonus=0.0,
)
LENGTHS = (2, 4, 1, 3, 2)
"""On-policy, then off-policy."""
KEY = jax.random.key(0)

QUICKLY = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
compiled = functools.partial(jax.jit, compiler_options=QUICKLY)  # compiles in half the time
assert_close = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-6)


@functools.cache
def start(algorithm: StochasticDOP = SMALL) -> DOPLearner:
    """A learner whose target critic is another than its critic."""

    @functools.partial(compiled, static_argnums=1)
    def both(key: Any, spec: Any) -> tuple[DOPLearner, DOPLearner]:
        first, second = jax.random.split(key)
        return algorithm.init(first, spec), algorithm.init(second, spec)

    learner, other = both(KEY, SPEC)
    return replace(learner, target=other.critic)


@functools.cache
def batch() -> Batch:
    with jax.ensure_compile_time_eval():  # also when a function under trace is the first to ask
        episodes = make_episodes(jax.random.key(1), SPEC, LENGTHS)
        on_policy, off_policy = jax.tree.map(lambda x: x[:3], episodes), jax.tree.map(lambda x: x[3:], episodes)
    return Batch(on_policy=on_policy, off_policy=off_policy, actor=on_policy)


def time_first() -> tuple[Episode, Array]:
    """All episodes as `critic_targets` and `_minibatches` take them, and which of them are off-policy."""
    episodes = jax.tree.map(lambda x, y: jnp.concatenate([x, y]).swapaxes(0, 1), batch().on_policy, batch().off_policy)
    return episodes, jnp.arange(len(LENGTHS)) >= 3


def row_number(episodes: Episode) -> Array:
    """A different number for every row, in place of its target: tells where the rows went."""
    return jnp.arange(episodes.mask.size, dtype=jnp.float32).reshape(episodes.mask.shape)


def critic_only(algorithm: StochasticDOP) -> Any:
    return compiled(lambda learner, key: algorithm._update_critic(learner, batch(), key))


def step_of(learner: DOPLearner, environment_steps: int = 0) -> DOPLearner:
    return replace(learner, env_steps=jnp.asarray(environment_steps, jnp.int32))


# -------------------------------------------------------------------------------------------------------- hyper-parameters


def test_presets_have_the_values_of_the_paper_and_of_the_released_code():
    """Design, section 8, row by row."""
    assert {"default", "v0.1", "paper", "released", "on-policy", "undecomposed"} == StochasticDOP.presets().keys()
    paper, released = StochasticDOP.presets()["paper"], StochasticDOP.presets()["released"]
    rows = {
        "mixer_bias": (True, False),
        "mixer_weights": ("linear", "product"),
        "critic_inputs": ("state", "state_obs_id"),
        "share_parameters": ("none", "all"),
        "dueling": (False, True),
        "epsilon_start": (1.0, 0.5),
        "epsilon_in": ("behaviour", "policy"),
        "kappa": (0.5, None),
        "critic_schedule": ("full", "timestep"),
        "target_unit": ("iterations", "critic_steps"),
        "target_interval": (10, 600),
        "actor_episodes": ("on_policy", "latest"),
        "bootstrap": ("expected", "taken"),
    }
    both = {
        "epsilon_end": 0.05,
        "epsilon_anneal_steps": 500_000,
        "gamma": 0.99,
        "td_lambda": 0.8,
        "tb_lambda": 0.93,
        "tb_steps": 5,
        "critic_lr": 1e-4,
        "actor_lr": 5e-4,
        "rms_decay": 0.99,
        "rms_eps": 1e-5,
        "max_grad_norm": 20.0,
        "actor_steps": 1,
        "actor_batch": None,
        "actor_ema_decay": 0.0,
        "policy_gradient": "sampled",
        "normalise_state": False,
        "scale_advantage": False,
        "entropy_bonus": 0.0,
        "critic": dop.MLP(hidden_size=256),
        "actor": dop.GRU(hidden_size=64),
        "episodes_per_iteration": 4,
        "on_policy_capacity": 32,
        "replay_capacity": 5000,
        "on_policy_batch": 16,
        "off_policy_batch": 32,
        "ratio_clip": 1.0,
        "tb_expectation": "decomposed",
        "tb_samples": None,
    }
    assert {name: getattr(paper, name) for name in rows | both} == {name: value[0] for name, value in rows.items()} | both
    assert {name: getattr(released, name) for name in rows | both} == {name: value[1] for name, value in rows.items()} | both
    assert rows.keys() | both.keys() == {field.name for field in fields(StochasticDOP)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"on_policy_batch": 33}, "on_policy_capacity"),
        ({"replay_capacity": 16}, "replay_capacity"),
        ({"episodes_per_iteration": 6000}, "replay_capacity"),
        ({"actor_episodes": "off_policy", "off_policy_batch": 0}, "off_policy_batch"),
        ({"kappa": 1.5}, "kappa"),
        ({"actor_batch": 0}, "actor_batch"),
        ({"tb_steps": 0}, "tb_steps"),
    ],
)
def test_impossible_combinations_are_refused(changes: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        StochasticDOP(**changes).check(SPEC)


def test_continuous_actions_are_refused():
    with pytest.raises(ConfigError, match="box"):
        StochasticDOP().check(replace(SPEC, action_kind="box"))


# ------------------------------------------------------------------------------------------------------------- exploration


def test_epsilon_falls_linearly_and_then_stays():
    algorithm = replace(SMALL, epsilon_start=0.9, epsilon_end=0.1, epsilon_anneal_steps=100)
    epsilon = {steps: float(algorithm._epsilon(step_of(start(), steps))) for steps in (0, 25, 50, 100, 1000)}
    assert epsilon == pytest.approx({0: 0.9, 25: 0.7, 50: 0.5, 100: 0.1, 1000: 0.1})
    at_once = replace(algorithm, epsilon_anneal_steps=0)
    assert float(at_once._epsilon(step_of(start()))) == pytest.approx(0.1)


def test_epsilon_mixes_into_the_policy_only_where_it_should():
    logits, action_mask = jnp.asarray([[4.0, 0.0, -4.0]]), jnp.asarray([[True, True, False]])
    epsilon = jnp.asarray(0.3)
    alone = policies.masked_softmax(logits[0], action_mask[0])[None]
    assert_close(replace(SMALL, epsilon_in="behaviour")._policy(logits, action_mask, epsilon), alone)
    # Released: mixed over all three actions, then masked and rescaled.
    unmasked = 0.7 * jax.nn.softmax(logits[0]) + 0.3 / 3
    mixed = jnp.where(action_mask[0], unmasked, 0) / jnp.sum(unmasked[:2])
    assert_close(replace(SMALL, epsilon_in="policy")._policy(logits, action_mask, epsilon), mixed[None])


@pytest.mark.parametrize("epsilon_in", ["behaviour", "policy"])
def test_behaviour_probability_is_that_of_the_mixture(epsilon_in: Any):
    algorithm = replace(SMALL, epsilon_in=epsilon_in, epsilon_start=1.0, epsilon_end=1.0)
    step = first_step()
    choice, _ = compiled(functools.partial(algorithm.act, explore=True))(start(), algorithm.initial_carry(SPEC), step, KEY)
    assert_close(choice.behaviour_prob, 1 / step.action_mask.sum(axis=1))


def first_step() -> TimeStep:
    """Agent i may take actions 0 to i."""
    return TimeStep(
        obs=jnp.ones((3, 5)),
        state=jnp.ones(7),
        action_mask=jnp.asarray(np.tril(np.ones((3, 4), bool))),
        reward=jnp.zeros(()),
        terminated=jnp.zeros((), bool),
        truncated=jnp.zeros((), bool),
        metrics=jnp.zeros(0),
    )


# ------------------------------------------------------------------------------------------------------- the critic's rows


@pytest.mark.parametrize("epsilon_in", ["behaviour", "policy"])
def test_sampled_play_draws_from_the_newest_actors_without_epsilon(epsilon_in: Any):
    """Where all exploration is uniform. The averaged actors, which play greedily, are others."""
    algorithm = replace(SMALL, epsilon_start=1.0, epsilon_end=1.0, epsilon_in=epsilon_in)
    learner = replace(start(), actor_ema=jax.tree.map(lambda x: -x, start().actor))
    carry, step = algorithm.initial_carry(SPEC), first_step()

    def play(key: Any, played: Any) -> Any:
        return jax.vmap(lambda k: played.act(learner, carry, step, k, explore=True)[0])(jax.random.split(key, 4000))

    _, logits = recurrent.step_team(learner.actor, carry.hidden, step.obs, carry.last_action)
    policy = jax.vmap(policies.masked_softmax)(logits, step.action_mask)
    choice = compiled(functools.partial(play, played=algorithm.sampling()))(KEY)
    assert_close(choice.behaviour_prob, jax.vmap(policies.probability, (None, 0))(policy, choice.action))
    drawn = np.mean(np.asarray(jax.nn.one_hot(choice.action, SPEC.action_size)), axis=0)
    np.testing.assert_allclose(drawn, policy, atol=0.04)
    assert (
        np.abs(np.asarray(policy) - np.asarray(step.action_mask) / np.sum(step.action_mask, axis=-1, keepdims=True)).max() > 0.05
    )  # not uniform


def test_timestep_schedule_takes_the_steps_in_order():
    episodes, off_policy = time_first()
    data, count = SMALL._minibatches(KEY, episodes, off_policy, row_number(episodes))
    assert int(count) == max(LENGTHS)
    np.testing.assert_array_equal(data.target, row_number(episodes))
    assert_close(jnp.sum(data.weight, axis=1), jnp.ones(4))
    assert_close(data.weight[2], jnp.asarray([0, 0.5, 0, 0.5, 0]))  # the episodes of lengths 4 and 3


def test_shuffled_schedule_visits_every_step_once():
    episodes, off_policy = time_first()
    algorithm = replace(SMALL, critic_schedule="shuffled")
    data, count = algorithm._minibatches(KEY, episodes, off_policy, row_number(episodes))
    assert int(count) == -(-sum(LENGTHS) // len(LENGTHS))
    visited = np.asarray(data.target[: int(count)])[np.asarray(data.weight[: int(count)]) > 0]
    np.testing.assert_array_equal(np.sort(visited), np.asarray(row_number(episodes))[np.asarray(episodes.mask)])
    assert not (np.sort(visited) == visited).all()
    # What belongs to a row goes where the row goes.
    flat = lambda x: np.asarray(x).reshape(-1, *x.shape[2:])  # noqa: E731
    np.testing.assert_array_equal(flat(data.state), flat(episodes.state[:-1])[flat(data.target).astype(int)])
    np.testing.assert_array_equal(flat(data.action), flat(episodes.action)[flat(data.target).astype(int)])
    other, _ = algorithm._minibatches(jax.random.key(5), episodes, off_policy, row_number(episodes))
    assert (other.target != data.target).any()


@pytest.mark.parametrize("schedule", ["timestep", "shuffled", "full"])
def test_kappa_is_the_share_of_off_policy_steps(schedule: Any):
    episodes, off_policy = time_first()
    algorithm = replace(SMALL, critic_schedule=schedule, kappa=0.3)
    # In place of the target: whether the row is off-policy.
    data, count = algorithm._minibatches(KEY, episodes, off_policy, jnp.broadcast_to(off_policy, episodes.mask.shape) * 1.0)
    weight, is_off = np.asarray(data.weight[: int(count)]), np.asarray(data.target[: int(count)]) > 0
    axis = None if schedule == "full" else 1
    has_off, has_on = ((weight > 0) & is_off).any(axis), ((weight > 0) & ~is_off).any(axis)
    # A minibatch that is partly filled counts as much less.
    full = (weight > 0).mean(axis=1) if schedule == "shuffled" else 1.0
    assert_close((weight * is_off).sum(axis), 0.3 * has_off * full)
    assert_close((weight * ~is_off).sum(axis), 0.7 * has_on * full)


def test_without_kappa_all_steps_share_alike():
    episodes, off_policy = time_first()
    data, _ = replace(SMALL, critic_schedule="full")._minibatches(KEY, episodes, off_policy, row_number(episodes))
    assert_close(data.weight, episodes.mask / sum(LENGTHS))


# ------------------------------------------------------------------------------------------------------ the critic's steps


@functools.cache
def targets() -> Array:
    """y of every row of `time_first()`; they do not depend on the schedule."""
    return compiled(lambda learner: SMALL.critic_targets(learner, *time_first(), KEY))(start())


@compiled
def step_by_hand(learner: DOPLearner, v: PyTree, target: Array, counts: Array) -> tuple[DOPLearner, PyTree]:
    """RMSprop down the mean squared error of the rows that count: v <- 0.99 v + 0.01 g^2, p <- p - rate g / (sqrt(v) + 1e-5)."""
    episodes, _ = time_first()

    @jax.grad
    def gradient(critic: Any) -> Array:
        total = jax.vmap(jax.vmap(critic.total))(
            learner.state_normaliser.normalise(episodes.state[:-1]), episodes.obs[:-1], episodes.action
        )
        return jnp.sum(counts * (total - target) ** 2) / jnp.sum(counts)

    g = gradient(learner.critic)
    norm = jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(g)))
    g = jax.tree.map(lambda x: x * jnp.minimum(1, SMALL.max_grad_norm / norm), g)
    v = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g**2, v, g)
    critic = jax.tree.map(lambda p, g, v: p - SMALL.critic_lr * g / (jnp.sqrt(v) + 1e-5), learner.critic, g, v)
    return replace(learner, critic=critic), v


@pytest.mark.parametrize("schedule", ["full", "timestep"])
def test_critic_steps_by_hand(schedule: Any):
    """`full`: one step on the mean over all filled steps. `timestep`: one on the mean over each time's, in order."""
    updated, metrics, steps = critic_only(replace(SMALL, critic_schedule=schedule))(start(), KEY)
    mask = np.asarray(time_first()[0].mask)
    groups = [mask] if schedule == "full" else [mask * (np.arange(len(mask)) == t)[:, None] for t in range(max(LENGTHS))]
    expected, v = start(), jax.tree.map(jnp.zeros_like, start().critic)
    for counts in groups:
        expected, v = step_by_hand(expected, v, targets(), jnp.asarray(counts, jnp.float32))
    assert int(steps) == len(groups)
    assert_trees_close(updated.critic, expected.critic, rtol=1e-3, atol=1e-5)
    assert_close(metrics["target_mean"], np.asarray(targets())[mask].mean())


def test_on_policy_dop_learns_without_off_policy_episodes():
    """off_policy_batch=0: the critic's data are the on-policy episodes alone (Sec. 5.1.1)."""
    algorithm = replace(SMALL, off_policy_batch=0, kappa=None)
    algorithm.check(SPEC)
    empty = jax.tree.map(lambda x: x[:0], batch().off_policy)
    updated, metrics = compiled(lambda learner: algorithm.update(learner, replace(batch(), off_policy=empty), KEY))(start())
    assert_close(updated.since_target, 1)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((updated, metrics)))
    assert any((x != y).any() for x, y in zip(jax.tree.leaves(updated.critic), jax.tree.leaves(start().critic), strict=True))


# ------------------------------------------------------------------------------------------------------------------ target


@pytest.mark.parametrize(
    ("unit", "steps", "due"),
    [("iterations", 100, [False, False, True, False, False, True]), ("critic_steps", 2, [False, True, False, True, False, True])],
)
def test_target_is_copied_exactly_at_its_interval(unit: Any, steps: int, due: list[bool]):
    algorithm = replace(SMALL, target_unit=unit, target_interval=3)
    learner = start()
    for copied in due:
        old = learner.target
        # The critic moves a little every iteration.
        learner = replace(learner, critic=jax.tree.map(lambda x: x + 1.0, learner.critic))
        learner = algorithm._update_target(learner, jnp.asarray(steps))
        assert_trees_equal(learner.target, learner.critic if copied else old)


# ------------------------------------------------------------------------------------------------------------------ actors


class Seen(NamedTuple):
    """What an actor's loss is made of; leading axes: time, episode."""

    loss: Array
    metrics: dict[str, Array]
    gradient: Any
    policy: Array
    values: stochastic_dop.Values


@functools.cache
def actor_loss(algorithm: StochasticDOP) -> Any:
    """(learner, episodes) -> Seen: the loss that `_update_actors` steps down, and what it sees. Episodes lead."""

    @compiled
    def look(learner: DOPLearner, episodes: Episode) -> Seen:
        by_time = jax.tree.map(lambda x: x.swapaxes(0, 1), episodes)
        length = max_length(by_time)
        values = algorithm._values(learner, learner.critic, by_time, length)
        loss = jax.value_and_grad(algorithm._actor_loss, has_aux=True)
        (value, metrics), gradient = loss(learner.actor, jnp.zeros(()), by_time, values, length)
        policy = algorithm._policy(recurrent.unroll(learner.actor, by_time, length), by_time.action_mask, jnp.zeros(()))
        return Seen(loss=value, metrics=metrics, gradient=gradient, policy=policy, values=values)

    return look


def test_sampled_gradient_is_the_expected_one_in_expectation():
    """One agent and one step: every action, weighed by the policy's own probability of it."""
    spec = make_spec(n_agents=1, time_limit=1)
    learner = compiled(SMALL.init, static_argnums=1)(KEY, spec)
    episode = make_episodes(jax.random.key(2), spec, (1,))
    expected = actor_loss(replace(SMALL, policy_gradient="expected"))(learner, episode)
    sampled = actor_loss(replace(SMALL, policy_gradient="sampled"))
    policy = expected.policy[0, 0, 0]
    assert (policy > 0).sum() > 1
    actions = [action for action in range(spec.action_size) if policy[action] > 0]
    gradients = [sampled(learner, eqx.tree_at(lambda e: e.action, episode, jnp.full((1, 1, 1), action))).gradient for action in actions]
    weigh = lambda *g: sum(float(policy[action]) * np.asarray(x) for action, x in zip(actions, g, strict=True))  # noqa: E731
    assert_trees_close(jax.tree.map(weigh, *gradients), expected.gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("clip", [0.5, 1e6])
def test_off_policy_actors_weigh_steps_by_the_clipped_joint_ratio(clip: float):
    """Theorem 7 with the ratio cut: - mean min(prod_i pi_i / beta_i, clip) sum_i U_i log pi_i, summed by hand."""
    algorithm = replace(SMALL, policy_gradient="sampled", actor_episodes="off_policy", ratio_clip=clip)
    seen, episodes = jax.device_get((actor_loss(algorithm)(start(), batch().off_policy), batch().off_policy))
    total, terms, ratios = 0.0, 0, []
    each = np.arange(SPEC.n_agents)
    for e, t in np.argwhere(episodes.mask):
        pi, q, k, action = seen.policy[t, e], seen.values.q[t, e], seen.values.k[t, e], episodes.action[e, t]
        ratios.append(np.prod(pi[each, action] / episodes.behaviour_prob[e, t]))
        utility = k * (q[each, action] - np.sum(pi * q, axis=-1))
        total += min(ratios[-1], clip) * np.sum(utility * np.log(pi[each, action]))
        terms += SPEC.n_agents
    assert float(seen.loss) == pytest.approx(-total / terms, rel=1e-4)
    assert clip > 1 or max(ratios) > clip  # something was cut


def test_entropy_bonus_and_scaled_utilities():
    """The bonus adds the entropy's gradient; the scale divides the utilities' one. The reported loss stays that of Eq. 9."""
    plain, bonus, scaled = (
        actor_loss(replace(SMALL, **changes))(start(), batch().on_policy)
        for changes in ({}, {"entropy_bonus": 2.0}, {"scale_advantage": True})
    )
    assert_close(bonus.loss, plain.loss - 2.0 * plain.metrics["policy_entropy"])
    assert_close(bonus.metrics["actor_loss"], plain.metrics["actor_loss"])
    shrink = functools.partial(jax.tree.map, lambda g: g / (plain.metrics["advantage_rms"] + 1e-6))
    assert_trees_close(scaled.gradient, shrink(plain.gradient), rtol=1e-3, atol=1e-5)


def test_actors_take_as_many_steps_as_they_are_told():
    """Two single steps, the optimiser's state carried over, are one update of two steps."""
    once = compiled(lambda learner: SMALL._update_actors(learner, batch().actor)[0])
    twice = compiled(lambda learner: replace(SMALL, actor_steps=2)._update_actors(learner, batch().actor)[0])
    assert_trees_close(once(once(start())).actor, twice(start()).actor, rtol=1e-4, atol=1e-6)


def test_actor_steps_take_the_episodes_in_turns():
    """Two steps on two of four episodes each are a step on the first and third, and then one on the second and fourth."""
    spec = make_spec(n_agents=2, time_limit=4)
    learner = compiled(SMALL.init, static_argnums=1)(KEY, spec)
    episodes = make_episodes(jax.random.key(2), spec, (2, 4, 3, 1))
    half = lambda first: jax.tree.map(lambda x: x[first::2], episodes)  # noqa: E731
    by_hand = compiled(lambda learner: SMALL._update_actors(SMALL._update_actors(learner, half(0))[0], half(1))[0])
    turns = compiled(lambda learner: replace(SMALL, actor_steps=2, actor_batch=2)._update_actors(learner, episodes)[0])
    assert_trees_close(by_hand(learner).actor, turns(learner).actor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("who", ["latest", "on_policy", "off_policy"])
def test_actors_learn_from_the_episodes_that_are_named(who: Any):
    """`sample` on a replay that answers with what it was asked."""

    class Asked:
        def latest(self, n: int) -> Any:
            return ("latest", n)

        def uniform(self, key: Any, n: int, *, window: int | None = None) -> Any:
            return ("uniform", n, window)

    asked: Any = Asked()
    found = replace(SMALL, actor_episodes=who).sample(asked, KEY)
    newest, on_policy, off_policy = ("latest", 3), ("uniform", 3, 32), ("uniform", 2, None)
    assert found.off_policy == off_policy
    assert found.on_policy == (newest if who == "latest" else on_policy)
    assert found.actor == {"latest": newest, "on_policy": on_policy, "off_policy": off_policy}[who]


# ---------------------------------------------------------------------------------------------------------------- networks


def test_separate_parameters_for_each_agent():
    """Agent 1's actor and local critic change; the others' answers do not."""
    algorithm = replace(SMALL, share_parameters="none")
    learner = start(algorithm)
    bump = functools.partial(jax.tree.map, lambda x: x.at[1].add(1.0))
    where = lambda x: (x.actor.network, x.critic.local.network)  # noqa: E731
    changed = eqx.tree_at(where, learner, tuple(map(bump, where(learner))))
    obs, state = jnp.ones((3, 5)), jnp.ones(7)
    carry = algorithm.initial_carry(SPEC)

    @compiled
    def answers(learner: DOPLearner) -> tuple[Array, Array]:
        return recurrent.step_team(learner.actor, carry.hidden, obs, carry.last_action)[1], learner.critic.local_q(state, obs)

    for before, after in zip(answers(learner), answers(changed), strict=True):
        np.testing.assert_array_equal((before != after).any(axis=-1), [False, True, False])
    # The paper's agents start from parameters of their own, too.
    assert all(len(np.unique(np.asarray(x), axis=0)) == 3 for x in jax.tree.leaves(learner.actor) if np.asarray(x).any())


def test_states_are_standardised_by_the_on_policy_episodes():
    algorithm = replace(SMALL, normalise_state=True)
    updated, _ = compiled(lambda learner: replace(algorithm, critic_schedule="full").update(learner, batch(), KEY))(start())
    seen = np.concatenate([np.asarray(batch().on_policy.state[e, :length]) for e, length in enumerate(LENGTHS[:3])])
    moments = updated.state_normaliser
    assert int(moments.count) == len(seen)
    assert_close(moments.mean, seen.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert_close(moments.variance, seen.var(axis=0), rtol=1e-4, atol=1e-5)
    state, _ = algorithm._inputs(updated, jnp.asarray(seen), jnp.zeros((len(seen), 3, 5)))
    assert_close(state, moments.normalise(jnp.asarray(seen)))
    as_it_is, _ = replace(algorithm, normalise_state=False)._inputs(updated, jnp.asarray(seen), jnp.zeros((len(seen), 3, 5)))
    np.testing.assert_array_equal(as_it_is, seen)


def test_total_is_the_sum_that_equation_4_says():
    state, obs, action = jnp.linspace(-1, 1, 7), jnp.ones((3, 5)), jnp.asarray([0, 2, 1])
    parts = compiled(lambda critic: (*critic.mixer(state), critic.local_q(state, obs), critic.total(state, obs, action)))
    k, b, q, total = parts(start().critic)
    assert_close(total, k[0] * q[0, 0] + k[1] * q[1, 2] + k[2] * q[2, 1] + b)
    assert_close(losses.gather_actions(q, action), [q[0, 0], q[1, 2], q[2, 1]])
