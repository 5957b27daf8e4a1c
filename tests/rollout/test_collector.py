"""Episodes of Python environments are stored as in a plain loop, for any team, masks, deaths and ends of episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Array

import dop
from dop import policies
from dop.devices import parallel
from dop.rollout.collector import Collector, Played, slots_of
from dop.rollout.shared_memory import SharedBuffers
from dop.rollout.workers import MAX_DEATHS, Job, LocalWorker, Workers
from dop.types import EnvSpec, PolicyOutput, TimeStep
from python_environments import Walk
from python_games import Lights


class Script:
    """A scripted algorithm: at step t agent i takes the (t + i)-th of its legal actions, modulo their number; the carry counts t.

    Without exploration it takes the first. With `random` its actions are random, and its carry still counts.
    """

    def __init__(self, *, random: bool = False) -> None:
        self._random = random

    def initial_carry(self, spec: EnvSpec) -> Array:
        return jnp.zeros((), jnp.int32)

    def act(self, learner: Any, carry: Array, step: TimeStep, key: Array, *, explore: bool) -> tuple[PolicyOutput, Array]:
        n = step.action_mask.shape[0]
        if self._random:
            policy = jax.vmap(policies.uniform)(step.action_mask)
            return PolicyOutput(jax.vmap(policies.sample)(jax.random.split(key, n), policy), jnp.max(policy, axis=-1)), carry + 1
        index = (carry + jnp.arange(n)) * explore
        order = jnp.argsort(~step.action_mask, axis=-1, stable=True)  # the legal ones first
        action = jnp.take_along_axis(order, (index % jnp.maximum(jnp.sum(step.action_mask, -1), 1))[:, None], -1)[:, 0]
        return PolicyOutput(
            action=jnp.where(jnp.any(step.action_mask, -1), action, 0), behaviour_prob=1 / (2.0 + carry + jnp.arange(n))
        ), carry + 1


def script(action_mask: np.ndarray, t: int, explore: bool) -> list[int]:
    """The same actions in NumPy."""
    chosen = []
    for agent, row in enumerate(action_mask):
        actions = np.flatnonzero(row)
        chosen.append(int(actions[(t + agent) * explore % len(actions)]) if len(actions) else 0)
    return chosen


def play(
    make: Any, episode_seeds: np.ndarray, *, n_envs: int, groups: int = 1, explore: bool = True, random: bool = False, times: int = 1
) -> tuple[list[Played], Workers]:
    spec, n_seeds = make().spec, len(episode_seeds)
    slots = slots_of(n_seeds, n_envs, groups, first=0)
    job = Job(make=make, spec=spec, n_slots=n_seeds * n_envs, groups=tuple(slots), timeout=10.0)
    workers = Workers(job, SharedBuffers.over(spec, job.n_slots, bytearray(SharedBuffers.nbytes(spec, job.n_slots))), 1, LocalWorker)
    algorithm: Any = Script(random=random)
    collector = Collector(algorithm, spec, workers, range(groups), n_envs=n_envs, explore=explore, devices=parallel.mesh(n_seeds))
    learner: Any = jnp.zeros(n_seeds)
    played = [collector.play(learner, parallel.keys(tuple(range(n_seeds))), episode_seeds) for _ in range(times)]
    workers.close()
    return played, workers


def by_hand(walk: Walk, seed: int, explore: bool) -> tuple[list[TimeStep], list[list[int]]]:
    """The steps from reset on, and the actions at each of them, the last included."""
    steps = [walk.reset(seed)]
    actions = [script(np.asarray(steps[0].action_mask), 0, explore)]
    while not (steps[-1].terminated or steps[-1].truncated):
        steps.append(walk.step(np.array(actions[-1])))
        actions.append(script(np.asarray(steps[-1].action_mask), len(steps) - 1, explore))
    return steps, actions


def test_an_environment_need_not_have_metrics():
    (played,), _ = play(Lights, EPISODES, n_envs=2)
    assert played.summary.metrics.shape == (*EPISODES.shape, 0)
    np.testing.assert_array_equal(played.summary.length, 5)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.builds(
        dict,
        n_agents=st.integers(1, 4),
        obs_sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
        action_sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
        state_size=st.integers(1, 3),
        time_limit=st.integers(1, 6),
        mortal=st.booleans(),
    ),
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 2**16),
)
def test_episodes_are_those_of_a_plain_loop(options: dict[str, Any], n_seeds: int, n_envs: int, episodes: int, explore: bool, first: int):
    """With more episodes than environments, and fewer; all have a summary, and the last one of every environment is stored."""
    episode_seeds = first + np.arange(n_seeds * episodes).reshape(n_seeds, episodes)
    (played,), _ = play(lambda: Walk(**options), episode_seeds, n_envs=n_envs, groups=min(2, n_envs), explore=explore)
    assert not played.dropped.any()
    for s, e in np.ndindex(n_seeds, episodes):
        steps, actions = by_hand(Walk(**options), int(episode_seeds[s, e]), explore)
        assert played.summary.length[s, e] == len(steps) - 1
        np.testing.assert_allclose(played.summary.undiscounted_return[s, e], sum(float(x.reward) for x in steps), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(played.summary.metrics[s, e], steps[-1].metrics)
        if e + n_envs >= episodes:
            assert_stored(jax.tree.map(lambda x, s=s, e=e: x[s, e % n_envs], played.episodes), steps, actions)
    if episodes < n_envs:
        assert not any(x[:, episodes:].any() for x in jax.tree.leaves(played.episodes))


def assert_stored(episode: dop.Episode, steps: list[TimeStep], actions: list[list[int]]) -> None:
    """Step by step, and zeros after that."""
    length, n = len(steps) - 1, len(actions[0])
    for name in ("obs", "state", "action_mask"):
        np.testing.assert_array_equal(getattr(episode, name)[: length + 1], [getattr(x, name) for x in steps])
    for name in ("reward", "terminated"):
        np.testing.assert_array_equal(getattr(episode, name)[:length], [getattr(x, name) for x in steps[1:]])
    np.testing.assert_array_equal(episode.action[:length], np.reshape(actions[:-1], (length, n)))
    np.testing.assert_array_equal(episode.final_action, actions[-1])
    expected = 1 / (2.0 + np.arange(length)[:, None] + np.arange(n))
    np.testing.assert_allclose(episode.behaviour_prob[:length], expected, rtol=1e-6)
    assert np.asarray(episode.mask).tolist() == [t < length for t in range(len(episode.mask))]
    for name in ("obs", "state", "action_mask", "action", "behaviour_prob", "reward", "terminated"):
        start = length + (name in ("obs", "state", "action_mask"))
        assert not np.asarray(getattr(episode, name))[start:].any(), name


EPISODES = np.array([[3, 1, 4, 1], [5, 9, 2, 6]])


def test_random_draws_depend_on_the_episode_alone():
    """The same episodes in parallel and in half as many environments; the two with the same seed are equal."""
    (first, again), _ = play(Walk, EPISODES, n_envs=4, random=True, times=2)
    (narrow,), _ = play(Walk, EPISODES, n_envs=2, groups=2, random=True)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    jax.tree.map(np.testing.assert_array_equal, first.summary, narrow.summary)
    episodes: Any = first.episodes
    np.testing.assert_array_equal(episodes.action[0, 1], episodes.action[0, 3])
    np.testing.assert_array_equal(narrow.episodes.action[1, 1], episodes.action[1, 3])


def test_illegal_actions_are_never_drawn_and_agents_without_any_do_0():
    (played,), _ = play(Walk, np.arange(40).reshape(1, 40) + 100, n_envs=40, random=True)
    episodes: Any = played.episodes
    action_mask = episodes.action_mask[0, :, :-1][episodes.mask[0]]
    action = episodes.action[0][episodes.mask[0]]
    allowed = np.take_along_axis(action_mask, action[..., None], -1)[..., 0]
    dead = ~action_mask.any(-1)
    assert dead.any() and not dead.all()
    assert (allowed | dead).all()
    assert not action[dead].any()
    np.testing.assert_allclose(episodes.behaviour_prob[0][episodes.mask[0]], np.where(dead, 0, 1 / np.maximum(action_mask.sum(-1), 1)))


def test_a_lost_episode_is_dropped_counted_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """All four running episodes of the failed worker are lost; only whole episodes are stored."""
    made: list[Walk] = []

    def make() -> Walk:
        made.append(Walk(trouble="raise", flag=str(tmp_path / "flag"), time_limit=4))
        return made[-1]

    (tmp_path / "flag").touch()
    (first, second), _ = play(make, EPISODES[:, :2], n_envs=2, times=2)
    assert first.dropped.sum() > 0
    assert not second.dropped.any()
    assert "the walk fell over" in caplog.text
    assert all(walk.closed for walk in made[1:])
    ends: Any = first.episodes
    assert (np.asarray(first.summary.length) == ends.mask.sum(-1)).all()
    for s, e in np.ndindex(2, 2):
        drawn = ends.state[s, e, 0]
        again = np.array([Walk(time_limit=4).reset(seed).state for seed in attempt_seeds(int(EPISODES[s, e]))])
        assert (drawn == again).all(-1).any()


def attempt_seeds(seed: int) -> list[int]:
    """An episode's seed and that of its second attempt."""
    return [seed, int(np.random.SeedSequence((seed, 1)).generate_state(1)[0] >> 1)]


def test_five_deaths_in_a_row_stop_the_run_with_the_traceback():
    with pytest.raises(dop.RunError, match=rf"(?s)died {MAX_DEATHS} times in a row.*Traceback.*_misbehave.*ValueError: the walk fell over"):
        play(lambda: Walk(trouble="raise", always=True, time_limit=30), EPISODES, n_envs=4)
