"""Learning: collect, add, sample, update, many times over, in one jitted chunk of fixed length.

Everything that a run needs to go on stands in `RunState`; evaluation, records and checkpoints happen between chunks, on the host.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dop.engine.collect import EpisodeSummary, collect, episode_shape, storage_dtype
from dop.replay import Replay, allocate, size_in_bytes
from dop.types import Algorithm, Environment, EnvSpec, Episode, Learner, Metrics


class RunState(eqx.Module):
    """One seed's run: everything that a checkpoint needs, and nothing else."""

    learner: Learner
    replay: Replay[Episode]
    iteration: Int[Array, ""]
    key: PRNGKeyArray
    """Advances with every iteration."""
    eval_key: PRNGKeyArray
    """Never advances: evaluations fold the iteration into it, so that they do not disturb training."""


class Program(eqx.Module):
    """What is run, as opposed to where it stands: fixed for a whole run."""

    algorithm: Algorithm[Any, Any] = eqx.field(static=True)
    environment: Environment = eqx.field(static=True)
    precision: str = eqx.field(static=True, default="auto")

    @property
    def replay_bytes(self) -> int:
        """Memory of one seed's replay."""
        return size_in_bytes(self._episode, self.algorithm.replay_capacity)

    @property
    def _episode(self) -> Episode:
        return episode_shape(self._spec, storage_dtype(self._spec, self.precision))

    @property
    def _spec(self) -> EnvSpec:
        return self.environment.spec

    def start(self, key: PRNGKeyArray) -> RunState:
        """A fresh run."""
        key_init, key_run, key_eval = jax.random.split(key, 3)
        return RunState(
            learner=self.algorithm.init(key_init, self._spec),
            replay=allocate(self._episode, self.algorithm.replay_capacity),
            iteration=jnp.zeros((), jnp.int32),
            key=key_run,
            eval_key=key_eval,
        )

    def warm_up(self, state: RunState) -> RunState:
        """Collect the `warmup_episodes` without learning."""
        iterations = -(-self.algorithm.warmup_episodes // self.algorithm.episodes_per_iteration)

        def body(state: RunState, _: None) -> tuple[RunState, None]:
            return self._collect(state)[0], None

        return jax.lax.scan(body, state, length=iterations)[0]

    def chunk(self, state: RunState, iterations: int) -> tuple[RunState, Metrics]:
        """`iterations` iterations of learning, and the means of what they report."""
        state, metrics = jax.lax.scan(lambda state, _: self._iterate(state), state, length=iterations)
        return state, jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics)

    def evaluate(self, state: RunState, episodes: int) -> Metrics:
        """Greedy episodes in environments of their own."""
        key = jax.random.fold_in(state.eval_key, state.iteration)
        return self.evaluate_with(state, key, episodes)

    def evaluate_with(self, state: RunState, key: PRNGKeyArray, episodes: int) -> Metrics:
        """Greedy episodes under a key of the caller's."""
        _, summary = collect(self.algorithm, self.environment, state.learner, key, episodes=episodes, explore=False)
        return {f"test_{name}": value for name, value in self._report(summary).items()}

    def _iterate(self, state: RunState) -> tuple[RunState, Metrics]:
        state, report = self._collect(state)
        key, key_sample, key_update = jax.random.split(state.key, 3)
        batch = self.algorithm.sample(state.replay, key_sample)
        learner, metrics = self.algorithm.update(state.learner, batch, key_update)
        state = RunState(learner=learner, replay=state.replay, iteration=state.iteration + 1, key=key, eval_key=state.eval_key)
        return state, report | metrics

    def _collect(self, state: RunState) -> tuple[RunState, Metrics]:
        key, key_collect = jax.random.split(state.key)
        episodes, summary = collect(
            self.algorithm,
            self.environment,
            state.learner,
            key_collect,
            episodes=self.algorithm.episodes_per_iteration,
            explore=True,
            dtype=self._episode.obs.dtype,
        )
        learner = eqx.tree_at(lambda x: x.env_steps, state.learner, state.learner.env_steps + jnp.sum(summary.length))
        state = RunState(learner=learner, replay=state.replay.add(episodes), iteration=state.iteration, key=key, eval_key=state.eval_key)
        return state, self._report(summary)

    def _report(self, summary: EpisodeSummary) -> Metrics:
        """Means over episodes, under PyMARL's names."""
        named = dict(zip((f"{name}_mean" for name in self._spec.metrics), summary.metrics.T, strict=True))
        values: dict[str, Float[Array, " episode"]] = {
            "return_mean": summary.undiscounted_return,
            "ep_length_mean": summary.length.astype(jnp.float32),
            **named,
        }
        return jax.tree.map(jnp.mean, values)
