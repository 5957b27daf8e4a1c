"""VDN and QMIX: targets, exploration and target networks against rows written out by hand, and the values of small games."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, fields, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Int

import dop
from dop.algorithms.base.q_learning import QLearner, QLearning
from dop.algorithms.qmix import QMIX
from dop.algorithms.vdn import VDN
from dop.errors import ConfigError
from dop.networks.teams import recurrent
from dop.training.program import Program
from dop.types import Episode, TimeStep
from helpers import assert_trees_close, assert_trees_equal, make_episodes, make_spec
from probes import Probe, ProbeState

SPEC = make_spec(time_limit=4)
SMALL = QMIX(actor=dop.GRU(hidden_size=8), embedding=4, hypernet_hidden=8, replay_batch=3, gamma=0.5)
LENGTHS = (2, 4, 1)
"""The second is cut by the time limit, the others terminate."""
KEY = jax.random.key(0)

QUICKLY = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
compiled = functools.partial(jax.jit, compiler_options=QUICKLY)  # compiles in half the time
assert_close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)


@functools.cache
def start(algorithm: QLearning = SMALL) -> QLearner:
    """A learner whose target networks are others than its own, and whose agents are not of the same mind at every step."""
    first, second = jax.random.split(KEY)
    init = compiled(algorithm.init, static_argnums=1)
    louder = lambda value: eqx.tree_at(lambda v: v.agents, value, jax.tree.map(lambda x: 4 * x, value.agents))  # noqa: E731
    learner = init(first, SPEC)
    return replace(learner, online=louder(learner.online), target=louder(init(second, SPEC).online))


@functools.cache
def episodes() -> Episode:
    return make_episodes(jax.random.key(1), SPEC, LENGTHS)


@functools.cache
def values(algorithm: QLearning) -> tuple[np.ndarray, np.ndarray]:
    """Q_i of the online and of the target networks at every step; axes: episode, time, agent, action. One step after the other."""

    @compiled
    def of(team: Any, episode: Episode) -> Array:
        last = jnp.concatenate([jnp.full((1, SPEC.n_agents), -1), episode.action])
        hidden = algorithm.initial_carry(SPEC).hidden
        return jax.lax.scan(lambda hidden, x: recurrent.step_team(team, hidden, *x), hidden, (episode.obs, last))[1]

    learner, each = start(algorithm), [jax.tree.map(lambda x, e=e: x[e], episodes()) for e in range(len(LENGTHS))]
    online, target = (np.stack([of(value.agents, episode) for episode in each]) for value in (learner.online, learner.target))
    return online, target


def error_by_hand(algorithm: QLearning, e: int, t: int) -> float:
    """Q_tot - y of one step, with lambda-returns unrolled into the recursion's next step."""
    learner, (online, target) = start(algorithm), values(algorithm)
    taken = jnp.asarray([online[e, t, i, episodes().action[e, t, i]] for i in range(3)])
    return float(learner.online.mixer(taken, episodes().state[e, t])) - target_by_hand(algorithm, online, target, e, t)


def target_by_hand(algorithm: QLearning, online: np.ndarray, target: np.ndarray, e: int, t: int) -> float:
    """The agents' best legal actions at t + 1 by the online networks; what the target networks say that these are worth."""
    if bool(episodes().terminated[e, t]):
        return float(episodes().reward[e, t])
    best = [
        max((a for a in range(4) if episodes().action_mask[e, t + 1, i, a]), key=lambda a, i=i: online[e, t + 1, i, a]) for i in range(3)
    ]
    worth = jnp.asarray([target[e, t + 1, i, a] for i, a in enumerate(best)])
    q_next = float(start(algorithm).target.mixer(worth, episodes().state[e, t + 1]))
    last = t == LENGTHS[e] - 1
    follows = q_next if last else target_by_hand(algorithm, online, target, e, t + 1)
    mix = algorithm.td_lambda
    return float(episodes().reward[e, t]) + algorithm.gamma * ((1 - mix) * q_next + mix * follows)


# ------------------------------------------------------------------------------------------------------------------ learning


@pytest.mark.parametrize("lambda_", [0.0, 0.6])
@pytest.mark.parametrize("cls", [QMIX, VDN])
def test_loss_by_hand(cls: Any, lambda_: float) -> None:
    """The mean over all filled steps of the squared error to double Q-learning's target, cut episodes bootstrapped."""
    common = {field.name: getattr(SMALL, field.name) for field in fields(cls)}
    algorithm = cls(**{**common, "td_lambda": lambda_})
    loss, metrics = compiled(algorithm._loss)(start(algorithm).online, start(algorithm), recurrent.time_first(episodes()))
    errors = np.asarray([error_by_hand(algorithm, e, t) for e, length in enumerate(LENGTHS) for t in range(length)])
    assert_close(loss, np.mean(errors**2))
    assert_close(metrics["critic_loss"], np.mean(errors**2))
    assert_close(metrics["td_error_abs"], np.mean(np.abs(errors)))
    assert_close(metrics["q_taken_mean"] - metrics["target_mean"], np.mean(errors))


def test_the_online_networks_choose_among_legal_actions_and_the_target_networks_value() -> None:
    """What the test above rests on: with these values the three ways of taking the maximum differ."""
    online, target = values(SMALL)
    # The steps that something is bootstrapped from.
    next_steps = [(e, t + 1) for e, t in np.argwhere(episodes().mask) if not episodes().terminated[e, t]]
    online, target, action_mask = (np.stack([x[e, t] for e, t in next_steps]) for x in (online, target, np.asarray(episodes().action_mask)))
    best = np.where(action_mask, online, -np.inf).argmax(axis=-1)
    assert (best != online.argmax(axis=-1)).any()
    assert (best != np.where(action_mask, target, -np.inf).argmax(axis=-1)).any()


def test_targets_are_constants_to_the_gradient() -> None:
    """The slope along the gradient's direction is that of the error to fixed targets."""
    learner, batch = start(), recurrent.time_first(episodes())
    gradient = compiled(jax.grad(SMALL._loss, has_aux=True))(learner.online, learner, batch)[0]
    (online, target), mask = values(SMALL), np.asarray(episodes().mask)
    y = np.zeros(mask.shape, np.float32)
    for e, t in np.argwhere(mask):
        y[e, t] = target_by_hand(SMALL, online, target, e, t)

    @compiled
    @jax.grad
    def to_fixed(value: Any) -> Array:
        q = recurrent.unroll(value.agents, batch, jnp.asarray(max(LENGTHS)))[:-1]
        taken = jnp.take_along_axis(q, batch.action[..., None], axis=-1)[..., 0]
        total = jax.vmap(jax.vmap(value.mixer))(taken, batch.state[:-1])
        return jnp.sum(jnp.where(batch.mask, total - y.T, 0) ** 2) / mask.sum()

    jax.tree.map(assert_close, gradient, to_fixed(learner.online))
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient.mixer))


def test_one_adam_step_by_hand() -> None:
    """The first step is the rate along the sign of the gradient, for agents and mixer alike."""
    algorithm = replace(SMALL, optimiser="adam", optimiser_eps=1e-12, lr=0.01)
    learner = replace(start(), optimiser=compiled(algorithm.init, static_argnums=1)(KEY, SPEC).optimiser)
    updated, metrics = compiled(algorithm.update)(learner, jax.tree.map(lambda x: x[None], episodes()), KEY)
    gradient = compiled(jax.grad(algorithm._loss, has_aux=True))(learner.online, learner, recurrent.time_first(episodes()))[0]
    norm = np.sqrt(sum(np.sum(np.asarray(g) ** 2) for g in jax.tree.leaves(gradient)))
    assert_close(metrics["critic_grad_norm"], norm)

    def check(new: Array, old: Array, g: Array) -> None:
        clear = np.abs(g) > 1e-6
        assert_close((new - old)[clear], -0.01 * np.sign(g)[clear], rtol=2e-2)

    jax.tree.map(check, updated.online, learner.online, gradient)


def test_several_updates_an_iteration_are_as_many_iterations_of_one() -> None:
    """Each on episodes of its own, the optimiser's state carried over."""
    algorithm = replace(SMALL, target_interval=100)
    one, other = jax.tree.map(lambda x: x[None], episodes()), make_episodes(jax.random.key(7), SPEC, LENGTHS)
    update = compiled(algorithm.update)
    separately = update(update(start(), one, KEY)[0], jax.tree.map(lambda x: x[None], other), KEY)[0]
    together = update(start(), jax.tree.map(lambda x, y: jnp.stack([x[0], y]), one, other), KEY)[0]
    assert_trees_close(together.online, separately.online, rtol=1e-3, atol=1e-5)


def test_sample_draws_uniformly_for_every_update() -> None:
    class Asked:
        def uniform(self, key: Any, n: int, *, window: int | None = None) -> Any:
            assert window is None
            return np.arange(n)

    sampled: Any = replace(SMALL, updates_per_iteration=4).sample(Asked(), KEY)  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(sampled, np.arange(12).reshape(4, 3))


def test_states_are_standardised_for_the_mixer() -> None:
    algorithm = replace(SMALL, normalise_state=True)
    updated, _ = compiled(algorithm.update)(start(), jax.tree.map(lambda x: x[None], episodes()), KEY)
    seen = np.concatenate([np.asarray(episodes().state[e, :length]) for e, length in enumerate(LENGTHS)])
    assert int(updated.state_normaliser.count) == len(seen)
    assert_close(updated.state_normaliser.mean, seen.mean(axis=0))
    assert_close(updated.state_normaliser.variance, seen.var(axis=0))
    batch = recurrent.time_first(episodes())
    standardised = eqx.tree_at(lambda e: e.state, batch, updated.state_normaliser.normalise(batch.state))
    assert_close(algorithm._loss(updated.online, updated, batch)[0], SMALL._loss(updated.online, updated, standardised)[0])


@pytest.mark.parametrize(("episodes_an_iteration", "due"), [(1, [False, False, True] * 2), (2, [False, True] * 3), (8, [True] * 3)])
def test_target_networks_are_copied_every_so_many_episodes(episodes_an_iteration: int, due: list[bool]) -> None:
    algorithm = replace(SMALL, target_interval=3, episodes_per_iteration=episodes_an_iteration)
    update, learner, batch = compiled(algorithm.update), start(), jax.tree.map(lambda x: x[None], episodes())
    for copied in due:
        before = learner
        learner, _ = update(learner, batch, KEY)
        assert_trees_equal(learner.target, before.online if copied else before.target)


# ------------------------------------------------------------------------------------------------------------------- acting


@pytest.mark.parametrize(("env_steps", "epsilon"), [(0, 1.0), (25, 0.6), (50, 0.2), (1000, 0.2)])
def test_exploring_is_the_epsilon_mixture_of_the_greedy_policy(env_steps: int, epsilon: float) -> None:
    """epsilon falls from 1 to 0.2 over 50 steps. Of 3 legal actions each has epsilon / 3, the greedy one 1 - epsilon more."""
    algorithm = replace(SMALL, epsilon_end=0.2, epsilon_anneal_steps=50)
    learner, carry = replace(start(), env_steps=jnp.asarray(env_steps)), algorithm.initial_carry(SPEC)
    action_mask = jnp.asarray([[True, True, False, True]] * 3)
    step = TimeStep(
        obs=jax.random.normal(KEY, (3, 5)),
        state=jnp.zeros(7),
        action_mask=action_mask,
        reward=jnp.zeros(()),
        terminated=jnp.zeros((), bool),
        truncated=jnp.zeros((), bool),
        metrics=jnp.zeros((0,)),
    )
    _, q = recurrent.step_team(learner.online.agents, carry.hidden, step.obs, carry.last_action)
    best = np.where(action_mask, q, -np.inf).argmax(axis=-1)
    greedy, _ = algorithm.act(learner, carry, step, KEY, explore=False)
    np.testing.assert_array_equal(greedy.action, best)
    np.testing.assert_array_equal(greedy.behaviour_prob, 1)
    explore = compiled(jax.vmap(functools.partial(algorithm.act, explore=True), in_axes=(None, None, None, 0)))
    choice, next_memory = explore(learner, carry, step, jax.random.split(KEY, 3000))
    is_best = np.asarray(choice.action == best)
    assert_close(choice.behaviour_prob, np.where(is_best, 1 - epsilon + epsilon / 3, epsilon / 3))
    assert not (choice.action == 2).any()
    assert_close(is_best.mean(axis=0), 1 - epsilon + epsilon / 3, atol=0.05)
    np.testing.assert_array_equal(next_memory.last_action, choice.action)


# ------------------------------------------------------------------------------------------------------------- small games


@dataclass(frozen=True, kw_only=True)
class Payoff(Probe):
    """One step; the joint action earns its entry of a table."""

    table: tuple[tuple[float, ...], ...]
    n_actions: int = 2

    def reward(self, state: ProbeState, action: Int[Array, " agent"]) -> Float[Array, ""]:
        return jnp.asarray(self.table)[action[0], action[1]]


SUM = ((1.0, 3.0), (-2.0, 0.0))
"""1 for agent 0's first action and -2 for its second; 0 for agent 1's first and 2 for its second: a sum."""


def joint_values(algorithm: QMIX | VDN, game: Payoff, iterations: int) -> np.ndarray:
    """Q_tot of every joint action after learning from uniform play."""
    program = Program(algorithm=algorithm, environment=game)

    @compiled
    def run(key: Any) -> Array:
        learner: Any = program.chunk(program.warm_up(program.start(key)), iterations)[0].learner
        carry = algorithm.initial_carry(game.spec)
        _, q = recurrent.step_team(learner.online.agents, carry.hidden, jnp.ones((2, 1)), carry.last_action)
        each = jnp.asarray(list(itertools.product(range(2), repeat=2)))
        return jax.vmap(lambda a: learner.online.mixer(q[jnp.arange(2), a], jnp.ones(1)))(each)

    return np.asarray(run(jax.random.key(0))).reshape(2, 2)


UNIFORM: dict[str, Any] = {
    "epsilon_end": 1.0,
    "actor": dop.GRU(hidden_size=16),
    "episodes_per_iteration": 16,
    "replay_batch": 64,
    "replay_capacity": 1024,
    "optimiser": "adam",
    "optimiser_eps": 1e-8,
    "lr": 1e-2,
}


def test_vdn_learns_a_sum_exactly() -> None:
    np.testing.assert_allclose(joint_values(VDN(**UNIFORM), Payoff(table=SUM), 400), SUM, atol=0.05)


# -------------------------------------------------------------------------------------------------------- hyper-parameters


@pytest.mark.parametrize("cls", [QMIX, VDN])
def test_default_preset_is_pymarls(cls: Any) -> None:
    pymarl = {
        "gamma": 0.99,
        "td_lambda": 0.0,
        "target_interval": 200,
        "actor": dop.GRU(hidden_size=64),
        "share_parameters": "all",
        "normalise_state": False,
        "epsilon_start": 1.0,
        "epsilon_end": 0.05,
        "epsilon_anneal_steps": 50_000,
        "episodes_per_iteration": 1,
        "updates_per_iteration": 1,
        "replay_capacity": 5000,
        "replay_batch": 32,
        "optimiser": "rmsprop",
        "lr": 5e-4,
        "rms_decay": 0.99,
        "optimiser_eps": 1e-5,
        "max_grad_norm": 10.0,
    }
    mixer = {"embedding": 32, "hypernet_hidden": 64} if cls is QMIX else {}
    assert {field.name: getattr(cls(), field.name) for field in fields(cls)} == pymarl | mixer


@pytest.mark.parametrize("cls", [QMIX, VDN])
def test_fine_tuned_preset_is_pymarl2s(cls: Any) -> None:
    """Half the squared error cut at a norm of 10 is the squared error cut at 20."""
    pymarl2 = {"td_lambda": 0.6, "epsilon_anneal_steps": 100_000, "episodes_per_iteration": 8, "replay_batch": 128, "max_grad_norm": 20.0}
    adam = {"optimiser": "adam", "lr": 1e-3, "optimiser_eps": 1e-8}
    assert cls.presets()["fine-tuned"] == replace(cls(), **pymarl2, **adam)


def test_a_replay_that_cannot_hold_an_iteration_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"replay_capacity \(4\).*episodes_per_iteration \(8\)"):
        VDN(replay_capacity=4, episodes_per_iteration=8).check(SPEC)


def test_continuous_actions_are_refused() -> None:
    with pytest.raises(ConfigError, match="qmix needs discrete actions"):
        QMIX().check(replace(SPEC, action_kind="box"))
