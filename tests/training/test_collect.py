"""Collection stores exactly what an environment says, against a loop over `reset` and `step` written in Python."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from dop.errors import ConfigError
from dop.learning.replay import size_in_bytes
from dop.training.collect import HALF_BOUND, HALF_LEAST, EpisodeSummary, collect, episode_shape, storage_dtype, storage_words
from dop.types import EnvSpec, Episode, PolicyOutput, TimeStep

EPISODES = 6
KEY = jax.random.key(3)
QUICKLY = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
compiled = functools.partial(jax.jit, compiler_options=QUICKLY)  # compiles in half the time


@dataclass(frozen=True)
class Walk:
    """Ends after 1 to 4 steps of the 6 that its time limit allows, for real or cut: `reset` draws which, nothing else is random."""

    seen: list[int] = field(default_factory=list, hash=False, compare=False)
    """Gets an entry for every step of every environment that is computed."""
    spec = EnvSpec(
        name="test:walk",
        version="1",
        agents=("a", "b"),
        obs_sizes=(2, 2),
        action_sizes=(3, 3),
        state_size=1,
        time_limit=6,
        obs_bound=10.0,
        metrics=("steps", "sum"),
    )

    def reset(self, key: PRNGKeyArray) -> tuple[Any, TimeStep]:
        k_length, k_cut = jax.random.split(key)
        length, cut = jax.random.randint(k_length, (), 1, 5), jax.random.bernoulli(k_cut)
        state = (jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), length, cut)
        return state, self._answer(state, jnp.zeros(()), jnp.zeros((), bool))

    def step(self, key: PRNGKeyArray, state: Any, action: Int[Array, " agent"]) -> tuple[Any, TimeStep]:
        t, total, length, cut = state
        jax.debug.callback(lambda t: self.seen.append(int(t)), t)
        state = (t + 1, total + jnp.sum(action), length, cut)
        return state, self._answer(state, 1.0 * action[0] - 0.1 * action[1], t + 1 >= length)

    def _answer(self, state: Any, reward: Array, ended: Bool[Array, ""]) -> TimeStep:
        t, total, _, cut = state
        return TimeStep(
            obs=jnp.asarray([[1.0], [2.0]]) + jnp.stack([t / 3, total / 7]),
            state=(t + total / 9)[None],
            action_mask=jnp.arange(3) <= jnp.asarray([[1], [0]]) + t % 2,
            reward=jnp.asarray(reward, jnp.float32),
            terminated=ended & ~cut,
            truncated=ended & cut,
            metrics=jnp.stack([t, total]).astype(jnp.float32),
        )


class Script:
    """Not an algorithm to train: agent i's t-th action is (t + i) % 3, or 0 without exploration; the memory counts."""

    def initial_carry(self, spec: EnvSpec) -> Array:
        return jnp.zeros((), jnp.int32)

    def act(self, learner: None, carry: Array, step: TimeStep, key: PRNGKeyArray, *, explore: bool) -> tuple[PolicyOutput, Array]:
        action = ((carry + jnp.arange(2)) % 3).astype(jnp.int32) * explore
        return PolicyOutput(action=action, behaviour_prob=1 / (2.0 + carry + jnp.arange(2))), carry + 1


def run(environment: Walk, *, explore: bool = True, dtype: Any = jnp.float32) -> tuple[Episode, EpisodeSummary]:
    script: Any = Script()
    return compiled(lambda key: collect(script, environment, None, key, episodes=EPISODES, explore=explore, dtype=dtype))(KEY)  # pyright: ignore[reportArgumentType]


@functools.cache
def collected() -> tuple[Episode, EpisodeSummary, int]:
    """Episodes, what is reported of them, and how many steps of one environment were computed for them."""
    environment = Walk()
    episodes, summary = run(environment)
    jax.effects_barrier()
    return episodes, summary, len(environment.seen)


@functools.cache
def by_hand() -> list[tuple[list[TimeStep], list[PolicyOutput], PolicyOutput]]:
    """For each episode: the steps from reset on, what was done, and what would have been done next."""
    environment, script = Walk(), Script()
    reset, step = jax.jit(environment.reset), jax.jit(environment.step)
    key_reset = jax.random.split(KEY, 3)[0]
    played = []
    for key in jax.random.split(key_reset, EPISODES):
        state, now = reset(key)
        carry, steps, choices = script.initial_carry(environment.spec), [now], []
        while not (now.terminated or now.truncated):
            choice, carry = script.act(None, carry, now, key, explore=True)
            state, now = step(key, state, choice.action)
            steps.append(now)
            choices.append(choice)
        played.append((steps, choices, script.act(None, carry, now, key, explore=True)[0]))
    return played


same = functools.partial(np.testing.assert_allclose, rtol=1e-6)


def test_the_loop_by_hand_has_all_kinds_of_episodes():
    lengths = [len(choices) for _, choices, _ in by_hand()]
    assert len(set(lengths)) > 1
    assert {bool(steps[-1].terminated) for steps, _, _ in by_hand()} == {False, True}


def test_episodes_are_what_was_played_step_by_step():
    episodes, _, _ = collected()
    for e, (steps, choices, after) in enumerate(by_hand()):
        for t, step in enumerate(steps):
            same(episodes.obs[e, t], step.obs)
            same(episodes.state[e, t], step.state)
            np.testing.assert_array_equal(episodes.action_mask[e, t], step.action_mask)
        for t, (choice, answer) in enumerate(zip(choices, steps[1:], strict=True)):
            np.testing.assert_array_equal(episodes.action[e, t], choice.action)
            same(episodes.behaviour_prob[e, t], choice.behaviour_prob)
            same(episodes.reward[e, t], answer.reward)
            assert bool(episodes.terminated[e, t]) == bool(answer.terminated)
        np.testing.assert_array_equal(episodes.final_action[e], after.action)
        assert episodes.mask[e].tolist() == [t < len(choices) for t in range(Walk.spec.time_limit)]


def test_only_the_end_terminates_and_a_cut_does_not():
    episodes, _, _ = collected()
    for e, (steps, choices, _) in enumerate(by_hand()):
        last = np.arange(Walk.spec.time_limit) == len(choices) - 1
        np.testing.assert_array_equal(episodes.terminated[e], last & bool(steps[-1].terminated))


def test_padding_is_zero():
    episodes, _, _ = collected()
    is_active = np.pad(np.asarray(episodes.mask), ((0, 0), (1, 0)), constant_values=True)
    for name in ("obs", "state", "action_mask"):
        assert not np.asarray(getattr(episodes, name))[~is_active].any()
    for name in ("action", "behaviour_prob", "reward", "terminated"):
        assert not np.asarray(getattr(episodes, name))[~is_active[:, 1:]].any()


def test_summaries_are_of_the_real_steps():
    _, summary, _ = collected()
    for e, (steps, choices, _) in enumerate(by_hand()):
        assert int(summary.length[e]) == len(choices)
        assert float(summary.undiscounted_return[e]) == pytest.approx(sum(float(step.reward) for step in steps))
        same(summary.metrics[e], steps[-1].metrics)


def test_it_stops_when_the_last_episode_has_ended():
    longest = max(len(choices) for _, choices, _ in by_hand())
    assert longest < Walk.spec.time_limit
    assert collected()[2] == longest * EPISODES


def test_without_exploration_agents_are_asked_for_their_greedy_actions():
    episodes, summary = run(Walk(), explore=False)
    assert not episodes.action.any()
    assert not summary.undiscounted_return.any()


def test_half_precision_rounds_observations_and_nothing_else():
    dtype = storage_dtype(Walk.spec, "half")
    episodes, _ = run(Walk(), dtype=dtype)
    full, _, _ = collected()
    assert episodes.obs.dtype == episodes.state.dtype == jnp.float16
    for name, value in vars(episodes).items():
        expected = getattr(full, name)
        np.testing.assert_array_equal(value, expected.astype(jnp.float16) if name in ("obs", "state") else expected)


@pytest.mark.parametrize(
    ("bound", "precision", "dtype"),
    [
        (1.0, "auto", jnp.float16),
        (2.0, "auto", jnp.float16),
        (2.01, "auto", jnp.float32),
        (1000.0, "auto", jnp.float32),
        (1e-5, "auto", jnp.float32),
        (None, "auto", jnp.float32),
        (1.0, "full", jnp.float32),
        (1000.0, "half", jnp.float16),
    ],
)
def test_half_precision_is_for_what_it_resolves(bound: float | None, precision: str, dtype: Any):
    spec = bounded(bound)
    assert storage_dtype(spec, precision) == dtype
    assert storage_words(spec, precision).startswith("in half" if dtype == jnp.float16 else "in full")


@pytest.mark.parametrize("bound", [None, 1e5])
def test_half_precision_that_cannot_hold_the_observations_is_refused(bound: float | None):
    with pytest.raises(ConfigError, match=r"precision is half, but the obs_bound of x is .*up to 65,504.*Use auto or full"):
        storage_dtype(bounded(bound), "half")


def test_what_is_kept_in_half_precision_by_itself_differs_by_less_than_a_thousandth():
    """Of any number within the bound; and of one at the smallest bound, by less than a thousandth of it."""
    for bound in (HALF_BOUND, 1.0, HALF_LEAST):
        seen = np.linspace(0, bound, 100_001, dtype=np.float32)
        assert np.abs(seen - seen.astype(np.float16)).max() < min(1e-3, 1e-3 * bound)


def test_how_observations_are_kept_is_said_with_the_reason():
    said = [storage_words(bounded(bound), "auto") for bound in (1.0, 1000.0, None)]
    assert said == [
        "in half precision (obs_bound 1.0)",
        "in full precision (obs_bound 1000.0 is above 2, where half precision is too coarse)",
        "in full precision (the environment gives no obs_bound)",
    ]
    assert storage_words(bounded(1.0), "full") == "in full precision (precision is full)"


def bounded(bound: float | None) -> EnvSpec:
    return EnvSpec(name="x", version="1", agents=("a",), obs_sizes=(1,), action_sizes=(1,), state_size=1, time_limit=1, obs_bound=bound)


def test_shapes_and_sizes_are_known_before_collecting():
    episodes, _, _ = collected()
    shape = episode_shape(Walk.spec, jnp.float32)
    described = functools.partial(jax.tree.map, lambda x: (x.shape, x.dtype))
    assert described(jax.tree.map(lambda x: x[0], episodes)) == described(shape)
    assert size_in_bytes(shape, EPISODES) == sum(x.nbytes for x in jax.tree.leaves(episodes))


@pytest.mark.parametrize("explore", [True, False])
def test_one_program_plays_with_and_without_exploration(explore: bool):
    """As one that is compiled for either; the policy without exploration may have smaller integers."""

    class Small(Script):
        def act(self, learner: None, carry: Array, step: TimeStep, key: PRNGKeyArray, *, explore: bool) -> tuple[PolicyOutput, Array]:
            output, carry = super().act(learner, carry, step, key, explore=explore)
            return (output if explore else PolicyOutput(output.action.astype(jnp.int8), output.behaviour_prob)), carry

    script: Any = Small()
    learner: Any = None
    either = compiled(lambda key, explore: collect(script, Walk(), learner, key, episodes=EPISODES, explore=explore))
    for found, expected in zip(
        jax.tree.leaves(either(KEY, jnp.asarray(explore))), jax.tree.leaves(run(Walk(), explore=explore)), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
