"""Every algorithm learns every probe environment, whose values are worked out by hand: the first that fails says what is broken.

The probes differ in nothing that a program is compiled for (`OneOf`), so that each algorithm is compiled once for them all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from jaxtyping import Array, Float

import dop
from dop import losses
from dop.algorithms import algorithms
from dop.algorithms.coma import COMA
from dop.algorithms.deterministic_dop import DeterministicDOP
from dop.algorithms.ippo import IPPO
from dop.algorithms.maac import MAAC
from dop.algorithms.maddpg import MADDPG
from dop.algorithms.mappo import MAPPO
from dop.algorithms.qmix import QMIX
from dop.algorithms.stochastic_dop import StochasticDOP
from dop.algorithms.vdn import VDN
from dop.networks.teams import recurrent
from dop.training.program import Program
from dop.types import Metrics
from helpers import slow_if_same_code
from probes import ConstantReward, Coordination, DelayedReward, ObservationValue, OneOf, Probe, Recurrent, TimeLimit

LEARNED = (ConstantReward(), ObservationValue(), DelayedReward(), TimeLimit(limit=3), Coordination(), Recurrent())
CHUNK = 50
"""Iterations in one call."""


class Adapter(NamedTuple):
    """How an algorithm is made small and quick, and what it says of a joint action."""

    algorithm: Any
    value: Callable[[Any, Array, Array, Array], Float[Array, ""]]
    """Of learner, state, what the agents saw up to now (time, agent, obs) and joint action."""
    remembers: bool = True
    """Whether its agents have a memory."""
    explores: bool = True
    """Whether its exploring agents stay random; else their own policy becomes deterministic."""


def dop_value(learner: Any, state: Array, obs: Array, action: Array) -> Float[Array, ""]:
    return learner.critic.total(learner.state_normaliser.normalise(state), obs[-1], action)


def coma_value(learner: Any, state: Array, obs: Array, action: Array) -> Float[Array, ""]:
    """What the agents' critics say of it, which is the same in the end, averaged."""
    return jnp.mean(losses.gather_actions(learner.critic(state, obs[-1], action), action))


def q_value(learner: Any, state: Array, obs: Array, action: Array) -> Float[Array, ""]:
    """Where the same joint action was taken before."""
    last = jnp.tile(action, (len(obs), 1)).at[0].set(-1)
    hidden = recurrent.initial_hidden(learner.online.agents)
    _, q = jax.lax.scan(lambda hidden, x: recurrent.step_team(learner.online.agents, hidden, *x), hidden, (obs, last))
    return learner.online.mixer(losses.gather_actions(q[-1], action), state)


def deterministic_value(learner: Any, state: Array, obs: Array, action: Array) -> Float[Array, ""]:
    return learner.critic.total(state, obs[-1], jax.nn.one_hot(action, number_of_actions(learner)))


def maddpg_value(learner: Any, state: Array, obs: Array, action: Array) -> Float[Array, ""]:
    values = learner.critic.map(lambda net, *x: net(*x), state, jax.nn.one_hot(action, number_of_actions(learner)), in_axes=(None, None))
    return jnp.mean(values)


def maac_value(learner: Any, state: Array, obs: Array, action: Array) -> Float[Array, ""]:
    """What the agents' critics say of it, which is the same in the end, averaged."""
    q, _ = learner.critic(obs[-1], jax.nn.one_hot(action, number_of_actions(learner)), jnp.ones(len(action), bool))
    return jnp.mean(losses.gather_actions(q, action))


def ppo_value(learner: Any, state: Array, obs: Array, action: Array) -> Float[Array, ""]:
    """V of what was observed, whatever the action: the policy's own is the best one in the end. The state's critic has no memory."""
    active, critic = jnp.ones(len(action), bool), learner.critic
    _, values = jax.lax.scan(lambda hidden, obs: critic(hidden, state, obs, active), critic.init_state(), obs)
    return jnp.mean(learner.value_normaliser.denormalise(values[-1]))


def number_of_actions(learner: Any) -> int:
    """How many actions there are."""
    return learner.actor.network.action_size


OFF_POLICY: dict[str, Any] = {
    "gamma": 0.9,
    "critic": dop.MLP(hidden_size=32),
    "actor": dop.MLP(hidden_size=32),
    "optimiser": "adam",
    "critic_lr": 3e-3,
    "actor_lr": 3e-3,
    "optimiser_eps": 1e-8,
    "tau": 0.1,
    "episodes_per_iteration": 16,
    "replay_batch": 64,
    "replay_capacity": 256,
    "warmup_episodes": 16,
}
ATTENTION: dict[str, Any] = OFF_POLICY | {"critic": dop.MLP(hidden_size=32, layers=1), "attention_heads": 2, "entropy_weight": 0.001}


Q_LEARNING: dict[str, Any] = {
    "gamma": 0.9,
    "actor": dop.GRU(hidden_size=32),
    "optimiser": "adam",
    "lr": 3e-3,
    "updates_per_iteration": 2,
    "optimiser_eps": 1e-8,
    "target_interval": 80,
    "epsilon_start": 0.2,
    "epsilon_end": 0.2,
    "episodes_per_iteration": 16,
    "replay_batch": 32,
    "replay_capacity": 256,
}


PPO: dict[str, Any] = {
    "gamma": 0.9,
    "actor": dop.GRU(hidden_size=32),
    "actor_lr": 3e-3,
    "critic_lr": 3e-3,
    "episodes_per_iteration": 16,
    "minibatches": 2,
    "epochs": 2,
}


ADAPTERS = {
    "stochastic-dop": Adapter(
        algorithm=StochasticDOP(
            gamma=0.9,
            critic=dop.MLP(hidden_size=32),
            actor=dop.GRU(hidden_size=32),
            critic_lr=1e-3,  # at 3e-3 values swing by 0.08
            actor_lr=3e-3,
            actor_steps=1,
            target_interval=5,
            epsilon_start=0.2,
            epsilon_end=0.2,
            episodes_per_iteration=16,
            on_policy_capacity=16,
            replay_capacity=256,
        ),
        value=dop_value,
    ),
    "coma": Adapter(
        algorithm=COMA(
            gamma=0.9,
            critic=dop.MLP(hidden_size=32),
            actor=dop.GRU(hidden_size=32),
            critic_lr=1e-3,
            actor_lr=3e-3,
            target_interval=2,
            epsilon_start=0.2,
            epsilon_end=0.2,
            epsilon_in="behaviour",
            episodes_per_iteration=16,
            on_policy_batch=16,
        ),
        value=coma_value,
    ),
    "mappo": Adapter(algorithm=MAPPO(**PPO, critic=dop.MLP(hidden_size=32)), value=ppo_value, explores=False),
    "ippo": Adapter(algorithm=IPPO(**PPO, critic=dop.GRU(hidden_size=32)), value=ppo_value, explores=False),
    "qmix": Adapter(algorithm=QMIX(**Q_LEARNING), value=q_value),
    "vdn": Adapter(algorithm=VDN(**Q_LEARNING), value=q_value),
    "deterministic-dop": Adapter(
        algorithm=DeterministicDOP(**OFF_POLICY, epsilon_start=0.2, epsilon_end=0.2), value=deterministic_value, remembers=False
    ),
    "maddpg": Adapter(algorithm=MADDPG(**OFF_POLICY, epsilon_start=0.2, epsilon_end=0.2), value=maddpg_value, remembers=False),
    "maac": Adapter(
        algorithm=MAAC(**ATTENTION),
        value=maac_value,
        remembers=False,
    ),
}
every_algorithm = pytest.mark.parametrize("name", slow_if_same_code(algorithms()))


class Programs(NamedTuple):
    """What is compiled of an algorithm. `which` is a place in `LEARNED`."""

    start: Any
    """(which, key) -> state"""
    chunk: Any
    """(which, state) -> state, metrics"""
    evaluate: Any
    """(which, state) -> metrics of 32 greedy episodes"""
    value: Any
    """(learner, state, obs, action) -> Q(s, a)"""


@functools.cache
def programs(name: str) -> Programs:
    algorithm, value = ADAPTERS[name].algorithm, ADAPTERS[name].value

    def learning(which: Array) -> Program:
        return Program(algorithm=algorithm, environment=OneOf(probes=LEARNED, which=which))

    return Programs(
        start=jax.jit(lambda which, key: learning(which).start(key)),
        chunk=jax.jit(lambda which, state: learning(which).chunk(state, CHUNK)),
        evaluate=jax.jit(lambda which, state: learning(which).evaluate(state, 32)),
        value=jax.jit(value),
    )


class Trained(NamedTuple):
    learner: Any
    metrics: Metrics
    """Means over the last `CHUNK` iterations."""
    evaluation: Metrics


def train(name: str, probe: Probe, iterations: int, seed: int = 0) -> Trained:
    """From start to evaluation. Its batches of 16 episodes are as many as are collected, so it needs no warm-up."""
    assert iterations % CHUNK == 0
    which = jnp.asarray(LEARNED.index(probe))
    state, metrics = programs(name).start(which, jax.random.key(seed)), {}
    for _ in range(iterations // CHUNK):
        state, metrics = programs(name).chunk(which, state)
    return Trained(learner=state.learner, metrics=metrics, evaluation=programs(name).evaluate(which, state))


def value(name: str, trained: Trained, state: list[float], action: tuple[int, int], seen: list[list[float]] | None = None) -> float:
    """Q(s, a) where both agents have `seen` these observations, the oldest first, or the state alone."""
    seen = seen if seen and ADAPTERS[name].remembers else (seen or [state])[-1:]
    obs = jnp.asarray([padded(one) for one in seen])
    return float(programs(name).value(trained.learner, padded(state), jnp.repeat(obs[:, None], 2, axis=1), jnp.asarray(action)))


def padded(x: list[float]) -> Float[Array, "2"]:
    """An observation, or a state, as large as the largest probe's."""
    return jnp.asarray(x + [0.0] * (2 - len(x)))


def test_every_algorithm_is_probed():
    assert ADAPTERS.keys() == algorithms().keys()


@every_algorithm
def test_constant_reward(name: str):
    trained = train(name, ConstantReward(), 150)
    assert value(name, trained, [1.0], (0, 1)) == pytest.approx(1, abs=0.05)
    assert float(trained.evaluation["test_return_mean"]) == 1
    assert float(trained.evaluation["test_ep_length_mean"]) == 1


@every_algorithm
def test_value_depends_on_what_is_observed(name: str):
    trained = train(name, ObservationValue(), 250)
    for cue in (-1.0, 1.0):
        assert value(name, trained, [cue], (0, 1)) == pytest.approx(cue, abs=0.1)


@every_algorithm
def test_delayed_reward_is_discounted(name: str):
    trained = train(name, DelayedReward(), 250)
    assert value(name, trained, [0.0], (1, 1)) == pytest.approx(0.9, abs=0.05)
    assert value(name, trained, [1.0], (1, 1), seen=[[0.0], [1.0]]) == pytest.approx(1, abs=0.05)


@every_algorithm
def test_time_limit_bootstraps(name: str):
    """1 / (1 - 0.9) = 10. With the time limit taken for the end it would be at most 1 + 0.9 + 0.81 = 2.71."""
    trained = train(name, TimeLimit(limit=3), 400)
    assert value(name, trained, [1.0], (0, 0)) == pytest.approx(10, abs=0.5)


@every_algorithm
def test_agents_coordinate(name: str):
    trained = train(name, Coordination(), 200)
    assert float(trained.evaluation["test_return_mean"]) == 1
    assert (float(trained.metrics["return_mean"]) < 1) == ADAPTERS[name].explores  # with a fifth of random actions, or without


@pytest.mark.parametrize("name", slow_if_same_code(name for name, adapter in ADAPTERS.items() if adapter.remembers))
def test_agents_remember(name: str):
    trained = train(name, Recurrent(), 300)
    assert float(trained.evaluation["test_return_mean"]) == 1
    for cue, action in ((-1.0, 0), (1.0, 1)):
        assert value(name, trained, [cue, 1.0], (action, action), seen=[[cue, 0.0], [0.0, 0.5], [0.0, 1.0]]) == pytest.approx(1, abs=0.2)
