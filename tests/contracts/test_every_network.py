"""What every network owes its users in every algorithm that takes it: the library's, and those of a user's own (tests/outside.py).

It starts and acts, an update learns from episodes and not from their padding, resuming continues to the same bits, and what is exported
does the same. What takes long to compile is among the slow tests, but for a few.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_algorithms import KEY, LENGTHS, compiled, differ, first_step, replay_of

import dop
from dop import algorithms
from dop.devices import parallel
from dop.export import parity, policy_files
from dop.networks.protocols import ExportsItself
from dop.networks.teams import recurrent
from dop.training.program import Program
from helpers import Stated, assert_resumes, assert_trees_equal, make_episodes, make_spec, poison_padding, stating_entities, toy
from outside import OwnLSTM, OwnTanh

SPEC = stating_entities(make_spec(time_limit=5))
RECURRENT = {"gru": dop.GRU(8), "layer-norm-gru": dop.LayerNormGRU(8), "entities": dop.Entities(8), "outside:OwnLSTM": OwnLSTM()}
"""Without a hidden state in the algorithms that admit none, if there are such networks."""
FEED_FORWARD = {"mlp": dop.MLP(8), "outside:OwnTanh": OwnTanh()}
ACTOR_IS_FEED_FORWARD = ("deterministic-dop", "maddpg", "maac")
ACTORS = [
    (name, actor)
    for name in algorithms.names()
    for actor in ((*FEED_FORWARD, "entities") if name in ACTOR_IS_FEED_FORWARD else RECURRENT | FEED_FORWARD)
]
TRACED, LEARNS, RESUMES, EXPORTED = "trace", "learn", "resume", "export"
FAST: dict[str, list[tuple[str, str]]] = {
    TRACED: [pair for pair in ACTORS if pair[0] in ("stochastic-dop", "qmix", "maac")],
    LEARNS: [("stochastic-dop", "layer-norm-gru"), ("stochastic-dop", "entities"), ("deterministic-dop", "outside:OwnTanh")],
    RESUMES: [("qmix", "outside:OwnLSTM"), ("vdn", "entities")],
    EXPORTED: [
        ("stochastic-dop", "layer-norm-gru"),
        ("stochastic-dop", "entities"),
        ("deterministic-dop", "entities"),
        ("qmix", "outside:OwnLSTM"),
        ("deterministic-dop", "outside:OwnTanh"),
        ("coma", "mlp"),
    ],
}
"""Not among the slow tests. The default networks are in `test_algorithms.py`."""
CRITICS = [name for name in algorithms.names() if name not in ("qmix", "vdn", "maac")]


def pairs(what: str) -> Any:
    """All algorithms with all networks that they take."""
    marked = [pytest.param(*pair, marks=() if pair in FAST[what] else pytest.mark.slow) for pair in ACTORS]
    return pytest.mark.parametrize(("name", "actor"), marked)


@functools.cache
def make(name: str, actor: str, critic: Any = None) -> Any:
    cls: Any = algorithms.get(name)
    return replace(toy(cls()), actor=(RECURRENT | FEED_FORWARD)[actor], **({} if critic is None else {"critic": critic}))


def updated(algorithm: Any, learner: Any, episodes: Any) -> Any:
    """The learner after an update, and what was reported."""
    k_sample, k_update = jax.random.split(KEY)
    return algorithm.update(learner, algorithm.sample(replay_of(episodes), k_sample), k_update)


def shapes(tree: Any) -> Any:
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@pairs(TRACED)
def test_it_starts_acts_and_learns_in_shape(name: str, actor: str):
    """Only traced."""
    algorithm = make(name, actor)
    algorithm.check(SPEC)
    learner = jax.eval_shape(lambda: algorithm.init(KEY, SPEC))
    memory, step = algorithm.initial_carry(SPEC), first_step(SPEC)
    for explore in (True, False):
        choice, after = jax.eval_shape(functools.partial(algorithm.act, explore=explore), learner, memory, step, KEY)
        assert shapes(after) == shapes(memory)
        assert choice.action.shape == SPEC.action_shape
    is_recurrent = actor in RECURRENT and name not in ACTOR_IS_FEED_FORWARD
    assert (len(jax.tree.leaves(getattr(memory, "hidden", ()))) > 0) == is_recurrent
    after, _ = jax.eval_shape(functools.partial(updated, algorithm), learner, jax.eval_shape(lambda: make_episodes(KEY, SPEC, LENGTHS)))
    assert shapes(after) == shapes(learner)


@pytest.mark.parametrize("critic", [pytest.param(dop.MLP(8, layers=3), marks=pytest.mark.slow), dop.Entities(8), OwnTanh()], ids=str)
@pytest.mark.parametrize("name", CRITICS)
def test_every_critic_that_is_taken_learns_in_shape(name: str, critic: Any):
    """Only traced."""
    algorithm = make(name, "mlp", critic)
    algorithm.check(SPEC)
    learner = jax.eval_shape(lambda: algorithm.init(KEY, SPEC))
    after, _ = jax.eval_shape(functools.partial(updated, algorithm), learner, jax.eval_shape(lambda: make_episodes(KEY, SPEC, LENGTHS)))
    assert shapes(after) == shapes(learner)


@pairs(LEARNS)
def test_it_learns_and_not_from_padding(name: str, actor: str):
    algorithm = make(name, actor)
    learner = compiled(lambda: algorithm.init(KEY, SPEC))()
    episodes = make_episodes(jax.random.key(1), SPEC, LENGTHS)
    update = compiled(functools.partial(updated, algorithm))
    after, metrics = update(learner, episodes)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after, metrics)))
    team = algorithm.policy(learner).team
    assert differ(team, algorithm.policy(after).team)
    assert_trees_equal((after, metrics), update(learner, poison_padding(episodes)))


@pytest.mark.slow
@pytest.mark.parametrize("critic", [OwnTanh(), dop.Entities(8)], ids=str)
@pytest.mark.parametrize("name", CRITICS)
def test_other_critics_than_the_default_learn(name: str, critic: Any):
    algorithm = make(name, "mlp", critic)
    learner = compiled(lambda: algorithm.init(KEY, SPEC))()
    after, metrics = compiled(functools.partial(updated, algorithm))(learner, make_episodes(jax.random.key(1), SPEC, LENGTHS))
    assert differ(learner.critic, after.critic)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after, metrics)))


@pairs(RESUMES)
def test_resuming_continues_to_the_same_bits(name: str, actor: str, tmp_path: Path):
    program = Program(algorithm=make(name, actor), environment=Stated(dop.make("two-step")))
    devices = parallel.mesh(1)
    start = parallel.over_seeds(lambda key: program.warm_up(program.start(key)), devices)
    iterate = parallel.over_seeds(lambda state: program.chunk(state, 1), devices)
    assert_resumes(start(parallel.keys((3,))), iterate, tmp_path, after=1)


@pairs(EXPORTED)
def test_what_is_exported_does_the_same(name: str, actor: str):
    pytest.importorskip("onnxruntime")
    algorithm, environment = make(name, actor), Stated(dop.make("mill", n_agents=3, actions="discrete"))
    learner = algorithm.init(KEY, environment.spec)
    policy = algorithm.policy(learner)
    if not isinstance(policy.team.network.network, ExportsItself):
        with pytest.raises(dop.ConfigError, match=r"outside:TanhNetwork cannot be exported: it has no `export` method"):
            policy_files.models(policy, environment.spec)
        return
    parity.check(policy_files.models(policy, environment.spec), policy, Program(algorithm=algorithm, environment=environment), learner, KEY)


def test_initial_states_are_those_that_training_starts_with():
    for actor in RECURRENT.values():
        team = recurrent.make_team(SPEC, actor, sharing="none", key=KEY)
        assert_trees_equal(recurrent.initial_carry(SPEC, actor).hidden, recurrent.initial_hidden(team))
    assert jnp.all(recurrent.initial_carry(SPEC, dop.GRU(8)).last_action == -1)
